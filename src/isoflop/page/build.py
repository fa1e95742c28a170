"""A report as one self-contained HTML file, and back."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree.ElementTree import Element

from isoflop.page import appendix, beside, higher, opening, sections
from isoflop.page.element import html, node
from isoflop.page.report import Report, report_from_json, report_json

HERE = Path(__file__).parent
EMBEDDED = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def build_page(report: Report) -> str:
    """The page's HTML: no request to anywhere, no script but its own, all names escaped."""
    skip = node("a", {"class": "skip", "href": "#main"}, "Skip to the answer")
    main = node("main", {"id": "main"}, *content(report))
    end = "This file is complete: it asks nothing of any server and holds its own data."
    scripts = script_of(report)
    return document(report.title, scripts, [skip, header(report), main], end=end, report=report)


def build_live(title: str, report: Report | None) -> str:
    """The page as `serve` shows it: where the runs stand, and the report as far as there is one."""
    runs = node("section", {"id": "live"}, node("h2", None, "Runs as they stand"),
                node("p", {"id": "live-state", "role": "status"}, "Waiting for the first news."),
                node("div", {"class": "scroll", "tabindex": 0, "role": "region",
                             "aria-label": "Runs as they stand"}, node("table", None)))  # fmt: skip
    waiting = node("h1", {"id": "answer"}, node("bdi", None, title), ": no answer yet")
    parts = [waiting, runs] if report is None else content(report)
    if report is not None:
        parts.insert(next(k for k, p in enumerate(parts) if p.get("id") == "tabs"), runs)
    top = node("header", None, node("p", None, node("bdi", None, title)), theme())
    scripts = (script_of(report) if report else joined(["script"])) + joined(["live"])
    main = node("main", {"id": "main"}, *parts)
    body = [top if report is None else header(report), main]
    end = "Shown by isoflop serve, which only reads."
    return document(title, scripts, body, end=end, report=report, connect="'self'")


def document(
    title: str,
    script: str,
    body: Sequence[Element],
    *,
    end: str,
    report: Report | None,
    connect: str = "",
) -> str:
    """A whole page around its body, with the report's data inside."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    script = '"use strict";\n' + script
    data = {"type": "application/json", "id": "report"}
    page = node(
        "html",
        {"lang": "en"},
        node(
            "head",
            None,
            node("meta", {"charset": "utf-8"}),
            node("meta", policy(style, script, connect)),
            node("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            node("meta", {"name": "generator", "content": "isoflop"}),
            node("title", None, title),
            raw("style", style),
        ),
        node(
            "body",
            None,
            *body,
            node("footer", None, node("p", None, f"Written by isoflop. {end}")),
            node("div", {"id": "tip", "role": "tooltip", "hidden": "hidden"}),
            None if report is None else raw("script", embedded(report), data),
            raw("script", script),
        ),
    )
    return "<!doctype html>\n" + html(page) + "\n"


def script_of(report: Report) -> str:
    """The page's own scripts as one, those of the sliders only where there are sliders."""
    names = ["script", "tabs"] + ([] if report.outlook is None else ["answer", "plot", "dials"])
    return joined(names)


def joined(names: Sequence[str]) -> str:
    """Scripts in one block of their own."""
    parts = [(HERE / f"{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join(["{", *parts, "}", ""])


def write_page(report: Report, path: str | Path) -> Path:
    """Write the page so that a reader sees the old file or the new one, never a part."""
    path = Path(path)
    text = build_page(report).encode("utf-8")
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def read_page(path: str | Path) -> Report:
    """The report that a page was written from. Raises ValueError where the file holds none."""
    found = EMBEDDED.search(Path(path).read_text(encoding="utf-8"))
    if found is None:
        raise ValueError(f"{path} holds no isoflop report; give a page that isoflop wrote")
    return report_from_json(found.group(1))


def header(report: Report) -> Element:
    return node(
        "header",
        None,
        node("p", None, node("bdi", None, report.title), " · ", node("bdi", None, report.created)),
        theme(),
    )


def theme() -> Element:
    return node("button", {"id": "theme", "type": "button", "hidden": "hidden"}, "Theme")


def content(report: Report) -> list[Element]:
    """Opening, the two figures that everything hangs on, and a tab for each part with data."""
    figures = [sections.curve(report), opening.split(report)]
    shown = [part for part in figures if part is not None]
    tabs: list[Element] = []
    panels: list[Element] = []
    for name, title, parts in tabs_of(report):
        inside = [part for part in parts if part is not None]
        if inside:
            tabs.append(node("a", {"id": f"tab-{name}", "href": f"#{name}-panel"}, title))
            panels.append(node("div", {"id": f"{name}-panel", "class": "panel"}, *inside))
    contents = node("nav", {"id": "tabs", "aria-label": "Parts"}, *tabs)
    return [*sections.opening(report), *shown, contents, *panels]


def tabs_of(report: Report) -> list[tuple[str, str, list[Element | None]]]:
    """Name, title and sections of every tab there can be."""
    return [
        ("l1", "L1 Loss", [sections.valley(report), appendix.laws(report), appendix.noise(report)]),
        ("l2", "L2 Thinking", [higher.samples(report), beside.tried(report)]),
        ("l3", "L3 Learning", [higher.learning(report)]),
        ("l4", "L4 Knowing", [higher.knowing(report)]),
        ("dense", "Density", [beside.density(report)]),
        ("compared", "Arms", [higher.arms(report)]),
        ("all", "Runs", [appendix.runs(report)]),
        ("tested", "Backtest", [sections.backtest(report)]),
        ("sealed", "Ledger", [sections.ledger(report)]),
        ("paid", "Costs", [higher.costs(report)]),
        ("method", "Method", [appendix.reproduce(report)]),
    ]


def raw(tag: str, text: str, attributes: Mapping[str, object] | None = None) -> Element:
    """A script or style, whose text is written as it is: ours, or escaped by `embedded`."""
    element = node(tag, attributes)
    element.text = text
    return element


def embedded(report: Report) -> str:
    """The report as JSON that no parser of HTML or JavaScript can leave: ASCII, no <, >, &."""
    text = report_json(report)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    return text


def policy(style: str, script: str, connect: str) -> dict[str, str]:
    """Nothing may load, run or style the page but the two texts that it was written with."""
    content = (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        + (f"connect-src {connect}; " if connect else "")
        + "base-uri 'none'; form-action 'none'"
    )
    return {"http-equiv": "Content-Security-Policy", "content": content}


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
