"""From fits, pool and backtest to the `Report` that a page shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.page.report import (
    Band,
    Coefficient,
    Column,
    Curve,
    Fact,
    LawFit,
    Member,
    Optimum,
    Slice,
    Target,
    Valley,
)
from isoflop.plan.allocation import bottom

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.fit import Fit
    from isoflop.fit.isoflop import Isoflop
    from isoflop.forecast import Forecast, Pool, Score
    from isoflop.tables import Runs

    Array = NDArray[np.float64]

GRID = 61
NEAR = 1.3  # a run within this factor of a budget is shown at it
UNITS = {
    "tokens": "tokens",
    "flops": "FLOP",
    "flops_exact": "FLOP",
    "core_seconds": "core-s",
    "wall_seconds": "s",
}


def run_columns(table: Mapping[str, Any], conventions: Mapping[str, str]) -> tuple[Column, ...]:
    """The run table of a page; run and role are filled in where the table has none."""
    count = len(table["loss"])
    columns = {
        "run": [f"run {k}" for k in range(1, count + 1)],
        "role": ["ladder"] * count,
    } | {name: list(values) for name, values in table.items()}
    return tuple(
        Column(
            name=name,
            values=tuple(_plain(v) for v in values),
            unit=conventions.get("loss", "") if name == "loss" else UNITS.get(name, ""),
            convention=conventions.get(name, "") if name in ("params", "flops") else "",
        )
        for name, values in columns.items()
    )


def _plain(value: Any) -> str | int | float | None:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return int(value)
    return value


def law_fit(fit: Fit) -> LawFit:
    """One fitted law with what is to be distrusted about it."""
    d = fit.diagnostics
    facts = [
        Fact(name="runs", value=str(len(fit.residuals))),
        Fact(name="residual rms", value=f"{100 * d['rms']:.3g}%"),
    ]
    facts += [
        Fact(name=f"span of {name}", value=f"{decades:.2f} decades")
        for name, decades in d["decades"].items()
    ]
    if d["correlation"] is not None:
        facts.append(Fact(name="corr(ln N, ln D)", value=f"{d['correlation']:.3f}"))
    facts.append(Fact(name="condition number", value=f"{d['condition']:.3g}"))
    if d["seed_noise"] is not None:
        facts.append(Fact(name="seed noise", value=f"{100 * d['seed_noise']:.3g}%"))
    facts += [Fact(name="distrust", value=text) for text in d["distrust"]]
    return LawFit(
        law=fit.law.name,
        title=fit.law.title,
        equation=fit.law.equation,
        coefficients=tuple(_coefficient(fit, name) for name in fit.law.names),
        objective=_objective(fit),
        objective_value=fit.objective_value,
        certified=fit.certified,
        reason=fit.certificate,
        diagnostics=tuple(facts),
        influence=tuple(
            Fact(
                name=f"run {row['row']}",
                value=f"{row['shift_percent']:+.2g}%",
                note="shift of the largest run's prediction when this run is left out",
            )
            for row in d["influence"]
        ),
        sensitivity=tuple(
            Fact(
                name=label, value=", ".join(f"{k} {v:.4g}" for k, v in row["coefficients"].items())
            )
            for group, rows in (("objective", d["by_objective"]), ("worst dropped", d["dropped"]))
            for row in rows
            for label in [f"{group} {row['label']}"]
        ),
        citation=fit.law.citation,
    )


def _objective(fit: Fit) -> str:
    o = fit.objective
    return f"sum of {o.kind}({o.delta:g}) of log residuals" if o.kind == "huber" else o.kind


def _coefficient(fit: Fit, name: str) -> Coefficient:
    param = next(p for p in fit.law.params if p.name == name)
    value = fit.values[name]
    low, high = fit.intervals.get(name, (value, value))
    return Coefficient(
        name=name,
        value=value,
        low=low,
        high=high,
        level=fit.level,
        unit="" if param.unit == "1" else param.unit,
        at_bound=not param.low < value < param.high,
    )


def curve_of(
    pool: Pool,
    runs: Runs,
    *,
    sealed: tuple[Forecast, Score | None] | None = None,
    reach: float = 0.0,
) -> Curve:
    """The pool's loss against compute, at the target's ratio of tokens to parameters.

    Without a sealed forecast: at the median ratio of the runs, to ten times the largest compute.
    reach: FLOPs that the curve goes to at least.
    """
    target = sealed[0].target if sealed else None
    ratio = (
        target["tokens"] / target["params"]
        if target
        else float(np.median(runs["tokens"] / runs["params"]))
    )
    largest = float(runs["flops"].max())
    top = max(reach, 1.5 * target["flops"] if target else 10 * largest)
    flops = np.geomspace(runs["flops"].min(), top, GRID)
    params = np.sqrt(flops / (6 * ratio))
    columns = {"params": params, "tokens": params * ratio, "flops": flops}
    predicted = pool.predict(columns)
    bands = [(level, *predicted.interval(level)) for level in (0.5, 0.9, 0.95)]
    trusted = largest * 10**pool.span.decades
    return Curve(
        flops=tuple(flops.tolist()),
        median=tuple(predicted.median().tolist()),
        bands=tuple(
            Band(level=level, low=tuple(low.tolist()), high=tuple(high.tolist()))
            for level, low, high in bands
        ),
        members=tuple(
            Member(
                law=m.name,
                weight=m.weight,
                loss=tuple(m.law.predict(m.coefficients, columns).tolist()),
            )
            for m in sorted(pool.members, key=lambda m: -m.weight)
        ),
        measured=(float(runs["flops"].min()), largest),
        trusted_to=trusted if trusted < top else None,
        path=f"{ratio:.3g} tokens a parameter",
        target=_target(*sealed) if sealed else None,
    )


def _target(made: Forecast, scored: Score | None) -> Target:
    """The sealed forecast as it was written, not what the pool would say now."""
    low, high = made.interval(0.9)
    return Target(
        flops=made.target["flops"],
        loss=made.median,
        low=low,
        high=high,
        observed=scored.observed if scored else None,
    )


def valley_of(pool: Pool, runs: Runs, isoflop: Isoflop | None) -> Valley:
    """Slices of the budgets that the runs share, or of the pool at budgets of its own."""
    if isoflop is not None:
        return Valley(
            fixed="flops",
            slices=tuple(_budget_slice(runs, v, isoflop.curve) for v in isoflop.valleys),
            optima=tuple(_optimum(isoflop, f) for f in (isoflop.params, isoflop.tokens)),
            note=f"Lowest points of a {isoflop.curve} in ln N at each budget.",
        )
    low, high = runs["flops"].min(), runs["flops"].max()
    budgets = np.geomspace(low * NEAR, high, 4) if high > low * NEAR else np.array([high])
    slices = [_pool_slice(pool, runs, float(budget)) for budget in budgets]
    return Valley(
        fixed="flops",
        slices=tuple(part for part in slices if part is not None),
        note=(
            f"The runs share no budgets: a line is the pool's median at one budget, a dot a run "
            f"within a factor of {NEAR:g} of it, moved to it along the pool's median."
        ),
    )


def _budget_slice(runs: Runs, valley: Any, shape: str) -> Slice:
    near = np.abs(np.log(runs["flops"] / valley.flops)) < 0.1
    order = np.argsort(runs["params"][near])
    params, loss = runs["params"][near][order], runs["loss"][near][order]
    grid = np.geomspace(params.min(), params.max(), 41)
    x = np.log(params / params.mean())
    degree = min({"parabola": 2, "cubic": 3}[shape], len(np.unique(params)) - 1)
    line = np.polyval(np.polyfit(x, loss, degree), np.log(grid / params.mean()))
    found = not valley.excluded
    return Slice(
        at=valley.flops,
        params=tuple(params.tolist()),
        loss=tuple(loss.tolist()),
        curve_params=tuple(grid.tolist()),
        curve_loss=tuple(line.tolist()),
        best_params=valley.params if found else None,
        best_tokens=valley.tokens if found else None,
        best_loss=valley.loss if found else None,
        bracketed=found,
        shape=shape,
    )


def _pool_slice(pool: Pool, runs: Runs, budget: float) -> Slice | None:
    """The pool's valley at a budget that no two runs need share; None without a run near it."""
    near = np.abs(np.log(runs["flops"] / budget)) <= np.log(NEAR)
    if not near.any() or len(np.unique(runs["tokens"] / runs["params"])) < 2:
        return None
    order = np.argsort(runs["params"][near])
    params = runs["params"][near][order]
    flops = runs["flops"][near][order]
    moved = _median(pool, params, np.full(len(params), budget)) / _median(pool, params, flops)
    best = bottom(pool, budget)
    at = best.params.value
    sizes = runs["params"]
    grid = np.geomspace(min(sizes.min(), at / 2), max(sizes.max(), at * 2), 41)
    inside = sizes.min() <= at <= sizes.max() and not best.at_edge
    return Slice(
        at=budget,
        params=tuple(params.tolist()),
        loss=tuple((runs["loss"][near][order] * moved).tolist()),
        curve_params=tuple(grid.tolist()),
        curve_loss=tuple(_median(pool, grid, np.full(41, budget)).tolist()),
        best_params=at,
        best_low=best.params.low,
        best_high=best.params.high,
        best_tokens=best.tokens,
        best_loss=best.loss,
        bracketed=bool(inside),
        shape="pool median",
    )


def _median(pool: Pool, params: Array, flops: Array) -> Array:
    columns = {"params": params, "tokens": flops / (6 * params), "flops": flops}
    return pool.predict(columns).median()


def _optimum(isoflop: Isoflop, frontier: Any) -> Optimum:
    trusted: Sequence[Any] = [v for v in isoflop.valleys if not v.excluded]
    low, high = frontier.exponent_interval
    return Optimum(
        quantity=frontier.column,
        flops=tuple(v.flops for v in trusted),
        values=tuple(getattr(v, frontier.column) for v in trusted),
        coefficient=frontier.coefficient,
        exponent=frontier.exponent,
        exponent_low=low,
        exponent_high=high,
        level=isoflop.level,
    )
