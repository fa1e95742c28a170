"""Scores of confidence: Brier and its parts, ECE, AUROC, risk-coverage; ties are never ordered.

Every function takes counts by distinct confidence and broadcasts over resamples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from isoflop.knowing.levels import Levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Binning = Literal["width", "width_below", "mass", "distinct"]


def brier(levels: Levels) -> Array:
    """Mean squared distance of confidence from what came true: 0 is perfect, q = 1/2 gives 1/4."""
    loss = levels.right * (1 - levels.q) ** 2 + levels.wrong * levels.q**2
    return loss.sum(axis=-1) / levels.total


def brier_parts(levels: Levels) -> tuple[Array, Array, Array]:
    """Reliability, resolution, uncertainty: Brier = REL - RES + UNC exactly.

    Over distinct confidences, not bins (Murphy 1973, eq. 12), so there is no remainder. Where
    few answers share a confidence the first two are mostly noise: see `isotonic_parts`.
    """
    count, total = levels.count, levels.total[..., None]
    with np.errstate(invalid="ignore"):
        rate = np.where(count > 0, levels.right / count, levels.q)
    accuracy = levels.accuracy[..., None]
    reliability = (count * (levels.q - rate) ** 2 / total).sum(axis=-1)
    resolution = (count * (rate - accuracy) ** 2 / total).sum(axis=-1)
    return reliability, resolution, levels.accuracy * (1 - levels.accuracy)


def isotonic_parts(levels: Levels) -> tuple[float, float]:
    """Miscalibration and discrimination of one table: Brier = first - second + uncertainty exactly.

    What recalibration that keeps the order of confidences would save, and what it leaves better
    than claiming the accuracy each time (Dimitriadis, Gneiting and Jordan 2021, eq. 4). Stable
    however few answers share a confidence.
    """
    right, count = levels.right[::-1], levels.count[::-1]
    rate = pooled(right / count, count)
    recalibrated = float((right * (1 - rate) ** 2 + (count - right) * rate**2).sum() / count.sum())
    uncertainty = float(levels.accuracy * (1 - levels.accuracy))
    return float(brier(levels)) - recalibrated, uncertainty - recalibrated


def pooled(means: Array, weights: Array) -> Array:
    """The non-decreasing sequence nearest to `means` in weighted squares, by pooling neighbours."""
    averages: list[float] = []
    masses: list[float] = []
    sizes: list[int] = []
    for mean, weight in zip(means.tolist(), weights.tolist(), strict=True):
        size = 1
        while averages and averages[-1] >= mean:
            both = masses[-1] + weight
            mean = (averages.pop() * masses[-1] + mean * weight) / both
            masses.pop()
            weight, size = both, size + sizes.pop()
        averages.append(mean)
        masses.append(weight)
        sizes.append(size)
    return np.repeat(averages, sizes)


def ece(levels: Levels, bins: int = 10, binning: Binning = "width") -> Array:
    """Mean gap between confidence and accuracy over bins.

    width: equal steps of confidence (0.1 with 10 bins), a confidence on an edge in the bin below
    it; width_below: in the bin above. mass: edges at quantiles of the confidences, equal ones
    kept together. distinct: every confidence its own bin. No headline: a model that always
    claims its accuracy has 0, and where confidences sit on edges the two widths differ manyfold.
    """
    if binning == "distinct":
        place = np.arange(len(levels.q))
    else:
        if bins < 1:
            raise ValueError(f"bins is {bins}; one at least is due")
        if binning == "mass" and levels.right.ndim > 1:
            raise ValueError("bins of equal mass belong to one table, not to its resamples")
        steps = np.arange(bins + 1) / bins
        edges = weighted_quantiles(levels, steps) if binning == "mass" else steps
        side = "right" if binning == "width_below" else "left"
        place = np.searchsorted(edges[1:-1], levels.q, side=side)
    gap = levels.right - levels.count * levels.q
    member = (place[:, None] == np.unique(place)).astype(float)
    return np.abs(gap @ member).sum(axis=-1) / levels.total


def weighted_quantiles(levels: Levels, shares: Array) -> Array:
    """Quantiles of one table's confidences, interpolated between neighbours."""
    count = levels.count[::-1]
    position = shares * (count.sum() - 1)
    last = np.cumsum(count) - 1
    low, high = (np.searchsorted(last, f(position) - 1e-9) for f in (np.floor, np.ceil))
    q = levels.q[::-1]
    fraction = position - np.floor(position)
    return q[low] + fraction * (q[high] - q[low])


def auroc(levels: Levels) -> Array:
    """The chance that a right answer has more confidence than a wrong one, ties counting half.

    NaN where all answers are right or all are wrong.
    """
    below = np.cumsum(levels.wrong[..., ::-1], axis=-1)[..., ::-1] - levels.wrong
    wins = (levels.right * (below + levels.wrong / 2)).sum(axis=-1)
    pairs = levels.right.sum(axis=-1) * levels.wrong.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(pairs > 0, wins / pairs, np.nan)


def risk_coverage(levels: Levels) -> tuple[Array, Array]:
    """Share answered and error among those, when questions are answered down to each confidence."""
    answered = np.cumsum(levels.count, axis=-1)
    with np.errstate(invalid="ignore"):
        risk = np.cumsum(levels.wrong, axis=-1) / answered
    return answered / levels.total[..., None], risk


def risk_at(levels: Levels, shares: Array) -> Array:
    """Error among the answered where that share of questions is answered: (..., shares).

    Within a tie errors grow evenly in expectation.
    """
    answered = np.cumsum(levels.count, axis=-1).reshape(-1, len(levels.q))
    errors = np.cumsum(levels.wrong, axis=-1).reshape(answered.shape)
    found = [
        np.interp(shares * a[-1], [0, *a], [0, *e]) / (shares * a[-1])
        for a, e in zip(answered, errors, strict=True)
    ]
    return np.reshape(found, (*levels.right.shape[:-1], len(shares)))


def aurc(levels: Levels) -> Array:
    """Mean error over all coverages k / n, k = 1..n; ties give their expectation in random order.

    Within a tie of m questions with e errors the expected errors grow by e / m a question, so
    the sum has a closed form in harmonic numbers.
    """
    count, wrong = np.rint(levels.count), levels.wrong
    answered, errors = (np.cumsum(x, axis=-1) for x in (count, wrong))
    places = answered.astype(int)
    reciprocals = 1 / np.arange(1, int(answered.max()) + 1)
    harmonic = np.concatenate([[0.0], np.cumsum(reciprocals)])[places]
    with np.errstate(invalid="ignore"):
        rate = np.where(count > 0, wrong / count, 0.0)
    # Where a tie starts, the errors so far are above what its own rate would have given.
    above = errors - rate * answered
    steps = np.diff(harmonic, axis=-1, prepend=0.0)
    return (wrong + above * steps).sum(axis=-1) / answered[..., -1]


def best_aurc(levels: Levels) -> Array:
    """AURC of the best order there is, all right answers before all wrong ones."""
    from scipy.special import digamma

    right, total = levels.right.sum(axis=-1), levels.total
    later = digamma(total + 1) - digamma(right + 1)
    return (total - right - right * later) / total
