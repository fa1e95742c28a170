"""The sections that put one model beside others: density, and trial and error beside clean data."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from isoflop.page.element import Child, node
from isoflop.page.numerals import count, minus, percent, significant
from isoflop.page.parts import Head, noted, section, soft, table
from isoflop.page.report import Report
from isoflop.page.rungs import Density, Gain, Tried

MISSING = "–"
VERDICTS = {"worth more": "hit", "worth less": "miss", "undecided": "sealed"}
BEYOND = {"below": "below the ladder", "above": "above the ladder"}


def density(report: Report) -> Element | None:
    """How large a model of the reference ladder would have to be to do as well."""
    if not report.densities:
        return None
    heads = [
        Head(text="model", kind="name"), Head(text="by", kind="short"),
        Head(text="density", note="and interval"),
        Head(text="as good as", note="params of the ladder"), Head(text="params", note="own"),
        Head(text="measured", kind="name"),
    ]  # fmt: skip
    lead = (
        "Density is the size of the reference ladder's model that does as well, over the model's "
        "own size. By loss it is read off the pool of laws at as many tokens, by questions off "
        "the accuracy of the ladder's models. Where the ladder does not reach, nothing is said, "
        "and an end of an interval is beyond."
    )
    rows = [_density(row) for row in report.densities]
    return section(
        "density",
        "Density against the reference ladder",
        node("p", None, lead),
        table("Density, dimension by dimension", heads, rows),
    )


def _density(row: Density) -> list[Child]:
    ends = ["beyond" if v is None else significant(v, 3) for v in (row.low, row.high)]
    span = f"{percent(row.level, digits=0)}: {ends[0]} to {ends[1]}"
    found: list[Child] = ["not identified", BEYOND.get(row.beyond, MISSING)]
    if row.density is not None and row.effective is not None:
        found = [noted(significant(row.density, 3), span), count(row.effective)]
    return [row.model, row.by, *found, count(row.params), noted(row.measured, row.note)]


def tried(report: Report) -> Element | None:
    """L2: whether trial and error taught more than clean solutions of as many tokens."""
    if not report.tried:
        return None
    parts: list[Child] = []
    for shown in report.tried:
        parts += _tried(shown)
    return section("tried", "Trial and error against clean solutions", *parts)


def _tried(shown: Tried) -> list[Child]:
    level = percent(shown.level, digits=0)
    heads = [
        Head(text="training", kind="name"), Head(text="measure", kind="name"),
        Head(text="verdict", kind="short"), Head(text="difference", note=f"{level} interval"),
        Head(text="clean"), Head(text="this arm"),
        *(Head(text=fact.name, note="difference") for fact in shown.gains[0].by_size),
    ]  # fmt: skip
    lead = (
        f"{count(shown.tokens)} tokens each, sizes {', '.join(shown.sizes)}, {shown.seeds} seeds, "
        f"{shown.questions} questions; intervals hold {level} over seeds and questions."
    )
    return [
        node("h3", None, node("bdi", None, shown.name)),
        soft(lead),
        table("Trial and error against clean solutions", heads, [_gain(g) for g in shown.gains]),
        soft(shown.note) if shown.note else None,
    ]


def _gain(gain: Gain) -> list[Child]:
    word = node("span", {"class": VERDICTS.get(gain.verdict, "sealed")}, gain.verdict)
    span = minus(f"{gain.low:+.3f} to {gain.high:+.3f}")
    return [
        gain.arm, gain.measure, word, noted(minus(f"{gain.difference:+.3f}"), span),
        f"{gain.clean:.3f}", f"{gain.value:.3f}", *(minus(fact.value) for fact in gain.by_size),
    ]  # fmt: skip
