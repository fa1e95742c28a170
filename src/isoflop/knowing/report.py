"""Everything that one table of answered questions says about a model's knowledge of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from isoflop.knowing.abstention import certified_threshold, conformal_threshold
from isoflop.knowing.decision import LEAST, decide, worth_of_a_second
from isoflop.knowing.density import densities
from isoflop.knowing.dimensions import dimensions, together
from isoflop.knowing.quadrants import quadrants
from isoflop.knowing.routing import route
from isoflop.knowing.samples import sample_curve
from isoflop.tables.notebook import html_view

if TYPE_CHECKING:
    from isoflop.tables.items import Items


class Part(Protocol):
    """A result that prints and turns into plain values."""

    def to_json(self) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Knowledge:
    """The parts that the columns allow; left_out says which columns the others need."""

    name: str
    parts: Mapping[str, Part]
    left_out: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "parts": {name: part.to_json() for name, part in self.parts.items()},
            "left_out": dict(self.left_out),
        }

    _repr_html_ = html_view

    def __str__(self) -> str:
        lines = [f"{title(name)}\n{part}" for name, part in self.parts.items()]
        lines += [f"no {title(name).lower()}: {why}" for name, why in self.left_out.items()]
        return "\n".join(lines)


def title(part: str) -> str:
    return part.replace("_", " ").capitalize()


def know(
    items: Items,
    *,
    reference: Sequence[str] = (),
    threshold: float = 0.5,
    rate: float = 0.1,
    second: float = 0.0,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Knowledge:
    """Report all that one table says: quadrants, dimensions, samples, abstention, routing, density.

    reference: models of the table (column model) that are the ladder against which the others'
    density is read; the parts about one model are then those of the one that is left. threshold:
    confidence that counts as a claim t, so that a wrong answer costs t / (1 - t). rate: error that
    abstention promises to keep. second: price of a second, where a right answer pays 1. A table
    with a column dimension may hold several tasks. Raises ValueError where the table allows none
    of the parts.
    """
    shared: dict[str, Any] = {"draws": draws, "level": level, "seed": seed}
    parts: dict[str, Part] = {}
    left_out: dict[str, str] = {}
    one = _beside(items, reference)
    if one is not None:
        one = together(one) if "dimension" in one else one
        plan = _plan(one, threshold, rate, second, shared)
        parts = {name: make() for name, (possible, _, make) in plan.items() if possible}
        left_out = {name: f"needs {needs}" for name, (able, needs, _) in plan.items() if not able}
    else:
        left_out["quadrants"] = "they are of one model: leave one beside those of the reference"
    if reference:
        parts["density"] = densities(items, reference=reference, **shared)
    else:
        left_out["density"] = (
            "needs several models (columns 'model', 'params' and 'dimension'), and a reference: "
            "those of them that are the ladder"
        )
    if not parts:
        raise ValueError(
            f"{items.name!r} says nothing of self-knowledge: it has {', '.join(items.columns)}; "
            "name a confidence and what was right with columns={'q': ..., 'y': ...}"
        )
    return Knowledge(name=items.name, parts=parts, left_out=left_out)


def _beside(items: Items, reference: Sequence[str]) -> Items | None:
    """The one model that is not of the reference; None where there are several."""
    if not reference or "model" not in items:
        return items
    others = set(items["model"].tolist()) - set(reference)
    return items.where(items["model"] == others.pop()) if len(others) == 1 else None


def _plan(
    items: Items, threshold: float, rate: float, second: float, shared: dict[str, Any]
) -> dict[str, tuple[bool, str, Callable[[], Part]]]:
    """Every part about one model: whether the columns allow it, what it needs, how it is made."""
    odds = threshold / (1 - threshold) if threshold < 1 else 0.0
    right = "y" in items or "c" in items
    weak = "y_weak" in items or "y" in items
    judged = {"q", "y"} <= set(items.columns)
    alone = int(items.clusters.max()) + 1 == len(items)
    timed = {"y", "y_think", "seconds", "seconds_think"} <= set(items.columns)
    return {
        "quadrants": (
            "q" in items and right, "columns 'q' and 'y'",
            lambda: quadrants(items, threshold=threshold, **shared),
        ),
        "dimensions": (
            "q" in items and right and "dimension" in items,
            "columns 'q', 'y' and 'dimension' (knowledge, reasoning or creation)",
            lambda: dimensions(items, threshold=threshold, **shared),
        ),
        "samples": ("c" in items, "columns 'n' and 'c'", lambda: sample_curve(items, **shared)),
        "abstention_on_average": (
            judged, "columns 'q' and 'y'", lambda: conformal_threshold(items, rate)
        ),
        "abstention_certified": (
            judged and alone, "columns 'q' and 'y', and one question a group",
            lambda: certified_threshold(items, rate),
        ),
        "routing": (
            weak and "y_strong" in items, "columns 'y_strong' and 'y_weak' or 'y'",
            lambda: route(items, **shared),
        ),
        "decision": (
            judged and len(items) >= LEAST, f"columns 'q' and 'y' of {LEAST} questions",
            lambda: decide(items, wrong=odds, second=second, **shared),
        ),
        "worth_of_a_second": (
            timed, "columns 'y', 'y_think', 'seconds' and 'seconds_think'",
            lambda: worth_of_a_second(items, value=1 + odds, **shared),
        ),
    }  # fmt: skip
