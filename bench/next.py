"""`isoflop next` beside runs taken by chance, on public sweeps: the error of the forecast.

Of each sweep the 5% of runs with most compute are the target. Twelve runs of the cheaper third
are given; a share of the compute of all the others may be spent: in random order on what can be
afforded, or as `next_runs` asks, in three turns, the cheapest part of its list first. Both are
forecast by `forecast_near`; the error is the rms of ln(forecast / observed) over the target's
runs, its median and rms over the seeds. With all runs: the same forecast from everything below.

    python bench/next.py                    Chinchilla's points and Farseer's grid
    python bench/next.py marin-dclm --seeds 4
"""

import argparse

import numpy as np

from isoflop import load
from isoflop.forecast import forecast_near
from isoflop.plan import next_runs

COLUMNS = ("params", "tokens", "flops")
SHARES = (0.01, 0.05, 0.10)
GIVEN, CHEAP, TOP = 12, 0.35, 0.95
TURNS = 3


class Sweep:
    """A table, its target runs and what may be spent on."""

    def __init__(self, name):
        self.runs = load(name)
        self.flops = np.asarray(self.runs["flops"], dtype=float)
        top = self.flops >= np.quantile(self.flops, TOP)
        self.below = np.flatnonzero(~top)
        self.target = {k: self.runs[k][top] for k in COLUMNS}
        self.observed = np.log(self.runs["loss"][top])

    def some(self, rows):
        mask = np.zeros(len(self.flops), bool)
        mask[rows] = True
        return self.runs.where(mask)

    def error(self, rows):
        predicted = forecast_near(self.some(rows), self.target).predict().median()
        return float(np.sqrt(np.mean((np.log(predicted) - self.observed) ** 2)))


def by_chance(sweep, given, budget, rng):
    rows = list(given)
    for k in rng.permutation(np.setdiff1d(sweep.below, given)):
        if sweep.flops[k] <= budget:
            rows.append(k)
            budget -= sweep.flops[k]
    return rows


def by_next(sweep, given, budget):
    rows = list(given)
    for turn in range(TURNS):
        free = np.setdiff1d(sweep.below, rows)
        left = budget - sweep.flops[rows[len(given) :]].sum()
        if not len(free) or sweep.flops[free].min() > left:
            break
        offered = {k: sweep.runs[k][free] for k in COLUMNS}
        chosen = next_runs(
            sweep.some(rows), sweep.target, budget=left, candidates=offered, most=len(free)
        )
        rows += free[chosen.first(1 / (TURNS - turn))].tolist()
    return rows


def main():
    parser = argparse.ArgumentParser(description="isoflop next beside chance")
    parser.add_argument("sweeps", nargs="*", default=["chinchilla-240", "farseer-400"])
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    for name in options.sweeps:
        sweep = Sweep(name)
        print(f"{name}: all {len(sweep.below)} runs {sweep.error(sweep.below):.4f}", flush=True)
        for share in SHARES:
            budget, errors = share * sweep.flops[sweep.below].sum(), []
            for seed in range(options.seeds):
                rng = np.random.default_rng(seed)
                order = sweep.below[np.argsort(sweep.flops[sweep.below])]
                given = rng.choice(order[: int(CHEAP * len(order))], GIVEN, replace=False)
                lists = by_chance(sweep, given, budget, rng), by_next(sweep, given, budget)
                errors.append([(sweep.error(rows), len(rows) - GIVEN) for rows in lists])
            for label, column in zip(("random", "next"), np.swapaxes(errors, 0, 1), strict=True):
                error, count = column.T
                print(
                    f"  {100 * share:>3g}%  {label:<7} median {np.median(error):.4f}  "
                    f"rms {np.sqrt(np.mean(error**2)):.4f}  ({np.mean(count):.0f} runs)",
                    flush=True,
                )


if __name__ == "__main__":
    main()
