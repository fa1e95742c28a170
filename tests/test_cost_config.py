"""Reading config.json: equal to the modules that transformers builds, and strict about keys."""

import json
import warnings

import pytest

from isoflop.cost import count, from_config, weight_bytes


def dense(kind, layers, width, heads, kv_heads, ff, vocab, **more):
    return {
        "model_type": kind,
        "num_hidden_layers": layers,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "intermediate_size": ff,
        "vocab_size": vocab,
        **more,
    }


def latent(q, kv, nope, rope, v):
    return {
        "q_lora_rank": q,
        "kv_lora_rank": kv,
        "qk_nope_head_dim": nope,
        "qk_rope_head_dim": rope,
        "v_head_dim": v,
    }


def routed(experts, top_k, hidden, shared, dense_first):
    return {
        "n_routed_experts": experts,
        "num_experts_per_tok": top_k,
        "moe_intermediate_size": hidden,
        "n_shared_experts": shared,
        "first_k_dense_replace": dense_first,
    }


def pattern(layers, period, near="sliding_attention", far="full_attention"):
    return [far if (layer + 1) % period == 0 else near for layer in range(layers)]


V3 = latent(1536, 512, 128, 64, 128)
# Published hyper-parameters of released models, as in their config.json.
MODELS = {
    "Llama-2-7B": dense("llama", 32, 4096, 32, 32, 11008, 32000),
    "Llama-2-70B": dense("llama", 80, 8192, 64, 8, 28672, 32000),
    "Llama-3-8B": dense("llama", 32, 4096, 32, 8, 14336, 128256),
    "Llama-3.1-405B": dense("llama", 126, 16384, 128, 8, 53248, 128256),
    "Llama-3.2-1B": dense("llama", 16, 2048, 32, 8, 8192, 128256, tie_word_embeddings=True,
                          head_dim=64),
    "TinyLlama-1.1B": dense("llama", 22, 2048, 32, 4, 5632, 32000),
    "SmolLM2-135M": dense("llama", 30, 576, 9, 3, 1536, 49152, tie_word_embeddings=True),
    "Mistral-7B": dense("mistral", 32, 4096, 32, 8, 14336, 32000, sliding_window=4096),
    "Qwen2.5-0.5B": dense("qwen2", 24, 896, 14, 2, 4864, 151936, tie_word_embeddings=True),
    "Qwen2.5-7B": dense("qwen2", 28, 3584, 28, 4, 18944, 152064),
    "Qwen2.5-72B": dense("qwen2", 80, 8192, 64, 8, 29568, 152064),
    "Qwen3-4B": dense("qwen3", 36, 2560, 32, 8, 9728, 151936, head_dim=128,
                      tie_word_embeddings=True),
    "Qwen3-32B": dense("qwen3", 64, 5120, 64, 8, 25600, 151936, head_dim=128),
    "Gemma-2B": dense("gemma", 18, 2048, 8, 1, 16384, 256000, head_dim=256),
    "Gemma-2-2B": dense("gemma2", 26, 2304, 8, 4, 9216, 256000, head_dim=256, sliding_window=4096),
    "Gemma-2-27B": dense("gemma2", 46, 4608, 32, 16, 36864, 256000, head_dim=128,
                         sliding_window=4096),
    "Gemma-3-1B": dense("gemma3_text", 26, 1152, 4, 1, 6912, 262144, head_dim=256,
                        sliding_window=512),
    "Gemma-3-27B text": dense("gemma3_text", 62, 5376, 32, 16, 21504, 262144, head_dim=128,
                              sliding_window=1024),
    "OLMo-2-7B": dense("olmo2", 32, 4096, 32, 32, 11008, 100352),
    "OLMo-2-32B": dense("olmo2", 64, 5120, 40, 8, 27648, 100352),
    "OLMo-3-7B": dense("olmo3", 32, 4096, 32, 32, 11008, 100278, sliding_window=4096,
                       layer_types=pattern(32, 4)),
    "Phi-3-mini": dense("phi3", 32, 3072, 32, 32, 8192, 32064, sliding_window=2047),
    "Phi-2": dense("phi", 32, 2560, 32, 32, 10240, 51200),
    "StarCoder2-7B": dense("starcoder2", 32, 4608, 36, 4, 18432, 49152, sliding_window=4096),
    "SmolLM3-3B": dense("smollm3", 36, 2048, 16, 4, 11008, 128256),
    "Command-R": dense("cohere", 40, 8192, 64, 64, 22528, 256000),
    "GLM-4-9B": dense("glm", 40, 4096, 32, 2, 13696, 151552),
    "GLM-4-9B-0414": dense("glm4", 40, 4096, 32, 2, 13696, 151552),
    "GPT-2 XL": {"model_type": "gpt2", "n_layer": 48, "n_embd": 1600, "n_head": 25,
                 "vocab_size": 50257, "n_positions": 1024},
    "GPT-J-6B": {"model_type": "gptj", "n_layer": 28, "n_embd": 4096, "n_head": 16,
                 "vocab_size": 50400, "n_positions": 2048, "rotary_dim": 64},
    "Pythia-70M": {"model_type": "gpt_neox", "num_hidden_layers": 6, "hidden_size": 512,
                   "num_attention_heads": 8, "intermediate_size": 2048, "vocab_size": 50304},
    "GPT-NeoX-20B": {"model_type": "gpt_neox", "num_hidden_layers": 44, "hidden_size": 6144,
                     "num_attention_heads": 64, "intermediate_size": 24576, "vocab_size": 50432},
    "OPT-350M": {"model_type": "opt", "num_hidden_layers": 24, "hidden_size": 1024,
                 "num_attention_heads": 16, "ffn_dim": 4096, "vocab_size": 50272,
                 "word_embed_proj_dim": 512, "max_position_embeddings": 2048,
                 "do_layer_norm_before": False},
    "OPT-175B": {"model_type": "opt", "num_hidden_layers": 96, "hidden_size": 12288,
                 "num_attention_heads": 96, "ffn_dim": 49152, "vocab_size": 50272,
                 "word_embed_proj_dim": 12288, "max_position_embeddings": 2048},
    "BLOOM-176B": {"model_type": "bloom", "n_layer": 70, "hidden_size": 14336, "n_head": 112,
                   "vocab_size": 250880},
    "Falcon-7B": {"model_type": "falcon", "num_hidden_layers": 32, "hidden_size": 4544,
                  "num_attention_heads": 71, "vocab_size": 65024, "multi_query": True,
                  "parallel_attn": True, "new_decoder_architecture": False, "bias": False},
    "Falcon-180B": {"model_type": "falcon", "num_hidden_layers": 80, "hidden_size": 14848,
                    "num_attention_heads": 232, "num_kv_heads": 8, "vocab_size": 65024,
                    "new_decoder_architecture": True, "bias": False},
    "StarCoder-15B": {"model_type": "gpt_bigcode", "n_layer": 40, "n_embd": 6144, "n_head": 48,
                      "n_inner": 24576, "n_positions": 8192, "vocab_size": 49152,
                      "multi_query": True},
    "Mixtral-8x7B": dense("mixtral", 32, 4096, 32, 8, 14336, 32000, num_local_experts=8,
                          num_experts_per_tok=2),
    "OLMoE-1B-7B": dense("olmoe", 16, 2048, 16, 16, 1024, 50304, num_experts=64,
                         num_experts_per_tok=8),
    "Qwen1.5-MoE-A2.7B": dense("qwen2_moe", 24, 2048, 16, 16, 5632, 151936, num_experts=60,
                               num_experts_per_tok=4, moe_intermediate_size=1408,
                               shared_expert_intermediate_size=5632),
    "Qwen3-30B-A3B": dense("qwen3_moe", 48, 2048, 32, 4, 6144, 151936, head_dim=128,
                           num_experts=128, num_experts_per_tok=8, moe_intermediate_size=768),
    "gpt-oss-20b": dense("gpt_oss", 24, 2880, 64, 8, 2880, 201088, head_dim=64,
                         num_local_experts=32, num_experts_per_tok=4, sliding_window=128,
                         layer_types=pattern(24, 2)),
    "gpt-oss-120b": dense("gpt_oss", 36, 2880, 64, 8, 2880, 201088, head_dim=64,
                          num_local_experts=128, num_experts_per_tok=4, sliding_window=128,
                          layer_types=pattern(36, 2)),
    "MiniCPM3-4B": dense("minicpm3", 62, 2560, 40, 40, 6400, 73448,
                         **latent(768, 256, 64, 32, 64)),
    "DeepSeek-V2-Lite": dense("deepseek_v2", 27, 2048, 16, 16, 10944, 102400,
                              **latent(None, 512, 128, 64, 128), **routed(64, 6, 1408, 2, 1)),
    "DeepSeek-V2": dense("deepseek_v2", 60, 5120, 128, 128, 12288, 102400, **V3,
                         **routed(160, 6, 1536, 2, 1)),
    "DeepSeek-V3": dense("deepseek_v3", 61, 7168, 128, 128, 18432, 129280, **V3,
                         **routed(256, 8, 2048, 1, 3)),
    "Kimi-K2": dense("deepseek_v3", 61, 7168, 64, 64, 18432, 163840, **V3,
                     **routed(384, 8, 2048, 1, 1)),
    "Moonlight-16B-A3B": dense("deepseek_v3", 27, 2048, 16, 16, 11264, 163840,
                               **latent(None, 512, 128, 64, 128), **routed(64, 6, 1408, 2, 1)),
    "GLM-4.5": dense("glm4_moe", 92, 5120, 96, 8, 12288, 151552, head_dim=128, use_qk_norm=True,
                     attention_bias=True, **routed(160, 8, 1536, 1, 3)),
    "GLM-4.5-Air": dense("glm4_moe", 46, 4096, 96, 8, 10944, 151552, head_dim=128,
                         attention_bias=True, **routed(128, 8, 1408, 1, 1)),
    "GLM-5": dense("glm_moe_dsa", 78, 6144, 64, 64, 12288, 154880,
                   **latent(2048, 512, 192, 64, 256), n_routed_experts=256, n_shared_experts=1,
                   num_experts_per_tok=8, moe_intermediate_size=2048, index_n_heads=32,
                   index_head_dim=128, index_topk=2048,
                   mlp_layer_types=["dense"] * 3 + ["sparse"] * 75),
    "Qwen3-Next-80B-A3B": dense("qwen3_next", 48, 2048, 16, 2, 5120, 151936, head_dim=256,
                                num_experts=512, num_experts_per_tok=10, moe_intermediate_size=512,
                                shared_expert_intermediate_size=512, linear_num_key_heads=16,
                                linear_num_value_heads=32, linear_key_head_dim=128,
                                linear_value_head_dim=128, linear_conv_kernel_dim=4,
                                layer_types=pattern(48, 4, near="linear_attention")),
    "Mamba-2.8B": {"model_type": "mamba", "num_hidden_layers": 64, "hidden_size": 2560,
                   "vocab_size": 50280, "state_size": 16},
    "Mamba2-2.7B": {"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 2560,
                    "num_heads": 80, "head_dim": 64, "n_groups": 1, "vocab_size": 50288,
                    "state_size": 128, "tie_word_embeddings": True},
    "Jamba-v0.1": dense("jamba", 32, 4096, 32, 8, 14336, 65536, num_experts=16,
                        num_experts_per_tok=2, mamba_dt_rank=256),
    "Llama-4-Scout text": dense("llama4_text", 48, 5120, 40, 8, 8192, 202048, head_dim=128,
                                intermediate_size_mlp=16384, num_local_experts=16,
                                num_experts_per_tok=1, interleave_moe_layer_step=1),
    "Llama-4-Maverick text": dense("llama4_text", 48, 5120, 40, 8, 8192, 202048, head_dim=128,
                                   intermediate_size_mlp=16384, num_local_experts=128,
                                   num_experts_per_tok=1, interleave_moe_layer_step=2),
    "Kimi-Linear-48B-A3B": dense("kimi_linear", 27, 2304, 32, 32, 9216, 163840,
                                 **latent(None, 512, 128, 64, 128), num_experts=256,
                                 num_experts_per_token=8, num_shared_experts=1,
                                 moe_intermediate_size=1024, linear_num_heads=32,
                                 linear_head_dim=128, linear_conv_kernel_dim=4,
                                 layer_types=[*pattern(24, 4, near="linear_attention"),
                                              *["linear_attention"] * 2, "full_attention"],
                                 mlp_layer_types=["dense"] + ["sparse"] * 26),
    "Nemotron-H-8B": dense("nemotron_h", 52, 4096, 32, 8, 21504, 131072, head_dim=128,
                           mamba_num_heads=128, mamba_head_dim=64, ssm_state_size=128, n_groups=8,
                           layers_block_type=(["linear_attention", "mlp"] * 24
                                              + ["full_attention", "mlp"] * 2)),
    "Falcon-H1-7B": dense("falcon_h1", 44, 3072, 12, 2, 12288, 130048, head_dim=128,
                          mamba_d_ssm=3072, mamba_n_heads=24, mamba_d_head=128,
                          mamba_d_state=256, mamba_n_groups=1),
    "Granite-4.0-H-Tiny": dense("granitemoehybrid", 40, 1536, 12, 4, 512, 100352,
                                num_local_experts=64, num_experts_per_tok=6,
                                shared_intermediate_size=1024, mamba_n_heads=48,
                                mamba_d_head=64, mamba_d_state=128, mamba_n_groups=1,
                                layer_types=pattern(40, 10, near="linear_attention")),
    "LFM2-1.2B": dense("lfm2", 16, 2048, 32, 8, 12288, 65536,
                       full_attn_idxs=[2, 5, 8, 10, 12, 14]),
}  # fmt: skip


@pytest.fixture(scope="module")
def transformers():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = pytest.importorskip("transformers", reason="pip install transformers")
        module.logging.set_verbosity_error()
        yield module


@pytest.mark.parametrize("name", MODELS)
def test_count_equals_the_module_to_the_digit(name, transformers):
    import torch

    sizes = {key: value for key, value in MODELS[name].items() if key != "model_type"}
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        config = transformers.AutoConfig.for_model(MODELS[name]["model_type"], **sizes)
        module = transformers.AutoModelForCausalLM.from_config(config)
        theirs = sum(weight.numel() for weight in module.parameters())
    assert count(from_config(MODELS[name])).total == theirs
    written = json.loads(json.dumps(config.to_dict()))
    assert count(from_config(written)).total == theirs


HUB = {
    # as the files on the hub are written, with what they carry beside the sizes
    "gpt2": (124439808, {
        "model_type": "gpt2", "activation_function": "gelu_new", "n_ctx": 1024, "n_embd": 768,
        "n_head": 12, "n_layer": 12, "n_positions": 1024, "vocab_size": 50257, "attn_pdrop": 0.1,
        "task_specific_params": {"text-generation": {"do_sample": True}}}),
    "opt-350m": (331196416, {
        "model_type": "opt", "activation_dropout": 0.0, "do_layer_norm_before": False,
        "ffn_dim": 4096, "hidden_size": 1024, "init_std": 0.02, "max_position_embeddings": 2048,
        "num_attention_heads": 16, "num_hidden_layers": 24, "prefix": "</s>", "vocab_size": 50272,
        "word_embed_proj_dim": 512}),
    "bloom": (176247271424, {
        "model_type": "bloom", "n_embed": 14336, "n_layer": 70, "num_attention_heads": 112,
        "vocab_size": 250880, "offset_alibi": 100, "seq_length": 2048, "skip_bias_add": True,
        "masked_softmax_fusion": True, "pretraining_tp": 4}),
    "falcon-7b": (6921720704, {
        "model_type": "falcon", "alibi": False, "bias": False, "hidden_size": 4544,
        "multi_query": True, "new_decoder_architecture": False, "num_attention_heads": 71,
        "num_hidden_layers": 32, "parallel_attn": True, "vocab_size": 65024}),
    "starcoder2-3b": (3030371328, {
        "model_type": "starcoder2", "activation_function": "gelu", "hidden_size": 3072,
        "intermediate_size": 12288, "mlp_type": "default", "norm_type": "layer_norm",
        "num_attention_heads": 24, "num_hidden_layers": 30, "num_key_value_heads": 2,
        "sliding_window": 4096, "use_bias": True, "vocab_size": 49152}),
    "mamba-2.8b-hf": (2768345600, {
        "model_type": "mamba", "conv_kernel": 4, "d_inner": 5120, "d_model": 2560, "expand": 2,
        "fused_add_norm": True, "hidden_size": 2560, "intermediate_size": 5120, "n_layer": 64,
        "num_hidden_layers": 64, "pad_vocab_size_multiple": 8, "rms_norm": True, "ssm_cfg": {},
        "state_size": 16, "time_step_rank": 160, "use_bias": False, "vocab_size": 50280}),
    "gemma-3-1b": (999885952, {
        "model_type": "gemma3_text", "attn_logit_softcapping": None, "head_dim": 256,
        "cache_implementation": "hybrid", "hidden_size": 1152, "intermediate_size": 6912,
        "num_attention_heads": 4, "num_hidden_layers": 26, "num_key_value_heads": 1,
        "query_pre_attn_scalar": 256, "rope_local_base_freq": 10000, "sliding_window": 512,
        "sliding_window_pattern": 6, "vocab_size": 262144}),
    "chatglm2-6b": (6243584000, {
        "model_type": "chatglm", "add_bias_linear": False, "add_qkv_bias": True,
        "ffn_hidden_size": 13696, "hidden_size": 4096, "kv_channels": 128,
        "multi_query_attention": True, "multi_query_group_num": 2, "num_attention_heads": 32,
        "num_layers": 28, "padded_vocab_size": 65024, "post_layer_norm": True, "rmsnorm": True,
        "original_rope": True, "seq_length": 32768}),
    "deepseek-moe-16b": (16375728128, {
        "model_type": "deepseek", "attention_bias": False, "first_k_dense_replace": 1,
        "hidden_size": 2048, "intermediate_size": 10944, "moe_intermediate_size": 1408,
        "moe_layer_freq": 1, "n_routed_experts": 64, "n_shared_experts": 2,
        "num_attention_heads": 16, "num_experts_per_tok": 6, "num_hidden_layers": 28,
        "num_key_value_heads": 16, "scoring_func": "softmax", "vocab_size": 102400}),
    "gpt-neox-20b": (20554567680, {
        "model_type": "gpt_neox", "attention_probs_dropout_prob": 0, "hidden_dropout_prob": 0,
        "hidden_size": 6144, "intermediate_size": 24576, "num_attention_heads": 64,
        "num_hidden_layers": 44, "rotary_emb_base": 10000, "rotary_pct": 0.25,
        "tie_word_embeddings": False, "vocab_size": 50432}),
}  # fmt: skip


@pytest.mark.parametrize("name", HUB)
def test_files_as_the_hub_holds_them(name):
    total, config = HUB[name]
    assert count(from_config(config)).total == total


def test_stored_bytes_of_quantised_releases():
    v3 = MODELS["DeepSeek-V3"] | {"quantization_config": {
        "quant_method": "fp8", "fmt": "e4m3", "weight_block_size": [128, 128]}}  # fmt: skip
    oss = MODELS["gpt-oss-20b"] | {"quantization_config": {"quant_method": "mxfp4"}}
    assert weight_bytes(from_config(oss)) == 13761264768
    assert weight_bytes(from_config(v3)) == pytest.approx(673.15e9, rel=1e-4)


def test_at_least_thirty_architectures_of_many_families_are_compared():
    assert len(MODELS) >= 50
    assert len({config["model_type"] for config in MODELS.values()}) >= 30


def test_a_key_that_may_change_the_count_is_named():
    with pytest.raises(ValueError, match="'lora_rank' = 64 is not understood"):
        from_config(MODELS["Llama-3-8B"] | {"lora_rank": 64})
    with pytest.raises(ValueError, match="'layer_norm_elementwise_affine' = False"):
        from_config(MODELS["OPT-350M"] | {"layer_norm_elementwise_affine": False})


def test_keys_of_generation_and_training_are_ignored():
    plain = count(from_config(MODELS["Llama-3-8B"])).total
    noisy = MODELS["Llama-3-8B"] | {"rope_theta": 5e5, "torch_dtype": "bfloat16", "eos_token_id": 2}
    assert count(from_config(noisy)).total == plain


def test_unknown_models_towers_and_missing_sizes_are_refused():
    with pytest.raises(ValueError, match="model_type 'bert' is not known"):
        from_config({"model_type": "bert"})
    with pytest.raises(ValueError, match="text_config"):
        from_config({"model_type": "gemma3", "text_config": MODELS["Gemma-3-1B"]})
    short = {key: value for key, value in MODELS["Llama-3-8B"].items() if key != "vocab_size"}
    with pytest.raises(ValueError, match="no 'vocab_size'"):
        from_config(short)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="4096 channels are not divisible by 31 heads"):
        from_config(MODELS["Llama-3-8B"] | {"num_attention_heads": 31})


def test_file_and_folder_read_the_same(tmp_path):
    config = MODELS["Qwen3-4B"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_config(tmp_path) == from_config(tmp_path / "config.json") == from_config(config)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        from_config(tmp_path)


def test_quantisation_is_read_from_the_config():
    stored = {"quant_method": "gptq", "bits": 4, "group_size": 128}
    model = from_config(MODELS["Qwen2.5-7B"] | {"quantization_config": stored})
    assert model.weights is not None
    assert model.weights.bits_per_weight == 4 + (16 + 4) / 128
    with pytest.raises(ValueError, match="quant_method 'strange'"):
        from_config(MODELS["Qwen2.5-7B"] | {"quantization_config": {"quant_method": "strange"}})


def test_sliding_layers_without_lists_follow_the_family():
    def windows(name):
        return {m.window: m.count for m in from_config(MODELS[name]).mixers}

    assert windows("Gemma-3-27B text") == {1024: 52, 0: 10}
    assert windows("Gemma-2-2B") == {4096: 13, 0: 13}
    assert windows("Mistral-7B") == {4096: 32}
    assert windows("Qwen2.5-7B") == {0: 28}
    assert windows("gpt-oss-120b") == {128: 18, 0: 18}
