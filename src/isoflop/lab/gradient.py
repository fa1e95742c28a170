"""The gradient of one batch of rollouts: which rows teach, their layout, the loss over them.

Rollouts of a problem share its prompt and mostly how they begin: where the mixers follow a mask
they are read as trees, a shared beginning once, which changes no gradient.

Shapes: P problems (groups), N rollouts of each, T sampled tokens, B rows, U text positions,
F trees of rows, W positions of each, V vocabulary, M sampled tokens of many rows, J positions
that predict them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch

from isoflop.lab.model import Weights, forward
from isoflop.lab.optim import gradients
from isoflop.lab.policy import Clip, advantages, kl_loss, policy_loss
from isoflop.lab.rewards import Judged
from isoflop.lab.sample import Samples
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem
from isoflop.lab.tree import Tree, plant

BUCKET = 8  # trees are padded to whole multiples, so that few shapes occur
CHUNK = 4096  # positions that go through one forward and backward pass
MOST = 256  # positions of a tree, all of which each of them is compared with
FOLLOW = ("global", "latent")  # mixers that see what a mask says, wherever it stands


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
    """Gradient of the loss over the chosen rows and the KL, smallest trees first in chunks."""
    tokens = max(1, batch.tokens * len(chosen) // len(batch.length_B))
    trees = sorted(_trees(batch, chosen, of.shape), key=len)
    total: Weights = {}
    kl = 0.0
    start = 0
    while start < len(trees):
        stop = start + 1
        while stop < len(trees) and (stop + 1 - start) * _padded(len(trees[stop])) <= CHUNK:
            stop += 1
        read = _lay_out(batch, trees[start:stop], of.shape.context)
        grads, distance = _chunk(read, weights, of, tokens=tokens)
        total = {k: total[k] + g for k, g in grads.items()} if total else grads
        kl += distance
        start = stop
    return total, kl


def _trees(batch: Batch, chosen: np.ndarray, shape: Shape) -> list[Tree]:
    """The chosen rows without their last token, which predicts nothing; each alone where a mixer
    follows no mask."""
    texts = {row: batch.text_BU[row, : batch.length_B[row] - 1] for row in chosen.tolist()}
    if set(shape.kinds) <= set(FOLLOW):
        return plant(texts, most=MOST)
    return [tree for row, text in texts.items() for tree in plant({row: text}, most=MOST)]


def _padded(length: int) -> int:
    return -(-length // BUCKET) * BUCKET


class Reading(NamedTuple):
    """Trees side by side, and which of their flat positions predicts each sampled token.

    sees_FWW and depth_FW are None where every tree is one text.
    """

    token_FW: np.ndarray
    depth_FW: np.ndarray | None
    sees_FWW: np.ndarray | None
    position_M: np.ndarray
    target_M: np.ndarray
    old_M: np.ndarray
    advantage_M: np.ndarray


def _lay_out(batch: Batch, trees: Sequence[Tree], context: int) -> Reading:
    width = _padded(max(len(tree) for tree in trees))
    alone = all(len(tree.paths) == 1 for tree in trees)
    if alone:
        width = min(width, context)
    token_FW = np.zeros((len(trees), width), np.int64)
    depth_FW = np.zeros_like(token_FW)
    sees_FWW = np.zeros((len(trees), width, width), bool)
    sees_FWW[:, np.arange(width), np.arange(width)] = True  # padding sees itself
    positions, rows, ends = [], [], []
    for k, tree in enumerate(trees):
        size = len(tree)
        token_FW[k, :size], depth_FW[k, :size] = tree.token_W, tree.depth_W
        sees_FWW[k, :size, :size] = tree.sees_WW
        for row, path in tree.paths.items():
            before = np.flatnonzero(batch.sampled_BU[row, 1 : len(path) + 1])
            positions.append(k * width + path[before])
            rows.append(np.full(len(before), row))
            ends.append(before + 1)
    at = np.concatenate(rows), np.concatenate(ends)
    return Reading(
        token_FW=token_FW, depth_FW=None if alone else depth_FW,
        sees_FWW=None if alone else sees_FWW, position_M=np.concatenate(positions),
        target_M=batch.text_BU[at].astype(np.int64), old_M=batch.old_BU[at],
        advantage_M=batch.advantage_BU[at],
    )  # fmt: skip


def _chunk(read: Reading, weights: Weights, of: Loss, *, tokens: int) -> tuple[Weights, float]:
    def there(array: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(array).to(of.table.device)

    token_FW, target_M = there(read.token_FW), there(read.target_M)
    depth_FW = None if read.depth_FW is None else there(read.depth_FW)
    sees_FWW = None if read.sees_FWW is None else there(read.sees_FWW)
    position_J, at_M = map(there, np.unique(read.position_M, return_inverse=True))

    def log_prob(policy: Weights) -> torch.Tensor:
        logits_FWV = forward(
            policy, token_FW, shape=of.shape, table=of.table, mask_BTT=sees_FWW,
            positions_BT=depth_FW,
        )  # fmt: skip
        logits_JV = logits_FWV.flatten(0, 1)[position_J].float()
        return torch.log_softmax(logits_JV, -1)[at_M, target_M]

    log_prob_M = log_prob(weights)
    loss = policy_loss(
        log_prob_M, there(read.old_M), there(read.advantage_M), tokens=tokens, clip=of.clip
    )
    distance = 0.0
    if of.reference is not None:
        with torch.no_grad():
            reference_M = log_prob(of.reference)
        term = kl_loss(log_prob_M, reference_M, tokens=tokens)
        loss, distance = loss + of.kl * term, float(term.detach())
    return gradients(loss, weights), distance
