"""How many parameters, in every convention in use; one model has not one size but six."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, NamedTuple

from isoflop.cost.architecture import NORM_VECTORS, Architecture, plain_value
from isoflop.cost.blocks import (
    Attention,
    Counted,
    Experts,
    FeedForward,
    Latent,
    Linear,
    Mixer,
    Mlp,
    Selective,
    ShortConv,
    StateSpace,
)

if TYPE_CHECKING:
    from isoflop.cost.blocks import Size

CONVENTIONS = {
    "total": "every parameter",
    "non_embedding": "total without the input table and an untied head",
    "active": "total without the experts that rest for a token",
    "active_head": "active without the input table (a tied table stays, as the head)",
    "active_core": "active without the input table and the head",
    "matmul": "weights that enter a matrix product for a token, head included",
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """Parameter counts of one architecture, by convention (see CONVENTIONS).

    `buffers` are stored with the model and not learnt (load-balancing biases); `multi_token`
    belongs to extra prediction layers. No other count includes them.
    """

    total: Size
    non_embedding: Size
    active: Size
    active_head: Size
    active_core: Size
    matmul: Size
    buffers: Size
    multi_token: Size

    def __getitem__(self, convention: str) -> Size:
        if convention not in CONVENTIONS:
            raise ValueError(
                f"parameter convention {convention!r} is not one of {', '.join(CONVENTIONS)}"
            )
        return getattr(self, convention)

    def to_json(self) -> dict[str, Any]:
        """Plain integers (or lists) by convention."""
        return {f.name: plain_value(getattr(self, f.name)) for f in fields(self)}

    def __str__(self) -> str:
        rows = [(name, getattr(self, name), why) for name, why in CONVENTIONS.items()]
        rows += [("buffers", self.buffers, "stored, not learnt"),
                 ("multi_token", self.multi_token, "extra prediction layers")]  # fmt: skip
        return "\n".join(f"{name:<14}{value!s:>18,}  {why}" if not isinstance(value, int)
                         else f"{name:<14}{value:>18,}  {why}" for name, value, why in rows
                         if value is not None)  # fmt: skip


class Tally(NamedTuple):
    """One layer's parameters: all, those active for a token, those in matrix products, buffers."""

    params: Size
    active: Size
    matmul: Size
    buffers: Size = 0


def count(model: Architecture) -> Counts:
    """Count the parameters of a model in every convention; arrays give arrays."""
    params = active = matmul = buffers = 0
    for block in (*model.mixers, *model.feedforwards):
        layer = tally(block, model.width)
        params = params + block.count * layer.params
        active = active + block.count * layer.active
        matmul = matmul + block.count * layer.matmul
        buffers = buffers + block.count * layer.buffers
    narrow = model.embedding_width if _some(model.embedding_width) else model.width
    table = model.vocab * narrow
    projections = 2 * model.width * narrow if _some(model.embedding_width) else 0
    head = table + (model.vocab if model.head_bias else 0)
    norm = NORM_VECTORS[model.norm] * model.width
    norms = norm * (model.layers * model.norms_per_layer + model.final_norm + model.embedding_norm)
    rest = norms + model.positions * model.width + projections
    tables = table + (model.vocab if model.head_bias else 0) + (0 if model.tied else table)
    return Counts(
        total=params + rest + tables,
        non_embedding=params + rest,
        active=active + rest + tables,
        active_head=active + rest + head,
        active_core=active + rest,
        matmul=matmul + projections + table,
        buffers=buffers,
        multi_token=_multi_token(model, norm),
    )


def _some(size: Size) -> bool:
    return not isinstance(size, int) or size > 0


def _multi_token(model: Architecture, norm: Size) -> Size:
    """Extra layers like the last one, each with a 2d x d projection and five norms.

    DeepSeek-V3, section 2.2: the tables are shared with the main model.
    """
    if not model.multi_token:
        return 0
    layer = tally(model.mixers[-1], model.width).params
    if model.feedforwards:
        layer = layer + tally(model.feedforwards[-1], model.width).params
    joint = 2 * model.width * model.width
    return model.multi_token * (layer + joint + norm * (model.norms_per_layer + 3))


def tally(block: Mixer | FeedForward, width: Size) -> Tally:
    """Parameters of one layer of this block at this model width."""
    match block:
        case Attention():
            return _attention(block, width)
        case Latent():
            return _latent(block, width)
        case Linear():
            return _linear(block, width)
        case Selective():
            return _selective(block, width)
        case StateSpace():
            return _state_space(block, width)
        case ShortConv():
            matmul = 4 * width * width
            params = matmul + width * block.kernel + (5 * width if block.bias else 0)
            return Tally(params, params, matmul)
        case Counted():
            return Tally(block.params, block.params, block.matmul)
        case Mlp():
            return _mlp(width, block.hidden, gated=block.gated, bias=block.bias)
        case Experts():
            return _experts(block, width)


def _attention(block: Attention, width: Size) -> Tally:
    queries = block.heads * block.head_dim
    keys = block.kv_heads * block.head_dim
    matmul = 2 * width * (queries + keys)
    extra = 0
    if block.gate != "none":
        matmul = matmul + width * (queries if block.gate == "channel" else block.heads)
        if block.q_bias and block.gate == "channel":
            extra = extra + queries
    if block.relative:
        matmul = matmul + width * queries
        extra = extra + 2 * queries
    extra = extra + (queries if block.q_bias else 0) + (2 * keys if block.kv_bias else 0)
    extra = extra + (width if block.out_bias else 0) + (block.heads if block.sinks else 0)
    if block.qk_norm == "full":
        extra = extra + queries + keys
    elif block.qk_norm != "none":
        extra = extra + block.head_dim * (4 if block.qk_norm == "head+bias" else 2)
    params = matmul + extra
    return Tally(params, params, matmul)


def _latent(block: Latent, width: Size) -> Tally:
    query = block.heads * (block.nope_dim + block.rope_dim)
    key_value = block.heads * (block.nope_dim + block.value_dim)
    down = width * (block.kv_rank + block.rope_dim)
    # without a query rank the queries come straight from the model width
    ranked = block.q_rank > 0
    queries = ranked * (width + query) * block.q_rank + (1 - ranked) * width * query
    matmul = queries + down + block.kv_rank * key_value + block.heads * block.value_dim * width
    extra = block.q_rank + block.kv_rank
    if block.bias:
        extra = extra + block.q_rank + block.kv_rank + block.rope_dim + width
    if _some(block.index_heads):
        per_head = block.q_rank * block.index_dim + width
        matmul = matmul + block.index_heads * per_head + width * block.index_dim
        extra = extra + 2 * block.index_dim
    return Tally(matmul + extra, matmul + extra, matmul)


def _linear(block: Linear, width: Size) -> Tally:
    keys = block.key_heads * block.key_dim
    values = block.heads * block.value_dim
    low = _some(block.gate_rank)
    outer = 2 * keys + (3 if block.out_gate and not low else 2) * values
    matmul = width * (outer + block.scalar_gates * block.heads)
    if low:
        gated = block.out_gate * (width + values) + block.channel_decay * (width + keys)
        matmul = matmul + block.gate_rank * gated
    extra = block.conv * (2 * keys + values) + block.scalars * block.heads
    if block.channel_decay:
        extra = extra + keys
    if block.norm != "none":
        extra = extra + (values if block.norm == "full" else block.value_dim)
    return Tally(matmul + extra, matmul + extra, matmul)


def _selective(block: Selective, width: Size) -> Tally:
    inner, rank, state = block.inner, block.rank, block.state
    matmul = 3 * width * inner + inner * (rank + 2 * state) + rank * inner
    extra = inner * (block.conv + block.conv_bias) + inner + inner * state + inner
    extra = extra + (2 * inner + width if block.bias else 0)
    extra = extra + (rank + 2 * state if block.norms else 0)
    return Tally(matmul + extra, matmul + extra, matmul)


def _state_space(block: StateSpace, width: Size) -> Tally:
    inner = block.heads * block.head_dim
    mixed = inner + 2 * block.groups * block.state
    projected = inner + mixed + block.heads
    matmul = width * projected + inner * width
    extra = mixed * (block.conv + block.conv_bias) + 3 * block.heads
    extra = extra + (inner if block.norm else 0) + (projected + width if block.bias else 0)
    return Tally(matmul + extra, matmul + extra, matmul)


def _mlp(width: Size, hidden: Size, *, gated: bool, bias: bool) -> Tally:
    inward = 2 if gated else 1
    matmul = (inward + 1) * width * hidden
    params = matmul + (inward * hidden + width if bias else 0)
    return Tally(params, params, matmul)


def _experts(block: Experts, width: Size) -> Tally:
    one = _mlp(width, block.hidden, gated=block.gated, bias=block.bias)
    router = width * block.experts
    always = _mlp(width, block.shared, gated=block.gated, bias=block.bias and _some(block.shared))
    gate = width if block.shared_gate else 0
    bias = block.experts if block.router_bias else 0
    fixed = router + bias + always.params + gate
    return Tally(
        block.experts * one.params + fixed,
        block.top_k * one.params + fixed,
        block.top_k * one.matmul + router + always.matmul + gate,
        block.experts if block.correction_bias else 0,
    )
