"""A report with every part there is: sliders over five laws, the upper rungs, arms and costs."""

import dataclasses
import math

import numpy as np

from isoflop.laws import pretrain
from isoflop.page import (
    Arms,
    Chip,
    Cost,
    Costs,
    Density,
    Dimension,
    DrawnLaw,
    Fact,
    Gain,
    Held,
    Knowing,
    Learning,
    Line,
    Outlook,
    Quadrant,
    Reached,
    Samples,
    Step,
    Thinking,
    Tried,
    Widening,
)  # fmt: skip
from isoflop.page.expression import trace
from page_reports import sweep

WEIGHTS = {"chinchilla": 0.4, "tied": 0.25, "kaplan": 0.15, "skaling": 0.12, "farseer": 0.08}
# Published coefficients, in units that give losses near 2 at 1e22 FLOPs.
VALUES = {
    "chinchilla": {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
    "tied": {"E": 1.51, "a": 141.0, "b": 190.0, "eta": 0.121},
    "kaplan": {"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
    "skaling": {"E": 1.6, "A": 60.0, "alpha": 0.31, "R": 4.0, "beta": 0.33, "k": 0.9},
    "farseer": pretrain.FARSEER.coefficients("li-2025"),
}


def drawn_laws(count=60):
    random = np.random.default_rng(3)
    out = []
    for law in pretrain.ALL:
        if law.name not in WEIGHTS:
            continue
        middle = np.array([VALUES[law.name][n] for n in law.names])
        rows = middle * np.exp(0.01 * random.standard_normal((count, len(middle))))
        out.append(
            DrawnLaw(law=law.name, formula=trace(law), names=law.names, weight=WEIGHTS[law.name],
                     coefficients=tuple(middle.tolist()), draws=tuple(map(tuple, rows.tolist())))
        )  # fmt: skip
    return tuple(sorted(out, key=lambda law: -law.weight))


def outlook(*, chip=True, thinking=True):
    flops, ratio = np.linspace(18.5, 24.5, 25), np.linspace(-0.5, 3.0, 15)
    beyond = np.maximum(flops - 21.5, 0)[:, None]
    half = 0.008 + 0.012 * beyond + 0.002 * (ratio - 1.3) ** 2
    table = {side: (0.003 * beyond + side * half + 0 * ratio).tolist() for side in (-1, 0, 1)}
    return Outlook(
        laws=drawn_laws(),
        ratios=(0.5, 900.0),
        widening=Widening(
            log_flops=tuple(flops.tolist()), log_ratio=tuple(ratio.tolist()),
            low=tuple(map(tuple, table[-1])), median=tuple(map(tuple, table[0])),
            high=tuple(map(tuple, table[1])),
        ),
        reached=Reached(
            flops=(6e18, 3e21), decades=1.1, cuts=5, ratio=(5.0, 90.0),
            held=(Held(decades=0.4, hidden=20, share=0.95), Held(decades=0.9, hidden=31, share=0.9),
                  Held(decades=1.6, hidden=44, share=0.82)),
        ),
        flops=1.2e22, least=6e18, most=3e23,
        chip=Chip(name="H100-SXM", flops_per_second=989e12, utilisation=0.39, price=2.5,
                  note="2026-05, list prices") if chip else None,
        thinking=Thinking(
            choice="majority", k=(1, 2, 4, 8, 16, 32), 
            accuracy=(0.41, 0.43, 0.52, 0.58, 0.61, 0.62),
            low=(0.38, 0.4, 0.49, 0.55, 0.58, 0.59), high=(0.44, 0.46, 0.55, 0.61, 0.64, 0.65),
            seconds=0.8, chip_seconds=0.05, tokens=300.0,
        ) if thinking else None,
    )  # fmt: skip


def line(name, x, y, half=0.0):
    ends = {"low": tuple(v - half for v in y), "high": tuple(v + half for v in y)} if half else {}
    return Line(name=name, x=tuple(map(float, x)), y=tuple(map(float, y)), **ends)


def samples():
    ks = [1, 2, 4, 8, 16, 32, 64]
    return Samples(
        name="countdown, 590k parameters", questions=400, level=0.95,
        lines=(
            line("pass", ks, [0.41, 0.52, 0.62, 0.71, 0.78, 0.83, 0.87], 0.03),
            line("majority", ks, [0.41, 0.41, 0.48, 0.54, 0.57, 0.585, 0.59], 0.03),
            line("best", ks, [0.41, 0.45, 0.49, 0.5, 0.51, 0.5, 0.49], 0.03),
        ),
        seconds=0.8, dollars=3.5e-5, tokens=120.0, note="Samples were drawn one after the other.",
    )  # fmt: skip


def learning():
    early, late = np.geomspace(1e13, 1e14, 6), np.geomspace(1.3e14, 1e15, 6)

    def curve(c):
        return 0.2 + 0.5 / (1 + (1.2e14 / c) ** 1.1)

    return Learning(
        name="countdown, group-relative policy", reward="accuracy on 500 held-out problems",
        known=line("before", early, curve(early)), later=line("after", late, curve(late) + 0.01),
        forecast=line("forecast", late, curve(late), 0.04), seal="5f3a9b7c21d4e680",
        sealed_at="2026-11-22 00:40 UTC", ceiling=(0.61, 0.69, 0.83), held=1.0, error=-0.01,
    )  # fmt: skip


def cells(right, wrong, silent):
    rest = ("unknown_known", 1 - right - wrong - silent)
    shares = (("known_known", right), ("unknown_unknown", wrong), ("known_unknown", silent), rest)
    return tuple(Quadrant(name=n, share=s, low=s - 0.02, high=s + 0.02) for n, s in shares)


def dimension(name, questions, shares, area):
    return Dimension(
        name=name, questions=questions, quadrants=cells(*shares),
        scores=(Fact(name="knowledge (accuracy)", value="0.541", note="0.506 to 0.577"),
                Fact(name="sensitivity d_a", value="not identified", note="too few answers"),
                Fact(name="AUROC", value=area, note="0.61 to 0.79")),
    )  # fmt: skip


def dense(by, measured, effective, density, span, **more):
    return Density(
        model="590k after RL", params=5.9e5, by=by, measured=measured, effective=effective,
        density=density, low=span[0], high=span[1], level=0.95, **more,
    )  # fmt: skip


def densities():
    return (
        dense("loss", "2.311 nats/token on 12M tokens", 8.1e5, 1.37, (1.12, None),
              note="0.63 decades of compute beyond the ladder"),
        dense("knowledge", "54.1% of 500 right", 2.9e5, 0.492, (0.31, 0.85)),
        dense("creation", "97.0% of 200 right", None, None, (None, None), beyond="above"),
    )  # fmt: skip


def tried():
    sizes = (Fact(name="d64-L2", value="-0.210"), Fact(name="d64-L4", value="-0.390"))
    return Tried(
        name="countdown-3", sizes=("d64-L2", "d64-L4"), seeds=3, tokens=1e6, questions=200,
        level=0.95,
        gains=(
            Gain(arm="errors imitated", measure="the likeliest answer is right", clean=0.499,
                 value=0.199, difference=-0.3, low=-0.424, high=-0.176, verdict="worth less",
                 by_size=sizes),
            Gain(arm="errors read, their loss masked", measure="an answer drawn at temperature 1",
                 clean=0.322, value=0.234, difference=-0.088, low=-0.264, high=0.087,
                 verdict="undecided", by_size=sizes),
        ),
    )  # fmt: skip


def knowing():
    share = np.linspace(0, 1, 21)
    return Knowing(
        name="trivia, 590k parameters", questions=800, level=0.95, threshold=0.5,
        quadrants=cells(0.38, 0.14, 0.33),
        scores=(Fact(name="AUROC", value="0.742", note="0.706 to 0.777"),
                Fact(name="d' at the threshold", value="not identified", note="too few answers")),
        risk=line("risk", share[1:], 0.05 + 0.42 * share[1:] ** 1.5, 0.03),
        router=(line("oracle", share, np.minimum(0.53 + share, 0.78), 0.02),
                line("by confidence", share, 0.53 + 0.2 * share**0.6, 0.02),
                line("at random", share, 0.53 + 0.2 * share, 0.02)),
        weak=0.53, strong=0.73,
        promises=(Fact(name="at most 0.1 of all questions answered wrong, on average",
                       value="answer from 0.62 on", note="44% answered, 17.1% of them wrong"),),
        bands=(Fact(name="0.00 to 0.31", value="abstain"), Fact(name="0.31 to 0.66", value="call"),
               Fact(name="0.66 to 1.00", value="answer")),
        dimensions=(dimension("knowledge", 500, (0.41, 0.12, 0.36), "0.771"),
                    dimension("reasoning", 300, (0.33, 0.173, 0.28), "0.683")),
        missing=("creation",),
        left_out=(Fact(name="worth of a second", value="needs columns 'y_think' and 'seconds'"),),
    )  # fmt: skip


def arms():
    return Arms(
        a="AdamW", b="Muon", level=0.9,
        speed_up=Line(name="Muon over AdamW", x=(1e12, 1e13, 1e14), y=(1.42, 1.35, 1.28),
                      low=(1.3, 1.24, 1.02), high=(1.55, 1.47, 1.61)),
        trend="shrinks", slope=(0.95, 0.91, 0.99), worth=1.1, risk=0.1, probability=0.87,
        decision="undecided", laws=(Fact(name="chinchilla", value="1.31× (1.2 to 1.4)"),),
        warnings=("At 1e14 FLOPs: 0.6 decades beyond the largest run of either arm.",),
    )  # fmt: skip


def costs():
    return Costs(
        rows=(
            Cost(what="the ladder, 99 runs", flops=6.2e22, hours=46_000, dollars=115_000,
                 low=81_000, high=161_000, note="H100-SXM at $2.50 an hour, 2026-05"),
            Cost(what="RL", flops=9e17, hours=0.9, dollars=2.2),
        ),
        steps=(Step(rung="L1 pretraining", gain=3.1e-24, low=2.2e-24, high=4.4e-24, note="longer"),
               Step(rung="L3 learning", gain=8.0e-22, low=1e-22, high=2e-21)),
    )  # fmt: skip


def everything(**changes):
    """Billions of parameters, with every rung, sliders and a hit in the ledger."""
    from page_reports import ladder

    report = ladder()
    return dataclasses.replace(
        sweep(),
        title="A sweep of nine budgets, all rungs",
        headline=None,
        outlook=outlook(),
        warnings=report.warnings[1:],
        curve=sweep_curve(),
        laws=report.laws,
        backtest=report.backtest,
        ledger=report.ledger,
        noise=report.noise,
        slopes=report.slopes,
        samples=(samples(),),
        learning=(learning(),),
        tried=(tried(),),
        knowing=(knowing(),),
        densities=densities(),
        arms=(arms(),),
        costs=costs(),
        **changes,
    )


def sweep_curve():
    from isoflop.page import Band, Curve, Member

    grid = np.geomspace(6e18, 3e22, 31)
    median = 1.7 + 0.9 * (grid / 6e18) ** -0.12
    reach = np.maximum(np.log10(grid / 3e21), 0)
    bands = [
        Band(level=level, low=tuple(median * np.exp(-w)), high=tuple(median * np.exp(w)))
        for level, z in ((0.5, 0.67), (0.9, 1.64), (0.95, 1.96))
        for w in [z * (0.008 + 0.03 * reach)]
    ]
    return Curve(
        flops=tuple(grid), median=tuple(median), bands=tuple(bands),
        members=tuple(
            Member(law=law, weight=w, loss=tuple(median * (1 + 0.004 * math.sin(k))))
            for k, (law, w) in enumerate(WEIGHTS.items())
        ),
        measured=(6e18, 3e21), path="20 tokens a parameter",
    )  # fmt: skip
