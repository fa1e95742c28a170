"""The columns along which a table is cut, and how far beyond them a target lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.law import Law
    from isoflop.tables import Runs

    Array = NDArray[np.float64]

COMPUTE = "flops"
# Chosen at every scale rather than scaled: nobody forecasts beyond the largest that was tried.
KNOBS = ("learning_rate", "batch_tokens", "batch_sequences", "treated", "curve", "step")
STANDS_FOR = ("params", "tokens")  # compute is their product
SHARE = "share_"  # how the columns of a mixture begin
SPREAD = "distance from the middle"  # of shares, and of inputs that may be 0

Fold = tuple[tuple[str, float], ...]  # the limit of each column that a fold's runs stay below


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What a table's backtest extrapolates along, the first before all.

    limits: least and most of each column. middle: mean and standard deviation of each share and
    of each input that may be 0; their distance from it is one more axis.
    """

    limits: Mapping[str, tuple[float, float]]
    middle: Mapping[str, tuple[float, float]]

    @property
    def first(self) -> str:
        return next(iter(self.limits))

    def columns(self, table: Mapping[str, object] | Runs) -> dict[str, Array]:
        """The axes of each row. Raises ValueError where a column is missing."""
        missing = [n for n in (*self.limits, *self.middle) if n != SPREAD and n not in table]
        if missing:
            raise ValueError(
                f"column {missing[0]!r} is missing: the pool was backtested along "
                f"{', '.join(self.limits)}"
            )
        out = {n: np.asarray(table[n], dtype=float) for n in self.limits if n != SPREAD}
        if SPREAD in self.limits:
            out[SPREAD] = _distance(table, self.middle)
        return out

    def decades(self, table: Mapping[str, object]) -> Array:
        """How far each row lies beyond the runs: root of the squared decades of every axis."""
        beyond = [
            np.log10(np.maximum(column / self.limits[name][1], 1.0))
            for name, column in self.columns(table).items()
        ]
        return np.sqrt(np.sum(np.square(beyond), axis=0))


def axes_of(runs: Runs, laws: Sequence[Law]) -> Axes:
    """Compute, and what else the laws read that is scaled; without compute every scaled input.

    Raises ValueError where nothing that the laws read grows.
    """
    inputs = dict.fromkeys(name for law in laws for name in law.inputs if name in runs)
    names = [COMPUTE] if COMPUTE in runs else []
    middle = {}
    for name in inputs:
        column = runs[name]
        if name in (*KNOBS, *names) or column.dtype.kind != "f" or np.ptp(column) == 0:
            continue
        if name.startswith(SHARE) or not np.all(column > 0):
            middle[name] = (float(column.mean()), float(column.std()))
        elif not (COMPUTE in runs and name in STANDS_FOR):
            names.append(name)
    limits = {n: (float(runs[n].min()), float(runs[n].max())) for n in names}
    if middle:
        distance = _distance(runs, middle)
        limits[SPREAD] = (float(distance.min()), float(distance.max()))
    if not limits:
        raise ValueError(
            f"no column of {runs.name!r} that a law reads takes different values; add runs that "
            "differ in size"
        )
    return Axes(limits=limits, middle=middle)


def standard(column: Array) -> Array:
    """The column, or its log where it is positive, less its mean over its standard deviation."""
    x = np.log(column) if np.all(column > 0) else column
    return (x - x.mean()) / max(float(x.std()), 1e-12)


def standardised(columns: Mapping[str, Array]) -> Array:
    """Rows of standardised inputs, (rows, inputs); compute only where it is the only one."""
    inputs = [v for k, v in columns.items() if k != COMPUTE] or list(columns.values())
    return np.stack([standard(v) for v in inputs], axis=-1)


def nearness(x: Array) -> Array:
    """exp(-d^2 / 2) of every pair of rows of x, d their distance: (rows, rows)."""
    apart = np.sum(x**2, axis=1)[:, None] + np.sum(x**2, axis=1) - 2 * x @ x.T
    return np.exp(-np.maximum(apart, 0.0) / 2)


def within(columns: Mapping[str, Array], fold: Fold) -> NDArray[np.bool_]:
    """The rows that stay below every limit of a fold."""
    return np.all([columns[name] <= limit for name, limit in fold], axis=0)


def _distance(
    table: Mapping[str, object] | Runs, middle: Mapping[str, tuple[float, float]]
) -> Array:
    parts = [
        (np.asarray(table[name], dtype=float) - mean) / sd for name, (mean, sd) in middle.items()
    ]
    return np.sqrt(np.mean(np.square(parts), axis=0)) + 1e-9
