"""Reading on from a cache gives what reading the whole text gives, for every mixer."""

import pytest
import torch

from isoflop.cost import cache_bytes
from isoflop.lab.architecture import architecture_of
from isoflop.lab.decode import begin, copy_rows, extend
from isoflop.lab.model import cast, forward, rotation
from isoflop.lab.shape import Model, Shape
from model_recipes import DTYPES, RECIPES, perturbed, shape_of, text

TOLERANCE = {torch.float32: 2e-4, torch.bfloat16: 0.12}  # of the logits' own size


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def distance(found, wanted):
    scale = wanted.float().square().mean().sqrt()
    return ((found - wanted).float().abs().max() / scale).item()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_any_way_to_read_a_text_gives_the_same_logits(recipe, dtype):
    if RECIPES[recipe].experts and dtype == torch.bfloat16:
        pytest.skip("rounding may choose another expert")
    shape = shape_of(recipe)
    weights, table = cast(perturbed(shape), dtype), rotation(shape, dtype=dtype)
    tokens = text(shape, 3, 90)
    with torch.no_grad():
        whole = forward(weights, tokens, shape=shape, table=table)
    for sizes in ((90,), (70, *(1,) * 20), (8, 1, 4, 61, 1, 15)):
        cache = begin(shape, 3, length=90, dtype=dtype)
        parts = [
            extend(weights, part, cache, shape=shape, table=table)
            for part in tokens.split(sizes, dim=1)
        ]
        assert cache.seen == 90
        assert distance(torch.cat(parts, dim=1), whole) < TOLERANCE[dtype]


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("length", [5, 90])
def test_a_cache_takes_the_bytes_that_cost_says(recipe, length):
    shape = shape_of(recipe)
    cache = begin(shape, 2, length=length)
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    extend(weights, text(shape, 2, length), cache, shape=shape, table=table)
    held = [state for kind in cache.states.values() for state in kind.values()]
    ours = sum(state.numel() * state.element_size() for state in held)
    assert ours == 2 * cache_bytes(architecture_of(shape, kv_bits=32), length)


@pytest.mark.parametrize("recipe", ["qwen3", "interleaved", "latent", "delta-hybrid"])
def test_a_copied_cache_reads_on_from_its_own_text(recipe):
    shape = shape_of(recipe)
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    tokens = text(shape, 2, 40)
    cache = begin(shape, 5, length=60)  # room for three more sequences
    extend(weights, tokens, cache, shape=shape, table=table)
    before = {kind: {k: v[:, :2].clone() for k, v in h.items()} for kind, h in cache.states.items()}
    copy_rows(cache, torch.tensor([1, 0]), torch.tensor([2, 3]))
    for kind, held in cache.states.items():
        assert all(torch.equal(state[:, :2], before[kind][name]) for name, state in held.items())
    more = text(shape, 4, 5, seed=1)
    found = extend(weights, more, cache, shape=shape, table=table)
    whole = torch.cat([tokens[[0, 1, 1, 0]], more], dim=1)
    with torch.no_grad():
        wanted = forward(weights, whole, shape=shape, table=table)[:, 40:]
    assert distance(found, wanted) < 2e-4


@pytest.mark.parametrize("recipe", ["qwen3", "grouped", "interleaved", "latent"])
def test_a_masked_text_with_spans_reads_on_too(recipe):
    """Part A is seen whole, part B causally, with the places of a blank-infilling model."""
    model = Model(**(vars(RECIPES[recipe]) | {"block_positions": 16}))
    shape = Shape(width=64, depth=3, vocab=50, context=96, model=model)
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    tokens = text(shape, 2, 40)
    mask = torch.ones(40, 40, dtype=torch.bool).tril()
    mask[:, :30] = True
    positions = torch.cat([torch.arange(30), torch.full((10,), 7)]).expand(2, -1)
    block = torch.cat([torch.zeros(30, dtype=torch.long), torch.arange(1, 11)]).expand(2, -1)
    known = {"shape": shape, "table": table}
    places = {"positions_BT": positions, "block_BT": block}
    with torch.no_grad():
        wanted = forward(weights, tokens, mask_BTT=mask[None], **places, **known)
    cache = begin(shape, 2, length=40)
    parts, start = [], 0
    for size in (30, *(1,) * 10):
        new = slice(start, start + size)
        now = {name: place[:, new] for name, place in places.items()}
        seen = mask[None, new, : new.stop]
        parts.append(extend(weights, tokens[:, new], cache, mask_BTS=seen, **now, **known))
        start += size
    assert distance(torch.cat(parts, dim=1), wanted) < 2e-4


def test_too_long_a_text_is_refused():
    shape = shape_of("qwen3")
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    with pytest.raises(ValueError, match="10 positions do not fit into 9"):
        extend(weights, text(shape, 1, 10), begin(shape, 1, length=9), shape=shape, table=table)
    with pytest.raises(ValueError, match="at least 1"):
        begin(shape, 0, length=9)
