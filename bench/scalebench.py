"""ScaleBench (Li et al. 2026, arXiv:2604.22753): forecast of the costly region from a few runs.

For each task: a forecast from all training runs, and from runs that cost a share of them (1, 5,
10%; 20, 35, 50% for domain and sparsity), chosen in turn by `spread_runs` and `next_runs` and
forecast by `forecast_near`; beside them as much budget spent by chance. From all runs also the
backtested pool, the default of `isoflop forecast`. R^2 of what is hidden, clipped at -1 and
averaged over the task's groups, beside the published figures of other methods (mean and sd over
the benchmark's laws of a task; ours is one forecast, so it has no such sd) and SLDBench's human
experts (arXiv:2507.21184).

Four tasks have a public test split. Of the other four the dearest 15% of each group's training
runs are hidden instead (for domain, where every run costs the same, every fourth), which is marked
OWN SPLIT and not comparable with the published figures.
One default for all tasks: every law of isoflop that reads the columns. How runs are chosen and
few of them forecast was settled on splits of the training parts alone.

    python bench/scalebench.py                 all tasks
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

from isoflop.forecast import forecast_near, pool
from isoflop.plan.next import next_runs, spread_runs
from isoflop.sources.datasets import cache_folder
from isoflop.tables import Runs

FOLDER = "PlanarG/active-sl/e0a58ffde4f6fdfb20880d47d6d180fdbcb1440d/benchmark/dataset"
BUDGETS = (0.01, 0.05, 0.10)
WIDER = (0.20, 0.35, 0.50)  # of domain and sparsity, printed beside the published 1, 5 and 10%
DRAWS = 2  # of a law of the pool, whose medians need none
START, FEWEST = 0.15, 3  # of the budget, before any law is weighed, until there are so many runs
LEAST = 2  # runs that a forecast needs
CHANCES = 5  # draws of runs taken by chance, beside each design
TURNS = 4  # of asking for more, all laws weighed anew in between
DEAREST = 0.15  # of the training runs hidden where no test split is public
EVERY = 4  # of those that all cost the same


class Task(NamedTuple):
    """Upstream folder, inputs (ours -> upstream), cost of a run, outputs (ours -> upstream).

    scale: what an upstream column is multiplied by. expert: SLDBench's human baseline.
    """

    folder: str
    inputs: dict[str, str]
    cost: Any
    outputs: dict[str, str]
    expert: float | None = None
    sign: float = 1.0
    budgets: tuple[float, ...] = BUDGETS
    scale: dict[str, float] = {}  # noqa: RUF012
    compute: bool = False


TASKS = {
    "vocab": Task(
        "vocab_scaling_law",
        {"non_vocab_params": "non_vocab_parameters", "vocab_params": "vocab_size",
         "characters": "num_characters"},
        lambda x: x["non_vocab_params"] * x["characters"],
        {"loss_below_unigram": "unigram_normalized_loss"}, 0.966, -1.0,
    ),
    "parallel": Task(
        "parallel_scaling_law", {"params": "num_params", "streams": "parallel_size"},
        lambda x: x["params"], {"loss": "loss"}, 1.000,
    ),
    "moe": Task(
        "moe_scaling_law", {"experts": "num_experts", "params": "dense_parameter_count"},
        lambda x: x["params"] * x["experts"], {"loss": "loss_validation"}, 0.703,
    ),
    "data_con": Task(
        "data_constrained_scaling_law",
        {"unique_tokens": "unique_tokens", "params": "params", "tokens": "tokens"},
        lambda x: 6 * x["params"] * x["tokens"], {"loss": "loss"}, 0.911, compute=True,
    ),
    "farseer": Task(
        "farseer_scaling_law", {"params": "N", "tokens": "D"},
        lambda x: 6 * x["params"] * x["tokens"], {"loss": "loss"}, compute=True,
    ),
    # P is the ratio of all parameters to the active ones, which is what `experts` counts.
    "sparsity": Task(
        "sparsity_scaling_law", {"params": "N_active", "experts": "P"},
        lambda x: 6 * x["N_dense"] * x["D1"] + 6 * x["N_active"] * x["D2"], {"loss": "loss"},
        budgets=WIDER, scale={"N_active": 1e9},
    ),
    "domain": Task(
        "domain_mixture_scaling_law",
        {f"share_{k}": f"proportion_domain_{k}" for k in range(1, 6)},
        lambda x: np.ones(len(x["share_1"])),
        {f"loss_{k}": f"loss_domain_{k}" for k in range(1, 6)}, 0.671, budgets=WIDER,
    ),
    "lr_bsz": Task(
        "lr_bsz_scaling_law",
        {"params": "non_embedding_param_size", "tokens": "data_size", "learning_rate": "lr",
         "batch_tokens": "bsz"},
        lambda x: 6 * x["params"] * x["tokens"], {"loss": "lm_loss"}, -0.076,
        scale={"bsz": 2048.0}, compute=True,
    ),
}  # fmt: skip


class Table(NamedTuple):
    """One group of a task: inputs (with flops where cost is compute), outputs, cost of a run."""

    inputs: dict[str, np.ndarray]
    outputs: dict[str, np.ndarray]
    cost: np.ndarray

    def take(self, rows):
        return Table(*({k: v[rows] for k, v in c.items()} for c in self[:2]), self.cost[rows])


def tables(task):
    """Group -> (training runs, hidden runs), and whether the hidden ones are the public test."""
    folder = cache_folder() / FOLDER / task.folder
    train = split(task, folder / "train-00000-of-00001.parquet")
    path = folder / "test-00000-of-00001.parquet"
    if path.exists():
        test = split(task, path)
        return {k: (v, test[k]) for k, v in train.items()}, True
    return {k: own_split(v) for k, v in train.items()}, False


def split(task, path):
    import pyarrow.parquet as parquet

    plain = {
        k: np.asarray(v) if k == "group" else np.asarray(v, float) * task.scale.get(k, 1.0)
        for k, v in parquet.read_table(path).to_pydict().items()
    }
    inputs = {k: plain[v] for k, v in task.inputs.items()}
    cost = task.cost(plain | inputs)
    if task.compute:
        inputs["flops"] = cost
    outputs = {k: task.sign * plain[v] for k, v in task.outputs.items()}
    every, groups = Table(inputs, outputs, cost), plain["group"].astype(str)
    return {g: every.take(groups == g) for g in np.unique(groups)}


def own_split(table):
    """The runs but the dearest, and those; where all cost the same, but every fourth in order."""
    hidden = table.cost > np.quantile(table.cost, 1 - DEAREST)
    if np.ptp(table.cost) == 0:
        hidden = np.arange(len(table.cost)) % EVERY == EVERY - 1
    return table.take(~hidden), table.take(hidden)


def runs_of(table, rows, output):
    """The chosen rows as they are: upstream units are proxies, which the checks would refuse."""
    few = table.take(rows)
    named = output if output == "loss_below_unigram" else "loss"
    data = few.inputs | {named: few.outputs[output]}
    data.setdefault("loss", np.ones(len(rows)))  # a table has one; no law of the task reads it
    return Runs(name="scalebench", data=MappingProxyType(data), conventions={}, origin={}), named


def design(table, target, budget):
    """Rows under a budget: a start before any law is known, then what `next` asks for in turn.

    Each turn plans all that is left of the budget and makes the cheapest part of it.
    """
    cost, output = table.cost, next(iter(table.outputs))
    shown = {k: v for k, v in table.inputs.items() if k != "flops"}
    rows, share = [], 0.0
    while len(rows) < FEWEST and share < 1:
        share = min(share + START, 1.0)
        rows = spread_runs(shown, cost, target=target, budget=share * budget, rows=rows)
    for turn in range(TURNS):
        free = np.setdiff1d(np.arange(len(cost)), rows)
        left = budget - cost[rows].sum()
        if len(rows) < LEAST or not len(free) or cost[free].min() > left:
            break
        runs, named = runs_of(table, np.array(rows, dtype=int), output)
        chosen = next_runs(
            runs, target, budget=left, candidates={k: v[free] for k, v in table.inputs.items()},
            cost=cost[free], output=named, most=len(free),
        )  # fmt: skip
        rows = [*rows, *free[chosen.first(1 / (TURNS - turn))].tolist()]
    return np.array(rows, dtype=int)


def forecast(table, rows, hidden, output):
    """Predictions of the hidden runs near them, and the law of most weight."""
    if len(rows) < LEAST:
        return None, f"{len(rows)} runs"
    runs, named = runs_of(table, rows, output)
    made = forecast_near(runs, hidden, output=named)
    return made.predict().median(), made.members[0].law.name


def by_pool(table, rows, hidden, output):
    """The same by the backtested pool."""
    runs, named = runs_of(table, rows, output)
    made = pool(runs, output=named, draws=DRAWS)
    return made.predict(hidden).median(), max(made.members, key=lambda m: m.weight).name


def score(observed, predicted):
    """R^2 clipped at -1; -1 where no law can be fitted."""
    if predicted is None:
        return -1.0
    spread = np.sum((observed - observed.mean()) ** 2)
    return max(-1.0, 1 - np.sum((observed - predicted) ** 2) / spread)


def judged(groups, share, by=forecast, choose=design):
    """Mean R^2 over groups and outputs, R^2 of all hidden runs together, runs, laws."""
    scores, seen, counts, laws = [], [], [], []
    for train, hidden in groups.values():
        rows = np.arange(len(train.cost))
        if share < 1:
            rows = choose(train, hidden.inputs, share * train.cost.sum())
        counts.append(len(rows))
        for output, observed in hidden.outputs.items():
            predicted, law = by(train, rows, hidden.inputs, output)
            scores.append(score(observed, predicted))
            seen.append((observed, observed * np.nan if predicted is None else predicted))
            laws.append(law)
    observed, predicted = (np.concatenate(x) for x in zip(*seen, strict=True))
    pooled = score(observed, None if np.isnan(predicted).any() else predicted)
    return float(np.mean(scores)), pooled, sum(counts), max(set(laws), key=laws.count)


def published(task):
    path = Path(cache_folder()).parent / "scalebench_published.csv"
    with path.open(newline="", encoding="utf-8") as file:
        return {(r["budget_pct"], r["method"]): r[task] for r in csv.DictReader(file)}


def by_chance(seed):
    """A design that takes affordable runs in random order."""

    def choose(table, _, budget):
        rows = []
        for k in np.random.default_rng(seed).permutation(len(table.cost)):
            if table.cost[k] <= budget - table.cost[rows].sum():
                rows.append(k)
        return np.array(rows, dtype=int)

    return choose


def chance(groups, share):
    """Mean and sd over five draws of the score of runs taken by chance."""
    scores = [judged(groups, share, choose=by_chance(seed))[0] for seed in range(CHANCES)]
    return f"  random {np.mean(scores):6.3f} sd {np.std(scores):.3f}"


def line(label, groups, share, others, by=forecast):
    """Judge, print and return the scores of one share."""
    began = time.perf_counter()
    mean, pooled, count, law = judged(groups, share, by)
    beside = "" if share == 1 else chance(groups, share)
    print(
        f"  {label:<6} isoflop {mean:6.3f}{beside}  (all hidden runs together {pooled:.3f}; "
        f"{count} runs; most weight: {law}; {time.perf_counter() - began:.0f} s)"
        + (f"  | {others}" if others else ""),
        flush=True,
    )
    return mean, pooled


def main():
    chosen, summary = sys.argv[1:] or list(TASKS), []
    for name in chosen:
        task, peers = TASKS[name], published(name)
        groups, public = tables(task)
        print(f"\n{name}{'' if public else ' (OWN SPLIT: not the published test)'}", flush=True)
        designs = []
        for share, percent in zip(task.budgets, ("1", "5", "10"), strict=True):
            others = "; ".join(
                f"{m} {v}" for (b, m), v in peers.items() if b == percent and m != "All Data"
            )
            designs.append(line(f"{100 * share:g}%", groups, share, others)[0])
        near, _ = line("all", groups, 1.0, f"All Data {peers['10', 'All Data']}")
        whole = line("pool", groups, 1.0, "", by_pool)
        summary.append((name, public, designs[-1], near, whole, task.expert))
    print(
        "\nlargest budget; all data near the targets; by the pool (mean over groups, all hidden "
        "runs together); SLDBench's human experts"
    )
    for name, public, design_, near, (mean, pooled), expert in summary:
        where = "public test" if public else "OWN SPLIT"
        known = "" if expert is None else f"   expert {expert:6.3f}"
        print(
            f"  {name:<10} {where:<12} {design_:6.3f} {near:6.3f} {mean:6.3f} {pooled:6.3f}{known}"
        )


if __name__ == "__main__":
    main()
