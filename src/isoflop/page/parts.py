"""The parts that every section is made of: tables, figures with their keys, lists of facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.etree.ElementTree import Element

from isoflop.figures import grammar
from isoflop.page.element import Child, node
from isoflop.page.report import Fact
from isoflop.page.svg import ABOVE, BELOW, render

MEANING = {
    "median": "median",
    "estimate": "estimate",
    "draw": "optimum of one draw",
    "chosen": "this budget",
    "known": "before the seal",
    "power": "fitted power law",
    "band50": "50%",
    "band90": "90%",
    "band95": "95%",
    "member": "each law of the pool, stronger with weight",
    "interval50": "50%",
    "interval90": "90%",
    "interval95": "95%",
    "forecast": "forecast",
    "observed": "observed",
    "best": "bracketed minimum",
    "abrupt": "abrupt",
    "unbracketed": "minimum at the edge of the runs",
}
NAMED = {"forecast", "observed"}  # words beside these marks in the loss curve


@dataclass(frozen=True, kw_only=True)
class Head:
    """The head of a table's column; `kind` is the class of its cells."""

    text: str
    note: str = ""
    kind: str = "number"


def section(anchor: str, title: str, *children: Child) -> Element:
    return node("section", {"id": anchor}, node("h2", None, title), *children)


def fold(summary: str, *children: Child) -> Element:
    """What is there for those who ask; paper shows it unfolded."""
    return node("details", None, node("summary", None, summary), *children)


def soft(text: str) -> Element:
    return node("p", {"class": "soft"}, text)


def cell(content: Child, kind: str) -> Element:
    """A table cell; names are set apart from the direction of the text around them."""
    if kind == "name" and isinstance(content, str):
        content = node("bdi", None, content)
    return node("td", {"class": kind}, content)


def noted(value: Child, note: str) -> Child:
    """A value with its interval or meaning in small letters under it."""
    return node("div", None, value, node("small", None, note)) if note else value


def table(
    caption: str,
    heads: Sequence[Head],
    rows: Sequence[Sequence[Child]],
    *,
    slim: bool = False,
    sortable: bool = False,
) -> Element:
    """A table that scrolls inside its own box; its first column heads the rows."""
    top = [
        node(
            "th",
            {"scope": "col", "class": head.kind},
            head.text,
            node("small", None, head.note) if head.note else None,
        )
        for head in heads
    ]
    body = []
    for row in rows:
        first = node("bdi", None, row[0]) if isinstance(row[0], str) else row[0]
        label = node("th", {"scope": "row", "class": heads[0].kind}, first)
        rest = [cell(c, h.kind) for c, h in zip(row[1:], heads[1:], strict=True)]
        body.append(node("tr", None, label, *rest))
    grid = node(
        "table",
        {"class": "slim" if slim else "sortable" if sortable else None},
        node("caption", None, caption),
        node("thead", None, node("tr", None, *top)),
        node("tbody", None, *body),
    )
    box = {"class": "scroll", "tabindex": 0, "role": "region", "aria-label": caption}
    return node("div", box, grid)


def drawing(figure: Mapping[str, Any], caption: str = "", *, half: bool = False) -> Element:
    """A figure drawn for a wide and for a narrow page, with its key and caption."""
    height = figure["height"] + BELOW + ABOVE
    wide, narrow = (420 if half else 864, height), (358, min(height, 330))
    return node(
        "figure",
        None,
        key(figure),
        render(figure, width=wide[0], height=wide[1], style="wide"),
        render(figure, width=narrow[0], height=narrow[1], style="narrow"),
        node("figcaption", None, caption) if caption else None,
    )


def key(figure: Mapping[str, Any]) -> Element:
    """What the colours and marks of a figure mean; marks that the figure names are left out."""
    color = next((c for la in figure["layer"] if (c := la["encoding"].get("color"))), None)
    hues = []
    if color is not None:
        hues.append(node("li", None, f"{color['title']}:"))
        scale = color["scale"]
        for hue in dict.fromkeys(scale["range"]):
            same = [d for d, h in zip(scale["domain"], scale["range"], strict=True) if h == hue]
            look = {"class": f"run k{grammar.SIZES.index(hue)}", "cx": 11, "cy": 7, "r": 5}
            label = same[0] if len(same) == 1 else f"{same[0]}–{same[-1]}"
            hues.append(node("li", None, swatch(node("circle", look)), label))
    styles = dict.fromkeys(la["mark"]["style"] for la in figure["layer"])
    shown = [s for s in styles if s in MEANING and not ("measured" in styles and s in NAMED)]
    marks = [node("li", None, swatch(sample(s)), MEANING[s]) for s in shown]
    lists = [node("ul", {"class": "key"}, *items) for items in (hues, marks) if items]
    return node("div", None, *lists)


def swatch(mark: Element) -> Element:
    return node("svg", {"viewBox": "0 0 22 14", "aria-hidden": "true"}, mark)


def sample(style: str) -> Element:
    """A small specimen of a mark."""
    if style.startswith("band"):
        return node("rect", {"class": style, "x": 1, "y": 1, "width": 20, "height": 12})
    if style in ("draw", "known"):
        return node("circle", {"class": style, "cx": 11, "cy": 7, "r": 3.5})
    if style in ("observed", "abrupt", "best", "unbracketed"):
        return node("path", {"class": style, "d": "M11 1l6 6l-6 6l-6 -6z"})
    if style == "forecast":
        return node("circle", {"class": style, "cx": 11, "cy": 7, "r": 4.5})
    return node("line", {"class": style, "x1": 1, "y1": 7, "x2": 21, "y2": 7})


def facts(items: Sequence[Fact]) -> Element | None:
    """A list of names and values."""
    pairs = []
    for item in items:
        note = node("small", None, f" {item.note}") if item.note else None
        value = node("dd", None, node("bdi", None, item.value), note)
        pairs += [node("dt", None, node("bdi", None, item.name)), value]
    return node("dl", None, *pairs) if pairs else None


def verdict(word: str) -> Element:
    return node("span", {"class": word}, word)
