"""Batched safeguarded Newton over many independent problems of one law."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.fit.objective import Objective
    from isoflop.laws.coordinates import Chart

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]

TOLERANCE = 1e-12  # predicted decrease, relative to the objective
GIVE_UP = 1e9  # damping at which a step is no longer worth taking


class Problems(NamedTuple):
    """P problems over n runs: ln y (P, n) or (1, n), weights (P, n) or (1, n)."""

    log_y: Array
    weights: Array

    def take(self, index: Array) -> Problems:
        return Problems(
            self.log_y if len(self.log_y) == 1 else self.log_y[index],
            self.weights if len(self.weights) == 1 else self.weights[index],
        )


class Minimum(NamedTuple):
    """Coordinates (P, p), objective (P,), whether each converged, Newton's remaining decrease."""

    u: Array
    value: Array
    converged: Flags
    decrease: Array


class Expanded(NamedTuple):
    """Gradient (P, p), Hessian and its positive majoriser (P, p, p) of the objective."""

    gradient: Array
    hessian: Array
    majoriser: Array


def residual(problems: Problems, f: Array, objective: Objective) -> Array:
    if objective.raw:
        return np.exp(problems.log_y) - np.exp(f)
    return problems.log_y - f


def values(
    chart: Chart, problems: Problems, u: Array, *, objective: Objective, width: float
) -> Array:
    """Objective of each problem at its own coordinates; infinite where the law is not finite."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        r = residual(problems, chart.value(u), objective)
        total = np.sum(problems.weights * objective.rho(r, width), axis=-1)
    return np.where(np.isfinite(total), total, np.inf)


def expand(
    chart: Chart, problems: Problems, u: Array, *, objective: Objective, width: float
) -> Expanded:
    """Exact gradient and Hessian, and the majoriser of iteratively reweighted least squares."""
    f, expansion = chart.expand(u)
    r = residual(problems, f, objective)
    w = problems.weights * objective.sides(r)
    size = np.abs(r)
    inside = size <= width
    slope = w * np.clip(r, -width, width)  # d rho / d r
    weight = w * np.where(inside, 1.0, width / np.maximum(size, 1e-300))
    if objective.raw:
        level = np.exp(f)
        first, second = slope * level, w * inside * level**2
        hessian = expansion.quadratic(second - first, -first)
        return Expanded(-expansion.gradient(first), hessian, expansion.quadratic(weight * level**2))
    hessian = expansion.quadratic(w * inside, -slope)
    return Expanded(-expansion.gradient(slope), hessian, expansion.quadratic(weight))


def minimise(
    chart: Chart,
    problems: Problems,
    u: Array,
    *,
    objective: Objective,
    width: float,
    iterations: int = 100,
    tolerance: float = TOLERANCE,
) -> Minimum:
    """Minimise every problem from its own start, inside the chart's box.

    Each iteration tries a Newton step and a step of the majoriser, keeps the better, and damps
    each problem by itself (Levenberg-Marquardt); finished problems leave the batch.
    """
    u = np.clip(u, chart.lower, chart.upper)
    count = len(u)
    best = values(chart, problems, u, objective=objective, width=width)
    converged, decrease = np.zeros(count, bool), np.full(count, np.inf)
    damping = np.full(count, 1e-3)
    active = np.flatnonzero(np.isfinite(best))
    for _ in range(iterations):
        if not len(active):
            break
        sub = problems.take(active)
        at = expand(chart, sub, u[active], objective=objective, width=width)
        steps, predicted = _steps(chart, u[active], at, damping[active])
        decrease[active] = predicted
        trial_u = np.clip(u[active] + steps, chart.lower, chart.upper)
        both = sub.take(np.tile(np.arange(len(active)), 2))
        trial = values(
            chart, both, trial_u.reshape(-1, u.shape[1]), objective=objective, width=width
        ).reshape(2, -1)
        pick = np.argmin(trial, axis=0)
        rows = np.arange(len(active))
        gain = best[active] - trial[pick, rows]
        better = gain > 0
        moved = active[better]
        u[moved] = trial_u[pick[better], rows[better]]
        best[moved] = trial[pick[better], rows[better]]
        done = predicted <= tolerance * np.maximum(best[active], 1e-300)
        converged[active] = done
        damping[active] = np.where(
            better, np.maximum(damping[active] / 8, 1e-12), np.maximum(damping[active], 1e-6) * 8
        )
        active = active[~done & (damping[active] < GIVE_UP)]
    return Minimum(u, best, converged, decrease)


def _steps(chart: Chart, u: Array, at: Expanded, damping: Array) -> tuple[Array, Array]:
    """Newton's and the majoriser's steps (2, P, p), and the decrease Newton promises (P,).

    Coordinates at a bound that the gradient pushes against are held. The Hessian is used with
    the absolute values of its eigenvalues, so a saddle is left downhill.
    """
    held = ((u <= chart.lower) & (at.gradient > 0)) | ((u >= chart.upper) & (at.gradient < 0))
    free = ~held
    diagonal = np.einsum("pii->pi", at.majoriser)
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-14 * diagonal.max(axis=1, keepdims=True) + 1e-300))
    g = at.gradient * scale * free
    both = free[:, :, None] & free[:, None, :]
    pair = scale[:, :, None] * scale[:, None, :]
    matrices = np.stack([at.hessian, at.majoriser])
    matrices = np.where(both, matrices * pair, held[:, :, None] * np.eye(u.shape[1]))
    eigenvalues, vectors = np.linalg.eigh(matrices)
    turned = (g[:, None, :] @ vectors)[:, :, 0, :]
    size = np.maximum(np.abs(eigenvalues), 1e-13)
    predicted = 0.5 * np.sum(turned[0] ** 2 / np.maximum(size[0], 1e-10), axis=1)
    step = (vectors @ (turned / (size + damping[:, None]))[..., None])[..., 0]
    return -step * scale * free, predicted
