"""Density against a ladder: recovered where it was planted, not identified beyond the ladder."""

import numpy as np
import pytest

from isoflop.knowing import densities
from isoflop.knowing.density import read_off
from isoflop.tables.items import Items

LADDER = {"s": 1e6, "m": 4e6, "l": 16e6, "xl": 64e6}


def chance(params, dimension):
    """Accuracy rises by .1 with every factor of four, from a level of the dimension's own."""
    start = {"knowledge": 0.2, "reasoning": 0.4, "creation": 0.5}[dimension]
    return start + 0.1 * np.log(params / 1e6) / np.log(4)


def table(questions, seed, *, dense):
    """Ladder models, and one of 4M parameters that is as good as `dense` times its size."""
    rng = np.random.default_rng(seed)
    rows = []
    for dimension, factor in dense.items():
        for model, params in {**LADDER, "new": 4e6}.items():
            p = chance(params * (factor if model == "new" else 1), dimension)
            for k, y in enumerate(rng.random(questions) < p):
                rows.append({"id": f"{dimension}-{k}", "model": model, "params": params,
                             "dimension": dimension, "y": int(y)})  # fmt: skip
    return Items.of({key: [r[key] for r in rows] for key in rows[0]})


def test_density_is_read_off_the_ladder_dimension_by_dimension():
    items = table(6000, 0, dense={"knowledge": 0.5, "reasoning": 4.0, "creation": 1.0})
    found = densities(items, reference=list(LADDER), draws=100)
    assert found.of("new", "knowledge").density == pytest.approx(0.5, rel=0.3)
    assert found.of("new", "reasoning").density == pytest.approx(4.0, rel=0.3)
    assert found.of("new", "creation").density == pytest.approx(1.0, rel=0.3)
    assert found.of("new").questions == 18_000
    assert "reasoning" in str(found)


def test_intervals_cover():
    held = []
    for seed in range(40):
        found = densities(
            table(300, seed, dense={"reasoning": 2.0}), reference=list(LADDER), draws=100
        )
        low, high = found.of("new", "reasoning").interval
        held.append((low is None or low <= 2.0) and (high is None or high >= 2.0))
    assert np.mean(held) >= 0.82  # 0.90 of 100 tables in simulation, where 0.95 was asked for


def test_beyond_the_ladder_nothing_is_claimed():
    items = table(3000, 1, dense={"creation": 1000.0})
    row = densities(items, reference=list(LADDER), draws=100).of("new", "creation")
    assert (row.density, row.beyond) == (None, "above")
    assert "above the ladder: not identified" in str(
        densities(items, reference=list(LADDER), draws=0)
    )


def test_rungs_out_of_order_are_pooled():
    logs = np.log([1.0, 2.0, 4.0, 8.0])
    accuracy = np.array([0.2, 0.5, 0.3, 0.6])  # the middle two pool at 0.4
    assert read_off(logs, accuracy, 0.3) == pytest.approx(np.log(2) / 2)
    assert read_off(logs, accuracy, 0.4) == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert read_off(logs, accuracy, 0.5) == pytest.approx((np.log(4) + np.log(8)) / 2)
    assert read_off(logs, accuracy, 0.1) == -np.inf
    assert read_off(logs, accuracy, 0.6) == np.log(8)


def test_level_rungs_at_an_end_and_a_floor_of_no_right_answer_say_nothing():
    logs = np.log([1.0, 2.0, 4.0, 8.0])
    assert read_off(logs, np.array([0.1, 0.1, 0.3, 0.3]), 0.1) == -np.inf
    assert read_off(logs, np.array([0.1, 0.1, 0.3, 0.3]), 0.3) == np.inf
    assert read_off(logs, np.array([0.0, 0.2, 0.4, 1.0]), 0.0) == -np.inf
    assert read_off(logs, np.array([0.0, 0.2, 0.4, 1.0]), 1.0) == np.inf


@pytest.mark.parametrize(
    ("change", "reference", "said"),
    [
        ({}, ["s", "huge"], "'huge' is no model"),
        ({}, ["s"], "two sizes at least"),
        ({"dimension": "taste"}, ["s", "m"], "has taste"),
        ({"id": "x"}, ["s", "m"], "answered other questions"),
        ({"params": 7e6}, ["s", "m"], "must be one positive number"),
    ],
)
def test_tables_that_cannot_be_read_are_refused(change, reference, said):
    items = table(20, 2, dense={"reasoning": 1.0})
    data = {name: items[name].tolist() for name in ("id", "model", "params", "dimension", "y")}
    for name, value in change.items():
        data[name][0] = value
    with pytest.raises(ValueError, match=said):
        densities(Items.of(data), reference=reference, draws=0)
