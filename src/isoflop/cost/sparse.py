"""Published families with experts, latent attention or recurrent layers, one row a model_type."""

from __future__ import annotations

from dataclasses import replace

from isoflop.cost.family import Family, Routed

BIAS = "attention_bias"
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
DEEPSEEK = Family(latent=True, qkv_bias=BIAS, routed=SHARED_EXPERTS)
SPARSE_DEEPSEEK = replace(DEEPSEEK, expects={"mlp_bias": False})

SPARSE: dict[str, Family] = {
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
    "deepseek": Family(
        qkv_bias=BIAS,
        out_bias=BIAS,
        routed=Routed(
            experts="n_routed_experts",
            shared_count="n_shared_experts",
            dense_first="first_k_dense_replace",
        ),
    ),
}
