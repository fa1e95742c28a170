"""Which questions to pass to the larger model: cost-quality curves, oracles, routing for free."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.knowing import calibration
from isoflop.knowing.levels import (
    check_resampling,
    descending,
    interval,
    levels_of,
    resampled_sums,
    resamples,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]

SHARE = np.linspace(0, 1, 101)  # shares passed on at which a curve is reported
CASCADES = ("self_knowledge", "confidence")  # these need the small model's answer first
TARGETS = (0.5, 0.8)  # shares of the gap at which calls are counted
# Least share of strong calls that recovers half the gap, for the best trained routers.
PUBLISHED = (
    {"benchmark": "MMLU", "cpt50": (0.35, 0.41), "source": "Ong et al. 2024, RouteLLM"},
    {"benchmark": "GSM8K", "cpt50": (0.336, 0.336), "source": "Ong et al. 2024, RouteLLM"},
    {"benchmark": "MT-Bench", "cpt50": (0.134, 0.134), "source": "Ong et al. 2024, RouteLLM"},
)
WHY = "the larger model is not better, here or in some resamples, or the curve never gets there"


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Accuracy by share of questions passed on, and what it is worth.

    apgr: mean share of the accuracy gap recovered over all shares passed on. cpt: share of the
    gap -> least share passed on that recovers it. None where not identified. costs: price and
    seconds a question at each share, where the table has them for both models.
    """

    router: str
    accuracy: tuple[float, ...]
    accuracy_intervals: tuple[tuple[float, float], ...]
    apgr: float | None
    apgr_interval: tuple[float, float] | None
    cpt: Mapping[float, float | None]
    cpt_intervals: Mapping[float, tuple[float, float] | None]
    costs: Mapping[str, tuple[float, ...]]


@dataclass(frozen=True, kw_only=True)
class Routing:
    """Routers on one table of questions that a small and a large model answered.

    share: share of questions passed on at each point of the curves. oracle passes on first what
    only the large model gets right; self_knowledge passes on first what the small one gets wrong;
    random any; confidence the least confident first (where the table has q). formula: APGR
    expected from the small model's AUROC alone; shortfall: formula less measured, which is how
    much its confidence also says about the large model.
    """

    name: str
    questions: int
    weak: float
    strong: float
    either: float
    level: float
    share: tuple[float, ...]
    curves: tuple[Curve, ...]
    auroc: float | None
    formula: float | None
    shortfall: float | None
    formula_slope: float | None

    def curve(self, router: str) -> Curve:
        """The curve of that router."""
        for found in self.curves:
            if found.router == router:
                return found
        raise ValueError(f"no router {router!r}; there are {[c.router for c in self.curves]}")

    def to_json(self) -> dict[str, Any]:
        plain = asdict(self)
        for curve in plain["curves"]:
            curve["cpt"] = {f"{x:g}": v for x, v in curve["cpt"].items()}
            curve["cpt_intervals"] = {f"{x:g}": v for x, v in curve["cpt_intervals"].items()}
        return plain | {"published": [dict(row) for row in PUBLISHED]}

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.questions} questions; small {self.weak:.4f}, large "
            f"{self.strong:.4f}, one of them right {self.either:.4f}"
        ]
        for c in self.curves:
            lines.append(f"  {c.router:<15} APGR {_shown(c.apgr, c.apgr_interval, self.level)}")
            for x, value in c.cpt.items():
                lines.append(
                    f"    {100 * x:g}% of the gap from "
                    f"{_shown(value, c.cpt_intervals[x], self.level)} passed on"
                )
        if self.formula is not None:
            lines.append(
                f"  AUROC {self.auroc:.4f} of the small model's confidence alone would give APGR "
                f"{self.formula:.4f}; shortfall {self.shortfall:+.4f}"
            )
        for row in PUBLISHED:
            low, high = row["cpt50"]
            span = f"{low:.3f}" if low == high else f"{low:.3f} to {high:.3f}"
            lines.append(f"  published, {row['benchmark']}: half the gap from {span} passed on "
                         f"({row['source']})")  # fmt: skip
        return "\n".join(lines)


def route(
    items: Items,
    *,
    scores: Mapping[str, Sequence[float]] | None = None,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Routing:
    """Compare routers on questions answered by a small and a large model.

    Columns y_weak (or y) and y_strong, optionally q, the small model's confidence. scores: further
    routers by name, one number a question, the highest passed on first. Equal scores are passed
    on in random order, in expectation.
    """
    small = "y_weak" if "y_weak" in items else "y"
    items.need(small, "y_strong", why="routing")
    check_resampling(items.clusters, level, draws)
    weak, strong = items[small], items["y_strong"]
    ranked: dict[str, Any] = {
        "oracle": strong - weak, "self_knowledge": -weak, "random": np.zeros(len(items)),
    }  # fmt: skip
    if "q" in items:
        ranked["confidence"] = -items["q"]
    for name, values in (scores or {}).items():
        if np.shape(values) != (len(items),) or not np.isfinite(values).all():
            raise ValueError(f"router {name!r} needs {len(items)} finite scores, one a question")
        ranked[name] = values
    curves = tuple(
        _curve(
            name, score, (weak, strong, items.clusters), (draws, level, seed),
            costs=_costs(items, score, cascade=name in CASCADES),
        )
        for name, score in ranked.items()
    )  # fmt: skip
    auroc = formula = shortfall = None
    p = _shares(weak, strong)
    identified = p["strong_only"] != p["weak_only"]
    if "q" in items and identified:
        auroc = float(calibration.auroc(levels_of(items["q"], weak)))
        if np.isfinite(auroc):
            formula = apgr_from_auroc(auroc, **p)
            measured = next(c.apgr for c in curves if c.router == "confidence")
            shortfall = None if measured is None else formula - measured
        else:
            auroc = None
    return Routing(
        name=items.name, questions=len(items), weak=float(weak.mean()),
        strong=float(strong.mean()), either=float(np.maximum(weak, strong).mean()), level=level,
        share=tuple(SHARE.tolist()), curves=curves, auroc=auroc, formula=formula,
        shortfall=shortfall,
        formula_slope=apgr_from_auroc(1, **p) - apgr_from_auroc(0, **p) if identified else None,
    )  # fmt: skip


def apgr_from_auroc(
    auroc: float, *, accuracy: float, strong_only: float, weak_only: float
) -> float:
    """APGR of passing on the small model's least confident questions, from its AUROC alone.

    accuracy: of the small model; strong_only, weak_only: shares of questions that only the large
    or only the small model gets right. Assumes that, given whether the small model is right, its
    confidence says nothing about the large one: 0.5 gives 0.5 for any pair of models.
    """
    wrong = 1 - accuracy
    gained = strong_only * (wrong / 2 + accuracy * auroc)
    lost = weak_only * (accuracy / 2 + wrong * (1 - auroc))
    if strong_only == weak_only:
        raise ValueError("the models are equally accurate, so there is no gap to recover")
    return float((gained - lost) / (strong_only - weak_only))


def _shares(weak: Array, strong: Array) -> dict[str, float]:
    return {
        "accuracy": float(weak.mean()),
        "strong_only": float((strong > weak).mean()),
        "weak_only": float((weak > strong).mean()),
    }


def _curve(
    name: str,
    score: Any,
    data: tuple[Array, Array, NDArray[np.intp]],
    sampling: tuple[int, float, int],
    costs: Mapping[str, tuple[float, ...]],
) -> Curve:
    weak, strong, clusters = data
    draws, level, seed = sampling
    rank = descending(np.asarray(score, float))[1]
    ones = np.ones((1, len(weak)), int)
    point = _path(rank, weak, strong, ones)
    parts = [_path(rank, weak, strong, w) for w in resamples(clusters, draws, seed)]
    apgr = float(point.apgr()[0])
    cpt = {x: float(point.cpt(x)[0]) for x in TARGETS}
    accuracy = np.concatenate([part.at(SHARE) for part in parts]) if parts else np.empty((0, 0))
    ends = [interval(column, level) for column in accuracy.T]
    return Curve(
        router=name,
        accuracy=tuple(point.at(SHARE)[0].tolist()),
        accuracy_intervals=tuple(e for e in ends if e is not None),
        apgr=_known(apgr),
        apgr_interval=_spread([part.apgr() for part in parts], level),
        cpt={x: _known(value) for x, value in cpt.items()},
        cpt_intervals={x: _spread([part.cpt(x) for part in parts], level) for x in TARGETS},
        costs=costs,
    )


def _costs(items: Items, score: Any, *, cascade: bool) -> dict[str, tuple[float, ...]]:
    """Mean price and seconds at each share; a cascade also pays the small model's answer."""
    found = {}
    rank = descending(np.asarray(score, float))[1]
    for kind in ("price", "seconds"):
        if kind in items and f"{kind}_strong" in items:
            small, large = items[kind], items[f"{kind}_strong"]
            paid = small + large if cascade else large
            path = _path(rank, small, paid, np.ones((1, len(items)), int))
            found[kind] = tuple(path.at(SHARE)[0].tolist())
    return found


@dataclass(frozen=True, kw_only=True)
class Path:
    """Share passed on and accuracy after each tie of a ranking: (draws, ties + 1), from (0, weak).

    Between two of them accuracy (or any other mean, such as the price) is a straight line in
    expectation, so all below is exact.
    """

    share: Array
    accuracy: Array

    @property
    def recovered(self) -> Array:
        """Share of the gap between the models that is recovered; NaN where there is no gap."""
        weak, strong = self.accuracy[:, :1], self.accuracy[:, -1:]
        gap = np.where(strong > weak, strong - weak, np.nan)
        return (self.accuracy - weak) / gap

    def apgr(self) -> Array:
        """Mean of the share recovered over all shares passed on: (draws,)."""
        height = self.recovered
        return (np.diff(self.share) * (height[:, 1:] + height[:, :-1]) / 2).sum(axis=1)

    def cpt(self, target: float) -> Array:
        """Least share passed on that recovers `target` of the gap: (draws,)."""
        height = self.recovered
        place = np.argmax(height >= target, axis=1)[:, None]
        before = np.maximum(place - 1, 0)
        y0, y1 = (np.take_along_axis(height, at, 1)[:, 0] for at in (before, place))
        x0, x1 = (np.take_along_axis(self.share, at, 1)[:, 0] for at in (before, place))
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(y1 >= target, x0 + (target - y0) / (y1 - y0) * (x1 - x0), np.nan)

    def at(self, share: Array) -> Array:
        """Accuracy at these shares passed on: (draws, shares)."""
        pairs = zip(self.share, self.accuracy, strict=True)
        return np.array([np.interp(share, x, y) for x, y in pairs])


def _path(rank: Any, weak: Array, strong: Array, weights: NDArray[np.int64]) -> Path:
    count, before, after = resampled_sums(rank, (np.ones(len(weak)), weak, strong), weights)
    total = count.sum(axis=1, keepdims=True)
    start = np.zeros((len(weights), 1))
    gained = np.concatenate([start, np.cumsum(after - before, axis=1)], axis=1)
    passed = np.concatenate([start, np.cumsum(count, axis=1)], axis=1)
    return Path(share=passed / total, accuracy=(before.sum(axis=1, keepdims=True) + gained) / total)


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None


def _spread(parts: list[Array], level: float) -> tuple[float, float] | None:
    return interval(np.concatenate(parts), level) if parts else None


def _shown(value: float | None, ends: tuple[float, float] | None, level: float) -> str:
    if value is None:
        return f"not identified ({WHY})"
    if ends is None:
        return f"{value:.4f}"
    return f"{value:.4f} ({100 * level:g}%: {ends[0]:.4f} to {ends[1]:.4f})"
