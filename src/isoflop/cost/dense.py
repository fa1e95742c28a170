"""Published families of dense attention models, one row a model_type."""

from __future__ import annotations

from isoflop.cost.family import Family

BIAS = "attention_bias"
GPT2_NAMES = {
    "hidden_size": "n_embd",
    "num_hidden_layers": "n_layer",
    "num_attention_heads": "n_head",
}
LLAMA = Family(qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias")
CHATGLM_KEYS = (
    "apply_query_key_layer_scaling", "fp32_residual_connection", "interleaved_qkv",
    "original_rope", "pre_seq_len", "prefix_projection", "quantization_bit", "use_flash_attn",
    "vocab_size",
)  # fmt: skip

DENSE: dict[str, Family] = {
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
    "hunyuan_v1_dense": Family(qkv_bias=BIAS, out_bias=BIAS, qk_norm="head"),
    "arcee": Family(qkv_bias=BIAS, out_bias=BIAS, mlp_bias="mlp_bias", gated=False),
    "helium": Family(qkv_bias=BIAS, mlp_bias="mlp_bias", default={"head_dim": 128}),
    "internlm2": Family(qkv_bias="bias", out_bias="bias", mlp_bias="bias"),
    "chatglm": Family(
        qkv_bias="add_qkv_bias",
        out_bias="add_bias_linear",
        mlp_bias="add_bias_linear",
        mlp_width="ffn_hidden_size",
        names={
            "num_hidden_layers": "num_layers",
            "vocab_size": "padded_vocab_size|vocab_size",
            "num_key_value_heads": "multi_query_group_num",
            "head_dim": "kv_channels",
        },
        expects={"rmsnorm": True, "post_layer_norm": True, "multi_query_attention": True},
        ignored=CHATGLM_KEYS,
    ),
}
