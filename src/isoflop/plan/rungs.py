"""One budget over three rungs: pretraining, reinforcement learning, samples a question."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.plan.beliefs import Believed, Estimate, Source, believed, quantiles
from isoflop.plan.curve import lowest
from isoflop.plan.models import plain
from isoflop.plan.success import Ability, Point, Rungs, Use
from isoflop.units import show

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from isoflop.plan.models import Models

    Array = NDArray[np.float64]

RUNGS = ("pretraining", "reinforcement learning", "samples")
SWEEPS = 60  # of exact one-dimensional searches over size, RL and samples
ROUGH = 3  # of them from each start, before the best is followed
SETTLED = 1e-6  # of ln: the sweeps end where nothing moves by more
LEAST = 1e-6  # of the budget: less for RL counts as none
STARTS = ((1e-3, 1e-3), (0.3, 0.1), (0.05, 0.7))  # shares of the budget for RL and samples
NUDGE = 1e-4  # relative, of a difference that measures a marginal gain


@dataclass(frozen=True, kw_only=True)
class Marginal:
    """What one more percent of the budget on a rung adds to success, and how often it is most."""

    rung: str
    gain: Estimate
    probability: float

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {"gain": self.gain.to_json()}


@dataclass(frozen=True, kw_only=True)
class RungPlan:
    """The split of a budget over the rungs, with intervals from every law's draws.

    shares: of the budget, in the order of RUNGS. rl_flops is 0 and samples 1 where a rung is not
    worth a start. marginal: at the recommended split (or at the one given), under every draw.
    """

    budget: float
    params: Estimate
    tokens: Estimate
    rl_flops: Estimate
    samples: Estimate
    success: Estimate
    shares: tuple[Estimate, ...]
    marginal: tuple[Marginal, ...]
    level: float

    def to_json(self) -> dict[str, Any]:
        out = {k: v.to_json() if isinstance(v, Estimate) else v for k, v in vars(self).items()}
        out["shares"] = dict(zip(RUNGS, (s.to_json() for s in self.shares), strict=True))
        return out | {"marginal": [m.to_json() for m in self.marginal]}

    def __str__(self) -> str:
        share = ", ".join(
            f"{name} {100 * s.value:.3g}% ({100 * s.low:.3g} to {100 * s.high:.3g}%)"
            for name, s in zip(RUNGS, self.shares, strict=True)
        )
        lines = [
            f"for {show(self.budget, 'flops')} FLOPs, {100 * self.level:g}% intervals: {share}",
            f"  {self.params.words()} parameters on {self.tokens.words()} tokens, "
            f"{self.rl_flops.words('flops')} FLOPs of RL, {self.samples.words()} samples a "
            f"question: success {self.success.value:.3f} ({self.success.low:.3f} to "
            f"{self.success.high:.3f})",
        ]
        lines += [
            f"  one more percent on {m.rung} adds {100 * m.gain.value:.3g} points "
            f"({100 * m.gain.low:.3g} to {100 * m.gain.high:.3g}); most with probability "
            f"{m.probability:.2f}"
            for m in self.marginal
        ]
        return "\n".join([*lines, "  the rungs' laws are added in log-odds"])


def split(
    source: Source,
    budget: float,
    ability: Ability,
    use: Use,
    *,
    models: Models | None = None,
    now: tuple[float, float, float] | None = None,
    most_samples: float = 1e4,
    level: float = 0.9,
    draws: int = 200,
    seed: int = 0,
) -> RungPlan:
    """The joint optimum of pretraining, RL and samples a question, and where more would go.

    source: laws of the pretraining loss. Every draw takes one law of each kind at random. The
    recommended split is that of the heaviest laws at their coefficients; now: (params, RL FLOPs,
    samples) in place of it, to ask where the next FLOP of an existing plan should go. Each search
    over one of size, RL and samples is exact, and they are repeated until none moves.
    Raises ValueError where the use alone takes the budget.
    """
    if not budget > 0:
        raise ValueError(f"a budget must be positive, not {budget:g}")
    sizes = models or plain()
    sources = {"loss": source, "base": ability.base, "reward": ability.reward,
               "sampling": ability.sampling}  # fmt: skip
    laws = {k: believed(v) for k, v in sources.items() if v is not None}
    middle = Rungs(
        {k: (m := max(v, key=lambda b: b.weight), m.theta[None]) for k, v in laws.items()},
        ability, sizes, use, float(budget),
    )  # fmt: skip
    best = _recommended(middle, now, most_samples)
    parts = _rows(laws, middle, draws=draws, seed=seed)
    values, chances, gains = _under_draws(parts, best, given=now is not None, most=most_samples)
    kept = [0, *([1] if "reward" in laws else []), *([2] if "sampling" in laws else [])]
    numbers = [
        _interval(p, v, level) for p, v in zip(_numbers(middle, best)[:, 0], values, strict=True)
    ]
    return RungPlan(
        budget=float(budget), params=numbers[0], tokens=numbers[1], rl_flops=numbers[2],
        samples=numbers[3],
        success=_interval(numbers[4].value, chances, level),
        shares=tuple(numbers[5:8]),
        marginal=_marginals(_marginal(middle, best)[:, 0], gains, kept, level),
        level=level,
    )  # fmt: skip


def _under_draws(
    parts: Sequence[Rungs], best: Point, *, given: bool, most: float
) -> tuple[Array, Array, Array]:
    """Numbers (8, draws) of every draw's own best split (of `best` where that was given), and at
    `best` under every draw: success (draws,) and what one more percent adds (3, draws)."""
    values, chances, gains = [], [], []
    for part in parts:
        rows = len(part.laws["base"][1])
        there = Point(*(np.repeat(v, rows) for v in best))
        values.append(_numbers(part, there if given else best_split(part, most)))
        chances.append(_success(part, there))
        gains.append(_marginal(part, there))
    return (
        np.concatenate(values, axis=1), np.concatenate(chances), np.concatenate(gains, axis=1)
    )  # fmt: skip


def _marginals(own: Array, gains: Array, kept: Sequence[int], level: float) -> tuple[Marginal, ...]:
    """own (3,), gains (3, draws): one Marginal for each rung of `kept`."""
    most = np.argmax(np.nan_to_num(gains, nan=-np.inf), axis=0)
    return tuple(
        Marginal(
            rung=RUNGS[k],
            gain=_interval(own[k], gains[k], level),
            probability=float(np.mean(most == k)),
        )
        for k in kept
    )


def _interval(value: float, spread: Array, level: float) -> Estimate:
    return Estimate(float(value), *quantiles(spread, np.ones(len(spread)), level))


def _recommended(
    middle: Rungs, now: tuple[float, float, float] | None, most_samples: float
) -> Point:
    """The split given, or the best one. Raises ValueError where nothing is left to pretraining."""
    if now is not None:
        given = (middle.models.dial(now[0]), now[1], now[2])
        best = Point(*(np.array([v]) for v in given))
        if not np.isfinite(middle.tokens(best)[0]):
            raise ValueError("the split given leaves nothing of the budget to pretraining")
        return best
    best = best_split(middle, most_samples)
    if not np.isfinite(middle.tokens(best)[0]):
        raise ValueError(
            f"one sample for each of {show(middle.use.questions)} questions takes the budget of "
            f"{show(middle.budget, 'flops')} FLOPs even from the smallest model; raise it"
        )
    return best


def _rows(
    laws: dict[str, tuple[Believed, ...]], middle: Rungs, *, draws: int, seed: int
) -> list[Rungs]:
    """Draws grouped by which law each kind takes, so that a group is one array problem."""
    rng = np.random.default_rng(seed)
    picks = {k: rng.choice(len(v), draws, p=[m.weight for m in v]) for k, v in laws.items()}
    groups: dict[tuple[int, ...], list[int]] = {}
    for row in range(draws):
        groups.setdefault(tuple(int(p[row]) for p in picks.values()), []).append(row)
    out = []
    for key, rows in groups.items():
        chosen = {}
        for name, index in zip(picks, key, strict=True):
            member = laws[name][index]
            thetas = member.rows()
            chosen[name] = (member, thetas[rng.integers(0, len(thetas), len(rows))])
        out.append(middle._replace(laws=chosen))
    return out


def best_split(rungs: Rungs, most_samples: float) -> Point:
    """The best split of every row: exact searches over one dial at a time, from three starts."""
    rows = len(next(iter(rungs.laws.values()))[1])
    found = []
    for learnt, sampled in STARTS:
        start = Point(
            np.full(rows, rungs.models.low),
            np.full(rows, learnt * rungs.budget if "reward" in rungs.laws else 0.0),
            np.ones(rows),
        )
        paid = np.full(rows, sampled * rungs.budget)
        found.append(_swept(rungs, start, most_samples, sweeps=ROUGH, paid=paid))
    scores = np.array([_success(rungs, at) for at in found])
    pick = np.argmax(np.nan_to_num(scores, nan=-1.0), axis=0)
    best = Point(*(np.array(part)[pick, np.arange(rows)] for part in zip(*found, strict=True)))
    return _swept(rungs, best, most_samples, sweeps=SWEEPS, paid=rungs.sampled(best))


def _swept(rungs: Rungs, at: Point, most_samples: float, *, sweeps: int, paid: Array) -> Point:
    """Size, RL and samples in turn until nothing moves; `paid` FLOPs of samples at the start."""
    rows = len(at.x)
    low, high = (np.full(rows, v) for v in (rungs.models.low, rungs.models.high))
    floor, top = np.log(LEAST * rungs.budget), np.log(rungs.budget)

    def badness(change: Callable[[Array], Point]) -> Callable[[Array], Array]:
        def curve(v: Array) -> Array:
            point = change(v)
            with np.errstate(invalid="ignore", divide="ignore"):
                return -rungs.log_odds(point, rungs.tokens(point))

        return curve

    def spread(v: Array, like: Array) -> Array:
        return np.broadcast_to(v[:, None], like.shape)

    def resized(at: Point, paid: Array, v: Array) -> Point:
        """Another size for the same FLOPs of samples: fewer of a larger model, one at least."""
        if "sampling" not in rungs.laws:
            return Point(v, spread(at.rl, v), spread(at.samples, v))
        one = rungs.sampled(Point(v, v, np.ones_like(v)))
        return Point(v, spread(at.rl, v), np.clip(spread(paid, v) / one, 1.0, most_samples))

    for _ in range(sweeps):
        before = at
        x = lowest(badness(partial(resized, at, paid)), low, high).x
        sized = resized(at, paid, np.where(np.isnan(x), at.x, x)[:, None])
        at = Point(*(v[:, 0] for v in sized))
        if "reward" in rungs.laws:
            found = lowest(
                badness(lambda v, a=at: Point(spread(a.x, v), np.exp(v), spread(a.samples, v))),
                np.full(rows, floor), np.full(rows, top),
            )  # fmt: skip
            none = (found.edge < 0) | np.isnan(found.x)
            at = at._replace(rl=np.where(none, 0.0, np.exp(np.where(none, 0.0, found.x))))
        if "sampling" in rungs.laws:
            found = lowest(
                badness(lambda v, a=at: Point(spread(a.x, v), spread(a.rl, v), np.exp(v))),
                np.zeros(rows), np.full(rows, np.log(most_samples)),
            )  # fmt: skip
            at = at._replace(samples=np.exp(np.nan_to_num(found.x)))
        paid = rungs.sampled(at)
        moved = max(
            float(np.max(np.abs(at.x - before.x))),
            float(np.max(np.abs(at.rl - before.rl)) / rungs.budget),
            float(np.max(np.abs(np.log(at.samples / before.samples)))),
        )
        if moved < SETTLED:
            break
    return at


def _success(rungs: Rungs, at: Point) -> Array:
    with np.errstate(invalid="ignore", over="ignore"):
        odds = rungs.log_odds(Point(*(v[:, None] for v in at)), rungs.tokens(at)[:, None])[:, 0]
        return 1 / (1 + np.exp(-odds))


def _numbers(rungs: Rungs, at: Point) -> Array:
    """(8, rows): params, tokens, RL, samples, success, and the three shares."""
    model, tokens = rungs.models.at(at.x), rungs.tokens(at)
    trained = model.trained * tokens / rungs.budget
    learnt = at.rl / rungs.budget
    return np.stack([
        model.params, tokens, at.rl, at.samples, _success(rungs, at), trained, learnt,
        1 - trained - learnt,
    ])  # fmt: skip


def _marginal(rungs: Rungs, at: Point) -> Array:
    """(3, rows): success gained by one more percent of the budget on each rung, others as they are.

    Central differences: what the size leaves to tokens stays as it is for the other two rungs.
    """
    step = NUDGE * rungs.budget
    model, tokens = rungs.models.at(at.x), rungs.tokens(at)
    sample = rungs.use.questions * rungs.use.answer_tokens * model.generated

    def gain(changes: Sequence[tuple[Point, Array]]) -> Array:
        scores = []
        for point, trained in changes:
            odds = rungs.log_odds(Point(*(v[:, None] for v in point)), trained[:, None])[:, 0]
            scores.append(1 / (1 + np.exp(-odds)))
        return (scores[1] - scores[0]) / (2 * NUDGE) / 100

    with np.errstate(invalid="ignore"):
        by_tokens = gain([(at, tokens - step / model.trained), (at, tokens + step / model.trained)])
        below = np.maximum(at.rl - step, 0.0)
        by_rl = gain([(at._replace(rl=below), tokens),
                      (at._replace(rl=below + 2 * step), tokens)])  # fmt: skip
        fewer = np.maximum(at.samples - step / sample, 1.0)
        by_samples = gain([(at._replace(samples=fewer), tokens),
                           (at._replace(samples=fewer + 2 * step / sample), tokens)])  # fmt: skip
    return np.stack([by_tokens, by_rl, by_samples])
