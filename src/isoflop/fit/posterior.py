"""A law's coefficients under weak priors, by Laplace's method: for fewer runs than a fit needs.

The prior of a shape is the spread of the starts that the law itself proposes (its exponents,
its balance of terms); each term of a sum takes an equal share of the output, to a factor of
four; where a term reads two columns or more, their effects are made independent of each other
over all rows, targets included, each a change of .2 in the log for one standard deviation. The
noise is unknown: its prior is 1%, worth two runs.

Shapes: S starts, n observed rows, N all rows, p coordinates.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from isoflop.fit.numeric import NumericChart
from isoflop.fit.solver import chart_of
from isoflop.laws.coordinates import Linear

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.law import Law
    from isoflop.laws.coordinates import Chart

    Array = NDArray[np.float64]

NOISE, WORTH = 0.01, 2.0  # prior sd of ln(output) about a law, and how many runs it counts for
SHARE = 1.5  # sd of the ln of a term's share of the output
FLOOR = 0.5  # sd of the floor as a share of the output
EFFECT = 0.2  # sd of the change of a term's ln that one sd of a column brings
SAMPLES, FOLLOWED = 256, 24  # starts ranked, and those climbed from
STEPS, SETTLED = 60, 1e-6
EARLY, HOPELESS = 5, 30.0  # steps after which a start so far below the best is dropped
RIDGE = 1e-3  # of a column's size: what tells apart columns that no row does


class Posterior(NamedTuple):
    """A law given the runs, at all N rows.

    location: ln of its prediction, (N,). spread: (p, N), whose products summed over p are the
    covariance of location. noise: variance of ln(output) of a run about it. evidence: ln of the
    probability of the runs. coefficients: (p,), in the law's order.
    """

    location: Array
    spread: Array
    noise: float
    evidence: float
    coefficients: Array


class Prior(NamedTuple):
    """Normal in coordinates: root (p, p) whose Gram matrix is the precision; starts (S, p)."""

    mean: Array
    root: Array
    starts: Array


class Climb(NamedTuple):
    """What is climbed: observed chart, whitened ln(output) (n,), whitening (n, n), prior."""

    chart: Chart
    observed: Array
    whitening: Array
    prior: Prior

    def cost(self, u: Array) -> tuple[Array, Array]:
        """Minus the ln posterior of each start, noise maximised, and its residual squares."""
        with np.errstate(all="ignore"):
            r = self.observed - self.chart.value(u) @ self.whitening.T
            squares = np.sum(r**2, axis=1)
            far = np.sum(((u - self.prior.mean) @ self.prior.root.T) ** 2, axis=1)
            total = (r.shape[1] + WORTH) / 2 * np.log(WORTH * NOISE**2 + squares) + far / 2
        return np.where(np.isfinite(total), total, np.inf), squares

    def noise(self, squares: Array) -> Array:
        return (WORTH * NOISE**2 + squares) / (len(self.observed) + WORTH)


def posterior(
    law: Law, columns: Mapping[str, Array], y: Array, *, whitening: Array | None = None,
    seed: int = 0,
) -> Posterior | None:  # fmt: skip
    """The law at all rows of `columns`, of which the first len(y) were observed as y (n,).

    whitening: (n, n), takes residuals to independent ones of equal variance; by default they
    are. None where the law is not finite at every row.
    """
    n = len(y)
    whitening = np.eye(n) if whitening is None else whitening
    whole = chart_of(law, columns)
    chart = _rows(whole, n)
    climb = Climb(chart, whitening @ np.log(y), whitening, prior_of(whole, y, seed=seed))
    found = _climbed(climb)
    if found is None:
        return None
    u, cost, noise = found
    with np.errstate(all="ignore"):
        location, expansion = whole.expand(u[None])
        jacobian = expansion.jacobian()[0]
    if not (np.isfinite(location).all() and np.isfinite(jacobian).all()):
        return None
    inner = whitening @ jacobian[:n]
    root = climb.prior.root
    values, vectors = np.linalg.eigh(inner.T @ inner / noise + root.T @ root)
    values = np.maximum(values, values.max() * 1e-14)
    volume = np.linalg.slogdet(root)[1] - 0.5 * np.sum(np.log(values))
    return Posterior(
        location=location[0],
        spread=(jacobian @ vectors / np.sqrt(values)).T,
        noise=noise,
        evidence=float(np.linalg.slogdet(whitening)[1] - cost + volume),
        coefficients=whole.to_params(u[None])[0],
    )


def prior_of(chart: Chart, y: Array, *, seed: int) -> Prior:
    """The prior of a chart's coordinates for outputs of the size of y."""
    u = chart.starts(SAMPLES, seed)
    mean, sd = u.mean(axis=0), np.maximum(u.std(axis=0), 1e-3)
    count = len(chart.amplitudes) + (chart.floor is not None)
    if count:
        share = np.exp(getattr(chart, "power", 1.0) * np.mean(np.log(y))) / count
        with np.errstate(all="ignore"):
            terms = chart.terms([atom.value(u) for atom in chart.atoms])
            sizes = [np.mean(np.log(np.maximum(t, 1e-300)), axis=1) for t in terms]
        if chart.floor is not None:
            sizes = sizes[1:]
            u[:, chart.floor] = mean[chart.floor] = share
            sd[chart.floor] = FLOOR * share * count
        for group, size in zip(chart.amplitudes, sizes, strict=True):
            for k in group:
                u[:, k] += np.log(share) - size
                mean[k] = np.median(u[:, k])
                sd[k] = np.hypot(min(float(u[:, k].std()), 2 * SHARE), SHARE)
    root = np.diag(1 / sd)
    for atom in getattr(chart, "atoms", ()):
        if isinstance(atom, Linear) and len(atom.index) > 2:
            _independent(atom, mean=mean, root=root, starts=u, chart=chart, seed=seed)
    return Prior(mean, root, np.clip(u, chart.lower, chart.upper))


def _independent(
    atom: Linear, *, mean: Array, root: Array, starts: Array, chart: Chart, seed: int
) -> None:
    """Give an atom of several columns the prior of independent effects, in place."""
    index, p = list(atom.index), len(atom.index)
    ridge = RIDGE * np.diag(np.abs(atom.design).max(axis=0))
    effects = np.linalg.qr(np.concatenate([atom.design, ridge]), mode="r")
    effects *= np.sign(np.diag(effects))[:, None] / np.sqrt(len(atom.design))
    scale, middle = np.full(p, 1 / EFFECT), np.zeros(p)
    if index[0] in [group[0] for group in chart.amplitudes]:
        scale[0], middle[0] = root[index[0], index[0]], mean[index[0]]
    own = scale[:, None] * effects
    mean[index] = middle
    root[np.ix_(index, index)] = own
    anywhere = np.random.default_rng(seed).standard_normal((len(starts), p))
    starts[:, index] = middle + np.linalg.solve(own, anywhere.T).T


def _rows(chart: Chart, n: int) -> Chart:
    """The chart at its first n rows; the whole one where a link holds columns of its own."""
    if isinstance(chart, NumericChart):
        return replace(chart, columns={k: v[:n] for k, v in chart.columns.items()})  # type: ignore[return-value]
    if not all(isinstance(atom, Linear) for atom in chart.atoms):
        return _Head(chart, n)  # type: ignore[return-value]
    return replace(chart, atoms=tuple(replace(a, design=a.design[:n]) for a in chart.atoms))  # type: ignore[arg-type]


class _Head(NamedTuple):
    """The first n rows of a chart that cannot be cut."""

    chart: Chart
    n: int

    @property
    def lower(self) -> Array:
        return self.chart.lower

    @property
    def upper(self) -> Array:
        return self.chart.upper

    def value(self, u: Array) -> Array:
        return self.chart.value(u)[:, : self.n]

    def expand(self, u: Array) -> tuple[Array, _Slopes]:
        f, expansion = self.chart.expand(u)
        return f[:, : self.n], _Slopes(expansion.jacobian()[:, : self.n])


class _Slopes(NamedTuple):
    values: Array

    def jacobian(self) -> Array:
        return self.values


def _climbed(climb: Climb) -> tuple[Array, float, float] | None:
    """The best coordinates (p,), their cost and noise, by Levenberg-Marquardt from many starts."""
    chart, u = climb.chart, climb.prior.starts
    cost, squares = climb.cost(u)
    kept = np.argsort(cost)[:FOLLOWED]
    kept = kept[np.isfinite(cost[kept])]
    if not len(kept):
        return None
    u, cost, squares = u[kept], cost[kept], squares[kept]
    damping = np.full(len(u), 1e-2)
    for k in range(STEPS):
        step = _step(climb, u, climb.noise(squares), damping)
        tried = np.clip(u + step, chart.lower, chart.upper)
        value, left = climb.cost(tried)
        better = value < cost
        gained = np.max(np.where(better, cost - value, 0.0))
        u = np.where(better[:, None], tried, u)
        cost, squares = np.where(better, value, cost), np.where(better, left, squares)
        damping = np.where(better, damping / 5, np.minimum(damping * 5, 1e8))
        if better.any() and gained < SETTLED:
            break
        if k > EARLY:
            near = cost < cost.min() + HOPELESS
            u, cost, squares, damping = u[near], cost[near], squares[near], damping[near]
    best = int(np.argmin(cost))
    return u[best], float(cost[best]), float(climb.noise(squares[best]))


def _step(climb: Climb, u: Array, noise: Array, damping: Array) -> Array:
    """A damped Gauss-Newton step of each start; a coordinate pressed against its box stays."""
    chart, prior = climb.chart, climb.prior
    with np.errstate(all="ignore"):
        f, expansion = chart.expand(u)
        j = expansion.jacobian()
    j = climb.whitening @ np.where(np.isfinite(j), j, 0.0)
    r = climb.observed - f @ climb.whitening.T  # finite: no start stays where it is not
    precision = prior.root.T @ prior.root
    hessian = j.transpose(0, 2, 1) @ j / noise[:, None, None] + precision
    downhill = np.einsum("sni,sn->si", j, r) / noise[:, None] - (u - prior.mean) @ precision
    stuck = ((u <= chart.lower) & (downhill < 0)) | ((u >= chart.upper) & (downhill > 0))
    diagonal = np.diagonal(hessian, axis1=1, axis2=2)
    own = np.eye(u.shape[1]) * diagonal[:, :, None]
    hessian = hessian + damping[:, None, None] * own
    hessian = np.where(stuck[:, :, None] | stuck[:, None, :], own, hessian)
    return np.linalg.solve(hessian, np.where(stuck, 0.0, downhill)[..., None])[..., 0]
