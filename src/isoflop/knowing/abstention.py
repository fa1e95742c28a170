"""When to stay silent: a confidence threshold that keeps a promise about errors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoflop.knowing.levels import Levels, descending, levels_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]

GRID = tuple(round(step / 100, 2) for step in range(101))
STARTS = 5  # thresholds from which the search for an error rate starts
ROUNDING = 1e-9  # sums of shares of groups are not exact
Among = Literal["answered", "all"]


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """Answer where confidence is `threshold` or more; None: answer nothing.

    promise says what holds for new questions of the same kind. The other figures are those of the
    calibration questions, among which the promise need not hold exactly.
    """

    promise: str
    threshold: float | None
    rate: float
    confidence: float | None
    questions: int
    answered: float
    error: float | None
    error_interval: tuple[float, float]
    hallucination: float

    def answers(self, q: Any) -> NDArray[np.bool_]:
        """True for each confidence at which to answer."""
        values = np.asarray(q, float)
        return np.zeros(values.shape, bool) if self.threshold is None else values >= self.threshold

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        low, high = self.error_interval
        rule = (
            "answer nothing: no threshold keeps the promise"
            if self.threshold is None
            else f"answer from confidence {self.threshold:g} on"
        )
        wrong = "" if self.error is None else (
            f", of which {self.error:.4f} wrong (95%: {low:.4f} to {high:.4f})"
        )  # fmt: skip
        return (
            f"{rule}; promised: {self.promise}\n  on the {self.questions} questions it was set on: "
            f"{self.answered:.4f} answered{wrong}; {self.hallucination:.4f} of all answered wrong"
        )


def conformal_threshold(items: Items, rate: float = 0.1) -> Abstention:
    """The lowest threshold whose expected hallucination rate over all questions is at most `rate`.

    Conformal risk control (Angelopoulos et al. 2024, eq. 4): the lowest with
    n/(n+1) R + 1/(n+1) <= rate, R the share answered wrong. Holds on average over calibrations,
    for questions exchangeable with these. With a group column n is the number of groups and R
    the mean over groups: it then holds for questions of new groups.
    """
    levels = _counts(items, rate)
    clusters = items.clusters
    size = np.bincount(clusters)
    place = descending(items["q"])[1]
    wrong = np.cumsum(np.bincount(place, (1 - items["y"]) / size[clusters]))
    kept = np.flatnonzero(wrong + 1 <= rate * (len(size) + 1) + ROUNDING)
    threshold = float(levels.q[kept[-1]]) if len(kept) else None
    promise = f"at most {rate:g} of all questions answered wrong, on average over calibrations"
    return _result(levels, threshold, promise, rate=rate, confidence=None)


def certified_threshold(
    items: Items,
    rate: float = 0.1,
    *,
    confidence: float = 0.9,
    among: Among = "answered",
    grid: Sequence[float] = GRID,
) -> Abstention:
    """The lowest threshold certified, with `confidence`, to keep the error at most `rate`.

    among="answered": errors among the answers given, which need not fall with the threshold.
    Learn then test (Angelopoulos et al. 2021): thresholds of `grid`, chosen without looking at
    these questions, are tested from five places on downward until one fails, each by the exact
    binomial (Clopper-Pearson) at (1 - confidence) / 5. among="all": wrong answers as a share
    of all questions, which do fall, so that one descent at 1 - confidence is enough (Bates et
    al. 2021). Holds for independent questions of the same kind: ValueError where groups hold
    several.
    """
    from scipy.stats import binom

    levels = _counts(items, rate)
    if int(items.clusters.max()) + 1 < len(items):
        raise ValueError(
            "column 'group' says that questions depend on each other, and an exact binomial needs "
            "independent ones; keep one a group, or ignore=('group',) if they are independent"
        )
    if not 0 < confidence < 1:
        raise ValueError(f"confidence is {confidence}; it must lie between 0 and 1")
    taus = np.unique(np.asarray(grid, float))[::-1]
    above = levels.q[None, :] >= taus[:, None]
    wrong = above @ levels.wrong
    tried = above @ levels.count if among == "answered" else np.full(len(taus), float(len(items)))
    chance = np.asarray(binom.cdf(wrong, tried, rate))
    chance[tried == 0] = 1.0
    starts = STARTS if among == "answered" else 1
    lowest = -1
    for start in range(0, len(taus), -(-len(taus) // starts)):
        failed = np.flatnonzero(chance[start:] > (1 - confidence) / starts)
        stop = start + (int(failed[0]) if len(failed) else len(taus) - start)
        lowest = max(lowest, stop - 1) if stop > start else lowest
    threshold = float(taus[lowest]) if lowest >= 0 else None
    share = "answers given" if among == "answered" else "all questions"
    promise = f"at most {rate:g} of {share} wrong, in at least {confidence:g} of calibrations"
    return _result(levels, threshold, promise, rate=rate, confidence=confidence)


def clopper_pearson(events: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """The exact interval of a binomial share: covers with at least `level`, (0, 1) untried."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, events, trials - events + 1)) if events > 0 else 0.0
    high = float(beta.ppf(1 - tail, events + 1, trials - events)) if events < trials else 1.0
    return low, high


def _counts(items: Items, rate: float) -> Levels:
    items.need("q", "y", why="abstention")
    if not 0 < rate < 1:
        raise ValueError(f"rate is {rate}; it must lie between 0 and 1, for example 0.1")
    return levels_of(items["q"], items["y"])


def _result(
    levels: Levels, threshold: float | None, promise: str, *, rate: float, confidence: float | None
) -> Abstention:
    given = levels.q >= (np.inf if threshold is None else threshold)
    answered, wrong = float(levels.count[given].sum()), float(levels.wrong[given].sum())
    total = float(levels.total)
    return Abstention(
        promise=promise, threshold=threshold, rate=rate, confidence=confidence,
        questions=int(total), answered=answered / total,
        error=wrong / answered if answered else None,
        error_interval=clopper_pearson(wrong, answered), hallucination=wrong / total,
    )  # fmt: skip
