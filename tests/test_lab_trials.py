"""The trial of trial and error: its interval holds, its runs resume, its budgets are equal."""

import json

import numpy as np
import pytest

from isoflop.lab.files import LabError
from isoflop.lab.trials import (
    METRICS,
    between,
    compare,
    countdown_design,
    read_trials,
    run_trials,
    tried_of,
)
from isoflop.page import read_page


def made_runs(rng, *, gain, seeds=3, questions=120):
    """Runs whose arm is truly better by `gain`, with noise of training seeds and of questions."""
    hard = rng.random(questions)
    rows = []
    for width in (64, 96):
        for seed in range(seeds):
            for arm, shift in (("clean", 0.0), ("imitated", gain)):
                chance = np.clip(0.3 + 0.4 * hard + shift + rng.normal(0, 0.04), 0, 1)
                marks = rng.binomial(16, chance) / 16
                rows.append(
                    {
                        "arm": arm, "width": width, "depth": 4, "seed": seed,
                        "sampled": float(marks.mean()), "marks": {"sampled": marks.tolist()},
                    }
                )  # fmt: skip
    return rows


def test_the_interval_holds_the_true_gain():
    rng = np.random.default_rng(0)
    gains = [
        compare(made_runs(rng, gain=0.1), arm="imitated", metric="sampled") for _ in range(100)
    ]
    held = np.mean([g.low <= 0.1 <= g.high for g in gains])
    assert 0.9 <= held <= 1.0
    assert np.mean([g.difference for g in gains]) == pytest.approx(0.1, abs=0.01)
    assert np.mean([g.verdict == "worth more" for g in gains]) > 0.7


def test_without_a_gain_there_is_seldom_a_verdict():
    rng = np.random.default_rng(1)
    gains = [
        compare(made_runs(rng, gain=0.0), arm="imitated", metric="sampled") for _ in range(100)
    ]
    assert np.mean([g.verdict != "undecided" for g in gains]) <= 0.1


def test_a_verdict_needs_seeds():
    runs = made_runs(np.random.default_rng(0), gain=0.1, seeds=1)
    with pytest.raises(ValueError, match="two seeds"):
        compare(runs, arm="imitated", metric="sampled")


def test_budgets_between_whole_samples():
    assert between(2.25, lambda k: 10.0 * k) == pytest.approx(22.5)
    assert between(3, lambda k: 10.0 * k) == 30
    assert between(0.4, lambda k: 10.0 * k) == 10


def test_a_trial_resumes_and_repeats_nothing(tmp_path):
    design = countdown_design(
        sizes=((32, 1),), seeds=(0, 1), tokens=1500, train_problems=150, questions=4, samples=2
    )
    told = []
    first = run_trials(design, tmp_path, on_event=told.append)
    assert len(told) == 6
    assert {g.metric for g in first.gains} == set(METRICS)
    for run in first.runs:  # equal tokens, to the last example
        assert run["tokens"] == pytest.approx(1500, abs=160)
    (tmp_path / "read-d32-L1-s1" / "result.json").unlink()
    told.clear()
    second = run_trials(design, tmp_path, on_event=told.append)
    assert len(told) == 1
    assert json.loads(told[0])["arm"] == "read"

    def timeless(trials):
        return [{k: v for k, v in run.items() if k != "core_seconds"} for run in trials.runs]

    assert timeless(second) == timeless(first)
    assert "undecided" in str(first) or "worth" in str(first)
    assert json.loads(json.dumps(first.to_json()))["gains"][0]["arm"] == "imitated"
    assert read_trials(tmp_path / "trials.json") == second
    shown = read_page(tmp_path / "page.html")
    assert shown.tried == (tried_of(second),)
    assert (shown.tried[0].sizes, shown.tried[0].seeds) == (("d32-L1",), 2)
    assert [g.difference for g in shown.tried[0].gains] == [g.difference for g in second.gains]
    assert shown.column("greedy") == tuple(run["greedy"] for run in second.runs)
    with pytest.raises(LabError, match="another config"):
        run_trials(countdown_design(tokens=4000), tmp_path)
