"""Two arms as one problem: arm b is arm a with its compute multiplied."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from isoflop.fit.draws import MOST_LEVERAGE
from isoflop.fit.solver import jacobian, solve
from isoflop.law import Law, Param
from isoflop.tables.checks import check_for
from isoflop.tables.columns import CONVENTIONS
from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.fit.objective import Objective
    from isoflop.tables import Runs

    Array = NDArray[np.float64]

Floor = Literal["shared", "own"]
SCALED = {"flops": 1.0, "params": 0.5, "tokens": 0.5}  # powers of a multiplier of compute
FEWEST = 3  # runs of an arm, on two computes at least
SPARE = 2  # runs beyond the coefficients of the joint fit
EXACT = 1e-7  # log residuals so small leave nothing to converge to
WIDEST = 14.0  # |ln speed-up| beyond which it counts as without bound
LEAD, GROWTH, SHIFT = "lead", "growth", "floor_b"


@dataclass(frozen=True, kw_only=True)
class Arms:
    """Both tables stacked, a first. cluster: rows of one cell share a number.

    columns: inputs of laws, `arm` (0 or 1) and `decades` (log10 of compute from `middle`).
    overhead: what arm b's FLOPs per 6ND are of arm a's. ends: the computes that both arms reach.
    ratio: median tokens per parameter, None without both columns.
    """

    columns: Mapping[str, Array]
    data: Mapping[str, Array]
    cluster: NDArray[np.intp]
    paired: int
    ends: tuple[float, float]
    middle: float
    overhead: float
    ratio: float | None

    def check_for(self, law: Law, *, own: bool) -> None:
        """ValueError where the stacked runs cannot carry the law and the multiplier."""
        check_for(self.data, law)
        if not set(law.inputs) & set(SCALED):
            raise ValueError(f"law {law.name!r} reads none of {', '.join(SCALED)}")
        needed = len(law.names) + 2 + own + SPARE
        if len(self.cluster) < needed:
            raise ValueError(f"{len(self.cluster)} runs of both arms; {needed} are needed")


@dataclass(frozen=True, kw_only=True)
class ArmsFit:
    """One law fitted to both arms; theta: (p,) of the joint law, rms of log residuals."""

    law: Law
    joint: Law
    arms: Arms
    own: bool
    theta: Array
    predicted: Array
    scaled: Array
    rms: float

    def log_speed(self, flops: Array, theta: Array | None = None) -> Array:
        """ln of the speed-up at computes (1, c) for coefficients (draws, p): (draws, c)."""
        theta = self.theta[None] if theta is None else theta
        at = {name: theta[:, k, None] for k, name in enumerate(self.joint.names)}
        decades = np.log10(flops) - self.arms.middle
        line = at[LEAD] + at[GROWTH] * decades
        if self.own:
            line = _inverted(self.law, at, self._along(flops), line)
        reads_flops = "flops" in self.law.inputs
        return line - (0.0 if reads_flops else np.log(self.arms.overhead))

    def _along(self, flops: Array) -> dict[str, Array]:
        """Inputs at computes, at the arms' median ratio of tokens to parameters."""
        if self.arms.ratio is None:
            return {"flops": flops}
        params = np.sqrt(flops / (6 * self.arms.ratio))
        return {"flops": flops, "params": params, "tokens": params * self.arms.ratio}


def arms_of(a: Runs, b: Runs) -> Arms:
    """Stack two tables and pair their cells. Raises ValueError where they cannot be compared."""
    _comparable(a, b)
    names = [c for c in a.columns if c in b and a[c].dtype.kind == b[c].dtype.kind == "f"]
    data = {c: np.concatenate([a[c], b[c]]) for c in names}
    arm = np.repeat([0.0, 1.0], [len(a), len(b)])
    low = max(float(t["flops"].min()) for t in (a, b))
    high = min(float(t["flops"].max()) for t in (a, b))
    if not low < high:
        raise ValueError(
            f"the arms share no range of compute: {_range(a)} and {_range(b)}; "
            "run one arm where the other has runs"
        )
    middle = float(np.log10(low * high) / 2)
    cluster, paired = _cells(a, b)
    both = {"params", "tokens"} <= data.keys()
    overhead, ratio = 1.0, None
    if both:
        per = data["flops"] / (6 * data["params"] * data["tokens"])
        overhead = float(np.median(per[arm == 1]) / np.median(per[arm == 0]))
        ratio = float(np.median(data["tokens"] / data["params"]))
    columns = data | {"arm": arm, "decades": np.log10(data["flops"]) - middle}
    return Arms(
        columns=columns, data=data, cluster=cluster, paired=paired, ends=(low, high),
        middle=middle, overhead=overhead, ratio=ratio,
    )  # fmt: skip


def joint_law(law: Law, *, own: bool) -> Law:
    """`law` of arm a, and of arm b with compute multiplied by exp(lead + growth x decades)."""

    def formula(p: Mapping[str, Array], x: Mapping[str, Array]) -> Array:
        line = x["arm"] * (p[LEAD] + p[GROWTH] * x["decades"])
        inner = {k: x[k] * np.exp(SCALED[k] * line) if k in SCALED else x[k] for k in law.inputs}
        return law.formula(p, inner) + (x["arm"] * p[SHIFT] if own else 0.0)

    extra = (
        Param(name=LEAD, low=-10, high=10, start=(-1, 1), meaning="ln speed-up in the middle"),
        Param(name=GROWTH, low=-5, high=5, start=(-0.5, 0.5), meaning="its change per decade"),
        Param(name=SHIFT, low=-5, high=5, start=(-0.2, 0.2), meaning="arm b's floor less arm a's"),
    )
    return replace(
        law,
        name=f"{law.name}, two arms",
        formula=formula,
        params=(*law.params, *extra[: 3 if own else 2]),
        inputs=(*law.inputs, "arm", "decades"),
        published=(),
        fast=None,
    )


def fit_arms(arms: Arms, law: Law, *, own: bool, objective: Objective) -> ArmsFit:
    """The joint least-squares fit, and residuals scaled for resampling (HC3 by cell)."""
    joint = joint_law(law, own=own)
    y, w = arms.data[law.output], _weights(arms)
    base = solve(law, arms.columns, y, w, objective=objective).coefficients[0]
    start = np.append(base, np.zeros(len(joint.names) - len(base)))
    point = solve(joint, arms.columns, y, w, objective=objective, warm=start)
    if not point.converged[0]:  # a flat valley, as with the floor at 0: 1e-6 is near enough
        point = solve(
            joint, arms.columns, y, w, objective=objective, warm=point.coefficients, draft=True
        )
    predicted = joint.predict(point.coefficients, arms.columns)[0]
    residual = np.log(y / predicted)
    if not point.converged[0] and np.abs(residual).max() > EXACT:
        raise ValueError("the joint fit did not converge; pin the floor, or use another law")
    scaled = _inflated(residual, jacobian(joint, arms.columns, point), arms.cluster, weights=w)
    dof = max(len(y) - len(joint.names), 1)
    return ArmsFit(
        law=law, joint=joint, arms=arms, own=own, theta=point.coefficients[0],
        predicted=predicted, scaled=scaled, rms=float(np.sqrt(np.sum(residual**2) / dof)),
    )  # fmt: skip


def arms_draws(
    arms: Arms, fitted: ArmsFit, flops: Array, *, objective: Objective, draws: int, seed: int
) -> Array:
    """(draws, c) ln speed-ups at `flops` of refits in which every cell keeps or flips its signs.

    Spread about the fit as Student's t is wider than a normal at 90%, with the degrees of freedom
    of the cells: without it nine paired cells held 84% at 90%.
    """
    from scipy.special import ndtri, stdtrit

    rng = np.random.default_rng(seed)
    signs = rng.integers(0, 2, (draws, int(arms.cluster.max()) + 1)) * 2 - 1
    y = fitted.predicted * np.exp(signs[:, arms.cluster] * fitted.scaled)
    again = solve(
        fitted.joint, arms.columns, y, _weights(arms), objective=objective, warm=fitted.theta,
        draft=True,
    )  # fmt: skip
    dof = min(signs.shape[1] - 2, y.shape[1] - len(fitted.joint.names))
    wider = float(stdtrit(max(dof, 1), 0.95) / ndtri(0.95))
    point = fitted.log_speed(flops[None])
    drawn = fitted.log_speed(flops[None], again.coefficients)
    bounded = np.isfinite(point[0])
    drawn[:, bounded] += (wider - 1) * (drawn[:, bounded] - point[:, bounded])
    return drawn[~np.isnan(drawn).any(axis=1)]


def _inverted(law: Law, at: Mapping[str, Array], x: Mapping[str, Array], line: Array) -> Array:
    """ln s at which arm a's loss at s times the compute is arm b's, by halving: infinite if none.

    line: arm b's multiplier (draws, c), to which its floor is still to be added.
    """

    def loss(log_s: Array) -> Array:
        return law.formula(at, {k: v * np.exp(SCALED[k] * log_s) for k, v in x.items()})

    aim = loss(line) + at[SHIFT]
    low, high = np.full_like(line, -WIDEST), np.full_like(line, WIDEST)
    for _ in range(50):
        middle = (low + high) / 2
        worse = loss(middle) > aim
        low, high = np.where(worse, middle, low), np.where(worse, high, middle)
    found = (low + high) / 2
    found = np.where(found > WIDEST - 1e-3, np.inf, found)
    return np.where(found < -WIDEST + 1e-3, -np.inf, found)


def _weights(arms: Arms) -> Array:
    return arms.data["weight"] if "weight" in arms.data else np.ones(len(arms.cluster))


def _inflated(
    residual: Array, jacobian: Array, cluster: NDArray[np.intp], *, weights: Array
) -> Array:
    """(I - H_gg)^-1 r_g of every cell g: what is left of a residual that its own cell pulled at."""
    q = np.linalg.qr(jacobian * np.sqrt(weights)[:, None])[0]
    out = np.empty_like(residual)
    for rows in (np.flatnonzero(cluster == g) for g in range(int(cluster.max()) + 1)):
        size, axes = np.linalg.eigh(q[rows] @ q[rows].T)
        left = 1 - np.minimum(size, MOST_LEVERAGE)
        out[rows] = axes @ ((axes.T @ residual[rows]) / left)
    return out


def _cells(a: Runs, b: Runs) -> tuple[NDArray[np.intp], int]:
    """A number for each row, equal for the k-th run of one configuration in both arms.

    A configuration is what column `cell` says where both tables have it, as recipes of other
    parameters at one size need; else params, tokens and seed.
    """
    if "cell" in a and "cell" in b:
        names = ["cell"]
    else:
        names = [c for c in ("params", "tokens") if c in a and c in b] or ["flops"]
        names += ["seed"] if "seed" in a and "seed" in b else []
    numbers: dict[tuple[str, ...], int] = {}
    labels, found = [], []
    for table in (a, b):
        seen: dict[tuple[str, ...], int] = {}
        for row in zip(*(table[c].tolist() for c in names), strict=True):
            key = tuple(f"{v:.5e}" if isinstance(v, float) else str(v) for v in row)
            seen[key] = seen.get(key, 0) + 1
            cell = (*key, str(seen[key]))
            labels.append(numbers.setdefault(cell, len(numbers)))
            found.append(cell)
    return np.array(labels), len(labels) - len(numbers)


def _comparable(a: Runs, b: Runs) -> None:
    for role in CONVENTIONS:
        if role in a and role in b and a.conventions.get(role) != b.conventions.get(role):
            raise ValueError(
                f"column {role!r} is {a.conventions.get(role)} in {a.name!r} and "
                f"{b.conventions.get(role)} in {b.name!r}; convert one of them"
            )
    for table in (a, b):
        if "flops" not in table:
            raise ValueError(
                f"{table.name!r} has no column 'flops', in which the speed-up is counted; "
                "give params and tokens, or flops"
            )
        if len(table) < FEWEST or not table["flops"].min() < table["flops"].max():
            raise ValueError(
                f"{table.name!r} has {len(table)} runs on {len(np.unique(table['flops']))} "
                f"computes; an arm needs {FEWEST} runs on two computes at least"
            )
    if a == b:
        raise ValueError(f"{a.name!r} and {b.name!r} hold the same runs; there is no second arm")


def _range(runs: Runs) -> str:
    low, high = (float(f(runs["flops"])) for f in (np.min, np.max))
    return f"{runs.name!r} has {show(low, 'flops')} to {show(high, 'flops')} FLOPs"
