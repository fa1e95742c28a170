"""The sections of the rungs above pretraining, of arms compared and of costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from xml.etree.ElementTree import Element

from isoflop import figures
from isoflop.page.element import Child, node
from isoflop.page.numerals import count, duration, minus, percent, power, short, significant
from isoflop.page.parts import Head, drawing, facts, fold, noted, section, soft, table
from isoflop.page.report import Report
from isoflop.page.rungs import Arms, Costs, Knowing, Learning, Line, Samples

MISSING = "–"
CHOICES = {
    "pass": "any of them right", "majority": "majority vote", "weighted": "weighted vote",
    "best": "best score",
}  # fmt: skip
CELLS = {
    "known_known": ("Known known", "claims and is right"),
    "unknown_unknown": ("Unknown unknown", "claims and is wrong"),
    "known_unknown": ("Known unknown", "stays silent and would be wrong"),
    "unknown_known": ("Unknown known", "stays silent and would be right"),
}
DECISIONS = {"promote": "hit", "keep": "miss", "undecided": "sealed"}


def samples(report: Report) -> Element | None:
    """L2: what more samples an answer buy."""
    if not report.samples:
        return None
    parts: list[Child] = []
    for shown in report.samples:
        parts += _samples(shown)
    return section("samples", "Thinking: accuracy by samples", *parts)


def _samples(shown: Samples) -> list[Child]:
    lines = {line.name: _plain(line) for line in shown.lines}
    words = {name: CHOICES.get(name, name) for name in lines}
    heads = [Head(text="samples"), *(Head(text=words[name]) for name in lines)]
    heads += [
        Head(text=word, note="an answer")
        for word, one in _units(shown)
        if one is not None
    ]  # fmt: skip
    rows: list[list[Child]] = []
    for place, k in enumerate(shown.lines[0].x):
        row: list[Child] = [f"{k:g}", *(_share(line, place) for line in shown.lines)]
        if shown.seconds is not None:
            row.append(duration(k * shown.seconds))
        if shown.dollars is not None:
            row.append(f"${short(k * shown.dollars)}")
        if shown.tokens is not None:
            row.append(count(k * shown.tokens))
        rows.append(row)
    level = percent(shown.level, digits=0)
    lead = f"{shown.questions} questions; bars and brackets hold {level} over resampled questions."
    return [
        node("h3", None, node("bdi", None, shown.name)),
        soft(lead),
        drawing(figures.samples(lines=lines, words=words), shown.note),
        table("Accuracy and cost by number of samples", heads, rows),
    ]


def _units(shown: Samples) -> list[tuple[str, float | None]]:
    return [("time", shown.seconds), ("cost", shown.dollars), ("tokens", shown.tokens)]


def _plain(line: Line) -> Mapping[str, Sequence[float]]:
    ends = {"low": line.low, "high": line.high} if line.low else {}
    return {"x": line.x, "y": line.y, **ends}


def _share(line: Line, place: int) -> str:
    if place >= len(line.y):
        return MISSING
    text = percent(line.y[place])
    if not line.low:
        return text
    return f"{text} ({100 * line.low[place]:.0f}–{percent(line.high[place], digits=0)})"


def learning(report: Report) -> Element | None:
    """L3: reward against the compute of RL, and how its sealed forecast did."""
    if not report.learning:
        return None
    parts: list[Child] = []
    for shown in report.learning:
        parts += _learning(shown)
    return section("learning", "Learning from trial and error", *parts)


def _learning(shown: Learning) -> list[Child]:
    figure = figures.reward(
        known=_plain(shown.known),
        later=None if shown.later is None else _plain(shown.later),
        forecast=None if shown.forecast is None else _plain(shown.forecast),
        titles=(shown.compute, shown.reward),
    )
    heads = [
        Head(text="compute"), Head(text=shown.reward), Head(text="forecast"),
        Head(text=percent(shown.level, digits=0)),
    ]  # fmt: skip
    rows: list[list[Child]] = [
        [power(c), f"{r:.3f}", MISSING, MISSING]
        for c, r in zip(shown.known.x, shown.known.y, strict=True)
    ]
    if shown.forecast is not None:
        later = MISSING if shown.later is None else ""
        for i, c in enumerate(shown.forecast.x):
            seen = later or f"{shown.later.y[i]:.3f}"  # type: ignore[union-attr]
            span = f"{shown.forecast.low[i]:.3f} to {shown.forecast.high[i]:.3f}"
            rows.append([power(c), seen, f"{shown.forecast.y[i]:.3f}", span])
    parts: list[Child] = [
        node("h3", None, node("bdi", None, shown.name)),
        node("p", None, *_verdict(shown)),
        drawing(figure, shown.note),
    ]
    return [*parts, fold("Numbers of this figure", table("Reward by compute", heads, rows))]


def _verdict(shown: Learning) -> list[Child]:
    if shown.forecast is None:
        return ["No forecast was sealed for this curve."]
    words: list[Child] = [
        f"Sealed at {shown.sealed_at} (", node("code", None, shown.seal[:12]), "), from the "
        f"{len(shown.known.x)} points before the dotted line",
    ]  # fmt: skip
    if shown.ceiling is not None:
        low, middle, high = shown.ceiling
        words.append(f"; ceiling {middle:.3f} (90%: {low:.3f} to {high:.3f})")
    if shown.held is None:
        return [*words, ". ", node("span", {"class": "sealed"}, "Not opened yet.")]
    style = "hit" if shown.held >= shown.level - 0.1 else "miss"
    held = f"{percent(shown.held, digits=0)} of the later points lie in the "
    error = (
        ""
        if shown.error is None
        else f"; at the last the median was off by {minus(f'{shown.error:+.3f}')}"
    )
    return [*words, ". ", node("span", {"class": style},
            f"{held}{percent(shown.level, digits=0)} band"), f"{error}."]  # fmt: skip


def knowing(report: Report) -> Element | None:
    """L4: the quadrants, the risk at every coverage, routing, abstention, what to do when."""
    if not report.knowing:
        return None
    parts: list[Child] = []
    for shown in report.knowing:
        parts += _knowing(shown)
    return section("knowing", "Self-knowledge", *parts)


def _knowing(shown: Knowing) -> list[Child]:
    level = percent(shown.level, digits=0)
    parts: list[Child] = [
        node("h3", None, node("bdi", None, shown.name)),
        soft(f"{shown.questions} questions; intervals hold {level}."),
    ]
    if shown.quadrants:
        parts.append(_quadrants(shown))
    drawn = []
    routed = bool(shown.router) and shown.weak is not None and shown.strong is not None
    if shown.risk is not None:
        figure = figures.risk_coverage(line=_plain(shown.risk))
        drawn.append(drawing(figure, "Most confident first.", half=routed))
    if shown.router and shown.weak is not None and shown.strong is not None:
        figure = figures.router(
            lines={line.name: _plain(line) for line in shown.router},
            weak=shown.weak,
            strong=shown.strong,
        )
        drawn.append(drawing(figure, "Each question goes to the smaller or the larger model.",
                             half=shown.risk is not None))  # fmt: skip
    parts.append(node("div", {"class": "pair"}, *drawn) if len(drawn) > 1 else None)
    parts += drawn if len(drawn) == 1 else []
    if shown.dimensions:
        parts += _dimensions(shown)
    lists = (
        ("Scores", shown.scores), ("Abstention", shown.promises),
        ("What to do at which confidence", shown.bands), ("Not in these data", shown.left_out),
    )  # fmt: skip
    for title, items in lists:
        if items:
            parts += [node("h4", None, title), facts(items)]
    return parts


def _quadrants(shown: Knowing) -> Element:
    """Two by two: claimed or silent, right or wrong."""
    by = {q.name: q for q in shown.quadrants}
    cells = []
    for name, (title, meaning) in CELLS.items():
        if name not in by:
            continue
        q = by[name]
        span = f"{percent(q.low)} to {percent(q.high)}"
        cells.append(
            node("li", {"class": name}, node("strong", None, percent(q.share)), f" {title}",
                 node("small", None, f"{meaning}; {span}"))
        )  # fmt: skip
    claim = (
        "" if shown.threshold is None else f"A claim is a confidence of {shown.threshold:g} or more"
    )
    return node("figure", None, node("ul", {"class": "quadrants"}, *cells),
                node("figcaption", None, f"{claim}."))  # fmt: skip


def _dimensions(shown: Knowing) -> list[Child]:
    """Knowledge, reasoning and creation side by side."""
    heads = [Head(text="", kind="name"), *(Head(text=d.name) for d in shown.dimensions)]
    rows: list[list[Child]] = [["questions", *(str(d.questions) for d in shown.dimensions)]]
    for name, (title, _) in CELLS.items():
        cells = [next(q for q in d.quadrants if q.name == name) for d in shown.dimensions]
        spans = [f"{percent(q.low)} to {percent(q.high)}" for q in cells]
        rows.append([title, *map(noted, (percent(q.share) for q in cells), spans)])
    for name in dict.fromkeys(fact.name for d in shown.dimensions for fact in d.scores):
        found = [{f.name: f for f in d.scores}.get(name) for d in shown.dimensions]
        rows.append([name, *(MISSING if f is None else noted(f.value, f.note) for f in found)])
    lacking = " and ".join(shown.missing)
    return [
        table("Knowledge, reasoning and creation apart", heads, rows, slim=True),
        soft(f"No questions on {lacking} were asked.") if lacking else None,
    ]


def arms(report: Report) -> Element | None:
    """Recipes compared."""
    if not report.arms:
        return None
    parts: list[Child] = []
    for shown in report.arms:
        parts += _arms(shown)
    return section("arms", "Arms compared", *parts)


def _arms(shown: Arms) -> list[Child]:
    said = {"promote": f"promote {shown.b}", "keep": f"keep {shown.a}",
            "undecided": "undecided: more runs, or a higher risk, are needed"}  # fmt: skip
    line, level = shown.speed_up, percent(shown.level, digits=0)
    heads = [Head(text="FLOPs"), Head(text="speed-up"), Head(text=level)]
    rows: list[list[Child]] = [
        [power(c), f"{f:.3g}×", f"{low:.3g}× to {high:.3g}×"]
        for c, f, low, high in zip(line.x, line.y, line.low, line.high, strict=True)
    ]
    middle, low, high = shown.slope
    figure = figures.speed_up(
        line=_plain(line), worth=shown.worth, title="speed-up in compute (factor)"
    )
    return [
        node("h3", None, node("bdi", None, shown.b), " over ", node("bdi", None, shown.a)),
        node(
            "p", {"class": "outcome"},
            node("span", {"class": DECISIONS.get(shown.decision, "sealed")},
                 node("bdi", None, said.get(shown.decision, shown.decision))),
            f": the chance of more than {shown.worth:g}× at {power(line.x[-1])} FLOPs is "
            f"{percent(shown.probability)}, the risk taken {percent(shown.risk, digits=0)}.",
        ),
        node("p", None, f"Over a decade of compute the speed-up changes {significant(middle, 3)}"
             f"-fold ({level}: {significant(low, 3)} to {significant(high, 3)}): {shown.trend}."),
        drawing(figure),
        table("Speed-up in compute", heads, rows, slim=True),
        facts(shown.laws),
        *[node("p", {"class": "warn"}, text) for text in shown.warnings],
    ]  # fmt: skip


def costs(report: Report) -> Element | None:
    """What was spent or would be, and what the next unit buys on which rung."""
    shown = report.costs
    if shown is None or not (shown.rows or shown.steps or shown.facts):
        return None
    return section("costs", "Costs", *_steps(shown), *_rows(shown), facts(shown.facts))


def _steps(shown: Costs) -> list[Child]:
    if not shown.steps:
        return []
    heads = [Head(text="rung", kind="short"), Head(text="gain per FLOP"), Head(text="interval"),
             Head(text="", kind="name")]  # fmt: skip
    rows: list[list[Child]] = [
        [s.rung, power(s.gain), f"{power(s.low)} to {power(s.high)}", s.note] for s in shown.steps
    ]
    return [table("What the next FLOP buys, rung by rung", heads, rows)]


def _rows(shown: Costs) -> list[Child]:
    if not shown.rows:
        return []
    heads = [
        Head(text="what", kind="name"), Head(text="FLOPs"), Head(text="time"),
        Head(text="dollars"), Head(text="80%"), Head(text="rests on", kind="name"),
    ]  # fmt: skip
    rows: list[list[Child]] = [
        [
            row.what,
            MISSING if row.flops is None else power(row.flops),
            MISSING if row.hours is None else f"{short(row.hours)} {row.unit}",
            MISSING if row.dollars is None else f"${short(row.dollars)}",
            MISSING if row.low is None or row.high is None
            else f"${short(row.low)} to ${short(row.high)}",
            row.note or MISSING,
        ]
        for row in shown.rows
    ]  # fmt: skip
    return [table("Spent and to be spent", heads, rows)]
