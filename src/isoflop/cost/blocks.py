"""The parts a language model is stacked from: each says how many layers use it and its sizes.

Every size may be an integer or an array of candidates; arrays broadcast together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    Size = int | NDArray[Any]
    Amount = float | NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Softmax attention with its own keys and values: MHA, GQA (kv_heads < heads) or MQA (1).

    `window` 0 sees everything. `qk_norm` is one weight vector of head_dim for queries and one for
    keys ("head", "head+bias") or one over all heads ("full"). `gate` multiplies the output by
    a projection of the input, one value a channel or a head. `relative` adds Transformer-XL
    position matrices and biases.
    """

    count: Size
    heads: Size
    kv_heads: Size
    head_dim: Size
    window: Size = 0
    q_bias: bool = False
    kv_bias: bool = False
    out_bias: bool = False
    qk_norm: Literal["none", "head", "head+bias", "full"] = "none"
    sinks: bool = False
    gate: Literal["none", "head", "channel"] = "none"
    relative: bool = False


@dataclass(frozen=True, kw_only=True)
class Latent:
    """Multi-head latent attention (DeepSeek-V2): the cache holds kv_rank + rope_dim per token.

    `q_rank` 0 projects queries directly. With `index_heads` a small indexer picks `index_top_k`
    positions to attend to (DeepSeek sparse attention, GLM-5).
    """

    count: Size
    heads: Size
    q_rank: Size
    kv_rank: Size
    nope_dim: Size
    rope_dim: Size
    value_dim: Size
    bias: bool = False
    index_heads: Size = 0
    index_dim: Size = 0
    index_top_k: Size = 0


@dataclass(frozen=True, kw_only=True)
class Linear:
    """Linear attention with a matrix state of key_dim x value_dim per head.

    `rule` "additive" writes k v' (GLA, RetNet, Lightning); "delta" first reads what the key holds
    and writes the difference (DeltaNet, Gated DeltaNet). `conv` is the width of the short causal
    convolution over queries, keys and values (0: none). `scalar_gates` counts per-head scalars
    projected from the input (decay, write strength), `scalars` per-head learned constants.
    `gate_rank` makes the output gate low-rank (0: a full matrix); `channel_decay` adds a decay
    per key channel through a projection of that rank (GLA, Kimi Delta Attention). `chunk` is the
    block length of the parallel form used in training.
    """

    count: Size
    heads: Size
    key_heads: Size
    key_dim: Size
    value_dim: Size
    conv: Size = 0
    rule: Literal["additive", "delta"] = "delta"
    out_gate: bool = True
    gate_rank: Size = 0
    channel_decay: bool = False
    scalar_gates: Size = 2
    scalars: Size = 2
    norm: Literal["none", "head", "full"] = "head"
    chunk: Size = 64


@dataclass(frozen=True, kw_only=True)
class Selective:
    """A Mamba-1 layer: a diagonal state of `state` values for each of `inner` channels."""

    count: Size
    inner: Size
    state: Size
    conv: Size
    rank: Size
    bias: bool = False
    conv_bias: bool = True
    norms: bool = False  # Jamba normalises the step, B and C


@dataclass(frozen=True, kw_only=True)
class StateSpace:
    """A Mamba-2 layer: `heads` heads of head_dim x state, B and C shared in `groups`."""

    count: Size
    heads: Size
    head_dim: Size
    state: Size
    groups: Size
    conv: Size
    bias: bool = False
    conv_bias: bool = True
    norm: bool = True
    chunk: Size = 256


@dataclass(frozen=True, kw_only=True)
class ShortConv:
    """A gated short convolution over `width` channels (LFM2): no state beyond its kernel."""

    count: Size
    kernel: Size
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Counted:
    """A layer counted elsewhere, for example from its module: numbers instead of a formula.

    `flops` are forward FLOPs per token beyond 2 x `matmul` (scans, recurrences).
    """

    count: Size
    params: Size
    matmul: Size
    state: Size = 0
    flops: Size = 0


@dataclass(frozen=True, kw_only=True)
class Mlp:
    """A feed-forward layer: three matrices if gated (SwiGLU, GeGLU), two if not."""

    count: Size
    hidden: Size
    gated: bool = True
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Experts:
    """A mixture of experts: `top_k` of `experts` run for a token, the shared ones always.

    `shared` is the hidden width of all shared experts together. `correction_bias` is the
    load-balancing bias that is kept in the checkpoint and not learnt by gradient (DeepSeek-V3).
    """

    count: Size
    experts: Size
    top_k: Size
    hidden: Size
    shared: Size = 0
    gated: bool = True
    bias: bool = False
    shared_gate: bool = False
    router_bias: bool = False
    correction_bias: bool = False


Mixer = Attention | Latent | Linear | Selective | StateSpace | ShortConv | Counted
FeedForward = Mlp | Experts | Counted
