"""Knowledge, reasoning and creation apart, and density by loss: recovered where planted."""

import json

import numpy as np
import pytest

from isoflop.forecast import pool
from isoflop.knowing import dimensions, know, loss_densities
from isoflop.laws import find
from isoflop.tables import Runs
from isoflop.tables.items import Items

# Chance to be right at each of two confidences, by dimension.
SURE, DOUBTFUL = 0.9, 0.2
RIGHT = {"knowledge": (0.9, 0.2), "reasoning": (0.5, 0.5), "creation": (0.2, 0.7)}
COEFFICIENTS = {"E": 1.8, "A": 480, "B": 2100, "alpha": 0.348, "beta": 0.366}


def answers(questions=400, seed=0, *, model="new", kinds=tuple(RIGHT)):
    """One model that knows what it knows in knowledge, not in reasoning, and errs in creation."""
    rng = np.random.default_rng(seed)
    rows = []
    for kind in kinds:
        for k in range(questions):
            sure = k % 2
            right = rng.random() < RIGHT[kind][1 - sure]
            rows.append({"id": f"{kind}-{k}", "q": SURE if sure else DOUBTFUL, "y": int(right),
                         "dimension": kind, "task": kind[:4], "model": model})  # fmt: skip
    return rows


def test_each_dimension_has_quadrants_of_its_own():
    found = dimensions(Items.of(answers(1600)), draws=200)
    assert found.missing == ()
    for kind, (sure, doubtful) in RIGHT.items():
        part = found.parts[kind]
        assert part.questions == 1600
        assert part.cells["known_known"] == pytest.approx(sure / 2, abs=0.06)
        assert part.cells["unknown_known"] == pytest.approx(doubtful / 2, abs=0.06)
        assert sum(part.cells.values()) == pytest.approx(1)
        low, high = part.intervals["accuracy"]
        assert low < part.scores["accuracy"] < high
        assert high - low == pytest.approx(4 * np.sqrt(0.25 / 1600), rel=0.25)
    area = {kind: part.scores["auroc"] for kind, part in found.parts.items()}
    assert area["knowledge"] > 0.75
    assert area["reasoning"] == pytest.approx(0.5, abs=0.05)
    assert area["creation"] < 0.35
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["missing"] == []


def test_the_report_holds_the_dimensions_and_names_those_without_questions():
    said = know(Items.of(answers(100, kinds=("knowledge",))), draws=100)
    part = said.parts["dimensions"].parts["knowledge"]
    assert part.cells == said.parts["quadrants"].cells
    assert "no questions on reasoning and creation: tag them so in column 'dimension'" in str(said)
    plain = know(Items.of({"q": [0.5, 0.7] * 10, "y": [0, 1] * 10}), draws=100)
    assert "dimensions" not in plain.parts
    assert "'dimension' (knowledge, reasoning or creation)" in plain.left_out["dimensions"]
    rows = [row | {"dimension": "taste"} for row in answers(20)]
    with pytest.raises(ValueError, match="column 'dimension' has taste; it is knowledge, reas"):
        know(Items.of(rows), draws=100)
    with pytest.raises(ValueError, match="no column 'dimension' in 'items', which has id, q, y"):
        dimensions(Items.of({"q": [0.5], "y": [1]}))


def beside_a_ladder():
    """A small and a large model of the ladder, and one between them."""
    sizes = {"small": 1e6, "new": 4e6, "large": 64e6}
    rows = [row | {"model": m} for m in sizes for row in answers(60, seed=len(m), model=m)]
    for row in rows:  # the small one is always wrong in knowledge, the large one right
        if row["dimension"] == "knowledge":
            row["y"] = {"small": 0, "large": 1}.get(row["model"], row["y"])
    return Items.of([row | {"params": sizes[row["model"]]} for row in rows])


def test_a_reference_ladder_adds_the_density_to_the_report():
    items = beside_a_ladder()
    found = know(items, reference=["small", "large"], draws=100)
    new = items.where(items["model"] == "new")
    assert found.parts["quadrants"].questions == 180  # of the one that is not of the ladder
    row = found.parts["density"].of("new", "knowledge")
    share = new["y"][new["dimension"] == "knowledge"].mean()
    assert row.density == pytest.approx(64**share / 4)
    assert "density" not in found.left_out
    with pytest.raises(ValueError, match="ladder needs reference models of two sizes"):
        know(items, reference=["small"], draws=100)
    alone = know(Items.of(answers(100)), draws=100)
    assert "reference" in alone.left_out["density"]


def ladder(*, better=1.0, seed=0, sizes=(1e7, 1e9, 6), tokens=(2e8, 2e10, 5), noise=0.003):
    """Runs of a known law, of models that are as good as `better` times their size."""
    n, d = (a.ravel() for a in np.meshgrid(np.geomspace(*sizes), np.geomspace(*tokens)))
    loss = find("chinchilla").predict(COEFFICIENTS, {"params": better * n, "tokens": d})
    loss = loss * np.exp(noise * np.random.default_rng(seed).standard_normal(len(n)))
    return Runs.of({"params": n, "tokens": d, "loss": loss}, params="total", loss="nats/token")


@pytest.fixture(scope="module")
def reference():
    return pool(ladder(), [find("chinchilla"), find("tied")], draws=60)


def test_density_by_loss_is_the_planted_one(reference):
    for better in (0.5, 1.0, 2.0):
        models = ladder(better=better, seed=1, sizes=(1e8, 4e8, 3), tokens=(4e9, 1e10, 2))
        found = loss_densities(reference, models)
        middle = np.median([row.density for row in found.rows])
        assert middle == pytest.approx(better, rel=0.15)
        held = [row.interval[0] <= better <= row.interval[1] for row in found.rows]
        assert np.mean(held) >= 0.8
        assert found.rows[0].effective == found.rows[0].density * found.rows[0].params
    assert "as many tokens" in str(found)


def test_a_loss_out_of_reach_has_no_density(reference):
    one = {"params": [1e8], "tokens": [5e9]}
    how = {"params": "total", "loss": "nats/token"}
    for loss, beyond in ((1.5, "above"), (9.0, "below")):
        row = loss_densities(reference, Runs.of({**one, "loss": [loss]}, **how)).rows[0]
        assert (row.density, row.beyond) == (None, beyond)
    with pytest.raises(ValueError, match="counts loss as nats/token, 'runs' as bits/byte"):
        loss_densities(reference, Runs.of({**one, "loss": [2.5]}, params="total", loss="bits/byte"))
    with pytest.raises(ValueError, match="counts params as total, 'runs' as non_embedding"):
        loss_densities(
            reference, Runs.of({**one, "loss": [2.5]}, params="non_embedding", loss="nats/token")
        )
