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
    p = [part * inverse for part in parts]
    hessian = {(0, 0): -inverse * inverse}
    for a in range(len(p)):
        hessian[0, a + 1] = -inverse * p[a]
        for b in range(a, len(p)):
            hessian[a + 1, b + 1] = p[a] * (1 - p[a]) if a == b else -p[a] * p[b]
    return Linked(np.log(total), (inverse, *p), hessian)


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
    hessian = {(0, 0): -inverse * inverse}
    cross = -inverse * p
    spread = p * (1 - p)
    for a, d in enumerate(g.gradient):
        hessian[0, a + 1] = cross * d
    hessian |= _bent(g, p, spread)
    return Linked(np.log(t[0] + power), (inverse, *(p * d for d in g.gradient)), hessian)


def beside(inner: Callable[[list[Array]], Linked], t: list[Array]) -> Linked:
    """f = ln(exp t_0 + exp g(t_1, ...)): a term beside an inner link g."""
    g = inner(t[1:])
    f = np.logaddexp(t[0], g.value)
    p = np.exp(g.value - f)
    spread = p * (1 - p)
    hessian = {(0, 0): spread}
    for a, d in enumerate(g.gradient):
        hessian[0, a + 1] = -spread * d
    hessian |= _bent(g, p, spread)
    return Linked(f, (1 - p, *(p * d for d in g.gradient)), hessian)


def _bent(g: Linked, p: Array, spread: Array) -> dict[tuple[int, int], Array]:
    """Second derivatives of a sum in the atoms of its term exp g, of share p."""
    out = {}
    for a, d in enumerate(g.gradient):
        for b in range(a, len(g.gradient)):
            both = spread * d * g.gradient[b]
            bend = g.hessian.get((a, b))
            out[a + 1, b + 1] = both if bend is None else both + p * bend
    return out
