"""ScaleBench (Li et al. 2026, arXiv:2604.22753): forecast of the costly region from a few runs.

For each task with a public test split: the pool of laws fitted to all training runs, and to runs
that cost 1, 5 and 10% of them, chosen by `next_runs` from the inputs alone. R^2 on the test split,
clipped at -1 and averaged over the task's groups, beside the published figures of other methods
(mean and sd over the benchmark's laws of a task; ours is one pool, so it has no such sd). One
default for all tasks: every law of isoflop that reads some of the columns and nothing else.
Where too few runs are chosen for a backtest, the laws count equally, each at its least squares.

    python bench/scalebench.py                 all four tasks
    python bench/scalebench.py moe parallel    some of them

The data are read from the cache that ISOFLOP_DATA names, the published figures (compiled by hand)
from scalebench_published.csv beside it.
"""

import csv
import sys
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from isoflop.fit import Objective, solve
from isoflop.forecast import pool
from isoflop.laws import FAMILIES
from isoflop.plan import next_runs
from isoflop.sources.datasets import cache_folder
from isoflop.tables import Runs

FOLDER = "PlanarG/active-sl/e0a58ffde4f6fdfb20880d47d6d180fdbcb1440d/benchmark/dataset"
SHARES = (0.01, 0.05, 0.10)
DRAWS = 64
START = 0.25  # of the budget: spread over cheap runs, before any law can be fitted
ROUNDS = 4  # of spreading at most, until a law can be fitted; then all that is left is chosen
DEAREST, FEWEST = 0.125, 6  # a run of the start costs so much of its budget, or is so cheap


class Task(NamedTuple):
    """Upstream folder, inputs (ours -> upstream), cost of a run, output and its sign."""

    folder: str
    inputs: dict[str, str]
    cost: Any
    output: str = "loss"
    upstream: str = "loss"
    sign: float = 1.0


TASKS = {
    "vocab": Task(
        "vocab_scaling_law",
        {"non_vocab_params": "non_vocab_parameters", "vocab_params": "vocab_size",
         "characters": "num_characters"},
        lambda x: x["non_vocab_params"] * x["characters"],
        "loss_below_unigram", "unigram_normalized_loss", -1.0,
    ),
    "parallel": Task(
        "parallel_scaling_law", {"params": "num_params", "streams": "parallel_size"},
        lambda x: x["params"],
    ),
    "moe": Task(
        "moe_scaling_law", {"experts": "num_experts", "params": "dense_parameter_count"},
        lambda x: x["params"] * x["experts"], upstream="loss_validation",
    ),
    "data_con": Task(
        "data_constrained_scaling_law",
        {"unique_tokens": "unique_tokens", "params": "params", "tokens": "tokens"},
        lambda x: 6 * x["params"] * x["tokens"],
    ),
}  # fmt: skip


def tables(task):
    """Group -> (training columns, test columns), inputs, flops (the cost) and output."""
    import pyarrow.parquet as parquet

    out = {}
    for split in ("train", "test"):
        path = cache_folder() / FOLDER / task.folder / f"{split}-00000-of-00001.parquet"
        plain = parquet.read_table(path).to_pydict()
        columns = {k: np.asarray(plain[v], dtype=float) for k, v in task.inputs.items()}
        columns["flops"] = task.cost(columns)
        columns[task.output] = task.sign * np.asarray(plain[task.upstream], dtype=float)
        groups = np.asarray(plain["group"])
        for group in np.unique(groups):
            rows = {k: v[groups == group] for k, v in columns.items()}
            out.setdefault(str(group), []).append(rows)
    return out


def runs_of(columns, rows):
    """The chosen rows as they are: their costs are proxies, which the checks would refuse."""
    data = {k: v[rows] for k, v in columns.items()}
    data.setdefault("loss", np.ones(len(rows)))  # a table has one; no law of the task reads it
    return Runs(name="scalebench", data=MappingProxyType(data), conventions={}, origin={})


def laws_of(task):
    """Every law that reads the task's columns and cost alone and gives its output."""
    return [
        law for family in FAMILIES.values() for law in family
        if law.output == task.output and set(law.inputs) <= set(task.inputs)
    ]  # fmt: skip


def start(columns, cost, budget):
    """Cheap runs far from each other: the affordable one farthest from those chosen, repeatedly."""
    x = np.log(np.stack([v for k, v in columns.items()], axis=-1))
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-12)
    dear = max(budget * DEAREST, float(np.sort(cost)[:FEWEST].max()))
    cheap = np.flatnonzero(cost <= min(budget, dear))
    if not len(cheap):
        return []
    rows, left = [int(cheap[np.argmin(cost[cheap])])], budget
    left -= cost[rows[0]]
    while True:
        far = np.min(np.sum((x[:, None] - x[rows]) ** 2, axis=2), axis=1)
        open_ = (cost <= min(left, dear)) & (far > 0)
        if not open_.any():
            return rows
        rows.append(int(np.argmax(np.where(open_, far, -1))))
        left -= cost[rows[-1]]


def design(columns, target, task, budget):
    """Rows under a budget: a spread start, then what the pool asks for."""
    inputs, cost = {k: columns[k] for k in task.inputs}, columns["flops"]
    rows = start(inputs, cost, START * budget)
    for turn in range(ROUNDS):
        left = budget - cost[rows].sum()
        free = np.setdiff1d(np.arange(len(cost)), rows)
        try:
            made = pool(runs_of(columns, np.array(rows, dtype=int)), laws_of(task), draws=DRAWS)
        except ValueError:  # too few runs for a law yet: spread more of them
            share = START + (1 - START) * (turn + 1) / ROUNDS
            for k in start(inputs, cost, budget * share):
                if k not in rows and cost[k] <= budget - cost[rows].sum():
                    rows.append(k)
            continue
        if len(free) and cost[free].min() <= left:
            candidates = {k: columns[k][free] for k in (*task.inputs, "flops")}
            chosen = next_runs(made, target, budget=left, candidates=candidates, most=len(free))
            rows += free[chosen.rows].tolist()
        break
    return np.array(rows, dtype=int)


def forecast(columns, test, task, rows):
    """Predictions of the test split by the pool, or by all laws equally where none can be made."""
    inputs = {k: test[k] for k in (*task.inputs, "flops")}
    laws = laws_of(task)
    try:
        made = pool(runs_of(columns, rows), laws, draws=DRAWS)
        return made.predict(inputs).median(), max(made.members, key=lambda m: m.weight).name
    except ValueError:
        few = {k: v[rows] for k, v in columns.items()}
        found = [
            law.predict(solve(law, few, few[task.output], objective=Objective("lsqlog"))
                        .coefficients, inputs)[0]
            for law in laws if len(law.names) <= len(rows)
        ]  # fmt: skip
        sound = [f for f in found if np.isfinite(f).all()]
        return (np.mean(sound, axis=0) if sound else None), f"{len(sound)} laws equally"


def score(columns, test, task, rows):
    """R^2 on the test split, clipped at -1; -1 where no law can be fitted."""
    predicted, how = forecast(columns, test, task, rows)
    if predicted is None:
        return -1.0, how
    observed = test[task.output]
    spread = np.sum((observed - observed.mean()) ** 2)
    return max(-1.0, 1 - np.sum((observed - predicted) ** 2) / spread), how


def published(task):
    path = Path(cache_folder()).parent / "scalebench_published.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {(r["budget_pct"], r["method"]): r[task] for r in csv.DictReader(file)}


def main():
    chosen = sys.argv[1:] or list(TASKS)
    for name in chosen:
        task, began = TASKS[name], time.perf_counter()
        groups, peers = tables(task), published(name)
        print(f"\n{name}: {', '.join(law.name for law in laws_of(task))}", flush=True)
        for share in (*SHARES, 1.0):
            scores, counts, bests = [], [], []
            for train, test in groups.values():
                target = {k: test[k] for k in (*task.inputs, "flops")}
                rows = np.arange(len(train["flops"]))
                if share < 1:
                    rows = design(train, target, task, share * train["flops"].sum())
                value, best = score(train, test, task, rows)
                scores.append(value)
                counts.append(str(len(rows)))
                bests.append(best)
            percent = f"{100 * share:g}"
            said = {m: v for (b, m), v in peers.items() if b == percent and m != "All Data"}
            if share == 1:
                said = {m: v for (b, m), v in peers.items() if m == "All Data"}
            others = "; ".join(f"{m} {v}" for m, v in said.items())
            print(
                f"  {percent:>4}%  isoflop {np.mean(scores):6.3f}  ({'+'.join(counts)} runs; most "
                f"weight: {', '.join(bests)}; {time.perf_counter() - began:.0f} s)  | {others}",
                flush=True,
            )


if __name__ == "__main__":
    main()
