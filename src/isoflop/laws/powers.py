"""Coordinates for sums and products of powers of several columns, with exact derivatives."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from isoflop.laws import links
from isoflop.laws.coordinates import Chart, Linear, Linked
from isoflop.laws.starts import floored, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from isoflop.law import Param

    Array = NDArray[np.float64]

SIZE = 40.0  # largest |ln| of a term at the middle of the runs


class Term(NamedTuple):
    """amplitude x prod_j exp(sign_j exponent_j x_j); powers holds (exponent, sign, x of (n,))."""

    amplitude: str
    powers: tuple[tuple[str, float, Array], ...]


def sum_chart(params: Sequence[Param], floor: str, terms: Sequence[Term]) -> Chart:
    """Coordinates of floor + a sum of terms: log amplitudes at the middle of the runs."""
    at = {p.name: k for k, p in enumerate(params)}
    n = len(terms[0].powers[0][2])
    return Chart(
        atoms=(Linear(np.ones((n, 1)), (at[floor],)), *(_atom(t, at) for t in terms)),
        link=links.floored_sum_linked,
        link_value=links.floored_sum,
        terms=floored,
        floor=at[floor],
        amplitudes=tuple((at[t.amplitude],) for t in terms),
        **_box(params, terms, at),
    )


def inverse(chart: Chart) -> Chart:
    """The coordinates of 1 / L from those of L: the same terms, f with the other sign."""

    def link(t: list[Array]) -> Linked:
        of = chart.link(t)
        hessian = {pair: -h for pair, h in of.hessian.items()}
        return Linked(-of.value, tuple(-g for g in of.gradient), hessian, -of.square)

    return replace(chart, link=link, link_value=lambda t: -chart.link_value(t), power=-1.0)


def product_chart(params: Sequence[Param], term: Term) -> Chart:
    """Coordinates of one product of powers, whose logarithm is linear in all of them."""
    at = {p.name: k for k, p in enumerate(params)}
    box = _box(params, (term,), at)
    box["starts"] = lambda count, seed: _anywhere(params, count, seed)
    return Chart(
        atoms=(_atom(term, at),),
        link=lambda t: Linked(t[0], (np.ones_like(t[0]),), {}),
        link_value=lambda t: t[0],
        terms=lambda t: [np.exp(t[0])],
        floor=None,
        amplitudes=((at[term.amplitude],),),
        **box,
    )


def _box(params: Sequence[Param], terms: Sequence[Term], at: Mapping[str, int]) -> dict[str, Any]:
    """Bounds, starts and the way to the paper's own coefficients and back."""
    amplitudes = {t.amplitude for t in terms}
    free = {at[p.name]: _between(p) for p in params if p.name not in amplitudes}
    return {
        "lower": np.array([-SIZE if p.name in amplitudes else p.low for p in params]),
        "upper": np.array([SIZE if p.name in amplitudes else p.high for p in params]),
        "to_params": lambda u: _shifted(u, terms, at, back=False),
        "from_params": lambda v: _shifted(v, terms, at, back=True),
        "starts": lambda count, seed: spread(count, free, seed=seed, size=len(params)),
    }


def _anywhere(params: Sequence[Param], count: int, seed: int) -> Array:
    """Starts for a linear problem of any size: uniform in the start box, amplitudes 1."""
    low, high = np.array([(0, 0) if p.log else p.start for p in params], dtype=float).T
    return low + (high - low) * np.random.default_rng(seed).random((count, len(params)))


def _between(p: Param) -> Callable[[Array], Array]:
    return lambda point: p.start[0] + (p.start[1] - p.start[0]) * point


def _middle(x: Array) -> float:
    return float(np.mean(np.unique(x)))


def _atom(term: Term, at: Mapping[str, int]) -> Linear:
    columns = [np.ones_like(term.powers[0][2])]
    columns += [sign * (x - _middle(x)) for _, sign, x in term.powers]
    index = (at[term.amplitude], *(at[name] for name, _, _ in term.powers))
    return Linear(np.stack(columns, axis=-1), index)


def _shifted(values: Array, terms: Sequence[Term], at: Mapping[str, int], *, back: bool) -> Array:
    """Amplitudes between their log at the middle of the runs and the paper's own."""
    out = np.array(values, dtype=float)
    for t in terms:
        k = at[t.amplitude]
        shift = sum(sign * values[:, at[name]] * _middle(x) for name, sign, x in t.powers)
        # An amplitude beyond all floats: such a law predicts nothing finite and is left out.
        with np.errstate(over="ignore", divide="ignore"):
            out[:, k] = np.log(values[:, k]) + shift if back else np.exp(values[:, k] - shift)
    return out
