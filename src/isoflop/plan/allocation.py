"""The split of a compute budget between parameters and tokens that a pool of laws predicts best."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.forecast.span import reach_of
from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.forecast import Pool

    Array = NDArray[np.float64]

GRID = 241  # sizes looked at, evenly in ln N
MARGIN = 1.0  # decades of tokens per parameter beyond the measured ones that are looked at


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """The best model for a budget, C = 6 N D.

    low and high bound params at `level` over the laws and their draws; loss_low and loss_high
    bound the loss of that model; flat_low and flat_high are the sizes whose median loss lies
    within 1% of the best. at_edge: the best lies at the edge of the ratios looked at, so the
    runs do not bracket it. warning: how far the budget lies beyond the backtested span.
    """

    flops: float
    params: float
    tokens: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    flat_low: float
    flat_high: float
    level: float
    at_edge: bool
    warning: str

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        edge = "; the runs do not bracket it" if self.at_edge else ""
        return (
            f"for {show(self.flops, 'flops')} FLOPs: {show(self.params)} parameters "
            f"({100 * self.level:g}%: {show(self.low)} to {show(self.high)}) on "
            f"{show(self.tokens)} tokens{edge}; loss {self.loss:.4g} "
            f"({self.loss_low:.4g} to {self.loss_high:.4g}); within 1% from "
            f"{show(self.flat_low)} to {show(self.flat_high)} parameters"
            + (f"\nWARNING: {self.warning}" if self.warning else "")
        )


def allocate(pool: Pool, flops: float, *, level: float = 0.9) -> Allocation:
    """The compute-optimal size under the pool's median, searched near the measured ratios.

    The optimum of every law and draw is found on one grid; laws that do not read params take
    part in the loss, not in the choice. Raises ValueError where the table has no ratio to vary.
    """
    if not flops > 0:
        raise ValueError(f"a budget must be positive, not {flops:g} FLOPs")
    if pool.span.ratio is None or not pool.span.ratio[0] < pool.span.ratio[1]:
        raise ValueError(
            "the runs all have one ratio of tokens to parameters: the split of a budget cannot "
            "be learnt from them; add runs at another ratio"
        )
    columns = ratio_grid(pool.span.ratio, flops)
    median = pool.predict(columns).quantile(0.5)
    best = int(np.argmin(median))
    params = float(lowest(columns["params"], median[None])[0])
    low, high = optimum_interval(pool, columns, level)
    near = columns["params"][median <= median[best] * 1.01]
    there = pool.predict(
        {k: np.array([v]) for k, v in (("params", params), ("tokens", flops / (6 * params)),
                                       ("flops", flops))}
    )  # fmt: skip
    reach = reach_of(pool.span, flops=flops, ratio=flops / (6 * params**2))
    tail = (1 - level) / 2
    return Allocation(
        flops=flops,
        params=float(columns["params"][best]),
        tokens=float(columns["tokens"][best]),
        low=low,
        high=high,
        loss=float(median[best]),
        loss_low=float(there.quantile(tail)[0]),
        loss_high=float(there.quantile(1 - tail)[0]),
        flat_low=float(near.min()),
        flat_high=float(near.max()),
        level=level,
        at_edge=best in (0, GRID - 1),
        warning=reach.warning,
    )


def ratio_grid(ratio: tuple[float, float], flops: float) -> dict[str, Array]:
    """Columns along one budget, from above the largest to below the smallest measured ratio."""
    ratios = np.geomspace(ratio[1] * 10**MARGIN, ratio[0] / 10**MARGIN, GRID)
    params = np.sqrt(flops / (6 * ratios))
    return {"params": params, "tokens": params * ratios, "flops": np.full(GRID, flops)}


def lowest(params: Array, loss: Array) -> Array:
    """The size of each row's lowest loss, by a parabola in ln N through the three points there.

    params: (grid,), evenly spaced in ln N. loss: (rows, grid).
    """
    at = np.clip(np.argmin(loss, axis=1), 1, loss.shape[1] - 2)
    rows = np.arange(len(loss))
    left, middle, right = (loss[rows, at + k] for k in (-1, 0, 1))
    bend = left - 2 * middle + right
    shift = np.where(bend > 0, (left - right) / (2 * np.where(bend > 0, bend, 1.0)), 0.0)
    step = np.log(params[1] / params[0])
    return params[at] * np.exp(step * np.clip(shift, -1, 1))


def optimum_interval(pool: Pool, columns: dict[str, Array], level: float) -> tuple[float, float]:
    """Weighted quantiles of the best size over all members' draws."""
    sizes, weights = [], []
    for member in pool.members:
        if "params" not in member.law.inputs or not len(member.draws):
            continue
        predicted = member.law.predict(member.draws, columns)
        sound = np.isfinite(predicted).all(axis=1)
        sizes.append(lowest(columns["params"], predicted[sound]))
        weights.append(np.full(sound.sum(), member.weight / max(sound.sum(), 1)))
    if not sizes:
        raise ValueError("no law of the pool reads params: the split of a budget is not learnt")
    size, weight = np.concatenate(sizes), np.concatenate(weights)
    order = np.argsort(size)
    share = np.cumsum(weight[order]) / weight.sum()
    tail = (1 - level) / 2
    low, high = np.searchsorted(share, [tail, 1 - tail])
    return float(size[order][low]), float(size[order][min(high, len(size) - 1)])
