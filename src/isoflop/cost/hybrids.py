"""Recurrent layers of the families that have them, from their config keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoflop.cost.blocks import (
    Experts,
    FeedForward,
    Linear,
    Mixer,
    Mlp,
    Selective,
    ShortConv,
    StateSpace,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from isoflop.cost.keys import Keys

RECURRENT = ("mamba", "falcon_mamba", "mamba2", "jamba", "bamba", "qwen3_next", "qwen3_5_text",
             "qwen3_5_moe_text", "olmo_hybrid", "minimax", "lfm2", "kimi_linear", "falcon_h1",
             "granitemoehybrid", "nemotron_h")  # fmt: skip
SOFTMAX = ("attention", "full_attention", "*")


def recurrent(keys: Keys, layers: int) -> tuple[list[Mixer], int]:
    """The recurrent mixers of a hybrid and how many attention layers remain."""
    match keys.kind:
        case "mamba" | "falcon_mamba":
            return [_mamba(keys, layers)], 0
        case "mamba2":
            return [_mamba2(keys, layers)], 0
        case "jamba":
            return _jamba(keys, layers)
        case "bamba":
            softmax = len(keys("attn_layer_indices", ()))
            return [_mamba_layers(keys, layers - softmax)], softmax
        case "granitemoehybrid":
            keys("attention_bias")
            keys("num_attention_heads|num_key_value_heads")  # unused if all layers are Mamba
            softmax = _listed(keys("layer_types", ["attention"] * layers), SOFTMAX)
            return [_mamba_layers(keys, layers - softmax)], softmax
        case "falcon_h1":  # both mixers stand side by side in every layer
            return [_mamba_layers(keys, layers)], layers
        case "nemotron_h":
            return _nemotron(keys)
        case "lfm2":
            return _lfm2(keys, layers)
    softmax = _softmax(keys, layers)
    build = {"kimi_linear": _kimi_delta, "minimax": _lightning}.get(keys.kind, _delta)
    return [build(keys, layers - softmax)], softmax


def _softmax(keys: Keys, layers: int) -> int:
    """Attention layers among linear ones: listed, or every n-th."""
    every = keys("full_attention_interval", 4)
    kinds = keys("layer_types")
    return layers // every if kinds is None else _listed(kinds, SOFTMAX)


def _delta(keys: Keys, count: int) -> Linear:
    return Linear(
        count=count,
        heads=keys.need("linear_num_value_heads"),
        key_heads=keys.need("linear_num_key_heads"),
        key_dim=keys.need("linear_key_head_dim"),
        value_dim=keys.need("linear_value_head_dim"),
        conv=keys.need("linear_conv_kernel_dim"),
    )


def _lightning(keys: Keys, count: int) -> Linear:
    heads = keys.need("num_attention_heads")
    head = keys("head_dim", keys.need("hidden_size") // heads)
    keys.need("layer_types")
    return Linear(
        count=count,
        heads=heads,
        key_heads=heads,
        key_dim=head,
        value_dim=head,
        rule="additive",
        scalar_gates=0,
        scalars=0,
        norm="full",
        chunk=keys("block_size", 256),
    )


def _mamba(keys: Keys, count: int) -> Selective:
    width = keys.need("hidden_size")
    inner = keys("intermediate_size|d_inner", keys("expand", 2) * width)
    rank = keys("time_step_rank", "auto")
    return Selective(
        count=count,
        inner=inner,
        state=keys("state_size", 16),
        conv=keys("conv_kernel", 4),
        rank=-(-width // 16) if rank == "auto" else rank,
        bias=keys("use_bias", False),
        conv_bias=keys("use_conv_bias", True),
    )


def _mamba2(keys: Keys, count: int) -> StateSpace:
    keys("time_step_rank|expand")
    return StateSpace(
        count=count,
        heads=keys.need("num_heads"),
        head_dim=keys.need("head_dim"),
        state=keys("state_size", 128),
        groups=keys("n_groups", 8),
        conv=keys("conv_kernel", 4),
        bias=keys("use_bias", False),
        conv_bias=keys("use_conv_bias", True),
        chunk=keys("chunk_size", 256),
    )


def _jamba(keys: Keys, layers: int) -> tuple[list[Mixer], int]:
    width = keys.need("hidden_size")
    period, offset = keys("attn_layer_period", 8), keys("attn_layer_offset", 4)
    softmax = sum(layer % period == offset for layer in range(layers))
    rank = keys("mamba_dt_rank", "auto")
    mixer = Selective(
        count=layers - softmax,
        inner=keys("mamba_expand", 2) * width,
        state=keys("mamba_d_state", 16),
        conv=keys("mamba_d_conv", 4),
        rank=-(-width // 16) if rank == "auto" else rank,
        bias=keys("mamba_proj_bias", False),
        conv_bias=keys("mamba_conv_bias", True),
        norms=True,
    )
    return [mixer], softmax


def _listed(kinds: Iterable[str], names: tuple[str, ...]) -> int:
    return sum(kind in names for kind in kinds)


def _mamba_layers(keys: Keys, count: int) -> StateSpace:
    """Mamba-2 layers of the families that write mamba_* keys."""
    heads = keys("mamba_n_heads", 128)
    head = keys("mamba_d_head", "auto")
    inner = keys("mamba_d_ssm", keys("mamba_expand", 2) * keys.need("hidden_size"))
    return StateSpace(
        count=count,
        heads=heads,
        head_dim=inner // heads if head == "auto" else head,
        state=keys("mamba_d_state", 256),
        groups=keys("mamba_n_groups", 1),
        conv=keys("mamba_d_conv", 4),
        bias=keys("mamba_proj_bias", False),
        conv_bias=keys("mamba_conv_bias", True),
        norm=keys("mamba_rms_norm", True),
        chunk=keys("mamba_chunk_size", 256),
    )


def _kimi_delta(keys: Keys, count: int) -> Linear:
    heads, head = keys.need("linear_num_heads"), keys.need("linear_head_dim")
    return Linear(
        count=count,
        heads=heads,
        key_heads=heads,
        key_dim=head,
        value_dim=head,
        conv=keys.need("linear_conv_kernel_dim"),
        gate_rank=head,
        channel_decay=True,
        scalar_gates=1,
        scalars=1,
    )


def nemotron_kinds(keys: Keys) -> list[str]:
    """What each layer is, from the list or from the pattern string of earlier configs."""
    return list(keys("layers_block_type") or keys.need("hybrid_override_pattern"))


def _nemotron(keys: Keys) -> tuple[list[Mixer], int]:
    kinds = nemotron_kinds(keys)
    keys("expand")
    mixer = StateSpace(
        count=_listed(kinds, ("mamba", "linear_attention", "M")),
        heads=keys.need("mamba_num_heads"),
        head_dim=keys.need("mamba_head_dim"),
        state=keys.need("ssm_state_size"),
        groups=keys.need("n_groups"),
        conv=keys("conv_kernel", 4),
        bias=keys("use_bias", False),
        conv_bias=keys("use_conv_bias", True),
        chunk=keys("chunk_size", 128),
    )
    return [mixer], _listed(kinds, SOFTMAX)


def nemotron_feedforwards(keys: Keys) -> tuple[FeedForward, ...]:
    """Its layers are a mixer or a feed-forward part, never both."""
    kinds = nemotron_kinds(keys)
    bias = keys("mlp_bias", False)
    plain = Mlp(
        count=_listed(kinds, ("mlp", "-")),
        hidden=keys.need("intermediate_size"),
        gated=False,
        bias=bias,
    )
    sparse = _listed(kinds, ("moe", "E"))
    routed = {
        "experts": keys("n_routed_experts", 0),
        "top_k": keys("num_experts_per_tok", 0),
        "hidden": keys("moe_intermediate_size", 0),
        "shared": keys("n_shared_experts", 0) * keys("moe_shared_expert_intermediate_size", 0),
    }
    if not sparse:
        return (plain,)
    mixture = Experts(count=sparse, gated=False, bias=bias, correction_bias=True, **routed)
    return (plain, mixture)


def _lfm2(keys: Keys, layers: int) -> tuple[list[Mixer], int]:
    kinds = keys("layer_types")
    indices = keys("full_attn_idxs")
    if kinds is not None:
        softmax = _listed(kinds, SOFTMAX)
    else:
        softmax = layers if indices is None else len(indices)
    short = ShortConv(
        count=layers - softmax, kernel=keys("conv_L_cache", 3), bias=keys("conv_bias", False)
    )
    return [short], softmax
