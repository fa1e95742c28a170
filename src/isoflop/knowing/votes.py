"""Majority and weighted votes of k samples, as expectations over every subset of k of the n drawn.

Nothing depends on the order in which samples came. Counts have the right answer first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]
    Counts = NDArray[np.int64]

SUBSETS = 20_000  # enumerated up to here, sampled beyond
TIE = 1e-9  # scores that differ by less, relative to all scores given, are tied


def vote_counts(items: Items) -> list[Counts]:
    """Per question the number of samples that gave each answer, the right answer first."""
    items.need("answers", "truth", why="a vote")
    found = []
    for given, truth in zip(items.lists("answers"), items["truth"].tolist(), strict=True):
        tally: dict[str, int] = {truth: 0}
        for answer in given:
            tally[answer] = tally.get(answer, 0) + 1
        found.append(np.array(list(tally.values())))
    return found


def majority_at_k(counts: Sequence[int] | Counts, k: int) -> float:
    """The chance that the plurality of k of the samples is right, a tie of m counting 1 / m.

    counts: samples by answer, the right answer first. Exact: drawing without replacement is
    drawing each answer's votes from a binomial and keeping the cases with k votes in all; the
    credit 1 / m is an integral of z^(m - 1), which Gauss-Legendre nodes give exactly.
    """
    votes = _checked(counts)
    n = int(votes.sum())
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; {n} samples give votes of 1 to {n}")
    if votes[0] == 0:
        return 0.0
    if k == n:
        top = votes == votes.max()
        return float(top[0] / top.sum())
    rivals, times = np.unique(votes[1:][votes[1:] > 0], return_counts=True)
    pmf = [_binomial(int(size), k / n) for size in (votes[0], *rivals)]
    whole = _binomial(n, k / n)[k]
    circle = np.exp(-2j * np.pi * np.arange(n + 1) / (n + 1))
    chance = 0.0
    fewest = -(-k // len(votes))  # no answer wins k votes with less than its share
    for own in range(fewest, min(k, int(votes[0])) + 1):
        chance += pmf[0][own] * _rest(own, k - own, (pmf[1:], times), circle)
    return float(min(chance / whole, 1.0))


def _rest(own: int, left: int, rivals: tuple[list[Array], Counts], circle: Any) -> float:
    """The chance that the rivals take `left` votes, none more than `own`, credit for ties in."""
    z, weight = np.polynomial.legendre.leggauss(left // own // 2 + 1)
    z, weight = (z + 1) / 2, weight / 2
    product = np.ones((len(circle), len(z)), complex)
    for pmf, times in zip(*rivals, strict=True):
        below = np.polynomial.polynomial.polyval(circle, pmf[:own])
        ties = pmf[own] * circle**own if own < len(pmf) else 0 * circle
        product *= (below[:, None] + ties[:, None] * z) ** int(times)
    # The coefficient of x^left, read off the values on the unit circle.
    return float(((circle.conj() ** left) @ product @ weight).real / len(circle))


@dataclass(frozen=True, kw_only=True)
class Vote:
    """The chance that a weighted vote is right; standard error 0 where every subset was counted."""

    chance: float
    standard_error: float
    subsets: int


def weighted_at_k(
    answers: Sequence[str], scores: Sequence[float], truth: str, *, k: int, seed: int = 0
) -> Vote:
    """The chance that, of k samples, the answer with the largest sum of scores is right.

    Every subset is counted where there are at most 20,000, else as many are drawn at random,
    which is unbiased. Answers whose sums tie share the credit.
    """
    n = len(answers)
    if len(scores) != n:
        raise ValueError(f"{len(scores)} scores for {n} answers; give one a sample")
    if not 1 <= k <= n:
        raise ValueError(f"k is {k}; {n} samples give votes of 1 to {n}")
    names = list(dict.fromkeys([truth, *answers]))
    weights = np.asarray(scores, float)
    cast = np.zeros((n, len(names)))
    cast[np.arange(n), [names.index(answer) for answer in answers]] = 1.0
    subsets = _subsets(n, k, seed)
    member = np.zeros((len(subsets), n))
    np.put_along_axis(member, subsets, 1.0, axis=1)
    # An answer that nobody gave cannot win, even where all scores are negative.
    totals = np.where(member @ cast > 0, member @ (cast * weights[:, None]), -np.inf)
    near = totals >= totals.max(axis=1, keepdims=True) - TIE * np.abs(weights).sum()
    credit = near[:, 0] / near.sum(axis=1)
    exact = comb(n, k) <= SUBSETS
    error = 0.0 if exact else float(credit.std(ddof=1) / np.sqrt(len(subsets)))
    return Vote(chance=float(credit.mean()), standard_error=error, subsets=len(subsets))


def _subsets(n: int, k: int, seed: int) -> NDArray[np.int64]:
    if comb(n, k) <= SUBSETS:
        return np.array(list(combinations(range(n), k)))
    rng = np.random.default_rng(seed)
    return np.argsort(rng.random((SUBSETS, n)), axis=1)[:, :k]


def _checked(counts: Sequence[int] | Counts) -> Counts:
    votes = np.asarray(counts)
    if votes.ndim != 1 or not len(votes) or (votes < 0).any() or (votes != np.round(votes)).any():
        raise ValueError("counts must be whole numbers of samples, the right answer first")
    return votes.astype(int)


def _binomial(n: int, p: float) -> Array:
    from scipy.stats import binom

    return binom.pmf(np.arange(n + 1), n, p)
