"""isoFLOP analysis: published frontiers reproduced, minima bracketed, groups of budgets."""

import json

import numpy as np
import pytest

from isoflop.fit.isoflop import budget_groups, isoflop
from isoflop.sources import load

BUDGETS = (1e18, 3e18, 1e19, 3e19, 1e20)


def surface(*, noise: float = 0.0, factors=(0.25, 0.5, 0.8, 1.25, 2, 4), alpha=0.35, beta=0.35):
    """Runs on A N^-alpha + B D^-beta at `factors` times the optimal size of each budget."""
    rng = np.random.default_rng(7)
    flops = np.repeat(BUDGETS, len(factors))
    params = optimum(flops, alpha, beta) * np.tile(factors, len(BUDGETS))
    tokens = flops / (6 * params)
    loss = 1.7 + 400 * params**-alpha + 500 * tokens**-beta
    loss *= np.exp(noise * rng.standard_normal(len(loss)))
    return {"params": params, "tokens": tokens, "flops": flops, "loss": loss}


def optimum(flops, alpha=0.35, beta=0.35):
    """N* = (alpha A / beta B)^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta))."""
    total = alpha + beta
    return (alpha * 400 / (beta * 500)) ** (1 / total) * (flops / 6) ** (beta / total)


@pytest.fixture
def llama3():
    return public("llama3-isoflop")


def public(name):
    try:
        return load(name)
    except FileNotFoundError as error:
        pytest.skip(str(error))


def test_llama3_frontier_of_the_digitised_points(llama3):
    found = isoflop(llama3, curve="parabola", draws=200)
    assert found.tokens.coefficient == pytest.approx(0.299, abs=0.001)
    assert found.tokens.exponent == pytest.approx(0.537, abs=0.0005)
    assert [v.runs for v in found.valleys] == [16, 17, 16, 16, 18, 14, 12, 12, 6, 6]
    low, high = found.tokens.exponent_interval
    assert low < 0.5 < 0.53 < high
    assert float(found.tokens(3.8e25)) == pytest.approx(16.1e12, rel=0.01)


@pytest.mark.parametrize(("name", "published"), [("marin-comma", 0.55), ("marin-dclm", 0.54)])
def test_marin_exponents_of_tokens(name, published):
    runs = public(name)
    every = isoflop(runs, curve="parabola", draws=100)
    assert every.tokens.exponent == pytest.approx(published, abs=0.025)
    low, high = every.tokens.exponent_interval
    assert low < published < high
    # without the smallest budget, which has five runs where the others have ten or more
    ample = runs.where(runs["flops"] > 1.05 * runs["flops"].min())
    found = isoflop(ample, curve="parabola", draws=20)
    assert found.tokens.exponent == pytest.approx(published, abs=0.01)


def test_a_symmetric_surface_gives_its_exponent_and_coefficient_back():
    for curve in ("parabola", "cubic"):
        found = isoflop(surface(), curve=curve, draws=50)
        assert found.params.exponent == pytest.approx(0.5, abs=1e-6)
        assert float(found.params(1e21)) == pytest.approx(optimum(1e21), rel=1e-3)
        assert found.tokens.exponent == pytest.approx(0.5, abs=1e-6)
        for valley in found.valleys:
            assert valley.params * valley.tokens * 6 == pytest.approx(valley.flops, rel=1e-3)


def test_the_cubic_is_less_biased_where_the_valley_is_skewed():
    runs = surface(factors=(0.125, 0.25, 0.5, 1, 2, 4, 8), alpha=0.5, beta=0.25)
    true = optimum(1e19, alpha=0.5, beta=0.25)
    error = {}
    for curve in ("parabola", "cubic"):
        valley = isoflop(runs, curve=curve, draws=20).valleys[2]
        error[curve] = abs(np.log(valley.params / true))
    assert error["cubic"] < error["parabola"] / 2


def test_interval_of_the_exponent_covers_the_truth():
    held = 0
    for seed in range(40):
        runs, rng = surface(), np.random.default_rng(seed)
        runs["loss"] = runs["loss"] * np.exp(0.003 * rng.standard_normal(len(runs["loss"])))
        low, high = isoflop(runs, draws=200, curve="parabola", seed=seed).params.exponent_interval
        held += low <= 0.5 <= high
    assert held >= 34  # 95% of 40 is 38; four standard errors below it


def test_a_valley_whose_minimum_is_not_bracketed_is_excluded_with_the_cure():
    runs = surface()
    below = (runs["flops"] == 1e19) & (runs["params"] > optimum(1e19))
    kept = {k: v[~below] for k, v in runs.items()}
    reason = isoflop(kept, curve="parabola", draws=20).valleys[2].excluded
    assert reason.startswith("3 sizes; a parabola needs 4")
    shifted = surface(factors=(1.5, 2, 3, 4, 6, 8))
    runs = {k: np.where(runs["flops"] == 1e19, shifted[k], runs[k]) for k in runs}
    valley = isoflop(runs, draws=20).valleys[2]
    assert valley.excluded == ("its minimum lies below the measured sizes: add a smaller run")
    assert np.isnan(valley.params)
    assert isoflop(runs, draws=20).params.exponent == pytest.approx(0.5, abs=1e-6)


def test_fewer_than_two_valleys_are_refused():
    runs = surface()
    one = {k: v[runs["flops"] == 1e19] for k, v in runs.items()}
    with pytest.raises(ValueError, match="with a minimum between measured sizes, two are needed"):
        isoflop(one)
    with pytest.raises(ValueError, match="choose parabola or cubic"):
        isoflop(runs, curve="line")  # type: ignore[arg-type]


def test_intervals_need_draws():
    with pytest.raises(ValueError, match="the intervals need draws"):
        isoflop(surface(), draws=0)


def test_runs_are_grouped_into_budgets():
    flops = np.array([1e18, 1.05e18, 0.97e18, 3e18, 3.1e18, 8e18])
    found = [(round(b / 1e18, 2), rows.tolist()) for b, rows in budget_groups(flops)]
    assert found == [(1.01, [2, 0, 1]), (3.05, [3, 4]), (8.0, [5])]
    given = budget_groups(flops, budgets=[1e18, 3e18], tolerance=0.04)
    assert [rows.tolist() for _, rows in given] == [[0, 2], [3, 4]]
    assert [b for b, _ in given] == pytest.approx([1e18, 3e18])
    # a chain of close runs never becomes one budget
    chain = np.geomspace(1e18, 1e19, 60)
    widths = [chain[rows].max() / chain[rows].min() for _, rows in budget_groups(chain)]
    assert max(widths) <= 1.2 + 1e-9


def test_json_and_print(llama3):
    found = isoflop(llama3, draws=20)
    plain = json.loads(json.dumps(found.to_json()))
    assert plain["curve"] == "cubic"
    assert [v["params"] is None for v in plain["valleys"]] == [
        bool(v.excluded) for v in found.valleys
    ]
    assert f"C^{found.tokens.exponent:.3f}" in str(found)


def test_the_seed_fixes_the_intervals():
    runs = surface(noise=0.003)
    assert isoflop(runs, draws=50, seed=3) == isoflop(runs, draws=50, seed=3)
    assert isoflop(runs, draws=50, seed=3) != isoflop(runs, draws=50, seed=4)
