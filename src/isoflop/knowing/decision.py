"""Answer, think longer, stay silent or call the larger model: the choice that pays most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.knowing.calibration import pooled
from isoflop.knowing.levels import check_resampling, interval, resampled_means

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]
    Index = NDArray[np.intp]

# Action -> the column that says whether it was right, and the suffix of its costs.
ACTIONS = {"answer": "y", "think": "y_think", "call": "y_strong"}
LEAST = 50  # questions without which no rule is worth estimating


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The rule that pays most in expectation, and what it earns on questions it was not set on.

    bands: (confidence from, to, action) in ascending order, set on all questions. used: share of
    questions by action; utility: mean payoff a question; both across folds, so that no question
    is judged by a rule set on it. alone: the payoff of each action taken always; perfect: that
    of the best action for every question in hindsight. gain: utility less the best single
    action's. Payoffs are in the unit of `right`, costs of the first answer excluded.
    """

    name: str
    questions: int
    right: float
    wrong: float
    second: float
    level: float
    bands: tuple[tuple[float, float, str], ...]
    used: Mapping[str, float]
    utility: float
    utility_interval: tuple[float, float] | None
    alone: Mapping[str, float]
    perfect: float
    gain: float
    gain_interval: tuple[float, float] | None

    def choose(self, q: Any) -> list[str]:
        """The action for each confidence."""
        starts = [low for low, _, _ in self.bands]
        place = np.searchsorted(starts, np.asarray(q, float).ravel(), side="right") - 1
        return [self.bands[max(int(k), 0)][2] for k in place]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.questions} questions; right pays {self.right:g}, wrong "
                 f"costs {self.wrong:g}, a second costs {self.second:g}"]  # fmt: skip
        lines += [f"  confidence {low:.3g} to {high:.3g}: {do}" for low, high, do in self.bands]
        for action, value in self.alone.items():
            lines.append(
                f"  {action:<8} chosen for {self.used[action]:.3f}, pays {value:.4f} if always done"
            )
        lines.append(
            f"  the rule pays {self.utility:.4f}{_ends(self.utility_interval, self.level)} a "
            f"question, {self.gain:+.4f}{_ends(self.gain_interval, self.level)} beside the best "
            f"single action; perfect hindsight {self.perfect:.4f}"
        )
        return "\n".join(lines)


def decide(
    items: Items,
    *,
    right: float = 1.0,
    wrong: float = 1.0,
    second: float = 0.0,
    folds: int = 10,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Decision:
    """Set the rule that picks, by the first answer's confidence, the action that pays most.

    A right answer pays `right`, a wrong one costs `wrong`, silence is 0; an action also costs its
    price (price_think, price_strong) and `second` for each of its seconds. The first answer is
    already paid for: it is a part of the long one (columns seconds and price), not of a call.
    Accuracies given confidence are estimated by isotonic regression: more confidence never means
    less accuracy, for any of the models. y_think and y_strong are optional. Raises ValueError for
    fewer than 50 questions.
    """
    items.need("q", "y", why="the decision")
    if right <= 0 or wrong < 0 or second < 0:
        raise ValueError("right must be positive, wrong and second must not be negative")
    if len(items) < LEAST:
        raise ValueError(f"a decision rule needs {LEAST} questions, the table has {len(items)}")
    check_resampling(items.clusters, level, draws)
    actions = ["silence", *(a for a, column in ACTIONS.items() if column in items)]
    marks = {a: items[ACTIONS[a]] for a in actions[1:]}
    costs = {a: _cost(items, a, second) for a in actions[1:]}
    payoff = np.stack(
        [np.zeros(len(items)), *(marks[a] * (right + wrong) - wrong - costs[a] for a in marks)],
        axis=1,
    )
    q, clusters = items["q"], items.clusters
    if int(clusters.max()) + 1 < folds:
        raise ValueError(f"{int(clusters.max()) + 1} groups cannot be split into {folds} folds")
    fold = np.random.default_rng(seed).permutation(int(clusters.max()) + 1)[clusters] % folds
    chosen = np.empty(len(items), int)
    for part in range(folds):
        test = fold == part
        chosen[test] = _best(q[~test], payoff[~test], q[test])
    earned = payoff[np.arange(len(items)), chosen]
    alone = payoff.mean(axis=0)
    gain = earned - payoff[:, int(np.argmax(alone))]
    drawn = resampled_means((earned, gain), clusters, draws=draws, seed=seed) if draws else None
    ends = [None, None] if drawn is None else [interval(column, level) for column in drawn.T]
    return Decision(
        name=items.name, questions=len(items), right=right, wrong=wrong, second=second,
        level=level, bands=_bands(q, payoff, actions),
        used={a: float((chosen == k).mean()) for k, a in enumerate(actions)},
        utility=float(earned.mean()), utility_interval=ends[0],
        alone=dict(zip(actions, alone.tolist(), strict=True)),
        perfect=float(payoff.max(axis=1).mean()), gain=float(gain.mean()), gain_interval=ends[1],
    )  # fmt: skip


def _cost(items: Items, action: str, second: float) -> Array:
    """Price and time of an action beyond the first answer's, which is a part of the long one's."""
    total = np.zeros(len(items))
    if action == "answer":
        return total
    suffix = {"think": "think", "call": "strong"}[action]
    for kind, rate in (("price", 1.0), ("seconds", second)):
        if rate and f"{kind}_{suffix}" in items:
            total = total + rate * items[f"{kind}_{suffix}"]
            if action == "think":
                items.need(kind, why=f"'{kind}_think', which includes the first answer's {kind},")
                total = total - rate * items[kind]
        elif kind == "seconds" and rate:
            raise ValueError(
                f"a second costs {second:g}, but there is no column 'seconds_{suffix}'; add it "
                "or say second=0"
            )
    return total


def _best(q: Array, payoff: Array, new: Array) -> Index:
    """The action of largest expected payoff at each new confidence; silence on a tie."""
    least = round(np.sqrt(len(q)))
    expected = np.stack([isotonic(q, y, new, least=least) for y in payoff.T], axis=1)
    return np.argmax(expected, axis=1)


def _bands(q: Array, payoff: Array, actions: list[str]) -> tuple[tuple[float, float, str], ...]:
    values = np.unique(q)
    chosen = _best(q, payoff, values)
    starts = np.concatenate([[0], np.flatnonzero(np.diff(chosen)) + 1])
    edges = [0.0, *values[starts[1:]].tolist(), 1.0]
    return tuple((edges[k], edges[k + 1], actions[chosen[start]]) for k, start in enumerate(starts))


def isotonic(x: Array, y: Array, new: Array, *, least: int = 1) -> Array:
    """The non-decreasing least-squares fit of y on x, read at `new`: the value of the step below.

    Below the smallest x its own value holds. Neighbours are first joined to steps of about
    `least` points: at the ends, steps of a few points would follow their noise.
    """
    values, place = np.unique(x, return_inverse=True)
    tally = np.bincount(place).astype(float)
    # What is left over joins the last step.
    step = np.minimum((np.cumsum(tally) - tally) // least, max(len(x) // least - 1, 0))
    first, step = np.unique(step, return_index=True, return_inverse=True)[1:]
    count = np.bincount(step, tally).astype(float)
    fitted = pooled(np.bincount(step[place], y) / count, count)
    return fitted[np.maximum(np.searchsorted(values[first], new, side="right") - 1, 0)]


@dataclass(frozen=True, kw_only=True)
class SecondsWorth:
    """What a second of further thinking buys: thinking pays where a second costs less.

    gained: accuracy added; seconds, price: added to an answer; worth: payoff a second, and its
    interval (None: time is not longer in some resamples).
    """

    name: str
    questions: int
    level: float
    gained: float
    gained_interval: tuple[float, float] | None
    seconds: float
    price: float
    worth: float
    worth_interval: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.questions} questions; thinking takes {self.seconds:.4g} s more "
            f"and adds {self.gained:+.4f}{_ends(self.gained_interval, self.level)} to accuracy; "
            f"it pays where a second costs less than {self.worth:.4g}"
            f"{_ends(self.worth_interval, self.level)}"
        )


def worth_of_a_second(
    items: Items, *, value: float = 1.0, draws: int = 1000, level: float = 0.95, seed: int = 0
) -> SecondsWorth:
    """Break-even price of a second: (value x accuracy added - price added) / seconds added.

    value: what turning a wrong answer into a right one pays. Columns y, y_think, seconds,
    seconds_think, and price with price_think where money counts; seconds_think and price_think
    are those of the long answer as a whole. Questions are paired and resampled by group.
    """
    items.need("y", "y_think", "seconds", "seconds_think", why="the worth of a second")
    check_resampling(items.clusters, level, draws)
    if ("price" in items) != ("price_think" in items):
        raise ValueError("columns 'price' and 'price_think' go together; one is missing")
    none = np.zeros(len(items))
    priced = "price" in items
    columns = (
        items["y_think"] - items["y"],
        items["seconds_think"] - items["seconds"],
        items["price_think"] - items["price"] if priced else none,
    )
    gained, seconds, price = (float(column.mean()) for column in columns)
    if seconds <= 0:
        raise ValueError(
            "column 'seconds_think' is on average no longer than 'seconds'; there is no time to "
            "price"
        )
    ends: list[tuple[float, float] | None] = [None, None]
    if draws:
        drawn = resampled_means(columns, items.clusters, draws=draws, seed=seed)
        longer = np.where(drawn[:, 1] > 0, drawn[:, 1], np.nan)
        ends = [interval(drawn[:, 0], level),
                interval((value * drawn[:, 0] - drawn[:, 2]) / longer, level)]  # fmt: skip
    return SecondsWorth(
        name=items.name, questions=len(items), level=level, gained=gained,
        gained_interval=ends[0], seconds=seconds, price=price,
        worth=(value * gained - price) / seconds, worth_interval=ends[1],
    )  # fmt: skip


def _ends(ends: tuple[float, float] | None, level: float) -> str:
    return "" if ends is None else f" ({100 * level:g}%: {ends[0]:.4g} to {ends[1]:.4g})"
