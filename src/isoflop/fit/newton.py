"""Batched safeguarded Newton over many independent problems of one law."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.fit.objective import Objective
    from isoflop.laws.coordinates import Chart, Expansion

    Array = NDArray[np.float64]
    Flags = NDArray[np.bool_]
    Index = NDArray[np.integer]

TOLERANCE = 1e-12  # predicted decrease, relative to the objective
SHORTER = np.array([0.4, 0.15, 0.05, 0.015, 0.004])  # of a step that did not descend
LARGEST = 1e100  # entry of a Hessian: a law that steep has overflowed
NEWTON, MAJORISER, BOTH = slice(0, 1), slice(1, 2), slice(0, 2)  # of (2, P) dampings
GIVE_UP = 1e9  # damping at which a step is no longer worth taking


class Problems(NamedTuple):
    """P problems over n runs: ln y (P, n) or (1, n), weights (P, n) or (1, n)."""

    log_y: Array
    weights: Array

    def take(self, index: Index) -> Problems:
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


class State(NamedTuple):
    """What an iteration moves, in place: coordinates, objective, promised decrease, damping.

    damping: (2, P) of Newton's model and of the majoriser.
    """

    u: Array
    value: Array
    decrease: Array
    damping: Array


class Expanded(NamedTuple):
    """Gradient (P, p), Hessian (P, p, p) of the objective, and what its majoriser needs.

    weights (P, n) or (1, n); size (P, n): |residual|; level (P, n): of the output, if that counts.
    """

    gradient: Array
    hessian: Array
    expansion: Expansion
    weights: Array
    size: Array
    level: Array | None

    def majoriser(self, rows: Index, width: float) -> Array:
        """The positive Hessian of iteratively reweighted least squares, for some problems."""
        w, size, level, of = self.weights, self.size, self.level, self.expansion
        if len(rows) < len(size):
            w, size, of = w if len(w) == 1 else w[rows], size[rows], of.take(rows)
            level = None if level is None else level[rows]
        outer = w * np.where(size <= width, 1.0, width / np.maximum(size, 1e-300))
        return of.quadratic(outer if level is None else outer * level**2)


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
    """Exact gradient and Hessian of every problem's objective at its own coordinates."""
    f, expansion = chart.expand(u)
    r = residual(problems, f, objective)
    w = problems.weights * objective.sides(r)
    size = np.abs(r)
    first = w * np.clip(r, -width, width)  # d rho / d r
    second = w * (size <= width) if np.isfinite(width) else w
    level = np.exp(f) if objective.raw else None
    if level is not None:
        first, second = first * level, second * level**2
        second = second - first
    hessian = expansion.quadratic(second, -first)
    return Expanded(-expansion.gradient(first), hessian, expansion, w, size, level)


def minimise(
    chart: Chart,
    problems: Problems,
    u: Array,
    *,
    objective: Objective,
    width: float,
    iterations: int = 100,
    tolerance: float = TOLERANCE,
    thorough: bool = False,
) -> Minimum:
    """Minimise every problem from its own start, inside the chart's box.

    Each iteration takes a Newton step or a fraction of it; where none descends, a step of the
    majoriser; where neither does, the problem is damped more (Levenberg-Marquardt, each model by
    itself). A thorough search, far from the minimum, tries both models and takes the better.
    Finished problems leave the batch.
    """
    u = np.clip(u, chart.lower, chart.upper)
    count = len(u)
    best = values(chart, problems, u, objective=objective, width=width)
    state = State(u, best, np.full(count, np.inf), np.full((2, count), 1e-3))
    converged = np.zeros(count, bool)
    active = np.flatnonzero(np.isfinite(best))
    for _ in range(iterations):
        if not len(active):
            break
        sub = problems.take(active)
        at = expand(chart, sub, u[active], objective=objective, width=width)
        before, rows = best[active], np.arange(len(active))
        for models in (BOTH,) if thorough else (NEWTON, MAJORISER):
            matrices = [at.hessian] if models.start == 0 else []
            matrices += [at.majoriser(rows, width)] if models.stop == 2 else []
            here = state.u[active[rows]]
            step, promised = _step(
                chart, here, at.gradient[rows], matrices, state.damping[models, active[rows]]
            )
            if models.start == 0:
                state.decrease[active] = promised[0]
            _try(
                chart, sub.take(rows), here, step, state=state, index=active[rows],
                models=models, before=before[rows], objective=objective, width=width,
                # A search keeps to full steps, which leave poor basins that fractions settle in.
                shorten=models == NEWTON and np.isfinite(width),
            )  # fmt: skip
            rows = np.flatnonzero(best[active] >= before)
            if not len(rows):
                break
        done = state.decrease[active] <= tolerance * np.maximum(best[active], 1e-300)
        converged[active] = done
        active = active[~done & (state.damping[:, active].min(axis=0) < GIVE_UP)]
    return Minimum(u, best, converged, state.decrease)


def _try(
    chart: Chart, problems: Problems, here: Array, step: Array, *,
    state: State, index: Index, models: slice, before: Array, objective: Objective, width: float,
    shorten: bool,
) -> None:  # fmt: skip
    """Take the best step (m, P, p) of the problems `index` where it descends, and damp each of the
    m models by whether its own did."""
    trial_u = np.clip(here + step, chart.lower, chart.upper)
    m, p = len(step), step.shape[2]
    many = problems if m == 1 else problems.take(np.tile(np.arange(len(index)), m))
    trial = values(chart, many, trial_u.reshape(-1, p), objective=objective, width=width)
    trial = trial.reshape(m, -1)
    failed = np.flatnonzero(trial[0] >= before)
    if shorten and len(failed):
        _shorten(
            chart, problems.take(failed), here[failed], step[0, failed],
            into=(trial_u[0], trial[0], failed), objective=objective, width=width,
        )  # fmt: skip
    damping = state.damping[models, index]
    state.damping[models, index] = np.where(
        trial < before, np.maximum(damping / 8, 1e-12), np.maximum(damping, 1e-6) * 8
    )
    for moved, reached in zip(trial_u, trial, strict=True):
        down = reached < state.value[index]
        state.u[index[down]], state.value[index[down]] = moved[down], reached[down]


def _shorten(
    chart: Chart, problems: Problems, here: Array, step: Array, *,
    into: tuple[Array, Array, Index], objective: Objective, width: float,
) -> None:  # fmt: skip
    """Replace failed full steps by the best of some shorter ones, in place.

    Where fewer runs lie inside the quadratic region than there are coordinates the model is flat
    along some direction, and the minimum is where the next run enters: a fraction of the step.
    """
    trial_u, trial, rows = into
    count = len(rows)
    tries = np.clip(here + SHORTER[:, None, None] * step, chart.lower, chart.upper)
    many = problems.take(np.tile(np.arange(count), len(SHORTER)))
    found = values(chart, many, tries.reshape(-1, here.shape[1]), objective=objective, width=width)
    found = found.reshape(len(SHORTER), count)
    best = np.argmin(found, axis=0)
    trial_u[rows], trial[rows] = tries[best, np.arange(count)], found[best, np.arange(count)]


def _step(
    chart: Chart, u: Array, gradient: Array, matrices: list[Array], damping: Array
) -> tuple[Array, Array]:
    """Damped steps (m, P, p) down m quadratic models, and the decreases (m, P) promised undamped.

    Coordinates at a bound that the gradient pushes against are held. A model is used with the
    absolute values of its eigenvalues, so a saddle is left downhill. One that overflowed promises
    everything and steps nowhere: its problem is damped until it is given up.
    """
    matrix = np.stack(matrices)
    broken = ~(np.abs(matrix).max(axis=(2, 3)) < LARGEST) | ~np.isfinite(gradient).all(axis=1)
    if broken.any():
        gradient = np.where(broken[..., None], 0.0, gradient)
        matrix = np.where(broken[..., None, None], np.eye(u.shape[1]), matrix)
    held = ((u <= chart.lower) & (gradient > 0)) | ((u >= chart.upper) & (gradient < 0))
    diagonal = np.abs(np.diagonal(matrix, axis1=2, axis2=3))
    largest = diagonal.max(axis=2, keepdims=True)
    scale = 1 / np.sqrt(np.maximum(diagonal, 1e-6 * largest + 1e-100))
    scaled = matrix * scale[..., :, None] * scale[..., None, :]
    if held.any():
        both = ~held[..., :, None] & ~held[..., None, :]
        scaled = np.where(both, scaled, held[..., :, None] * np.eye(u.shape[1]))
        scale = np.where(held, 0.0, scale)
    eigenvalues, vectors = np.linalg.eigh(scaled)
    turned = ((gradient * scale)[..., None, :] @ vectors)[..., 0, :]
    size = np.maximum(np.abs(eigenvalues), 1e-13)
    promised = 0.5 * np.sum(turned**2 / np.maximum(size, 1e-10), axis=2)
    step = (vectors @ (turned / (size + damping[..., None]))[..., None])[..., 0]
    return -step * scale, np.where(broken, np.inf, promised)
