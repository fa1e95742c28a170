"""Reports to look at: a ladder trained on two cores, and a sweep of billions of parameters."""

import itertools
import math

import numpy as np

from isoflop.page import (
    Backtest,
    BacktestRow,
    Band,
    Coefficient,
    Column,
    Curve,
    Fact,
    Headline,
    LawFit,
    Member,
    Noise,
    Optimum,
    Report,
    Reproduce,
    Sealed,
    Slice,
    Slope,
    Target,
    Valley,
    Warn,
)  # fmt: skip

# A ladder measured on two cores: English dictionary bytes, three layers, bits per byte.
SIZES = (36_864, 147_456, 331_776, 589_824)
TOKENS = (500_000, 1_000_000, 2_000_000, 4_000_000)
MEASURED = (
    (2.532, 2.323, 2.180, 2.083),
    (2.379, 2.147, 1.979, 1.837),
    (2.318, 2.068, 1.826, 1.571),
    (2.267, 2.024, 1.668, 1.504),
)
GOAL = {"params": 1_327_104, "tokens": 6_000_000, "flops": 6.0 * 1_327_104 * 6e6}


def additive(params, tokens):
    """The additive law fitted to the sixteen runs; its floor E goes to zero."""
    return math.exp(1.87411) * params**-0.155070 + math.exp(4.36243) * tokens**-0.307718


def ladder_runs():
    rows = [
        (f"d{d}-{t // 1000}k", "ladder", n, t, 6.0 * n * t, loss, 6.0 * n * t / 1.1e11)
        for (d, n), losses in zip(zip((32, 64, 96, 128), SIZES, strict=True), MEASURED, strict=True)
        for t, loss in zip(TOKENS, losses, strict=True)
    ]
    for seed, loss in enumerate((2.143, 2.151, 2.139), 1):
        rows.append((f"d64-1000k-s{seed}", "seed", 147_456, 1_000_000, 8.847e11, loss, 8.1))
    rows.append(("d192-6000k", "target", *GOAL.values(), 1.3734, 434.0))
    units = ("", "", "", "bytes", "FLOP", "bits/byte", "core-s")
    notes = ("", "", "body", "one token a byte", "6ND", "validation", "")
    names = ("run", "role", "params", "tokens", "flops", "loss", "seconds")
    return tuple(
        Column(name=name, values=values, unit=unit, convention=note)
        for name, values, unit, note in zip(
            names, zip(*rows, strict=True), units, notes, strict=True
        )
    )


def ladder_curve():
    grid = np.geomspace(1.1e11, 7e13, 41)
    ratio = np.sqrt(grid / 6 / 4.5)
    tokens, params = ratio * 4.5, ratio
    frontier = np.exp(3.54867) * grid**-0.102775
    lines = {
        "chinchilla": (0.46, additive(params, tokens)),
        "kaplan": (0.27, additive(params, tokens) * (grid / 3e12) ** 0.008),
        "frontier power": (0.19, frontier),
        "late": (0.08, additive(params, tokens) * (grid / 3e12) ** -0.011),
    }
    weights = np.array([w for w, _ in lines.values()])
    median = weights @ np.array([v for _, v in lines.values()])
    reach = np.maximum(np.log10(grid / 1.42e13), 0)
    return Curve(
        flops=tuple(grid),
        median=tuple(median),
        bands=tuple(
            Band(level=level, low=tuple(median * np.exp(-w)), high=tuple(median * np.exp(w)))
            for level, z in ((0.5, 0.67), (0.9, 1.64), (0.95, 1.96))
            for w in [z * (0.022 + 0.055 * reach)]
        ),
        members=tuple(Member(law=k, weight=w, loss=tuple(v)) for k, (w, v) in lines.items()),
        measured=(1.106e11, 1.4156e13),
        trusted_to=3.5e13,
        path="4.5 tokens a parameter",
        target=Target(
            flops=GOAL["flops"], loss=1.388, low=1.313, high=1.603, level=0.9, observed=1.3734
        ),
    )


def ladder_valley():
    parts = []
    for column, tokens in enumerate(TOKENS):
        grid = np.geomspace(30e3, 700e3, 25)
        parts.append(
            Slice(
                at=tokens,
                params=SIZES,
                loss=tuple(row[column] for row in MEASURED),
                curve_params=tuple(grid),
                curve_loss=tuple(additive(grid, float(tokens))),
                best_params=grid[-1],
                best_loss=additive(grid[-1], float(tokens)),
                shape="parabola",
            )
        )
    return Valley(
        fixed="tokens",
        slices=tuple(parts),
        note="At a fixed token count more parameters are always better, so no slice has a minimum.",
    )


def additive_fit():
    names = ("E", "A", "B", "alpha", "beta")
    values = (0.000335462628, 6.51502341, 78.4475189, 0.155069512, 0.307718043)
    spans = ((0, 1.02), (4.1, 13.9), (31.0, 402.0), (0.094, 0.262), (0.221, 0.471))
    return LawFit(
        law="chinchilla",
        title="Chinchilla",
        equation="L(N, D) = E + A / N^alpha + B / D^beta",
        coefficients=tuple(
            Coefficient(name=n, value=v, low=lo, high=hi, unit="bits/byte" if n == "E" else "",
                        at_bound=n == "E")
            for n, v, (lo, hi) in zip(names, values, spans, strict=True)
        ),
        objective="Sum of squared residuals of ln loss",
        objective_value=0.014585646914978566,
        certified=False,
        reason="E lies at its lower bound; the runs do not identify the floor",
        diagnostics=(
            Fact(name="runs", value="16"),
            Fact(name="span of params", value="1.20 decades"),
            Fact(name="span of tokens", value="0.90 decades"),
            Fact(name="corr(ln N, ln D)", value="0.00"),
            Fact(name="residual rms", value="3.0%", note="five times the noise floor"),
        ),
        influence=(
            Fact(name="d96-4000k", value="−2.1%", note="of the forecast at the target"),
            Fact(name="d128-2000k", value="−1.4%"),
            Fact(name="d32-500k", value="+0.9%"),
        ),
        sensitivity=(
            Fact(name="Huber(1e-3)", value="1.392"),
            Fact(name="least absolute deviation", value="1.401"),
        ),
        citation="Hoffmann et al. 2022, arXiv:2203.15556, equation 2",
    )  # fmt: skip


def ladder_backtest():
    cuts = ((8.9e11, 7, 9, 16.0), (2.0e12, 10, 6, 7.1), (4.0e12, 13, 3, 3.6))
    bias = {
        "chinchilla": (0.081, 0.052, 0.031), "kaplan": (0.092, 0.055, 0.024),
        "frontier power": (0.061, -0.012, -0.043), "pool": (0.074, 0.034, 0.011),
    }  # fmt: skip
    return Backtest(
        rows=tuple(
            BacktestRow(
                law=law, cut_flops=c, fitted=n, hidden=h, span=s, rms=abs(b) + 0.012, bias=b,
                coverage=(0.89, 1.0, 1.0)[k] if law == "pool" else None,
                width=(0.21, 0.17, 0.12)[k] if law == "pool" else None,
            )
            for law, errors in bias.items()
            for k, ((c, n, h, s), b) in enumerate(zip(cuts, errors, strict=True))
        ),
        weights={"chinchilla": 0.46, "kaplan": 0.27, "frontier power": 0.19, "late": 0.08},
        note="All cuts lie below the phase change of the largest size.",
    )  # fmt: skip


def ladder_slopes():
    late = {147_456: 1.606, 331_776: 1.457, 589_824: 1.397}
    steps = []
    for size, row in zip(SIZES, MEASURED, strict=True):
        losses = (*row, late[size]) if size in late else row
        tokens = (*TOKENS, 8_000_000)[: len(losses)]
        drops = [a - b for a, b in itertools.pairwise(losses)]
        for k, drop in enumerate(drops):
            steps.append(
                Slope(params=size, tokens_from=tokens[k], tokens_to=tokens[k + 1],
                      drop=round(drop, 3), abrupt=k > 0 and drop > drops[k - 1])
            )  # fmt: skip
    return tuple(steps)


def ladder():
    """A whole climb: forecast, sealed, run, scored."""
    quantiles = {"0.025": 1.291, "0.05": 1.313, "0.25": 1.361, "0.5": 1.388, "0.75": 1.449,
                 "0.95": 1.603, "0.975": 1.642}  # fmt: skip
    first = {k: round(v * 1.19, 3) for k, v in quantiles.items()}
    return Report(
        title="gcide, three layers",
        created="2026-11-21 21:40 UTC",
        loss_unit="bits/byte",
        params_convention="body, without embedding and head",
        flops_convention="6ND, without attention",
        runs=ladder_runs(),
        headline=Headline(
            params=2_359_296, tokens=12_000_000, flops=1.7e14, loss=1.262, low=1.171, high=1.372,
            core_seconds=1560, wall_seconds=870, basis="a pool of 4 laws, backtested over 3 cuts",
        ),
        warnings=(
            Warn(
                text="The forecast reaches 12 times the compute of the largest run; the backtest "
                "vouches for 2.5 times.",
                cure="Cheapest run that would help: 1.3M parameters on 6M tokens, 7 core-minutes.",
                grave=True,
            ),
            Warn(text="A phase change lies inside the range: at three sizes the loss falls "
                      "abruptly at N × D of about 10¹²."),
            Warn(text="The floor E is not identified by these runs; no statement about the loss at "
                      "infinite compute can be made."),
        ),
        curve=ladder_curve(),
        valley=ladder_valley(),
        laws=(additive_fit(),),
        backtest=ladder_backtest(),
        ledger=(
            Sealed(target="d128, 4M", seal="77b1d0c5a2f04e6c", sealed_at="2026-11-21 21:18",
                   flops=1.4156e13, params=589_824, tokens=4e6, quantiles=first, observed=1.504,
                   error=0.098, inside_90=False, inside_95=False, crps=0.0931, verdict="miss",
                   scored_at="2026-11-21 21:22"),
            Sealed(target="d192, 6M", seal="c0ffee12a9b34d71", sealed_at="2026-11-21 21:22",
                   flops=GOAL["flops"], params=1_327_104, tokens=6e6, quantiles=quantiles,
                   observed=1.3734, error=0.0106, inside_90=True, inside_95=True, crps=0.0177,
                   verdict="hit", scored_at="2026-11-21 21:40"),
            Sealed(target="d256, 12M", seal="9e02b7d4415ac833", sealed_at="2026-11-21 21:40",
                   flops=1.7e14, params=2_359_296, tokens=12e6,
                   quantiles={k: round(v * 0.909, 3) for k, v in quantiles.items()}),
        ),
        noise=Noise(sd=0.0062, relative=0.0029, seeds=4, where="147k parameters, 1M tokens"),
        slopes=ladder_slopes(),
        reproduce=Reproduce(
            commands=("isoflop climb --ladder laptop --seed 1", "isoflop page runs/gcide"),
            versions={"isoflop": "0.1.0", "python": "3.11.2", "torch": "2.13.0", "numpy": "2.4.6"},
            machine="2 cores, x86-64, 16 GiB",
            corpus="English dictionary, 38.8 MB train, 1.2 MB validation, split by file",
            corpus_hash="3f9d1c52b8a7e6d40912c3b5a6f7e8d90a1b2c3d4e5f60718293a4b5c6d7e8f9",
            seeds=(1, 2, 3, 4),
        ),
    )  # fmt: skip


def sweep_loss(params, tokens):
    return 1.8172 + 477.8 * params**-0.3473 + 2143.4 * tokens**-0.3672


def sweep():
    """Nine budgets from 6e18 to 3e21 FLOPs around a published law, with 0.5% noise."""
    random = np.random.default_rng(7)
    budgets = np.geomspace(6e18, 3e21, 9)
    rows, parts, best = [], [], []
    for k, budget in enumerate(budgets):
        centre = 0.6 * (budget / 6) ** 0.5 / 4.4
        params = np.geomspace(centre / 6, centre * 6, 11)
        tokens = budget / (6 * params)
        losses = sweep_loss(params, tokens) * np.exp(0.005 * random.standard_normal(11))
        fit = np.polynomial.Polynomial.fit(np.log(params), losses, 2)
        at = float(np.exp(fit.deriv().roots()[0]))
        grid = np.geomspace(params[0], params[-1], 31)
        best.append(at)
        parts.append(
            Slice(at=float(budget), params=tuple(params), loss=tuple(losses),
                  curve_params=tuple(grid), curve_loss=tuple(fit(np.log(grid))), best_params=at,
                  best_low=at * 0.86, best_high=at * 1.16, best_tokens=budget / (6 * at),
                  best_loss=float(fit(np.log(at))), bracketed=True, shape="parabola")
        )  # fmt: skip
        rows += [
            (f"C{k}-{i}", "ladder", n, d, float(budget), v)
            for i, (n, d, v) in enumerate(zip(params, tokens, losses, strict=True))
        ]
    names = ("run", "role", "params", "tokens", "flops", "loss")
    slope, level = np.polyfit(np.log(budgets), np.log(best), 1)
    other = 1 - slope
    return Report(
        title="A sweep of nine budgets",
        created="2026-11-21",
        loss_unit="nats/token",
        params_convention="total",
        flops_convention="6ND",
        runs=tuple(
            Column(name=n, values=v) for n, v in zip(names, zip(*rows, strict=True), strict=True)
        ),
        headline=Headline(params=2.04e9, tokens=1.13e12, flops=1.4e22, loss=2.151, low=2.118,
                          high=2.183, cost="$22k, 9.0k accelerator-hours"),
        valley=Valley(
            fixed="flops",
            slices=tuple(parts),
            optima=(
                Optimum(quantity="params", flops=tuple(budgets), values=tuple(best),
                        coefficient=float(np.exp(level)), exponent=float(slope),
                        exponent_low=slope - 0.02, exponent_high=slope + 0.02),
                Optimum(quantity="tokens", flops=tuple(budgets),
                        values=tuple(budgets / (6 * np.array(best))),
                        coefficient=float(1 / (6 * np.exp(level))), exponent=float(other),
                        exponent_low=other - 0.02, exponent_high=other + 0.02),
            ),
        ),
        reproduce=Reproduce(commands=("isoflop fit sweep.csv",)),
    )  # fmt: skip
