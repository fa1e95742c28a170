"""Knowledge, reasoning and creation apart: what a model knows of what it knows in each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from isoflop.knowing.quadrants import CELLS, Quadrants, quadrants

if TYPE_CHECKING:
    from isoflop.tables.items import Items

DIMENSIONS = ("knowledge", "reasoning", "creation")
COMPARED = ("accuracy", "auroc", "sensitivity")  # scores that stand side by side


@dataclass(frozen=True, kw_only=True)
class Dimensions:
    """The quadrant report of each dimension that has questions; missing: those without."""

    name: str
    parts: Mapping[str, Quadrants]
    missing: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "parts": {kind: part.to_json() for kind, part in self.parts.items()},
            "missing": list(self.missing),
        }

    def __str__(self) -> str:
        lines = [self.name]
        for kind, part in self.parts.items():
            cells = ", ".join(f"{name.replace('_', ' ')} {part.cells[name]:.3f}" for name in CELLS)
            lines.append(f"  {kind:<10} {part.questions} questions: {cells}")
            scores = "; ".join(_score(part, name) for name in COMPARED)
            lines.append(f"  {'':<10} {scores}")
        if self.missing:
            lines.append(
                f"  no questions on {' and '.join(self.missing)}: tag them so in column 'dimension'"
            )
        return "\n".join(lines)


def _score(part: Quadrants, name: str) -> str:
    value = part.scores[name]
    if value is None:
        return f"{name} not identified ({part.unidentified.get(name, 'too few answers')})"
    ends = part.intervals.get(name)
    span = "" if ends is None else f" ({100 * part.level:g}%: {ends[0]:.3f} to {ends[1]:.3f})"
    return f"{name} {value:.3f}{span}"


def dimensions(
    items: Items,
    *,
    threshold: float = 0.5,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Dimensions:
    """The quadrants of one model's answers, dimension by dimension.

    Column dimension says of each question whether it asks for knowledge, reasoning or creation;
    one dimension may hold several tasks. Raises ValueError where the column is missing or holds
    another word, and as `quadrants` does.
    """
    kinds = kinds_of(items)
    parts = {
        kind: quadrants(
            together(items.where(items["dimension"] == kind)),
            threshold=threshold, draws=draws, level=level, seed=seed,
        )
        for kind in kinds
    }  # fmt: skip
    missing = tuple(kind for kind in DIMENSIONS if kind not in kinds)
    return Dimensions(name=items.name, parts=parts, missing=missing)


def kinds_of(items: Items) -> list[str]:
    """The dimensions that have questions. Raises ValueError for a column of other words."""
    if "dimension" not in items:
        raise ValueError(
            f"no column 'dimension' in {items.name!r}, which has {', '.join(items.columns)}; add "
            f"one that says of each question {', '.join(DIMENSIONS[:-1])} or {DIMENSIONS[-1]}"
        )
    found = set(map(str, items["dimension"].tolist()))
    if unknown := found - set(DIMENSIONS):
        raise ValueError(
            f"column 'dimension' has {', '.join(sorted(unknown))}; it is {', '.join(DIMENSIONS)}"
        )
    return [kind for kind in DIMENSIONS if kind in found]


def together(items: Items) -> Items:
    """The same questions as one task: those of a dimension are there to be put together."""
    data = {name: values for name, values in items.data.items() if name != "task"}
    return replace(items, data=MappingProxyType(data))
