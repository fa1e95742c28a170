"""pass@k, votes and best of k against enumeration of every subset; the best spread of samples."""

from fractions import Fraction
from itertools import combinations, product
from math import comb
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from isoflop.knowing import best_of_k, majority_at_k, pass_at_k, sample_curve, spread
from isoflop.knowing.spread import covered, greedy
from isoflop.knowing.votes import weighted_at_k
from isoflop.tables.items import Items, read_items

PYTHIA = Path(__file__).parents[2] / "shared/data/tidy/pythia_pass_at_k_items.csv"


def enumerated(n, k, credit):
    subsets = list(combinations(range(n), k))
    return sum(credit(subset) for subset in subsets) / len(subsets)


@pytest.mark.parametrize("n", [1, 4, 7])
def test_pass_at_k_is_the_mean_over_all_subsets(n):
    for c, k in product(range(n + 1), range(1, n + 1)):
        right = enumerated(n, k, lambda subset, c=c: float(min(subset) < c))
        assert pass_at_k(n, c, k)[0] == pytest.approx(right, abs=1e-14)


@pytest.mark.parametrize(
    ("n", "c", "k"), [(10_000, 1, 1), (10_000, 3, 5000), (100_096, 20_000, 7), (10_000, 9999, 1)]
)
def test_pass_at_k_keeps_its_digits_for_many_samples(n, c, k):
    exact = 1 - Fraction(comb(n - c, k), comb(n, k))
    assert pass_at_k(n, c, k)[0] == pytest.approx(float(exact), rel=1e-13)


def test_pass_at_k_broadcasts_and_refuses():
    table = pass_at_k([10, 10, 20], [1, 0, 20], [1, 2, 10])
    np.testing.assert_allclose(table, [[0.1, 0.2, 1], [0, 0, 0], [1, 1, 1]], atol=1e-15)
    with pytest.raises(ValueError, match="least number of samples is 10; drop questions"):
        pass_at_k([10, 20], [1, 1], 11)
    with pytest.raises(ValueError, match="question 2: 5 right of 4 samples"):
        pass_at_k([4, 4], [1, 5], 1)
    with pytest.raises(ValueError, match="c must be whole numbers"):
        pass_at_k(4, 1.5, 1)


def majority_credit(answers, truth):
    def credit(subset):
        given_answers = [answers[s] for s in subset]
        tally = {a: given_answers.count(a) for a in given_answers}
        top = [a for a, votes in tally.items() if votes == max(tally.values())]
        return (truth in top) / len(top)

    return credit


@settings(max_examples=60, deadline=None)
@given(counts=st.lists(st.integers(0, 4), min_size=1, max_size=5), data=st.data())
def test_a_majority_vote_is_the_mean_over_all_subsets(counts, data):
    answers = [a for a, votes in enumerate(counts) for _ in range(votes)]
    if not answers:
        return
    k = data.draw(st.integers(1, len(answers)))
    right = enumerated(len(answers), k, majority_credit(answers, 0))
    assert majority_at_k(counts, k) == pytest.approx(right, abs=1e-12)


def test_a_majority_of_many_samples():
    # One in two is right, the other answers are all different: k = 3 fails only with no repeat.
    counts, n = [50, *[1] * 50], 100
    none_right, one_right = (comb(50, 3) / comb(n, 3), 50 * comb(50, 2) / comb(n, 3))
    assert majority_at_k(counts, 3) == pytest.approx(1 - none_right - one_right * 2 / 3, abs=1e-12)
    assert majority_at_k([400, 600], 601) == pytest.approx(0, abs=1e-9)
    # Two answers: right with more than half of the votes, one half on a tie.
    votes = [comb(400, v) * comb(600, 50 - v) / comb(1000, 50) for v in range(51)]
    exact = sum(votes[26:]) + votes[25] / 2
    assert majority_at_k([400, 600], 50) == pytest.approx(exact, rel=1e-10)
    with pytest.raises(ValueError, match="k is 3; 2 samples give votes of 1 to 2"):
        majority_at_k([1, 1], 3)


@settings(max_examples=60, deadline=None)
@given(
    votes=st.lists(st.tuples(st.integers(0, 3), st.integers(-3, 6)), min_size=1, max_size=7),
    data=st.data(),
)
def test_a_weighted_vote_is_the_mean_over_all_subsets(votes, data):
    k = data.draw(st.integers(1, len(votes)))

    def credit(subset):
        totals = {}
        for s in subset:
            totals[votes[s][0]] = totals.get(votes[s][0], 0) + votes[s][1]
        top = [a for a, total in totals.items() if total == max(totals.values())]
        return (0 in top) / len(top)

    right = enumerated(len(votes), k, credit)
    # Tenths are inexact in binary; a tie of their sums must remain a tie.
    found = weighted_at_k([str(a) for a, _ in votes], [w / 10 for _, w in votes], "0", k=k)
    assert found.chance == pytest.approx(right, abs=1e-12)
    assert found.standard_error == 0


def test_equal_weights_are_a_majority_and_resampling_is_unbiased():
    answers = ["r"] * 11 + ["a"] * 9 + ["b"] * 10
    found = [weighted_at_k(answers, [1.0] * 30, "r", k=8, seed=seed) for seed in range(5)]
    exact = majority_at_k([11, 9, 10], 8)
    mean = np.mean([vote.chance for vote in found])
    assert found[0].subsets == 20_000
    assert 0.001 < found[0].standard_error < 0.005
    assert mean == pytest.approx(exact, abs=4 * found[0].standard_error / np.sqrt(5))


@settings(max_examples=60, deadline=None)
@given(
    samples=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=8),
    data=st.data(),
)
def test_best_of_k_is_the_mean_over_all_subsets(samples, data):
    k = data.draw(st.integers(1, len(samples)))

    def credit(subset):
        best = max(samples[s][0] for s in subset)
        top = [samples[s][1] for s in subset if samples[s][0] == best]
        return sum(top) / len(top)

    # Ties across the whole table, not within the subset, have the same expectation.
    found = best_of_k([s for s, _ in samples], [r for _, r in samples], k)
    assert found == pytest.approx(enumerated(len(samples), k, credit), abs=1e-12)


def test_best_of_k_by_the_truth_is_pass_at_k_and_by_noise_is_accuracy():
    right = np.array([1, 0, 0, 1, 0, 0, 0, 0])
    for k in (1, 3, 8):
        assert best_of_k(right, right, k) == pytest.approx(pass_at_k(8, 2, k)[0], abs=1e-14)
        assert best_of_k(np.zeros(8), right, k) == pytest.approx(0.25)
    with pytest.raises(ValueError, match="a score is not finite"):
        best_of_k([1, np.nan], [1, 0], 1)


def test_a_curve_holds_every_choice_and_covers():
    table = {
        "answers": [["4", "4", "5", "6"], ["1", "2", "2", "2"], ["3", "3", "3", "3"]] * 2,
        "truth": ["4", "1", "3"] * 2,
        "scores": [[0.9, 0.8, 0.1, 0.2], [0.9, 0.1, 0.2, 0.3], [1, 1, 1, 1]] * 2,
        "group": ["a", "b", "c", "d", "e", "e"],
    }
    curve = sample_curve(Items.of(table), draws=200)
    assert curve.k == (1, 2, 4)
    assert set(curve.values) == {"pass", "majority", "weighted", "best"}
    for values in curve.values.values():
        assert values[0] == pytest.approx((0.5 + 0.25 + 1) / 3)
    assert curve.values["pass"][2] == pytest.approx(1)
    assert curve.values["majority"][2] == pytest.approx(2 / 3)
    assert curve.values["best"][2] == pytest.approx(1)
    low, high = curve.intervals["pass"][0]
    assert 0.25 < low < curve.values["pass"][0] < high < 1
    assert "majority@k: the most frequent answer" in str(curve)
    assert "per_question" not in curve.to_json()


@pytest.mark.skipif(not PYTHIA.is_file(), reason="needs the Pythia pass@k items")
def test_pythia_pass_at_k():
    only = {"task": "gsm8k", "model": "Pythia_2.8B_300B"}
    items = read_items(PYTHIA, only=only)
    assert len(items) == 128
    curve = sample_curve(items, [1], draws=0)
    assert curve.values["pass"][0] == pytest.approx(np.mean(items["c"] / items["n"]))


@pytest.mark.parametrize("budget", [1, 4, 7])
def test_the_spread_is_the_best_of_all_spreads(budget):
    a, b = np.array([0.5, 2.0, 1.0]), np.array([9.0, 3.0, 1.0])
    best = max(
        (
            covered(a, b, np.array(split)).sum()
            for split in product(range(budget + 1), repeat=3)
            if sum(split) == budget
        ),
    )
    counts = greedy(a, b, budget)
    assert counts.sum() == budget
    assert covered(a, b, counts).sum() == pytest.approx(best, abs=1e-13)


def test_the_spread_beats_an_even_one():
    items = Items.of({"n": [20] * 40, "c": [0] * 10 + [1] * 20 + [19] * 10})
    found = spread(items, 400)
    assert sum(found.samples) == 400
    assert found.coverage > found.even
    assert found.saving > 1.05
    assert min(found.samples[10:30]) > max(found.samples[30:])
    assert covered(np.array([3.0]), np.array([5.0]), np.array([1]))[0] == pytest.approx(3 / 8)
    assert "400 samples over 40 questions" in str(found)
    with pytest.raises(ValueError, match="needs column 'n'"):
        spread(Items.of({"y": [1]}), 4)
