"""Parameter counts: published models in every convention, and Chinchilla's table A9."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from isoflop.cost import (
    Architecture,
    architecture,
    architecture_from_json,
    count,
)
from isoflop.cost.blocks import Attention, Mlp

FACTS = Path(__file__).parents[1].parent / "shared" / "facts"
needs_facts = pytest.mark.skipif(not FACTS.exists(), reason="the folder ../shared/facts is absent")


def rows(name):
    with (FACTS / name).open(newline="") as file:
        return list(csv.DictReader(file))


def from_row(row):
    size = {key: int(value or 0) for key, value in row.items() if (value or "").isdigit()}
    sized = size.get
    bias = bool(sized("expert_bias", 0))
    return architecture(
        layers=sized("L"), width=sized("d"), vocab=sized("V"), heads=sized("H"),
        kv_heads=sized("K"), head_dim=sized("dh", 0), ff=sized("ff", 0), gated=bool(sized("gated")),
        tied=bool(sized("tied")), qkv_bias=bool(sized("qkv_bias")), out_bias=bool(sized("o_bias")),
        mlp_bias=bool(sized("mlp_bias")), norm={"ln": "layer", "rms": "rms"}[row["norm"]],
        norms_per_layer=sized("norms_per_layer"), embedding_norm=bool(sized("emb_norm")),
        qk_norm=row["qk_norm"] or "none", positions=sized("pos", 0), experts=sized("E"),
        top_k=sized("topk"), shared_experts=sized("Es"), expert_ff=sized("ffe"),
        dense_layers=sized("dense_first"), expert_bias=bias, router_bias=bias,
        correction_bias=bool(sized("router_bias")) and not bias, sinks=bool(sized("sinks")),
        q_rank=sized("q_lora"), kv_rank=sized("kv_lora"), nope_dim=sized("nope"),
        rope_dim=sized("rope"), value_dim=sized("v_dh"),
        windows=tuple(int(w) for w in row["window"].split("|")) if row["window"] else (0,),
    )  # fmt: skip


@needs_facts
def test_every_published_model_counts_as_in_the_facts():
    for row in rows("models.csv"):
        counts = count(from_row(row))
        # the facts count the load-balancing bias, which is a buffer and no parameter
        assert counts.total + counts.buffers == int(row["our_total"]), row["name"]
        assert counts.non_embedding + counts.buffers == int(row["our_nonembedding"]), row["name"]
        if row["name"] == "gpt-oss-120b":
            continue  # below: the facts count the biases of resting experts as active
        assert counts.active + counts.buffers == int(row["our_active_all"]), row["name"]
        assert counts.active_head + counts.buffers == int(row["our_active_head_only"])
        assert counts.active_core + counts.buffers == int(row["our_active_core"])


@needs_facts
def test_active_experts_bring_only_their_own_biases():
    row = next(row for row in rows("models.csv") if row["name"] == "gpt-oss-120b")
    counts = count(from_row(row))
    resting = 36 * (128 - 4) * (2 * 2880 + 2880)
    assert counts.active_head == int(row["our_active_head_only"]) - resting
    assert round(counts.active_head / 1e9, 2) == 5.13  # model card, table 1


@needs_facts
def test_all_fifty_chinchilla_models_within_one_per_cent():
    table = rows("chinchilla_table_a9.csv")
    published, width, hidden, kv_size, heads, layers = (
        np.array([int(row[key]) for row in table])
        for key in ("published_params", "d_model", "ffw", "kv_size", "heads", "layers")
    )
    ladder = architecture(
        layers=layers, width=width, vocab=32000, heads=heads, head_dim=kv_size, ff=hidden,
        gated=False, tied=True, norm="layer", relative=True, qkv_bias=True, out_bias=True,
        mlp_bias=True,
    )  # fmt: skip
    error = np.abs(count(ladder).total / published - 1)
    assert len(table) == 50
    assert error.max() < 0.01
    assert (error < 0.005).sum() >= 48


def test_multi_token_layers_stand_beside_every_total():
    glm = architecture(
        layers=92, width=5120, vocab=151552, heads=96, kv_heads=8, head_dim=128, ff=12288,
        experts=160, top_k=8, expert_ff=1536, shared_experts=1, dense_layers=3, qkv_bias=True,
        qk_norm="head", multi_token=1, correction_bias=True,
    )  # fmt: skip
    counts = count(glm)
    # GLM-4.5, table 1: 355B is non-embedding with the prediction layer
    assert round((counts.non_embedding + counts.multi_token) / 1e9) == 355
    assert counts.multi_token == pytest.approx(3.99e9, rel=1e-3)
    assert round(counts.active_core / 1e9) == 32


def test_arrays_count_as_their_elements_do():
    widths = np.array([512, 1024, 2048])
    many = count(architecture(layers=np.array([6, 12, 24]), width=widths, vocab=50257, heads=8,
                              ff=4 * widths, windows=(256, 256, 0)))  # fmt: skip
    for place, (layers, width) in enumerate(zip([6, 12, 24], widths.tolist(), strict=True)):
        one = count(architecture(layers=layers, width=width, vocab=50257, heads=8, ff=4 * width,
                                 windows=(256, 256, 0)))  # fmt: skip
        assert all(np.asarray(many[name])[place] == one[name] for name in ("total", "matmul"))


def test_arrays_of_latent_models_count_as_their_elements_do():
    sizes = {"layers": 4, "vocab": 1000, "heads": 4, "kv_rank": 16, "nope_dim": 16, "rope_dim": 8,
             "value_dim": 16, "ff": 128, "experts": 8, "top_k": 2, "expert_ff": 32}  # fmt: skip
    ranks, widths = np.array([0, 24, 48]), np.array([64, 64, 96])
    many = count(architecture(q_rank=ranks, width=widths, **sizes))
    for place in range(3):
        one = architecture(q_rank=int(ranks[place]), width=int(widths[place]), **sizes)
        assert np.asarray(many.total)[place] == count(one).total
        assert np.asarray(many.matmul)[place] == count(one).matmul


def test_a_width_that_heads_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="give head_dim"):
        architecture(layers=2, width=100, vocab=64, heads=3, ff=64)


def test_padding_rounds_the_table_up():
    sizes = {"layers": 6, "width": 512, "heads": 8, "ff": 2048}
    padded = architecture(vocab=50254, pad_vocab_to=128, **sizes)
    assert padded.vocab == 50304


def test_json_round_trip_and_strictness():
    model = architecture(layers=4, width=64, vocab=256, heads=4, ff=128, weight_bits=4, name="x")
    assert architecture_from_json(json.dumps(model.to_json())) == model
    broken = model.to_json()
    broken["mixers"][0]["haeds"] = 3
    with pytest.raises(ValueError, match="Attention has no field 'haeds'"):
        architecture_from_json(broken)
    with pytest.raises(ValueError, match="Shape has no field 'widht'"):
        architecture(widht=3)
    with pytest.raises(ValueError, match="ff"):
        architecture(layers=4, width=64, vocab=256, heads=4)


def test_parallel_mixers_share_a_layer():
    both = Architecture(
        layers=2, width=64, vocab=100,
        mixers=(Attention(count=2, heads=4, kv_heads=2, head_dim=16),
                Attention(count=2, heads=2, kv_heads=2, head_dim=16, window=8)),
        feedforwards=(Mlp(count=2, hidden=128),),
    )  # fmt: skip
    assert count(both).non_embedding == (
        2 * (2 * 64 * 64 + 2 * 64 * 32 + 4 * 64 * 32 + 3 * 64 * 128) + 5 * 64
    )


def test_unknown_convention_is_named():
    counts = count(architecture(layers=1, width=8, vocab=8, heads=1, ff=8))
    with pytest.raises(ValueError, match="'size' is not one of total, non_embedding"):
        counts["size"]
