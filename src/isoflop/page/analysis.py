"""All that can be said of a table of runs, and the report that says it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.fit import fit
from isoflop.fit.isoflop import isoflop
from isoflop.forecast import backtest as run_backtest
from isoflop.forecast import pool as make_pool
from isoflop.laws import pretrain
from isoflop.page.assemble import curve_of, law_fit, run_columns, valley_of
from isoflop.page.embed import outlook_of
from isoflop.page.report import (
    Backtest,
    BacktestRow,
    Headline,
    Noise,
    Report,
    Reproduce,
    Sealed,
    Slope,
    Warn,
)
from isoflop.plan import allocate
from isoflop.units import show

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from isoflop.fit import Fit
    from isoflop.fit.isoflop import Isoflop
    from isoflop.forecast import Backtest as Tested
    from isoflop.forecast import Forecast, Pool, Score
    from isoflop.page.outlook import Chip, Thinking
    from isoflop.tables import Runs

NEXT_STEP = 4.0  # times the largest compute: the run the headline proposes


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """A table of runs with every law fitted to it, the pool, its backtest and its valleys."""

    runs: Runs
    fits: tuple[Fit, ...]
    pool: Pool
    backtest: Tested | None
    isoflop: Isoflop | None
    refused: Mapping[str, str]  # what the table cannot carry, and why


def analyse(runs: Runs, *, seed: int = 0, executor: Executor | None = None) -> Analysis:
    """Fit every law that the table can carry, best of the pool first, and backtest the pool.

    executor: where the backtest, half of the work, is done meanwhile. Raises ValueError where the
    table can carry no law.
    """
    tested = None if executor is None else executor.submit(backtested, runs, seed)
    refused: dict[str, str] = {}
    fits: list[Fit] = []
    for law in pretrain.ALL:
        try:
            fits.append(fit(runs, law, draws=200, seed=seed))
        except ValueError as reason:
            refused[law.name] = str(reason)
    made = make_pool(runs, pretrain.ALL, seed=seed)
    weight = {m.name: m.weight for m in made.members}
    fits.sort(key=lambda f: -weight.get(f.law.name, 0.0))
    back = valleys = None
    try:
        back = tested.result() if tested else backtested(runs, seed)
    except ValueError as reason:
        refused["backtest"] = str(reason)
    try:
        valleys = isoflop(runs.data, seed=seed)
    except ValueError as reason:
        refused["isoflop"] = str(reason)
    return Analysis(
        runs=runs, fits=tuple(fits), pool=made, backtest=back, isoflop=valleys, refused=refused
    )


def backtested(runs: Runs, seed: int) -> Tested:
    """The backtest of the pretraining laws, in whatever process calls it."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):
        return run_backtest(runs, pretrain.ALL, seed=seed)


def report_of(
    analysis: Analysis,
    *,
    title: str,
    reproduce: Reproduce,
    table: Mapping[str, Any] | None = None,
    ledger: Sequence[tuple[Forecast, Score | None]] = (),
    noise: Noise | None = None,
    slopes: Sequence[Slope] = (),
    warnings: Sequence[Warn] = (),
    asked: Pool | None = None,
    chip: Chip | None = None,
    thinking: Thinking | None = None,
    **rungs: Any,
) -> Report:
    """The page's report: the runs as the forecast of `ledger` knew them, and what became of it.

    table: the runs to list, where they are more than those fitted. asked: the pool behind the
    opening sentence, where it rests on more runs than those analysed; chip and thinking: what it
    costs on which machine and what samples buy. rungs: samples, learning, knowing, arms, costs of
    `Report`.
    """
    runs, pool = analysis.runs, analysis.pool
    behind = asked or pool
    outlook = outlook_of(
        behind,
        flops=NEXT_STEP * behind.span.flops[1],
        backtest=analysis.backtest,
        chip=chip,
        thinking=thinking,
    )
    grid = "params" in runs and "tokens" in runs
    return Report(
        title=title,
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        loss_unit=runs.conventions.get("loss", "unstated"),
        params_convention=runs.conventions.get("params", "unstated"),
        flops_convention=runs.conventions.get("flops", "unstated"),
        runs=run_columns(table if table is not None else runs.data, runs.conventions),
        reproduce=reproduce,
        outlook=outlook,
        headline=headline_of(behind) if outlook is None else None,
        warnings=(*warnings, *_warnings(analysis, ledger)),
        curve=curve_of(
            pool,
            runs,
            sealed=ledger[-1] if ledger else None,
            reach=0.0 if outlook is None else outlook.flops,
        )
        if grid
        else None,
        valley=valley_of(pool, runs, analysis.isoflop) if grid else None,
        laws=tuple(law_fit(f) for f in analysis.fits),
        backtest=_backtest(analysis),
        ledger=tuple(_sealed(f, s) for f, s in ledger),
        noise=noise,
        slopes=tuple(slopes),
        **rungs,
    )


def headline_of(pool: Pool) -> Headline | None:
    """The next run worth its compute, without sliders: where no law can be written into a page.

    Four times the largest, split as the pool finds best within the measured ratios of tokens to
    parameters widened by two; None where the table has no params and tokens.
    """
    if pool.span.ratio is None:
        return None
    flops = NEXT_STEP * pool.span.flops[1]
    low, high = pool.span.ratio
    ratio = float(np.sqrt(low * high))
    if high > low and any("params" in member.law.inputs for member in pool.members):
        best = allocate(pool, flops)
        ratio = float(np.clip(best.tokens / best.params, low / 2, high * 2))
    params = float(np.sqrt(flops / (6 * ratio)))
    there = {"params": params, "tokens": params * ratio, "flops": flops}
    predicted = pool.predict({k: np.array([v]) for k, v in there.items()})
    below, above = predicted.interval(0.9)
    return Headline(
        params=params,
        tokens=params * ratio,
        flops=flops,
        loss=float(predicted.median()[0]),
        low=float(below[0]),
        high=float(above[0]),
        level=0.9,
        basis=f"a pool of {len(pool.members)} fits, {len(pool.cuts)} backtest cuts",
    )


def _warnings(analysis: Analysis, ledger: Sequence[tuple[Forecast, Score | None]]) -> list[Warn]:
    said = [(made.warning, made.forced) for made, _ in ledger if made.warning]
    out = [Warn(text=f"{text[0].upper()}{text[1:]}.", grave=grave) for text, grave in said]
    if analysis.backtest is None:
        out.append(
            Warn(
                text="No backtest could be made of these runs: the intervals rest on a prior.",
                cure=analysis.refused["backtest"],
                grave=True,
            )
        )
    best = analysis.fits[0] if analysis.fits else None
    if best is not None:
        out += [Warn(text=f"{best.law.title}: {text}.") for text in best.diagnostics["distrust"]]
    return out


def _backtest(analysis: Analysis) -> Backtest | None:
    if analysis.backtest is None:
        return None
    back = analysis.backtest
    level = 0.9 if 0.9 in back.levels else back.levels[0]
    return Backtest(
        rows=tuple(
            BacktestRow(
                law=row.law,
                cut_flops=row.cut,
                fitted=row.fitted,
                hidden=row.hidden,
                span=10**row.decades,
                rms=row.rms,
                bias=row.bias,
                coverage=row.coverage.get(level),
                width=row.width.get(level),
            )
            for row in back.rows
        ),
        level=level,
        weights={m.name: m.weight for m in analysis.pool.members},
        reasons=_reasons(analysis.pool),
        note="; ".join(f"below {show(cut, 'flops')}: {why}" for cut, why in back.refused.items()),
    )


def _reasons(pool: Pool) -> dict[str, str]:
    """What the inner backtest found of each law: its error, and how it grows beyond a cut."""
    said = dict(pool.left_out)
    for m in pool.members:
        if np.isfinite(m.rms):
            side = "too high" if m.bias > 0 else "too low"
            said[m.name] = (
                f"off by {100 * m.rms:.2f}% over {m.folds} cuts, {100 * abs(m.bias):.2f}% {side} "
                f"in the mean; {100 * m.slope:.2f}% a decade beyond a cut"
            )
        else:
            said[m.name] = "too few cuts to tell it from the others"
    return said


def _sealed(made: Forecast, scored: Score | None) -> Sealed:
    target = made.target
    return Sealed(
        target=f"{show(target['params'])} parameters on {show(target['tokens'])} tokens",
        seal=made.seal,
        sealed_at=_minute(made.sealed_at),
        flops=target["flops"],
        params=target["params"],
        tokens=target["tokens"],
        quantiles={
            f"{level:g}": made.quantile(level)
            for level in (0.025, 0.05, 0.25, 0.5, 0.75, 0.95, 0.975)
        },
        scored_at=_minute(scored.scored_at) if scored else None,
        observed=scored.observed if scored else None,
        error=scored.error if scored else None,
        inside_90=scored.inside_90 if scored else None,
        inside_95=scored.inside_95 if scored else None,
        crps=scored.crps if scored else None,
        verdict=scored.verdict if scored else "sealed",
        note=made.warning,
    )


def _minute(moment: str) -> str:
    """An ISO time in UTC as a person reads it."""
    return f"{moment[:10]} {moment[11:16]} UTC"
