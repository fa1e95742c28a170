"""Figures of a ladder: loss against compute, the isoFLOP valley, its optimum, local slopes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from isoflop.figures.grammar import (
    COUNT,
    NUMBER,
    POWER,
    STYLES,
    Figure,
    Row,
    colours,
    count,
    figure,
    groups,
    layer,
    linear_axis,
    log_axis,
    note,
)  # fmt: skip
from isoflop.units import show

HEIGHT = 350  # of the plot of loss against compute, in pixels
MOST_TIPS = 1000  # dots that still tell their numbers one by one
MOST_NAMES = 8  # laws of a pool named at the ends of their lines, the heaviest
LINE = 13  # pixels from one small label to the next


def loss_curve(
    *,
    runs: Mapping[str, Sequence],
    flops: Sequence[float],
    median: Sequence[float],
    bands: Mapping[float, tuple[Sequence[float], Sequence[float]]],
    measured: tuple[float, float],
    loss_unit: str,
    members: Mapping[str, tuple[float, Sequence[float]]] | None = None,
    trusted_to: float | None = None,
    target: Mapping[str, Any] | None = None,
    chosen: Mapping[str, float] | None = None,
) -> Figure:
    """Loss against compute: runs, the pool's median and bands, its members, the target.

    `runs` has run, params, tokens, flops, loss; `bands` and `members` go by level and by law, a
    member being (weight, losses); `target` has flops, loss, low, high, level and observed;
    `chosen`, the budget asked about, has flops, loss, low and high.
    """
    goal = (
        [target[k] for k in ("low", "high", "observed") if target[k] is not None] if target else []
    )
    sides = [v for low, high in bands.values() for v in (*low, *high)]
    at = [*runs["flops"], *flops] + [p["flops"] for p in (target, chosen) if p]
    goal += [chosen["low"], chosen["high"]] if chosen else []
    x = {"field": "flops", **log_axis(at, "training compute (FLOPs)", POWER, pad=0.03)}
    values = [*runs["loss"], *median, *sides, *goal]
    y = {"field": "loss", **log_axis(values, f"loss ({loss_unit})", NUMBER)}
    floor, ceiling = y["scale"]["domain"]
    region: list[Row] = [{"flops": measured[0], "flops2": measured[1]}]
    layers = [layer(region, "rect", "measured", x=x, x2={"field": "flops2"})]
    layers += band_layers(x, y, flops, bands=bands)
    lines, ends = member_layers(x, y, flops, members=members or {})
    layers += lines
    rows = [{"flops": f, "loss": v} for f, v in zip(flops, median, strict=True)]
    layers.append(layer(rows, "line", "median", x=x, y=y))
    dots, order = run_dots(runs)
    color = {"field": "size", **colours(order, "params")}
    layers.append(layer(dots, "point", "run", x=x, y=y, color=color))
    words = [note(x, y, [{"flops": measured[0], "loss": floor, "text": "measured"}],
                  align="left", baseline="bottom", dx=7, dy=-7)]  # fmt: skip
    if trusted_to is not None:
        edge: list[Row] = [{"flops": trusted_to, "loss": ceiling, "text": "backtested up to here"}]
        layers.append(layer(edge, "rule", "trusted", x=x))
        words.append(note(x, y, edge, align="right", baseline="top", dx=-7, dy=7))
    if chosen:
        spot: list[Row] = [dict(chosen)]
        ends_at = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
        layers.append(layer(spot, "rule", "chosen", x=x, **ends_at))
        layers.append(layer(spot, "point", "chosen", mark={"size": 78}, x=x, y=y))
    least, most = (show(f(runs["flops"]), "flops", 2) for f in (min, max))
    description = f"Loss against compute: {len(dots)} runs from {least} to {most} FLOPs."
    if target:
        layers += target_layers(x, y, target)
        description += " " + target_words(target, loss_unit)
    return figure("loss against compute", description, layers + ends + words, height=HEIGHT)


def member_layers(
    x: Row, y: Row, flops: Sequence[float], *, members: Mapping[str, tuple[float, Sequence[float]]]
) -> tuple[list[Row], list[Row]]:
    """A thin line for each law of the pool, and their names at the lines' ends."""
    floor, ceiling = y["scale"]["domain"]
    lines: list[Row] = []
    ends: list[Row] = []
    for law, (weight, losses) in members.items():
        rows: list[Row] = [
            {"flops": f, "loss": v, "law": law, "tip": f"{law}: weight {weight:.2f}"}
            for f, v in zip(flops, losses, strict=True)
            if floor <= v <= ceiling
        ]
        if rows:
            look = {"strokeOpacity": round(0.3 + 0.7 * min(weight, 1.0), 3)}
            lines.append(
                layer(rows, "line", "member", mark=look, x=x, y=y, detail={"field": "law"})
            )
            ends.append({**rows[-1], "weight": weight, "text": f"{weight:.2f} {law}"})
    heavy = sorted(ends, key=lambda row: -row["weight"])[:MOST_NAMES]
    return lines, end_labels(x, y, heavy)


def end_labels(x: Row, y: Row, ends: list[Row]) -> list[Row]:
    """Words right of the plot, level with the ends of lines or moved apart so that none touch."""
    floor, ceiling = (math.log(v) for v in y["scale"]["domain"])
    edge = {"flops": x["scale"]["domain"][1]}
    ordered = sorted(ends, key=lambda row: -row["loss"])
    exact = [HEIGHT * (ceiling - math.log(row["loss"])) / (ceiling - floor) for row in ordered]
    places = list(exact)
    for k in range(1, len(places)):
        places[k] = max(places[k], places[k - 1] + LINE)
    for k in range(len(places)):  # what was pushed below the plot pushes back from its bottom
        places[-1 - k] = min(places[-1 - k], HEIGHT - LINE * (k + 0.5))
    return [
        note(x, y, [row | edge], style="endlabel", align="left", dx=7, dy=round(place - at, 1))
        for row, place, at in zip(ordered, places, exact, strict=True)
    ]


def band_layers(
    x: Row,
    y: Row,
    flops: Sequence[float],
    *,
    bands: Mapping[float, tuple[Sequence[float], Sequence[float]]],
) -> list[Row]:
    """The intervals along the curve, widest first."""
    layers = []
    for level, (low, high) in sorted(bands.items(), reverse=True):
        style = f"band{100 * level:g}"
        if style not in STYLES:
            raise ValueError(f"a band of level {level} has no look; give 0.5, 0.9 or 0.95")
        rows = [
            {"flops": f, "loss": a, "high": b} for f, a, b in zip(flops, low, high, strict=True)
        ]
        layers.append(layer(rows, "area", style, x=x, y=y, y2={"field": "high"}))
    return layers


def run_dots(runs: Mapping[str, Sequence]) -> tuple[list[Row], list[str]]:
    """One row for each run, labelled by size, and the labels in order."""
    labels, order = groups(runs["params"])
    dots: list[Row] = []
    for row, size in enumerate(labels):
        n, d, c, value = (runs[k][row] for k in ("params", "tokens", "flops", "loss"))
        dot: Row = {"flops": c, "loss": value, "size": size}
        if len(labels) <= MOST_TIPS:
            words = f"{count(n)} params, {count(d)} tokens, {show(c, 'flops', 2)} FLOPs"
            dot["tip"] = f"{runs['run'][row]}: {words}, loss {value:.3f}"
        dots.append(dot)
    return dots, order


def target_words(target: Mapping[str, Any], loss_unit: str) -> str:
    """The forecast at the target in one sentence, with the outcome where there is one."""
    text = (
        f"Forecast at {show(target['flops'], 'flops', 2)} FLOPs: {target['loss']:.3f} {loss_unit} "
        f"({100 * target['level']:.0f}%: {target['low']:.3f} to {target['high']:.3f})"
    )
    seen = target["observed"]
    return f"{text}; observed {seen:.3f}." if seen is not None else f"{text}; not yet run."


def target_layers(x: Row, y: Row, target: Mapping[str, Any]) -> list[Row]:
    """The forecast's interval and median at the target and, where it has run, the outcome."""
    at = {"flops": target["flops"]}
    low, middle, high = (target[k] for k in ("low", "loss", "high"))
    seen = target["observed"]
    tip = f"forecast {middle:.3f}, {100 * target['level']:.0f}% {low:.3f} to {high:.3f}"
    span: list[Row] = [{**at, "low": low, "high": high, "tip": tip}]
    centre: list[Row] = [{**at, "loss": middle, "tip": tip}]
    ends = {"y": {**y, "field": "low"}, "y2": {"field": "high"}}
    layers = [
        layer(span, "rule", "span", x=x, **ends),
        layer(centre, "point", "forecast", mark={"shape": "circle", "size": 70}, x=x, y=y),
    ]
    words = {f"forecast {middle:.3f}": middle}
    if seen is not None:
        outcome: list[Row] = [{**at, "loss": seen, "tip": f"observed {seen:.3f}"}]
        look = {"shape": "diamond", "size": 90}
        layers.append(layer(outcome, "point", "observed", mark=look, x=x, y=y))
        words[f"observed {seen:.3f}"] = seen
    top = max(words.values())
    for text, value in words.items():
        up = value == top
        look = {"align": "right", "dx": -10, "dy": -7 if up else 9, "fontWeight": 600}
        layers.append(note(x, y, [{**at, "loss": value, "text": text}], **look))
    return layers


def valley(
    *,
    slices: Sequence[Mapping],
    fixed: str,
    loss_unit: str,
    params_convention: str = "",
) -> Figure:
    """Loss against params, one colour for each budget or token count, with the fitted minimum.

    `fixed` says what the runs of a slice share, "FLOPs" or "tokens", and its label how much; a
    slice has label, params, loss, curve_params, curve_loss, best_params, best_loss, bracketed.
    """
    sizes = [v for s in slices for v in (*s["params"], *s["curve_params"])]
    losses = [v for s in slices for v in (*s["loss"], *s["curve_loss"])]
    title = f"params ({params_convention})" if params_convention else "params"
    x = {"field": "params", **log_axis(sizes, title, COUNT)}
    y = {"field": "loss", **log_axis(losses, f"loss ({loss_unit})", NUMBER)}
    labels = [s["label"] for s in slices]
    color = {"field": "slice", **colours(labels, fixed)}
    dots: list[Row] = []
    lines: list[Row] = []
    best: dict[bool, list[Row]] = {True: [], False: []}
    for s in slices:
        dots += [
            {"params": n, "loss": v, "slice": s["label"],
             "tip": f"{s['label']} {fixed}: {count(n)} params, loss {v:.3f}"}
            for n, v in zip(s["params"], s["loss"], strict=True)
        ]  # fmt: skip
        lines += [
            {"params": n, "loss": v, "slice": s["label"]}
            for n, v in zip(s["curve_params"], s["curve_loss"], strict=True)
        ]
        if s["best_params"] is not None and s["best_loss"] is not None:
            tip = (
                f"{s['label']}: least loss {s['best_loss']:.3f} at {count(s['best_params'])} params"
            )
            row: Row = {"params": s["best_params"], "loss": s["best_loss"], "tip": tip}
            best[bool(s["bracketed"])].append(row)
    layers = [layer(lines, "line", "slice", x=x, y=y, color=color)] if lines else []
    layers.append(layer(dots, "point", "run", x=x, y=y, color=color))
    for bracketed, style in ((True, "best"), (False, "unbracketed")):
        if best[bracketed]:
            look = {"shape": "diamond", "size": 90}
            layers.append(layer(best[bracketed], "point", style, mark=look, x=x, y=y))
    found = "; ".join(str(row["tip"]) for row in best[True]) or "no minimum is bracketed"
    return figure("isoFLOP valley", f"Loss against params. Bracketed minima: {found}.", layers)


def optimum(
    *,
    quantity: str,
    flops: Sequence[float],
    values: Sequence[float],
    coefficient: float,
    exponent: float,
) -> Figure:
    """The best params or tokens against compute, with the power law through them."""
    grid = [min(flops), max(flops)]
    line: list[Row] = [{"flops": f, "value": coefficient * f**exponent} for f in grid]
    on_line = [coefficient * f**exponent for f in grid]
    x = {"field": "flops", **log_axis(flops, "training compute (FLOPs)", POWER)}
    y = {"field": "value", **log_axis([*values, *on_line], f"best {quantity}", COUNT)}
    dots: list[Row] = [
        {"flops": f, "value": v, "tip": f"{show(f, 'flops', 2)} FLOPs: {count(v)} {quantity}"}
        for f, v in zip(flops, values, strict=True)
    ]
    layers = [
        layer(line, "line", "power", x=x, y=y),
        layer(dots, "point", "best", mark={"shape": "diamond", "size": 70}, x=x, y=y),
    ]
    description = f"Best {quantity} grow as compute to the power {exponent:.3f}."
    return figure(f"best {quantity}", description, layers, height=230)


def local_slopes(*, steps: Sequence[Mapping], loss_unit: str) -> Figure:
    """Fall of the loss per doubling of tokens, a line for each size; a rise marks a phase change.

    A step has params, tokens_from, tokens_to, drop, abrupt.
    """
    middle = [math.sqrt(s["tokens_from"] * s["tokens_to"]) for s in steps]
    x = {"field": "tokens", **log_axis(middle, "tokens", COUNT)}
    drops = [*(s["drop"] for s in steps), 0.0]
    y = {"field": "drop", **linear_axis(drops, f"fall per doubling ({loss_unit})", NUMBER)}
    labels, order = groups([s["params"] for s in steps])
    rows: list[Row] = [
        {"tokens": t, "drop": s["drop"], "size": g, "abrupt": s["abrupt"],
         "tip": f"{g} params, {count(s['tokens_from'])} to {count(s['tokens_to'])} tokens: "
         f"{s['drop']:.3f}{', abrupt' if s['abrupt'] else ''}"}
        for t, s, g in zip(middle, steps, labels, strict=True)
    ]  # fmt: skip
    color = {"field": "size", **colours(order, "params")}
    abrupt = [row for row in rows if row["abrupt"]]
    layers = [
        layer(rows, "line", "slice", x=x, y=y, color=color),
        layer(rows, "point", "run", x=x, y=y, color=color),
    ]
    if abrupt:
        look = {"shape": "diamond", "size": 110}
        layers.append(layer(abrupt, "point", "abrupt", mark=look, x=x, y=y))
    told = "; ".join(str(row["tip"]) for row in abrupt) or "none is abrupt"
    return figure(
        "local slopes", f"Fall of the loss per doubling of tokens: {told}.", layers, height=300
    )
