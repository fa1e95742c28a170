"""Trees of texts: nothing stands twice, and each text is read as if it were alone."""

import numpy as np
import pytest
import torch

from isoflop.lab.model import forward, rotation
from isoflop.lab.tree import plant
from model_recipes import perturbed, shape_of

WORDS = ["07>3:7-4=3", "07>3:7-4=4", "07>3:7", "12>9:8+1=9", "07>3:7-4=3", "12>9:9"]


def coded(words):
    return {k: np.frombuffer(word.encode(), np.uint8) for k, word in enumerate(words)}


def test_a_shared_beginning_stands_once_and_every_path_spells_its_text():
    (tree,) = plant(coded(WORDS), most=100)
    beginnings = {word[: k + 1] for word in WORDS for k in range(len(word))}
    assert len(tree) == len(beginnings) == 22
    for k, word in enumerate(WORDS):
        path = tree.paths[k]
        assert bytes(tree.token_W[path]).decode() == word
        assert tree.depth_W[path].tolist() == list(range(len(word)))
        assert np.flatnonzero(tree.sees_WW[path[-1]]).tolist() == path.tolist()
    assert (np.tril(tree.sees_WW) == tree.sees_WW).all()


def test_trees_are_cut_at_their_size_and_hold_every_text_once():
    trees = plant(coded(WORDS), most=12)
    assert all(len(tree) <= 12 for tree in trees)
    assert sorted(k for tree in trees for k in tree.paths) == list(range(len(WORDS)))
    assert [len(tree.paths) for tree in plant(coded(["abc", "abd"]), most=2)] == [1, 1]
    assert plant({}, most=5) == []


@pytest.mark.parametrize("recipe", ["qwen3", "grouped", "latent"])
def test_reading_a_tree_is_reading_every_text_alone(recipe):
    shape = shape_of(recipe)
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    texts = {k: text % shape.vocab for k, text in coded(WORDS).items()}
    (tree,) = plant(texts, most=100)
    with torch.no_grad():
        found = forward(
            weights, torch.from_numpy(tree.token_W.astype(np.int64))[None], shape=shape,
            table=table, mask_BTT=torch.from_numpy(tree.sees_WW)[None],
            positions_BT=torch.from_numpy(tree.depth_W)[None],
        )[0]  # fmt: skip
        for k, text in texts.items():
            alone = forward(
                weights, torch.from_numpy(text.astype(np.int64))[None], shape=shape, table=table
            )[0]
            torch.testing.assert_close(found[tree.paths[k]], alone, rtol=1e-4, atol=1e-4)
