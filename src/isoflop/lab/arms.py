"""Two recipes or more on one ladder: train them all, compare each with the first.

An arms file is a ladder (or names one as its `base`) with a table of arms, each laid over it:

    name = "muon-adamw"
    base = "arms/base"
    [arms.adamw.recipe]
    optimizer = "adamw"
    [arms.muon]
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.forecast import Comparison, compare
from isoflop.lab import files
from isoflop.lab.launch import Event, run
from isoflop.lab.recipe import Ladder, find_ladder, overlay, read_plain, structure
from isoflop.lab.table import table
from isoflop.page import Column, Report, Reproduce, write_page
from isoflop.page.upper import arms_of
from isoflop.tables import Runs

Columns = dict[str, list[Any]]
METRICS = ("loss", "continuation", "cloze", "infill")
COMPARED = ("run", "cell", "seed", "params", "tokens", "flops", "loss")
ROLES = ("ladder", "seed")


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Arms to compare; the first is the one in use, by `metric` in nats."""

    name: str
    metric: str
    arms: dict[str, Ladder]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What a trial found: a comparison of each arm with the first, and what their runs took."""

    folder: Path
    metric: str
    runs: dict[str, Columns]
    comparisons: tuple[Comparison, ...]

    def seconds(self, arm: str) -> float:
        """CPU-seconds of an arm's runs for each of the first arm's, FLOP for FLOP."""
        per = {}
        for name in (arm, next(iter(self.runs))):
            columns = self.runs[name]
            per[name] = np.sum(columns["core_seconds"]) / np.sum(columns["flops_exact"])
        return float(per[arm] / per[next(iter(self.runs))])

    def to_json(self) -> dict[str, Any]:
        return {
            "folder": str(self.folder),
            "metric": self.metric,
            "comparisons": [found.to_json() for found in self.comparisons],
            "seconds_per_flop": {arm: self.seconds(arm) for arm in self.runs},
            "runs": self.runs,
        }

    def __str__(self) -> str:
        said = [f"{found}\n  {self._cost(found.b)}" for found in self.comparisons]
        tables = ", ".join(f"{arm}-{self.metric}.csv" for arm in self.runs)
        return "\n".join([*said, f"judged by {self.metric}; tables in {self.folder}: {tables}"])

    def _cost(self, arm: str) -> str:
        return f"seconds a FLOP took, beside the first arm's: {self.seconds(arm):.2f}"


def holds_arms(source: str | Path) -> bool:
    return "arms" in read_plain(find_ladder(source))


def read_trial(source: str | Path) -> Trial:
    """Read an arms file, or a shipped one by name (`arms/muon-adamw`).

    Raises ValueError naming every unknown key, wrong type or impossible value.
    """
    path = find_ladder(source)
    plain = read_plain(path)
    arms, metric = plain.pop("arms", None), plain.pop("metric", "loss")
    name = plain.get("name", path.stem)
    if not isinstance(arms, dict) or len(arms) < 2:
        raise ValueError(f"{path}: a trial needs two arms at least, [arms.NAME] each")
    if metric not in METRICS:
        raise ValueError(f"{path}: metric {metric!r} must be one of {', '.join(METRICS)}")
    ladders = {}
    for arm, over in arms.items():
        if not isinstance(over, dict) or not arm.replace("-", "").replace("_", "").isalnum():
            raise ValueError(f"{path}: arms.{arm} must be a table with a plain name")
        laid = overlay(overlay(plain, over), {"name": f"{name}-{arm}"})
        ladders[arm] = structure(laid, Ladder, path=path)
    return Trial(name=str(name), metric=metric, arms=ladders)


def run_trial(
    trial: Trial,
    folder: Path,
    *,
    executor: Executor | None = None,
    on_event: Callable[[Event], None] | None = None,
    cache: Path | None = None,
) -> Verdict:
    """Train all arms in `folder`, continuing what it holds, and compare them.

    Targets are not trained. Writes ARM-METRIC.csv of each, for `isoflop compare`,
    comparisons-METRIC.json and page-METRIC.html.
    """
    shared = {"executor": executor, "on_event": on_event, "cache": cache}
    for arm, ladder in trial.arms.items():
        run(ladder, folder / arm, roles=ROLES, **shared)
    columns = {arm: table(folder / arm) for arm in trial.arms}
    tables = {arm: runs_of(columns[arm], arm, metric=trial.metric) for arm in trial.arms}
    for arm, runs in tables.items():
        files.write_bytes(folder / f"{arm}-{trial.metric}.csv", as_csv(runs))
    first = next(iter(tables.values()))
    found = tuple(compare(first, runs) for runs in list(tables.values())[1:])
    verdict = Verdict(folder=folder, metric=trial.metric, runs=columns, comparisons=found)
    files.write_json(folder / f"comparisons-{trial.metric}.json", verdict.to_json())
    write_page(report_of(trial, verdict), folder / f"page-{trial.metric}.html")
    return verdict


def report_of(trial: Trial, verdict: Verdict) -> Report:
    """The verdict and every run behind it as a page."""
    names = ("run", "role", "params", "tokens", "flops_exact", trial.metric, "seed", "core_seconds")
    rows = [
        (f"{arm} {row[0]}", *row[1:])
        for arm, columns in verdict.runs.items()
        for row in zip(*(columns[name] for name in names), strict=True)
    ]
    shown = ("run", "role", "params", "tokens", "flops", "loss", "seed", "core_seconds")
    first = next(iter(trial.arms.values()))
    return Report(
        title=f"isoflop arms: {trial.name}",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        loss_unit="nats/token" if trial.metric != "cloze" else "nats/question",
        params_convention="matmul",
        flops_convention="exact",
        runs=tuple(
            Column(name=name, values=values)
            for name, values in zip(shown, zip(*rows, strict=True), strict=True)
        ),
        reproduce=Reproduce(
            commands=(f"isoflop climb --ladder arms/{trial.name}",),
            corpus=f"{first.corpus}, {first.tokenizer}",
        ),
        arms=tuple(arms_of(found) for found in verdict.comparisons),
    )


def runs_of(columns: Columns, name: str, *, metric: str) -> Runs:
    """An arm's runs as a table; its FLOPs are the exact ones, attention included.

    Runs of one width, depth, seed and token count are one cell, whatever the arm adds to them.
    """
    if metric not in columns:
        raise ValueError(
            f"arm {name!r} has no {metric!r}: give recipe.cloze_questions a number above 0"
        )
    keep = [k for k, role in enumerate(columns["role"]) if role in ROLES]
    source = {"flops": "flops_exact", "loss": metric, "cell": "run"}
    return Runs.of(
        {column: [columns[source.get(column, column)][k] for k in keep] for column in COMPARED},
        name=name,
        params="matmul",
        flops="exact",
        loss="nats/token" if metric != "cloze" else None,
    )


def as_csv(runs: Runs) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(COMPARED)
    writer.writerows(zip(*(runs[column].tolist() for column in COMPARED), strict=True))
    return text.getvalue().encode()
