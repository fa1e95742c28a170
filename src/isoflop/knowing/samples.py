"""pass@k and best of k: expectations over every subset of k of the n samples drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.knowing.levels import check_resampling, interval, resampled_means
from isoflop.knowing.votes import majority_at_k, vote_counts, weighted_at_k

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]

MEANINGS = {
    "pass": "any of k samples is right",
    "majority": "the most frequent answer of k is right",
    "weighted": "the answer with the largest sum of scores is right",
    "best": "the sample with the best score of k is right",
}


@dataclass(frozen=True, kw_only=True)
class SampleCurve:
    """Accuracy by number of samples, by how one answer is chosen from them.

    values: choice -> one accuracy per k; intervals: choice -> (low, high) per k at `level`, over
    resampled questions (whole groups).
    """

    name: str
    questions: int
    k: tuple[int, ...]
    values: Mapping[str, tuple[float, ...]]
    intervals: Mapping[str, tuple[tuple[float, float], ...]]
    level: float
    per_question: Mapping[str, Array]

    def to_json(self) -> dict[str, Any]:
        """Plain values; those per question are left out."""
        plain = asdict(self)
        del plain["per_question"]
        return plain

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.questions} questions"]
        for choice, values in self.values.items():
            lines.append(f"  {choice}@k: {MEANINGS[choice]}")
            for place, (k, value) in enumerate(zip(self.k, values, strict=True)):
                line = f"    k = {k:<6} {value:.4f}"
                if choice in self.intervals:
                    low, high = self.intervals[choice][place]
                    line += f"  {100 * self.level:g}%: {low:.4f} to {high:.4f}"
                lines.append(line)
        return "\n".join(lines)


def pass_at_k(n: Any, c: Any, k: int | Sequence[int]) -> Array:
    """The chance that k of n samples, c of them right, hold a right one: 1 - C(n-c,k) / C(n,k).

    n, c: (questions,). Returns (questions,), or (questions, len(k)) for several k. Unbiased for
    1 - (1 - p)^k (Chen et al. 2021, eq. 1). Raises ValueError where a question has less than k
    samples.
    """
    drawn, good = np.broadcast_arrays(np.atleast_1d(np.asarray(n)), np.atleast_1d(np.asarray(c)))
    ks = np.atleast_1d(np.asarray(k))
    for name, values in (("n", drawn), ("c", good), ("k", ks)):
        if (values != np.round(values)).any():
            raise ValueError(f"{name} must be whole numbers of samples")
    for row in np.flatnonzero((good < 0) | (good > drawn))[:1]:
        raise ValueError(f"question {row + 1}: {good[row]:g} right of {drawn[row]:g} samples")
    if ks.min() < 1 or ks.max() > drawn.min():
        raise ValueError(
            f"k runs from {ks.min()} to {ks.max()}, the least number of samples is "
            f"{drawn.min():g}; drop questions with fewer or forecast beyond them"
        )
    pairs, place = np.unique(np.stack([drawn, good], axis=1), axis=0, return_inverse=True)
    table = np.array([[_pass(int(a), int(b), int(x)) for x in ks] for a, b in pairs])
    out = table[place.ravel()]
    return out[:, 0] if np.ndim(k) == 0 else out


def _pass(n: int, c: int, k: int) -> float:
    """One product of min(c, k) factors, in logarithms: no binomial is ever formed."""
    if n - c < k:
        return 1.0
    few, many = min(c, k), max(c, k)
    return -float(np.expm1(np.log1p(-many / (n - np.arange(few))).sum()))


def best_of_k(scores: Sequence[float], right: Sequence[float], k: int) -> float:
    """The chance that the best scored of k samples is right, equal scores drawn at random.

    With samples in ascending order of score, sum_i C(i-1,k-1) / C(n,k) y_i; a tie from place
    lo + 1 to hi holds the weight [C(hi,k) - C(lo,k)] / C(n,k), shared alike.
    """
    score, good = np.asarray(scores, float), np.asarray(right, float)
    n = len(score)
    if len(good) != n:
        raise ValueError(f"{n} scores for {len(good)} samples; give one a sample")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; {n} samples give the best of 1 to {n}")
    if not np.isfinite(score).all():
        raise ValueError("a score is not finite; drop the sample or mend the scorer")
    # C(i,k) / C(n,k) for i = n, n-1, ..., 0 by its ratio of neighbours.
    i = np.arange(n, 0, -1)
    below = np.concatenate([[1.0], np.cumprod(np.maximum(i - k, 0) / i)])[::-1]
    place = np.unique(score, return_inverse=True)[1]
    size = np.bincount(place)
    high = np.cumsum(size)
    weight = below[high] - below[high - size]
    return float(weight @ (np.bincount(place, good) / size))


def sample_curve(
    items: Items,
    k: Sequence[int] | None = None,
    *,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> SampleCurve:
    """Accuracy of k samples for every choice the columns allow: pass, majority, weighted, best.

    k: powers of two up to the least number of samples by default. pass needs n and c; majority
    needs answers and truth, weighted and best also scores.
    """
    items.need("n", "c", why="accuracy by number of samples")
    check_resampling(items.clusters, level, draws)
    least = int(items["n"].min())
    ks = tuple(k) if k is not None else tuple(2**p for p in range(least.bit_length()))
    found = {"pass": pass_at_k(items["n"], items["c"], ks)}
    if "answers" in items and "truth" in items:
        votes = vote_counts(items)
        found["majority"] = np.array([[majority_at_k(v, x) for x in ks] for v in votes])
        if "scores" in items:
            found |= _scored(items, ks, seed)
    intervals = {}
    if draws:
        for choice, values in found.items():
            drawn = resampled_means(tuple(values.T), items.clusters, draws=draws, seed=seed)
            ends = [interval(column, level) for column in drawn.T]
            intervals[choice] = tuple(e for e in ends if e is not None)
    return SampleCurve(
        name=items.name, questions=len(items), k=ks, level=level, intervals=intervals,
        values={choice: tuple(v.mean(axis=0).tolist()) for choice, v in found.items()},
        per_question=found,
    )  # fmt: skip


def _scored(items: Items, ks: Sequence[int], seed: int) -> dict[str, Array]:
    weighted, best = [], []
    for answers, scores, truth in zip(
        items.lists("answers"), items.lists("scores"), items["truth"].tolist(), strict=True
    ):
        right = [answer == truth for answer in answers]
        weighted.append([weighted_at_k(answers, scores, truth, k=k, seed=seed).chance for k in ks])
        best.append([best_of_k(scores, right, k) for k in ks])
    return {"weighted": np.array(weighted), "best": np.array(best)}
