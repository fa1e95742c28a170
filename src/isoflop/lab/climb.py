"""The main job: train a ladder, forecast the target, seal it, train the target, score it."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from platform import python_version
from typing import Any

import numpy as np

from isoflop.forecast import (
    Forecast,
    Score,
    forecast,
    pool,
    read_forecast,
    score,
    write_forecast,
)
from isoflop.knowing import LossDensities, loss_densities
from isoflop.lab import files
from isoflop.lab.files import LabError
from isoflop.lab.launch import Event, run
from isoflop.lab.recipe import Ladder, params_of
from isoflop.lab.table import noise_floor, slopes, table
from isoflop.lab.trials import read_trials, tried_of
from isoflop.lab.upper import Rungs, climb_rungs
from isoflop.page import Density, Noise, Reproduce, Slope, Warn, write_page
from isoflop.page.analysis import Analysis, analyse, report_of
from isoflop.page.embed import core_of, thinking_of
from isoflop.page.upper import (
    densities_of,
    knowing_of,
    learning_of,
    loss_densities_of,
    samples_of,
)
from isoflop.tables import Runs
from isoflop.units import show

FITTED = ("run", "seed", "params", "tokens", "flops", "loss")


Columns = dict[str, list[Any]]


@dataclass(frozen=True, kw_only=True)
class Climb:
    """What a climb leaves in its folder: the table of runs, the sealed forecast, its score.

    density: of the target, against the ladder below it.
    """

    folder: Path
    runs: Columns
    forecast: Forecast
    score: Score
    density: LossDensities
    page: Path
    rungs: Rungs | None = None  # above pretraining, where the ladder has them

    def to_json(self) -> dict[str, Any]:
        """Plain values: the runs as columns, quantiles, span and verdict."""
        return {
            "folder": str(self.folder),
            "page": str(self.page),
            "runs": {name: list(values) for name, values in self.runs.items()},
            "seal": self.forecast.seal,
            "forecast": self.forecast.to_json(),
            "score": self.score.to_json(),
            "density": self.density.to_json(),
            "rungs": None if self.rungs is None else self.rungs.to_json(),
        }

    def __str__(self) -> str:
        above = "" if self.rungs is None else f"{self.rungs}\n"
        return f"L1 {self.forecast}\n{self.score}\n{self.density}\n{above}page: {self.page}"


def climb(
    ladder: Ladder,
    folder: Path,
    *,
    executor: Executor | None = None,
    on_event: Callable[[Event], None] | None = None,
    cache: Path | None = None,
) -> Climb:
    """Climb a ladder in `folder`, continuing whatever it already holds.

    The forecast is sealed before the target starts and never made again. Raises LabError where a
    rung fails or the folder's forecast was made from other runs; finished runs are kept.
    """
    tell = on_event or (lambda _: None)
    shared = {"executor": executor, "on_event": on_event, "cache": cache}
    run(ladder, folder, roles=("ladder", "seed"), **shared)
    known = runs_of(table(folder), ladder.name, target=False)
    made = seal_once(ladder, known, folder)
    tell({"kind": "sealed", "text": str(made), "seal": made.seal})
    seen = analyse(known)
    page = show_climb(ladder, folder, seen, made, None)
    run(ladder, folder, roles=("target",), **shared)
    observed = runs_of(table(folder), ladder.name, target=True)
    scored = score_once(made, observed, known, folder)
    dense = loss_densities(seen.pool, observed)
    page = show_climb(ladder, folder, seen, made, scored, dense)
    rungs = None
    if ladder.upper is not None:
        rungs = climb_rungs(
            ladder.upper, folder / "upper", seed=ladder.target.seed, executor=executor,
            on_event=on_event,
        )  # fmt: skip
        files.write_json(folder / "upper" / "rungs.json", rungs.to_json())
        page = show_climb(ladder, folder, seen, made, scored, dense, rungs)
    return Climb(
        folder=folder, runs=table(folder), forecast=made, score=scored, density=dense, page=page,
        rungs=rungs,
    )  # fmt: skip


def runs_of(columns: Columns, name: str, *, target: bool | None) -> Runs:
    """The rungs' runs as a table (target=False), the target's alone (True), or all (None)."""
    keep = [k for k, role in enumerate(columns["role"]) if target in (None, role == "target")]
    return Runs.of(
        {column: [columns[column][k] for k in keep] for column in FITTED},
        name=name,
        params="matmul",
        flops="6nd",
        loss="nats/token",
    )


def seal_once(ladder: Ladder, known: Runs, folder: Path) -> Forecast:
    """The folder's sealed forecast, made now where there is none."""
    path = folder / "forecast.json"
    if not path.exists():
        aim = {
            "params": float(params_of(ladder.shape(ladder.target))),
            "tokens": target_tokens(ladder),
        }
        # The ladder's author chose the target: beyond the span the forecast warns, it is made.
        write_forecast(forecast(known, aim, force=True), path)
    made = read_forecast(path)
    if made.inputs["hash"] != known.hash:
        raise LabError(
            f"{path} was sealed from other runs than {folder} now holds: a sealed forecast is "
            "never replaced; climb in another folder"
        )
    return made


def score_once(made: Forecast, observed: Runs, known: Runs, folder: Path) -> Score:
    """The forecast's score, with the time at which it was first scored."""
    path = folder / "score.json"
    scored = score(made, observed, known=known)
    held = json.loads(path.read_text()) if path.exists() else {}
    if held.get("seal") == scored.seal and held.get("observed") == scored.observed:
        return replace(scored, scored_at=str(held["scored_at"]))
    files.write_json(path, scored.to_json())
    return scored


def target_tokens(ladder: Ladder) -> float:
    """Tokens the target really trains on: whole steps."""
    recipe = ladder.recipe
    return float(recipe.steps(ladder.target.tokens[0]) * recipe.tokens_per_step)


def show_climb(
    ladder: Ladder,
    folder: Path,
    seen: Analysis,
    made: Forecast,
    scored: Score | None,
    dense: LossDensities | None = None,
    rungs: Rungs | None = None,
) -> Path:
    """Write the page of a climb as it stands; after the score it proposes the next run.

    seen: the runs below the target, analysed.
    A verdict on trial and error in `trials` of the folder (see `bench/trials.py`) is shown too.
    """
    columns = table(folder)
    everything = pool(runs_of(columns, ladder.name, target=None))
    spent, flops = np.array(columns["core_seconds"]), np.array(columns["flops"])
    largest = int(np.argmax(flops))
    report = report_of(
        seen,
        asked=everything,
        chip=core_of(float(spent[largest] / flops[largest])),
        title=f"isoflop climb: {ladder.name}",
        table={name: columns[name] for name in LISTED},
        ledger=[(made, scored)],
        noise=_noise(columns),
        slopes=_slopes(columns),
        warnings=_warnings(columns),
        reproduce=_reproduce(ladder, columns),
        densities=beside(dense, rungs),
        tried=tuple(tried_of(read_trials(p)) for p in [folder / "trials" / "trials.json"]
                    if p.exists()),
        **({} if rungs is None else shown(rungs)),
    )  # fmt: skip
    return write_page(report, folder / "page.html")


def beside(dense: LossDensities | None, rungs: Rungs | None) -> tuple[Density, ...]:
    """The target by its loss, and a model by its answers in every dimension."""
    by_loss = () if dense is None else loss_densities_of(dense, unit="nats/token")
    found: Any = None if rungs is None else rungs.apart.parts["density"]
    return (*by_loss, *(() if found is None else densities_of(found)))


def shown(rungs: Rungs) -> dict[str, Any]:
    """The tabs of a page above pretraining."""
    answers, curve = rungs.thinking.points[0], rungs.samples
    choice = "majority" if "majority" in curve.values else "pass"
    given = len(rungs.compute) - len(rungs.forecast.compute)
    planned = "; ".join(line.strip() for line in str(rungs.plan).splitlines())
    return {
        "thinking": thinking_of(
            curve,
            choice=choice,
            seconds=answers.seconds,
            chip_seconds=answers.seconds,
            tokens=answers.tokens,
        ),
        "samples": (samples_of(curve, seconds=answers.seconds, tokens=answers.tokens),),
        "learning": (
            learning_of(
                f"{rungs.upper.task}, reinforcement learning",
                compute=rungs.compute[:given],
                reward=rungs.reward[:given],
                forecast=rungs.forecast,
                score=rungs.score,
                observed=rungs.reward[given:],
                title="success of one sample",
                note=f"Where the next FLOP should go: {planned}",
            ),
        ),
        "knowing": (knowing_of(rungs.knowing), knowing_of(rungs.apart)),
    }


LISTED = (
    "run", "role", "params", "tokens", "flops", "loss", "bits_per_byte", "eval_noise", "seed",
    "steps", "core_seconds", "params_total", "flops_exact",
)  # fmt: skip


def _noise(columns: Columns) -> Noise | None:
    floor = noise_floor(columns)
    if not floor["degrees"]:
        return None
    seeds = sorted(set(columns["seed"]))
    return Noise(
        sd=float(floor["relative_sd"] * np.median(columns["loss"])),
        relative=float(floor["relative_sd"]),
        seeds=len(seeds),
        where=f"{floor['degrees']} repeats of cells of the ladder with other seeds",
    )


def _slopes(columns: Columns) -> list[Slope]:
    """The drop of the loss per doubling of tokens, abrupt where it grows beyond the noise."""
    found = slopes(columns)
    rises = {(r["params"], r["from_tokens"]) for r in found["rises"]}
    loss = {
        (n, t): x
        for n, t, x, role in zip(
            *(columns[k] for k in ("params", "tokens", "loss", "role")), strict=True
        )
        if role == "ladder"
    }
    out = []
    for size in found["sizes"]:
        tokens = size["tokens"]
        for low, high in pairwise(tokens):
            drop = loss[size["params"], low] - loss[size["params"], high]
            out.append(
                Slope(
                    params=size["params"],
                    tokens_from=low,
                    tokens_to=high,
                    drop=drop / float(np.log2(high / low)),
                    abrupt=(size["params"], low) in rises,
                )
            )
    return out


def _warnings(columns: Columns) -> list[Warn]:
    rises = slopes(columns)["rises"]
    if not rises:
        return []
    where = ", ".join(f"{show(r['params'])} near {show(r['flops'], 'flops')} FLOPs" for r in rises)
    return [
        Warn(
            text=f"A phase change sits inside the range: the loss falls faster with more tokens "
            f"at {where}. No smooth law holds across it.",
            cure="Fit only runs on one side of it, or add sizes and token counts beyond it.",
        )
    ]


def _reproduce(ladder: Ladder, columns: Columns) -> Reproduce:
    return Reproduce(
        commands=("make climb", f"isoflop climb --ladder {ladder.name}"),
        versions={
            "isoflop": version("isoflop"),
            "python": python_version(),
            "torch": version("torch"),
            "numpy": version("numpy"),
        },
        machine=str(columns["machine"][0]),
        corpus=f"{ladder.corpus}, {ladder.tokenizer}",
        corpus_hash=str(columns["corpus_hash"][0]),
        seeds=tuple(sorted(set(columns["seed"]))),
    )
