"""Confidences mean what they say, honest ones are learnt, hallucination stands beside its floor."""

import numpy as np
import pytest
import torch

from isoflop.knowing import quadrants
from isoflop.lab import rl
from isoflop.lab.model import forward, init_weights, rotation
from isoflop.lab.rewards import confident, honest, split_confidence
from isoflop.lab.rl import Grpo, learn
from isoflop.lab.selfknowledge import (
    fit_logistic,
    fit_probe,
    hallucination,
    interview,
    log_prob,
    states,
)
from isoflop.lab.sft import SftRecipe, sft
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem, Task, problems

SHAPE = Shape(width=32, depth=1, vocab=256, context=16)


def make(rng, difficulty):
    """Letters before `a:` have the answer 0; before `b:` it is 0 or 1, nobody can tell which."""
    name = "".join(chr(97 + k) for k in rng.integers(26, size=4))
    kind = "ab"[rng.integers(2)]
    right = "0" if kind == "a" else str(rng.integers(2))
    return Problem(prompt=f"{name}{kind}:", solution=right, answer=right, difficulty=difficulty)


TASK = Task(
    name="coins", dimension="knowledge", make=make, check=lambda p, text: float(text == p.answer),
    final=lambda text: text, length=3, alphabet="01:\n", instruction="",
)  # fmt: skip
HONEST = confident(TASK)


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Answers as well as can be, and states confidences at random."""
    train = problems(HONEST, split="train", count=3000, difficulty=1.0, seed=0)
    return sft(
        init_weights(SHAPE, seed=0), SHAPE, train, tokens=80_000,
        folder=tmp_path_factory.mktemp("sft"),
        recipe=SftRecipe(tokens_per_step=512, warmup_steps=4),
    ).weights  # fmt: skip


@pytest.fixture(scope="module")
def asked():
    return problems(HONEST, split="test", count=200, difficulty=1.0, seed=1)


def test_a_confidence_is_split_from_its_answer():
    assert split_confidence("12+3=15?9") == ("12+3=15", 0.95)
    assert split_confidence("12+3=15") == ("12+3=15", None)
    assert split_confidence("1?x") == ("1?x", None)
    problem = problems(HONEST, split="train", count=1, difficulty=1.0, seed=0)[0]
    answer = problem.answer
    assert HONEST.check(problem, f"{answer}?3") == 1
    assert HONEST.check(problem, answer) == 0  # a confidence is due
    assert HONEST.final(f"{answer}?3") == answer


def test_a_proper_score_teaches_what_the_model_knows(start, asked, tmp_path):
    before = interview(start, SHAPE, HONEST, asked, samples=2)
    first = quadrants(before.items("said"), draws=0)
    assert first.scores["auroc"] == pytest.approx(0.5, abs=0.2)
    config = Grpo(groups=16, rollouts=8, every=100, test_samples=2, scale=2.0)
    done = learn(
        start, SHAPE, HONEST, steps=60, folder=tmp_path, config=config, test=asked,
        judge=honest(HONEST, weight=2.0),
    )  # fmt: skip
    after = interview(done.weights, SHAPE, HONEST, asked, samples=2)
    last = quadrants(after.items("said"), draws=0)
    # Perfect self-knowledge here is 0.95 on `a` and 0.45 or 0.55 on `b`: an AUROC of 0.83. After 60
    # steps eight seeds reached 0.73 to 0.84, after 30 they scattered from 0.55 on.
    assert last.scores["auroc"] > 0.7
    assert last.scores["brier"] < 0.17
    assert last.scores["brier"] < first.scores["brier"] - 0.1


def test_the_bonus_is_on_the_digit_alone_and_cannot_reward_a_verdict(start):
    drawn_from = problems(HONEST, split="train", count=20, difficulty=1.0, seed=5)
    drawn = rl.sample(
        start, SHAPE, [p.prompt for p in drawn_from], count=8, temperature=1.0, length=5, seed=0
    )
    judged = honest(HONEST)(drawn_from, drawn)
    assert judged.bonus_PNT is not None
    places = np.nonzero(judged.bonus_PNT)[2]
    assert set(places.tolist()) == {2}  # answer, mark, digit, stop
    for verdict in (0.0, 1.0):
        paid = judged.bonus_PNT.sum(axis=2)[judged.right_PN == verdict]
        assert paid.sum() == pytest.approx(0, abs=1e-3)


def test_confidences_of_an_interview(start, asked):
    probe = fit_probe(
        start, SHAPE, HONEST, problems(HONEST, split="train", count=300, difficulty=1.0, seed=9)
    )
    found = interview(start, SHAPE, HONEST, asked, samples=16, probe=probe, seed=3)
    easy = np.array([p[4] == "a" for p in found.prompts])
    assert found.y[easy].mean() > 0.95
    assert found.y[~easy].mean() == pytest.approx(0.5, abs=0.15)
    assert found.confidences["likelihood"][easy].mean() > 0.9
    assert found.confidences["likelihood"][~easy].mean() == pytest.approx(0.55, abs=0.1)
    assert found.confidences["vote"][~easy].mean() == pytest.approx(0.55, abs=0.1)
    assert set(found.items("probe")["dimension"]) == {"knowledge"}
    report = quadrants(found.items("probe"), draws=0)
    assert report.scores["auroc"] > 0.7
    assert report.scores["ece_width"] < 0.15
    with pytest.raises(ValueError, match="no confidence 'gut'"):
        found.items("gut")


def test_states_and_log_probabilities_are_those_of_the_model(start):
    table = rotation(SHAPE, dtype=torch.bfloat16)
    texts = ["abcda:", "zzb:0"]
    found = states(start, SHAPE, texts)
    head = start["head_VD"].detach().numpy()
    for text, state in zip(texts, found, strict=True):
        tokens = torch.tensor([list(text.encode())])
        logits = forward(start, tokens, shape=SHAPE, table=table)[0, -1].float()
        assert head @ state == pytest.approx(logits.detach().numpy(), abs=0.3)
    both = log_prob(start, SHAPE, ["abcda:", "abcda:"], ["0", "1"])
    assert np.exp(both).sum() == pytest.approx(1, abs=0.03)
    assert both[0] > both[1] + 2


def test_a_probe_recovers_planted_odds():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5000, 4)) * [1, 2, 3, 4] + 5
    odds = (x - 5) @ [1.0, -0.5, 0, 0] + 0.3
    y = (rng.random(5000) < 1 / (1 + np.exp(-odds))).astype(float)
    probe = fit_logistic(x, y, ridge=1e-6)
    assert probe.weight_D / probe.scale_D == pytest.approx([1, -0.5, 0, 0], abs=0.1)
    assert probe(x).mean() == pytest.approx(y.mean(), abs=1e-6)


def test_hallucination_beside_its_floor(start, asked):
    """Names are new and kinds decide: a model that always answers errs on a quarter."""
    report = hallucination(
        start, SHAPE, HONEST, asked,
        seen=[0, 1, 5, 2] * 50, told=[1] * 300 + [4] * 100, wrong_answers=9,
    )  # fmt: skip
    assert report.rate == pytest.approx(0.25, abs=0.08)
    assert report.singletons == 300 / 700
    assert {k: n for k, (n, _) in report.by_seen.items()} == {
        "0": 50, "1": 50, "2-3": 50, "4+": 50,
    }  # fmt: skip
    low, high = report.intervals["all"]
    assert low < report.rate < high
    assert report.intervals["1"][1] - report.intervals["1"][0] == pytest.approx(0.25, abs=0.05)
    luck = (35 + 6 * np.log(700)) / np.sqrt(700)
    floor = 300 / 700 - 2 / 9 - luck - report.miscalibration
    assert report.bound == pytest.approx(floor)
    assert "says nothing" in str(report)
