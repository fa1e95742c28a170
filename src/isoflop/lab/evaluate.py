"""Validation on fixed windows: nats per token, bits per byte, and the noise of both."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from isoflop.lab.corpus import open_token_bytes, open_tokens
from isoflop.lab.model import Shape, Weights, count_params, flops_per_token, forward
from isoflop.lab.recipe import Recipe, params_of

BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Losses:
    """Summed nats of each validation window, and what the windows hold together."""

    nats_W: NDArray[np.float64]
    tokens: int
    bytes: int


def validate(
    weights: Weights, corpus: Path, *, shape: Shape, table: torch.Tensor, windows: int
) -> Losses:
    """Measure the loss on `windows` windows spread evenly over the validation tokens.

    Raises ValueError where the corpus has fewer.
    """
    tokens, token_bytes = open_tokens(corpus, "validation"), open_token_bytes(corpus)
    available = (len(tokens) - 1) // shape.context
    if available < windows:
        raise ValueError(
            f"the corpus has {available} validation windows of {shape.context} tokens: "
            f"lower recipe.validation_windows from {windows} or give a larger corpus"
        )
    chosen = np.linspace(0, available - 1, windows).round().astype(np.int64)
    text_WU = tokens[chosen[:, None] * shape.context + np.arange(shape.context + 1)]
    nats = []
    with torch.no_grad():
        for start in range(0, windows, BATCH):
            batch = torch.from_numpy(text_WU[start : start + BATCH].astype(np.int64))
            batch = batch.to(table.device)
            logits = forward(weights, batch[:, :-1], shape=shape, table=table).float()
            loss = F.cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten(), reduction="none")
            nats.append(loss.view(len(batch), -1).double().sum(1).cpu().numpy())
    return Losses(
        nats_W=np.concatenate(nats),
        tokens=windows * shape.context,
        bytes=int(token_bytes[text_WU[:, 1:]].sum(dtype=np.int64)),
    )


def summarise(losses: Losses, shape: Shape, recipe: Recipe, *, tokens: int) -> dict:
    """State a run's result under every convention; all of it the same however often it is run."""
    counts = count_params(shape)
    trained = recipe.steps(tokens) * recipe.tokens_per_step
    per_token = losses.nats_W.sum() / losses.tokens
    return {
        "params": params_of(shape),
        "params_total": counts["total"],
        "params_non_embedding": counts["non_embedding"],
        "flops": 6 * params_of(shape) * trained,
        "flops_exact": flops_per_token(shape) * trained,
        "tokens_trained": trained,
        "tokens_per_step": recipe.tokens_per_step,
        "loss": float(per_token),
        "bits_per_byte": float(losses.nats_W.sum() / math.log(2) / losses.bytes),
        "validation_tokens": losses.tokens,
        "validation_bytes": losses.bytes,
    }
