"""The first ladder of an experiment budget, when no run has been made yet."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoflop.laws.pretrain import CHINCHILLA
from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Kind = Literal["isoflop", "wsd"]
PRIOR = "besiroglu-2024"
SD = {"E": 0.3, "A": 0.5, "B": 0.5, "alpha": 0.08, "beta": 0.08}  # E, alpha, beta; ln A, ln B
NOISE = 0.003  # of ln(loss) between seeds: small public ladders have .2 to .5%
IN_COMMON = 0.5  # of that variance, between the checkpoints cooled down from one trunk
DECAY = 0.1  # of a branch's tokens are trained anew to cool it down
DRIFT = 0.01  # of ln(loss) a decade of compute: no law is exact over many of them
RUNGS, SIZES, STEPS = (2, 3, 4, 5, 6, 8), (3, 4, 5, 6, 7, 9), (1.5, 2.0, 3.0, 4.0, 10.0)
BRANCHES = (2, 3, 4, 5)
SPREADS = (1.41, 2.0, 2.83)  # between neighbouring sizes of one budget
WIDEST = 33.0  # largest over smallest size of one budget: the published grids go no further
LONGEST = (20.0, 40.0, 80.0, 160.0)  # tokens per parameter at the end of a trunk
START = 1e-3  # of the budget: the compute about which an exponent turns the law
REACH = 30.0  # times the budget: the target where none is given
LEAST = 1e6  # parameters; a smaller model says little of a large one


@dataclass(frozen=True, kw_only=True)
class FirstRun:
    """One run. flops: 6ND of the model; cost: what it adds; trunk: wsd runs that share one."""

    params: float
    tokens: float
    flops: float
    cost: float
    trunk: int


@dataclass(frozen=True, kw_only=True)
class FirstRuns:
    """A ladder and what it should tell: sd of ln(loss) at the target, before and after it.

    shape: rungs, sizes a rung and steps between them (isoflop); sizes, branches and the longest
    ratio of tokens to parameters (wsd).
    """

    kind: Kind
    runs: tuple[FirstRun, ...]
    budget: float
    cost: float
    target: float
    before: float
    after: float
    shape: dict[str, float]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        shape = ", ".join(f"{name} {value:.3g}" for name, value in self.shape.items())
        lines = [
            f"{self.kind} ladder of {len(self.runs)} runs for {show(self.cost, 'flops')} FLOPs "
            f"({shape}); sd of the loss at {show(self.target, 'flops')} FLOPs "
            f"{100 * self.before:.1f}% before, {100 * self.after:.2f}% expected after"
        ]
        lines += [
            f"  {show(r.params)} params on {show(r.tokens)} tokens, {show(r.flops, 'flops')} "
            f"FLOPs; adds {show(r.cost, 'flops')}"
            for r in self.runs
        ]
        return "\n".join(lines)


def first_runs(
    budget: float, *, kind: Kind = "isoflop", target: float | None = None, noise: float = NOISE
) -> FirstRuns:
    """The ladder that narrows the loss at `target` FLOPs most, of the usual shapes of its kind.

    isoflop: rungs of equal compute, sizes around the expected optimum. wsd: a trunk a size at
    constant learning rate, cooled down over 10% of the tokens at every branch (Hu et al. 2024,
    arXiv:2404.06395), so a size gives several token counts for little more than the longest.
    What is expected before any run is Chinchilla's law at Besiroglu's coefficients, each loosely
    held; target: compute-optimal there, by default 30 times the budget.
    Raises ValueError where the budget pays for no ladder.
    """
    if kind not in ("isoflop", "wsd"):
        raise ValueError(f"no ladder {kind!r}; choose isoflop or wsd")
    aim = REACH * budget if target is None else target
    if not budget > 0 or not aim > 0 or not noise > 0:
        raise ValueError("budget, target and noise must be positive")
    shapes = _isoflop_shapes(budget) if kind == "isoflop" else _wsd_shapes(budget)
    sound = [(runs, shape) for runs, shape in shapes if runs["params"].min() >= LEAST]
    if not sound:
        raise ValueError(
            f"{show(budget, 'flops')} FLOPs pay for no {kind} ladder of models of "
            f"{show(LEAST)} parameters or more; raise the budget"
        )
    n = np.array([optimum(aim)])
    at = {"params": n, "tokens": aim / (6 * n)}
    spread = [_spread(runs, at, noise, start=START * budget) for runs, _ in sound]
    best = int(np.argmin([after for _, after in spread]))
    (runs, shape), (before, after) = sound[best], spread[best]
    return FirstRuns(
        kind=kind,
        runs=tuple(
            FirstRun(params=p, tokens=t, flops=6 * p * t, cost=c, trunk=int(k))
            for p, t, c, k in zip(*(runs[name].tolist() for name in COLUMNS), strict=True)
        ),
        budget=budget,
        cost=float(runs["cost"].sum()),
        target=aim,
        before=before,
        after=after,
        shape=shape,
    )


COLUMNS = ("params", "tokens", "cost", "trunk")


def optimum(flops: float | Array) -> Any:
    """Compute-optimal params of the law that is expected: Hoffmann et al. 2022, eq. 4."""
    v = CHINCHILLA.coefficients(PRIOR)
    total = v["alpha"] + v["beta"]
    g = (v["alpha"] * v["A"] / (v["beta"] * v["B"])) ** (1 / total)
    return g * (flops / 6) ** (v["beta"] / total)


def _isoflop_shapes(budget: float) -> list[tuple[dict[str, Array], dict[str, float]]]:
    """Every shape of isoFLOP ladder that costs the budget."""
    shapes = []
    for rungs, sizes, step, spread in product(RUNGS, SIZES, STEPS, SPREADS):
        if spread ** (sizes - 1) > WIDEST:
            continue
        share = step ** -np.arange(rungs - 1.0, -1.0, -1.0)
        computes = np.repeat(budget / sizes * share / share.sum(), sizes)
        around = spread ** (np.arange(sizes) - (sizes - 1) / 2)
        params = optimum(computes) * np.tile(around, rungs)
        runs = {
            "params": params, "tokens": computes / (6 * params), "cost": computes,
            "trunk": np.arange(len(params)),
        }  # fmt: skip
        shape = {"rungs": rungs, "sizes": sizes, "step": step, "spread": spread}
        shapes.append((runs, shape))
    return shapes


def _wsd_shapes(budget: float) -> list[tuple[dict[str, Array], dict[str, float]]]:
    """Every shape of WSD ladder that costs the budget; branches a factor of two apart."""
    shapes = []
    for sizes, branches, step, longest in product(SIZES, BRANCHES, STEPS, LONGEST):
        around = np.repeat(step ** np.arange(sizes), branches)
        ratio = np.tile(longest / 2.0 ** np.arange(branches), sizes)
        last = ratio == longest
        # The longest run pays for its trunk, every other branch for its cooling down only.
        unit = 6 * around**2 * ratio * np.where(last, 1.0, DECAY)
        smallest = np.sqrt(budget / unit.sum())
        params = smallest * around
        runs = {
            "params": params, "tokens": params * ratio, "cost": unit * smallest**2,
            "trunk": np.repeat(np.arange(sizes), branches),
        }  # fmt: skip
        shape = {"sizes": sizes, "branches": branches, "step": step, "longest": longest}
        shapes.append((runs, shape))
    return shapes


def _spread(
    runs: dict[str, Array], at: dict[str, Array], noise: float, *, start: float
) -> tuple[float, float]:
    """sd of ln(loss) at the target before and after the runs, by a linear-Gaussian update."""
    both = {k: np.concatenate([runs[k], at[k]]) for k in at}
    slopes = _slopes(both, start)
    decades = np.log10(both["params"] * both["tokens"])
    below = np.maximum(decades[-1] - decades, 0.0)
    # What the law gets wrong between a run and the target is common to all runs further off.
    k = slopes @ slopes.T + (DRIFT * np.minimum(below[:, None], below)) ** 2
    trunk = runs["trunk"][:, None] == runs["trunk"]
    share = np.eye(len(trunk)) * (1 - IN_COMMON) + trunk * IN_COMMON
    inner, cross, own = k[:-1, :-1], k[:-1, -1], k[-1, -1]
    after = own - cross @ np.linalg.solve(inner + noise**2 * share, cross)
    return float(np.sqrt(own)), float(np.sqrt(max(after, 0.0)))


def _slopes(columns: dict[str, Array], start: float) -> Array:
    """d ln(loss) of one sd of each coefficient, exponents turning about the compute `start`."""
    v = CHINCHILLA.coefficients(PRIOR)
    n, d = columns["params"], columns["tokens"]
    middle = optimum(start)
    size, data = v["A"] * n ** -v["alpha"], v["B"] * d ** -v["beta"]
    parts = [
        SD["E"] * np.ones_like(n),
        SD["A"] * size,
        SD["B"] * data,
        -SD["alpha"] * size * np.log(n / middle),
        -SD["beta"] * data * np.log(d * 6 * middle / start),
    ]
    return np.stack(parts, axis=-1) / (v["E"] + size + data)[:, None]
