"""Laws of precision: bits during training, and what rounding weights afterwards costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from isoflop.law import Law, Param
from isoflop.laws.data import PLAIN

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

BITS = {"weight_bits": "g_w", "activation_bits": "g_a", "cache_bits": "g_kv"}
UNCHECKED = "The published constants were not seen and are not given."


def _trained(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
    params = x["params"]
    for column, scale in BITS.items():
        params = params * -np.expm1(-x[column] / p[scale])
    return p["E"] + p["A"] * params ** -p["alpha"] + p["B"] * x["tokens"] ** -p["beta"]


TRAINED = Law(
    name="precision",
    title="Precision of training",
    equation="L = E + A N'^-alpha + B D^-beta, "
    "N' = N prod_x (1 - exp(-P_x/g_x)) over weights, activations, cache",
    formula=_trained,
    params=(
        *PLAIN,
        *(
            Param(name=name, low=0.05, high=50, start=(0.5, 6), unit="bits", log=True)
            for name in BITS.values()
        ),
    ),
    inputs=("params", "tokens", *BITS),
    citation="Kumar et al. 2024, arXiv:2411.04330",
    note=f"Quantisation-aware training is its case of wide activations and cache. {UNCHECKED}",
)

ROUNDED = Law(
    name="post-training-quantisation",
    title="Loss added by rounding weights after training",
    equation="dL = C_T D^g_D N^-g_N exp(-P/g)",
    formula=lambda p, x: (
        p["C_T"]
        * np.exp(p["g_D"] * np.log(x["tokens"]) - p["g_N"] * np.log(x["params"]))
        * np.exp(-x["weight_bits"] / p["g"])
    ),
    params=(
        Param(name="C_T", low=1e-30, high=1e30, start=(1e-4, 1e3), unit="nats/token", log=True),
        Param(name="g_D", low=-3, high=3, start=(0, 1)),
        Param(name="g_N", low=-3, high=3, start=(0, 1)),
        Param(name="g", low=0.05, high=50, start=(0.3, 3), unit="bits", log=True),
    ),
    inputs=("params", "tokens", "weight_bits"),
    output="loss_added",
    citation="Kumar et al. 2024, arXiv:2411.04330",
    note=f"Grows with tokens: more training can make a rounded model worse. {UNCHECKED}",
)

ALL = (TRAINED, ROUNDED)
