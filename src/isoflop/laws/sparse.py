"""Laws of sparse and parallel models: experts, granularity, sparsity, parallel streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isoflop.law import Law, Param, Published
from isoflop.laws.powers import Term, sum_chart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from isoflop.laws.coordinates import Chart

    Array = NDArray[np.float64]

FLOOR = Param(name="c", low=0, high=50, start=(0.1, 3), unit="nats/token", meaning="floor")


def saturated(x: Array, start: Array, most: Array) -> Array:
    """x between `start` (at x = 1, or 0 below it) and `most`: 1/x^ = 1/(x - 1 + s) + 1/most.

    s = 1/(1/start - 1/most), so that x^ = start at x = 1.
    """
    return 1 / (1 / (x - 1 + 1 / (1 / start - 1 / most)) + 1 / most)


def _clark(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    n = np.log10(x["params"])
    e = np.log10(saturated(x["experts"], p["E_start"], p["E_max"]))
    return 10 ** (p["a"] * n + p["b"] * e + p["c"] * n * e + p["d"])


def _clark_set(router: str, values: tuple[float, ...]) -> Published:
    return Published(
        name=f"clark-2022-{router}",
        values=dict(zip(("a", "b", "c", "d", "E_start", "E_max"), values, strict=True)),
        source="arXiv:2202.01169, table 3",
        verified=True,
        fitted_on={"params": (1.5e7, 1.3e9), "experts": (1, 512)},
        note="All runs saw 130B tokens.",
    )


CLARK = Law(
    name="clark",
    title="Routed models (Clark)",
    equation="lg L = a lg N + b lg E^ + c lg N lg E^ + d, "
    "1/E^ = 1/(E - 1 + 1/(1/E_start - 1/E_max)) + 1/E_max",
    formula=_clark,
    params=(
        Param(name="a", low=-2, high=2, start=(-0.2, 0)),
        Param(name="b", low=-2, high=2, start=(-0.3, 0)),
        Param(name="c", low=-1, high=1, start=(-0.03, 0.03)),
        Param(name="d", low=-10, high=10, start=(0, 3)),
        Param(name="E_start", low=1, high=50, start=(1.05, 6), unit="experts", log=True),
        Param(name="E_max", low=51, high=1e7, start=(100, 2000), unit="experts", log=True),
    ),
    inputs=("params", "experts"),
    citation="Clark et al. 2022, arXiv:2202.01169",
    published=(
        _clark_set("sbase", (-0.082, -0.108, 0.009, 1.104, 1.847, 314.478)),
        _clark_set("rlr", (-0.083, -0.126, 0.012, 1.111, 1.880, 469.982)),
        _clark_set("hash", (-0.087, -0.136, 0.012, 1.157, 4.175, 477.741)),
    ),
    note="params counts the dense model; lg is the logarithm to base 10.",
)


def _krajewski_chart(columns: Mapping[str, Array]) -> Chart:
    n, d, g = (np.log(columns[name]) for name in ("params", "tokens", "granularity"))
    return sum_chart(
        KRAJEWSKI.params,
        "c",
        (
            Term("g", (("gamma", -1.0, g), ("alpha", -1.0, n))),
            Term("a", (("alpha", -1.0, n),)),
            Term("b", (("beta", -1.0, d),)),
        ),
    )


KRAJEWSKI = Law(
    name="granularity",
    title="Fine-grained experts",
    equation="L = c + (g G^-gamma + a) N^-alpha + b D^-beta",
    formula=lambda p, x: (
        p["c"]
        + (p["g"] * x["granularity"] ** -p["gamma"] + p["a"]) * x["params"] ** -p["alpha"]
        + p["b"] * x["tokens"] ** -p["beta"]
    ),
    params=(
        FLOOR,
        Param(name="g", low=1e-12, high=1e15, start=(0.1, 1e3), log=True),
        Param(name="a", low=1e-12, high=1e15, start=(1, 1e4), log=True),
        Param(name="b", low=1e-12, high=1e15, start=(1, 1e5), log=True),
        Param(name="gamma", low=0, high=5, start=(0.1, 1.5)),
        Param(name="alpha", low=0, high=3, start=(0.05, 0.6)),
        Param(name="beta", low=0, high=3, start=(0.05, 0.6)),
    ),
    inputs=("params", "tokens", "granularity"),
    citation="Krajewski et al. 2024, arXiv:2402.07871",
    published=(
        Published(
            name="krajewski-2024-moe",
            values={"c": 0.47, "g": 2.1, "a": 18.1, "b": 30.8, "gamma": 0.58, "alpha": 0.115,
                    "beta": 0.147},
            source="arXiv:2402.07871",
            verified=True,
            fitted_on={"params": (1.3e8, 3.7e9), "tokens": (1.6e10, 1.3e11),
                       "granularity": (1, 16)},
            note="64 times as many parameters as active ones; the dense models of the paper have "
            "a 16.3, alpha .126, b 26.7, beta .127, c .47 (no granularity).",
        ),
    ),
    fast=_krajewski_chart,
)  # fmt: skip


def _abnar_chart(columns: Mapping[str, Array]) -> Chart:
    n, d = np.log(columns["params"]), np.log(columns["tokens"])
    kept = np.log1p(-np.asarray(columns["sparsity"], dtype=float))
    return sum_chart(
        ABNAR.params,
        "e",
        (
            Term("a", (("alpha", -1.0, n),)),
            Term("b", (("beta", -1.0, d),)),
            Term("c", (("lam", -1.0, kept),)),
            Term("d", (("delta", -1.0, kept), ("gamma", -1.0, n))),
        ),
    )


ABNAR = Law(
    name="sparsity",
    title="Sparsity of experts",
    equation="L = a N^-alpha + b D^-beta + c (1-S)^-lam + d (1-S)^-delta N^-gamma + e, "
    "S = (E - K)/E",
    formula=lambda p, x: (
        p["a"] * x["params"] ** -p["alpha"]
        + p["b"] * x["tokens"] ** -p["beta"]
        + p["c"] * (1 - x["sparsity"]) ** -p["lam"]
        + p["d"] * (1 - x["sparsity"]) ** -p["delta"] * x["params"] ** -p["gamma"]
        + p["e"]
    ),
    params=(
        Param(name="e", low=0, high=50, start=(0.1, 2), unit="nats/token", meaning="floor"),
        Param(name="a", low=1e-12, high=1e15, start=(1e2, 1e5), log=True),
        Param(name="b", low=1e-12, high=1e15, start=(1e2, 1e5), log=True),
        Param(name="c", low=1e-12, high=1e15, start=(0.05, 2), log=True),
        Param(name="d", low=1e-12, high=1e15, start=(1, 100), log=True),
        Param(name="alpha", low=0, high=3, start=(0.2, 0.9)),
        Param(name="beta", low=0, high=3, start=(0.2, 0.9)),
        Param(name="lam", low=-2, high=2, start=(-0.5, 0.3)),
        Param(name="delta", low=-2, high=2, start=(0, 0.5)),
        Param(name="gamma", low=0, high=3, start=(0.05, 0.4)),
    ),
    inputs=("params", "tokens", "sparsity"),
    citation="Abnar et al. 2025, arXiv:2501.12370",
    published=(
        Published(
            name="abnar-2025",
            values={"e": 0.94, "a": 16612.5, "b": 5455.67, "c": 0.4598, "d": 17.26,
                    "alpha": 0.5962, "beta": 0.3954, "lam": -0.1666, "delta": 0.1603,
                    "gamma": 0.1595},
            source="arXiv:2501.12370",
            verified=True,
            note="R2 99% where fitted but 68% on held-out models: do not extrapolate it.",
        ),
    ),
    fast=_abnar_chart,
    note="params counts all experts; sparsity is the share of experts that a token leaves idle.",
)  # fmt: skip


def _ling(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    floor = 1 / (1 / p["A_start"] - 1 / p["A_max"])
    active = 1 / (1 / (x["activation"] + floor) + 1 / p["A_max"])
    fine = np.log2(x["granularity"])
    power = p["a"] + p["d"] * np.log10(x["flops"]) + p["gamma"] * fine**2 + p["beta"] * fine
    return active**power


LING = Law(
    name="leverage",
    title="Efficiency leverage of experts over dense",
    equation="EL = A^^(a + d lg C + gamma (log2 G)^2 + beta log2 G), "
    "1/A^ = 1/(A + 1/(1/A_start - 1/A_max)) + 1/A_max",
    formula=_ling,
    params=(
        Param(name="a", low=-20, high=20, start=(0, 3)),
        Param(name="d", low=-2, high=2, start=(-0.2, 0)),
        Param(name="gamma", low=-1, high=1, start=(0, 0.05)),
        Param(name="beta", low=-2, high=2, start=(-0.3, 0)),
        Param(name="A_start", low=1e-6, high=1, start=(5e-3, 0.05), log=True),
        Param(name="A_max", low=1.1, high=1e20, start=(10, 1e10), log=True),
    ),
    inputs=("activation", "granularity", "flops"),
    output="leverage",
    output_unit="compute of the dense model per compute of the sparse one",
    citation="Ling team 2025, Towards greater leverage, arXiv:2507.17702",
    published=(
        Published(
            name="ling-2025",
            values={"a": 1.23, "d": -0.0761, "gamma": 0.0167, "beta": -0.117, "A_start": 0.0163,
                    "A_max": 5.28e16},
            source="arXiv:2507.17702",
            verified=False,
            note="The paper does not say which logarithms it takes. At C = 1e22, A = .031, G = 12 "
            "lg C with log2 G gives 7.2, lg C with ln G gives 6.9; the paper says above 7, so the "
            "first is used here. That choice is ours.",
        ),
    ),
    note="A_max is so large in the published set that it does not act.",
)  # fmt: skip


def _ludziejewski(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    e = np.log(saturated(x["experts"], p["E_start"], p["E_max"]))
    n, d = np.log(x["active_params"]), np.log(x["tokens"])
    return (
        p["a"] * np.exp(p["delta"] * e - (p["alpha"] + p["gamma"] * e) * n)
        + p["b"] * np.exp(p["omega"] * e - (p["beta"] + p["zeta"] * e) * d)
        + p["c"]
    )


LUDZIEJEWSKI = Law(
    name="joint-experts",
    title="Experts, active parameters and tokens jointly",
    equation="L = a E^^delta N^-(alpha + gamma ln E^) + b E^^omega D^-(beta + zeta ln E^) + c",
    formula=_ludziejewski,
    params=(
        FLOOR,
        Param(name="a", low=1e-12, high=1e15, start=(10, 1e4), log=True),
        Param(name="b", low=1e-12, high=1e15, start=(10, 1e5), log=True),
        Param(name="alpha", low=0, high=3, start=(0.1, 0.5)),
        Param(name="beta", low=0, high=3, start=(0.1, 0.5)),
        Param(name="delta", low=-5, high=5, start=(-0.5, 0.5)),
        Param(name="gamma", low=-1, high=1, start=(-0.02, 0.02)),
        Param(name="omega", low=-5, high=5, start=(-0.5, 0.5)),
        Param(name="zeta", low=-1, high=1, start=(-0.02, 0.02)),
        Param(name="E_start", low=1, high=50, start=(1.05, 6), unit="experts", log=True),
        Param(name="E_max", low=51, high=1e7, start=(100, 2000), unit="experts", log=True),
    ),
    inputs=("active_params", "tokens", "experts"),
    citation="Ludziejewski et al. 2025, arXiv:2502.05172",
    note="The published coefficients were not seen and are not given.",
)


def _frantar_chart(columns: Mapping[str, Array]) -> Chart:
    n, d = np.log(columns["params"]), np.log(columns["tokens"])
    kept = np.log1p(-np.asarray(columns["weight_sparsity"], dtype=float))
    return sum_chart(
        FRANTAR.params,
        "c",
        (
            Term("a_S", (("b_S", 1.0, kept), ("b_N", -1.0, n))),
            Term("c_S", (("b_N", -1.0, n),)),
            Term("a_D", (("b_D", -1.0, d),)),
        ),
    )


FRANTAR = Law(
    name="weight-sparsity",
    title="Pruned weights",
    equation="L = (a_S (1-S)^b_S + c_S) N^-b_N + a_D D^-b_D + c",
    formula=lambda p, x: (
        (p["a_S"] * (1 - x["weight_sparsity"]) ** p["b_S"] + p["c_S"]) * x["params"] ** -p["b_N"]
        + p["a_D"] * x["tokens"] ** -p["b_D"]
        + p["c"]
    ),
    params=(
        FLOOR,
        Param(name="a_S", low=1e-12, high=1e15, start=(1, 1e3), log=True),
        Param(name="c_S", low=1e-12, high=1e15, start=(0.1, 1e3), log=True),
        Param(name="a_D", low=1e-12, high=1e15, start=(1, 1e5), log=True),
        Param(name="b_S", low=0, high=5, start=(0.2, 1.5)),
        Param(name="b_N", low=0, high=3, start=(0.1, 0.6)),
        Param(name="b_D", low=0, high=3, start=(0.1, 0.6)),
    ),
    inputs=("params", "tokens", "weight_sparsity"),
    citation="Frantar et al. 2023, arXiv:2309.08520",
    fast=_frantar_chart,
    note="params counts the weights that are left; a_D is the paper's a_D^b_D. The published "
    "coefficients are not given: they could not be checked.",
)

PARALLEL = Law(
    name="parallel",
    title="Parallel streams",
    equation="L = E + (A / (N (k ln P + 1)))^alpha",
    formula=lambda p, x: (
        p["E"] + (p["A"] / (x["params"] * (p["k"] * np.log(x["streams"]) + 1))) ** p["alpha"]
    ),
    params=(
        Param(name="E", low=0, high=50, start=(0.1, 2), unit="nats/token", meaning="floor"),
        Param(name="A", low=1e-6, high=1e30, start=(1e5, 1e10), unit="params", log=True),
        Param(name="k", low=0, high=100, start=(0.05, 1.5), meaning="worth of ln P streams"),
        Param(name="alpha", low=0.01, high=3, start=(0.05, 0.6)),
    ),
    inputs=("params", "streams"),
    citation="Chen et al. 2025 (ParScale), arXiv:2505.10475",
    note="One data set and token count at a time; published coefficients: none carried over.",
)

ALL = (CLARK, KRAJEWSKI, ABNAR, LING, LUDZIEJEWSKI, FRANTAR, PARALLEL)
