"""The gradient of one batch of rollouts: which rows teach, their layout, the loss over them.

Shapes: P problems (groups), N rollouts of each, T sampled tokens, B rows, U text positions,
M sampled tokens of many rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from isoflop.lab.model import Weights, forward
from isoflop.lab.optim import gradients
from isoflop.lab.policy import Clip, advantages, kl_loss, policy_loss
from isoflop.lab.rewards import Judged
from isoflop.lab.sample import Samples
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem

BUCKET = 8  # rows are padded to whole multiples, so that few shapes occur
CHUNK = 4096  # text positions that go through one forward and backward pass


@dataclass(frozen=True, kw_only=True)
class Loss:
    """The clipped policy loss, plus `kl` times the distance from a reference policy."""

    shape: Shape
    table: torch.Tensor
    clip: Clip
    kl: float = 0.0
    reference: Weights | None = None


class Trial(NamedTuple):
    """One round of rollouts, judged, with the groups that disagree."""

    drawn: Sequence[Problem]
    samples: Samples
    judged: Judged
    useful_P: np.ndarray


class Batch(NamedTuple):
    """Rows of one update: text (B, U), where its sampled tokens stand (B, U), and their values."""

    text_BU: np.ndarray
    sampled_BU: np.ndarray
    old_BU: np.ndarray
    advantage_BU: np.ndarray
    length_B: np.ndarray
    tokens: int  # sampled in all rollouts, those that were dropped included


def gather(trials: Sequence[Trial], *, standardise: bool = False, every: bool = False) -> Batch:
    """Lay out every rollout that teaches as a row of text, with its tokens' advantages.

    every: with a KL term all rollouts stay, as those of groups that agree hold the policy back.
    """
    rows: list[tuple[bytes, np.ndarray, np.ndarray, np.ndarray]] = []
    for drawn, samples, judged, useful_P in trials:
        advantage_PN = advantages(
            torch.from_numpy(judged.rewards_PN), standardise=standardise
        ).numpy()
        for p in np.flatnonzero(useful_P | every).tolist():
            prompt = drawn[p].prompt.encode()
            for n, size in enumerate(samples.lengths_PN[p]):
                advantage_T = np.full(size, advantage_PN[p, n], np.float32)
                if judged.bonus_PNT is not None:
                    advantage_T += judged.bonus_PNT[p, n, :size]
                if every or advantage_T.any():
                    rows.append((
                        prompt, samples.tokens_PNT[p, n, :size],
                        samples.log_probs_PNT[p, n, :size], advantage_T,
                    ))  # fmt: skip
    length_B = np.array([len(prompt) + len(tokens) for prompt, tokens, *_ in rows], np.int64)
    width = int(length_B.max(initial=1))
    batch = Batch(
        text_BU=np.zeros((len(rows), width), np.uint8),
        sampled_BU=np.zeros((len(rows), width), bool),
        old_BU=np.zeros((len(rows), width), np.float32),
        advantage_BU=np.zeros((len(rows), width), np.float32),
        length_B=length_B,
        tokens=sum(t.samples.generated_tokens for t in trials),
    )
    for k, (prompt, tokens, old, advantage) in enumerate(rows):
        start, stop = len(prompt), length_B[k]
        batch.text_BU[k, :start] = np.frombuffer(prompt, np.uint8)
        batch.text_BU[k, start:stop] = tokens
        batch.sampled_BU[k, start:stop] = True
        batch.old_BU[k, start:stop] = old
        batch.advantage_BU[k, start:stop] = advantage
    return batch


def gradient(batch: Batch, chosen: np.ndarray, weights: Weights, of: Loss) -> tuple[Weights, float]:
    """Gradient of the loss over the chosen rows, shortest first in chunks of few shapes."""
    tokens = max(1, batch.tokens * len(chosen) // len(batch.length_B))
    ordered = chosen[np.argsort(batch.length_B[chosen], kind="stable")]
    total: Weights = {}
    kl = 0.0
    start = 0
    while start < len(ordered):
        stop = start + 1
        while stop < len(ordered) and (
            (stop + 1 - start) * _padded(int(batch.length_B[ordered[stop]])) <= CHUNK
        ):
            stop += 1
        grads, distance = _chunk(batch, ordered[start:stop], weights, of, tokens=tokens)
        total = {k: total[k] + g for k, g in grads.items()} if total else grads
        kl += distance
        start = stop
    return total, kl


def _padded(length: int) -> int:
    return -(-(length - 1) // BUCKET) * BUCKET


def _chunk(
    batch: Batch, rows: np.ndarray, weights: Weights, of: Loss, *, tokens: int
) -> tuple[Weights, float]:
    device = of.table.device
    width = min(_padded(int(batch.length_B[rows].max())), of.shape.context)

    def part(array: np.ndarray, dtype: torch.dtype) -> torch.Tensor:
        held = torch.from_numpy(array[rows, : width + 1]).to(device, dtype)
        return F.pad(held, (0, width + 1 - held.shape[1]))

    text = part(batch.text_BU, torch.int64)
    mask = part(batch.sampled_BU, torch.bool)[:, 1:]
    target_M = text[:, 1:][mask]

    def log_prob(policy: Weights) -> torch.Tensor:
        logits = forward(policy, text[:, :-1], shape=of.shape, table=of.table)
        return -F.cross_entropy(logits[mask].float(), target_M, reduction="none")

    log_prob_M = log_prob(weights)
    old_M, advantage_M = (
        part(x, torch.float32)[:, 1:][mask] for x in (batch.old_BU, batch.advantage_BU)
    )
    loss = policy_loss(log_prob_M, old_M, advantage_M, tokens=tokens, clip=of.clip)
    distance = 0.0
    if of.reference is not None:
        with torch.no_grad():
            reference_M = log_prob(of.reference)
        term = kl_loss(log_prob_M, reference_M, tokens=tokens)
        loss, distance = loss + of.kl * term, float(term.detach())
    return gradients(loss, weights), distance
