"""Links from atoms to the log-prediction f, each with exact first and second derivatives."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from isoflop.laws.coordinates import Linked

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def log_sum(t: list[Array]) -> Array:
    """f = log sum_a exp t_a, the value alone."""
    top = t[0]
    for other in t[1:]:
        top = np.maximum(top, other)
    total = np.exp(t[0] - top)
    for other in t[1:]:
        total += np.exp(other - top)
    return top + np.log(total)


def log_sum_linked(t: list[Array]) -> Linked:
    """f = log sum_a exp t_a: the gradient is the share p_a, the Hessian p_a [a = b] - p_a p_b."""
    top = t[0]
    for other in t[1:]:
        top = np.maximum(top, other)
    parts = [np.exp(a - top) for a in t]
    total = parts[0].copy()
    for part in parts[1:]:
        total += part
    f = top + np.log(total)
    inverse = 1 / total
    p = tuple(part * inverse for part in parts)
    hessian = {
        (a, b): p[a] * (1 - p[a]) if a == b else -p[a] * p[b]
        for a in range(len(t))
        for b in range(a, len(t))
    }
    return Linked(f, p, hessian)


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
    """f = log(exp t_0 + exp g(t_1, ...)): a floor under an inner link g."""
    g = inner(t[1:])
    f = np.logaddexp(t[0], g.value)
    p = np.exp(g.value - f)
    pq = p * (1 - p)
    gradient = (1 - p, *(p * d for d in g.gradient))
    hessian = {(0, 0): pq}
    for a, d in enumerate(g.gradient):
        hessian[0, a + 1] = -pq * d
        for b in range(a, len(g.gradient)):
            bend = g.hessian.get((a, b))
            both = pq * d * g.gradient[b]
            hessian[a + 1, b + 1] = both if bend is None else both + p * bend
    return Linked(f, gradient, hessian)
