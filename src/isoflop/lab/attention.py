"""Causal attention: our own blocked kernel in bf16 on a CPU, torch's everywhere else.

On a CPU torch's kernel takes 3 to 5 times as long in bf16 for contexts of a few hundred tokens.
Because queries and keys are normalised, scores are bounded and need no running maximum.

Shapes: B sequences, T positions, H heads, K head width, N = B*H.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

BLOCK = 64  # queries per block; a block sees only the keys up to its own end
LONGEST = 1024


def causal_attention(
    q_BTHK: torch.Tensor, k_BTHK: torch.Tensor, v_BTHK: torch.Tensor
) -> torch.Tensor:
    """Mix values by softmax of scaled causal scores; takes and returns (B, T, H, K)."""
    batch, length, heads, width = q_BTHK.shape
    q, k, v = (x.transpose(1, 2) for x in (q_BTHK, k_BTHK, v_BTHK))
    blocked = q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= LONGEST
    if not blocked:
        return F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
    q_NTK, k_NTK, v_NTK = (x.reshape(batch * heads, length, width) for x in (q, k, v))
    mixed_NTK = _Blocked.apply(q_NTK, k_NTK, v_NTK)
    return mixed_NTK.view(batch, heads, length, width).transpose(1, 2)


class _Blocked(torch.autograd.Function):  # torch asks for a class here
    @staticmethod
    def forward(ctx, q_NTK, k_NTK, v_NTK):  # pyright: ignore[reportIncompatibleMethodOverride]
        q_NTK = q_NTK * q_NTK.shape[-1] ** -0.5
        length = q_NTK.shape[1]
        mask = torch.ones(BLOCK, BLOCK, dtype=q_NTK.dtype).tril_()
        mixed_NTK = torch.empty_like(q_NTK)
        weights, inverses = [], []
        for start in range(0, length, BLOCK):
            stop = min(start + BLOCK, length)
            weight = torch.bmm(q_NTK[:, start:stop], k_NTK[:, :stop].mT).exp_()
            weight[:, :, start:].mul_(mask[: stop - start, : stop - start])
            inverse = weight.sum(-1, keepdim=True, dtype=torch.float32).reciprocal_()
            inverse = inverse.to(q_NTK.dtype)
            mixed_NTK[:, start:stop] = torch.bmm(weight, v_NTK[:, :stop]).mul_(inverse)
            weights.append(weight)
            inverses.append(inverse)
        ctx.save_for_backward(q_NTK, k_NTK, v_NTK, mixed_NTK, *weights, *inverses)
        return mixed_NTK

    @staticmethod
    def backward(ctx, grad_NTK):  # pyright: ignore[reportIncompatibleMethodOverride]
        q_NTK, k_NTK, v_NTK, mixed_NTK, *saved = ctx.saved_tensors
        blocks = len(saved) // 2
        dq_NTK = torch.empty_like(q_NTK)
        dk_NTK, dv_NTK = torch.zeros_like(k_NTK), torch.zeros_like(v_NTK)
        delta_NT1 = (grad_NTK * mixed_NTK).sum(-1, keepdim=True)
        for i, (weight, inverse) in enumerate(zip(saved[:blocks], saved[blocks:], strict=True)):
            start, stop = i * BLOCK, min((i + 1) * BLOCK, q_NTK.shape[1])
            grad = grad_NTK[:, start:stop] * inverse
            dv_NTK[:, :stop].baddbmm_(weight.mT, grad)
            scores = torch.baddbmm(
                delta_NT1[:, start:stop] * inverse, grad, v_NTK[:, :stop].mT, beta=-1
            ).mul_(weight)
            dq_NTK[:, start:stop] = torch.bmm(scores, k_NTK[:, :stop])
            dk_NTK[:, :stop].baddbmm_(scores.mT, q_NTK[:, start:stop])
        return dq_NTK.mul_(q_NTK.shape[-1] ** -0.5), dk_NTK, dv_NTK
