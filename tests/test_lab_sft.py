"""Fine-tuning learns solutions alone, bit for bit the same after a kill; sampling is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from isoflop.lab.files import LabError, digest_tensors, read_lines
from isoflop.lab.model import forward, init_weights, rotation
from isoflop.lab.sample import choose, part, sample, sampling_flops
from isoflop.lab.sft import SftRecipe, encode, plan, rate_at, sft
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem, multiplication, problems

SHAPE = Shape(width=32, depth=2, vocab=256, context=64)
EASY = [
    Problem(prompt=f"{a}{b}=", solution=f"{b}{a}", answer=f"{b}{a}", difficulty=0)
    for a in "abcd"
    for b in "wxyz"
]


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    recipe = SftRecipe(tokens_per_step=96, warmup_steps=8)
    start = init_weights(SHAPE, seed=0)
    return sft(start, SHAPE, EASY, tokens=20_000, folder=folder, recipe=recipe)


def test_encoding_marks_what_is_learnt():
    p = Problem(
        prompt="1+1=",
        solution="3x2<t>2",
        answer="2",
        difficulty=0,
        wrong=((0, 1),),
        given=((3, 6),),
    )
    tokens_NU, counts_NU, length_N = encode([p], stop="\n", blame=True)
    assert bytes(tokens_NU[0]).decode() == "1+1=3x2<t>2\n"
    assert length_N.tolist() == [12]
    assert counts_NU[0].astype(int).tolist() == [0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 1, 1]
    counts_NU = encode([p], stop="\n", blame=False)[1]
    assert counts_NU[0].astype(int).tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1]


def test_every_step_holds_its_share_of_tokens_and_epochs_hold_every_example():
    drawn = problems(multiplication(), split="train", count=100, difficulty=1, seed=0)
    size = sum(len(p.prompt + p.solution) + 1 for p in drawn)
    batches = plan(drawn, SftRecipe(tokens_per_step=500), tokens=3 * size, seed=0, stop="\n")
    rows = np.concatenate(batches.steps)
    assert np.bincount(rows).tolist() == [3] * 100
    taken = [int(batches.length_N[step].sum()) for step in batches.steps]
    assert sum(taken) == 3 * size
    assert max(abs(x - 500) for x in taken[:-1]) < 50
    again = plan(drawn, SftRecipe(tokens_per_step=500), tokens=3 * size, seed=0, stop="\n")
    assert [s.tolist() for s in again.steps] == [s.tolist() for s in batches.steps]


def test_rates_rise_stay_and_fall():
    rate = rate_at(SftRecipe(warmup_steps=10, decay=0.5), 100)
    assert [rate(s) for s in (0, 9, 40, 50, 75, 99)] == [0.1, 1.0, 1.0, 1.0, 0.5, 0.02]


def test_solutions_are_learnt(tuned):
    found = sample(
        tuned.weights, SHAPE, [p.prompt for p in EASY], count=1, temperature=0, length=4, seed=0
    )
    assert [row[0] for row in found.texts] == [p.solution for p in EASY]
    assert found.finished_PN.all()
    assert tuned.tokens == pytest.approx(20_000, abs=6)
    assert tuned.problems == 16


def test_a_killed_run_ends_in_the_same_bits(tmp_path, monkeypatch):
    start = init_weights(SHAPE, seed=1)
    recipe = SftRecipe(tokens_per_step=64, save_seconds=0)
    whole = sft(start, SHAPE, EASY, tokens=4000, folder=tmp_path / "a", recipe=recipe)

    import isoflop.lab.sft as module

    taken = 0
    step = module._step

    def dies(*args, **options):
        nonlocal taken
        taken += 1
        if taken > 50:
            raise KeyboardInterrupt
        return step(*args, **options)

    monkeypatch.setattr(module, "_step", dies)
    with pytest.raises(KeyboardInterrupt):
        sft(start, SHAPE, EASY, tokens=4000, folder=tmp_path / "b", recipe=recipe)
    monkeypatch.setattr(module, "_step", step)
    resumed = sft(start, SHAPE, EASY, tokens=4000, folder=tmp_path / "b", recipe=recipe)
    assert digest_tensors(resumed.weights, "") == digest_tensors(whole.weights, "")
    first, second = (read_lines(tmp_path / name / "metrics.jsonl") for name in "ab")
    for line in (*first, *second):
        assert line.pop("tokens_per_second") > 0
    assert first == second
    with pytest.raises(LabError, match="another config"):
        sft(start, SHAPE, EASY, tokens=4000, folder=tmp_path / "b", recipe=recipe, seed=9)


def test_finished_training_is_read_back_not_repeated(tmp_path, monkeypatch):
    start = init_weights(SHAPE, seed=1)
    first = sft(start, SHAPE, EASY, tokens=600, folder=tmp_path)

    def never(*args, **options):
        raise AssertionError("trained again")

    monkeypatch.setattr("isoflop.lab.sft._step", never)
    second = sft(start, SHAPE, EASY, tokens=600, folder=tmp_path)
    assert replace(second, weights={}) == replace(first, weights={})


def test_bad_input_is_refused(tmp_path):
    weights = init_weights(SHAPE, seed=0)
    long = Problem(prompt="a" * 60, solution="b" * 10, answer="b", difficulty=0)
    with pytest.raises(ValueError, match="has 71 bytes, the model's context is 64"):
        sft(weights, SHAPE, [long], tokens=100, folder=tmp_path)
    with pytest.raises(ValueError, match="no examples"):
        sft(weights, SHAPE, [], tokens=100, folder=tmp_path)
    options = {"count": 1, "temperature": 1.0, "length": 4, "seed": 0}
    with pytest.raises(ValueError, match="do not fit the context of 64"):
        sample(weights, SHAPE, ["a" * 61], **options)
    with pytest.raises(ValueError, match="prompt is empty"):
        sample(weights, SHAPE, [""], **options)
    with pytest.raises(ValueError, match="temperature -1"):
        sample(weights, SHAPE, ["a"], **{**options, "temperature": -1})
    with pytest.raises(ValueError, match="stop 'é'"):
        sample(weights, SHAPE, ["a"], **options, stop="é")


def test_log_probabilities_are_those_of_the_whole_text(tuned):
    """Prefill, cache, copies and dropped rows give what one forward pass over the text gives."""
    prompts = ["aw=", "bcx=", "dz=", "hello ", "aw="]
    found = sample(tuned.weights, SHAPE, prompts, count=6, temperature=1, length=12, seed=3)
    table = rotation(SHAPE, dtype=torch.float32)
    for place, prompt in enumerate(prompts):
        for k in range(6):
            size = found.lengths_PN[place, k]
            text = prompt.encode() + bytes(found.tokens_PNT[place, k, :size])
            tokens = torch.tensor([list(text)])
            with torch.no_grad():
                logits = forward(tuned.weights, tokens[:, :-1], shape=SHAPE, table=table)
            log_p = torch.log_softmax(logits, -1)[0].gather(1, tokens[0, 1:, None])[:, 0]
            expected = log_p[len(prompt) - 1 :].numpy()
            given = found.log_probs_PNT[place, k]
            # Sampling computes in bfloat16 where the processor does.
            np.testing.assert_allclose(given[:size], expected, atol=0.35, rtol=0.1)
            assert not given[size:].any()
            assert not found.tokens_PNT[place, k, size:].any()
            stopped = bytes(found.tokens_PNT[place, k, :size]).endswith(b"\n")
            assert stopped == found.finished_PN[place, k] == (size < 12 or stopped)


def test_samples_depend_on_the_seed_and_the_place_not_on_the_batch(tuned):
    options = {"count": 5, "temperature": 1.0, "length": 6, "seed": 1}
    prompts = [p.prompt for p in EASY]
    one = sample(tuned.weights, SHAPE, prompts, **options)
    assert one.texts == sample(tuned.weights, SHAPE, prompts, **options).texts
    other = sample(tuned.weights, SHAPE, prompts, **{**options, "seed": 2})
    assert other.texts != one.texts
    split = sample(tuned.weights, SHAPE, prompts, **options, rows=7)
    same = np.mean([a == b for a, b in zip(split.texts, one.texts, strict=True)])
    assert same > 0.8  # matrices of another size round differently


def test_samples_share_a_sequence_until_they_part():
    """Any draws: every sample goes on from a copy of its own text, no place serves two texts."""
    rng = np.random.default_rng(0)
    prompts, count = 3, 8
    place, alive = np.arange(prompts * count) // count, np.arange(prompts * count)
    held = [[k] for k in range(prompts)]  # the text in each place of the cache
    texts = [[k // count] for k in alive]
    for share in (0.0, 0.1, 0.1, 0.5, 0.5):
        token = rng.integers(3, size=len(alive))
        goes_on = rng.random(len(alive)) >= share
        alive, place, token = alive[goes_on], place[goes_on], token[goes_on]
        found = part(place, token, used=len(held))
        assert not set(found.source) & set(found.target)
        held += [[]] * (found.used - len(held))
        for source, target in zip(found.source, found.target, strict=True):
            held[target] = held[source]
        held = held[: found.used]
        place = found.place_L
        assert [held[at] for at in place] == [texts[k] for k in alive]
        for k, at, new in zip(alive, place, token, strict=True):
            texts[k] = [*texts[k], int(new)]
            held[at] = texts[k]
        different = len({tuple(texts[k]) for k in alive})
        assert len(set(place)) == different
        assert different <= found.used <= different / (1 - 1 / 8)


def test_draws_follow_the_distribution():
    logits_V = torch.log(torch.tensor([0.5, 0.0, 0.3, 0.2]))
    count = 20_000
    uniform = (torch.arange(count) + 0.5) / count
    for temperature, power in ((1, 1.0), (0.5, 2.0)):
        token, log_p = choose(logits_V.expand(count, -1), uniform, temperature=temperature)
        expected = torch.tensor([0.5, 0.0, 0.3, 0.2]) ** power
        shares = torch.bincount(token, minlength=4) / count
        torch.testing.assert_close(shares, expected / expected.sum(), atol=2e-4, rtol=0)
        torch.testing.assert_close(log_p, logits_V[token])  # the model's own, whatever the T
    edges = torch.tensor([0.0, 0.99999994])
    assert choose(logits_V.expand(2, -1), edges, temperature=1)[0].tolist() == [0, 3]
    assert choose(logits_V.expand(2, -1), edges, temperature=0)[0].tolist() == [0, 0]


def test_several_stops_and_bytes_that_are_no_text(tuned):
    found = sample(
        tuned.weights, SHAPE, ["aw="], count=4, temperature=0, length=6, seed=0, stop="w\n"
    )
    assert set(found.texts[0]) == {""}  # the solution of aw= is wa
    assert found.lengths_PN.tolist() == [[1, 1, 1, 1]]
    noise = sample(
        init_weights(SHAPE, seed=0), SHAPE, ["aw="], count=8, temperature=3, length=20, seed=0
    )
    assert all(isinstance(text, str) for text in noise.texts[0])


def test_flops_of_sampling():
    from isoflop.lab.model import count_params

    assert sampling_flops(SHAPE, 10, 5) == 30 * count_params(SHAPE)["matmul"]
