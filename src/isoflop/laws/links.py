"""Links from atoms to the log-prediction f, each with exact first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from isoflop.laws.coordinates import Linked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def floored_sum(t: list[Array]) -> Array:
    """f = ln(E + sum_a exp t_a) for t = [E, t_1, ...]: the value alone."""
    total = t[0] + np.exp(t[1])
    for other in t[2:]:
        total += np.exp(other)
    return np.log(total)


def floored_sum_linked(t: list[Array]) -> Linked:
    """f = ln(E + sum_a exp t_a): 1/L in the floor, the share p_a in a term."""
    parts = [np.exp(a) for a in t[1:]]
    total = t[0] + parts[0]
    for part in parts[1:]:
        total += part
    inverse = 1 / total
    for part in parts:
        part *= inverse
    hessian = {(a, a): part for a, part in enumerate(parts, start=1)}
    return Linked(np.log(total), (inverse, *parts), hessian, -1.0)


def smooth_maximum(t: list[Array]) -> Array:
    """g = k log(exp(t_1 / k) + exp(t_2 / k)) for t = [t_1, t_2, k]: the value alone."""
    a, b, k = t
    return k * np.logaddexp(a / k, b / k)


def smooth_maximum_linked(t: list[Array]) -> Linked:
    """g = k log(exp(t_1 / k) + exp(t_2 / k)): the larger of two terms, rounded by temperature k.

    With shares p_j the derivative in k is the entropy of p.
    """
    a, b, k = t
    g = smooth_maximum(t)
    p, q = np.exp((a - g) / k), np.exp((b - g) / k)
    entropy = (g - p * a - q * b) / k
    mean = (p * a + q * b) / k
    spread = p * q / k
    hessian = {
        (0, 0): spread,
        (0, 1): -spread,
        (1, 1): spread,
        (0, 2): -p / k * (a / k - mean),
        (1, 2): -q / k * (b / k - mean),
        (2, 2): (p * (a / k - mean) ** 2 + q * (b / k - mean) ** 2) / k,
    }
    return Linked(g, (p, q, entropy), hessian)


def falling_exponent(t: list[Array], log_tokens: Array) -> Array:
    """g = w - exp(v) ln D for t = [w, v]: a power of D whose exponent is itself a law."""
    w, v = t
    return w - log_tokens * np.exp(v)


def falling_exponent_linked(t: list[Array], log_tokens: Array) -> Linked:
    """g = w - exp(v) ln D with derivatives."""
    w, v = t
    drop = -log_tokens * np.exp(v)
    return Linked(w + drop, (np.ones_like(drop), drop), {(1, 1): drop})


def with_floor(inner: Callable[[list[Array]], Linked], t: list[Array]) -> Linked:
    """f = ln(E + exp g(t_1, ...)) for t = [E, t_1, ...]: a floor under an inner link g."""
    g = inner(t[1:])
    power = np.exp(g.value)
    inverse = 1 / (t[0] + power)
    p = power * inverse
    slopes = [p * d for d in g.gradient]
    return Linked(np.log(t[0] + power), (inverse, *slopes), _bent(g, p, slopes), -1.0)


def beside(inner: Callable[[list[Array]], Linked], t: list[Array]) -> Linked:
    """f = ln(exp t_0 + exp g(t_1, ...)): a term beside an inner link g."""
    g = inner(t[1:])
    f = np.logaddexp(t[0], g.value)
    p = np.exp(g.value - f)
    slopes = [p * d for d in g.gradient]
    return Linked(f, (1 - p, *slopes), {(0, 0): 1 - p} | _bent(g, p, slopes), -1.0)


def _bent(g: Linked, p: Array, slopes: list[Array]) -> dict[tuple[int, int], Array]:
    """Of a term exp g in its atoms, over the sum that it has the share p of; slopes: p g'."""
    out = {}
    for a, slope in enumerate(slopes):
        for b in range(a, len(slopes)):
            both = (1 + g.square) * slope * g.gradient[b]
            bend = g.hessian.get((a, b))
            out[a + 1, b + 1] = both if bend is None else both + p * bend
    return out
