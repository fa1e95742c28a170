"""What each published family of models does that its config.json does not say, one row a family.

A row holds constants of the family's definition and the names under which its sizes are written.
A flag may be a bool or the name of the config key that holds it, "key" (absent: false) or
"key=true" (absent: true).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Flag = bool | str


@dataclass(frozen=True, kw_only=True)
class Routed:
    """Under which keys a family writes its mixture of experts; "" where it has no such size.

    `shared_fixed` counts shared experts that the family always has.
    """

    experts: str
    top_k: str = "num_experts_per_tok"
    hidden: str = "moe_intermediate_size"
    shared_count: str = ""
    shared_fixed: int = 0
    shared_hidden: str = ""
    dense_first: str = ""
    shared_gate: bool = False
    router_bias: bool = False
    correction_bias: bool = False
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Family:
    """Definition of one model_type: what is fixed, and which key holds what is not.

    `window` says which layers a sliding window holds for when no layer_types are listed: "none",
    "all", "switch" (those from max_window_layers on, if use_sliding_window) or a period (every
    n-th layer sees everything). `ignored` are keys that change no count in this family, `expects`
    keys whose other values are not understood.
    """

    tied: bool = False
    gated: bool = True
    norm: Literal["rms", "layer", "layer_no_bias", "none"] = "rms"
    norms: int = 2
    embedding_norm: bool = False
    qkv_bias: Flag = False
    out_bias: Flag = False
    mlp_bias: Flag = False
    qk_norm: Literal["none", "head", "head+bias", "full"] = "none"
    qk_norm_if: Flag = True
    sinks: bool = False
    gate: Literal["none", "head", "channel"] = "none"
    head_bias: bool = False
    window: Literal["none", "all", "switch"] | int = "none"
    positions: str = ""
    extra_positions: int = 0
    latent: bool = False
    routed: Routed | None = None
    mlp_width: str = "intermediate_size"
    names: Mapping[str, str] = field(default_factory=dict)
    default: Mapping[str, object] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()
    expects: Mapping[str, object] = field(default_factory=dict)


GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}
SHARED_EXPERTS = Routed(
    experts="n_routed_experts",
    shared_count="n_shared_experts",
    dense_first="first_k_dense_replace",
    correction_bias=True,
)
QWEN_EXPERTS = Routed(experts="num_experts|num_local_experts")
QWEN_SHARED = Routed(
    experts="num_experts|num_local_experts",
    shared_hidden="shared_expert_intermediate_size",
    shared_gate=True,
)
MIXTRAL_EXPERTS = Routed(experts="num_local_experts|num_experts", hidden="intermediate_size")
FALCON_H1_SCALES = (
    "lm_head_multiplier", "mlp_multipliers", "key_multiplier", "attention_out_multiplier",
    "attention_in_multiplier", "ssm_multipliers", "ssm_in_multiplier", "ssm_out_multiplier",
    "mamba_norm_before_gate",
)  # fmt: skip
BIAS = "attention_bias"

LLAMA = Family(qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias")
DEEPSEEK = Family(latent=True, qkv_bias=BIAS, routed=SHARED_EXPERTS)
SPARSE_DEEPSEEK = replace(DEEPSEEK, expects={"mlp_bias": False})

FAMILIES: dict[str, Family] = {
    "llama": LLAMA,
    "mistral": Family(window="all"),
    "ministral": Family(window="all"),
    "qwen2": Family(qkv_bias=True, window="switch"),
    "qwen3": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", window="switch"),
    "gemma": Family(qkv_bias=BIAS, out_bias=BIAS, tied=True),
    "gemma2": Family(qkv_bias=BIAS, out_bias=BIAS, tied=True, norms=4, window=2),
    "gemma3_text": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        tied=True,
        norms=4,
        qk_norm="head",
        window=6,
        default={
            "vocab_size": 262208,
            "num_attention_heads": 8,
            "num_key_value_heads": 4,
            "head_dim": 256,
        },
    ),
    "olmo": Family(qkv_bias=BIAS, out_bias=BIAS, norm="none"),
    "olmo2": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="full"),
    "olmo3": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="full", window=4),
    "granite": LLAMA,
    "smollm3": Family(
        qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias", tied=True, window="switch"
    ),
    "seed_oss": Family(
        qkv_bias="attention_bias=true", out_bias="attention_out_bias", mlp_bias="mlp_bias"
    ),
    "ernie4_5": Family(
        qkv_bias="use_bias",
        out_bias="use_bias",
        mlp_bias="use_bias",
        tied=True,
        default={"head_dim": 128},
    ),
    "exaone4": Family(qk_norm="head", window="all"),
    "glm": Family(qkv_bias="attention_bias=true", default={"head_dim": 128}),
    "glm4": Family(qkv_bias="attention_bias=true", norms=4, default={"head_dim": 128}),
    "phi3": Family(window="all", expects={"attention_bias": False}),
    "phi": Family(
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        norm="layer",
        norms=1,
        head_bias=True,
        qk_norm="head+bias",
        qk_norm_if="qk_layernorm",
    ),
    "starcoder2": Family(
        qkv_bias="use_bias=true",
        out_bias="use_bias=true",
        mlp_bias="use_bias=true",
        gated=False,
        norm="layer",
        tied=True,
        window="all",
        expects={"mlp_type": "default", "norm_type": "layer_norm"},
    ),
    "stablelm": Family(
        qkv_bias="use_qkv_bias", norm="layer", qk_norm="full", qk_norm_if="qk_layernorm"
    ),
    "cohere": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        tied=True,
        norm="layer_no_bias",
        norms=1,
        qk_norm="full",
        qk_norm_if="use_qk_norm",
    ),
    "cohere2": Family(
        qkv_bias=BIAS, out_bias=BIAS, tied=True, norm="layer_no_bias", norms=1, window=4
    ),
    "nemotron": Family(
        qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias", gated=False, norm="layer"
    ),
    "minicpm": LLAMA,
    "minicpm3": Family(latent=True, qkv_bias=BIAS, mlp_bias="mlp_bias", tied=True),
    "gpt2": Family(
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        norm="layer",
        tied=True,
        positions="n_positions",
        names=GPT2_NAMES,
        mlp_width="n_inner",
        ignored=("n_ctx",),
    ),
    "gpt_bigcode": Family(
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        norm="layer",
        tied=True,
        positions="n_positions",
        names=GPT2_NAMES,
        mlp_width="n_inner",
    ),
    "gptj": Family(
        gated=False,
        mlp_bias=True,
        norm="layer",
        norms=1,
        head_bias=True,
        names=GPT2_NAMES,
        mlp_width="n_inner",
        ignored=("n_positions", "rotary_dim"),
    ),
    "gpt_neox": Family(
        qkv_bias="attention_bias=true",
        out_bias="attention_bias=true",
        mlp_bias=True,
        gated=False,
        norm="layer",
    ),
    "opt": Family(
        qkv_bias="enable_bias=true",
        out_bias="enable_bias=true",
        mlp_bias="enable_bias=true",
        gated=False,
        norm="layer",
        tied=True,
        positions="max_position_embeddings",
        extra_positions=2,
        expects={"layer_norm_elementwise_affine": True},
        mlp_width="ffn_dim",
        ignored=("output_projection",),
    ),
    "bloom": Family(
        qkv_bias=True,
        out_bias=True,
        mlp_bias=True,
        gated=False,
        norm="layer",
        tied=True,
        embedding_norm=True,
        names={
            "num_hidden_layers": "n_layer",
            "num_attention_heads": "n_head|num_attention_heads",
            "hidden_size": "hidden_size|n_embed",
        },
    ),
    "falcon": Family(
        mlp_width="ffn_hidden_size",
        qkv_bias="bias",
        out_bias="bias",
        mlp_bias="bias",
        gated=False,
        norm="layer",
        norms=1,
        tied=True,
        names={
            "num_hidden_layers": "num_hidden_layers|n_layer",
            "num_attention_heads": "num_attention_heads|n_head",
            "num_key_value_heads": "num_kv_heads|n_head_kv",
        },
    ),
    "mixtral": Family(routed=MIXTRAL_EXPERTS, window="all"),
    "olmoe": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        qk_norm="full",
        routed=Routed(experts="num_experts|num_local_experts", hidden="intermediate_size"),
    ),
    "qwen2_moe": Family(qkv_bias="qkv_bias=true", window="switch", routed=QWEN_SHARED),
    "qwen3_moe": Family(
        qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", window="switch", routed=QWEN_EXPERTS
    ),
    "phimoe": Family(
        qkv_bias=BIAS, out_bias=BIAS, norm="layer", window="all", routed=MIXTRAL_EXPERTS
    ),
    "granitemoe": Family(qkv_bias=BIAS, out_bias=BIAS, routed=MIXTRAL_EXPERTS),
    "gpt_oss": Family(
        qkv_bias="attention_bias=true",
        out_bias="attention_bias=true",
        sinks=True,
        window=2,
        routed=Routed(
            experts="num_local_experts|num_experts",
            hidden="intermediate_size",
            router_bias=True,
            bias=True,
        ),
    ),
    "deepseek_v2": Family(
        latent=True,
        qkv_bias=BIAS,
        mlp_bias="mlp_bias",
        routed=Routed(
            experts="n_routed_experts",
            shared_count="n_shared_experts",
            dense_first="first_k_dense_replace",
        ),
    ),
    "deepseek_v3": DEEPSEEK,
    "deepseek_v32": SPARSE_DEEPSEEK,
    "kimi_k2": DEEPSEEK,
    "glm4_moe": Family(
        qkv_bias=BIAS, qk_norm="head", qk_norm_if="use_qk_norm", routed=SHARED_EXPERTS
    ),
    "glm4_moe_lite": DEEPSEEK,
    "glm_moe_dsa": SPARSE_DEEPSEEK,
    "dots1": Family(
        qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", window="none", routed=SHARED_EXPERTS
    ),
    "minimax_m2": Family(
        qk_norm="full",
        routed=Routed(
            experts="num_local_experts|num_experts",
            hidden="intermediate_size",
            correction_bias=True,
        ),
    ),
    "qwen3_next": Family(
        qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", gate="channel", routed=QWEN_SHARED
    ),
    "qwen3_5_text": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", gate="channel"),
    "qwen3_5_moe_text": Family(
        qkv_bias=BIAS, out_bias=BIAS, qk_norm="head", gate="channel", routed=QWEN_SHARED
    ),
    "olmo_hybrid": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="full"),
    "minimax": Family(routed=MIXTRAL_EXPERTS),
    "mamba": Family(
        tied=True,
        norms=1,
        expects={"rms_norm": True, "ssm_cfg": {}},
        ignored=("d_model", "n_layer", "fused_add_norm", "pad_vocab_size_multiple"),
    ),
    "falcon_mamba": Family(tied=True, norms=1),
    "mamba2": Family(norms=1),
    "jamba": Family(
        routed=Routed(experts="num_experts|num_local_experts", hidden="intermediate_size"),
        default={"expert_layer_period": 2, "expert_layer_offset": 1},
    ),
    "bamba": Family(qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias"),
    "lfm2": Family(qk_norm="head", tied=True),
    "hunyuan_v1_dense": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="head"),
    "arcee": Family(qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias", gated=False),
    "helium": Family(qkv_bias=BIAS, mlp_bias="mlp_bias", default={"head_dim": 128}),
    "llama4_text": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        routed=Routed(experts="num_local_experts", hidden="intermediate_size", shared_fixed=1),
        mlp_width="intermediate_size_mlp",
        ignored=("use_qk_norm", "attn_temperature_tuning", "floor_scale", "attn_scale"),
    ),
    "granitemoehybrid": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        routed=Routed(
            experts="num_local_experts",
            hidden="intermediate_size",
            shared_hidden="shared_intermediate_size",
        ),
        mlp_width="shared_intermediate_size",
    ),
    "falcon_h1": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        mlp_bias="mlp_bias",
        expects={"projectors_bias": False},
        default={"mamba_rms_norm": False},
        ignored=FALCON_H1_SCALES,
    ),
    "nemotron_h": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        norms=1,
        expects={"mamba_proj_bias": False},
        ignored=("mamba_ssm_cache_dtype", "moe_shared_expert_overlap", "mtp_layers_block_type"),
    ),
    "kimi_linear": replace(
        DEEPSEEK,
        routed=Routed(
            experts="num_experts",
            top_k="num_experts_per_token",
            shared_count="num_shared_experts",
            dense_first="first_k_dense_replace",
            correction_bias=True,
        ),
    ),
}
