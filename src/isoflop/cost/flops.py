"""How many FLOPs per token, each figure with its convention, its causality and its recompute."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoflop.cost.architecture import Architecture, plain_value
from isoflop.cost.blocks import (
    Attention,
    Counted,
    Experts,
    FeedForward,
    Latent,
    Linear,
    Mixer,
    Mlp,
    Selective,
    ShortConv,
    StateSpace,
)
from isoflop.cost.counts import count, tally

if TYPE_CHECKING:
    from isoflop.cost.blocks import Amount, Size

FLOP_CONVENTIONS = {
    "exact": "2 x matmul parameters + attention over the positions really seen, forward",
    "6nd": "6 x parameters of the named count: no attention",
    "palm": "6 x total parameters + 12 L H Q T (PaLM, appendix B)",
    "narayanan": "72 l h^2 (1 + s/6h + V/12lh), or 96 with full recompute (Narayanan 2021, eq. 3)",
    "chinchilla": "Chinchilla, appendix F: with embeddings, logits and softmax",
    "chinchilla_a4": "as appendix F without embeddings and logits: what its table A4 holds",
}
Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True, kw_only=True)
class Flops:
    """FLOPs per token at one sequence length; `training` includes the backward pass.

    With `recompute` "full" training counts the layers' second forward pass (hardware FLOPs, to
    be divided by a peak into HFU); with "none" it is model FLOPs (MFU).
    """

    forward: Amount
    training: Amount
    sequence: Size
    convention: str
    causal: bool
    recompute: str
    params: str = "matmul"

    @property
    def utilisation(self) -> str:
        """What dividing by seconds and peak gives: MFU or HFU."""
        return "MFU" if self.recompute == "none" else "HFU"

    def to_json(self) -> dict[str, Any]:
        """Plain values with the three labels."""
        return {key: plain_value(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        labels = f"{self.convention}, {'causal' if self.causal else 'not causal'}, "
        labels += f"recompute {self.recompute}, sequence {self.sequence}"
        return (
            f"{_giga(self.forward)} GFLOP/token forward, {_giga(self.training)} training ({labels})"
        )


def _giga(value: Any) -> str:
    return f"{value / 1e9:,.4g}" if np.ndim(value) == 0 else f"{np.asarray(value) / 1e9}"


def flops(
    model: Architecture,
    sequence: Size,
    *,
    convention: str = "exact",
    causal: bool = True,
    recompute: Recompute = "none",
    params: str = "matmul",
) -> Flops:
    """FLOPs per token of training and of a forward pass at a sequence length.

    The default is exact and causal: position t attends to t positions, (S + 1)/2 on average.
    `params` names the count that "6nd" multiplies. Raises ValueError for an unknown convention, or
    one that its paper defines only for dense multi-head models.
    """
    if recompute not in ("none", "selective", "full"):
        raise ValueError(f"recompute {recompute!r} is not one of none, selective, full")
    match convention:
        case "exact":
            forward, again = _exact(model, sequence, causal=causal, recompute=recompute)
        case "6nd":
            forward, again = 2 * count(model)[params], 0
            again = forward if recompute == "full" else 0
        case "palm":
            causal = False
            forward = 2 * count(model).total + context_flops(model, sequence, causal=False)
            again = forward if recompute == "full" else 0
        case "narayanan":
            causal = False
            forward, again = _narayanan(model, sequence, recompute)
        case "chinchilla" | "chinchilla_a4":
            causal, again = False, 0
            forward = _chinchilla(model, sequence, tables=convention == "chinchilla")
        case _:
            known = ", ".join(FLOP_CONVENTIONS)
            raise ValueError(f"FLOP convention {convention!r} is not one of {known}")
    return Flops(
        forward=forward,
        training=3 * forward + again,
        sequence=sequence,
        convention=convention,
        causal=causal,
        recompute=recompute,
        params=params if convention == "6nd" else "matmul",
    )


def _exact(model: Architecture, sequence: Size, *, causal: bool, recompute: Recompute) -> Any:
    context = context_flops(model, sequence, causal=causal)
    matmul = count(model).matmul
    again = 0
    if recompute == "selective":
        again = context
    elif recompute == "full":  # layers are recomputed, the head is not
        again = 2 * (matmul - model.vocab * model.width) + context
    return 2 * matmul + context, again


def _narayanan(model: Architecture, sequence: Size, recompute: Recompute) -> Any:
    """Forward 24 l h^2 (1 + s/6h) + 2 h V; recompute repeats the layers."""
    h, layers = model.width, model.layers
    body = layers * (24 * h * h + 4 * h * sequence)
    again = body if recompute == "full" else layers * 4 * h * sequence
    return body + 2 * h * model.vocab, 0 if recompute == "none" else again


def _chinchilla(model: Architecture, sequence: Size, *, tables: bool) -> Any:
    """Appendix F per token: projections, logits, softmax 3 H s, reduction, dense block."""
    forward: Any = 4 * model.vocab * model.width if tables else 0
    for block in model.mixers:
        if not isinstance(block, Attention):
            raise ValueError("the chinchilla convention is defined for attention layers only")
        queries = block.heads * block.head_dim
        projections = 4 * model.width * (queries + block.kv_heads * block.head_dim)
        scores = (4 * queries + 3 * block.heads) * sequence
        forward = forward + block.count * (projections + scores)
    for block in model.feedforwards:
        forward = forward + 2 * block.count * tally(block, model.width).matmul
    return forward


def mean_context(sequence: Size, window: Size = 0, *, causal: bool = True) -> Any:
    """Positions a token sees on average in a sequence, within a sliding window if not 0.

    Causal: (S + 1)/2, and with a window w < S: (w(w + 1)/2 + (S - w) w)/S. Not causal: all S, or w.
    """
    if isinstance(window, int) and isinstance(sequence, int):
        seen = min(window, sequence) if window else sequence
    else:
        seen = np.where(np.asarray(window) > 0, np.minimum(window, sequence), sequence)
    if not causal:
        return seen
    return (seen * (seen + 1) / 2 + (sequence - seen) * seen) / sequence


def context_flops(model: Architecture, sequence: Size, *, causal: bool = True) -> Any:
    """Forward FLOPs per token that no parameter count holds: attention, scans, convolutions."""
    total: Any = 0
    for block in (*model.mixers, *model.feedforwards):
        total = total + block.count * block_context_flops(block, sequence, causal=causal)
    return total


def block_context_flops(block: Mixer | FeedForward, sequence: Size, *, causal: bool = True) -> Any:
    """As `context_flops`, for one layer of a block."""
    match block:
        case Attention():
            return (
                4
                * block.heads
                * block.head_dim
                * mean_context(sequence, block.window, causal=causal)
            )
        case Latent():
            per_head = block.nope_dim + block.rope_dim + block.value_dim
            seen = mean_context(sequence, block.index_top_k, causal=causal)
            indexer = 2 * block.index_heads * block.index_dim
            return 2 * block.heads * per_head * seen + indexer * mean_context(
                sequence, causal=causal
            )
        case Linear():
            return _linear(block, causal) + _conv(block.conv, block)
        case StateSpace():
            seen = mean_context(block.chunk, causal=causal)
            inside = 2 * (block.groups * block.state + block.heads * block.head_dim) * seen
            scan = 4 * block.heads * block.head_dim * block.state
            channels = block.heads * block.head_dim + 2 * block.groups * block.state
            return inside + scan + 2 * block.conv * channels
        case Selective():
            # h = a h + b x and y = c h: six operations a channel and state
            return block.inner * (6 * block.state + 2 * block.conv)
        case ShortConv():
            return 0
        case Counted():
            return block.flops
        case Mlp() | Experts():
            return 0


def _conv(kernel: Size, block: Linear) -> Any:
    return 2 * kernel * (2 * block.key_heads * block.key_dim + block.heads * block.value_dim)


def _linear(block: Linear, causal: bool) -> Any:
    """Chunked parallel form: the state is read and written per token, plus products in a chunk.

    Yang et al. 2024 (DeltaNet, section 3.2): the delta rule also reads what its keys hold and
    solves a triangular system of the chunk.
    """
    state = block.heads * block.key_dim * block.value_dim
    seen = mean_context(block.chunk, causal=causal)
    both = block.key_dim + block.value_dim
    if block.rule == "additive":
        return 4 * state + 2 * block.heads * both * seen
    return 6 * state + 2 * block.heads * (both + both + block.key_dim) * seen


def decode_flops(model: Architecture, context: Size) -> Any:
    """FLOPs of the next token after `context` cached ones; latent attention in absorbed form."""
    total: Any = 2 * count(model).matmul
    for block in (*model.mixers, *model.feedforwards):
        total = total + block.count * _decode_block(block, context)
    return total


def _decode_block(block: Mixer | FeedForward, context: Size) -> Any:
    match block:
        case Attention():
            seen = mean_context(context, block.window, causal=False)
            return 4 * block.heads * block.head_dim * seen
        case Latent():
            seen = mean_context(context, block.index_top_k, causal=False)
            indexer = 2 * block.index_heads * block.index_dim * context
            return 2 * block.heads * (2 * block.kv_rank + block.rope_dim) * seen + indexer
        case Linear():
            per_state = 4 if block.rule == "additive" else 6
            return per_state * block.heads * block.key_dim * block.value_dim + _conv(
                block.conv, block
            )
        case StateSpace():
            channels = block.heads * block.head_dim + 2 * block.groups * block.state
            return 4 * block.heads * block.head_dim * block.state + 2 * block.conv * channels
        case _:
            return block_context_flops(block, context)


def prefill_flops(model: Architecture, prompt: Size) -> Any:
    """FLOPs of reading a prompt: each token forward, the head only for the last one."""
    body = 2 * (count(model).matmul - model.vocab * model.width)
    return prompt * (body + context_flops(model, prompt)) + 2 * model.vocab * model.width
