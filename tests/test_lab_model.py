"""The model is causal, learns, counts its own cost right, and its own attention is attention."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from isoflop.cost import count, flops
from isoflop.lab.architecture import architecture_of
from isoflop.lab.attention import attention
from isoflop.lab.layer import EPSILON, Look, norm, rotate
from isoflop.lab.mixers_delta import CHUNK
from isoflop.lab.model import (
    BUFFERS,
    OUTWARD,
    climb_layers,
    count_params,
    embed,
    flops_per_token,
    forward,
    init_weights,
    matrices,
    rotation,
)
from isoflop.lab.optim import Rates, gradients, init_state, orthogonalise, update
from isoflop.lab.shape import Model, Shape
from model_recipes import DTYPES, RECIPES, perturbed, shape_of, text


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_position_sees_nothing_after_it(recipe, dtype):
    shape = shape_of(recipe)
    weights, table = perturbed(shape), rotation(shape, dtype=dtype)
    tokens = text(shape, 3, 96)
    changed = tokens.clone()
    changed[:, 70:] = (changed[:, 70:] + 1) % 50
    with torch.no_grad():
        before = forward(weights, tokens, shape=shape, table=table)
        after = forward(weights, changed, shape=shape, table=table)
    same = (before[:, :70], after[:, :70])
    # A matrix product over fewer rows (tokens of an expert) may round its last bit otherwise.
    assert torch.equal(*same) or (shape.model.experts and torch.allclose(*same, rtol=0.02))
    assert not torch.equal(before[:, 70:], after[:, 70:])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_weight_has_a_finite_gradient(recipe, dtype):
    shape = shape_of(recipe)
    weights, table = perturbed(shape), rotation(shape, dtype=dtype)
    leaves = {name: weight.requires_grad_() for name, weight in weights.items()}
    tokens = text(shape, 4, 96)
    logits = forward(weights, tokens[:, :-1], shape=shape, table=table).float()
    loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    grads = torch.autograd.grad(loss, list(leaves.values()))
    for name, grad in zip(leaves, grads, strict=True):
        assert grad.isfinite().all(), name
        assert (grad.flatten(1).norm(dim=1) > 0).all() if grad.dim() > 2 else grad.norm() > 0, name


@pytest.mark.parametrize("recipe", RECIPES)
def test_it_overfits_32_documents(recipe):
    shape = shape_of(recipe, vocab=64, context=16, depth=2)
    documents = text(shape, 32, 17, seed=3)
    weights, table = init_weights(shape, seed=0), rotation(shape, dtype=torch.float32)
    leaves = {k: w.requires_grad_() for k, w in weights.items() if k not in BUFFERS}
    parts = matrices(shape)
    groups = [{"params": [w for k, w in leaves.items() if (k in parts) == flat], "lr": rate}
              for flat, rate in ((True, 0.008), (False, 0.03))]  # fmt: skip
    adam = torch.optim.AdamW(groups, betas=(0.9, 0.95), weight_decay=0.0)
    losses, rates = [], [group["lr"] for group in groups]
    for step in range(50):
        logits = forward(weights, documents[:, :-1], shape=shape, table=table)
        loss = F.cross_entropy(logits.flatten(0, 1), documents[:, 1:].flatten())
        adam.zero_grad()
        loss.backward()
        for group, rate in zip(adam.param_groups, rates, strict=True):
            group["lr"] = rate * min(1.0, (step + 1) / 10, (50 - step) / 25)
        adam.step()
        losses.append(loss.item())
    if not shape.tied:  # the head starts at 0
        assert losses[0] == pytest.approx(math.log(64), rel=1e-3)
    assert losses[-1] < 0.4  # the first token of a document cannot be known, the rest can


@pytest.mark.parametrize("length", [33, 64, 96, 200])
def test_blocked_attention_is_attention(length):
    generator = torch.Generator().manual_seed(length)
    q, k, v, grad = torch.randn(4, 2, length, 3, 32, generator=generator)

    def run(dtype):
        leaves = [x.to(dtype).requires_grad_() for x in (q, k, v)]
        mixed = attention(*leaves)
        return [mixed, *torch.autograd.grad(mixed, leaves, grad.to(dtype))]

    for exact, low in zip(run(torch.float32), run(torch.bfloat16), strict=True):
        assert (low.float() - exact).norm() < 0.02 * exact.norm() + 1e-6


@pytest.mark.parametrize(("dtype", "within"), [(torch.float32, 1e-5), (torch.bfloat16, 0.02)])
@pytest.mark.parametrize("sizes", [(64,), (3, 64)])
def test_our_norm_has_the_values_and_gradients_of_torchs(sizes, dtype, within):
    generator = torch.Generator().manual_seed(0)
    x, gain, grad = (
        torch.randn(size, generator=generator)
        for size in ((5, 7, 3, 64), sizes, (5, 7, 3, 64))
    )  # fmt: skip
    exact = [x.double().requires_grad_(), gain.double().requires_grad_()]
    expected = F.rms_norm(exact[0], (64,), None, EPSILON) * exact[1]
    expected = [expected, *torch.autograd.grad(expected, exact, grad.double())]
    ours = [x.to(dtype).requires_grad_(), gain.to(dtype).requires_grad_()]
    found = norm(*ours)
    found = [found, *torch.autograd.grad(found, ours, grad.to(dtype))]
    for given, true in zip(found, expected, strict=True):
        assert given.dtype == dtype
        assert (given.double() - true).norm() < within * true.norm()


def test_rotation_turns_the_first_half_of_a_head_against_the_second():
    shape = Shape(width=32, depth=1, vocab=8, context=16)
    table = rotation(shape, dtype=torch.float32)
    x_BTHK = torch.randn(2, 16, 3, 32, generator=torch.Generator().manual_seed(0))
    turned = torch.view_as_complex(torch.stack(rotate(x_BTHK, table).chunk(2, -1), -1))
    plain = torch.view_as_complex(torch.stack(x_BTHK.chunk(2, -1), -1))
    torch.testing.assert_close(turned, plain * torch.complex(*table))


@pytest.mark.parametrize("recipe", ["qwen3", "latent-experts", "delta-hybrid"])
def test_muon_overfits_32_documents(recipe):
    shape = shape_of(recipe, vocab=64, context=16, depth=2)
    documents = text(shape, 32, 17, seed=3)
    weights, table = init_weights(shape, seed=0), rotation(shape, dtype=torch.bfloat16)
    state = init_state(weights, shape=shape)
    for weight in weights.values():
        weight.requires_grad_()
    losses = []
    for step in range(80):
        logits = forward(weights, documents[:, :-1], shape=shape, table=table)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), documents[:, 1:].flatten())
        grads = torch.autograd.grad(loss, list(weights.values()))
        losses.append(loss.item())
        update(
            weights,
            dict(zip(weights, grads, strict=True)),
            state,
            shape=shape,
            step=step,
            rates=Rates(),
            scale=min(1.0, (80 - step) / 30),
            dtype=torch.bfloat16,
        )
    assert losses[-1] < 0.4


@pytest.mark.parametrize("recipe", [r for r in RECIPES if not RECIPES[r].experts])
def test_flops_are_those_torch_counts(recipe):
    shape = shape_of(recipe, context=128)
    weights, table = init_weights(shape, seed=0), rotation(shape, dtype=torch.float32)
    for weight in weights.values():
        weight.requires_grad_()
    tokens = torch.zeros(2, shape.context, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        forward(weights, tokens, shape=shape, table=table).sum().backward()
    # Torch counts whole score matrices under a window, a convolution's backward pass as if its
    # channels were not apart, and not the two solves of a delta layer's triangular system
    # (forward, and in the backward pass). The first of its two chunks reads no state (two
    # products), nobody reads that after the last.
    products = counter.get_flop_counts()["Global"]
    counted = sum(n for kind, n in products.items() if "convolution" not in str(kind))
    model = replace(shape.model, window=shape.context)
    whole = flops_per_token(replace(shape, model=model), causal=False)
    delta = shape.layers(("delta",)) * shape.width
    uncounted = 3 * 2 * 3 * model.delta_conv + 2 * 2 * 2 * CHUNK
    unread = (2 * 3 + 1 * 2) * 2 * model.head_width / 2
    assert counted / tokens.numel() == whole - delta * (uncounted + unread)
    assert flops_per_token(shape) == round(flops(architecture_of(shape), 128).training)


@pytest.mark.parametrize("recipe", RECIPES)
def test_parameters_are_those_there_are(recipe):
    shape = shape_of(recipe, vocab=300)
    weights = init_weights(shape, seed=0)
    counts, sizes = count_params(shape), {k: w.numel() for k, w in weights.items()}
    stored = count(architecture_of(shape))
    assert stored.buffers == sum(sizes.pop(name, 0) for name in BUFFERS)
    assert counts["total"] == sum(sizes.values())
    tables = sizes["embedding_VD"] + sizes.get("head_VD", 0)
    assert counts["non_embedding"] == counts["total"] - tables
    model = shape.model
    resting = sum(sizes.get(name, 0) for name in ("experts_up_LERD", "experts_down_LEDF"))
    if model.experts:
        resting = resting * (model.experts - model.experts_per_token) // model.experts
    assert counts["active"] == counts["total"] - resting
    inside = sum(sizes[name] for name in matrices(shape)) + sizes.get("router_LED", 0)
    assert counts["matmul"] == inside - resting + sizes["embedding_VD"]
    for name, rows in matrices(shape).items():
        assert sum(rows) == weights[name].shape[-2], name


def test_orthogonalise_flattens_singular_values():
    stack = torch.randn(3, 96, 32, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(orthogonalise(stack))
    assert values.min() > 0.6
    assert values.max() < 1.3


def test_one_step_moves_outputs_alike_at_every_width():
    """An update changes a linear map's output by about the rate, whatever the width."""
    changes = []
    for width in (32, 128, 384):
        shape = Shape(width=width, depth=1, vocab=32, context=8)
        weights = init_weights(shape, seed=0)
        before = weights["qkv_LRD"][0].clone()
        generator = torch.Generator().manual_seed(width)
        grads = {k: torch.randn(w.shape, generator=generator) for k, w in weights.items()}
        state = init_state(weights, shape=shape)
        update(weights, grads, state, shape=shape, step=0, rates=Rates(), scale=1.0)
        x = torch.randn(64, width, generator=generator)
        changes.append((x @ (weights["qkv_LRD"][0] - before).T).square().mean().sqrt().item())
    assert max(changes) / min(changes) < 1.15


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_writes_into_the_residual_stream_begins_at_0(recipe):
    shape = shape_of(recipe)
    weights, parts = init_weights(shape, seed=0), matrices(shape)
    assert {name for name in parts if not weights[name].any()} == set(OUTWARD) & set(parts)


@pytest.mark.parametrize(("optimizer", "rate"), [("muon", 0.004), ("adamw", 0.0004)])
def test_steps_move_the_residual_stream_alike_at_every_depth(optimizer, rate):
    """Branches add up: with rates over the depth, by what one layer moves it, without by more."""

    def moved(depth, power):
        shape = Shape(width=64, depth=depth, vocab=50, context=32)
        weights, table = init_weights(shape, seed=0), rotation(shape, dtype=torch.float32)
        state = init_state(weights, shape=shape, optimizer=optimizer)
        tokens = text(shape, 8, 33)
        rates = Rates(matrix=rate, embedding=0.0, depth_power=power)
        for step in range(8):
            leaves = {name: weight.requires_grad_() for name, weight in weights.items()}
            logits = forward(leaves, tokens[:, :-1], shape=shape, table=table)
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            grads = gradients(loss, leaves)
            update(weights, grads, state, shape=shape, step=step, rates=rates, scale=1.0,
                   optimizer=optimizer)  # fmt: skip
        with torch.no_grad():
            begun = embed(weights, tokens[:, :-1], None)
            look = Look(turn=table)
            ended = climb_layers(weights, begun, shape=shape, look=look, states={})
        return ((ended - begun).norm() / begun.norm()).item()

    one, scaled, plain = moved(1, 1.0), moved(8, 1.0), moved(8, 0.0)
    assert scaled / one == pytest.approx(1, abs=0.15)
    assert plain / one > 5


def test_impossible_shapes_are_refused():
    with pytest.raises(ValueError, match="multiple of 32"):
        Shape(width=48, depth=1, vocab=10, context=8)
    with pytest.raises(ValueError, match="at least 1"):
        Shape(width=64, depth=0, vocab=10, context=8)
    for fault, options in {
        "'mamba' is not one of global, local": {"mixers": ("mamba",)},
        "latent layers rotate other widths": {"mixers": ("latent", "global")},
        "window = 0 must be at least 1": {"window": 0},
        "more than the 2 experts": {"experts": 2, "experts_per_token": 3},
        "need model.experts": {"shared_experts": 1},
        "'gelu' is not one of swiglu, relu2": {"activation": "gelu"},
        "no whole number of channels": {"feedforward": 2.7},
        "multiples of 96": {"queries_per_key": 3},
        "more than the depth of 2": {"experts": 4, "dense_layers": 3},
    }.items():
        with pytest.raises(ValueError, match=fault):
            Shape(width=64, depth=2, vocab=10, context=8, model=Model(**options))
    shape = shape_of("delta")
    with pytest.raises(ValueError, match="follows no mask"):
        forward(
            init_weights(shape, seed=0),
            text(shape, 1, 8),
            shape=shape,
            table=rotation(shape, dtype=torch.float32),
            mask_BTT=torch.ones(1, 8, 8, dtype=torch.bool),
        )


@pytest.mark.parametrize("length", [40, 150])
def test_masked_attention_is_attention(length):
    """Against softmax written out in double precision, with a mask, a window, shared keys."""
    generator = torch.Generator().manual_seed(length)
    q = torch.randn(2, length, 6, 32, generator=generator)
    k, v = torch.randn(2, 2, length, 2, 32, generator=generator)
    grad = torch.randn(2, length, 6, 32, generator=generator)
    free = torch.rand(2, length, length, generator=generator) < 0.3
    free |= torch.eye(length, dtype=torch.bool)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    near = causal.triu(-19)
    cases = {"mask": (free, {"mask_BTT": free}), "window": (near, {"window": 20}),
             "causal": (causal, {})}  # fmt: skip
    for seen, asked in cases.values():
        leaves = [x.double().requires_grad_() for x in (q, k, v)]
        keys, values = (x.repeat_interleave(3, dim=2) for x in leaves[1:])
        scores = torch.einsum("bthk,bshk->bhts", leaves[0], keys) / 32**0.5
        hidden = ~seen if seen.dim() == 2 else ~seen[:, None]
        weight = scores.masked_fill(hidden, -torch.inf).softmax(-1)
        wanted = torch.einsum("bhts,bshk->bthk", weight, values)
        wanted = [wanted, *torch.autograd.grad(wanted, leaves, grad.double())]
        for dtype, bounded, tolerance in ((torch.float32, True, 1e-5), (torch.bfloat16, True, 0.02),
                                          (torch.bfloat16, False, 0.02)):  # fmt: skip
            low = [x.to(dtype).requires_grad_() for x in (q, k, v)]
            mixed = attention(*low, bounded=bounded, **asked)
            found = [mixed, *torch.autograd.grad(mixed, low, grad.to(dtype))]
            for ours, exact in zip(found, wanted, strict=True):
                assert (ours.double() - exact).norm() < tolerance * exact.norm()


def test_a_mask_lets_a_position_look_ahead_and_places_matter():
    shape = Shape(width=64, depth=2, vocab=50, context=32, model=Model(block_positions=4))
    weights, table = perturbed(shape), rotation(shape, dtype=torch.float32)
    tokens = torch.randint(0, 50, (1, 32), generator=torch.Generator().manual_seed(0))
    block = torch.zeros(1, 32, dtype=torch.long)
    whole = torch.ones(1, 32, 32, dtype=torch.bool)
    call = {"shape": shape, "table": table, "block_BT": block}
    plain = forward(weights, tokens, **call)
    straight = torch.arange(32)[None]
    assert torch.equal(plain, forward(weights, tokens, positions_BT=straight, **call))
    assert torch.allclose(plain, forward(weights, tokens, mask_BTT=whole.tril(), **call), atol=1e-5)
    assert not torch.allclose(plain, forward(weights, tokens, mask_BTT=whole, **call), atol=1e-2)
    # Rotation tells distances only: all positions moved alike change nothing.
    moved = Shape(width=64, depth=2, vocab=50, context=64, model=Model(block_positions=4))
    far = rotation(moved, dtype=torch.float32)
    shifted = forward(
        weights, tokens, shape=moved, table=far, block_BT=block, positions_BT=straight + 9
    )
    assert torch.allclose(plain, shifted, atol=1e-4)
    with pytest.raises(ValueError, match="block_BT"):
        forward(weights, tokens, shape=shape, table=table)
