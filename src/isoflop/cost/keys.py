"""The keys of a config.json: reading them while noting which, and those that never matter."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Keys:
    """A config with the set of keys already read, so that the unread ones can be named.

    `names` translates the usual name of a size to the family's own, or to several ("a|b").
    """

    kind: str
    values: Mapping[str, Any]
    names: Mapping[str, str]
    read: set[str] = field(default_factory=set)

    def __call__(self, names: str, default: Any = None) -> Any:
        """The first of "a|b" that is present and not null, or the default."""
        found = None
        for name in self.names.get(names, names).split("|"):
            self.read.add(name)
            if found is None:
                found = self.values.get(name)
        return default if found is None else found

    def need(self, names: str) -> Any:
        """As a call, but absent is an error that names the key."""
        value = self(names)
        if value is None:
            wanted = self.names.get(names, names).replace("|", " or ")
            raise ValueError(f"config.json has no {wanted!r}")
        return value


# Keys that change neither a count nor a FLOP in any family.

IRRELEVANT = frozenset(
    """
    _name_or_path architectures auto_map transformers_version torch_dtype dtype model_type
    chunk_size_feed_forward id2label label2id is_encoder_decoder is_decoder output_attentions
    output_hidden_states problem_type return_dict use_cache torchscript pruned_heads
    tie_encoder_decoder add_cross_attention cross_attention_hidden_size task_specific_params
    bos_token_id eos_token_id pad_token_id eod_token_id sep_token_id decoder_start_token_id
    prefix vocab_file keys_to_ignore_at_inference _attn_implementation attn_implementation
    pretraining_tp
    hidden_act activation_function hidden_activation activation mlp_hidden_act ffn_act
    mamba_hidden_act query_pre_attn_scalar swiglu_alpha swiglu_limit attn_logit_softcapping
    final_logit_softcapping logit_scale logits_scaling embedding_multiplier residual_multiplier
    attention_multiplier scale_emb scale_depth dim_model_base scale_attn_weights
    scale_attn_by_inverse_layer_idx reorder_and_upcast_attn attention_softmax_in_fp32
    scale_attention_softmax_in_fp32 clip_qkv use_bidirectional_attention
    apply_residual_connection_post_layernorm slow_but_exact use_parallel_residual
    masked_softmax_fusion bias_dropout_fusion skip_bias_add skip_bias_add_qkv offset_alibi
    seq_length attention_softmax_in_fp32 runner_batch_size inference_runner unk_token_id
    validate_runner_input pre_allocate_kv_cache max_sequence_length max_batch_size
    attn_pdrop embd_pdrop resid_pdrop attention_dropout hidden_dropout residual_dropout dropout
    embedding_dropout classifier_dropout layerdrop summary_activation summary_first_dropout
    summary_proj_to_labels summary_type summary_use_proj gradient_checkpointing
    initializer_range initializer_cutoff_factor init_std init_device rms_norm_eps layer_norm_eps
    layer_norm_epsilon norm_epsilon norm_eps layernorm_epsilon mixer_rms_eps
    max_position_embeddings original_max_position_embeddings model_max_length
    rope_theta rope_scaling rope_parameters rope_local_base_freq rope_interleave rotary_pct
    rotary_emb_base rotary_embedding_base rotary rotary_base partial_rotary_factor rope_ratio
    no_rope_layers no_rope_layer_interval alibi ep_size position_embedding_type
    output_router_logits router_aux_loss_coef router_jitter_noise input_jitter_noise
    router_z_loss_coef norm_topk_prob moe_renormalize routed_scaling_factor n_group topk_group
    num_expert_group topk_method scoring_func aux_loss_alpha seq_aux moe_router_activation_func
    initial_context_length experts_per_token experts_implementation residual_in_fp32
    time_step_scale time_step_min time_step_max time_step_init_scheme time_step_floor
    time_step_limit rescale_prenorm_residual use_mambapy use_associative_scan use_mamba_kernels
    num_logits_to_keep z_loss_coefficient linear_a_log_min linear_a_log_max linear_dt_min
    linear_dt_max linear_dt_init_floor linear_allow_neg_eigval full_attn_alpha_factor
    full_attn_beta_factor linear_attn_alpha_factor linear_attn_beta_factor mlp_alpha_factor
    mlp_beta_factor cache_implementation num_key_value_groups rope_type activation_dropout use_mrope
    attention_probs_dropout_prob hidden_dropout_prob pad_key_length use_parallel_residual
    """.split()  # noqa: SIM905
)
