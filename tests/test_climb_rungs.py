"""The rungs above pretraining: every stage ends in a file, and nothing is done twice."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from isoflop.knowing import know
from isoflop.lab.recipe import Upper
from isoflop.lab.upper import accuracy_of, climb_rungs, reward_of
from isoflop.tables import read_items

TINY = Upper(widths=(32, 64), tokens=(16_000, 160_000), depth=1, problems=2000, questions=24,
             samples=4, rl_steps=16)  # fmt: skip


def times(folder):
    """When each state and each result was written; logs are cut to their state at every start."""
    kept = (".safetensors", ".json")
    return {str(p): p.stat().st_mtime_ns for p in folder.rglob("*") if p.suffix in kept}


@pytest.fixture(scope="module")
def climbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("upper")
    return folder, climb_rungs(TINY, folder)  # in processes, as a climb does


def test_all_rungs_are_climbed_and_the_second_half_was_sealed(climbed):
    folder, rungs = climbed
    assert len(rungs.tuned) == 4
    assert rungs.tuned["loss"][-1] < rungs.tuned["loss"][0]
    assert rungs.samples.k == (1, 2, 4)
    sealed = json.loads((folder / "rl" / "forecast.json").read_text())
    assert sealed["seal"] == rungs.forecast.seal
    assert rungs.score.points == len(rungs.forecast.compute)
    assert min(rungs.forecast.compute) > rungs.compute[len(rungs.compute) - rungs.score.points - 1]
    plain = json.loads(json.dumps(rungs.to_json()))
    assert plain["score"]["held_95"] == rungs.score.held_95


def test_knowledge_reasoning_and_creation_are_told_apart(climbed):
    folder, rungs = climbed
    apart = rungs.apart.parts["dimensions"]
    assert list(apart.parts) == ["knowledge", "reasoning", "creation"]
    assert apart.missing == ()
    assert {part.questions for part in apart.parts.values()} == {24}
    rows = rungs.apart.parts["density"].rows
    assert [row.dimension for row in rows] == ["knowledge", "reasoning", "creation", "all"]
    beside = "d32 on 10 times the tokens"
    assert {row.model for row in rows} == {beside}
    items = read_items(folder / "dimensions.csv")
    assert set(items["model"]) == {"d32", "d64", beside}
    again = know(items, reference=["d32", "d64"], draws=100).parts["density"]
    assert [row.accuracy for row in again.rows] == [row.accuracy for row in rows]
    answers = read_items(folder / "answers.csv")
    cells = rungs.knowing.parts["quadrants"].cells
    assert know(answers, draws=100).parts["quadrants"].cells == cells


def test_a_second_climb_repeats_nothing(climbed):
    folder, rungs = climbed
    before = times(folder)
    with ThreadPoolExecutor(1) as executor:
        again = climb_rungs(TINY, folder, executor=executor)
    assert {k: v for k, v in times(folder).items() if k in before} == before
    assert again.success == rungs.success
    assert again.reward == rungs.reward


def test_laws_of_the_rungs_follow_planted_curves():
    loss = np.linspace(0.4, 1.6, 9)
    planted = 0.9 / (1 + np.exp(6 * (loss - 0.9)))
    law = accuracy_of(loss, planted)
    found = law.law.predict(law.theta[None], {law.law.inputs[0]: loss})[0]
    np.testing.assert_allclose(found, planted, atol=0.02)
    compute = np.arange(17.0)
    with np.errstate(divide="ignore"):
        reward = 0.3 + 0.4 / (1 + (5 / compute) ** 2)
    curve = reward_of(compute, reward)
    found = curve.law.predict(curve.draws, {"compute": np.array([30.0])})
    assert np.median(found) == pytest.approx(0.3 + 0.4 / (1 + (5 / 30) ** 2), abs=0.02)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"rl_steps": 8}, "at least 16"),
        ({"questions": 0}, "questions"),
        ({"widths": (32,), "tokens": (1000,)}, "four models"),
    ],
)
def test_settings_that_cannot_be_are_named(change, words):
    with pytest.raises(ValueError, match=words):
        Upper(**change)
