"""Read a Hugging Face config.json into an architecture, refusing every key it does not know."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.cost.architecture import Architecture, Quantized
from isoflop.cost.blocks import Attention, Experts, FeedForward, Latent, Mixer, Mlp
from isoflop.cost.dense import DENSE
from isoflop.cost.family import Family, Flag
from isoflop.cost.hybrids import RECURRENT, nemotron_feedforwards, nemotron_kinds, recurrent
from isoflop.cost.keys import IRRELEVANT, Keys
from isoflop.cost.sparse import SPARSE

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES = {**DENSE, **SPARSE}
SLIDING = ("sliding_attention", "chunked_attention")
FULL = ("full_attention", "attention")
# Families whose feed-forward part is four times as wide as the model unless they say otherwise.
FOUR_TIMES = ("gpt2", "gptj", "bloom", "gpt_bigcode", "falcon")


def from_config(source: str | Path | Mapping[str, Any], **changes: Any) -> Architecture:
    """Read config.json (a dict, a file, or the folder that holds it) into an architecture.

    `changes` override keys, for example `vocab_size=50432`. Raises ValueError for an unknown
    model_type, a missing size, or a key that may change the count and is not understood.
    """
    config = {**_load(source), **changes}
    if "text_config" in config:
        raise ValueError(
            "config.json describes several towers: pass its 'text_config' to cost the language "
            "model alone"
        )
    kind = config.get("model_type")
    if kind not in FAMILIES:
        raise ValueError(
            f"model_type {kind!r} is not known; known are {', '.join(sorted(FAMILIES))}. "
            "Describe it with architecture(layers=..., width=..., ...) instead"
        )
    family = FAMILIES[kind]
    given = {key: value for key, value in config.items() if value is not None}
    keys = Keys(kind, {**family.default, **given}, family.names)
    for key, value in family.expects.items():
        if keys(key, value) != value:
            raise ValueError(f"config.json key {key!r} = {keys(key)!r} is not understood for "
                             f"model_type {kind!r}; only {value!r} is")  # fmt: skip
    model = _read(keys, family)
    left = sorted(set(keys.values) - keys.read - IRRELEVANT - set(family.ignored))
    if left:
        raise ValueError(
            f"config.json key {left[0]!r} = {keys.values[left[0]]!r} is not understood for "
            f"model_type {kind!r} and may change the count"
            + (f" (also {', '.join(left[1:])})" if len(left) > 1 else "")
        )
    return model


def _load(source: str | Path | Mapping[str, Any]) -> Mapping[str, Any]:
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    path = path / "config.json" if path.is_dir() else path
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} holds no JSON object")
    return config


def _flag(keys: Keys, flag: Flag) -> bool:
    if isinstance(flag, bool):
        return flag
    name, _, default = flag.partition("=")
    return bool(keys(name, default == "true"))


def _read(keys: Keys, family: Family) -> Architecture:
    kind, width = keys.kind, keys.need("hidden_size")
    layers = keys("num_hidden_layers")
    if kind == "nemotron_h":
        layers = len(nemotron_kinds(keys))
    elif layers is None:
        layers = keys.need("num_hidden_layers")
    mixers = _mixers(keys, family, layers)
    norms = family.norms
    if kind == "falcon":
        norms = _falcon_norms(keys)
    if kind == "stablelm" and keys("use_parallel_residual"):
        norms = 1
    narrow = keys("word_embed_proj_dim", width) if kind == "opt" else width
    positions = keys.need(family.positions) + family.extra_positions if family.positions else 0
    return Architecture(
        layers=layers,
        width=width,
        vocab=keys.need("vocab_size"),
        mixers=mixers,
        feedforwards=_feedforwards(keys, family, layers),
        tied=bool(keys("tie_word_embeddings", family.tied)),
        norm=family.norm,
        norms_per_layer=norms,
        final_norm=kind != "opt" or _opt_final_norm(keys),
        embedding_norm=family.embedding_norm,
        positions=positions,
        head_bias=bool(keys("lm_head_bias", family.head_bias)),
        embedding_width=0 if narrow == width else narrow,
        multi_token=keys("num_nextn_predict_layers|num_mtp_modules", 0),
        weights=_quantized(keys),
        name=kind,
    )


def _opt_final_norm(keys: Keys) -> bool:
    """OPT-350M normalises after its blocks, and then has no final norm."""
    removed = keys("_remove_final_layer_norm", False)
    return bool(keys("do_layer_norm_before", True)) and not removed


def _falcon_norms(keys: Keys) -> int:
    """Parallel blocks share one norm, except where the new decoder keeps two."""
    keys("alibi")
    new = keys("new_decoder_architecture", False)
    parallel = keys("parallel_attn", True)
    return keys("num_ln_in_parallel_attn", 2 if new else 1) if parallel else 2


def _mixers(keys: Keys, family: Family, layers: int) -> tuple[Mixer, ...]:
    found: list[Mixer] = []
    softmax = layers
    if keys.kind in RECURRENT:
        other, softmax = recurrent(keys, layers)
        found += other
    if softmax == 0:
        return tuple(found)
    if family.latent:
        return (*found, *_latent(keys, family, softmax))
    heads = keys.need("num_attention_heads")
    windows = _windows(keys, family, softmax)
    for window, count in windows.items():
        found.append(
            Attention(
                count=count,
                heads=heads,
                kv_heads=_kv_heads(keys, heads),
                head_dim=keys("head_dim") or _head_dim(keys, heads),
                window=window,
                q_bias=_flag(keys, family.qkv_bias),
                kv_bias=_flag(keys, family.qkv_bias),
                out_bias=_flag(keys, family.out_bias),
                qk_norm=family.qk_norm if _flag(keys, family.qk_norm_if) else "none",
                sinks=family.sinks,
                gate=family.gate,
            )
        )
    return tuple(found)


def _head_dim(keys: Keys, heads: int) -> int:
    width = keys.need("hidden_size")
    if width % heads:
        raise ValueError(f"config.json has no 'head_dim', and {width} channels are not divisible "
                         f"by {heads} heads")  # fmt: skip
    return width // heads


def _kv_heads(keys: Keys, heads: int) -> int:
    written = keys("num_key_value_heads")
    if keys.kind == "gpt_bigcode":
        return 1 if keys("multi_query", True) else heads
    if keys.kind == "falcon":
        if keys("new_decoder_architecture", False):
            keys("multi_query")
            return heads if written is None else written
        return 1 if keys("multi_query", True) else heads
    return heads if written is None else written


def _latent(keys: Keys, family: Family, count: int) -> tuple[Latent, ...]:
    """Latent layers; those whose sparse indexer is shared with an earlier layer come apart."""
    for derived in ("head_dim", "qk_head_dim", "num_key_value_heads"):
        keys(derived)
    known = {"indexed_attention", "full_attention", "linear_attention"}
    if set(keys("layer_types", ())) - known:
        raise ValueError(f"config.json key 'layer_types' = {keys('layer_types')} is not understood")
    borrowed = sum(kind == "shared" for kind in keys("indexer_types", ()))
    latent = Latent(
        count=count - borrowed,
        heads=keys.need("num_attention_heads"),
        q_rank=keys("q_lora_rank", 0),
        kv_rank=keys.need("kv_lora_rank"),
        nope_dim=keys.need("qk_nope_head_dim"),
        rope_dim=keys.need("qk_rope_head_dim"),
        value_dim=keys.need("v_head_dim"),
        bias=_flag(keys, family.qkv_bias),
        index_heads=keys("index_n_heads", 0),
        index_dim=keys("index_head_dim", 0),
        index_top_k=keys("index_topk", 0),
    )
    if not borrowed:
        return (latent,)
    return (replace(latent, count=borrowed, index_heads=0, index_dim=0), latent)


def _windows(keys: Keys, family: Family, softmax: int) -> dict[int, int]:
    """Layers by the width of their sliding window (0: none)."""
    window = keys("sliding_window|attention_chunk_size", 0)
    switch = keys("use_sliding_window", family.window != "switch")
    first = keys("max_window_layers", 0)
    period = keys("sliding_window_pattern|_sliding_window_pattern")
    kinds = keys("layer_types")
    if kinds is not None:
        tally = Counter(kinds)
        near = sum(tally[kind] for kind in SLIDING)
        if near + sum(tally[kind] for kind in FULL) != softmax:
            raise ValueError(f"config.json key 'layer_types' lists {dict(tally)}, which does not "
                             f"make {softmax} attention layers")  # fmt: skip
    elif not switch or not window or family.window == "none":
        near = 0
    elif family.window == "switch":
        near = max(softmax - first, 0)
    elif family.window == "all" and not isinstance(period, int):
        near = softmax
    else:
        every = period if isinstance(period, int) else int(family.window)
        near = softmax - softmax // every
    if near and not window:
        raise ValueError("config.json lists sliding layers and no 'sliding_window' width")
    return {w: n for w, n in ((window, near), (0, softmax - near)) if n}


def _feedforwards(keys: Keys, family: Family, layers: int) -> tuple[FeedForward, ...]:
    if keys.kind in ("mamba", "mamba2", "falcon_mamba"):
        return ()
    if keys.kind == "nemotron_h":
        return nemotron_feedforwards(keys)
    wide = keys(family.mlp_width)
    if wide is None:
        if keys.kind not in FOUR_TIMES and not family.routed:
            wide = keys.need(family.mlp_width)
        wide = 4 * keys.need("hidden_size")
    if keys.kind == "lfm2":
        wide = _adjusted(keys, wide)
    bias = _flag(keys, family.mlp_bias)
    if family.routed is None:
        return (Mlp(count=layers, hidden=wide, gated=family.gated, bias=bias),)
    routed = family.routed
    experts = keys(routed.experts, 0)
    sparse = _sparse(keys, family, layers) if experts else 0
    dense = Mlp(count=layers - sparse, hidden=wide, gated=family.gated, bias=bias)
    if not sparse:
        return (dense,)
    hidden = keys.need(routed.hidden)
    shared = keys(routed.shared_hidden, 0) if routed.shared_hidden else 0
    if routed.shared_count:
        shared = (keys(routed.shared_count) or 0) * hidden
    shared = shared or routed.shared_fixed * hidden
    mixture = Experts(
        count=sparse,
        experts=experts,
        top_k=keys.need(routed.top_k),
        hidden=hidden,
        shared=shared,
        gated=family.gated,
        bias=routed.bias or bias,
        shared_gate=routed.shared_gate,
        router_bias=routed.router_bias,
        correction_bias=routed.correction_bias,
    )
    return (dense, mixture) if layers > sparse else (mixture,)


def _sparse(keys: Keys, family: Family, layers: int) -> int:
    """How many layers hold experts."""
    listed = keys("mlp_layer_types")
    sparse = keys("moe_layers")
    first = keys(family.routed.dense_first, 0) if family.routed and family.routed.dense_first else 0
    step = keys("decoder_sparse_step|moe_layer_freq|interleave_moe_layer_step", 1)
    dense = set(keys("mlp_only_layers", ()))
    period, offset = keys("expert_layer_period", 1), keys("expert_layer_offset", 0)
    if listed is not None:
        return sum(kind == "sparse" for kind in listed)
    if sparse is not None:
        return len(sparse)
    return sum(
        layer >= first and (layer + 1) % step == 0 and layer not in dense
        and layer % period == offset
        for layer in range(layers)
    )  # fmt: skip


def _adjusted(keys: Keys, wide: int) -> int:
    """LFM2 shrinks its MLP to two thirds and rounds up to a multiple."""
    multiple = keys("block_multiple_of", 256)
    factor = keys("block_ffn_dim_multiplier", 1.0)
    keys("block_ff_dim|block_dim|block_mlp_init_scale|block_norm_eps|block_out_init_scale")
    keys("block_use_swiglu|block_use_xavier_init")
    if not keys("block_auto_adjust_ff_dim", True):
        return wide
    return multiple * -(-int(factor * int(2 * wide / 3)) // multiple)


def _quantized(keys: Keys) -> Quantized | None:
    """Bits per weight from quantization_config; scales as their format stores them."""
    written = keys("quantization_config")
    if written is None:
        return None
    method = written.get("quant_method")
    if method in ("gptq", "awq"):
        bits = written["bits"]
        return Quantized(bits=bits, group=max(written.get("group_size", 128), 0), zero_bits=bits)
    if method == "fp8":
        rows, columns = written.get("weight_block_size") or (0, 0)
        return Quantized(bits=8, group=rows * columns, scale_bits=32)
    if method == "mxfp4":
        return Quantized(bits=4, group=32, scale_bits=8, experts_only=True)
    raise ValueError(f"quantization_config quant_method {method!r} is not understood "
                     "(gptq, awq, fp8, mxfp4 are)")  # fmt: skip
