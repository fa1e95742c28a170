"""Speed and exactness of one fit and of 4,000 refits, beside the peers, in one run.

The Chinchilla law on the 240 public points, objective sum Huber(1e-3) of log residuals. Times are
of one thread (process time for ours, SciPy and simple-scaling-laws; wall time for `chinchilla`,
which starts a process a core). Compare inside one run only: machines differ and are noisy.

    python bench/fit.py                 speed and exactness
    python bench/fit.py certificates    how often a certified minimum is not the lowest known
"""

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import importlib.util
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from coverage import tidy_sweeps
from isoflop.fit import Objective, solve
from isoflop.laws.pretrain import CHINCHILLA, FARSEER
from isoflop.sources import load
from isoflop.sources.datasets import cache_folder

RESAMPLES, SCIPY_RESAMPLES, SCIPY_STARTS = 4000, 40, 200


def table():
    runs = load("chinchilla")
    keep = np.sort(np.argsort(runs["loss"])[:240])
    return {k: np.asarray(runs[k])[keep] for k in ("params", "tokens", "loss")}


def timed(job, repeats=1):
    """The result and the median process seconds of `repeats` calls."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = job()
        seconds.append(time.process_time() - start)
    return result, float(np.median(seconds))


def huber(theta, x, weights, delta=1e-3):
    """Objective and gradient in (ln E, ln A, ln B, alpha, beta) as most notebooks write it."""
    e, a, b, alpha, beta = theta
    terms = np.stack([np.full(len(x["loss"]), e), a - alpha * x["n"], b - beta * x["d"]])
    top = terms.max(axis=0)
    f = top + np.log(np.exp(terms - top).sum(axis=0))
    share = np.exp(terms - f)
    r = f - x["log_loss"]
    inside = np.abs(r) <= delta
    rho = np.where(inside, 0.5 * r * r, delta * (np.abs(r) - 0.5 * delta))
    s = weights * np.clip(r, -delta, delta)
    gradient = [s @ share[0], s @ share[1], s @ share[2]]
    gradient += [-(s @ (share[1] * x["n"])), -(s @ (share[2] * x["d"]))]
    return float(weights @ rho), np.array(gradient)


def scipy_multistart(x):
    """L-BFGS-B from random points of the grid of Hoffmann et al.: best, share at the best."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(0)
    ones = np.ones(len(x["loss"]))
    best = []
    for _ in range(SCIPY_STARTS):
        start = [rng.uniform(-1, 1), *rng.uniform(0, 25, 2), *rng.uniform(0, 2, 2)]
        found = minimize(
            huber, start, args=(x, ones), jac=True, method="L-BFGS-B",
            options={"ftol": 1e-15, "gtol": 1e-12, "maxiter": 5000, "maxfun": 5000},
        )  # fmt: skip
        best.append(found.fun)
    best = np.array(best)
    return best.min(), float(np.mean(best < best.min() * (1 + 1e-6)))


def scipy_resamples(x, counts, optimum, *, gradient):
    """BFGS on each resample from the optimum of the whole table: the objectives.

    gradient: hand-written, or left to SciPy's finite differences as notebooks mostly do.
    """
    from scipy.optimize import minimize

    def value(theta, row):
        return huber(theta, x, row) if gradient else huber(theta, x, row)[0]

    return np.array(
        [minimize(value, optimum, args=(row,), jac=gradient, method="BFGS").fun for row in counts]
    )


def chinchilla_package(x):
    """The PyPI package `chinchilla` with its log-Huber loss on a 3^5 grid of starts."""
    import pandas as pd
    from chinchilla import Chinchilla
    from chinchilla._metrics import log_huber

    with tempfile.TemporaryDirectory() as folder:
        frame = pd.DataFrame({"N": x["params"], "D": x["tokens"], "loss": x["loss"]})
        frame["C"] = 6 * frame.N * frame.D
        frame[["C", "N", "D", "loss"]].to_csv(Path(folder) / "df.csv", index=False)
        peer = Chinchilla(
            folder,
            param_grid={
                "e": np.linspace(0.3, 0.9, 3),
                "a": np.linspace(4, 9, 3),
                "b": np.linspace(5, 11, 3),
                "alpha": np.linspace(0.2, 0.6, 3),
                "beta": np.linspace(0.2, 0.6, 3),
            },
            loss_fn=partial(log_huber, delta=1e-3),
            log_level=100,
        )
        start = time.perf_counter()
        peer.fit()
        seconds = time.perf_counter() - start
        theta = [np.log(peer.E), np.log(peer.A), np.log(peer.B), peer.alpha, peer.beta]
    return huber(np.array(theta, dtype=float), x, np.ones(len(x["loss"])))[0], seconds


def certificates(seeds=5):
    """Print how often a certified minimum of the Farseer law was not the lowest that any of the
    searches found, over the folds of Porian's ten recipes: the hardest fits among the sweeps."""
    values, sure = [], []
    for name, runs in tidy_sweeps(cache_folder().parent / "tidy").items():
        if not name.startswith("porian"):
            continue
        folds = []
        for cut in np.unique(runs["flops"]):
            fold = (runs["flops"] <= cut).astype(float)
            far = not folds or fold.sum() - folds[-1].sum() >= 4
            if far and fold.sum() >= 12 and len(fold) - fold.sum() >= 10:
                folds.append(fold)
        columns = {k: runs[k] for k in ("params", "tokens")}
        found = [solve(FARSEER, columns, runs["loss"], np.array(folds), seed=s)
                 for s in range(seeds)]  # fmt: skip
        values.append([f.objective for f in found])
        sure.append([f.certified for f in found])
    value, certified = np.concatenate(values, axis=1), np.concatenate(sure, axis=1)
    excess = value / value.min(axis=0) - 1
    false = certified & (excess > 1e-7)
    print(
        f"Farseer on {value.shape[1]} folds of Porian's recipes, {seeds} seeds: lowest found in "
        f"{np.mean(excess <= 1e-7):.1%}, certified {certified.mean():.1%}, of those not the "
        f"lowest {false.sum() / certified.sum():.1%} ({false.sum()} of {certified.sum()}; median "
        f"excess {np.median(excess[false]):.2%})"
    )


def named_values(theta):
    return ", ".join(f"{k} {v:.6g}" for k, v in zip(CHINCHILLA.names, theta, strict=True))


def main():
    x = table()
    x |= {"n": np.log(x["params"]), "d": np.log(x["tokens"]), "log_loss": np.log(x["loss"])}
    columns = {k: x[k] for k in ("params", "tokens")}
    solve(CHINCHILLA, columns, x["loss"])  # imports and caches out of the way
    point, cold = timed(lambda: solve(CHINCHILLA, columns, x["loss"]), repeats=21)
    theta = point.coefficients[0]
    named = named_values(theta)
    print(
        f"isoflop, point from nothing: {1e3 * cold:.1f} ms, objective "
        f"{point.objective[0]:.13g}, certified {bool(point.certified[0])}; {named}"
    )
    lad = solve(CHINCHILLA, columns, x["loss"], objective=Objective("lad"))
    named = named_values(lad.coefficients[0])
    print(f"isoflop, absolute deviations: sum |r| {lad.objective[0]:.7g}; {named}")

    rng = np.random.default_rng(42)
    counts = np.stack(
        [np.bincount(rng.integers(0, 240, 240), minlength=240) for _ in range(RESAMPLES)]
    ).astype(float)
    many, ours = timed(lambda: solve(CHINCHILLA, columns, x["loss"], counts, warm=theta), repeats=3)
    spread = dict(zip(CHINCHILLA.names, many.coefficients.std(axis=0), strict=True))
    print(
        f"isoflop, {RESAMPLES} resamples: {ours:.2f} s ({1e3 * ours / RESAMPLES:.3f} ms each), "
        f"converged {many.converged.mean():.2%}, "
        f"two starts agree {np.mean(many.agreed >= 2):.2%}; "
        f"SE E {spread['E']:.4f} alpha {spread['alpha']:.4f} beta {spread['beta']:.4f}"
    )

    (best, share), seconds = timed(lambda: scipy_multistart(x))
    print(
        f"SciPy L-BFGS-B, {SCIPY_STARTS} starts: {seconds:.1f} s, objective {best:.10g}, "
        f"{share:.1%} of starts reach it; {seconds / cold:.0f} times our time"
    )
    optimum = np.array([*np.log(theta[:3]), *theta[3:]])
    for gradient in (False, True):
        found, seconds = timed(
            lambda g=gradient: scipy_resamples(x, counts[:SCIPY_RESAMPLES], optimum, gradient=g)
        )
        excess = found / many.objective[:SCIPY_RESAMPLES] - 1
        print(
            f"SciPy BFGS, resamples, {'gradient by hand' if gradient else 'no gradient given'}: "
            f"{1e3 * seconds / SCIPY_RESAMPLES:.1f} ms each, "
            f"{seconds / SCIPY_RESAMPLES / (ours / RESAMPLES):.0f} times ours; objective above "
            f"ours by more than 1e-6 in {np.mean(excess > 1e-6):.0%}, "
            f"below in {np.mean(excess < -1e-9):.0%}"
        )
    if importlib.util.find_spec("chinchilla"):
        objective, seconds = chinchilla_package(x)
        print(
            f"chinchilla 0.2.0, 243 starts, log-Huber: {seconds:.1f} s of wall time, objective "
            f"{objective:.10g}; {seconds / cold:.0f} times our time"
        )
    else:
        print("chinchilla: not installed (bench/peers.txt)")
    if importlib.util.find_spec("simple_scaling_laws"):
        print("simple-scaling-laws: see bench/coverage.py")
    else:
        print("simple-scaling-laws: not installed (it needs Python 3.12)")


if __name__ == "__main__":
    certificates() if sys.argv[1:] == ["certificates"] else main()
