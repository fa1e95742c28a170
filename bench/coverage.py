"""How often the intervals hold: every public sweep, every cut that hides at least ten runs.

Fits the runs at or below a cut of compute, forecasts all runs above it, and prints for every
split, the bad ones too, the share of hidden runs inside the 90% and 95% intervals and the median
width of the 95% interval relative to the forecast: for the pool of laws, for one law with a pairs
bootstrap and resampled residuals, and for simple-scaling-laws (Python 3.12 or newer).

    python bench/coverage.py                      all sweeps
    python bench/coverage.py farseer-400 porian   those whose name starts so
    python bench/coverage.py --slope 0.02         another rule (--power, --folds, --unseen)

The tables compiled by hand (porian, datablations) are read from the folder `tidy` beside the cache
that ISOFLOP_DATA names; hidden runs of one sweep are dependent and the ten Porian recipes share
their runs, so the summary also counts every sweep once.
"""

from __future__ import annotations

import argparse
import csv
import importlib.util
import os
import time
import warnings
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path

import numpy as np

from isoflop.fit import fit
from isoflop.forecast import Rule, backtest
from isoflop.sources import load
from isoflop.sources.datasets import cache_folder
from isoflop.tables import Runs

NAMED = (
    "chinchilla-240", "farseer-400", "llama3-isoflop", "marin-comma", "marin-dclm", "gadre-c4",
    "gadre-redpajama", "gadre-refinedweb", "olmo-ladder", "steplaw-best",
)  # fmt: skip
LEVELS = (0.90, 0.95)
HIDDEN = 10
POOL, PAIRS, PEER = "pool of laws", "pairs bootstrap of Chinchilla", "simple-scaling-laws"
WITHIN = "pool of laws, hidden runs that a forecast does not refuse (ten at least)"
Figures = tuple[float, float, float]  # coverage at 90 and 95%, median relative width at 95%
Found = dict[str, list[Figures]]


def sweeps(wanted: list[str]) -> dict[str, Runs]:
    """All tables whose name starts with one of the wanted words."""
    tables = {}
    for name in NAMED:
        if chosen(name, wanted):
            tables[name] = load(name)
    tidy = cache_folder().parent / "tidy"
    for name, runs in tidy_sweeps(tidy).items() if tidy.is_dir() else ():
        if chosen(name, wanted):
            tables[name] = runs
    if not tidy.is_dir():
        print(f"porian and datablations left out: there is no folder {tidy}")
    return tables


def chosen(name: str, wanted: list[str]) -> bool:
    return not wanted or any(name.startswith(word) for word in wanted)


def tidy_sweeps(folder: Path) -> dict[str, Runs]:
    """One table a Porian recipe (they share runs: never mixed), and runs without repeated data."""
    tables, by_recipe = {}, defaultdict(list)
    for row in read(folder / "porian_refinedweb_isoflop.csv"):
        by_recipe[row["experiment"]].append(row)
    for recipe, rows in sorted(by_recipe.items()):
        name = f"porian {recipe}"
        tables[name] = table(name, rows, ("n_params", "d_tokens", "flops", "loss"))
    rows = [
        row
        for row in read(folder / "datablations_repeat.csv")
        if float(row["epochs"]) <= 1.001 and row["kind"] == "main"
    ]
    names = ("n_params", "d_tokens", "flops_6nd", "val_loss")
    return tables | {"datablations": table("datablations", rows, names)}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def table(name: str, rows: list[dict[str, str]], headers: tuple[str, ...]) -> Runs:
    roles = ("params", "tokens", "flops", "loss")
    columns = {r: [float(row[h]) for row in rows] for r, h in zip(roles, headers, strict=True)}
    return Runs.of(
        columns, name=name, params="unstated", flops="exact", loss="nats/token", seeds=True
    )


def bootstrap(runs: Runs, cut: float) -> Figures:
    """Coverage at 90 and 95% and width of Chinchilla with 200 pairs resamples and noise."""
    below, beyond = runs.where(runs["flops"] <= cut), runs.where(runs["flops"] > cut)
    try:
        made = fit(below, "chinchilla", method="pairs", draws=200, diagnostics=False)
    except ValueError:
        return np.nan, np.nan, np.nan
    columns = {name: beyond[name] for name in ("params", "tokens")}
    rng = np.random.default_rng(0)
    predicted = made.predict_draws(columns)
    noise = rng.choice(made.residuals - made.residuals.mean(), predicted.shape)
    return judged(predicted * np.exp(noise), beyond["loss"])


def judged(draws: np.ndarray, observed: np.ndarray) -> Figures:
    low95, low90, middle, high90, high95 = np.quantile(
        draws, [0.025, 0.05, 0.5, 0.95, 0.975], axis=0
    )
    inside90 = np.mean((observed >= low90) & (observed <= high90))
    inside95 = np.mean((observed >= low95) & (observed <= high95))
    return float(inside90), float(inside95), float(np.median((high95 - low95) / middle))


def peer(runs: Runs, cut: float) -> Figures:
    """The same of simple-scaling-laws: its separable law, intervals for a new run."""
    import polars as pl
    from simple_scaling_laws import fit as peer_fit  # type: ignore[import-not-found]

    below, beyond = runs.where(runs["flops"] <= cut), runs.where(runs["flops"] > cut)
    frame = pl.DataFrame(
        {
            "training_run_id": [str(k) for k in range(len(below))],
            "model_size__n_params": below["params"],
            "dataset_size__n_tokens": below["tokens"],
            "test_loss__loss": below["loss"],
        }
    )
    points = {
        "model_size__n_params": beyond["params"].tolist(),
        "dataset_size__n_tokens": beyond["tokens"].tolist(),
    }
    levels = [0.025, 0.05, 0.5, 0.95, 0.975]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model = peer_fit(frame, law="separable-power", n_draws=200, seed=0)
            predicted = model.predict(pl.DataFrame(points), kind="new-run", quantiles=levels)
        except Exception as error:  # the peer's own refusals, of many types
            print(f"  simple-scaling-laws: {type(error).__name__}: {str(error)[:80]}")
            return np.nan, np.nan, np.nan
    columns = [predicted[name].to_numpy() for name in predicted.columns[-len(levels) :]]
    observed = beyond["loss"]
    inside90 = np.mean((observed >= columns[1]) & (observed <= columns[3]))
    inside95 = np.mean((observed >= columns[0]) & (observed <= columns[4]))
    width = float(np.median((columns[4] - columns[0]) / columns[2]))
    return float(inside90), float(inside95), width


def one_sweep(name: str, rule: Rule, *, draws: int, has_peer: bool) -> tuple[str, Found]:
    """The printed rows of one sweep, and its splits by method."""
    runs = sweeps([name])[name]
    lines: list[str] = []
    found: Found = defaultdict(list)
    try:
        tested = backtest(runs, cuts="every", hidden=HIDDEN, levels=LEVELS, rule=rule, draws=draws)
    except ValueError as error:
        return f"{name}: {error}", found
    for row in tested.of():
        split = {POOL: (row.coverage[0.90], row.coverage[0.95], row.width[0.95])}
        if row.within >= HIDDEN:
            near = (row.coverage_within[0.90], row.coverage_within[0.95], row.width_within[0.95])
            split[WITHIN] = near
        split[PAIRS] = bootstrap(runs, row.cut)
        if has_peer:
            split[PEER] = peer(runs, row.cut)
        blank = (np.nan, np.nan, np.nan)
        shown = [split[POOL], split.get(WITHIN, blank), *list(split.values())[-1 - has_peer :]]
        label = f"{name[-20:]:<20} {row.fitted:4d} /{row.hidden:4d} {row.decades:5.2f}"
        cells = [f"{a:5.2f} {b:5.2f} {100 * w:7.1f}%".replace("nan", "  -") for a, b, w in shown]
        lines.append(f"{label:<38} " + "  |  ".join(cells))
        for method, figures in split.items():
            found[method].append(figures)
    lines += [f"{name} {cut:.2e}: no pool: {why[:90]}" for cut, why in tested.refused.items()]
    return "\n".join(lines), found


def summary(name: str, splits: list[Figures]) -> str:
    values = np.array([s for s in splits if np.isfinite(s).all()])
    missing = len(splits) - len(values)
    if not len(values):
        return f"{name:<26} no split"
    return (
        f"{name:<26} {len(values):4d} splits{f' ({missing} failed)' if missing else ''}: mean "
        f"coverage 90% {values[:, 0].mean():.3f}, 95% {values[:, 1].mean():.3f} (least "
        f"{values[:, 1].min():.2f}), median width {100 * np.median(values[:, 2]):.2f}%"
    )


def sweep_once(splits: list[Figures]) -> Figures:
    """Mean coverages and median width of the splits of one sweep."""
    values = np.array([s for s in splits if np.isfinite(s).all()])
    if not len(values):
        return np.nan, np.nan, np.nan
    a, b = values[:, :2].mean(axis=0)
    return float(a), float(b), float(np.median(values[:, 2]))


def summaries(method: str, families: dict[str, list[Figures]]) -> str:
    """By sweep, over all splits, every sweep once, and with any one sweep left out."""
    lines = [f"\n{method}"] + [f"  {summary(k, splits)}" for k, splits in families.items()]
    lines.append("  " + summary("ALL SPLITS", [s for part in families.values() for s in part]))
    once = [sweep_once(part) for part in families.values()]
    lines.append("  " + summary("EVERY SWEEP ONCE", once))
    without = [
        sweep_once([s for k, part in families.items() if k != left for s in part])
        for left in families
    ]
    means, widths = [w[1] for w in without], [100 * w[2] for w in without]
    lines.append(
        f"  leaving any one sweep out: 95% coverage {min(means):.3f} to {max(means):.3f}, "
        f"median width {min(widths):.2f}% to {max(widths):.2f}%"
    )
    return "\n".join(lines)


def main() -> None:
    arguments = argparse.ArgumentParser(description="Coverage of the intervals on public sweeps.")
    arguments.add_argument("sweeps", nargs="*")
    arguments.add_argument("--draws", type=int, default=64)
    arguments.add_argument("--jobs", type=int, default=os.cpu_count())
    for name, value in asdict(Rule()).items():
        arguments.add_argument(f"--{name}", type=float, default=value)
    given = arguments.parse_args()
    rule = Rule(**{name: getattr(given, name) for name in asdict(Rule())})
    has_peer = importlib.util.find_spec("simple_scaling_laws") is not None
    if not has_peer:
        print("simple-scaling-laws is not installed (it needs Python 3.12 or newer): left out")
    print(f"{'sweep, fitted / hidden, decades':<38}  90%   95%   width of the 95%, for:")
    print(f"{'':<38}  {POOL}  |  those not refused  |  {PAIRS}{'  |  ' + PEER if has_peer else ''}")
    began = time.perf_counter()
    kept: dict[str, Found] = defaultdict(lambda: defaultdict(list))
    run = partial(one_sweep, rule=rule, draws=given.draws, has_peer=has_peer)
    names = list(sweeps(given.sweeps))
    with ProcessPoolExecutor(given.jobs) as workers:
        for name, (text, found) in zip(names, workers.map(run, names), strict=True):
            print(text, flush=True)
            for method, splits in found.items():
                kept[method][name.split(" ")[0]] += splits  # Porian's recipes are one sweep
    print(f"\n{time.perf_counter() - began:.0f} s, {rule}")
    for method, families in kept.items():
        print(summaries(method, families))


if __name__ == "__main__":
    main()
