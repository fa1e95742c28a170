"""Laws of hyper-parameters: learning rate and batch size, competing claims side by side."""

from __future__ import annotations

from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from isoflop.law import Law, Param, Published
from isoflop.laws.powers import Term, product_chart

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from isoflop.laws.coordinates import Chart

    Array = NDArray[np.float64]

UNIT = {"learning_rate": "1", "batch_tokens": "tokens", "batch_sequences": "sequences"}


def power_product(
    *,
    name: str,
    title: str,
    output: str,
    exponents: Mapping[str, str],
    citation: str,
    published: tuple[Published, ...] = (),
    note: str = "",
) -> Law:
    """output = c prod_x x^e(x) for the columns x of `exponents` (column -> coefficient name)."""
    params = (
        Param(name="c", low=1e-60, high=1e60, start=(1e-4, 10), log=True),
        *(Param(name=e, low=-3, high=3, start=(-1, 1)) for e in exponents.values()),
    )

    def formula(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
        rate = sum(p[e] * np.log(x[column]) for column, e in exponents.items())
        return p["c"] * np.exp(rate)

    def chart(columns: Mapping[str, Array]) -> Chart:
        powers = tuple((e, 1.0, np.log(columns[column])) for column, e in exponents.items())
        return product_chart(params, Term("c", powers))

    letters = {"params": "N", "tokens": "D", "flops": "C"}
    right = " ".join(f"{letters[column]}^{e}" for column, e in exponents.items())
    return Law(
        name=name, title=title, equation=f"{output} = c {right}", formula=formula, params=params,
        inputs=tuple(exponents), output=output, output_unit=UNIT[output], citation=citation,
        published=published, fast=chart, note=note,
    )  # fmt: skip


STEP = "Li et al. 2025 (Step Law), arXiv:2503.04715, eq. 1"
STEP_RANGE = {"params": (6e7, 1.1e9), "tokens": (2e9, 1e11)}
STEP_LEARNING_RATE = power_product(
    name="step-learning-rate",
    title="Step Law, learning rate",
    output="learning_rate",
    exponents={"params": "n", "tokens": "d"},
    citation=STEP,
    published=(
        Published(
            name="step-2025", values={"c": 1.79, "n": -0.713, "d": 0.307},
            source="arXiv:2503.04715, eq. 1", verified=True, fitted_on=STEP_RANGE,
            note="N without embeddings. The authors' 1,000 bootstraps: n -.7129 (sd .0298), "
            "d .3075 (sd .0191). Params and tokens of the sweep move almost together.",
        ),
    ),
)  # fmt: skip
STEP_BATCH = power_product(
    name="step-batch",
    title="Step Law, batch size",
    output="batch_tokens",
    exponents={"tokens": "d"},
    citation=STEP,
    published=(
        Published(
            name="step-2025", values={"c": 0.58, "d": 0.571}, source="arXiv:2503.04715, eq. 1",
            verified=True, fitted_on=STEP_RANGE, note="Bootstraps: d .5709 (sd .0187).",
        ),
    ),
)  # fmt: skip
DEEPSEEK = "DeepSeek-AI 2024 (DeepSeek LLM), arXiv:2401.02954, eq. 1"
DEEPSEEK_RANGE = {"flops": (1e17, 2e19)}
DEEPSEEK_LEARNING_RATE = power_product(
    name="deepseek-learning-rate",
    title="DeepSeek, learning rate",
    output="learning_rate",
    exponents={"flops": "c_C"},
    citation=DEEPSEEK,
    published=(
        Published(
            name="deepseek-2024", values={"c": 0.3118, "c_C": -0.125}, source=DEEPSEEK,
            verified=True, fitted_on=DEEPSEEK_RANGE,
            note="A band within .25% of the best loss is called near-optimal.",
        ),
    ),
)  # fmt: skip
DEEPSEEK_BATCH = power_product(
    name="deepseek-batch",
    title="DeepSeek, batch size",
    output="batch_tokens",
    exponents={"flops": "c_C"},
    citation=DEEPSEEK,
    published=(
        Published(
            name="deepseek-2024", values={"c": 0.292, "c_C": 0.3271}, source=DEEPSEEK,
            verified=True, fitted_on=DEEPSEEK_RANGE,
        ),
    ),
)  # fmt: skip
PORIAN = "Porian et al. 2024, arXiv:2406.19146, section 3.4"
PORIAN_LEARNING_RATE = power_product(
    name="porian-learning-rate",
    title="Porian, learning rate",
    output="learning_rate",
    exponents={"params": "n"},
    citation=PORIAN,
    published=(
        Published(
            name="porian-2024", values={"c": 3.7, "n": -0.36}, source=PORIAN, verified=True,
            note="With AdamW's beta2 .99 up to 220M parameters.",
        ),
    ),
)  # fmt: skip
PORIAN_BATCH = power_product(
    name="porian-batch",
    title="Porian, batch size",
    output="batch_sequences",
    exponents={"params": "n"},
    citation=PORIAN,
    published=(
        Published(
            name="porian-2024", values={"c": 0.00037, "n": 0.703}, source=PORIAN, verified=True,
            note="Sequences of 2048 tokens.",
        ),
    ),
)  # fmt: skip
BJORCK_LEARNING_RATE = power_product(
    name="bjorck-learning-rate",
    title="Bjorck, learning rate",
    output="learning_rate",
    exponents={"params": "n", "tokens": "d"},
    citation="Bjorck et al. 2024, Scaling optimal LR across token horizons, arXiv:2409.19913",
    published=(
        Published(
            name="bjorck-2024", values={"c": 1.55e-3, "n": -0.23, "d": -0.32},
            source="arXiv:2409.19913", verified=True, fitted_on={"params": (7.6e8, 7e9)},
            note="N in billions and D in billions of tokens give rates of the usual size; the "
            "sign of d is the opposite of Step Law's.",
        ),
    ),
    note="Read params and tokens in billions for the published set.",
)  # fmt: skip
POWER_LINES_BATCH = power_product(
    name="power-lines-batch",
    title="Power Lines, batch size",
    output="batch_tokens",
    exponents={"tokens": "d"},
    citation="Bergsma et al. 2025 (Power Lines), arXiv:2505.13738: d = .383",
    note="Of the published law only the exponent .383 is carried over; its factor was not checked.",
)

CRITICAL_BATCH = Law(
    name="critical-batch",
    title="Critical batch size",
    equation="B_crit = B L^(-1/alpha_B)",
    formula=lambda p, x: p["B"] * x["loss"] ** (-1 / p["alpha_B"]),
    params=(
        Param(name="B", low=1, high=1e30, start=(1e7, 1e10), unit="tokens", log=True),
        Param(name="alpha_B", low=0.02, high=5, start=(0.1, 0.5), meaning="exponent of the loss"),
    ),
    inputs=("loss",),
    output="batch_tokens",
    output_unit="tokens",
    citation="Kaplan et al. 2020, arXiv:2001.08361, eq. 1.4",
    published=(
        Published(
            name="kaplan-2020", values={"B": 2e8, "alpha_B": 0.21},
            source="arXiv:2001.08361", verified=False, note="Taken from a secondary note.",
        ),
    ),
    note="At this batch a loss takes twice the least number of tokens and twice the least steps.",
)  # fmt: skip

KNOBS = {"params": "N", "tokens": "D", "learning_rate": "R", "batch_tokens": "T"}
PAIRS = tuple(combinations_with_replacement(KNOBS, 2))


def _squares(columns: Mapping[str, Array]) -> dict[str, Array]:
    """The four logs and their ten products, by coefficient name."""
    logs = {letter: np.log(columns[name]) for name, letter in KNOBS.items()}
    out = dict(logs)
    for left, right in PAIRS:
        out[KNOBS[left] + KNOBS[right]] = logs[KNOBS[left]] * logs[KNOBS[right]]
    return out


def _response_chart(columns: Mapping[str, Array]) -> Chart:
    powers = tuple((name, 1.0, x) for name, x in _squares(columns).items())
    return product_chart(RESPONSE.params, Term("c", powers))


def _response(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    return p["c"] * np.exp(sum(p[name] * value for name, value in _squares(x).items()))


RESPONSE = Law(
    name="tuning-response",
    title="Loss around the best learning rate and batch size",
    equation="ln L = ln c + a quadratic form in ln N, ln D, ln learning_rate (R), ln batch (T)",
    formula=_response,
    params=(
        Param(name="c", low=1e-300, high=1e300, start=(0.5, 5), unit="nats/token", log=True),
        *(
            Param(
                name=name, low=-100, high=100, start=(-2.0, 2.0) if len(name) == 1 else (-0.1, 0.1)
            )
            for name in (*KNOBS.values(), *(KNOBS[a] + KNOBS[b] for a, b in PAIRS))
        ),
    ),
    inputs=tuple(KNOBS),
    citation="form used on the learning-rate task of Li et al. 2026, arXiv:2604.22753",
    fast=_response_chart,
    note="A local description with a minimum that moves with N and D; published coefficients: "
    "none.",
)

ALL = (
    STEP_LEARNING_RATE, STEP_BATCH, DEEPSEEK_LEARNING_RATE, DEEPSEEK_BATCH, PORIAN_LEARNING_RATE,
    PORIAN_BATCH, BJORCK_LEARNING_RATE, POWER_LINES_BATCH, CRITICAL_BATCH, RESPONSE,
)  # fmt: skip


def advice(params: float, tokens: float) -> dict[str, float]:
    """What each law with published coefficients says for one run, output by law name.

    They disagree, and by more than their intervals; sequences of `porian-batch` hold 2048 tokens.
    """
    columns = {"params": params, "tokens": tokens, "flops": 6 * params * tokens}
    billions = {name: value / 1e9 for name, value in columns.items()}
    return {
        law.name: float(
            law.predict(
                law.published[0].values,
                {k: [v] for k, v in (billions if law is BJORCK_LEARNING_RATE else columns).items()},
            )[0]
        )
        for law in ALL
        if law.published and set(law.inputs) <= set(columns)
    }
