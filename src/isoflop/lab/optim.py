"""Muon for matrices and AdamW for the rest, over a few stacked tensors.

Muon (Jordan et al. 2024) replaces a matrix's momentum by its nearest orthogonal matrix. Scaled by
sqrt(rows / columns), an update changes activations by an amount that does not depend on width
(Yang et al. 2023), so one learning rate serves all sizes of a ladder. The head's rate falls as
1/width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from isoflop.lab.model import Weights

MATRICES = ("qkv_L3DD", "out_LDD", "gate_up_L2FD", "down_LDF")
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # quintic that drives singular values towards 1
REFERENCE_WIDTH = 64


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Peak learning rates and momenta; `head` is the rate at width 64."""

    matrix: float = 0.012
    embedding: float = 0.008
    head: float = 0.002
    gain: float = 0.003
    momentum: float = 0.95
    beta1: float = 0.9
    beta2: float = 0.95


def init_state(weights: Weights) -> Weights:
    """Make the optimizer's zero state: one momentum a matrix, two moments for everything else."""
    state = {}
    for name, weight in weights.items():
        state[f"momentum.{name}"] = torch.zeros_like(weight)
        if name not in MATRICES:
            state[f"square.{name}"] = torch.zeros_like(weight)
    return state


def orthogonalise(x_NRC: torch.Tensor, *, steps: int = 5) -> torch.Tensor:
    """Push all singular values of a stack of matrices (rows >= columns) to about 1."""
    a, b, c = NEWTON_SCHULZ
    x_NRC = x_NRC / (x_NRC.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram_NCC = x_NRC.mT @ x_NRC
        poly_NCC = torch.baddbmm(gram_NCC, gram_NCC, gram_NCC, beta=b, alpha=c)
        x_NRC = torch.baddbmm(x_NRC, x_NRC, poly_NCC, beta=a)
    return x_NRC


@torch.no_grad()
def update(
    weights: Weights,
    grads: Weights,
    state: Weights,
    *,
    step: int,
    rates: Rates,
    scale: float,
    dtype: torch.dtype = torch.float32,
) -> None:
    """Take optimizer step number `step` (from 0) in place, with all rates multiplied by `scale`.

    `dtype` is the precision in which matrices are orthogonalised.
    """
    _update_matrices(weights, grads, state, rates=rates, rate=rates.matrix * scale, dtype=dtype)
    width = weights["final_norm_D"].shape[0]
    for name, weight in weights.items():
        if name not in MATRICES:
            rate = {
                "embedding_VD": rates.embedding,
                "head_VD": rates.head * REFERENCE_WIDTH / width,
            }.get(name, rates.gain)
            moments = state[f"momentum.{name}"], state[f"square.{name}"]
            _adam(weight, grads[name], moments, step=step, rates=rates, rate=rate * scale)


def _adam(
    weight: torch.Tensor,
    grad: torch.Tensor,
    moments: tuple[torch.Tensor, torch.Tensor],
    *,
    step: int,
    rates: Rates,
    rate: float,
) -> None:
    first, second = moments
    first.lerp_(grad, 1 - rates.beta1)
    second.mul_(rates.beta2).addcmul_(grad, grad, value=1 - rates.beta2)
    correction = math.sqrt(1 - rates.beta2 ** (step + 1)) / (1 - rates.beta1 ** (step + 1))
    weight.addcdiv_(first, second.sqrt().add_(1e-10), value=-rate * correction)


def _update_matrices(
    weights: Weights,
    grads: Weights,
    state: Weights,
    *,
    rates: Rates,
    rate: float,
    dtype: torch.dtype,
) -> None:
    """Stack equal shapes of all layers, so that one Newton-Schulz serves them together."""
    nesterov = {}
    for name in MATRICES:
        grad, momentum = grads[name], state[f"momentum.{name}"]
        momentum.lerp_(grad, 1 - rates.momentum)
        nesterov[name] = grad.lerp(momentum, rates.momentum)
    width = weights["final_norm_D"].shape[0]
    wide = nesterov["down_LDF"].shape[-1]
    square = [nesterov["qkv_L3DD"].view(-1, width, width), nesterov["out_LDD"]]
    tall = [nesterov["gate_up_L2FD"].view(-1, wide, width), nesterov["down_LDF"].mT]
    for names, stack in ((MATRICES[:2], square), (MATRICES[2:], tall)):
        moved = orthogonalise(torch.cat([part.to(dtype) for part in stack]))
        first, second = moved.split([len(stack[0]), len(stack[1])])
        aspect = math.sqrt(stack[0].shape[1] / stack[0].shape[2])
        target = weights[names[0]]
        target.view(first.shape).add_(first, alpha=-rate * aspect)
        transposed = second.mT if second.shape[1:] != weights[names[1]].shape[1:] else second
        weights[names[1]].add_(transposed, alpha=-rate / aspect)
