"""Fine-tune on worked solutions: the loss on the solution alone, equal tokens, same seed same bits.

Texts are bytes. Shapes: B examples, T positions, U = T + 1.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from isoflop.lab import files
from isoflop.lab.device import pick_precision
from isoflop.lab.model import Shape, Weights, count_params, forward, rotation
from isoflop.lab.optim import Rates, gradients, init_state, update
from isoflop.lab.state import Loop, State, advance, load_latest, store
from isoflop.lab.tasks import Problem
from isoflop.lab.train import claim

BUCKET = 16  # batches are padded to whole multiples, so that few shapes occur
VOCAB = 256


@dataclass(frozen=True, kw_only=True)
class SftRecipe:
    """How a model is fine-tuned; tokens are bytes of prompts, solutions and stops, padding not."""

    tokens_per_step: int = 1024
    warmup_steps: int = 32
    decay: float = 0.3  # last share of the steps, in which rates fall linearly to 0
    blame: bool = True  # whether spans that err are imitated (their loss counts) or only read
    rates: Rates = field(default_factory=lambda: Rates(matrix=0.024, embedding=0.016, head=0.004))
    save_seconds: float = 10.0

    def __post_init__(self) -> None:
        if self.tokens_per_step < 1 or self.warmup_steps < 1 or not 0 < self.decay < 1:
            raise ValueError("tokens_per_step and warmup_steps are 1 or more, decay is in (0, 1)")


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """Fine-tuned weights and what they took; `flops` is 6 x matmul parameters x tokens."""

    weights: Weights
    tokens: int
    steps: int
    problems: int
    flops: float
    core_seconds: float
    loss: float


@dataclass(frozen=True, kw_only=True)
class Batches:
    """Encoded examples and, step by step, which of them are trained on."""

    tokens_NU: NDArray[np.uint8]
    counts_NU: NDArray[np.bool_]  # where the token is a target whose loss counts
    length_N: NDArray[np.int64]
    steps: list[NDArray[np.int64]]


def encode(
    examples: Sequence[Problem], *, stop: str, blame: bool
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], NDArray[np.int64]]:
    """Bytes of prompt + solution + stop (N, U), where their loss counts (N, U), lengths (N,)."""
    rows, marks = [], []
    for p in examples:
        prompt = p.prompt.encode()
        solution = p.solution.encode()
        mark = np.ones(len(prompt) + len(solution) + len(stop.encode()), bool)
        mark[: len(prompt)] = False
        for start, end in p.given if blame else (*p.given, *p.wrong):
            before = len(p.solution[:start].encode())
            span = len(p.solution[start:end].encode())
            mark[len(prompt) + before : len(prompt) + before + span] = False
        rows.append(prompt + solution + stop.encode())
        marks.append(mark)
    length_N = np.array([len(row) for row in rows])
    tokens_NU = np.zeros((len(rows), int(length_N.max())), np.uint8)
    counts_NU = np.zeros(tokens_NU.shape, bool)
    for k, (row, mark) in enumerate(zip(rows, marks, strict=True)):
        tokens_NU[k, : len(row)] = np.frombuffer(row, np.uint8)
        counts_NU[k, : len(row)] = mark
    return tokens_NU, counts_NU, length_N


def plan(
    examples: Sequence[Problem], recipe: SftRecipe, *, tokens: int, seed: int, stop: str
) -> Batches:
    """Lay out all steps: shuffled epochs, cut where another step's worth of tokens is full."""
    tokens_NU, counts_NU, length_N = encode(examples, stop=stop, blame=recipe.blame)
    rng = np.random.default_rng(seed)
    epochs = math.ceil(tokens / int(length_N.sum()))
    order = np.concatenate([rng.permutation(len(length_N)) for _ in range(epochs)])
    before = np.cumsum(length_N[order]) - length_N[order]
    order = order[before < tokens]
    step = before[before < tokens] // recipe.tokens_per_step
    steps = np.split(order, np.flatnonzero(np.diff(step)) + 1)
    return Batches(tokens_NU=tokens_NU, counts_NU=counts_NU, length_N=length_N, steps=steps)


def sft(
    weights: Weights,
    shape: Shape,
    examples: Sequence[Problem],
    *,
    tokens: int,
    folder: Path,
    recipe: SftRecipe | None = None,
    seed: int = 0,
    stop: str = "\n",
    device: str = "cpu",
) -> Tuned:
    """Train a copy of `weights` on worked solutions until `tokens` were seen.

    The folder holds the progress: killed and called again with the same arguments, it goes on and
    ends in the same bits. Raises ValueError where an example is longer than the model's context,
    LabError for another config in the folder or a diverged loss.
    """
    recipe = recipe or SftRecipe()
    _check(examples, shape, tokens=tokens, stop=stop)
    batches = plan(examples, recipe, tokens=tokens, seed=seed, stop=stop)
    files.make_folder(folder)
    with files.lock(folder):
        claim(folder, _config(weights, shape, batches, recipe, tokens=tokens, seed=seed))
        state = load_latest(folder, at_most=len(batches.steps), messages=[], device=device)
        if state is None:
            fresh = {k: v.detach().clone().to(device) for k, v in weights.items()}
            state = State(step=0, weights=fresh, moments=init_state(fresh, shape=shape))
        loop = _loop(state, batches, recipe, shape=shape, device=device, folder=folder)
        state = advance(state, loop, until=len(batches.steps), folder=folder)
        store(folder, state)
    seen = int(sum(batches.length_N[rows].sum() for rows in batches.steps))
    done = files.read_lines(folder / "metrics.jsonl")
    return Tuned(
        weights={k: v.detach() for k, v in state.weights.items()},
        tokens=seen,
        steps=state.step,
        problems=len(np.unique(np.concatenate(batches.steps))),
        flops=6.0 * count_params(shape)["matmul"] * seen,
        core_seconds=state.core_seconds,
        loss=float(done[-1]["loss"]),
    )


def _check(examples: Sequence[Problem], shape: Shape, *, tokens: int, stop: str) -> None:
    if not examples:
        raise ValueError("no examples to train on")
    if tokens < 1:
        raise ValueError(f"tokens {tokens} must be 1 or more")
    if shape.vocab < VOCAB:
        raise ValueError(f"shape.vocab {shape.vocab} is below the 256 bytes that tasks are made of")
    for p in examples:
        size = len((p.prompt + p.solution + stop).encode())
        if size > shape.context + 1:
            raise ValueError(
                f"example {p.prompt[:40]!r} has {size} bytes, the model's context is "
                f"{shape.context}: give a shape with a larger context, or easier problems"
            )


def _config(
    weights: Weights, shape: Shape, batches: Batches, recipe: SftRecipe, *, tokens: int, seed: int
) -> dict:
    """Everything that decides the result, for the folder's record."""
    text = hashlib.sha256(batches.tokens_NU.tobytes() + np.packbits(batches.counts_NU).tobytes())
    recorded = asdict(recipe)
    del recorded["save_seconds"]
    return {
        "start": files.digest_tensors({k: v.detach() for k, v in weights.items()}, ""),
        "examples": text.hexdigest(),
        "tokens": tokens,
        "seed": seed,
        "shape": asdict(shape),
        "recipe": recorded,
    }


def rate_at(recipe: SftRecipe, steps: int) -> Callable[[int], float]:
    """Warm-up, constant, then linear to 0 over the last share of the steps."""
    start = round((1 - recipe.decay) * steps)

    def rate(step: int) -> float:
        rise = min(1.0, (step + 1) / recipe.warmup_steps)
        return rise * min(1.0, (steps - step) / max(1, steps - start))

    return rate


def _loop(
    state: State, batches: Batches, recipe: SftRecipe, *, shape: Shape, device: str, folder: Path
) -> Loop:
    table = rotation(shape, dtype=pick_precision(device), device=device)
    rate = rate_at(recipe, len(batches.steps))
    for weight in state.weights.values():
        weight.requires_grad_()

    def take(start: int, stop: int) -> float:
        losses = [
            _step(state, batches, step, shape=shape, table=table, recipe=recipe, scale=rate(step))
            for step in range(start, stop)
        ]
        return torch.stack(losses).mean().item()

    return Loop(
        take=take,
        rate=rate,
        save=lambda reached: store(folder, reached),
        tokens_per_step=recipe.tokens_per_step,
        save_seconds=recipe.save_seconds,
    )


def _step(
    state: State,
    batches: Batches,
    step: int,
    *,
    shape: Shape,
    table: torch.Tensor,
    recipe: SftRecipe,
    scale: float,
) -> torch.Tensor:
    rows = batches.steps[step]
    longest = int(batches.length_N[rows].max()) - 1
    width = min(-(-longest // BUCKET) * BUCKET, shape.context)
    text_BU = np.zeros((len(rows), width + 1), np.int64)
    mark_BU = np.zeros(text_BU.shape, bool)
    held = min(width + 1, batches.tokens_NU.shape[1])
    text_BU[:, :held] = batches.tokens_NU[rows, :held]
    mark_BU[:, :held] = batches.counts_NU[rows, :held]
    text = torch.from_numpy(text_BU).to(table.device)
    mark = torch.from_numpy(mark_BU[:, 1:]).to(table.device)
    logits_BTV = forward(state.weights, text[:, :-1], shape=shape, table=table)
    loss = F.cross_entropy(logits_BTV[mark].float(), text[:, 1:][mark])
    grads = gradients(loss, state.weights)
    update(state.weights, grads, state.moments, shape=shape, step=step, rates=recipe.rates,
           scale=scale, dtype=table.dtype)  # fmt: skip
    return loss.detach()
