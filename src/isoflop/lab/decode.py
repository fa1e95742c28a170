"""Read on from where a text stopped: what the layers keep of the past, and a step that uses it.

Shapes: B sequences, T new positions, S positions seen so far and new, V vocabulary, L layers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from isoflop.lab.layer import Look, Weights
from isoflop.lab.mixers import MIXERS
from isoflop.lab.model import cast, climb_layers, embed, head
from isoflop.lab.shape import Kind, Shape

PAGE = 32  # positions by which memories grow
EXACT = ("state",)  # kept in float32: rounding would add up over a text

States = dict[Kind, dict[str, torch.Tensor]]


@dataclass(kw_only=True)
class Cache:
    """What the layers remember of the `seen` positions of some sequences; `extend` writes it.

    `states` holds, by the layers' kind, tensors stacked over these layers; their second axis
    counts the sequences there is room for, of which the first are in use.
    """

    seen: int
    length: int
    states: States


def begin(
    shape: Shape,
    batch: int,
    *,
    length: int,
    dtype: torch.dtype = torch.float32,
    device: str = "cpu",
) -> Cache:
    """Make the empty memory of `batch` sequences of at most `length` positions.

    It grows as it is used. `dtype` is that of the rotation table with which it will be used.
    """
    if batch < 1 or length < 1:
        raise ValueError(f"a cache needs a batch and a length of at least 1, not {batch}, {length}")
    states: States = {
        kind: {
            name: torch.zeros(
                (shape.layers((kind,)), batch, *sizes),
                dtype=torch.float32 if name in EXACT else dtype,
                device=device,
            )
            for name, sizes in MIXERS[kind].remember(shape, kind, 0).items()
        }
        for kind in dict.fromkeys(shape.kinds)
    }
    return Cache(seen=0, length=length, states=states)


def make_room(cache: Cache, total: int, *, rows: int, shape: Shape) -> None:
    """Lengthen the states of the first `rows` sequences to hold `total` positions and up to PAGE
    more; those of others are undefined until they are copied from one of these.

    Products over a whole memory need no copy of it, so it is kept about as long as it is used.
    """
    room = min(cache.length, -(-total // PAGE) * PAGE)
    for kind, held in cache.states.items():
        for name, sizes in MIXERS[kind].remember(shape, kind, room).items():
            old = held[name]
            if tuple(old.shape[2:]) != sizes:
                held[name] = old.new_empty(*old.shape[:2], *sizes)
                held[name][:, :rows] = 0
                part = (slice(None), slice(rows), *(slice(size) for size in old.shape[2:]))
                held[name][part] = old[:, :rows]


def copy_rows(cache: Cache, source_B: torch.Tensor, target_B: torch.Tensor) -> None:
    """Overwrite the sequences `target_B` by those at `source_B`, none of which is overwritten."""
    for held in cache.states.values():
        for state in held.values():
            state.index_copy_(1, target_B, state.index_select(1, source_B))


@torch.no_grad()
def extend(
    weights: Weights,
    tokens_BT: torch.Tensor,
    cache: Cache,
    *,
    shape: Shape,
    table: torch.Tensor,
    mask_BTS: torch.Tensor | None = None,
    positions_BT: torch.Tensor | None = None,
    block_BT: torch.Tensor | None = None,
) -> torch.Tensor:
    """Read T more tokens into the cache's first B sequences; returns their logits (B, T, V).

    Equal to `forward` over the whole text, to the precision of the table's dtype. Pass weights
    that were `cast` to that dtype, or every call casts them again. A mask says for each new
    position which of the S = seen + T keys it may look at; without one, those up to itself.
    Raises ValueError where the cache or the rotation table is too short.
    """
    rows, new = tokens_BT.shape
    seen, total = cache.seen, cache.seen + new
    if total > cache.length or (positions_BT is None and total > table.shape[1]):
        room = min(cache.length, table.shape[1])
        raise ValueError(
            f"{total} positions do not fit into {room}: begin the cache with a greater length and "
            "make the rotation table with a Shape of as much context"
        )
    make_room(cache, total, rows=rows, shape=shape)
    low = cast(weights, table.dtype)
    turn = table[:, seen:total] if positions_BT is None else table[:, positions_BT]
    look = Look(turn=turn, mask_BTS=mask_BTS, seen=seen)
    states = {
        kind: list(zip(*(state[:, :rows].unbind() for state in held.values()), strict=True))
        for kind, held in cache.states.items()
    }
    x_BTD = embed(low, tokens_BT, block_BT)
    x_BTD = climb_layers(low, x_BTD, shape=shape, look=look, states=states)
    cache.seen = total
    return head(low, x_BTD)
