"""What a rollout teaches: advantages within groups, the clipped loss, and what both cost.

Shapes: G groups (one prompt each), R rollouts a group, M sampled tokens of many rollouts,
P prompts, N rollouts of each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike

from isoflop.lab.model import Shape, count_params

SMALL = 1e-6


@dataclass(frozen=True, kw_only=True)
class Clip:
    """How far one update may move the chance of a token; more room upwards keeps exploration.

    The upper bound above the lower is clip-higher (Yu et al. 2025, DAPO, eq. 10). With one update
    a batch the ratio is 1 up to rounding and nothing is clipped.
    """

    low: float = 0.2
    high: float = 0.28

    def __post_init__(self) -> None:
        if not 0 < self.low < 1 or self.high <= 0:
            raise ValueError(f"clip low {self.low} must lie in (0, 1), high {self.high} above 0")


def advantages(rewards_GR: torch.Tensor, *, standardise: bool = False) -> torch.Tensor:
    """Reward less its group's mean, shape (G, R); zero where a group agrees.

    Divided by the group's deviation where `standardise`: then easy and hard groups count more
    than those in between (Liu et al. 2025, Dr. GRPO, section 3.1).
    """
    centred_GR = rewards_GR - rewards_GR.mean(dim=1, keepdim=True)
    if not standardise:
        return centred_GR
    return centred_GR / (rewards_GR.std(dim=1, keepdim=True, unbiased=False) + SMALL)


def disagreeing(rewards_GR: torch.Tensor) -> torch.Tensor:
    """Which groups teach anything: those whose rollouts were not all rewarded alike, shape (G,)."""
    return (rewards_GR.amax(dim=1) - rewards_GR.amin(dim=1)) > SMALL


def policy_loss(
    log_prob_M: torch.Tensor,
    old_M: torch.Tensor,
    advantage_M: torch.Tensor,
    *,
    tokens: int,
    clip: Clip,
) -> torch.Tensor:
    """Clipped policy gradient (Schulman et al. 2017, eq. 7) summed and divided by `tokens`.

    `tokens`: sampled tokens of the whole batch, so that every token weighs the same however long
    its answer is; a mean per answer would favour short right and long wrong ones.
    """
    ratio_M = (log_prob_M - old_M).exp()
    clipped_M = ratio_M.clamp(1 - clip.low, 1 + clip.high)
    return -torch.minimum(ratio_M * advantage_M, clipped_M * advantage_M).sum() / tokens


def kl_loss(log_prob_M: torch.Tensor, reference_M: torch.Tensor, *, tokens: int) -> torch.Tensor:
    """Distance from the reference policy per token, in nats: r - 1 - ln r, r = reference / policy.

    Never negative, and unbiased for KL(policy, reference) on the policy's own samples (Schulman
    2020, "Approximating KL divergence", k3).
    """
    log_ratio_M = reference_M - log_prob_M
    return (log_ratio_M.exp() - 1 - log_ratio_M).sum() / tokens


def forward_flops(shape: Shape, *, start: ArrayLike, stop: ArrayLike) -> int:
    """FLOPs of the forward pass over positions start to stop of each sequence, causal attention.

    2 for each parameter that enters a matrix product, and 4 x width x layers for each key seen.
    """
    begun, ended = np.asarray(start, np.int64), np.asarray(stop, np.int64)
    keys = int((ended * (ended + 1) - begun * (begun + 1)).sum()) // 2
    new = int((ended - begun).sum())
    return 2 * count_params(shape)["matmul"] * new + 4 * shape.width * shape.depth * keys


def rollout_flops(shape: Shape, *, prompts: ArrayLike, lengths: ArrayLike) -> int:
    """FLOPs of sampling: every prompt read once for its whole group, every token produced once.

    prompts: tokens of each group's prompt (P,); lengths: sampled tokens of its rollouts (P, N),
    the last of which is never read again. Beginnings that rollouts share count for each of them,
    though `sample` computes them once.
    """
    read_P = np.asarray(prompts, np.int64)
    start_PN = np.broadcast_to(read_P[:, None], np.shape(lengths))
    stop_PN = start_PN + np.maximum(np.asarray(lengths), 1) - 1
    return forward_flops(shape, start=np.zeros_like(read_P), stop=read_P) + forward_flops(
        shape, start=start_PN, stop=stop_PN
    )


def update_flops(shape: Shape, *, lengths: ArrayLike, reference: bool = False) -> int:
    """FLOPs of one update on rollouts of these whole lengths, prompt included: thrice a forward.

    A reference policy reads them once more. As if each rollout were read alone; `gradient` reads
    what several begin with once.
    """
    whole = np.asarray(lengths, np.int64)
    passes = 4 if reference else 3
    return passes * forward_flops(shape, start=np.zeros_like(whole), stop=whole - 1)
