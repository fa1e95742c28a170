# ruff: noqa: F811 (a fixture imported by name)
"""The page in a real browser: silent, complete, readable at every width, in light and dark."""

import dataclasses

import pytest

from page_browser import ARTIFACTS, COLLISIONS, FAINT, NEEDS_CHROMIUM, browser, visit  # noqa: F401
from page_reports import ladder, sweep
from page_rungs import everything
from test_page import HOSTILE, listed, made_names, named

REPORTS = {"ladder": ladder, "sweep": sweep, "everything": everything}

pytestmark = NEEDS_CHROMIUM


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_readable(visit, name, width, scheme):
    page = visit(REPORTS[name](), width=width, scheme=scheme)
    ARTIFACTS.mkdir(exist_ok=True)
    for tab in page.locator("#tabs a").all():
        tab.click()
        place = ARTIFACTS / f"{name}-{width}-{scheme}-{tab.inner_text().replace(' ', '-')}.png"
        if name == "everything":
            page.screenshot(path=place, full_page=True)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        assert page.evaluate(COLLISIONS) == []
        assert page.evaluate(FAINT) == []
        drawn = page.locator("figure:visible:has(svg[role=img])").count()
        assert page.locator("figure svg[role=img]:visible").count() == drawn


@pytest.mark.parametrize("width", [320, 560, 640, 641, 768, 1920])
def test_no_width_overflows_or_covers_words(visit, width):
    page = visit(everything(), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(COLLISIONS) == []


# Marks of the chosen budget that lie on the name of a law, wherever the slider stands.
COVERED = """() => {
  const input = document.getElementById("dial-budget"), faults = [];
  for (let step = 0; step <= 40; step++) {
    input.value = Number(input.min) + step / 40 * (input.max - input.min);
    input.dispatchEvent(new Event("input", { bubbles: true }));
    const svg = document.querySelector("#curve figure > svg.wide");
    const names = [...svg.querySelectorAll("text.endlabel")].map((t) => t.getBoundingClientRect());
    for (const m of svg.querySelectorAll(".chosen")) {
      const a = m.getBoundingClientRect();
      if (names.some((b) => a.right > b.left && a.bottom > b.top && a.top < b.bottom)) {
        faults.push(input.value);
      }
    }
  }
  return faults;
}"""


def test_the_marker_of_the_budget_never_lies_on_the_name_of_a_law(visit):
    page = visit(everything())
    assert page.locator("#curve svg.wide text.endlabel").count() == 5
    assert page.evaluate(COVERED) == []
    edge = "Number(document.querySelector('#curve svg.wide').dataset.x.split(' ')[4])"
    names = page.locator("#curve svg.wide text.endlabel").all()
    assert min(float(name.get_attribute("x")) for name in names) >= page.evaluate(edge) + 5


def test_the_first_screen_of_a_phone_holds_the_sentence(visit):
    page = visit(ladder(), width=390)
    box = page.locator("h1").bounding_box()
    assert box["y"] + box["height"] < 500


def test_the_button_changes_the_theme(visit):
    page = visit(ladder(), scheme="dark")
    paper = "getComputedStyle(document.body).backgroundColor"
    button = page.locator("#theme")
    assert (page.evaluate(paper), button.inner_text()) == ("rgb(20, 23, 26)", "Light")
    button.click()
    assert (page.evaluate(paper), button.inner_text()) == ("rgb(255, 255, 255)", "Dark")
    assert page.evaluate(FAINT) == []


def test_a_dot_tells_its_numbers_under_a_pointer(visit):
    page = visit(ladder())
    page.locator("#curve svg.wide circle.run").first.hover()
    assert page.locator("#tip").inner_text() == (
        "d32-500k: 36.9k params, 500k tokens, 1.1e11 FLOPs, loss 2.532"
    )
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_a_dot_tells_its_numbers_under_a_finger(visit):
    page = visit(ladder(), width=390, touch=True)
    page.locator("#curve svg.narrow circle.run").first.tap()
    tip = page.locator("#tip").bounding_box()
    assert tip["x"] >= 0
    assert tip["x"] + tip["width"] <= 390


def test_the_keyboard_reaches_the_answer_and_every_table(visit):
    page = visit(ladder(), width=390)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
    tables = page.locator(".scroll")
    assert tables.count() == page.locator("[role=region][tabindex='0'][aria-label]").count() > 6


def test_density_and_dimensions_are_tables_a_reader_finds(visit):
    page = visit(everything(), width=390)
    page.locator("#tab-l4").click()
    apart = page.get_by_role("region", name="Knowledge, reasoning and creation apart")
    assert apart.locator("thead th").all_inner_texts()[1:] == ["knowledge", "reasoning"]
    row = apart.locator("tbody tr", has_text="Unknown unknown")
    assert row.locator("td").nth(1).inner_text().split() == ["17.3%", "15.3%", "to", "19.3%"]
    assert page.get_by_text("No questions on creation were asked.").is_visible()
    page.get_by_role("tab", name="Density").click()
    rows = page.locator("#density tbody tr")
    assert rows.count() == 3
    assert rows.nth(0).locator("td").nth(1).inner_text().split("\n") == [
        "1.37",
        "95%: 1.12 to beyond",
    ]
    assert rows.nth(2).locator("td").nth(1).inner_text() == "not identified"
    assert rows.nth(2).locator("td").nth(2).inner_text() == "above the ladder"


def test_a_figure_alone_is_drawn_for_the_whole_width(visit):
    alone = dataclasses.replace(everything().knowing[0], router=(), weak=None, strong=None)
    page = visit(dataclasses.replace(everything(), knowing=(alone,)))
    page.locator("#tab-l4").click()
    svg = page.locator("#knowing svg.wide")
    assert svg.count() == 1
    drawn = svg.bounding_box()["width"]
    assert drawn == pytest.approx(float(svg.get_attribute("viewBox").split()[2]), abs=1)


def test_the_verdict_on_trial_and_error_has_sizes_seeds_and_interval(visit):
    page = visit(everything())
    page.locator("#tab-l2").click()
    assert page.get_by_text("1M tokens each, sizes d64-L2, d64-L4, 3 seeds").is_visible()
    cells = page.locator("#tried tbody tr").first.locator("td").all_inner_texts()
    assert cells[1:] == [
        "worth less", "−0.300\n−0.424 to −0.176", "0.499", "0.199", "−0.210", "−0.390",
    ]  # fmt: skip


def test_the_page_is_whole_without_scripts(visit):
    page = visit(everything(), script=False)
    assert page.locator("figure svg.wide").first.is_visible()
    assert page.locator("#theme").is_hidden()
    assert page.locator("#dials").is_hidden()
    assert page.locator(".panel:visible").count() == page.locator(".panel").count() == 11
    page.screenshot(path=ARTIFACTS / "everything-no-script.png", full_page=True)


def test_paper_is_light_and_holds_the_whole_table(visit):
    page = visit(everything(), width=688, scheme="dark")
    page.emulate_media(media="print")
    page.screenshot(path=ARTIFACTS / "everything-print.png", full_page=True)
    assert page.locator(".panel:visible").count() == 11
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") == 688
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(cut + ".map(e => e.textContent.slice(0, 40))") == []
    assert page.pdf(path=ARTIFACTS / "everything.pdf", format="A4").startswith(b"%PDF")


def test_five_hundred_made_names_leave_the_page_intact(visit):
    names = made_names()
    page = visit(listed(names), width=390)
    assert page.locator("script").count() == 2
    assert page.locator("img, base, meta[http-equiv=refresh], main style, main script").count() == 0
    page.locator("#tab-all").click()
    page.locator("#runs summary").click()
    assert page.locator("#runs tbody tr").count() == 500
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    exact = names.index(HOSTILE)
    assert page.locator("#runs tbody th bdi").nth(exact).text_content() == HOSTILE


@pytest.mark.parametrize("name", [HOSTILE, "a" * 300, "\u202e" * 9, "word " * 60])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_hostile_name_everywhere_leaves_the_page_in_its_frame(visit, name, width):
    page = visit(named(name), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for tab in page.locator("#tabs a").all():
        tab.click()
        assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("section").count() == 16
