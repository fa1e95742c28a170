"""From the results of thinking, learning, self-knowledge and comparison to what a page shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from isoflop.knowing.density import ALL
from isoflop.knowing.dimensions import COMPARED
from isoflop.knowing.quadrants import SHOWN
from isoflop.page.rungs import (
    Arms,
    Density,
    Dimension,
    Fact,
    Knowing,
    Learning,
    Line,
    Quadrant,
    Samples,
)
from isoflop.units import show

if TYPE_CHECKING:
    from isoflop.forecast import Comparison
    from isoflop.forecast.curve import CurveForecast, CurveScore
    from isoflop.knowing import Densities, Knowledge, LossDensities, SampleCurve

PASSED = {"oracle": "oracle", "self_knowledge": "perfect self-knowledge", "random": "at random",
          "confidence": "by confidence"}  # fmt: skip
LEVEL = 0.9  # of the band drawn around a sealed curve


def samples_of(
    curve: SampleCurve,
    *,
    seconds: float | None = None,
    dollars: float | None = None,
    tokens: float | None = None,
    note: str = "",
) -> Samples:
    """L2 from a curve of accuracy by samples; seconds, dollars and tokens are those of one."""
    lines = []
    for choice, values in curve.values.items():
        ends: Any = curve.intervals.get(choice, ())
        lines.append(
            Line(
                name=choice,
                x=tuple(float(k) for k in curve.k),
                y=tuple(values),
                low=tuple(low for low, _ in ends),
                high=tuple(high for _, high in ends),
            )
        )
    return Samples(
        name=curve.name, questions=curve.questions, level=curve.level, lines=tuple(lines),
        seconds=seconds, dollars=dollars, tokens=tokens, note=note,
    )  # fmt: skip


def learning_of(
    name: str,
    *,
    compute: Sequence[float],
    reward: Sequence[float],
    forecast: CurveForecast | None = None,
    score: CurveScore | None = None,
    observed: Sequence[float] = (),
    title: str = "reward",
    note: str = "",
) -> Learning:
    """L3 from the points before the seal, the sealed curve and, once measured, those after it.

    observed: rewards at the forecast's computes. A compute of 0 is left out of the figure.
    """
    known = [(c, r) for c, r in zip(compute, reward, strict=True) if c > 0]
    later = drawn = None
    if forecast is not None:
        low, high = (tuple(v.tolist()) for v in forecast.interval(LEVEL))
        drawn = Line(
            name="forecast", x=forecast.compute, y=forecast.quantiles[0.5], low=low, high=high
        )
        if len(observed):
            later = Line(name="after", x=forecast.compute, y=tuple(float(v) for v in observed))
    return Learning(
        name=name,
        reward=title,
        known=Line(
            name="before",
            x=tuple(float(c) for c, _ in known),
            y=tuple(float(r) for _, r in known),
        ),
        later=later,
        forecast=drawn,
        level=LEVEL,
        seal="" if forecast is None else forecast.seal,
        sealed_at="" if forecast is None else forecast.sealed_at[:16].replace("T", " ") + " UTC",
        ceiling=None if forecast is None else forecast.ceiling,
        held=None if score is None else score.held_90,
        error=None if score is None else score.error,
        note=note,
    )


def knowing_of(known: Knowledge) -> Knowing:
    """L4 from all that `know` could say of one table; samples belong to `samples_of`."""
    parts: Any = dict(known.parts)
    quad, routing, rule = (parts.get(k) for k in ("quadrants", "routing", "decision"))
    promises = [parts[k] for k in ("abstention_on_average", "abstention_certified") if k in parts]
    shown = [p for p in (quad, routing, rule, parts.get("samples")) if p is not None]
    bands = [] if rule is None else [
        Fact(name=f"{low:.2f} to {high:.2f}", value=do) for low, high, do in rule.bands
    ]  # fmt: skip
    second, apart = parts.get("worth_of_a_second"), parts.get("dimensions")
    if second is not None:
        bands.append(
            Fact(name="a second of thinking", value=f"worth {second.worth:.3g}",
                 note="where a right answer pays 1; it pays where a second costs less")
        )  # fmt: skip
    return Knowing(
        name=known.name,
        questions=shown[0].questions if shown else promises[0].questions,
        level=shown[0].level if shown else 0.95,
        threshold=None if quad is None else quad.threshold,
        quadrants=() if quad is None else _cells(quad),
        scores=() if quad is None else _scores(quad),
        risk=None if quad is None else _risk(quad.risk_coverage),
        router=() if routing is None else tuple(
            Line(name=PASSED.get(c.router) or c.router, x=routing.share, y=c.accuracy,
                 low=tuple(low for low, _ in c.accuracy_intervals),
                 high=tuple(high for _, high in c.accuracy_intervals))
            for c in routing.curves
        ),
        weak=None if routing is None else routing.weak,
        strong=None if routing is None else routing.strong,
        promises=tuple(_promise(p) for p in promises),
        bands=tuple(bands),
        dimensions=() if apart is None else tuple(
            Dimension(name=kind, questions=part.questions, quadrants=_cells(part),
                      scores=_scores(part, [s for s in SHOWN if s[1] in COMPARED]))
            for kind, part in apart.parts.items()
        ),
        missing=() if apart is None else apart.missing,
        left_out=tuple(Fact(name=k.replace("_", " "), value=v) for k, v in known.left_out.items()),
    )  # fmt: skip


def densities_of(found: Densities) -> tuple[Density, ...]:
    """Every model beside the ladder, dimension by dimension."""
    return tuple(
        Density(
            model=r.model, by="all questions" if r.dimension == ALL else r.dimension,
            measured=f"{100 * r.accuracy:.1f}% of {r.questions} right", params=r.params,
            effective=r.effective, density=r.density, low=r.interval[0], high=r.interval[1],
            level=found.level, beyond=r.beyond,
        )
        for r in found.rows
    )  # fmt: skip


def loss_densities_of(found: LossDensities, *, unit: str) -> tuple[Density, ...]:
    """Every run beside the ladder's pool."""
    return tuple(
        Density(
            model=r.run, by="loss",
            measured=f"{r.loss:.3f} {unit} on {show(r.tokens)} tokens", params=r.params,
            effective=r.effective, density=r.density, low=r.interval[0], high=r.interval[1],
            level=found.level, beyond=r.beyond,
            note=f"{r.decades:.2f} decades of compute beyond the ladder" if r.decades > 0 else "",
        )
        for r in found.rows
    )  # fmt: skip


def _cells(quad: Any) -> tuple[Quadrant, ...]:
    return tuple(
        Quadrant(name=cell, share=share, low=quad.posterior[cell][0], high=quad.posterior[cell][1])
        for cell, share in quad.cells.items()
    )


def _scores(quad: Any, wanted: Sequence[tuple[str, str]] = SHOWN) -> tuple[Fact, ...]:
    """The quadrants' figures with intervals; what is not identified with the reason."""
    out = []
    for words, name in wanted:
        value = quad.scores.get(name)
        if value is not None:
            ends = quad.intervals.get(name)
            span = "" if ends is None else f"{ends[0]:.3f} to {ends[1]:.3f}"
            out.append(Fact(name=words.strip(), value=f"{value:.3f}", note=span))
        elif name in quad.unidentified:
            out.append(
                Fact(name=words.strip(), value="not identified", note=quad.unidentified[name])
            )
    return tuple(out)


def _risk(found: Any) -> Line:
    whole = len(found["low"]) == len(found["coverage"])
    return Line(
        name="error among the answered",
        x=tuple(found["coverage"]),
        y=tuple(found["risk"]),
        low=tuple(found["low"]) if whole else (),
        high=tuple(found["high"]) if whole else (),
    )


def _promise(p: Any) -> Fact:
    where = "answer nothing" if p.threshold is None else f"answer from {p.threshold:.3g} on"
    wrong = "" if p.error is None else f", {100 * p.error:.1f}% of them wrong"
    return Fact(name=p.promise, value=where, note=f"{100 * p.answered:.0f}% answered{wrong}")


def arms_of(found: Comparison) -> Arms:
    """Two recipes from their comparison."""
    return Arms(
        a=found.a,
        b=found.b,
        level=found.level,
        speed_up=Line(
            name=f"{found.b} over {found.a}",
            x=tuple(s.flops for s in found.at),
            y=tuple(s.factor for s in found.at),
            low=tuple(s.low for s in found.at),
            high=tuple(s.high for s in found.at),
        ),
        trend=found.trend,
        slope=(found.slope, found.slope_low, found.slope_high),
        worth=found.worth,
        risk=found.risk,
        probability=found.probability,
        decision=found.decision,
        laws=tuple(
            Fact(name=law.law, value=f"left out: {law.note}")
            if law.note
            else Fact(
                name=law.law,
                value=f"{law.factor:.3g}× ({law.low:.3g} to {law.high:.3g})",
                note=f"weight {law.weight:.2f}, residual {100 * law.rms:.2f}%",
            )
            for law in found.laws
        ),
        warnings=tuple(
            f"At {show(s.flops, 'flops', 2)} FLOPs: {s.warning}" for s in found.at if s.warning
        ),
    )
