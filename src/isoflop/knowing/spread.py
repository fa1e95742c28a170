"""How to spread a budget of samples over questions so that most of them get a right one."""

from __future__ import annotations

import heapq
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """The best number of new samples for each question, and what it is expected to buy.

    coverage: expected share of questions with a right one among the new samples; even: the same
    where every question gets the same number (the remainder on the first ones).
    """

    samples: tuple[int, ...]
    coverage: float
    even: float
    saving: float
    prior: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        low, high = min(self.samples), max(self.samples)
        return (
            f"{sum(self.samples)} samples over {len(self.samples)} questions, {low} to {high} "
            f"each: {self.coverage:.4f} covered, {self.even:.4f} if spread evenly; the even "
            f"spread needs {self.saving:.2f} times the samples for the same coverage"
        )


def spread(items: Items, samples: int, *, prior: tuple[float, float] = (0.5, 0.5)) -> Spread:
    """The best split of `samples` new draws over questions, given the samples they have had.

    Each question's chance p has the posterior Beta(a + c, b + n - c) under `prior` (a, b); the
    j-th new sample adds E[p (1-p)^(j-1)], which falls with j, so taking the largest gain each
    time is optimal. It is a plan made once, not one that stops at the first success.
    """
    items.need("n", "c", why="the spread of samples")
    if samples < 1:
        raise ValueError(f"samples is {samples}; a budget of 1 or more is due")
    if min(prior) <= 0:
        raise ValueError(f"prior {prior} must be two positive numbers, for example (0.5, 0.5)")
    a, b = items["c"] + prior[0], items["n"] - items["c"] + prior[1]
    counts = greedy(a, b, samples)
    questions = len(a)
    best = float(covered(a, b, counts).mean())
    return Spread(
        samples=tuple(counts.tolist()),
        coverage=best,
        even=float(covered(a, b, _even(samples, questions)).mean()),
        saving=_even_needs(a, b, best, samples) / samples,
        prior=prior,
    )


def greedy(a: Array, b: Array, samples: int) -> NDArray[np.int64]:
    """Samples per question with chances Beta(a, b), the largest gain first; (questions,)."""
    counts = np.zeros(len(a), int)
    total = a + b
    # The first gain is E[p]; each next is the last times (b + j) / (a + b + j + 1), j from 0.
    heap = [(-gain, row) for row, gain in enumerate((a / total).tolist())]
    heapq.heapify(heap)
    slow, fast = b.tolist(), (total + 1).tolist()
    for _ in range(samples):
        gain, row = heap[0]
        j = int(counts[row])
        counts[row] = j + 1
        heapq.heapreplace(heap, (gain * (slow[row] + j) / (fast[row] + j), row))
    return counts


def covered(a: Array, b: Array, samples: Array | NDArray[np.int64]) -> Array:
    """The chance of a right one among k samples: 1 - B(a, b + k) / B(a, b), also between counts."""
    from scipy.special import betaln

    return -np.expm1(betaln(a, b + samples) - betaln(a, b))


def _even(samples: int, questions: int) -> NDArray[np.int64]:
    each, rest = divmod(samples, questions)
    return each + (np.arange(questions) < rest)


def _even_needs(a: Array, b: Array, coverage: float, samples: int) -> float:
    """Samples that an even spread needs for the coverage; at least those of the best spread."""
    from scipy.optimize import brentq

    def short(log_each: float) -> float:
        return float(covered(a, b, np.full(len(a), np.exp(log_each))).mean()) - coverage

    start = np.log(samples / len(a))
    if short(start) >= 0:
        return float(samples)
    end = start + 1.0
    while short(end) < 0:
        end += 1.0
    return float(np.exp(np.asarray(brentq(short, start, end), float)) * len(a))
