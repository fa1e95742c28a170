"""Figures of forecasts that were judged: the backtest and the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from isoflop.figures.grammar import (
    NUMBER,
    PERCENT,
    Figure,
    Row,
    colours,
    figure,
    groups,
    layer,
    linear_axis,
    names_axis,
)  # fmt: skip
from isoflop.units import show


def backtest(*, rows: Sequence[Mapping]) -> Figure:
    """Signed error of each law at each cut, in percent of the observed loss.

    A row has law, cut_flops, span, hidden, bias (a fraction).
    """
    laws = list(dict.fromkeys(row["law"] for row in rows))
    laws = [law for law in laws if law == "pool"] + [law for law in laws if law != "pool"]
    spans = [row["span"] for row in rows]
    labels, order = groups([float(f"{s:.2g}") for s in spans])
    errors = [100 * row["bias"] for row in rows]
    x = {
        "field": "error",
        **linear_axis([*errors, 0.0], "mean signed error on hidden runs", PERCENT),
    }
    y = {"field": "law", **names_axis(laws)}
    dots: list[Row] = [
        {"error": e, "law": r["law"], "reach": f"{g}×", "tip": f"{r['law']}, cut at "
         f"{show(r['cut_flops'], 'flops', 2)} FLOPs, {r['hidden']} hidden runs, up to "
         f"{r['span']:.1f}× the compute: {e:+.1f}%"}
        for r, e, g in zip(rows, errors, labels, strict=True)
    ]  # fmt: skip
    reach = {"field": "reach", **colours([f"{g}×" for g in order], "reach in compute")}
    zero: list[Row] = [{"error": 0.0}]
    layers = [
        layer(zero, "rule", "zero", x=x),
        layer(dots, "point", "run", mark={"size": 75}, x=x, y=y, color=reach),
    ]
    worst = max(dots, key=lambda row: abs(float(str(row["error"]))))
    description = f"Signed error of {len(laws)} laws on hidden runs; the worst: {worst['tip']}."
    return figure("backtest", description, layers, height=12 + 34 * len(laws))


def ledger(*, forecasts: Sequence[Mapping], loss_unit: str) -> Figure:
    """Sealed forecasts as intervals, and what came out.

    A forecast has target, quantiles (level as text -> loss) and observed (or None).
    """
    names = [f["target"] for f in forecasts]
    values = [v for f in forecasts for v in f["quantiles"].values()]
    values += [f["observed"] for f in forecasts if f["observed"] is not None]
    x = {"field": "low", **linear_axis(values, f"loss ({loss_unit})", NUMBER)}
    y = {"field": "target", **names_axis(names)}
    layers: list[Row] = []
    for level, low, high in ((95, 0.025, 0.975), (90, 0.05, 0.95), (50, 0.25, 0.75)):
        spans: list[Row] = []
        for f in forecasts:
            q = {float(k): v for k, v in f["quantiles"].items()}
            if low in q and high in q:
                tip = f"{f['target']}: {level}% from {q[low]:.3f} to {q[high]:.3f}"
                spans.append({"target": f["target"], "low": q[low], "high": q[high], "tip": tip})
        if spans:
            style = f"interval{level}"
            layers.append(layer(spans, "rule", style, x=x, x2={"field": "high"}, y=y))
    medians: list[Row] = []
    seen: list[Row] = []
    for f in forecasts:
        q = {float(k): v for k, v in f["quantiles"].items()}
        if 0.5 in q:
            tip = f"{f['target']}: forecast {q[0.5]:.3f}"
            medians.append({"target": f["target"], "low": q[0.5], "tip": tip})
        if f["observed"] is not None:
            tip = f"{f['target']}: observed {f['observed']:.3f}"
            seen.append({"target": f["target"], "low": f["observed"], "tip": tip})
    circle, diamond = {"shape": "circle", "size": 80}, {"shape": "diamond", "size": 100}
    layers.append(layer(medians, "point", "forecast", mark=circle, x=x, y=y))
    if seen:
        layers.append(layer(seen, "point", "observed", mark=diamond, x=x, y=y))
    told = "; ".join(str(row["tip"]) for row in (*medians, *seen))
    return figure("forecast ledger", told + ".", layers, height=12 + 40 * len(names))
