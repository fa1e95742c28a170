"""Rounded weights are on their grid, and a climb's table says what rounding adds."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from isoflop.lab.launch import run
from isoflop.lab.model import matrices
from isoflop.lab.recipe import Ladder, Objective, Recipe, Rung
from model_recipes import RECIPES, perturbed, shape_of

pytest.importorskip("torchao", reason="pip install torchao")
from isoflop.lab.quantise import GROUP, quantise, rounded


@pytest.mark.parametrize("recipe", [name for name in RECIPES if name != "narrow-heads"])
@pytest.mark.parametrize("bits", [4, 8])
def test_a_group_of_weights_takes_so_many_values_and_the_rest_none(recipe, bits):
    shape = shape_of(recipe)
    weights = perturbed(shape)
    low = rounded(weights, shape, bits=bits)
    for name, weight in weights.items():
        if name not in matrices(shape):
            assert low[name] is weight
            continue
        size = min(GROUP, int(np.gcd(GROUP, weight.shape[-1])))
        groups, whole = low[name].unflatten(-1, (-1, size)), weight.unflatten(-1, (-1, size))
        step = whole.abs().amax(-1, keepdim=True) / (2 ** (bits - 1) - 0.5)
        assert ((groups - whole).abs() <= 0.51 * step + 1e-6).all()
        assert len(groups.flatten(0, -2)[0].unique()) <= 2**bits


@pytest.fixture(params=[Objective(), Objective(next_token=0.5, spans=0.5)], ids=["gpt", "glm"])
def climbed(request, tmp_path):
    (tmp_path / "texts").mkdir()
    for path in sorted(Path(json.__file__).parent.glob("*.py")):
        (tmp_path / "texts" / path.name).write_bytes(path.read_bytes())
    ladder = Ladder(
        name="small", corpus=str(tmp_path / "texts"),
        rungs=(Rung(width=32, depth=1, tokens=(8192, 16384)),),
        target=Rung(width=64, depth=1, tokens=(16384,)),
        recipe=Recipe(
            context=64, sequences=4, warmup_steps=4, validation_windows=8, objective=request.param
        ),
    )  # fmt: skip
    with ThreadPoolExecutor(1) as executor:
        run(ladder, tmp_path / "climb", roles=("ladder", "target"), executor=executor,
            cache=tmp_path / "cache")  # fmt: skip
    return tmp_path / "climb", tmp_path / "cache", ladder


def test_a_climb_s_table_says_what_rounding_adds(climbed):
    folder, cache, ladder = climbed
    threads = torch.get_num_threads()
    found = quantise(folder, bits=(2, 3, 8), cache=cache)
    torch.set_num_threads(threads)
    columns = found.to_json()["runs"]
    assert columns["weight_bits"] == [2, 3, 8] * 3
    loss = dict(zip(columns["run"], columns["loss"], strict=True))
    for name, value in loss.items():
        held = json.loads((folder / "runs" / name / "result.json").read_text())
        assert value == pytest.approx(held["loss"], abs=0.01)  # that one is of bfloat16
    added = np.reshape(columns["loss_added"], (3, 3))
    assert np.abs(added[:, 2]).max() < 0.05 * np.abs(added[:, 0]).max()
    if ladder.recipe.objective.next_token == 1:  # half the steps are too few to lose by rounding
        assert (added[:, 0] > 0).all()
    assert found.law is None  # two sizes only
    assert "INT2" in str(found)
    with pytest.raises(ValueError, match="from 2 to 8"):
        quantise(folder, bits=(1,))
