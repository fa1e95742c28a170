"""Laws of the calendar: capability density, task horizon and price over time."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isoflop.law import Law, Param, Published
from isoflop.laws.data import PLAIN

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    Array = NDArray[np.float64]


def _trend(
    *,
    name: str,
    title: str,
    output: str,
    unit: str,
    citation: str,
    published: tuple[Published, ...] = (),
    note: str = "",
) -> Law:
    """output = exp(A t + B), t in days."""
    return Law(
        name=name,
        title=title,
        equation=f"{output} = exp(A t + B), t in days",
        formula=lambda p, x: np.exp(p["A"] * x["days"] + p["B"]),
        params=(
            Param(name="A", low=-1, high=1, start=(-0.01, 0.01), unit="1/day", meaning="growth"),
            Param(name="B", low=-50, high=50, start=(-5, 5), meaning="ln of the output at day 0"),
        ),
        inputs=("days",),
        output=output,
        output_unit=unit,
        citation=citation,
        published=published,
        note=note,
    )


DENSITY = _trend(
    name="density",
    title="Capability density of open models",
    output="density",
    unit="effective parameters per parameter",
    citation="Xiao et al. 2024, Densing law, arXiv:2412.04315",
    note="Published: A = .007 a day, doubling in about 3.3 months; B was given in a figure only. "
    "It was fitted to a running maximum, which rises with the number of models alone: use "
    "`frontier_trend`.",
)
HORIZON = _trend(
    name="horizon",
    title="Length of the tasks that models finish",
    output="horizon",
    unit="minutes",
    citation="Kwa et al. 2025 (METR), arXiv:2503.14499",
    note="Published: doubling in 212 days (171 to 249), A = .00327 a day; B depends on day 0.",
)
PRICE = _trend(
    name="price",
    title="Price of a fixed score",
    output="price",
    unit="dollars per million tokens",
    citation="Epoch AI 2025, LLM inference price trends",
    note="Published: per benchmark, the median falls by a factor of about 50 a year.",
)

PROGRESS = Law(
    name="progress",
    title="Progress of methods as growth of effective size and data",
    equation="L = E + A (N exp(g t))^-alpha + B (D exp(h t))^-beta, t in years",
    formula=lambda p, x: (
        p["E"]
        + p["A"] * (x["params"] * np.exp(p["g"] * x["years"])) ** -p["alpha"]
        + p["B"] * (x["tokens"] * np.exp(p["h"] * x["years"])) ** -p["beta"]
    ),
    params=(
        *PLAIN,
        Param(name="g", low=-5, high=10, start=(0, 2), unit="1/year", meaning="growth of params"),
        Param(name="h", low=-5, high=10, start=(0, 2), unit="1/year", meaning="growth of tokens"),
    ),
    inputs=("params", "tokens", "years"),
    citation="Ho et al. 2024, Algorithmic progress in language models, arXiv:2403.05812",
    note="Published: effective compute doubles in 8.4 months (4.5 to 14.3); the coefficients were "
    "not carried over.",
)

ALL = (DENSITY, HORIZON, PRICE, PROGRESS)


class Trend(NamedTuple):
    """Growth per day of the log output, its level at day 0 and the growth's standard error."""

    growth: float
    level: float
    error: float

    @property
    def doubling_days(self) -> float:
        return float(np.log(2) / self.growth)


def running_maximum_trend(days: ArrayLike, values: ArrayLike) -> Trend:
    """Least squares through the records only, as published; biased upwards by selection."""
    t, y = _ordered(days, values)
    record = y >= np.maximum.accumulate(y)
    return _line(t[record], y[record])


def frontier_trend(
    days: ArrayLike, values: ArrayLike, *, quantile: float = 0.9, draws: int = 200, seed: int = 0
) -> Trend:
    """Growth of a high quantile of all models: unlike a running maximum it does not rise because
    more models were made.

    The regression quantile is exact (linear programme); its error comes from resampling models
    (nan with draws=0).
    Raises ValueError for a quantile that so few models do not determine.
    """
    t, y = _ordered(days, values)
    if not 1 / len(y) < 1 - quantile < 1:
        raise ValueError(f"quantile {quantile:g} needs more than {1 / (1 - quantile):.0f} models")
    growth, level = _quantile_line(t, y, quantile)
    rng = np.random.default_rng(seed)
    again = []
    for _ in range(draws):
        pick = rng.integers(0, len(t), len(t))
        if np.ptp(t[pick]) > 0:
            again.append(_quantile_line(t[pick], y[pick], quantile)[0])
    return Trend(growth, level, float(np.std(again)) if again else float("nan"))


def _ordered(days: ArrayLike, values: ArrayLike) -> tuple[Array, Array]:
    t, y = np.asarray(days, dtype=float), np.asarray(values, dtype=float)
    if t.shape != y.shape or t.ndim != 1 or len(t) < 3:
        raise ValueError("days and values must be two columns of at least 3 models")
    if not np.all(y > 0):
        raise ValueError("values must be positive: their logarithm is the trend")
    order = np.argsort(t, kind="stable")
    return t[order], np.log(y[order])


def _line(t: Array, y: Array) -> Trend:
    middle = t - t.mean()
    square = float(middle @ middle)
    if len(t) < 3 or square == 0:
        raise ValueError("fewer than 3 records: no trend")
    growth = float(middle @ y) / square
    residual = y - y.mean() - growth * middle
    error = float(np.sqrt(residual @ residual / (len(t) - 2) / square))
    return Trend(growth, float(y.mean() - growth * t.mean()), error)


def _quantile_line(t: Array, y: Array, quantile: float) -> tuple[float, float]:
    from scipy.optimize import linprog

    n, middle, size = len(t), t.mean(), max(float(np.ptp(t)), 1e-12)
    x = (t - middle) / size
    found = linprog(
        np.concatenate([[0, 0], np.full(n, quantile), np.full(n, 1 - quantile)]),
        A_eq=np.hstack([x[:, None], np.ones((n, 1)), np.eye(n), -np.eye(n)]),
        b_eq=y,
        bounds=[(None, None)] * 2 + [(0, None)] * (2 * n),
    )
    slope = float(found.x[0]) / size
    return slope, float(found.x[1]) - slope * middle
