"""One optimizer step: text into a batch, a loss and its gradient, the update.

Shapes: B sequences, T positions, U = T + 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from isoflop.lab.corpus import open_corpus, open_flags, open_tokens
from isoflop.lab.device import pick_compile, pick_precision
from isoflop.lab.feed import Diet, Feed
from isoflop.lab.model import Weights, forward, rotation
from isoflop.lab.objectives import (
    IGNORED,
    SPECIALS,
    Batch,
    blank_batch,
    causal_batch,
    draw_mode,
    move,
)
from isoflop.lab.optim import gradients, update
from isoflop.lab.recipe import Recipe, Rung, shape_of
from isoflop.lab.shape import Model, Shape
from isoflop.lab.state import State

DRAWS = 11  # tells the stream that draws blanks from those that order the text


def mean_loss(weights: Weights, batch: Batch, *, shape: Shape, table: torch.Tensor) -> torch.Tensor:
    """Mean nats per token that has a loss."""
    logits = forward(weights, batch.tokens_BT, shape=shape, table=table, **batch.given)
    flat = logits.flatten(0, 1).float()
    return F.cross_entropy(flat, batch.targets_BT.flatten(), ignore_index=IGNORED)


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What the training loop holds: shape, tables and text, the same at every step."""

    shape: Shape
    recipe: Recipe
    table: torch.Tensor
    feed: Feed
    separator: int
    flags_V: NDArray[np.uint8]  # where sentences end
    device: str

    @property
    def vocab(self) -> int:
        """Of the corpus, without special tokens."""
        return self.shape.vocab - (SPECIALS if self.recipe.objective.blanks else 0)

    @cached_property
    def mean_loss(self) -> Callable[..., torch.Tensor]:
        """The loss, compiled where the recipe asks for it: other sizes' graphs are forgotten."""
        if not pick_compile(self.device, self.recipe.compile):
            return mean_loss
        torch.compiler.reset()
        return torch.compile(mean_loss)


def build_bench(
    rung: Rung,
    recipe: Recipe,
    model: Model,
    *,
    folders: Sequence[tuple[str, float]],
    unique_tokens: int,
    device: str,
) -> Bench:
    """Open prepared corpora, the first of which is validated on, with their shares of the text."""
    corpus = open_corpus(Path(folders[0][0]))
    shape = shape_of(rung, recipe, model, vocab=corpus.vocab)
    flags_V = open_flags(Path(folders[0][0]))
    if recipe.objective.sentences and not flags_V.any():
        raise ValueError(
            f"corpus {corpus.name!r} has no line ends and no full stops: objective.sentences must "
            "be 0"
        )
    unique = unique_tokens // recipe.context
    diets = tuple(
        Diet(tokens=open_tokens(Path(folder), "train"), share=share, unique=round(unique * share))
        for folder, share in folders
    )
    total = recipe.steps(rung.tokens[-1]) * recipe.sequences
    return Bench(
        shape=shape,
        recipe=recipe,
        table=rotation(shape, dtype=pick_precision(device, recipe.precision), device=device),
        feed=Feed(diets=diets, context=recipe.context, seed=rung.seed, total=total),
        separator=corpus.separator,
        flags_V=flags_V,
        device=device,
    )


def train_steps(
    state: State, bench: Bench, *, span: tuple[int, int], rate: Callable[[int], float]
) -> float:
    """Take the steps of `span` in place; returns the mean training loss in nats/token."""
    size = bench.recipe.sequences
    text_WU = bench.feed.windows(span[0] * size, span[1] * size)
    losses = torch.zeros(span[1] - span[0], device=bench.device)
    for i, step in enumerate(range(*span)):
        batch = batch_of(bench, text_WU[i * size : (i + 1) * size], step=step)
        loss = bench.mean_loss(state.weights, batch, shape=bench.shape, table=bench.table)
        losses[i] = loss.detach()
        update(
            state.weights,
            gradients(loss, state.weights),
            state.moments,
            shape=bench.shape,
            step=step,
            rates=bench.recipe.rates,
            scale=rate(step),
            optimizer=bench.recipe.optimizer,
            dtype=bench.table.dtype,
        )
    return losses.mean().item()


def batch_of(bench: Bench, text_BU: NDArray[np.int64], *, step: int) -> Batch:
    """The batch of one step; what is drawn depends on the seed and the step alone."""
    objective = bench.recipe.objective
    if not objective.blanks:
        separator = bench.separator if bench.recipe.separate_documents else None
        text = torch.from_numpy(text_BU).to(bench.device)
        return causal_batch(text, separator=separator)
    generator = np.random.default_rng((bench.feed.seed, DRAWS, step))
    mode = draw_mode(objective, generator)
    if mode == "next_token":
        return causal_batch(torch.from_numpy(text_BU).to(bench.device), block=True)
    batch = blank_batch(
        text_BU,
        mode,
        objective,
        vocab=bench.vocab,
        generator=generator,
        separator=bench.separator,
        flags_V=bench.flags_V,
    )
    return move(batch, bench.device)


def noise_scale(weights: Weights, bench: Bench) -> dict[str, float]:
    """Measure the gradient noise scale on the last windows of the run's text.

    tr(S) / |G|^2 from the squared norms of gradients of one sequence and of all (McCandlish et
    al. 2018, arXiv:1812.06162, appendix A.1), in tokens: the batch at which twice the text buys
    half the steps. Also both terms; a scale of 0 stands for a gradient lost in its noise.
    """
    count = bench.recipe.noise_sequences
    text_WU = bench.feed.windows(max(0, bench.feed.total - count), bench.feed.total)
    names = sorted(weights)  # a loaded state has another order
    leaves = [weights[name].detach().requires_grad_() for name in names]
    held = dict(zip(names, leaves, strict=True))
    mean = [torch.zeros_like(leaf) for leaf in leaves]
    small = 0.0
    for i in range(len(text_WU)):
        batch = batch_of(bench, text_WU[i : i + 1], step=i)
        loss = mean_loss(held, batch, shape=bench.shape, table=bench.table)
        grads = torch.autograd.grad(loss, leaves)
        small += sum(float(g.double().square().sum()) for g in grads) / len(text_WU)
        for total, grad in zip(mean, grads, strict=True):
            total.add_(grad, alpha=1 / len(text_WU))
    big = sum(float(g.double().square().sum()) for g in mean)
    n = len(text_WU)
    signal, noise = (n * big - small) / (n - 1), (small - big) / (1 - 1 / n)
    tokens = noise / signal * bench.recipe.context if signal > 0 else 0.0
    found = {"tokens": tokens, "signal": signal, "noise": noise, "sequences": n}
    # The last bits of long sums depend on how memory lies; a result must not.
    return {name: float(f"{value:.9g}") for name, value in found.items()}
