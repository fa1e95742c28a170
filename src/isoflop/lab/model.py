"""A small modern transformer as a pure function of its weights, in the layout of Qwen3.

Shapes: B sequences, T positions, D width, H heads, K head width (32), F feed-forward width,
V vocabulary, L layers, N = B*H.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from isoflop.lab.attention import causal_attention

HEAD_WIDTH = 32
EPSILON = 1e-6

Weights = dict[str, torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The shape of one model; width is a multiple of 32, the feed-forward part 3 times as wide."""

    width: int
    depth: int
    vocab: int
    context: int
    tied: bool = False
    rope_base: float = 10_000.0

    def __post_init__(self) -> None:
        if self.width < HEAD_WIDTH or self.width % HEAD_WIDTH:
            raise ValueError(f"width {self.width} must be a multiple of {HEAD_WIDTH}")
        if self.depth < 1:
            raise ValueError(f"depth {self.depth} must be at least 1")

    @property
    def heads(self) -> int:
        return self.width // HEAD_WIDTH

    @property
    def feedforward(self) -> int:
        return 3 * self.width


def count_params(shape: Shape) -> dict[str, int]:
    """Count parameters under every convention.

    total          everything that is trained, the input table and the output head included
    non_embedding  total without the input table and without the output head (Kaplan et al. 2020)
    matmul         the matrices that every token is multiplied with: the layers' and the head's
    embedding      the input table (also the head where they are tied)
    """
    width, depth = shape.width, shape.depth
    matrices = depth * (4 * width**2 + 3 * width * shape.feedforward)
    gains = depth * (2 * width + 2 * HEAD_WIDTH) + width
    table = shape.vocab * width
    head = 0 if shape.tied else table
    return {
        "total": matrices + gains + table + head,
        "non_embedding": matrices + gains,
        "matmul": matrices + table,
        "embedding": table,
    }


def flops_per_token(shape: Shape, *, causal: bool = True) -> int:
    """Count training FLOPs per token: matrices and attention, forward and twice that backward.

    A multiply-add counts 2. Causal attention counts the (T + 1) / 2 keys a position really sees;
    `causal=False` counts all T, as kernels without a mask compute them. Norms, rotation, softmax
    and the optimizer's own work are left out.
    """
    keys_times_two = shape.context + 1 if causal else 2 * shape.context
    attention = 2 * shape.depth * shape.width * keys_times_two
    return 3 * (2 * count_params(shape)["matmul"] + attention)


def init_weights(shape: Shape, *, seed: int, device: str = "cpu") -> Weights:
    """Draw fresh float32 weights; projections back into the residual stream and the head are 0.

    Matrices of one kind are stacked over layers, so that a step costs few calls.
    """
    generator = torch.Generator().manual_seed(seed)
    width, depth, wide = shape.width, shape.depth, shape.feedforward

    def normal(*sizes: int, scale: float) -> torch.Tensor:
        return (torch.randn(*sizes, generator=generator) * scale).to(device)

    weights = {
        "embedding_VD": normal(shape.vocab, width, scale=1.0),
        "qkv_L3DD": normal(depth, 3 * width, width, scale=width**-0.5),
        "out_LDD": torch.zeros(depth, width, width, device=device),
        "gate_up_L2FD": normal(depth, 2 * wide, width, scale=width**-0.5),
        "down_LDF": torch.zeros(depth, width, wide, device=device),
        "norms_L2D": torch.ones(depth, 2, width, device=device),
        "qk_norms_L2K": torch.ones(depth, 2, HEAD_WIDTH, device=device),
        "final_norm_D": torch.ones(width, device=device),
    }
    if not shape.tied:
        weights["head_VD"] = torch.zeros(shape.vocab, width, device=device)
    return weights


def rotation(shape: Shape, *, dtype: torch.dtype, device: str = "cpu") -> torch.Tensor:
    """Tabulate cosine and sine of the rotary angles, shape (2, T, 1, K/2)."""
    half = HEAD_WIDTH // 2
    frequency = shape.rope_base ** (-torch.arange(half, dtype=torch.float64) / half)
    angle_TK = torch.arange(shape.context, dtype=torch.float64)[:, None] * frequency
    return torch.stack([angle_TK.cos(), angle_TK.sin()])[:, :, None].to(dtype).to(device)


def rotate(x_BTHK: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """Rotate the first half of each head against the second (the layout of Qwen3 and Llama)."""
    cos, sin = table[0, : x_BTHK.shape[1]], table[1, : x_BTHK.shape[1]]
    a, b = x_BTHK.chunk(2, dim=-1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], dim=-1)


def norm(x: torch.Tensor, gain: torch.Tensor | None = None) -> torch.Tensor:
    return F.rms_norm(x, x.shape[-1:], gain, EPSILON)


def forward(
    weights: Weights, tokens_BT: torch.Tensor, *, shape: Shape, table: torch.Tensor
) -> torch.Tensor:
    """Compute logits of the next token at every position, shape (B, T, V), in the table's dtype."""
    dtype = table.dtype
    low = {name: weight.to(dtype) for name, weight in weights.items()}
    stacked = ("qkv_L3DD", "out_LDD", "gate_up_L2FD", "down_LDF", "norms_L2D", "qk_norms_L2K")
    x_BTD = F.embedding(tokens_BT, low["embedding_VD"])
    for qkv, out, gate_up, down, norms, qk_norms in zip(
        *(low[name].unbind() for name in stacked), strict=True
    ):
        x_BTD = x_BTD + attend(norm(x_BTD, norms[0]), (qkv, out, qk_norms), table=table)
        gate, up = F.linear(norm(x_BTD, norms[1]), gate_up).chunk(2, dim=-1)
        x_BTD = x_BTD + F.linear(F.silu(gate) * up, down)
    head = low["embedding_VD"] if shape.tied else low["head_VD"]
    return F.linear(norm(x_BTD, low["final_norm_D"]), head)


def attend(
    x_BTD: torch.Tensor, weights: tuple[torch.Tensor, ...], *, table: torch.Tensor
) -> torch.Tensor:
    qkv, out, qk_norms = weights
    batch, length, width = x_BTD.shape
    qkv_BTSK = F.linear(x_BTD, qkv).view(batch, length, -1, HEAD_WIDTH)  # S = 3 * H
    heads = qkv_BTSK.shape[2] // 3
    qk_BTSK, v_BTHK = qkv_BTSK.split([2 * heads, heads], dim=2)
    gains_SK = qk_norms.repeat_interleave(heads, dim=0)
    q_BTHK, k_BTHK = rotate(norm(qk_BTSK) * gains_SK, table).chunk(2, dim=2)
    mixed_BTHK = causal_attention(q_BTHK, k_BTHK, v_BTHK)
    return F.linear(mixed_BTHK.reshape(batch, length, width), out)
