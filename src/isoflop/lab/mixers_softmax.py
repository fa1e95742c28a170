"""Softmax attention with its own keys and values: multi-head, grouped, multi-query, windowed.

Shapes: B sequences, T new positions, S positions seen and new, D width, H query heads, G key
heads, K head width, L layers, R rows of stacked projections, I = H*K.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from isoflop.lab.attention import attention
from isoflop.lab.layer import Draw, Layer, Look, Mixer, Weights, norm, recall, rotate
from isoflop.lab.shape import Kind, Shape


def _draw(shape: Shape, layers: int, normal: Draw) -> Weights:
    width, head = shape.width, shape.model.head_width
    rows = (shape.heads + 2 * shape.groups) * head
    weights = {
        "qkv_LRD": normal(layers, rows, width, scale=width**-0.5),
        "out_LDI": normal(layers, width, shape.heads * head, scale=0.0),
    }
    if shape.model.qk_norm:
        weights["qk_norms_L2K"] = normal(layers, 2, head, scale=0.0) + 1
    return weights


def _parts(shape: Shape) -> dict[str, tuple[int, ...]]:
    keys = shape.groups * shape.model.head_width
    return {"qkv_LRD": (shape.width, keys, keys), "out_LDI": (shape.width,)}


def _remember(shape: Shape, kind: Kind, length: int) -> dict[str, tuple[int, ...]]:
    kept = min(shape.model.window, length) if kind == "local" else length
    sizes = (shape.groups, kept, shape.model.head_width)
    return {"keys": sizes, "values": sizes}


def mix(
    x_BTD: torch.Tensor,
    weights: Layer,
    *,
    shape: Shape,
    kind: Kind,
    look: Look,
    state: Layer | None,
) -> torch.Tensor:
    """Attend to the new positions and to those in the state, within the window if local."""
    qkv, out, *qk_norms = weights
    window = shape.model.window if kind == "local" else 0
    turn = look.turn if shape.model.rotary in ("all", kind) else None
    q, k, v = _project(x_BTD, qkv, qk_norms[0] if qk_norms else None, shape=shape, turn=turn)
    mask = look.mask_BTS
    if state is not None and (look.seen or mask is not None):
        mixed_BTHK = _read_on(q, k, v, state=state, look=look, window=window)
    else:
        if state is not None:
            _write(state, k, v, seen=0)
        if window and mask is not None:
            mask = mask & _near(torch.arange(mask.shape[-1], device=mask.device), window)
        mixed_BTHK = attention(q, k, v, mask_BTT=mask, window=window, bounded=shape.model.qk_norm)
    return F.linear(mixed_BTHK.flatten(2), out)


def _project(
    x_BTD: torch.Tensor,
    qkv: torch.Tensor,
    qk_norms: torch.Tensor | None,
    *,
    shape: Shape,
    turn: torch.Tensor | None,
) -> tuple[torch.Tensor, ...]:
    """Make queries (B, T, H, K), keys and values (B, T, G, K), normed and rotated if asked."""
    batch, length, _ = x_BTD.shape
    heads, groups = shape.heads, shape.groups
    qkv_BTSK = F.linear(x_BTD, qkv).view(batch, length, -1, shape.model.head_width)
    qk_BTSK, v_BTGK = qkv_BTSK.split([heads + groups, groups], dim=2)
    if qk_norms is not None:
        if heads == groups:
            gains_SK = qk_norms.repeat_interleave(heads, dim=0)
        else:
            gains_SK = torch.cat([qk_norms[:1].expand(heads, -1), qk_norms[1:].expand(groups, -1)])
        qk_BTSK = norm(qk_BTSK, gains_SK)
    if turn is not None:
        qk_BTSK = rotate(qk_BTSK, turn)
    q_BTHK, k_BTGK = qk_BTSK.split([heads, groups], dim=2)
    return q_BTHK, k_BTGK, v_BTGK


def _near(places: torch.Tensor, window: int) -> torch.Tensor:
    """Which of some positions lie within a window of each other, looking either way."""
    return (places[:, None] - places).abs() < window


def _write(state: Layer, k_BTGK: torch.Tensor, v_BTGK: torch.Tensor, *, seen: int) -> None:
    """Keep what the state has room for: position p of a window stands at p modulo its size."""
    size = state[0].shape[2]
    total = seen + k_BTGK.shape[1]
    kept = min(size, k_BTGK.shape[1])
    start = (total - kept) % size
    for memory_BGSK, new_BTGK in zip(state, (k_BTGK, v_BTGK), strict=True):
        new_BGTK = new_BTGK[:, -kept:].transpose(1, 2)
        ahead = min(kept, size - start)
        memory_BGSK[:, :, start : start + ahead] = new_BGTK[:, :, :ahead]
        if ahead < kept:
            memory_BGSK[:, :, : kept - ahead] = new_BGTK[:, :, ahead:]


def _read_on(
    q_BTHK: torch.Tensor,
    k_BTGK: torch.Tensor,
    v_BTGK: torch.Tensor,
    *,
    state: Layer,
    look: Look,
    window: int,
) -> torch.Tensor:
    """Attend to the state and to the new positions, which it keeps."""
    length, seen, mask = q_BTHK.shape[1], look.seen, look.mask_BTS
    total, size = seen + length, state[0].shape[2]
    if total <= size or (length == 1 and mask is None):  # what is needed fits into the state
        _write(state, k_BTGK, v_BTGK, seen=seen)
        if length > 1 and mask is None:
            mask = _causal(length, total, window, device=q_BTHK.device)[None]
        elif mask is not None and window:
            mask = mask & _near(torch.arange(total, device=mask.device), window)[seen:]
        return recall(q_BTHK, *state, used=min(total, size), mask_BTS=mask)
    slots = torch.arange(size, device=q_BTHK.device)
    slots = slots[: min(seen, size)]
    places = slots + (seen - 1 - slots) // size * size  # the position that stands in each slot
    new = torch.arange(seen, total, device=q_BTHK.device)
    places = torch.cat([places, new])
    allowed = (new[:, None] - places).abs() < window
    if mask is None:
        allowed = (allowed & (places <= new[:, None]))[None]
    else:
        allowed = allowed & mask[:, :, places]
    keys, values = (
        torch.cat([memory[:, :, : len(slots)], fresh.transpose(1, 2)], dim=2)
        for memory, fresh in zip(state, (k_BTGK, v_BTGK), strict=True)
    )
    _write(state, k_BTGK, v_BTGK, seen=seen)
    return recall(q_BTHK, keys, values, used=len(places), mask_BTS=allowed)


def _causal(length: int, total: int, window: int, *, device: torch.device) -> torch.Tensor:
    seen = torch.ones(length, total, dtype=torch.bool, device=device).tril_(total - length)
    return seen.triu_(total - length - window + 1) if window else seen


SOFTMAX = Mixer(
    names=("qkv_LRD", "out_LDI", "qk_norms_L2K"),
    draw=_draw,
    parts=_parts,
    remember=_remember,
    mix=mix,
)
