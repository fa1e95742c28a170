"""Seconds a GRPO step, and reward after equal samples, beside TRL's GRPOTrainer in one run.

python bench/rl.py [--steps 15] [--learn 40] [--seeds 3] [--width 128] [--depth 4] [--groups 32]

One model (Qwen3's layout, the same fine-tuned start), one task, the same number of prompts,
rollouts and tokens at most; one thread, processor seconds. Each trainer keeps its own optimizer and
takes the best of as many learning rates, by accuracy on problems kept from training and test after
`learn` steps of another seed; then all seeds learn as long and are tested.
"""

from __future__ import annotations

import os

os.environ |= {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TQDM_DISABLE": "1"}

import argparse
import tempfile
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from scipy.stats import ttest_ind

from isoflop.lab.device import pick_precision, single_thread
from isoflop.lab.model import Weights, init_weights
from isoflop.lab.rewards import verified
from isoflop.lab.rl import Grpo, learn, measure
from isoflop.lab.sft import sft
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem, Task, countdown, problems

ROLLOUTS = 8
DIFFICULTY = 0.3  # numbers up to 10
PEER_RATES = (1e-4, 3e-4, 1e-3, 3e-3)  # AdamW
OUR_SCALES = (0.06, 0.12, 0.25, 0.5)  # on our rates for Muon and Adam; 0.5 is the default
TUNING_SEED = 100
LAYER = {
    "self_attn.o_proj.weight": ("out_LDI", None),
    "self_attn.q_norm.weight": ("qk_norms_L2K", 0),
    "self_attn.k_norm.weight": ("qk_norms_L2K", 1),
    "mlp.down_proj.weight": ("down_LDF", None),
    "input_layernorm.weight": ("norms_L2D", 0),
    "post_attention_layernorm.weight": ("norms_L2D", 1),
}


@dataclass(frozen=True, kw_only=True)
class Ran:
    """A trainer's processor and wall seconds a step, and its accuracy before and after."""

    name: str
    seconds: float
    wall: float
    length: float
    before: float
    after: float
    kept: float  # on the problems that choose the learning rate


def to_qwen(weights: Weights, shape: Shape) -> dict[str, torch.Tensor]:
    """The same weights under the names of transformers' Qwen3."""
    width, wide = shape.width, shape.feedforward
    named = {
        "model.embed_tokens.weight": weights["embedding_VD"],
        "model.norm.weight": weights["final_norm_D"],
        "lm_head.weight": weights["head_VD"],
    }
    for k in range(shape.depth):
        layer = f"model.layers.{k}."
        for name, part in zip("qkv", weights["qkv_LRD"][k].split(width), strict=True):
            named[f"{layer}self_attn.{name}_proj.weight"] = part
        for name, part in zip(("gate", "up"), weights["gate_up_LRD"][k].split(wide), strict=True):
            named[f"{layer}mlp.{name}_proj.weight"] = part
        for name, (ours, place) in LAYER.items():
            held = weights[ours][k]
            named[layer + name] = held if place is None else held[place]
    return {k: v.detach().clone().contiguous() for k, v in named.items()}


def from_qwen(named: dict[str, torch.Tensor], weights: Weights, shape: Shape) -> Weights:
    """Back again, in the layout of `weights`."""
    found = {k: v.detach().clone() for k, v in weights.items()}
    found["embedding_VD"] = named["model.embed_tokens.weight"].detach().float()
    found["final_norm_D"] = named["model.norm.weight"].detach().float()
    found["head_VD"] = named["lm_head.weight"].detach().float()
    for k in range(shape.depth):
        layer = f"model.layers.{k}."
        found["qkv_LRD"][k] = torch.cat([named[f"{layer}self_attn.{n}_proj.weight"] for n in "qkv"])
        found["gate_up_LRD"][k] = torch.cat(
            [named[f"{layer}mlp.{n}_proj.weight"] for n in ("gate", "up")]
        )
        for name, (ours, place) in LAYER.items():
            target = found[ours][k] if place is None else found[ours][k][place]
            target.copy_(named[layer + name])
    return found


def qwen(shape: Shape):
    from transformers import Qwen3Config, Qwen3ForCausalLM

    return Qwen3ForCausalLM(
        Qwen3Config(
            vocab_size=shape.vocab, hidden_size=shape.width, num_hidden_layers=shape.depth,
            num_attention_heads=shape.heads, num_key_value_heads=shape.heads, head_dim=32,
            intermediate_size=shape.feedforward, max_position_embeddings=shape.context,
            rms_norm_eps=1e-6, rope_parameters={"rope_type": "default", "rope_theta": 10_000.0},
            tie_word_embeddings=False, bos_token_id=None, eos_token_id=10, pad_token_id=0,
        )
    )  # fmt: skip


def byte_tokenizer():
    """A tokenizer whose ids are bytes."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    made = Tokenizer(models.WordLevel({chr(k): k for k in range(256)}, unk_token=chr(1)))
    made.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    made.decoder = decoders.Fuse()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="\n", pad_token=chr(0), padding_side="left"
    )


@dataclass(frozen=True, kw_only=True)
class Course:
    """What both trainers are given."""

    start: Weights
    shape: Shape
    task: Task
    kept: list[Problem]
    test: list[Problem]
    groups: int

    def accuracy(self, weights: Weights, asked: list[Problem]) -> float:
        return measure(weights, self.shape, self.task, asked, count=8, seed=0)["pass_1"]


def peer(course: Course, *, steps: int, rate: float, seed: int, bf16: bool = False) -> Ran:
    import warnings

    import datasets
    from transformers import PrinterCallback, TrainerCallback
    from trl import GRPOConfig, GRPOTrainer

    warnings.filterwarnings("ignore")
    start, shape, task, groups = course.start, course.shape, course.task, course.groups
    asked = problems(
        task, split="train", count=steps * groups, difficulty=DIFFICULTY, seed=1000 + seed
    )
    known = {p.prompt: p for p in asked}

    def reward(prompts, completions, completion_ids, **_):
        rows = zip(prompts, completions, completion_ids, strict=True)
        return [task.check(known[p], text) if ids[-1] == 10 else 0.0 for p, text, ids in rows]

    model = qwen(shape)
    model.load_state_dict(to_qwen(start, shape))
    marks: list[tuple[float, float]] = []

    class Clock(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            marks.append((time.process_time(), time.perf_counter()))

    with tempfile.TemporaryDirectory() as folder:
        trainer = GRPOTrainer(
            model=model, reward_funcs=reward, processing_class=byte_tokenizer(),
            train_dataset=datasets.Dataset.from_dict({"prompt": [p.prompt for p in asked]}),
            callbacks=[Clock()],
            args=GRPOConfig(
                output_dir=folder, use_cpu=True, bf16=bf16, max_steps=steps, seed=seed,
                per_device_train_batch_size=groups * ROLLOUTS, gradient_accumulation_steps=1,
                num_generations=ROLLOUTS, steps_per_generation=1,
                max_completion_length=task.length, temperature=1.0, beta=0.0, loss_type="dapo",
                scale_rewards="none", epsilon=0.2, epsilon_high=0.28, learning_rate=rate,
                adam_beta2=0.99, lr_scheduler_type="constant_with_warmup", max_grad_norm=1.0,
                gradient_checkpointing=False, logging_steps=1, report_to="none",
                save_strategy="no", disable_tqdm=True, warmup_steps=4,
            ),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    lengths = [
        x["completions/mean_length"] for x in trainer.state.log_history
        if "completions/mean_length" in x
    ]  # fmt: skip
    named = {k: v.cpu() for k, v in model.state_dict().items()}
    return ran(
        "TRL GRPOTrainer, " + ("bf16" if bf16 else "fp32"), course,
        from_qwen(named, start, shape), marks=marks, lengths=lengths,
    )  # fmt: skip


def ours(course: Course, *, steps: int, scale: float, seed: int) -> Ran:
    marks: list[tuple[float, float]] = []
    config = Grpo(
        groups=course.groups, rollouts=ROLLOUTS, difficulty=DIFFICULTY, every=steps, scale=scale,
        save_seconds=1e9, test_samples=1,
    )  # fmt: skip

    def judge(asked, samples):
        # Called once a step: from one call to the next is one whole step.
        marks.append((time.process_time(), time.perf_counter()))
        return verdict(asked, samples)

    verdict = verified(course.task)
    with tempfile.TemporaryDirectory() as folder:
        done = learn(
            course.start, course.shape, course.task, steps=steps, folder=Path(folder),
            config=config, test=course.test, judge=judge, seed=seed,
        )  # fmt: skip
    lengths = [row["length"] for row in done.rows if "length" in row]
    return ran("isoflop", course, done.weights, marks=marks, lengths=lengths)


def ran(
    name: str,
    course: Course,
    weights: Weights,
    *,
    marks: list[tuple[float, float]],
    lengths: list[float],
) -> Ran:
    """Median seconds between marks; the first step, with its warm-up, is left out."""
    steps = sorted(b[0] - a[0] for a, b in pairwise(marks))
    walls = sorted(b[1] - a[1] for a, b in pairwise(marks))
    return Ran(
        name=name, seconds=steps[len(steps) // 2], wall=walls[len(walls) // 2],
        length=sum(lengths) / len(lengths), before=course.accuracy(course.start, course.test),
        after=course.accuracy(weights, course.test), kept=course.accuracy(weights, course.kept),
    )  # fmt: skip


def race(course: Course, steps: int) -> None:
    """Print the seconds a step of both, the peer's in each precision that the processor has."""
    found = [ours(course, steps=steps, scale=OUR_SCALES[-1], seed=5)]
    native = pick_precision("cpu") == torch.bfloat16
    for bf16 in (False, True)[: 1 + native]:
        found.append(peer(course, steps=steps, rate=PEER_RATES[0], seed=5, bf16=bf16))
    for r in found:
        print(
            f"{r.name:<24} {r.seconds:8.3f} core-s a step ({r.wall:.3f} wall), {r.length:5.1f} "
            "tokens a rollout"
        )
    best = min(r.seconds for r in found[1:])
    print(f"the faster of the peer's takes {best / found[0].seconds:.1f} times as long", flush=True)


def compare(course: Course, *, steps: int, seeds: int) -> None:
    """Print the held-out accuracy of both after the same samples, each at its best rate."""
    trainers = {
        "isoflop": (
            OUR_SCALES, lambda rate, seed: ours(course, steps=steps, scale=rate, seed=seed)
        ),
        "TRL GRPOTrainer": (
            PEER_RATES, lambda rate, seed: peer(course, steps=steps, rate=rate, seed=seed)
        ),
    }  # fmt: skip
    print(f"\nafter {steps} steps, {steps * course.groups * ROLLOUTS} samples", flush=True)
    ends = []
    for name, (rates, train) in trainers.items():
        tried = {rate: train(rate, TUNING_SEED).kept for rate in rates}
        rate = max(rates, key=lambda rate: tried[rate])
        done = [train(rate, seed) for seed in range(seeds)]
        ends.append(np.array([r.after for r in done]))
        print(
            f"{name:<16} rates {', '.join(f'{r:g}: {a:.3f}' for r, a in tried.items())}; at "
            f"{rate:g} held-out accuracy {done[0].before:.3f} -> {ends[-1].mean():.3f} (seeds "
            f"{', '.join(f'{a:.3f}' for a in ends[-1])})",
            flush=True,
        )
    gap = ttest_ind(*ends, equal_var=False)
    low, high = gap.confidence_interval()
    print(f"ours less the peer's: {ends[0].mean() - ends[1].mean():+.3f} (95% {low:+.3f} to "
          f"{high:+.3f}, Welch over seeds)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (
        ("steps", 15),
        ("learn", 40),
        ("seeds", 3),
        ("tokens", 400_000),
        ("width", 128),
        ("depth", 4),
        ("groups", 32),
    ):
        parser.add_argument(f"--{name}", type=int, default=value)
    given = parser.parse_args()
    single_thread()
    torch.manual_seed(0)
    task = countdown()
    shape = Shape(width=given.width, depth=given.depth, vocab=256, context=48)
    train = problems(task, split="train", count=4000, difficulty=DIFFICULTY, seed=0)
    with tempfile.TemporaryDirectory() as folder:
        start = sft(
            init_weights(shape, seed=0), shape, train, tokens=given.tokens, folder=Path(folder)
        ).weights
    drawn = problems(task, split="test", count=600, difficulty=DIFFICULTY, seed=0)
    course = Course(
        start=start, shape=shape, task=task, kept=drawn[:300], test=drawn[300:],
        groups=given.groups,
    )  # fmt: skip
    print(
        f"{given.groups} x {ROLLOUTS} rollouts of at most {task.length} tokens, width "
        f"{shape.width}, {shape.depth} layers, one thread"
    )
    race(course, given.steps)
    if given.learn:
        compare(course, steps=given.learn, seeds=given.seeds)


if __name__ == "__main__":
    main()
