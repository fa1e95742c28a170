"""Models of the lab as pure functions of their weights; the default is laid out as Qwen3 is.

Shapes: B sequences, T positions, D width, H heads, K head width, F feed-forward width, V
vocabulary, L layers (of a kind), R rows of stacked projections, I = H*K, P places within a span.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
import torch.nn.functional as F

from isoflop.cost import count, flops
from isoflop.lab.architecture import architecture_of
from isoflop.lab.experts import DENSE, SPARSE, draw_feedforward, feed, feedforward_parts, route
from isoflop.lab.layer import Layer, Look, Weights, norm, rotation
from isoflop.lab.mixers import FAMILIES, MIXERS
from isoflop.lab.shape import Model, Shape

__all__ = [
    "BUFFERS", "OUTWARD", "Model", "Shape", "Weights", "cast", "count_params", "flops_per_token",
    "forward", "init_weights", "matrices", "rotation",
]  # fmt: skip

OUTWARD = ("out_LDI", "latent_out_LDI", "delta_out_LDI", "down_LDF", "experts_down_LEDF",
           "shared_down_LDF")  # write into the residual stream, begin at 0  # fmt: skip
BUFFERS = ("router_bias_LE",)  # stored with the weights, moved by the optimizer alone


def count_params(shape: Shape) -> dict[str, int]:
    """Count parameters under every convention, as `isoflop.cost` does.

    total          everything that is trained, the input table and the output head included
    non_embedding  total without the input table and without the output head (Kaplan et al. 2020)
    active         total without the experts that rest for a token
    matmul         the matrices that every token is multiplied with: the layers' and the head's
    embedding      the input table (also the head where they are tied)
    """
    counts = count(architecture_of(shape))
    kept = ("total", "non_embedding", "active", "matmul")
    return {name: int(counts[name]) for name in kept} | {"embedding": shape.vocab * shape.width}


def flops_per_token(shape: Shape, *, causal: bool = True) -> int:
    """Count training FLOPs per token: matrices and mixing, forward and twice that backward.

    A multiply-add counts 2. Causal attention counts the keys a position really sees, within its
    window; `causal=False` counts all T, as kernels without a mask compute them. Norms, rotation,
    softmax and the optimizer's own work are left out.
    """
    return round(float(flops(architecture_of(shape), shape.context, causal=causal).training))


def matrices(shape: Shape) -> dict[str, tuple[int, ...]]:
    """Name the weights that are stacks of matrices, with the rows of the parts of each matrix.

    An optimizer that treats matrices as such (Muon) treats every part as one of its own.
    """
    parts: dict[str, tuple[int, ...]] = {}
    for mixer, kinds in FAMILIES:
        if shape.layers(kinds):
            parts |= mixer.parts(shape)
    return parts | feedforward_parts(shape)


def init_weights(shape: Shape, *, seed: int, device: str = "cpu") -> Weights:
    """Draw fresh float32 weights; projections back into the residual stream and the head are 0.

    Matrices of one kind are stacked over layers, so that a step costs few calls.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(*sizes: int, scale: float) -> torch.Tensor:
        if scale == 0.0:
            return torch.zeros(sizes)
        return torch.randn(*sizes, generator=generator) * scale

    scale = shape.width**-0.5 if shape.tied else 1.0  # as a head it starts with logits of about 1
    weights = {"embedding_VD": normal(shape.vocab, shape.width, scale=scale)}
    for mixer, kinds in FAMILIES:
        if layers := shape.layers(kinds):
            weights |= mixer.draw(shape, layers, normal)
    weights |= draw_feedforward(shape, normal)
    weights["norms_L2D"] = torch.ones(shape.depth, 2, shape.width)
    weights["final_norm_D"] = torch.ones(shape.width)
    if not shape.tied:
        weights["head_VD"] = normal(shape.vocab, shape.width, scale=0.0)
    if shape.model.block_positions:
        weights["block_PD"] = normal(shape.model.block_positions, shape.width, scale=0.0)
    return {name: weight.to(device) for name, weight in weights.items()}


def cast(weights: Weights, dtype: torch.dtype) -> Weights:
    """The weights in the precision of the computation; the same tensors where they have it.

    The selection bias of experts keeps its own: it decides by small differences.
    """
    return {
        name: weight if name in BUFFERS else weight.to(dtype) for name, weight in weights.items()
    }


def forward(
    weights: Weights,
    tokens_BT: torch.Tensor,
    *,
    shape: Shape,
    table: torch.Tensor,
    mask_BTT: torch.Tensor | None = None,
    positions_BT: torch.Tensor | None = None,
    block_BT: torch.Tensor | None = None,
    load_LE: torch.Tensor | None = None,
) -> torch.Tensor:
    """Compute logits of the next token at every position, shape (B, T, V), in the table's dtype.

    A mask is True where a position (second axis) may look at a key (third axis), at least at one;
    without it a position sees itself and what stands before it. `positions_BT` are the rows of the
    table to rotate by, `block_BT` the places within spans of a model with block_positions. The
    tokens sent to each expert are added to `load_LE`, over the layers with experts.
    """
    low = cast(weights, table.dtype)
    turn = table[:, : tokens_BT.shape[1]] if positions_BT is None else table[:, positions_BT]
    look = Look(turn=turn, mask_BTS=mask_BTT)
    x_BTD = embed(low, tokens_BT, block_BT)
    x_BTD = climb_layers(low, x_BTD, shape=shape, look=look, states={}, load_LE=load_LE)
    return head(low, x_BTD)


def embed(low: Weights, tokens_BT: torch.Tensor, block_BT: torch.Tensor | None) -> torch.Tensor:
    """Look tokens up, and the places within their spans where the model learns them."""
    x_BTD = F.embedding(tokens_BT, low["embedding_VD"])
    if "block_PD" not in low:
        return x_BTD
    if block_BT is None:
        raise ValueError("a model with block_positions needs block_BT, the place within each span")
    return x_BTD + F.embedding(block_BT, low["block_PD"])


def head(low: Weights, x_BTD: torch.Tensor) -> torch.Tensor:
    table = low.get("head_VD", low["embedding_VD"])  # absent where tied
    return F.linear(norm(x_BTD, low["final_norm_D"]), table)


def climb_layers(
    low: Weights,
    x_BTD: torch.Tensor,
    *,
    shape: Shape,
    look: Look,
    states: Mapping[str, Iterable[Layer]],
    load_LE: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pass through all layers; `states` holds, by kind, what its layers remember, one after
    the other, and is empty where they look at the new positions alone."""
    mixing = {mixer.mix: layer_weights(low, mixer.names) for mixer, _ in FAMILIES}
    remembered = {kind: iter(states[kind]) for kind in states}
    dense, sparse = layer_weights(low, DENSE), layer_weights(low, SPARSE)
    loads = iter(load_LE.unbind() if load_LE is not None else ())
    last_dense = shape.depth - shape.sparse_layers
    for layer, (kind, norms) in enumerate(zip(shape.kinds, low["norms_L2D"].unbind(), strict=True)):
        mix = MIXERS[kind].mix
        state = next(remembered[kind]) if states else None
        x_BTD = x_BTD + mix(
            norm(x_BTD, norms[0]), next(mixing[mix]), shape=shape, kind=kind, look=look, state=state
        )
        fed_BTD = norm(x_BTD, norms[1])
        if layer < last_dense:
            x_BTD = x_BTD + feed(fed_BTD, next(dense), model=shape.model)
        else:
            load_E = next(loads, None)
            x_BTD = x_BTD + route(fed_BTD, next(sparse), model=shape.model, load_E=load_E)
    return x_BTD


def layer_weights(low: Weights, names: tuple[str, ...]) -> Iterator[Layer]:
    """The weights of one layer after the other, of those stacks that the model has."""
    return iter(zip(*(low[name].unbind() for name in names if name in low), strict=True))
