"""The one call: everything about a model at once, vectorised, and without torch."""

import json
import subprocess
import sys

import numpy as np
import pytest

from isoflop.cost import architecture, cost, price, published


def test_deepseek_v3_at_once():
    rate = price("H800", 2.0, date="2024-12", source="DeepSeek-V3 report")
    result = cost("DeepSeek-V3", 14.8e12, machine="H800", chips=2048, rate=rate, mfu=0.3894,
                  goodput=1.0)  # fmt: skip
    assert result.counts.total == 671026404352
    assert result.train_6nd == pytest.approx(3.335e24, rel=1e-3)
    assert result.money is not None
    assert result.money.usd == pytest.approx(5.328e6, rel=0.01)  # pretraining: 2.664M hours
    text = str(result)
    for part in ("671,026,404,352", "exact, causal, recompute none", "MFU 0.389", "goodput 1.000",
                 "2024-12, DeepSeek-V3 report", "70,272 bytes of cache a token"):  # fmt: skip
        assert part in text


def test_decoding_beside_a_training_takes_the_chips_that_hold_the_model():
    result = cost("DeepSeek-V3", 14.8e12, machine="H800", chips=2048)
    assert result.decode is not None
    assert result.decode.chips == 32
    assert result.training_memory.settings["data_parallel"] == 2048
    alone = cost("DeepSeek-V3", machine="H800", chips=16)
    assert alone.decode is not None
    assert alone.decode.chips == 16


def test_parts_that_were_not_asked_are_absent():
    result = cost("Pythia-70M")
    assert result.train_flops is None
    assert result.time is None
    assert result.money is None
    assert result.decode is None
    unpriced = cost("Pythia-70M", 1e9, machine="V100")
    assert unpriced.time is not None
    assert unpriced.money is None


def test_a_config_costs_as_the_published_name():
    config = {"model_type": "llama", "num_hidden_layers": 32, "hidden_size": 4096,
              "num_attention_heads": 32, "num_key_value_heads": 8, "intermediate_size": 14336,
              "vocab_size": 128256}  # fmt: skip
    assert cost(config).counts == cost("Llama-3-8B").counts
    assert cost(published("Llama-3-8B")).flops == cost("llama-3-8b").flops


def test_json_is_plain():
    plain = json.loads(json.dumps(cost("GLM-4.5", 23e12, machine="H100", chips=1024).to_json()))
    assert plain["counts"]["total"] == 352797814784
    assert plain["flops"]["convention"] == "exact"
    assert plain["money"]["price"]["date"] == "2025-03..2026-05"
    assert plain["time"]["mfu"]["kind"] == "MFU"


def test_many_candidates_are_costed_as_one():
    width = np.array([512, 1024, 2048])
    sizes = {"vocab": 50304, "kv_heads": 4, "head_dim": 64, "experts": 16, "top_k": 2,
             "dense_layers": 1, "windows": (1024, 0)}  # fmt: skip
    layers, tokens = np.array([8, 16, 24]), np.array([1e9, 1e10, 1e11])
    many = cost(
        architecture(
            layers=layers, width=width, heads=width // 64, ff=4 * width, expert_ff=width, **sizes
        ),
        tokens,
        machine="H100",
        chips=8,
    )
    for place in range(3):
        one = cost(
            architecture(layers=int(layers[place]), width=int(width[place]),
                         heads=int(width[place]) // 64, ff=4 * int(width[place]),
                         expert_ff=int(width[place]), **sizes),
            float(tokens[place]), machine="H100", chips=8)  # fmt: skip
        assert many.time is not None
        assert one.time is not None
        assert many.time.seconds[place] == pytest.approx(one.time.seconds)
        assert many.money.usd[place] == pytest.approx(one.money.usd)
        assert np.asarray(many.cache_bytes)[place] == one.cache_bytes
        assert many.training_memory.total[place] == pytest.approx(one.training_memory.total)
        assert many.decode.seconds[place] == pytest.approx(one.decode.seconds)
    json.dumps(many.to_json())


def test_nothing_here_imports_torch_or_scipy():
    code = (
        "import sys, isoflop.cost as c; c.check(); c.cost('GLM-4.5', 1e12, machine='H100');"
        "print(*{m.split('.')[0] for m in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert not {"torch", "transformers", "scipy", "pandas", "pyarrow"} & set(loaded)
