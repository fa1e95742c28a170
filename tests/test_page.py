"""The page says what the report says, and nothing in a report can break out of it."""

import base64
import dataclasses
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from isoflop.page import Column, Fact, build_page, write_page
from isoflop.page.element import clean
from isoflop.page.numerals import count, duration, percent, power, significant
from page_reports import ladder, sweep
from page_rungs import everything

HOSTILE = "</script><script>alert(1)</script>"


class Outline(HTMLParser):
    """The start tags of a page, with attribute names, and its visible text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.words, self.hidden = [], [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.hidden += tag in ("script", "style")

    def handle_endtag(self, tag):
        self.hidden -= tag in ("script", "style")

    def handle_data(self, data):
        if not self.hidden:
            self.words.append(data)

    @property
    def text(self):
        return " ".join("".join(self.words).split())


def named(name):
    """Everything with `name` wherever a user's words can stand."""
    report, replace = everything(), dataclasses.replace
    runs, count = report.runs, len(report.runs[0].values)
    runs = (Column(name="run", values=(name,) * count), *runs[1:])
    fact = Fact(name=name, value=name, note=name)
    said = {"scores": (fact,), "promises": (fact,), "bands": (fact,), "left_out": (fact,)}
    return replace(
        report,
        title=name,
        created=name,
        params_convention=name,
        loss_unit=name,
        runs=(
            *runs,
            Column(name=f"{name} of mine", values=(name,) * count, unit=name, convention=name),
        ),
        outlook=replace(
            report.outlook,
            laws=tuple(replace(law, law=name) for law in report.outlook.laws),
            chip=replace(report.outlook.chip, name=name, note=name),
        ),
        warnings=tuple(replace(w, text=name, cure=name) for w in report.warnings),
        curve=replace(
            report.curve, members=(replace(report.curve.members[0], law=name),), path=name
        ),
        backtest=replace(
            report.backtest, rows=tuple(replace(r, law=name) for r in report.backtest.rows)
        ),
        ledger=tuple(replace(s, target=name, note=name, sealed_at=name) for s in report.ledger),
        laws=(replace(report.laws[0], law=name, title=name, equation=name, citation=name),),
        reproduce=replace(report.reproduce, commands=(name,), machine=name, versions={name: name}),
        samples=tuple(
            replace(s, name=name, note=name, lines=(replace(s.lines[0], name=name),))
            for s in report.samples
        ),
        learning=tuple(
            replace(s, name=name, reward=name, compute=name, note=name, seal=name, sealed_at=name)
            for s in report.learning
        ),
        knowing=tuple(
            replace(s, name=name, router=(replace(s.router[0], name=name),), missing=(name,),
                    dimensions=tuple(replace(d, name=name) for d in s.dimensions), **said)
            for s in report.knowing
        ),
        densities=tuple(
            replace(d, model=name, by=name, measured=name, note=name) for d in report.densities
        ),
        tried=tuple(
            replace(t, name=name, sizes=(name,), note=name,
                    gains=(replace(t.gains[0], arm=name, measure=name, verdict=name),))
            for t in report.tried
        ),
        arms=tuple(
            replace(s, a=name, b=name, trend=name, decision=name, laws=(fact,), warnings=(name,))
            for s in report.arms
        ),
        costs=replace(
            report.costs, facts=(fact,),
            rows=tuple(replace(c, what=name, note=name, unit=name) for c in report.costs.rows),
            steps=tuple(replace(c, rung=name, note=name) for c in report.costs.steps),
        ),
    )  # fmt: skip


def test_the_sentence_opens_the_page():
    heading = re.search(r"<h1 id=\"answer\">(.*?)</h1>", build_page(ladder())).group(1)
    assert Outline(heading).text == (
        "Train 2.36M parameters on 12M tokens next: 1.7×10¹⁴ FLOPs, 26 min of one core "
        "(14.5 min on the clock). Expect a loss of 1.262 bits/byte (90%: 1.171 to 1.372)."
    )


def test_the_page_gives_the_verdict_of_the_last_opened_forecast():
    text = Outline(build_page(ladder())).text
    assert (
        "The last sealed forecast was a hit: it said 1.388 bits/byte (90%: 1.313 to 1.603), "
        "1.373 came out; it was 1.1% too high."
    ) in text
    assert "d128, 4Mmiss1.6521.562 to 1.908outside1.536 to 1.954outside1.504+9.8%0.0931" in text
    assert "d256, 12Msealed1.2621.194 to 1.4571.174 to 1.493–––" in text
    assert "d256, 12M2.36M12M1.7×10¹⁴9e02b7d4415a2026-11-21 21:40–" in text


def test_sections_come_in_the_order_of_the_argument():
    found = re.findall(r'<section id="(\w+)"', build_page(ladder()))
    assert found == [
        "curve", "valley", "laws", "noise", "runs", "backtest", "ledger", "reproduce"
    ]  # fmt: skip


def test_a_tab_appears_only_where_the_report_has_its_data():
    def tabs(report):
        return re.findall(r'<a id="tab-\w+" href="#\w+-panel">(.*?)</a>', build_page(report))

    assert tabs(sweep()) == ["L1 Loss", "Runs", "Method"]
    assert tabs(ladder()) == ["L1 Loss", "Runs", "Backtest", "Ledger", "Method"]
    assert tabs(everything()) == [
        "L1 Loss", "L2 Thinking", "L3 Learning", "L4 Knowing", "Density", "Arms", "Runs",
        "Backtest", "Ledger", "Costs", "Method",
    ]  # fmt: skip


def test_the_sentence_of_the_sliders_has_every_number_in_full_beside_it():
    page = build_page(everything())
    heading = re.search(r"<h1 id=\"answer\">(.*?)</h1>", page).group(1)
    assert Outline(heading).text == (
        "Train 16B parameters (90%: 7.4B–27B) on 120B tokens and serve 0 more: "
        "8.6k accelerator-hours, $22k. Expect a loss of 2.139 nats/token (90%: 2.107–2.172)."
    )
    values = dict(re.findall(r'<data id="a-(\w+)" value="([^"]+)"', heading))
    params, tokens = float(values["params"]), float(values["tokens"])
    assert 6 * params * tokens == pytest.approx(1.2e22, rel=1e-12)
    assert float(values["hours"]) == pytest.approx(1.2e22 / (989e12 * 0.39 * 3600), rel=1e-12)


def test_the_upper_rungs_say_what_they_measured():
    text = Outline(build_page(everything())).text
    assert "majority vote" in text
    assert "6459.0%" not in text
    assert (
        "100% of the later points lie in the 90% band; at the last the median was off by −0.010"
    ) in text
    assert "38.0% Known knownclaims and is right; 36.0% to 40.0%" in text
    assert (
        "undecided: more runs, or a higher risk, are needed: the chance of more than 1.1×" in text
    )
    assert "the ladder, 99 runs6.2×10²²46k accelerator-hours$120k$81k to $160k" in text
    assert "L3 learning8×10⁻²²10⁻²² to 2×10⁻²¹" in text


def test_coefficients_have_nine_digits_and_say_when_they_sit_at_a_bound():
    text = Outline(build_page(ladder())).text
    assert "E0.0003354626280 to 1.02 (90%)bits/byteat its bound" in text
    assert "alpha0.1550695120.094 to 0.262 (90%)" in text
    assert "Global optimum not certified: E lies at its lower bound" in text


def test_the_valley_tells_bracketed_from_unbracketed():
    assert "500k4700k––2.191parabolano" in Outline(build_page(ladder())).text
    assert "6×10¹⁸11" in Outline(build_page(sweep())).text
    assert "parabolayes" in Outline(build_page(sweep())).text


def test_slices_without_a_minimum_are_folded_away_where_they_are_many():
    report = sweep()
    lost = [dataclasses.replace(s, best_params=None) for s in report.valley.slices[:5]]
    valley = dataclasses.replace(report.valley, slices=(*lost, *report.valley.slices[5:]))
    page = build_page(dataclasses.replace(report, valley=valley))
    assert "<summary>5 slices with too few runs, or no minimum among them</summary>" in page


def test_more_slices_than_colours_share_them_in_the_key():
    key = Outline(re.search(r'<ul class="key">.*?</ul>', build_page(sweep())).group(0)).text
    assert key.startswith("FLOPs:6×10¹⁸")
    assert key.count("×10") + key.count("–") >= 9
    assert key.count("–") == 1


def test_the_pool_stands_before_the_single_laws_in_the_backtest():
    text = Outline(build_page(ladder())).text
    assert "pool8.9×10¹¹7916×8.6%+7.4%89%21.0%" in text
    assert text.index("The pool, cut by cut") < text.index("9 forecasts by single laws")


def test_billions_are_never_written_with_a_g():
    text = Outline(build_page(sweep())).text
    assert "2.04B parameters" in text
    assert not re.search(r"\d ?G\b", text)


def test_the_runs_state_units_and_conventions():
    text = Outline(build_page(ladder())).text
    assert "paramsbody" in text
    assert "flopsFLOP, 6ND" in text
    assert "d192-6000ktarget1,327,1046,000,0004.778e131.3734434.0" in text


def test_every_figure_has_words_for_those_who_cannot_see_it():
    page = build_page(ladder())
    drawings = re.findall(r"<svg [^>]*class=\"(?:wide|narrow)\"[^>]*>", page)
    assert len(drawings) == 10
    assert all('role="img"' in d and "aria-label" in d for d in drawings)
    assert "Forecast at 4.8e13 FLOPs: 1.388 bits/byte (90%: 1.313 to 1.603)" in page


def test_tables_name_their_rows_and_columns():
    tags = Outline(build_page(ladder())).tags
    heads = [attributes for tag, attributes in tags if tag == "th"]
    assert heads
    assert all("scope" in attributes for attributes in heads)
    assert sum(tag == "caption" for tag, _ in tags) == sum(tag == "table" for tag, _ in tags)


def test_the_policy_names_the_two_texts_of_the_page_and_nothing_else():
    page = build_page(ladder())
    policy = re.search(r'content="(default-src[^"]*)"', page).group(1)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL).group(1)
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digests = [
        base64.b64encode(hashlib.sha256(t.encode()).digest()).decode() for t in (style, *script)
    ]
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digests[0]}'; script-src 'sha256-{digests[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
    assert "style=" not in page
    assert not re.search(r"<[^>]* on\w+=", page)


def test_thousands_of_runs_still_make_one_small_file():
    report = ladder()
    runs = tuple(Column(name=c.name, values=c.values * 100) for c in report.runs)
    page = build_page(dataclasses.replace(report, runs=runs))
    assert Outline(page).text.count("d192-6000k") == 100
    assert len(page.encode()) < 1_500_000


@pytest.mark.parametrize("make", [ladder, sweep])
def test_a_page_is_small_and_names_no_address(make):
    page = build_page(make())
    assert len(page.encode()) < 300_000
    assert not re.search(r"(?:src|href)=\"(?!#)", page)
    assert "url(" not in page
    assert "@import" not in page


def test_a_script_in_a_name_stays_a_name():
    page = build_page(named(HOSTILE))
    assert "<script>alert" not in page
    assert page.count("</script>") == 2
    assert Outline(page).text.count(HOSTILE) > 40


ODD = (
    HOSTILE, "<!--", "-->", "]]>", "<![CDATA[", "&lt;", '"\'`><img src=x onerror=alert(1)>',
    "\u2028\u2029", "\u202eevil", "\ud800", "\x00", "{{x}}", "${x}", "</title>", "</style>",
    "</textarea>", "\\u003c", "\r\n", "a" * 500,
)  # fmt: skip


def made_names(count=500):
    """Names that hypothesis makes, the same each time, and among them those that break pages."""
    names = list(ODD)

    @settings(max_examples=count, deadline=None, derandomize=True, database=None,
              phases=[Phase.generate])  # fmt: skip
    @given(st.text(min_size=1, max_size=40))
    def collect(name):
        names.append(name)

    collect()
    return names[:count]


def listed(names):
    """Everything, with one run for each name and one law of the backtest for every other."""
    report = everything()
    times = -(-len(names) // len(report.runs[0].values))
    columns = [(c, (c.values * times)[: len(names)]) for c in report.runs]
    runs = tuple(dataclasses.replace(c, values=v) for c, v in columns[1:])
    row = report.backtest.rows[0]
    return dataclasses.replace(
        report,
        runs=(Column(name="run", values=tuple(names)), *runs),
        backtest=dataclasses.replace(
            report.backtest, rows=tuple(dataclasses.replace(row, law=n) for n in names[::10])
        ),
    )


def tags_of(report):
    page = build_page(report)
    page.encode("utf-8")
    assert "\u2028" not in page
    return Outline(page).tags


def test_no_name_changes_the_structure_of_the_page():
    plain = tags_of(named("name"))
    for name in (HOSTILE, "\"'`><img src=x onerror=alert(1)>", "\ud800\x00\u2028-->]]>", "a" * 500):
        assert tags_of(named(name)) == plain


def test_five_hundred_made_names_change_nothing():
    names = made_names()
    assert len(set(names)) > 450
    plain = tags_of(listed([f"name {k}" for k in range(500)]))
    assert tags_of(listed(names)) == plain


def test_marks_that_reorder_or_break_text_are_replaced():
    assert clean("a\u202eb\x00c\ud800d\u2028e") == "a�b�c�d�e"
    assert clean("naïve 模型 🙂\ttab\nline") == "naïve 模型 🙂\ttab\nline"


def test_writing_is_atomic_and_leaves_nothing_behind(tmp_path, monkeypatch):
    path = write_page(sweep(), tmp_path / "page.html")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("isoflop.page.build.os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_page(ladder(), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (count(36_864), "36.9k"), (count(999_999), "1M"), (count(1.4e12), "1.4T"),
        (power(4.778e13), "4.8×10¹³"), (power(9.96e12), "10¹³"), (power(1e12), "10¹²"),
        (percent(-0.0123, sign=True), "−1.2%"), (duration(1560), "26 min"),
        (significant(1.8171712345, 9), "1.81717123"),
    ],
)  # fmt: skip
def test_numbers_are_written_as_the_field_writes_them(written, expected):
    assert written == expected
