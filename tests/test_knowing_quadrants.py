"""Quadrants and calibration: exact identities, scikit-learn's figures, ties, what is no figure."""

import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, roc_auc_score

from isoflop.knowing import calibration, quadrants
from isoflop.knowing.levels import levels_of
from isoflop.knowing.quadrants import cells, skill, soft_cells, utility
from isoflop.tables.items import Items, read_items

RLCR = Path(__file__).parents[2] / "shared/data/tidy/rlcr_items.csv"
published = pytest.mark.skipif(not RLCR.is_file(), reason="needs the RLCR items")
answered = st.lists(
    st.tuples(st.integers(0, 10), st.integers(0, 4)), min_size=1, max_size=30
)  # tenths of confidence, quarters right


@settings(max_examples=200, deadline=None)
@given(table=answered, t=st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.75, 0.95]))
def test_the_identities_hold_exactly(table, t):
    q, y = np.array(table, float).T
    q, y = q / 10, y / 4
    levels = levels_of(q, y)
    hard, soft = cells(levels, t), soft_cells(levels)
    accuracy = y.mean()
    for found in (hard, soft):
        assert sum(found.values()) == pytest.approx(1, abs=1e-14)
        assert found["known_known"] + found["unknown_known"] == pytest.approx(accuracy, abs=1e-14)
    overconfidence = soft["unknown_unknown"] - soft["unknown_known"]
    assert overconfidence == pytest.approx(q.mean() - accuracy, abs=1e-14)
    payoff = np.where(q >= t, y - t / (1 - t) * (1 - y), 0)
    assert utility(levels, t) == pytest.approx(payoff.mean(), abs=1e-13)
    reliability, resolution, uncertainty = calibration.brier_parts(levels)
    brier = calibration.brier(levels)
    assert brier == pytest.approx((y * (1 - q) ** 2 + (1 - y) * q**2).mean(), abs=1e-14)
    assert reliability - resolution + uncertainty == pytest.approx(brier, abs=1e-14)
    miscalibration, discrimination = calibration.isotonic_parts(levels)
    assert miscalibration - discrimination + uncertainty == pytest.approx(brier, abs=1e-14)
    assert min(miscalibration, discrimination) > -1e-14


@settings(max_examples=50, deadline=None)
@given(table=answered)
def test_brier_is_twice_the_regret_over_all_thresholds(table):
    q, y = np.array(table, float).T
    q, y = q / 10, y / 4
    levels = levels_of(q, y)
    # Payoffs scaled by 1 - t; between confidences the regret is a straight line in t.
    node, weight = np.polynomial.legendre.leggauss(2)
    steps = np.arange(10) / 10
    t = (steps[:, None] + (node + 1) / 20).ravel()
    regret = [(1 - x) * (levels.accuracy - utility(levels, x)) for x in t]
    area = np.array(regret) @ np.tile(weight / 20, 10)
    assert 2 * area == pytest.approx(calibration.brier(levels), abs=1e-12)


def test_the_omniscience_index_and_skill():
    q = np.array([0.9, 0.9, 0.8, 0.3, 0.2, 0.1])
    y = np.array([1, 1, 0, 0, 1, 0])
    found = quadrants(Items.of({"q": q, "y": y}), draws=0)
    assert found.scores["omniscience"] == pytest.approx((2 - 1) / 6)
    assert found.cells == pytest.approx(
        {"known_known": 2 / 6, "unknown_unknown": 1 / 6, "known_unknown": 2 / 6,
         "unknown_known": 1 / 6}
    )  # fmt: skip
    assert skill(levels_of(y.astype(float), y), 0.8) == pytest.approx(1)
    assert skill(levels_of(np.ones(6), y), 0.1) == pytest.approx(0)
    assert skill(levels_of(np.zeros(6), y), 0.9) == pytest.approx(0)
    assert skill(levels_of(1.0 - y, y), 0.5) < 0
    assert np.isnan(skill(levels_of(q, np.ones(6)), 0.5))


@settings(max_examples=30, deadline=None)
@given(table=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1)), min_size=1, max_size=6))
def test_aurc_is_the_mean_over_all_orders_of_the_ties(table):
    q, y = np.array(table, float).T
    orders = [o for o in permutations(range(len(q))) if (np.diff(q[list(o)]) <= 0).all()]
    risks = [np.cumsum(1 - y[list(o)]) / np.arange(1, len(q) + 1) for o in orders]
    levels = levels_of(q, y)
    assert calibration.aurc(levels) == pytest.approx(np.mean(risks), abs=1e-12)
    best = np.cumsum(1 - np.sort(y)[::-1]) / np.arange(1, len(q) + 1)
    assert calibration.best_aurc(levels) == pytest.approx(best.mean(), abs=1e-12)


def test_the_risk_coverage_curve_and_its_interval():
    q = np.repeat([0.9, 0.5, 0.1], 40)
    y = np.tile([1, 1, 1, 0, 1, 0, 1, 0, 0, 0], 12)
    found = quadrants(Items.of({"q": q, "y": y}), draws=200).risk_coverage
    risk = dict(zip(found["coverage"], found["risk"], strict=True))
    assert risk[1.0] == pytest.approx(0.5)
    assert risk[0.05] == pytest.approx(1 - y[:40].mean())
    errors = (1 - y[:40]).sum() + (1 - y[40:80]).mean() * 20
    assert risk[0.5] == pytest.approx(errors / 60)
    for low, middle, high in zip(found["low"], found["risk"], found["high"], strict=True):
        assert low < middle < high


@published
@pytest.mark.parametrize("task", ["commonsenseqa", "gpqa"])
def test_scores_agree_with_scikit_learn(task):
    for key, items in read_items(RLCR).by("task", "model").items():
        if key[0] != task:
            continue
        q, y = items["q"], items["y"]
        scores = quadrants(items, draws=0).scores
        assert scores["brier"] == pytest.approx(brier_score_loss(y, q), abs=1e-9)
        assert scores["auroc"] == pytest.approx(roc_auc_score(y, q), abs=1e-9)
        assert scores["ece_width"] == pytest.approx(sklearn_ece(y, q, "uniform"), abs=1e-9)
        assert scores["ece_mass"] == pytest.approx(sklearn_ece(y, q, "quantile"), abs=1e-9)


def sklearn_ece(y, q, strategy, bins=10):
    rate, mean = calibration_curve(y, q, n_bins=bins, strategy=strategy)
    steps = np.linspace(0, 1, bins + 1)
    edges = steps if strategy == "uniform" else np.percentile(q, steps * 100)
    count = np.bincount(np.searchsorted(edges[1:-1], q), minlength=bins)
    return np.abs(rate - mean) @ count[count > 0] / len(q)


@published
def test_published_figures_of_rlcr():
    items = read_items(RLCR).by("task", "model")
    base = quadrants(items["commonsenseqa", "Base"], draws=0).scores
    # Nearly all of its confidences are .9, .95 and 1: the side on which .9 falls decides.
    assert base["ece_width"] == pytest.approx(0.025, abs=5e-4)
    bold = quadrants(items["commonsenseqa", "RLCR"], draws=0, threshold=0.75)
    assert base["ece_width_below"] == pytest.approx(0.004, abs=5e-4)
    assert base["auroc"] == pytest.approx(0.62, abs=6e-3)
    assert bold.scores["ece_width"] == pytest.approx(0.302, abs=5e-4)
    assert bold.scores["auroc"] == pytest.approx(0.73, abs=5e-3)
    assert bold.cells["unknown_known"] == pytest.approx(0.815, abs=5e-4)
    assert bold.cells["known_known"] + bold.cells["unknown_unknown"] == pytest.approx(0.1, abs=0.01)


@published
def test_a_single_threshold_does_not_invent_sensitivity():
    items = read_items(RLCR).by("task", "model")
    for key, area in ((("commonsenseqa", "RLVR"), 0.5), (("gpqa", "Base"), 0.492)):
        found = quadrants(items[key], draws=200)
        assert found.scores["auroc"] == pytest.approx(area, abs=5e-4)
        assert found.scores["d_prime"] is None
        assert found.scores["criterion"] is None
        assert "needs 5 answers in each quadrant" in found.unidentified["d_prime"]
        assert "d' at the threshold        not identified (needs 5" in " ".join(
            str(found).split("\n")
        ).replace("identified  (", "identified (")
    # No claim was withheld, yet the shares of silence are not known to be 0.
    assert quadrants(items["commonsenseqa", "RLVR"], draws=100).posterior["known_unknown"][1] > 1e-3


def test_what_is_not_identified_says_so_in_json():
    every = quadrants(Items.of({"q": [0.9, 0.8, 0.7, 0.7, 0.1], "y": [1] * 5}), draws=100)
    assert every.scores["auroc"] is None
    assert every.scores["sensitivity"] is None
    assert every.scores["skill"] is None
    assert every.scores["latent"] is None
    assert set(every.unidentified) >= {"auroc", "sensitivity", "skill", "latent", "d_prime"}
    record = json.dumps(every.to_json(), allow_nan=False)
    assert json.loads(record)["scores"]["brier"] == pytest.approx(every.scores["brier"])
    perfect = quadrants(Items.of({"q": [0.9, 0.1], "y": [1, 0]}), draws=0)
    assert perfect.scores["auroc"] == 1
    assert perfect.scores["sensitivity"] is None


def test_sensitivity_and_criterion_are_those_of_a_normal_observer():
    rng = np.random.default_rng(0)
    y = (rng.random(40_000) < 0.6).astype(float)
    evidence = rng.normal(1.2 * y, 1.0)
    q = 1 / (1 + np.exp(-(evidence - 0.9)))  # a claim is evidence above .9
    found = quadrants(Items.of({"q": q, "y": y}), draws=0).scores
    assert found["sensitivity"] == pytest.approx(1.2, abs=0.03)
    assert found["d_prime"] == pytest.approx(1.2, abs=0.03)
    assert found["criterion"] == pytest.approx(0.9 - 0.6, abs=0.03)


def test_parts_of_brier_are_not_noise_where_every_confidence_is_its_own():
    rng = np.random.default_rng(8)
    q = rng.random(4000)
    items = Items.of({"q": q, "y": rng.random(4000) < q})
    found = quadrants(items, draws=0)
    assert found.scores["reliability"] is None
    assert "see miscalibration" in found.unidentified["reliability"]
    assert found.scores["miscalibration"] == pytest.approx(0, abs=0.005)
    assert found.scores["discrimination"] == pytest.approx(1 / 12, abs=0.01)
    tied = Items.of({"q": np.round(q, 1), "y": items["y"].astype(int)})
    assert quadrants(tied, draws=0).scores["resolution"] == pytest.approx(1 / 12, abs=0.01)


def test_counts_of_samples_stand_for_as_many_answers():
    counts = Items.of({"q": [0.9, 0.5, 0.5], "n": [4, 4, 4], "c": [4, 1, 2]})
    q = np.repeat([0.9, 0.5, 0.5], 4)
    y = np.array([1, 1, 1, 1, 1, 0, 0, 0, 1, 1, 0, 0])
    one = quadrants(counts, draws=0).scores
    assert one["auroc"] == pytest.approx(roc_auc_score(y, q), abs=1e-12)
    assert one["brier"] == pytest.approx(brier_score_loss(y, q), abs=1e-12)


def test_latent_knowledge_is_what_a_vote_does_not_select():
    table = {
        "q": [0.9, 0.2, 0.4] * 2,
        "answers": [["4", "4", "5"], ["1", "2", "2"], ["0", "0", "0"]] * 2,
        "truth": ["4", "1", "3"] * 2,
    }
    found = quadrants(Items.of(table), draws=200)
    assert found.scores["latent"] == pytest.approx(1 / 3)
    assert found.intervals["latent"][0] == 0


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_cover(grouped):
    """Resampling whole groups covers where questions of a group share their luck."""
    rng = np.random.default_rng(3)
    hits = {"accuracy": 0, "brier": 0, "auroc": 0}
    truth = None
    trials = 120
    for trial in range(trials + 1):
        groups = 20_000 if trial == 0 else 60
        luck = rng.normal(0, 1.0, groups) * grouped
        ability = np.repeat(luck, 4) + rng.normal(0, 1, groups * 4)
        q = np.round(1 / (1 + np.exp(-ability - rng.normal(0, 0.7, len(ability)))), 1)
        y = (rng.random(len(q)) < 1 / (1 + np.exp(-1.5 * ability))).astype(int)
        label = np.arange(len(q)) // 4
        items = Items.of({"q": q, "y": y, "group": label.astype(str)})
        found = quadrants(items, draws=0 if trial == 0 else 200, level=0.9, seed=trial)
        if truth is None:
            truth = found.scores
            continue
        for name in hits:
            low, high = found.intervals[name]
            hits[name] += low <= truth[name] <= high
    for share in hits.values():
        assert 0.82 <= share / trials <= 0.97


def test_bad_requests_are_refused():
    items = Items.of({"q": [0.5, 0.7] * 3, "y": [1, 0] * 3})
    grouped = Items.of({"q": [0.5, 0.7] * 3, "y": [1, 0] * 3, "group": ["a", "b"] * 3})
    with pytest.raises(ValueError, match="2 independent questions or groups of them are too few"):
        quadrants(grouped)
    with pytest.raises(ValueError, match="threshold is 1; it must be at least 0 and below 1"):
        quadrants(items, threshold=1)
    with pytest.raises(ValueError, match="draws is 5; intervals need 100 resamples"):
        quadrants(items, draws=5)
    with pytest.raises(ValueError, match="the quadrant report needs column 'q'"):
        quadrants(Items.of({"y": [1, 0]}))
    with pytest.raises(ValueError, match=r"no column 'y' .* and no columns 'n' and 'c'"):
        quadrants(Items.of({"q": [0.5]}), draws=0)
