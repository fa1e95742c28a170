"""Farseer: the exponent of tokens is itself a law of the parameters."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from isoflop.law import Law, Param, Published
from isoflop.laws import links
from isoflop.laws.coordinates import BoxCox, Chart
from isoflop.laws.starts import centred, exponents, spread

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def farseer_chart(columns: Mapping[str, Array]) -> Chart:
    """Nested powers as Box-Cox functions of centred ln N: (S', s', q, Q', B', b, E', A', a)."""
    x, m = centred(columns, "params")
    log_tokens = np.log(np.asarray(columns["tokens"], dtype=float))
    middle = float(np.mean(np.unique(log_tokens)))

    def starts(count: int, seed: int) -> Array:
        free = {k: lambda x: -exponents(x, 0.005, 0.3) for k in (1, 4, 7)}
        free |= {k: lambda x: 0.6 * (x - 0.5) for k in (2, 5, 8)}
        free[6] = lambda x: np.log(exponents(x, 0.05, 0.9))
        out = spread(count, free, seed=seed, size=9)
        out[:, 3] = middle * np.exp(out[:, 6])
        return out

    def nested(c: Array, s: Array, q: Array) -> tuple[Array, Array]:
        q = np.where(np.abs(q) < 1e-6, 1e-6, q)
        scale = s / q
        return c - scale, scale * np.exp(-q * m)

    def to_params(u: Array) -> Array:
        (cs, s), (cq, b), (ce, a) = (nested(*u.T[k : k + 3]) for k in (0, 3, 6))
        return np.stack([cs, s, u[:, 2], cq, b, u[:, 5], ce, a, u[:, 8]], axis=-1)

    def from_params(v: Array) -> Array:
        out = []
        for k in (0, 3, 6):
            constant, amplitude, q = v.T[k : k + 3]
            scale = amplitude * np.exp(q * m)
            out += [constant + scale, scale * q, q]
        return np.stack(out, axis=-1)

    def inner(t: list[Array]) -> links.Linked:
        return links.falling_exponent_linked(t, log_tokens)

    return Chart(
        atoms=(BoxCox(x, (0, 1, 2)), BoxCox(x, (3, 4, 5)), BoxCox(x, (6, 7, 8))),
        link=partial(links.beside, inner),
        link_value=lambda t: np.logaddexp(t[0], links.falling_exponent(t[1:], log_tokens)),
        terms=lambda t: [np.exp(t[0]), np.exp(links.falling_exponent(t[1:], log_tokens))],
        floor=None,
        amplitudes=((0,), (3,)),
        lower=np.array([-7.0, -2, -1, -40, -4, -1, -6, -2, -1]),
        upper=np.array([4.0, 2, 1, 120, 4, 1, 2, 2, 1]),
        to_params=to_params,
        from_params=from_params,
        starts=starts,
    )


FARSEER = Law(
    name="farseer",
    title="Farseer",
    equation="L = exp(s N^q + S) + exp(B N^b + Q) D^-exp(A N^a + E)",
    formula=lambda p, x: (
        np.exp(p["s"] * x["params"] ** p["q"] + p["S"])
        + np.exp(p["B"] * x["params"] ** p["b"] + p["Q"])
        * x["tokens"] ** -np.exp(p["A"] * x["params"] ** p["a"] + p["E"])
    ),
    params=(
        Param(name="S", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="s", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="q", low=-1, high=1, start=(-0.3, 0.3)),
        Param(name="Q", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="B", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="b", low=-1, high=1, start=(-0.3, 0.3)),
        Param(name="E", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="A", low=-1e9, high=1e9, start=(-1, 1)),
        Param(name="a", low=-1, high=1, start=(-0.3, 0.3)),
    ),
    inputs=("params", "tokens"),
    citation="Li et al. 2025 (Farseer), arXiv:2506.10972, eq. 5",
    published=(
        Published(
            name="li-2025",
            values={
                "S": 0.1285, "s": -0.06247, "q": 0.13,
                "Q": -1.5442, "B": 230.73, "b": -0.1729,
                "E": 3.1333, "A": -1.6656, "a": 0.0459,
            },
            source="arXiv:2506.10972, fitted on 411 runs in bits per character",
            verified=True,
        ),
    ),
    fast=farseer_chart,
)  # fmt: skip
