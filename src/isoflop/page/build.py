"""A report as one self-contained HTML file, and back."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree.ElementTree import Element

from isoflop.page import appendix, sections
from isoflop.page.element import html, node
from isoflop.page.report import Report, report_from_json, report_json

HERE = Path(__file__).parent
EMBEDDED = re.compile(r'<script type="application/json" id="report">(.*?)</script>', re.DOTALL)
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def build_page(report: Report) -> str:
    """The page's HTML: no request to anywhere, no script but its own, all names escaped."""
    style = (HERE / "style.css").read_text(encoding="utf-8")
    script = (HERE / "script.js").read_text(encoding="utf-8")
    data = {"type": "application/json", "id": "report"}
    page = node(
        "html",
        {"lang": "en"},
        node(
            "head",
            None,
            node("meta", {"charset": "utf-8"}),
            node("meta", policy(style, script)),
            node("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
            node("meta", {"name": "generator", "content": "isoflop"}),
            node("title", None, report.title),
            raw("style", style),
        ),
        node(
            "body",
            None,
            node("a", {"class": "skip", "href": "#main"}, "Skip to the answer"),
            header(report),
            node("main", {"id": "main"}, *content(report)),
            node("footer", None, node("p", None, "Written by isoflop. This file is complete: it "
                 "asks nothing of any server and holds its own data.")),
            node("div", {"id": "tip", "role": "tooltip", "hidden": "hidden"}),
            raw("script", embedded(report), data),
            raw("script", script),
        ),
    )  # fmt: skip
    return "<!doctype html>\n" + html(page) + "\n"


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
        node("button", {"id": "theme", "type": "button", "hidden": "hidden"}, "Theme"),
    )


def content(report: Report) -> list[Element]:
    """Opening, contents, and the sections that the report has data for."""
    made = [
        sections.curve(report),
        sections.valley(report),
        sections.backtest(report),
        sections.ledger(report),
        appendix.laws(report),
        appendix.noise(report),
        appendix.runs(report),
        appendix.reproduce(report),
    ]
    shown = [part for part in made if part is not None]
    links = [node("a", {"href": f"#{part.get('id')}"}, part[0].text or "") for part in shown]
    contents = node("nav", {"aria-label": "Sections"}, *links)
    return [*sections.opening(report), contents, *shown]


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


def policy(style: str, script: str) -> dict[str, str]:
    """Nothing may load, run or style the page but the two texts that it was written with."""
    content = (
        f"default-src 'none'; style-src '{digest(style)}'; script-src '{digest(script)}'; "
        "base-uri 'none'; form-action 'none'"
    )
    return {"http-equiv": "Content-Security-Policy", "content": content}


def digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode()
