"""Coordinates of low + rise / (1 + exp(-s)), s linear in its variable, with exact derivatives."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from isoflop.laws import links
from isoflop.laws.coordinates import Chart, Linear, Linked
from isoflop.laws.starts import spread

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]

STEEP = (0.3, 30.0)  # steepness where searches start, per spread of the variable


def inner(t: list[Array]) -> Linked:
    """g = ln(rise) - ln(1 + exp(-s)) for t = [ln rise, s]."""
    rise, s = t
    left = np.exp(-np.logaddexp(0, s))  # 1 - sigmoid
    hessian = {(1, 1): -left * (1 - left)}
    return Linked(rise - np.logaddexp(0, -s), (np.ones_like(s), left), hessian)


def sigmoid_chart(
    x: Array,
    sign: float,
    *,
    to_params: Callable[[Array], Array],
    from_params: Callable[[Array], Array],
) -> Chart:
    """Coordinates (low, ln rise, slope, crossing) of low + rise / (1 + exp(-sign slope (x - m))).

    low and rise are found by least squares for each start (variable projection), so starts spread
    only the slope and the crossing; slope and m are coordinates as (slope, slope m) about the
    middle of x. to_params and from_params convert (low, rise, slope, m), each a row.
    """
    middle, size = float(np.mean(np.unique(x))), float(np.ptp(x)) or 1.0
    z = x - middle
    ones = Linear(np.ones((len(x), 1)), (0,))

    def starts(count: int, seed: int) -> Array:
        out = spread(
            count,
            {
                2: lambda point: STEEP[0] * (STEEP[1] / STEEP[0]) ** point / size,
                3: lambda point: (1.6 * point - 0.8) * size,
            },
            seed=seed,
            size=4,
        )
        out[:, 3] *= out[:, 2]
        return out

    def out_of(u: Array) -> Array:
        low, rise, slope, shift = u.T
        return to_params(np.stack([low, np.exp(rise), slope, shift / slope + middle]))

    def into(v: Array) -> Array:
        low, rise, slope, m = from_params(v)
        return np.stack([low, np.log(rise), slope, slope * (m - middle)], axis=-1)

    return Chart(
        atoms=(
            ones,
            Linear(np.ones((len(x), 1)), (1,)),
            Linear(sign * np.stack([z, -np.ones_like(z)], axis=-1), (2, 3)),
        ),
        link=partial(links.with_floor, inner),
        link_value=lambda t: np.log(t[0] + np.exp(t[1] - np.logaddexp(0, -t[2]))),
        terms=lambda t: [np.ones_like(t[0]), np.exp(t[1] - np.logaddexp(0, -t[2]))],
        floor=0,
        amplitudes=((1,),),
        lower=np.array([0.0, -30.0, 1e-3 / size, -1e3]),
        upper=np.array([1e3, 30.0, 1e3 / size, 1e3]),
        to_params=out_of,
        from_params=into,
        starts=starts,
    )
