"""Recurrent layers of the families that have them, from their config keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isoflop.cost.blocks import Linear, Mixer, Selective, ShortConv, StateSpace

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

RECURRENT = ("mamba", "falcon_mamba", "mamba2", "jamba", "bamba", "qwen3_next", "qwen3_5_text",
             "qwen3_5_moe_text", "olmo_hybrid", "minimax", "lfm2")  # fmt: skip


def recurrent(keys: Any, kind: str, width: int, layers: int) -> tuple[list[Mixer], int]:
    """The recurrent mixers of a hybrid and how many attention layers remain."""
    match kind:
        case "mamba" | "falcon_mamba":
            return [_mamba(keys, width, layers)], 0
        case "mamba2":
            return [_mamba2(keys, width, layers)], 0
        case "jamba":
            return _jamba(keys, width, layers)
        case "bamba":
            return _bamba(keys, width, layers)
        case "minimax":
            return _split(keys, layers, "linear_attention", _lightning(keys, width))
        case "lfm2":
            return _lfm2(keys, layers)
        case _:
            return _split(keys, layers, "linear_attention", _delta(keys, kind))


def _split(
    keys: Any, layers: int, label: str, build: Callable[[int], Mixer]
) -> tuple[list[Mixer], int]:
    kinds = keys("layer_types")
    if kinds is None:
        every = keys("full_attention_interval", 2 if label == "linear" else 4)
        softmax = layers // every
    else:
        keys("full_attention_interval")
        softmax = sum(kind == "full_attention" for kind in kinds)
    return [build(layers - softmax)], softmax


def _delta(keys: Any, kind: str) -> Callable[[int], Mixer]:
    return lambda count: Linear(
        count=count,
        heads=keys.need("linear_num_value_heads"),
        key_heads=keys.need("linear_num_key_heads"),
        key_dim=keys.need("linear_key_head_dim"),
        value_dim=keys.need("linear_value_head_dim"),
        conv=keys.need("linear_conv_kernel_dim"),
    )


def _lightning(keys: Any, width: int) -> Callable[[int], Mixer]:
    heads = keys.need("num_attention_heads")
    head = keys("head_dim", width // heads)
    return lambda count: Linear(
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


def _mamba(keys: Any, width: int, count: int) -> Selective:
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


def _mamba2(keys: Any, width: int, count: int) -> StateSpace:
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


def _jamba(keys: Any, width: int, layers: int) -> tuple[list[Mixer], int]:
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


def _bamba(keys: Any, width: int, layers: int) -> tuple[list[Mixer], int]:
    softmax = len(keys("attn_layer_indices", ()))
    heads = keys("mamba_n_heads", 128)
    head = keys("mamba_d_head", "auto")
    inner = keys("mamba_expand", 2) * width
    mixer = StateSpace(
        count=layers - softmax,
        heads=heads,
        head_dim=inner // heads if head == "auto" else head,
        state=keys("mamba_d_state", 256),
        groups=keys("mamba_n_groups", 1),
        conv=keys("mamba_d_conv", 4),
        bias=keys("mamba_proj_bias", False),
        conv_bias=keys("mamba_conv_bias", True),
        chunk=keys("mamba_chunk_size", 256),
    )
    return [mixer], softmax


def _lfm2(keys: Any, layers: int) -> tuple[list[Mixer], int]:
    kinds = keys("layer_types")
    indices = keys("full_attn_idxs")
    if kinds is not None:
        softmax = sum(kind == "full_attention" for kind in kinds)
    else:
        softmax = layers if indices is None else len(indices)
    short = ShortConv(
        count=layers - softmax, kernel=keys("conv_L_cache", 3), bias=keys("conv_bias", False)
    )
    return [short], softmax
