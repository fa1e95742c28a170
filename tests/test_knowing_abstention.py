"""Abstention keeps its promise over resampled calibrations, and is not needlessly silent."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from isoflop.knowing import certified_threshold, conformal_threshold
from isoflop.knowing.abstention import clopper_pearson
from isoflop.tables.items import Items, read_items

RLCR = Path(__file__).parents[2] / "shared/data/tidy/rlcr_items.csv"
CALIBRATIONS = 200


def world(kind, size, rng):
    """Confidences and answers; `tied` are verbalised, `twisted` ones most wrong at the top."""
    q = rng.beta(2, 1.5, size)
    if kind == "tied":
        q = np.round(q, 1)
    right = np.clip(1.35 * q, 0, 0.98)
    if kind == "twisted":
        right[q > 0.9] = 0.6
    return q, (rng.random(size) < right).astype(int)


def calibrations(kind, size, seed):
    """True rates for a rule are those of a huge population; calibrations are drawn from it."""
    rng = np.random.default_rng(seed)
    population = world(kind, 100_000, rng)
    for _ in range(CALIBRATIONS):
        rows = rng.integers(100_000, size=size)
        yield Items.of({"q": population[0][rows], "y": population[1][rows]}), population


@pytest.mark.parametrize("kind", ["smooth", "tied", "twisted"])
def test_error_among_the_answered_is_at_most_a_tenth_as_often_as_promised(kind):
    kept, answered = 0, []
    for items, (q, y) in calibrations(kind, 600, seed=1):
        rule = certified_threshold(items, 0.1, confidence=0.9)
        given = rule.answers(q)
        kept += not given.any() or (1 - y[given]).mean() <= 0.1
        answered.append(given.mean())
    assert kept / CALIBRATIONS >= 0.9
    if kind != "twisted":
        assert np.mean(answered) > 0.4


@pytest.mark.parametrize("kind", ["smooth", "tied", "twisted"])
def test_hallucination_rate_keeps_both_kinds_of_promise(kind):
    rates, kept = [], 0
    for items, (q, y) in calibrations(kind, 300, seed=2):
        average = conformal_threshold(items, 0.1)
        rates.append(((1 - y) * average.answers(q)).mean())
        certain = certified_threshold(items, 0.1, confidence=0.9, among="all")
        kept += ((1 - y) * certain.answers(q)).mean() <= 0.1
        assert average.answered >= certain.answered
    standard_error = np.std(rates) / np.sqrt(CALIBRATIONS)
    assert np.mean(rates) <= 0.1 + 2 * standard_error
    assert kept / CALIBRATIONS >= 0.9
    if kind == "smooth":
        assert np.mean(rates) >= 0.09


@pytest.mark.skipif(not RLCR.is_file(), reason="needs the RLCR items")
def test_the_promise_holds_on_published_answers():
    items = read_items(RLCR).by("task", "model")["gpqa", "Answer-Prob"]
    rng = np.random.default_rng(0)
    q, y = items["q"], items["y"]
    kept, rates = 0, []
    for _ in range(CALIBRATIONS):
        rows = rng.integers(len(q), size=len(q))
        drawn = Items.of({"q": q[rows], "y": y[rows].astype(int)})
        given = certified_threshold(drawn, 0.1).answers(q)
        kept += not given.any() or (1 - y[given]).mean() <= 0.1
        rates.append(((1 - y) * conformal_threshold(drawn, 0.1).answers(q)).mean())
    assert kept / CALIBRATIONS >= 0.9
    assert 0.05 <= np.mean(rates) <= 0.1 + 2 * np.std(rates) / np.sqrt(CALIBRATIONS)


def test_the_threshold_is_the_lowest_that_is_allowed():
    q = np.linspace(0.005, 0.995, 100)
    y = (q > 0.3).astype(int)
    rule = conformal_threshold(Items.of({"q": q, "y": y}), 0.1)
    # Nine wrong ones are allowed: (9 + 1) / 101 is below a tenth, (10 + 1) / 101 is not.
    assert rule.hallucination == pytest.approx(0.09)
    assert rule.threshold == pytest.approx(0.215)
    assert rule.answers([0.21, 0.22]).tolist() == [False, True]
    assert json.loads(json.dumps(rule.to_json()))["answered"] == rule.answered
    assert "answer from confidence 0.215 on" in str(rule)


def test_groups_are_what_is_exchanged():
    """Whole topics are wrong together: single questions would promise too much."""
    rng = np.random.default_rng(6)
    rates = []
    for _ in range(CALIBRATIONS):
        bad = rng.random(61) < 0.15
        y = (rng.random((61, 20)) < np.where(bad, 0.2, 0.95)[:, None]).astype(int)
        q = np.clip(0.3 + 0.4 * rng.random((61, 20)) + 0.3 * rng.random((61, 1)), 0, 1)
        group = np.repeat(np.arange(61), 20).reshape(61, 20)
        known = {"q": q[1:].ravel(), "y": y[1:].ravel(), "group": group[1:].ravel()}
        rule = conformal_threshold(Items.of(known), 0.1)
        rates.append(((1 - y[0]) * rule.answers(q[0])).mean())
    assert np.mean(rates) <= 0.1 + 2 * np.std(rates) / np.sqrt(CALIBRATIONS)
    with pytest.raises(ValueError, match="column 'group' says that questions depend on each"):
        certified_threshold(Items.of(known))


def test_too_few_questions_promise_nothing_and_answer_nothing():
    items = Items.of({"q": [0.9] * 8, "y": [1] * 8})
    for rule in (conformal_threshold(items, 0.1), certified_threshold(items, 0.1)):
        assert rule.threshold is None
        assert not rule.answers([1.0, 0.5]).any()
        assert rule.error is None
        assert "answer nothing: no threshold keeps the promise" in str(rule)
    with pytest.raises(ValueError, match="rate is 10; it must lie between 0 and 1"):
        conformal_threshold(items, 10)
    with pytest.raises(ValueError, match="abstention needs column 'y'"):
        conformal_threshold(Items.of({"q": [0.5], "n": [4], "c": [1]}))


@pytest.mark.parametrize(("events", "trials"), [(0, 12), (3, 40), (40, 40)])
def test_clopper_pearson_is_that_of_scipy(events, trials):
    ends = binomtest(events, trials).proportion_ci(0.95, method="exact")
    assert clopper_pearson(events, trials) == pytest.approx((ends.low, ends.high), abs=1e-12)
