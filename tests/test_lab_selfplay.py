"""A proposer is paid for problems at the edge, and drifts towards them."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop.lab import files, selfplay
from isoflop.lab.model import init_weights
from isoflop.lab.rl import Grpo
from isoflop.lab.selfplay import SelfPlay, edge, play, proposer_examples, read_countdown
from isoflop.lab.sft import SftRecipe, sft
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem, Task, countdown, in_test, problems

SHAPE = Shape(width=32, depth=1, vocab=256, context=16)
KINDS = "efh"  # easy: any digit is right; fair: half of them; hard: none


def make(rng, difficulty):
    name = "".join(chr(97 + k) for k in rng.integers(26, size=3))
    kind = KINDS[rng.integers(3)]
    digit = str(rng.integers(4))
    return Problem(prompt=f"{kind}{name}:", solution=digit, answer="", difficulty=difficulty)


def check(problem, text):
    most = {"e": 4, "f": 2, "h": 0}[problem.prompt[0]]
    return float(text.isdigit() and int(text) < most)


TASK = Task(
    name="kinds", dimension="reasoning", make=make, check=check, final=lambda text: text,
    length=6, alphabet="0123:\n", instruction="",
)  # fmt: skip
TEST = problems(TASK, split="test", count=30, difficulty=1.0, seed=1)
# The solver scarcely moves, so that only the proposer has anything to learn.
CONFIG = SelfPlay(
    grpo=Grpo(groups=16, rollouts=8, every=50, test_samples=2, scale=1e-6),
    proposals=64, share=1.0, proposer_scale=0.5,
)  # fmt: skip


def read(prompt):
    fits = len(prompt) == 4 and prompt[0] in KINDS and prompt[1:4].isalpha()
    asked = Problem(prompt=prompt + ":", solution="", answer="", difficulty=1.0)
    return asked if fits else None


@pytest.fixture(scope="module")
def players(tmp_path_factory):
    known = problems(TASK, split="train", count=2000, difficulty=1.0, seed=0)
    recipe = SftRecipe(tokens_per_step=512, warmup_steps=4)
    made = []
    names = proposer_examples([replace(p, solution=p.prompt[:-1]) for p in known])
    for name, examples in (("s", known), ("p", names)):
        folder = tmp_path_factory.mktemp(name)
        weights = init_weights(SHAPE, seed=0)
        made.append(sft(weights, SHAPE, examples, tokens=30_000, folder=folder, recipe=recipe))
    return made[0].weights, made[1].weights


def test_the_edge_is_unbiased_and_highest_at_one_half():
    rng = np.random.default_rng(0)
    for p in (0.1, 0.5, 0.9):
        drawn = (rng.random((200_000, 4)) < p).astype(float)
        assert edge(drawn).mean() == pytest.approx(4 * p * (1 - p), abs=0.005)


def test_the_proposer_finds_the_edge(players, tmp_path):
    done = play(*players, SHAPE, TASK, read=read, steps=25, folder=tmp_path, config=CONFIG,
                test=TEST)  # fmt: skip
    first, last = done.rows[1], done.rows[-1]
    assert first["edge"] < 0.6  # a third of the problems pays 1, the others nothing
    assert np.mean([row["edge"] for row in done.rows[-8:]]) > 0.62
    assert np.mean([row["valid"] for row in done.rows[-8:]]) > 0.2
    assert [row["step"] for row in done.rows] == list(range(26))
    assert last["rollouts"] == 25 * 16 * 8


def test_a_stopped_game_ends_in_the_same_bits(players, tmp_path):
    config = replace(CONFIG, grpo=replace(CONFIG.grpo, every=2, save_seconds=0.0))
    given = {"config": config, "test": TEST}
    whole = play(*players, SHAPE, TASK, read=read, steps=4, folder=tmp_path / "a", **given)
    seen = []

    def stops(prompt):
        seen.append(prompt)
        if len(seen) > 150:
            raise KeyboardInterrupt
        return read(prompt)

    with pytest.raises(KeyboardInterrupt):
        play(*players, SHAPE, TASK, read=stops, steps=4, folder=tmp_path / "b", **given)
    again = play(*players, SHAPE, TASK, read=read, steps=4, folder=tmp_path / "b", **given)
    assert files.digest_tensors(again.weights, "") == files.digest_tensors(whole.weights, "")
    timed = ("rollout_seconds", "update_seconds")
    plain = [[{k: v for k, v in r.items() if k not in timed} for r in x.rows]
             for x in (again, whole)]  # fmt: skip
    assert plain[0] == plain[1]


def test_proposals_of_the_test_split_are_not_played():
    held = next(p.prompt for p in TEST)
    drawn = type("Drawn", (), {})()
    drawn.texts, drawn.finished_PN = [[held[:-1], "zzzz"]], np.array([[True, True]])
    assert in_test(held)
    assert selfplay._read_all(drawn, read) == [None, None]


@pytest.mark.parametrize(
    "text",
    ["17-5=13,7+13=20", "17-5=12,7+12=19,1+1=2", "17-5=12", "21-5=16,3+16=19", "1+2=3,3-3=0", "x"],
)
def test_only_true_chains_make_countdown_problems(text):
    assert read_countdown(text) is None


def test_a_chain_makes_the_problem_it_solves():
    task = countdown()
    orders = set()
    for problem in problems(task, split="train", count=200, difficulty=1.0, seed=4):
        found = read_countdown(problem.solution)
        assert found is not None
        assert sorted(found.prompt) == sorted(problem.prompt)
        assert task.check(found, problem.solution) == 1
        orders.add(found.prompt == problem.prompt)
    assert orders == {True, False}
