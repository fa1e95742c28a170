"""The page in a real browser: silent, complete, readable at every width, in light and dark."""

import dataclasses
import random
from pathlib import Path

import pytest

from isoflop.page import Column, write_page
from page_reports import ladder, sweep
from test_page import HOSTILE, named

CHROMIUM = Path("/usr/bin/chromium")
ARTIFACTS = Path(__file__).parents[1] / "artifacts"
REPORTS = {"ladder": ladder, "sweep": sweep}

pytestmark = pytest.mark.skipif(
    not CHROMIUM.exists(), reason="needs Debian's chromium: apt-get install chromium"
)

# Words of a drawing that cover one another or leave the window.
COLLISIONS = """() => {
  const faults = [];
  for (const svg of document.querySelectorAll("figure svg[role=img]")) {
    if (!svg.checkVisibility()) continue;
    const boxes = [...svg.querySelectorAll("text")].map((t) => [t, t.getBoundingClientRect()]);
    boxes.forEach(([t, a], i) => {
      if (a.left < 0 || a.right > innerWidth) faults.push("outside: " + t.textContent);
      for (const [u, b] of boxes.slice(i + 1)) {
        const wide = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const tall = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (wide > 0.5 && tall > 3) faults.push(t.textContent + " | " + u.textContent);
      }
    });
  }
  return faults;
}"""

# Text whose contrast with what lies behind it is below the 4.5 that WCAG AA asks for.
FAINT = """() => {
  const channel = (v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const read = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const behind = (element) => {
    for (let e = element; e; e = e.parentElement) {
      const color = read(getComputedStyle(e).backgroundColor);
      if (color.length === 3 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faults = [];
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
    if (!own || !e.checkVisibility() || ["SCRIPT", "STYLE", "title"].includes(e.tagName)) continue;
    const style = getComputedStyle(e);
    const a = light(read(e instanceof SVGElement ? style.fill : style.color));
    const b = light(behind(e));
    const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (contrast < 4.5) faults.push(`${e.tagName} ${e.textContent.slice(0, 30)} ${contrast}`);
  }
  return faults;
}"""


@pytest.fixture(scope="module")
def browser():
    api = pytest.importorskip(
        "playwright.sync_api", reason="needs playwright: pip install '.[dev]'"
    )
    with api.sync_playwright() as playwright:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        running = playwright.chromium.launch(executable_path=str(CHROMIUM), args=flags)
        yield running
        running.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens a report's page; fails on any console message, error, dialog or request."""
    contexts, noise = [], []

    def hear(page, path):
        page.on("console", lambda message: noise.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: noise.append(f"error: {error}"))
        page.on("request", lambda r: r.url == path.as_uri() or noise.append(f"request: {r.url}"))

        def dismiss(dialog):
            noise.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        page.on("dialog", dismiss)

    def open_page(report, *, width=1280, scheme="light", script=True, touch=False):
        path = write_page(report, tmp_path / "page.html")
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=scheme,
            java_script_enabled=script,
            has_touch=touch,
        )
        contexts.append(context)
        page = context.new_page()
        hear(page, path)
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert noise == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("name", REPORTS)
def test_the_page_is_readable(visit, name, width, scheme):
    page = visit(REPORTS[name](), width=width, scheme=scheme)
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}-{width}-{scheme}.png", full_page=True)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(COLLISIONS) == []
    assert page.evaluate(FAINT) == []
    shown = page.locator("figure svg[role=img]:visible")
    assert shown.count() == page.locator("figure").count() > 0


@pytest.mark.parametrize("width", [320, 560, 640, 641, 768, 1920])
def test_no_width_overflows_or_covers_words(visit, width):
    page = visit(ladder(), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(COLLISIONS) == []


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


def test_the_page_is_whole_without_scripts(visit):
    page = visit(ladder(), script=False)
    assert page.locator("figure svg.wide").first.is_visible()
    assert page.locator("#theme").is_hidden()


def test_paper_is_light_and_holds_the_whole_table(visit):
    page = visit(ladder(), width=688, scheme="dark")
    page.emulate_media(media="print")
    page.screenshot(path=ARTIFACTS / "ladder-print.png", full_page=True)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("document.documentElement.scrollWidth") == 688
    cut = "[...document.querySelectorAll('.scroll')].filter(e => e.scrollWidth > e.clientWidth + 1)"
    assert page.evaluate(cut + ".map(e => e.textContent.slice(0, 40))") == []
    assert page.pdf(path=ARTIFACTS / "ladder.pdf", format="A4").startswith(b"%PDF")


def hostile_names():
    """Two hundred names stitched from what breaks pages; the same each time."""
    stitches = [
        HOSTILE, "<!--", "-->", "<script>", "]]>", "&amp;", "&#x3c;", '"', "'", "`", "\\u003c",
        "<img src=x onerror=alert(1)>", "\u2028", "\u202e", "\x00", "\x1b[31m", "\ud800", "\u0301",
        "🙂", "模型", "عربي", "</title>", "</style>", "${alert(1)}", "a" * 90,
        "<svg onload=alert(1)>", "<base href=//x>", "<meta http-equiv=refresh content=0>", " ",
    ]  # fmt: skip
    dice = random.Random(20)
    return ["".join(dice.choices(stitches, k=dice.randint(1, 4))) for _ in range(200)]


def test_two_hundred_hostile_names_leave_the_page_intact(visit):
    names = hostile_names()
    report = ladder()
    times = 200 // len(report.runs[0].values)
    longer = tuple(Column(name=c.name, values=c.values * times) for c in report.runs[1:])
    report = dataclasses.replace(report, runs=(Column(name="run", values=tuple(names)), *longer))
    page = visit(report, width=390)
    cells = page.locator("#runs tbody tr")
    assert cells.count() == 200
    assert page.locator("script").count() == 2
    assert page.locator("img, base, meta[http-equiv=refresh], main style, main script").count() == 0
    page.locator("#runs summary").click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    exact = names.index(next(n for n in names if HOSTILE in n and n.isprintable()))
    assert page.locator("#runs tbody th bdi").nth(exact).text_content() == names[exact]


@pytest.mark.parametrize("name", [HOSTILE, "a" * 300, "\u202e" * 9, "word " * 60])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_hostile_name_everywhere_leaves_the_page_in_its_frame(visit, name, width):
    page = visit(named(name), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.locator("section").count() == 8
