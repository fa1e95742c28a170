"""How far beyond its cuts a backtest has looked, and what that says of a target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

FAR = 2.0  # times the backtested decades: beyond it a forecast is refused
NEAR = 0.3  # decades that need no backtest: about a factor of two in compute
RATIO_SLACK, RATIO_FAR = 0.3, 1.0  # decades of tokens per parameter outside the measured ones


@dataclass(frozen=True, kw_only=True)
class Span:
    """What the table covers and what its backtest has looked at.

    decades: of compute beyond a cut that at least two cuts were scored at (all of the only one's
    where there is one cut; 0 without cuts). flops, ratio: least and most compute and tokens per
    parameter (None where the table has no params or tokens).
    """

    decades: float
    cuts: int
    flops: tuple[float, float]
    ratio: tuple[float, float] | None

    def to_json(self) -> dict[str, Any]:
        ratio = None if self.ratio is None else list(self.ratio)
        return {
            "decades": self.decades, "cuts": self.cuts, "flops": list(self.flops), "ratio": ratio
        }  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How a target lies to the span: decades beyond the table, a warning, a refusal."""

    decades: float
    warning: str = ""
    refused: bool = False


def span_of(flops: Array, cuts: Array, ratio: Array | None) -> Span:
    """The span of a table whose inner backtest cuts at `cuts`."""
    looked = np.sort(np.log10(flops.max() / cuts))[::-1]
    decades = float(looked[min(1, len(looked) - 1)]) if len(looked) else 0.0
    return Span(
        decades=decades,
        cuts=len(cuts),
        flops=(float(flops.min()), float(flops.max())),
        ratio=None if ratio is None else (float(ratio.min()), float(ratio.max())),
    )


def reach_of(span: Span, *, flops: float, ratio: float | None) -> Reach:
    """Judge one target. The warning names the cheapest run that would help."""
    decades = max(0.0, float(np.log10(flops / span.flops[1])))
    said, refused = [], False
    if decades > max(span.decades, NEAR):
        refused = decades > max(FAR * span.decades, NEAR)
        said.append(
            f"the target has {show(flops, 'flops')} FLOPs, {decades:.2f} decades beyond the "
            f"largest run; the backtest ({span.cuts} cuts) has looked {span.decades:.2f} decades "
            f"beyond its cuts. {cheapest_run(span, flops=flops, ratio=ratio, refused=refused)}"
        )
    if span.ratio and ratio:
        outside = max(np.log10(ratio / span.ratio[1]), np.log10(span.ratio[0] / ratio))
        if outside > RATIO_SLACK:
            refused = refused or outside > RATIO_FAR
            said.append(
                f"the target has {ratio:.3g} tokens per parameter; the runs have "
                f"{span.ratio[0]:.3g} to {span.ratio[1]:.3g}. The cheapest run that would help: "
                f"one of the smallest compute, {show(span.flops[0], 'flops')} FLOPs, at "
                f"{ratio:.3g} tokens per parameter"
            )
    return Reach(decades=decades, warning="; ".join(said), refused=bool(refused))


def cheapest_run(span: Span, *, flops: float, ratio: float | None, refused: bool) -> str:
    """The least compute whose run brings the target within reach, in words.

    A run x decades above the table's largest leaves the target x decades nearer and lets the
    backtest look x decades further, so x solves d - x = k (s + x), k = 1 (no warning) or 2.
    """
    decades = np.log10(flops / span.flops[1])
    factor = FAR if refused else 1.0
    more = max((decades - factor * span.decades) / (1 + factor), 0.0)
    compute = span.flops[1] * 10 ** (more * 1.02)  # a hair beyond the edge
    what = "bring the target out of refusal" if refused else "bring the target within reach"
    size = ""
    if ratio:
        params = np.sqrt(compute / (6 * ratio))
        size = f" ({show(float(params))} parameters on {show(float(params * ratio))} tokens)"
    return f"The cheapest run that would {what}: {show(float(compute), 'flops')} FLOPs{size}"
