"""Routing: published figures, the closed form from AUROC, ties; answer, think, silence or call."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.metrics import roc_auc_score

from isoflop.knowing import (
    apgr_from_auroc,
    decide,
    know,
    route,
    singleton_bound,
    singleton_rate,
    worth_of_a_second,
)
from isoflop.knowing.decision import isotonic
from isoflop.tables.items import Items, read_items

MMLU = Path(__file__).parents[2] / "shared/data/tidy/routellm_mmlu_strong_weak.csv"
NAMED = {"y_weak": "weak_mixtral_8x7b_correct", "y_strong": "strong_gpt4_1106_correct"}
published = pytest.mark.skipif(not MMLU.is_file(), reason="needs the RouteLLM items")


@pytest.fixture(scope="module")
def mmlu():
    return read_items(MMLU, columns=NAMED)


@published
def test_routellm_figures(mmlu):
    found = route(mmlu, draws=0)
    assert found.weak == pytest.approx(0.6808, abs=5e-5)
    assert found.strong == pytest.approx(0.8058, abs=5e-5)
    assert found.either == pytest.approx(0.8586, abs=5e-5)
    oracle, knows = found.curve("oracle"), found.curve("self_knowledge")
    assert oracle.apgr == pytest.approx(1.285, abs=5e-4)
    assert oracle.cpt == pytest.approx({0.5: 0.0625, 0.8: 0.1}, abs=5e-5)
    assert knows.apgr == pytest.approx(1.052, abs=5e-4)
    # In expectation over the order of the wrong answers, which all tie; the quoted 11.6% and
    # 18.4% come from single orders.
    assert knows.cpt == pytest.approx({0.5: 0.1122, 0.8: 0.1795}, abs=5e-5)
    assert found.curve("random").apgr == pytest.approx(0.5, abs=1e-12)
    assert found.formula_slope == pytest.approx(1.104, abs=5e-4)


@published
def test_single_orders_of_the_ties_scatter_around_the_exact_curve(mmlu):
    rng = np.random.default_rng(0)
    scores = {f"order {n}": -mmlu["y_weak"] + 0.1 * rng.random(len(mmlu)) for n in range(60)}
    curves = [c for c in route(mmlu, scores=scores, draws=0).curves if c.router in scores]
    apgr, cpt = [c.apgr for c in curves], [c.cpt[0.5] for c in curves]
    assert np.mean(apgr) == pytest.approx(1.0518, abs=1e-3)
    assert np.mean(cpt) == pytest.approx(0.1122, abs=1.5e-3)
    assert min(cpt) < 0.1122 < 0.1155 < max(cpt)


@published
@pytest.mark.parametrize(
    ("auroc", "simulated", "formula", "half"),
    [(0.60, 0.612, 0.610, 0.348), (0.70, 0.720, 0.721, 0.236), (0.80, 0.832, 0.831, 0.161)],
)
def test_auroc_alone_gives_apgr(mmlu, auroc, simulated, formula, half):
    weak, strong = mmlu["y_weak"], mmlu["y_strong"]
    from scipy.special import ndtri

    rng = np.random.default_rng(7)
    d = np.sqrt(2) * ndtri(auroc)
    confidence = [rng.normal(weak * d) for _ in range(4)]
    q = [(np.argsort(np.argsort(c)) + 0.5) / len(c) for c in confidence]
    table = {"y_weak": weak.astype(int), "y_strong": strong.astype(int)}
    found = [route(Items.of({**table, "q": x}), draws=0) for x in q]
    assert np.mean([f.curve("confidence").apgr for f in found]) == pytest.approx(
        simulated, abs=0.01
    )
    calls = np.mean([f.curve("confidence").cpt[0.5] for f in found])
    assert calls == pytest.approx(half, abs=0.01)
    assert found[0].auroc == pytest.approx(roc_auc_score(weak, q[0]), abs=1e-12)
    shares = {
        "accuracy": weak.mean(),
        "strong_only": (strong > weak).mean(),
        "weak_only": (weak > strong).mean(),
    }
    assert apgr_from_auroc(auroc, **shares) == pytest.approx(formula, abs=6e-4)
    assert apgr_from_auroc(0.5, **shares) == pytest.approx(0.5, abs=1e-12)
    assert abs(np.mean([f.shortfall for f in found])) < 0.01
    assert json.dumps(found[0].to_json(), allow_nan=False)


def test_dependence_shows_as_a_shortfall():
    rng = np.random.default_rng(1)
    hard = rng.random(8_000)  # questions hard for both: the small model's doubt is no use
    weak, strong = ((rng.random(8_000) < 1 - hard * s).astype(int) for s in (1.0, 0.8))
    found = route(Items.of({"y_weak": weak, "y_strong": strong, "q": 1 - hard}), draws=0)
    assert found.shortfall > 0.1
    flat = route(Items.of({"y": weak, "y_strong": weak, "q": 1 - hard}), draws=100)
    assert flat.curve("oracle").apgr is None
    assert flat.formula is None
    assert "not identified" in str(flat)


def test_intervals_are_as_wide_as_the_scatter_of_new_tables():
    rng = np.random.default_rng(5)

    def table(n):
        weak = rng.random(n) < 0.6
        strong = rng.random(n) < np.where(weak, 0.95, 0.6)
        q = np.clip(rng.normal(0.5 + 0.15 * weak, 0.2), 0, 1)
        return Items.of({"y_weak": weak, "y_strong": strong, "q": q})

    scatter = np.std([route(table(1300), draws=0).curve("confidence").apgr for _ in range(60)])
    low, high = route(table(1300), draws=400, level=0.6827).curve("confidence").apgr_interval
    assert (high - low) / 2 == pytest.approx(scatter, rel=0.35)
    assert 0.01 < scatter < 0.05


def test_routers_are_named_and_checked():
    items = Items.of({"y_weak": [1, 0, 0, 1], "y_strong": [1, 1, 1, 0]})
    found = route(items, scores={"mine": [0, 2, 1, -1]}, draws=0)
    mine = found.curve("mine")
    assert mine.cpt[0.5] == pytest.approx(0.125)
    assert mine.accuracy[0] == 0.5
    assert mine.accuracy[50] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="router 'mine' needs 4 finite scores"):
        route(items, scores={"mine": [1, 2]}, draws=0)
    with pytest.raises(ValueError, match="no router 'best'; there are"):
        found.curve("best")
    with pytest.raises(ValueError, match="routing needs column 'y_strong'"):
        route(Items.of({"y": [1, 0]}))


def test_a_cascade_pays_the_small_model_first():
    table = {
        "q": [0.9, 0.1], "y": [1, 0], "y_strong": [1, 1], "price": [1, 2], "price_strong": [10, 30]
    }  # fmt: skip
    found = route(Items.of(table), scores={"early": [0, 1]}, draws=0)
    cascade, early = found.curve("confidence"), found.curve("early")
    assert cascade.costs["price"][::50] == pytest.approx((1.5, 1.5 + 15, 1.5 + 20))
    assert early.costs["price"][::50] == pytest.approx((1.5, 15.5, 20))
    assert cascade.accuracy == early.accuracy
    assert "seconds" not in cascade.costs


def table_of_actions(n, seed):
    rng = np.random.default_rng(seed)
    q = rng.random(n)
    return {
        "q": q,
        "y": rng.random(n) < q,
        "y_think": rng.random(n) < 0.3 + 0.65 * q,
        "y_strong": rng.random(n) < 0.8,
        "seconds": np.full(n, 1.0),
        "seconds_think": np.full(n, 11.0),
        "seconds_strong": np.full(n, 2.0),
        "price_strong": np.full(n, 0.4),
    }


def test_the_rule_finds_the_bands_that_the_payoffs_imply():
    # Answering pays 2q - 1, thinking 1.3q - .4 - 10 s, calling 0.6 - 0.4 - 2 s.
    items = Items.of(table_of_actions(20_000, 0))
    found = decide(items, second=0.005, draws=200)
    assert (found.bands[0][2], found.bands[-1][2]) == ("call", "answer")
    call, think, answer = 0.19, lambda q: 1.3 * q - 0.45, lambda q: 2 * q - 1
    from_call, from_think = (0.19 + 0.45) / 1.3, (1 - 0.45) / 0.7
    q = np.linspace(0, 1, 100_001)
    best = np.mean(np.maximum.reduce([np.full_like(q, call), think(q), answer(q)]))
    assert found.utility == pytest.approx(best, abs=0.02)
    assert found.gain_interval[0] > 0
    assert found.perfect > found.utility > max(found.alone.values())
    assert found.choose([from_call - 0.1, (from_call + from_think) / 2, 0.95]) == [
        "call", "think", "answer"
    ]  # fmt: skip
    assert sum(found.used.values()) == pytest.approx(1)
    dear = decide(items, wrong=4, second=1.0, draws=0)
    assert dear.bands[0][2] == "silence"
    assert dear.choose([0.99]) == ["answer"]
    assert json.dumps(dear.to_json(), allow_nan=False)


def test_a_rule_is_not_credited_with_noise():
    """Confidence that says nothing earns nothing over the best single action."""
    rng = np.random.default_rng(2)
    gains = []
    for _ in range(20):
        table = {
            "q": rng.random(200),
            "y": rng.random(200) < 0.5,
            "y_strong": rng.random(200) < 0.5,
        }
        gains.append(decide(Items.of(table), draws=0).gain)
    assert np.mean(gains) < 0.02


def test_isotonic_regression_is_that_of_scikit_learn():
    rng = np.random.default_rng(4)
    x, y = np.round(rng.random(300), 2), rng.random(300)
    fitted = IsotonicRegression().fit(x, y).predict(x)
    np.testing.assert_allclose(isotonic(x, y, x), fitted, atol=1e-12)


def test_decisions_refuse_what_they_cannot_price():
    table = table_of_actions(60, 1)
    with pytest.raises(ValueError, match="needs 50 questions, the table has 4"):
        decide(Items.of({"q": [0.1] * 4, "y": [1] * 4}))
    del table["seconds_strong"]
    with pytest.raises(ValueError, match="no column 'seconds_strong'; add it or say second=0"):
        decide(Items.of(table), second=1.0)
    del table["seconds"]
    with pytest.raises(ValueError, match="includes the first answer's seconds, needs column"):
        decide(Items.of(table), second=1.0)


def test_the_worth_of_a_second():
    rng = np.random.default_rng(0)
    n = 4000
    table = {
        "y": rng.random(n) < 0.5,
        "y_think": rng.random(n) < 0.7,
        "seconds": rng.gamma(4, 1, n),
        "seconds_think": rng.gamma(4, 7, n),
    }
    found = worth_of_a_second(Items.of(table), draws=400)
    assert found.worth == pytest.approx(0.2 / 24, rel=0.15)
    low, high = found.worth_interval
    assert low < 0.2 / 24 < high
    priced = {**table, "price": np.zeros(n), "price_think": np.full(n, 0.5)}
    assert worth_of_a_second(Items.of(priced), value=5.0, draws=0).worth == pytest.approx(
        (5 * found.gained - 0.5) / found.seconds
    )
    assert "it pays where a second costs less than" in str(found)
    with pytest.raises(ValueError, match="no longer than 'seconds'"):
        worth_of_a_second(Items.of({**table, "seconds_think": table["seconds"]}))


def test_facts_seen_once_bound_hallucination():
    assert singleton_rate([1, 1, 3, 5]) == pytest.approx(0.2)
    bound = singleton_bound(0.3, examples=10**8, wrong_answers=364)
    luck = (35 + 6 * np.log(1e8)) / 1e4
    assert bound == pytest.approx(0.3 - 2 / 364 - luck)
    assert singleton_bound(0.3, examples=10**8, wrong_answers=364, miscalibration=0.1) < bound
    assert singleton_bound(0.3, examples=1000, wrong_answers=364) < 0  # says nothing
    with pytest.raises(ValueError, match="rate is 3; it is a share"):
        singleton_bound(3, examples=10, wrong_answers=2)


def test_one_report_holds_what_the_columns_allow():
    items = Items.of(table_of_actions(400, 3), name="quiz")
    found = know(items, second=0.01, draws=100)
    assert list(found.parts) == [
        "quadrants", "abstention_on_average", "abstention_certified", "routing", "decision",
        "worth_of_a_second",
    ]  # fmt: skip
    assert list(found.left_out) == ["dimensions", "samples", "density"]
    assert found.left_out["samples"] == "needs columns 'n' and 'c'"
    record = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert record["parts"]["decision"]["second"] == 0.01
    assert "Worth of a second\nquiz: 400 questions" in str(found)
    few = know(Items.of({"n": [4] * 6, "c": [1, 2, 3, 4, 0, 0]}), draws=100)
    assert list(few.parts) == ["samples"]
    with pytest.raises(ValueError, match="'items' says nothing of self-knowledge: it has id, q;"):
        know(Items.of({"q": [0.5]}))
