"""Bytes: cache and state, training by part and degree, serving with quantised weights."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop.cost import (
    Quantized,
    architecture,
    cache_bytes,
    checkpoint_bytes,
    count,
    from_config,
    published,
    serving_memory,
    training_memory,
    weight_bytes,
)


def test_cache_of_a_grouped_model_is_two_gib_only_where_it_is():
    assert cache_bytes(published("Llama-3-8B"), 8192) == 2**30
    assert cache_bytes(published("Llama-2-7B"), 4096) == 2 * 2**30


def test_windows_bound_the_cache():
    model = published("Gemma-3-27B text")
    per_token = 2 * 2 * 16 * 128
    assert cache_bytes(model, 512) == 62 * per_token * 512
    assert cache_bytes(model, 32768) == per_token * (52 * 1024 + 10 * 32768)


def test_a_recurrent_state_does_not_grow():
    mamba = from_config({"model_type": "mamba2", "num_hidden_layers": 64, "hidden_size": 2560,
                         "num_heads": 80, "head_dim": 64, "n_groups": 1, "vocab_size": 50288,
                         "state_size": 128})  # fmt: skip
    state = 64 * (80 * 64 * 128 + 4 * (80 * 64 + 2 * 128))
    assert cache_bytes(mamba, 100) == cache_bytes(mamba, 100000) == 2 * state


def test_a_quantised_cache_counts_its_bits_and_scales():
    model = published("Llama-3-8B")
    half = replace(model, kv_bits=8 + 16 / 128)
    assert cache_bytes(half, 8192) == pytest.approx(cache_bytes(model, 8192) * 8.125 / 16)


def test_adam_in_mixed_precision_takes_sixteen_bytes_a_parameter():
    model = published("Llama-3-8B")
    total = count(model).total

    def states(**settings):
        memory = training_memory(model, 1, 128, **settings)
        return (memory.weights + memory.gradients + memory.optimizer) / total

    assert states() == 16
    assert states(gradient_bytes=4) == 18
    assert states(optimizer="muon") == 12
    assert states(optimizer="adamw_8bit") == 10
    assert states(zero=1, data_parallel=4) == 2 + 2 + 3
    assert states(zero=2, data_parallel=4) == 2 + 0.5 + 3
    assert states(zero=3, data_parallel=4) == 4
    # tensor parallelism divides the model, ZeRO only the data-parallel copies of the rest
    assert states(zero=1, data_parallel=4, tensor_parallel=2) == (2 + 2 + 3) / 2
    assert states(data_parallel=64) == 16


def test_activations_of_a_gpt_are_those_of_korthikanti():
    model = published("GPT-3 175B")
    b, s, h, a, layers = 1, 2048, 12288, 96, 96

    def kept(**settings):
        return training_memory(model, b, s, dropout=True, **settings).activations / layers

    assert kept() == 34 * s * b * h
    assert kept(attention="materialised") == s * b * h * (34 + 5 * a * s / h)
    assert kept(attention="materialised", checkpointing="selective") == 34 * s * b * h
    assert kept(checkpointing="full") == 2 * s * b * h
    assert kept(tensor_parallel=8) == 34 * s * b * h / 8


def test_logits_are_the_peak_of_a_small_model_with_many_words():
    memory = training_memory(published("Gemma-3-1B"), 8, 4096)
    assert memory.logits == 6 * 8 * 4096 * 262144
    assert memory.logits > memory.weights + memory.gradients + memory.optimizer


def test_checkpoints():
    bloom = published("BLOOM-176B")
    assert checkpoint_bytes(bloom) == 2 * 176247271424
    assert checkpoint_bytes(bloom, "adamw") == 14 * 176247271424
    with pytest.raises(ValueError, match="optimizer 'lion' is not one of adamw"):
        checkpoint_bytes(bloom, "lion")


def test_quantised_weights_keep_tables_and_scales():
    model = published("GLM-130B")
    quantised = replace(model, weights=Quantized(bits=4))
    raw = count(model).total / 2
    table = 150528 * 12288
    assert weight_bytes(quantised) == pytest.approx(raw + 1.5 * table, rel=1e-3)
    grouped = replace(model, weights=Quantized(bits=4, group=128, zero_bits=4))
    assert weight_bytes(grouped) / weight_bytes(quantised) == pytest.approx(1.037, abs=2e-3)
    assert weight_bytes(quantised) < 4 * 24e9 < weight_bytes(model)


def test_quantised_experts_include_the_resting_ones_and_not_the_router():
    stored = Quantized(bits=4, group=32, scale_bits=8)
    model = replace(published("gpt-oss-120b"), weights=stored)
    experts = 36 * 128 * 3 * 2880 * 2880
    attention = 36 * 2880 * 2 * (4096 + 512)
    rest = count(model).total - experts - attention
    assert weight_bytes(model) == (experts + attention) * 4.25 / 8 + 2 * rest
    published_form = replace(model, weights=replace(stored, experts_only=True))
    assert weight_bytes(published_form) == experts * 4.25 / 8 + 2 * (rest + attention)
    assert round(weight_bytes(published_form) / 2**30, 1) == 60.8  # model card, table 1


def test_serving_adds_up_and_grows_with_batch():
    one, many = (serving_memory(published("Llama-3-8B"), batch, 8192) for batch in (1, 16))
    assert one.weights == many.weights == 2 * 8030261248
    assert many.cache == 16 * one.cache
    assert one.total == one.weights + one.cache + one.activations


def test_arrays_and_latent_layers_have_memory_too():
    wide = architecture(layers=np.array([4, 8]), width=np.array([256, 512]), vocab=1000, heads=4,
                        ff=1024, experts=8, top_k=2, expert_ff=256)  # fmt: skip
    assert training_memory(wide, 2, 128).total.shape == (2,)
    for name in ("DeepSeek-V3", "gpt-oss-20b"):
        assert training_memory(published(name), 1, 4096, checkpointing="full").activations > 0


def test_settings_are_printed_with_the_bytes():
    text = str(training_memory(published("Pythia-70M"), 8, 2048, zero=2, data_parallel=4))
    assert "optimizer adamw, zero 2, data_parallel 4" in text
    with pytest.raises(ValueError, match="zero 5"):
        training_memory(published("Pythia-70M"), 8, 2048, zero=5)  # type: ignore[arg-type]
