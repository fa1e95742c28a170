"""How large a model of the reference ladder would have to be to reach the same loss: density.

The densing law (Xiao et al. 2024, eq. 4) with the loss itself in place of a score of tasks, and
the pool of laws in place of one fit: effective over real size, at the tokens of the model.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.forecast import Pool
    from isoflop.tables import Runs

    Array = NDArray[np.float64]

REACH = 300.0  # times the model's own size that is looked at, either way
GRID = 601  # sizes looked at
SHARED = ("params", "loss")  # what both tables must count alike


@dataclass(frozen=True, kw_only=True)
class LossDensity:
    """One run beside the ladder.

    expected: loss that the ladder forecasts at its size and tokens. effective: parameters at which
    the ladder's forecast on as many tokens has `loss` for its median, None beyond 300 times the
    run's own size either way (`beyond`: "below" or "above"). density: effective over own.
    interval: of density, from the sizes that reach `loss` with probability (1 - level) / 2 and
    (1 + level) / 2; an end beyond what is looked at is None. decades: of compute, from the
    ladder's largest run to this one.
    """

    run: str
    params: float
    tokens: float
    loss: float
    expected: float
    effective: float | None
    density: float | None
    interval: tuple[float | None, float | None]
    beyond: str
    decades: float


@dataclass(frozen=True, kw_only=True)
class LossDensities:
    """Every run of a table beside one ladder."""

    ladder: str
    level: float
    backtested: float
    rows: tuple[LossDensity, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [
            f"density against {self.ladder}: parameters of an equal reference model on as many "
            f"tokens over a model's own; backtested to {self.backtested:.2f} decades beyond the "
            "ladder"
        ]
        for r in self.rows:
            line = (
                f"  {r.run}: {show(r.params)} on {show(r.tokens)} tokens, loss {r.loss:.4f} where "
                f"the ladder forecasts {r.expected:.4f}; "
            )
            if r.effective is None:
                lines.append(f"{line}{r.beyond} every size looked at: not identified")
                continue
            low, high = ("beyond" if x is None else f"{x:.3g}" for x in r.interval)
            far = f", {r.decades:.2f} decades beyond the ladder" if r.decades > 0 else ""
            lines.append(
                f"{line}as {show(r.effective)} of the ladder, density {r.density:.3g} "
                f"({100 * self.level:g}%: {low} to {high}){far}"
            )
        return "\n".join(lines)


def loss_densities(pool: Pool, models: Runs, *, level: float = 0.9) -> LossDensities:
    """The density of each run of `models` against the ladder that `pool` was fitted to.

    Losses must be of the same text and tokenizer. Raises ValueError where the tables count
    parameters or loss differently, or the models lack params, tokens or loss.
    """
    if not 0 < level < 1:
        raise ValueError(f"level is {level}; it must lie between 0 and 1, for example 0.9")
    for column in ("params", "tokens", "loss"):
        if column not in models:
            raise ValueError(
                f"density needs column {column!r}; {models.name!r} has {', '.join(models.columns)}"
            )
    for name in SHARED:
        ours, theirs = (c.get(name, "unstated") for c in (pool.conventions, models.conventions))
        if ours != theirs:
            raise ValueError(
                f"{pool.runs!r} counts {name} as {ours}, {models.name!r} as {theirs}: bring both "
                "to one convention, and say which"
            )
    rows = tuple(_beside(pool, models, row, level) for row in range(len(models)))
    return LossDensities(
        ladder=pool.runs, level=level, backtested=pool.span.decades, rows=rows
    )  # fmt: skip


def _beside(pool: Pool, models: Runs, row: int, level: float) -> LossDensity:
    n, d, loss = (float(models[name][row]) for name in ("params", "tokens", "loss"))
    counted = float(models["flops"][row]) / (6 * n * d) if "flops" in models else 1.0
    sizes = np.append(n * np.geomspace(1 / REACH, REACH, GRID), n)
    columns = {"params": sizes, "tokens": np.full(len(sizes), d), "flops": 6 * sizes * d * counted}
    predicted = pool.predict(columns)
    chance = predicted.cdf(loss)[:-1]  # that a reference model of each size does as well
    grid = np.log(sizes[:-1])
    shares = 0.5, (1 - level) / 2, (1 + level) / 2
    middle, low, high = (_crossing(grid, chance, share) for share in shares)
    return LossDensity(
        run=str(models["run"][row]) if "run" in models else f"run {row + 1}",
        params=n, tokens=d, loss=loss, expected=float(predicted.median()[-1]),
        effective=middle, density=_over(middle, n), interval=(_over(low, n), _over(high, n)),
        beyond="" if middle is not None else "below" if chance[0] > 0.5 else "above",
        decades=float(pool.axes.decades({k: v[-1:] for k, v in columns.items()})[0]),
    )  # fmt: skip


def _over(size: float | None, own: float) -> float | None:
    return None if size is None else size / own


def _crossing(grid: Array, chance: Array, share: float) -> float | None:
    """The size at which `chance` first rises to `share`; None where it starts above or never does.

    grid: ln sizes, between which the chance is a straight line.
    """
    reached = np.flatnonzero(chance >= share)
    if not len(reached) or reached[0] == 0:
        return None
    k = int(reached[0])
    part = (share - chance[k - 1]) / (chance[k] - chance[k - 1])
    return float(np.exp(grid[k - 1] + part * (grid[k] - grid[k - 1])))
