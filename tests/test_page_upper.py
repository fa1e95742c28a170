"""What the upper rungs measured reaches the page unchanged: results, plain values, HTML."""

import dataclasses

import numpy as np
import pytest

from isoflop.forecast import compare, pool
from isoflop.forecast.curve import forecast_curve, score_curve
from isoflop.knowing import densities, know, loss_densities, sample_curve
from isoflop.laws import pretrain
from isoflop.page import build_page, report_from_json, report_json
from isoflop.page.embed import thinking_of
from isoflop.page.slider import Dials, think
from isoflop.page.upper import (
    arms_of,
    densities_of,
    knowing_of,
    learning_of,
    loss_densities_of,
    samples_of,
)
from isoflop.tables import Items, Runs
from page_reports import ladder


def items(count=120, samples=8):
    """Questions of known chances: confidences that are right, answers that scatter."""
    random = np.random.default_rng(2)
    chance = random.uniform(0.05, 0.95, count)
    right = random.random((count, samples)) < chance[:, None]
    wrong = random.integers(1, 4, (count, samples)).astype(str)
    return Items.of(
        {
            "q": chance, "y": right[:, 0].astype(float), "n": np.full(count, samples),
            "c": right.sum(axis=1), "truth": ["0"] * count,
            "answers": [list(np.where(r, "0", w)) for r, w in zip(right, wrong, strict=True)],
            "y_strong": (random.random(count) < 0.9).astype(float),
        },
        name="made",
    )  # fmt: skip


@pytest.fixture(scope="module")
def measured():
    table = items()
    curve = sample_curve(table, draws=200)
    return table, curve, know(table, draws=200)


def shown(**parts):
    """The page of a ladder with these parts, after a trip through JSON."""
    report = dataclasses.replace(ladder(), **parts)
    assert report_from_json(report_json(report)) == report
    return build_page(report)


def test_samples_keep_their_accuracy_and_cost(measured):
    _, curve, _ = measured
    made = samples_of(curve, seconds=0.5, dollars=1e-4, tokens=100)
    line = {x.name: x for x in made.lines}["pass"]
    assert line.y == curve.values["pass"]
    assert line.low[3] == curve.intervals["pass"][3][0]
    page = shown(samples=(made,))
    value, (low, high) = curve.values["majority"][3], curve.intervals["majority"][3]
    assert f"{100 * value:.1f}% ({100 * low:.0f}–{100 * high:.0f}%)" in page
    assert "$0.00080" in page  # eight samples


def test_thinking_follows_the_curve_of_the_choice(measured):
    _, curve, _ = measured
    made = thinking_of(curve, choice="majority", seconds=1.0, chip_seconds=0.0, tokens=100)
    best = think(made, Dials(flops=1.0, value=1.0, patience=100.0))
    assert best.accuracy == max(curve.values["majority"])
    with pytest.raises(ValueError, match="no interval of 'best'"):
        thinking_of(curve, choice="best", seconds=1.0, chip_seconds=0.0, tokens=1)


def test_what_a_model_knows_keeps_its_quadrants_and_routers(measured):
    _, _, known = measured
    made = knowing_of(known)
    assert sum(q.share for q in made.quadrants) == pytest.approx(1)
    assert made.quadrants[0].share == known.parts["quadrants"].cells[made.quadrants[0].name]
    assert {line.name for line in made.router} >= {"oracle", "at random", "by confidence"}
    page = shown(knowing=(made,))
    assert "Known unknown" in page
    assert "passed on to the larger model" in page
    assert all(fact.name in page for fact in made.scores if "'" not in fact.name)


def test_dimensions_keep_their_quadrants_and_what_was_not_asked():
    table = items()
    kinds = np.where(np.arange(len(table)) % 2, "knowledge", "reasoning")
    known = know(Items.of({**table.data, "dimension": kinds}, name="made"), draws=100)
    made = knowing_of(known)
    part = known.parts["dimensions"].parts["reasoning"]
    shown_part = {d.name: d for d in made.dimensions}["reasoning"]
    assert {q.name: q.share for q in shown_part.quadrants} == part.cells
    assert made.missing == ("creation",)
    page = shown(knowing=(made,))
    assert "No questions on creation were asked." in page
    assert f"{part.scores['auroc']:.3f}" in page


def test_densities_keep_their_rows_and_where_nothing_is_known():
    rows = []
    for model, params, share in (("s", 1e6, 0.2), ("m", 4e6, 0.5), ("new", 2e6, 0.45),
                                 ("best", 3e6, 0.95)):  # fmt: skip
        rows += [{"id": str(k), "model": model, "params": params, "dimension": "creation",
                  "y": int(k < 100 * share)} for k in range(100)]  # fmt: skip
    found = densities(Items.of(rows), reference=["s", "m"], draws=100)
    made = densities_of(found)
    assert [row.density for row in made] == [row.density for row in found.rows]
    assert (made[1].beyond, made[1].density) == ("above", None)
    page = shown(densities=made)
    assert "above the ladder" in page
    assert f"{found.rows[0].density:.3g}" in page
    beside = loss_densities(pool(arm(1.0, 0), [pretrain.CHINCHILLA], draws=60), arm(1.5, 1))
    by_loss = loss_densities_of(beside, unit="nats/token")
    assert [row.effective for row in by_loss] == [row.effective for row in beside.rows]
    assert f"{beside.rows[3].loss:.3f} nats/token" in shown(densities=by_loss)


def test_a_sealed_curve_stands_beside_what_came_out():
    compute = np.geomspace(1e13, 1e15, 16)
    reward = 0.2 + 0.5 / (1 + (1.2e14 / compute) ** 1.1)
    made = forecast_curve(compute[:10], reward[:10], compute[10:], draws=500)
    found = learning_of(
        "policy", compute=compute[:10], reward=reward[:10], forecast=made,
        score=score_curve(made, reward[10:]), observed=reward[10:],
    )  # fmt: skip
    assert found.forecast.low == pytest.approx(made.interval(0.9)[0])
    page = shown(learning=(found,))
    assert made.seal[:12] in page
    assert f"{reward[12]:.3f}" in page
    waiting = learning_of("policy", compute=compute[:10], reward=reward[:10], forecast=made)
    assert "Not opened yet." in shown(learning=(waiting,))
    assert "No forecast was sealed" in shown(
        learning=(learning_of("policy", compute=compute, reward=reward),)
    )


def arm(factor, seed):
    random = np.random.default_rng(seed)
    params, tokens = (
        a.ravel() for a in np.meshgrid(np.geomspace(1e6, 3e7, 4), np.geomspace(2e7, 6e8, 4))
    )
    law = pretrain.CHINCHILLA
    loss = law.predict(
        law.coefficients("besiroglu-2024"), {"params": params, "tokens": tokens * factor}
    ) * np.exp(0.002 * random.standard_normal(16))
    return Runs.of({"params": params, "tokens": tokens, "loss": loss}, name=f"times {factor:g}",
                   params="total", loss="nats/token")  # fmt: skip


def test_arms_keep_their_speed_up_and_decision():
    found = compare(arm(1.0, 0), arm(1.5, 1), laws=(pretrain.CHINCHILLA,), draws=60)
    made = arms_of(found)
    assert made.speed_up.y == tuple(s.factor for s in found.at)
    page = shown(arms=(made,))
    assert f"{found.speed_up.factor:.3g}×" in page
    assert {"promote": "promote times 1.5", "keep": "keep times 1",
            "undecided": "more runs, or a higher risk"}[found.decision] in page  # fmt: skip
