"""Laws of pretraining: loss against parameters N, tokens D and compute C."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from isoflop.law import Law, Param, Published
from isoflop.laws import links
from isoflop.laws.coordinates import Chart
from isoflop.laws.farseer import FARSEER
from isoflop.laws.starts import centred, constant, exponents, falling, floored, logit, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FLOOR = (0.0, 50.0)  # E in nats
SLOPE = (0.0, 3.0)  # exponents
SHARPNESS = (0.02, 5.0)  # k of the smooth maximum


def power_chart(columns: Mapping[str, Array]) -> Chart:
    """(E, ln a - c m, c) with m the mean log compute."""
    x, m = centred(columns, "flops")

    def starts(count: int, seed: int) -> Array:
        return spread(count, {2: exponents}, seed=seed, size=3)

    return Chart(
        atoms=(constant(len(x), 0), falling(x, (1, 2))),
        link=links.floored_sum_linked,
        link_value=links.floored_sum,
        terms=floored,
        floor=0,
        amplitudes=((1,),),
        lower=np.array([FLOOR[0], -30.0, SLOPE[0]]),
        upper=np.array([FLOOR[1], 30.0, SLOPE[1]]),
        to_params=lambda u: np.stack([u[:, 0], np.exp(u[:, 1] + u[:, 2] * m), u[:, 2]], axis=-1),
        from_params=lambda v: np.stack([v[:, 0], np.log(v[:, 1]) - v[:, 2] * m, v[:, 2]], axis=-1),
        starts=starts,
    )


POWER = Law(
    name="power",
    title="Power law in compute",
    equation="L = E + a C^-c",
    formula=lambda p, x: p["E"] + p["a"] * x["flops"] ** -p["c"],
    params=(
        Param(name="E", low=0, high=50, start=(0.1, 3), unit="nats/token", meaning="floor"),
        Param(name="a", low=1e-12, high=1e15, start=(1, 1e4), log=True, meaning="amplitude"),
        Param(name="c", low=0, high=3, start=(0.03, 0.5), meaning="exponent of compute"),
    ),
    inputs=("flops",),
    citation="Henighan et al. 2020, arXiv:2010.14701, eq. 1.1",
    fast=power_chart,
    note="Holds along one path through (N, D), such as the compute-optimal one; not off it.",
)


def chinchilla_chart(columns: Mapping[str, Array]) -> Chart:
    """(E, ln A - alpha n, alpha, ln B - beta d, beta) with n, d the mean log columns."""
    x, n = centred(columns, "params")
    z, d = centred(columns, "tokens")

    def starts(count: int, seed: int) -> Array:
        return spread(count, {2: exponents, 4: exponents}, seed=seed, size=5)

    def to_params(u: Array) -> Array:
        e, a, alpha, b, beta = u.T
        return np.stack([e, np.exp(a + alpha * n), np.exp(b + beta * d), alpha, beta], axis=-1)

    def from_params(v: Array) -> Array:
        floor, a, b, alpha, beta = v.T
        return np.stack([floor, np.log(a) - alpha * n, alpha, np.log(b) - beta * d, beta], axis=-1)

    return Chart(
        atoms=(constant(len(x), 0), falling(x, (1, 2)), falling(z, (3, 4))),
        link=links.floored_sum_linked,
        link_value=links.floored_sum,
        terms=floored,
        floor=0,
        amplitudes=((1,), (3,)),
        lower=np.array([FLOOR[0], -30.0, SLOPE[0], -30.0, SLOPE[0]]),
        upper=np.array([FLOOR[1], 30.0, SLOPE[1], 30.0, SLOPE[1]]),
        to_params=to_params,
        from_params=from_params,
        starts=starts,
    )


CHINCHILLA = Law(
    name="chinchilla",
    title="Chinchilla (additive)",
    equation="L = E + A N^-alpha + B D^-beta",
    formula=lambda p, x: (
        p["E"] + p["A"] * x["params"] ** -p["alpha"] + p["B"] * x["tokens"] ** -p["beta"]
    ),
    params=(
        Param(name="E", low=0, high=50, start=(0.1, 3), unit="nats/token", meaning="floor"),
        Param(name="A", low=1e-12, high=1e15, start=(1, 1e4), log=True),
        Param(name="B", low=1e-12, high=1e15, start=(1, 1e5), log=True),
        Param(name="alpha", low=0, high=3, start=(0.05, 1), meaning="exponent of parameters"),
        Param(name="beta", low=0, high=3, start=(0.05, 1), meaning="exponent of tokens"),
    ),
    inputs=("params", "tokens"),
    citation="Hoffmann et al. 2022, arXiv:2203.15556, eq. 2; refitted by Besiroglu et al. 2024",
    published=(
        Published(
            name="hoffmann-2022",
            values={"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},
            source="arXiv:2203.15556, eq. 10",
            verified=True,
            note="The optimiser stopped early: these do not minimise their own objective.",
        ),
        Published(
            name="besiroglu-2024",
            values={"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
            source="arXiv:2404.10102, eq. 5",
            verified=True,
            fitted_on={"params": (5.7e7, 1.6e10), "flops": (6e17, 1.3e22)},
            note="E is of the Huber(1e-3) fit, the other four of its absolute-deviation limit.",
        ),
    ),
    fast=chinchilla_chart,
)


def tied_chart(columns: Mapping[str, Array]) -> Chart:
    """(E, ln A - 2 eta n, ln B - 2 eta d, 2 eta)."""
    x, n = centred(columns, "params")
    z, d = centred(columns, "tokens")

    def starts(count: int, seed: int) -> Array:
        return spread(count, {3: exponents}, seed=seed, size=4)

    def to_params(u: Array) -> Array:
        e, a, b, s = u.T
        six = s / 2 * np.log(6.0)
        return np.stack([e, np.exp(a + s * n + six), np.exp(b + s * d + six), s / 2], -1)

    def from_params(v: Array) -> Array:
        floor, a, b, eta = v.T
        six = eta * np.log(6.0)
        return np.stack(
            [floor, np.log(a) - six - 2 * eta * n, np.log(b) - six - 2 * eta * d, 2 * eta],
            axis=-1,
        )

    return Chart(
        atoms=(constant(len(x), 0), falling(x, (1, 3)), falling(z, (2, 3))),
        link=links.floored_sum_linked,
        link_value=links.floored_sum,
        terms=floored,
        floor=0,
        amplitudes=((1,), (2,)),
        lower=np.array([FLOOR[0], -30.0, -30.0, SLOPE[0]]),
        upper=np.array([FLOOR[1], 30.0, 30.0, SLOPE[1]]),
        to_params=to_params,
        from_params=from_params,
        starts=starts,
    )


def _tied(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    compute, ratio = 6 * x["params"] * x["tokens"], x["tokens"] / x["params"]
    return (
        p["E"] + (p["a"] * ratio ** p["eta"] + p["b"] * ratio ** -p["eta"]) * compute ** -p["eta"]
    )


TIED = Law(
    name="tied",
    title="Tied exponents (over-training)",
    equation="L = E + (a M^eta + b M^-eta) C^-eta, M = D/N, C = 6 N D",
    formula=_tied,
    params=(
        Param(name="E", low=0, high=50, start=(0.1, 3), unit="nats/token", meaning="floor"),
        Param(name="a", low=1e-12, high=1e15, start=(1, 1e4), log=True),
        Param(name="b", low=1e-12, high=1e15, start=(1, 1e4), log=True),
        Param(name="eta", low=0, high=1.5, start=(0.02, 0.6), meaning="exponent of compute"),
    ),
    inputs=("params", "tokens"),
    citation="Gadre et al. 2024, arXiv:2403.08540, eq. 4",
    published=tuple(
        Published(
            name=f"gadre-2024-{corpus}",
            values=dict(zip(("E", "a", "b", "eta"), values, strict=True)),
            source="arXiv:2403.08540, table of fitted coefficients",
            verified=True,
        )
        for corpus, values in (
            ("c4", (1.51, 141.0, 190.0, 0.121)),
            ("redpajama", (1.84, 212.0, 367.0, 0.136)),
            ("refinedweb", (1.73, 157.0, 246.0, 0.127)),
        )
    ),
    fast=tied_chart,
    note="Chinchilla with alpha = beta = 2 eta.",
)


def kaplan_chart(columns: Mapping[str, Array]) -> Chart:
    """(alpha_N (ln Nc - n), alpha_N, alpha_D (ln Dc - d), alpha_D)."""
    x, n = centred(columns, "params")
    z, d = centred(columns, "tokens")

    def starts(count: int, seed: int) -> Array:
        return spread(count, {0: logit, 1: exponents, 3: exponents}, seed=seed, size=4)

    def to_params(u: Array) -> Array:
        a, s, b, t = u.T
        return np.stack([np.exp(a / s + n), np.exp(b / t + d), s, t], axis=-1)

    def from_params(v: Array) -> Array:
        nc, dc, s, t = v.T
        return np.stack([s * (np.log(nc) - n), s, t * (np.log(dc) - d), t], axis=-1)

    return Chart(
        atoms=(falling(x, (0, 1)), falling(z, (2, 3)), constant(len(x), 3)),
        link=links.smooth_maximum_linked,
        link_value=links.smooth_maximum,
        terms=lambda t: [np.exp(links.smooth_maximum(t))],
        floor=None,
        amplitudes=((0, 2),),
        lower=np.array([-30.0, 0.003, -30.0, 0.01]),
        upper=np.array([30.0, SLOPE[1], 30.0, SLOPE[1]]),
        to_params=to_params,
        from_params=from_params,
        starts=starts,
    )


KAPLAN = Law(
    name="kaplan",
    title="Kaplan joint",
    equation="L = [(Nc/N)^(alpha_N/alpha_D) + Dc/D]^alpha_D",
    formula=lambda p, x: (
        ((p["Nc"] / x["params"]) ** (p["alpha_N"] / p["alpha_D"]) + p["Dc"] / x["tokens"])
        ** p["alpha_D"]
    ),
    params=(
        Param(name="Nc", low=1e-30, high=1e150, start=(1e8, 1e16), unit="params", log=True),
        Param(name="Dc", low=1e-30, high=1e150, start=(1e8, 1e16), unit="tokens", log=True),
        Param(name="alpha_N", low=0.003, high=3, start=(0.03, 0.5)),
        Param(name="alpha_D", low=0.01, high=3, start=(0.03, 0.5)),
    ),
    inputs=("params", "tokens"),
    citation="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.5",
    published=(
        Published(
            name="kaplan-2020",
            values={"Nc": 6.4e13, "Dc": 1.8e13, "alpha_N": 0.076, "alpha_D": 0.103},
            source="arXiv:2001.08361, table 2",
            verified=False,
            note="N counts non-embedding parameters.",
        ),
    ),
    fast=kaplan_chart,
    note="Has no floor: it falls to zero as N and D grow.",
)


def skaling_chart(columns: Mapping[str, Array]) -> Chart:
    """(E, c1, s1, c2, s2, k): floor and two asymptotes c - s x, joined with sharpness k.

    c1 - s1 x is ln A - k alpha ln N, c2 - s2 z is ln A + k ln R - k beta ln D, so the asymptotes
    keep their meaning while k moves.
    """
    x, n = centred(columns, "params")
    z, d = centred(columns, "tokens")

    def starts(count: int, seed: int) -> Array:
        free = {1: logit, 2: exponents, 4: exponents, 5: lambda x: 0.2 * 7.5**x}
        return spread(count, free, seed=seed, size=6)

    def to_params(u: Array) -> Array:
        e, a, s, b, t, k = u.T
        log_a, log_b = a + s * n, b + t * d
        ratio = np.exp(np.clip((log_b - log_a) / k, -700, 700))
        return np.stack([e, np.exp(log_a), s / k, ratio, t / k, k], axis=-1)

    def from_params(v: Array) -> Array:
        floor, amplitude, alpha, ratio, beta, k = v.T
        s, t = k * alpha, k * beta
        log_a = np.log(amplitude)
        log_b = log_a + k * np.log(ratio)
        return np.stack([floor, log_a - s * n, s, log_b - t * d, t, k], axis=-1)

    return Chart(
        atoms=(
            constant(len(x), 0),
            falling(x, (1, 2)),
            falling(z, (3, 4)),
            constant(len(x), 5),
        ),
        link=partial(links.with_floor, links.smooth_maximum_linked),
        link_value=lambda t: np.log(t[0] + np.exp(links.smooth_maximum(t[1:]))),
        terms=lambda t: [np.ones_like(t[0]), np.exp(links.smooth_maximum(t[1:]))],
        floor=0,
        amplitudes=((1, 3),),
        lower=np.array([FLOOR[0], -30.0, SLOPE[0], -30.0, SLOPE[0], SHARPNESS[0]]),
        upper=np.array([FLOOR[1], 30.0, SLOPE[1], 30.0, SLOPE[1], SHARPNESS[1]]),
        to_params=to_params,
        from_params=from_params,
        starts=starts,
    )


SKALING = Law(
    name="skaling",
    title="Skaling (joined terms)",
    equation="L = E + A (N^-alpha + R D^-beta)^k",
    formula=lambda p, x: (
        p["E"]
        + p["A"] * (x["params"] ** -p["alpha"] + p["R"] * x["tokens"] ** -p["beta"]) ** p["k"]
    ),
    params=(
        Param(name="E", low=0, high=50, start=(0.1, 3), unit="nats/token", meaning="floor"),
        Param(name="A", low=1e-12, high=1e15, start=(1, 1e4), log=True),
        Param(name="alpha", low=0, high=150, start=(0.05, 1)),
        Param(name="R", low=1e-304, high=1e304, start=(0.01, 1e3), log=True),
        Param(name="beta", low=0, high=150, start=(0.05, 1)),
        Param(name="k", low=0.02, high=5, start=(0.2, 1.5), meaning="1 is Chinchilla"),
    ),
    inputs=("params", "tokens"),
    citation="Videau et al. 2026 (Skaling); k = 1 is Chinchilla, beta = 1 with E = 0 Kaplan",
    fast=skaling_chart,
)


ALL = (POWER, KAPLAN, CHINCHILLA, TIED, SKALING, FARSEER)
