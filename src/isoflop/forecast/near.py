"""Forecast of given targets from few runs: every law under priors, trusted near the targets only.

A law is an approximation. What it gets wrong at a run has a standard deviation that grows in
proportion to the run's distance from the nearest target, is shared by neighbouring runs, and is
as large as the noise at a distance of `reach`. Each law counts at every reach by the probability
that it gave the runs (its evidence), so many cheap runs far away do not outvote those nearby, and
a handful of runs is enough: no law needs more runs than it has coefficients.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.fit.posterior import WORTH, Posterior, posterior
from isoflop.forecast.axes import nearness, standardised
from isoflop.forecast.mixture import Mixture
from isoflop.laws import laws_for

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.law import Law
    from isoflop.tables import Runs

    Array = NDArray[np.float64]
    Columns = Mapping[str, Array]

REACHES = (np.inf, 1.0, 0.5)  # standard deviations of the inputs; inf: the law is exact
LEAST = 1e-3  # weight below which a member is left out
MOST = 400  # runs that are looked at: more are thinned evenly by their distance
FEWEST = 2


@dataclass(frozen=True, kw_only=True)
class NearMember:
    """A law at one reach: its weight, coefficients, and sd of a run's ln(output) at the targets."""

    law: Law
    reach: float
    weight: float
    noise: float
    coefficients: Mapping[str, float]
    location: Array = field(repr=False)
    spread: Array = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Near:
    """What the laws say of the targets, and of other rows as far as these tell of the targets.

    n: runs it rests on. covariance: of ln(output) at the other rows, then the targets, with the
    misfit that other runs would share. noise: variance of one run.
    """

    n: int
    members: tuple[NearMember, ...]
    covariance: Array = field(repr=False)
    noise: float
    targets: int

    def predict(self) -> Mixture:
        """The predictive distribution of a new run at each target."""
        last = slice(-self.targets, None)
        scale = [np.sqrt(m.noise**2 + np.sum(m.spread[:, last] ** 2, axis=0)) for m in self.members]
        return Mixture(
            weight=np.array([m.weight for m in self.members]),
            location=np.array([m.location[last] for m in self.members]),
            scale=np.array(scale),
            dof=np.full((len(self.members), self.targets), self.n + WORTH),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values; an infinite reach is null."""
        return {
            "n": self.n,
            "members": [
                {
                    "law": m.law.name,
                    "reach": m.reach if np.isfinite(m.reach) else None,
                    "weight": m.weight,
                    "noise": m.noise,
                    "coefficients": dict(m.coefficients),
                }
                for m in self.members
            ],
        }

    def __str__(self) -> str:
        lines = [f"{len(self.members)} fits near {self.targets} targets, from {self.n} runs"]
        lines += [
            f"{m.law.name:<40} {m.weight:6.3f}  "
            f"{'exact' if np.isinf(m.reach) else f'to {m.reach:g} sd':<10} "
            f"noise {100 * m.noise:.2f}%"
            for m in self.members
        ]
        return "\n".join(lines)


def forecast_near(
    runs: Runs,
    target: Mapping[str, Any],
    *,
    laws: Sequence[Law] | None = None,
    output: str = "loss",
    others: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Near:
    """Weigh every law under priors by the runs, for these targets alone.

    target: one value or many of every input. laws: by default all that give `output` and read
    the columns that runs and targets have. others: rows at which runs might be made, as the next
    experiment needs them. Its intervals rest on the priors: where there are runs enough for
    `pool`, that one's are backtested. Raises ValueError where there are fewer than two runs, no
    law reads the columns, or none is finite everywhere.
    """
    aims = {k: np.atleast_1d(np.asarray(v, dtype=float)) for k, v in target.items()}
    rest = {k: np.asarray(v, dtype=float) for k, v in (others or {}).items()}
    if len(runs) < FEWEST:
        raise ValueError(f"{runs.name!r} has {len(runs)} runs; a law needs {FEWEST} at least")
    names = [k for k in aims if k in runs and (k in rest or not rest)]
    parts = (runs.data, rest, aims) if rest else (runs.data, aims)
    every = {k: np.concatenate([np.asarray(c[k], dtype=float) for c in parts]) for k in names}
    laws = laws_for(every, output=output) if laws is None else laws
    laws = [law for law in laws if law.output == output and set(law.inputs) <= set(every)]
    if not laws:
        raise ValueError(
            f"runs, targets and other rows share the columns {', '.join(names) or 'none'}; no law "
            f"of {output} reads these alone"
        )
    used = dict.fromkeys(k for law in laws for k in law.inputs)
    return _weighed(
        {k: every[k] for k in used}, np.asarray(runs[output], dtype=float), laws,
        targets=len(next(iter(aims.values()))), seed=seed,
    )  # fmt: skip


def _weighed(columns: Columns, y: Array, laws: Sequence[Law], *, targets: int, seed: int) -> Near:
    """Members and covariance; rows: the runs y, then others, then targets."""
    x = standardised(columns)
    close = nearness(x)
    away = np.sqrt(np.min(-2 * np.log(np.maximum(close[:, -targets:], 1e-300)), axis=1))
    rows = _thinned(away[: len(y)])
    order = np.concatenate([rows, np.arange(len(y), len(away))])
    columns = {k: v[order] for k, v in columns.items()}
    y, away, close = y[rows], away[order], close[np.ix_(order, order)]
    n, found = len(y), []
    for reach in REACHES:
        misfit = np.outer(away[:n], away[:n]) / reach**2 * close[:n, :n]
        whitening = np.asarray(np.linalg.inv(np.linalg.cholesky(np.eye(n) + misfit)), float)
        for law in laws:
            made = posterior(law, columns, y, whitening=whitening, seed=seed)
            if made is not None:
                found.append((law, reach, made))
    if not found:
        raise ValueError("no law is finite at every run, target and other row")
    members = _members(found, n)
    weight = np.array([m.weight for m in members])
    location = np.array([m.location for m in members])
    parts = [np.sqrt(m.weight) * m.spread for m in members]
    parts.append(np.sqrt(weight)[:, None] * (location - weight @ location))
    every = np.concatenate(parts)
    shared = sum(m.weight * m.noise**2 / m.reach**2 for m in members)
    covariance = every.T @ every + shared * np.outer(away[n:], away[n:]) * close[n:, n:]
    return Near(
        n=n, members=members, covariance=covariance,
        noise=float(sum(m.weight * m.noise**2 for m in members)), targets=targets,
    )  # fmt: skip


def _members(found: Sequence[tuple[Law, float, Posterior]], n: int) -> tuple[NearMember, ...]:
    """By falling weight, those of any; location and spread of the rows after the first n."""
    evidence = np.array([made.evidence for _, _, made in found])
    weight = np.exp(evidence - evidence.max())
    weight = np.where(weight / weight.sum() >= LEAST, weight, 0.0)
    weight /= weight.sum()
    return tuple(
        NearMember(
            law=found[k][0], reach=found[k][1], weight=float(weight[k]),
            noise=float(np.sqrt(found[k][2].noise)),
            coefficients=dict(
                zip(found[k][0].names, found[k][2].coefficients.tolist(), strict=True)
            ),
            location=found[k][2].location[n:], spread=found[k][2].spread[:, n:],
        )
        for k in np.argsort(-weight, kind="stable") if weight[k] > 0
    )  # fmt: skip


def _thinned(away: Array) -> NDArray[np.intp]:
    """All runs, or MOST of them, even in the order of their distance."""
    if len(away) <= MOST:
        return np.arange(len(away))
    order = np.argsort(away, kind="stable")
    return order[np.linspace(0, len(order) - 1, MOST).astype(int)]
