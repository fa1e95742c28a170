"""Right and wrong answers counted at each distinct confidence, for the table and its resamples.

Shapes: L distinct confidences in descending order, ... any number of resamples in front.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

CHUNK = 4_000_000  # resampled cells held at once
LEAST_GROUPS = 5  # resamples of fewer scarcely vary, and their intervals would be far too narrow


@dataclass(frozen=True, kw_only=True)
class Levels:
    """q: (L,) confidences, the highest first; right and wrong: (..., L) answers at each.

    Every score of confidence is a function of these counts alone, so that tied confidences are
    never put in an order.
    """

    q: Array
    right: Array
    wrong: Array

    @property
    def count(self) -> Array:
        return self.right + self.wrong

    @property
    def total(self) -> Array:
        return self.count.sum(axis=-1)

    @property
    def accuracy(self) -> Array:
        return self.right.sum(axis=-1) / self.total


def levels_of(q: Array, right: Array) -> Levels:
    """Count answers by confidence; right: (questions,) share of each question's answers right."""
    values, level = descending(q)
    return Levels(
        q=values,
        right=np.bincount(level, right, len(values)).astype(float),
        wrong=np.bincount(level, 1 - right, len(values)).astype(float),
    )


def descending(q: Array) -> tuple[Array, Index]:
    """Distinct values, the highest first, and the place of each entry among them."""
    values, inverse = np.unique(-np.asarray(q, float), return_inverse=True)
    return -values, inverse


def resamples(clusters: Index, draws: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each question is drawn, (draws, questions) in chunks: whole clusters, replaced."""
    rng = np.random.default_rng(seed)
    number = int(clusters.max()) + 1
    step = max(1, CHUNK // len(clusters))
    for start in range(0, draws, step):
        size = min(step, draws - start)
        drawn = rng.integers(number, size=(size, number)) + number * np.arange(size)[:, None]
        counts = np.bincount(drawn.ravel(), minlength=size * number).reshape(size, number)
        yield counts[:, clusters]


def resampled_sums(
    level: Index, columns: tuple[Array, ...], weights: NDArray[np.int64]
) -> list[Array]:
    """Each column summed by level under each row of weights: (draws, L)."""
    order = np.argsort(level, kind="stable")
    starts = np.flatnonzero(np.diff(level[order], prepend=-1))
    drawn = weights[:, order]
    return [np.add.reduceat(drawn * column[order], starts, axis=1) for column in columns]


def bootstrap(
    statistics: Callable[[Levels], Mapping[str, Array]],
    data: tuple[Array, Array, Index],
    *,
    draws: int,
    seed: int,
) -> dict[str, Array]:
    """Every statistic of (q, right, clusters) in `draws` resamples of whole clusters: (draws,)."""
    q, right, clusters = data
    values, level = descending(q)
    parts: list[Mapping[str, Array]] = []
    for weights in resamples(clusters, draws, seed):
        sums = resampled_sums(level, (right, 1 - right), weights)
        parts.append(statistics(Levels(q=values, right=sums[0], wrong=sums[1])))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def interval(draws: Array, level: float) -> tuple[float, float] | None:
    """The middle `level` of the draws, or None where a draw does not identify the figure."""
    if not len(draws) or not np.isfinite(draws).all():
        return None
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def check_resampling(clusters: Index, level: float, draws: int) -> None:
    """ValueError where an interval was asked that no resampling gives."""
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.95")
    if draws and draws < 100:
        raise ValueError(f"draws is {draws}; intervals need 100 resamples, or 0 for none")
    groups = int(clusters.max()) + 1
    if draws and groups < LEAST_GROUPS:
        raise ValueError(
            f"{groups} independent questions or groups of them are too few to resample, "
            f"{LEAST_GROUPS} are due; leave a group column out with ignore=('group',) if "
            "questions are independent, or say draws=0"
        )


def resampled_means(columns: tuple[Array, ...], clusters: Index, *, draws: int, seed: int) -> Array:
    """The mean of each column over the questions of each resample: (draws, columns)."""
    matrix = np.stack(columns, axis=1)
    parts = [
        (weights @ matrix) / weights.sum(axis=1, keepdims=True)
        for weights in resamples(clusters, draws, seed)
    ]
    return np.concatenate(parts)
