"""How many bytes: cache or state per sequence, training memory per device, serving memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from isoflop.cost.architecture import Architecture, plain_value
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
from isoflop.cost.counts import count, tally
from isoflop.cost.flops import mean_context

if TYPE_CHECKING:
    from isoflop.cost.blocks import Amount, Size

# Bytes a parameter of optimizer state in mixed precision: FP32 master weights and moments.
OPTIMIZERS = {
    "adamw": 12.0,  # master, first and second moment
    "muon": 8.0,  # master and momentum
    "sgd_momentum": 8.0,
    "adamw_8bit": 6.0,  # master in FP32, moments in 8 bits
    "adamw_no_master": 8.0,  # moments in FP32, weights updated in place
    "sgd": 4.0,  # master
}
GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class TrainingMemory:
    """Bytes on one device while training, at the peak of a step."""

    weights: Amount
    gradients: Amount
    optimizer: Amount
    activations: Amount
    logits: Amount
    settings: dict[str, Any]

    @property
    def total(self) -> Any:
        """All of it, without the allocator's own loss."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.logits

    def to_json(self) -> dict[str, Any]:
        """Bytes by part, and the settings they hold for."""
        return {k: plain_value(v) for k, v in vars(self).items()} | {
            "total": plain_value(self.total)
        }

    def __str__(self) -> str:
        return _table(self, ("weights", "gradients", "optimizer", "activations", "logits", "total"))


@dataclass(frozen=True, kw_only=True)
class ServingMemory:
    """Bytes to serve a batch: stored weights, cache or state, and the widest activations."""

    weights: Amount
    cache: Amount
    activations: Amount
    settings: dict[str, Any]

    @property
    def total(self) -> Any:
        """All three."""
        return self.weights + self.cache + self.activations

    def to_json(self) -> dict[str, Any]:
        """Bytes by part, and the settings they hold for."""
        return {k: plain_value(v) for k, v in vars(self).items()} | {
            "total": plain_value(self.total)
        }

    def __str__(self) -> str:
        return _table(self, ("weights", "cache", "activations", "total"))


def _table(memory: Any, parts: tuple[str, ...]) -> str:
    rows = [f"{part:<12}{getattr(memory, part) / GIB:>12,.3f} GiB" for part in parts]
    settings = ", ".join(f"{key} {value}" for key, value in memory.settings.items())
    return "\n".join([*rows, settings])


def cache_elements(model: Architecture) -> Any:
    """Elements each further token adds to the cache, before any sliding window is full."""
    total: Any = 0
    for block in model.mixers:
        if isinstance(block, (Attention, Latent)):
            total = total + block.count * _per_token(block)
    return total


def _per_token(block: Attention | Latent) -> Any:
    if isinstance(block, Attention):
        return 2 * block.kv_heads * block.head_dim
    return block.kv_rank + block.rope_dim + _index_keys(block)


def _index_keys(block: Latent) -> Any:
    """The indexer caches one key a token, where the layer has an indexer of its own."""
    return block.index_dim * (block.index_heads > 0)


def state_elements(block: Mixer | FeedForward) -> Any:
    """Elements of one layer's recurrent state, whatever the context."""
    match block:
        case Linear():
            channels = 2 * block.key_heads * block.key_dim + block.heads * block.value_dim
            return block.heads * block.key_dim * block.value_dim + block.conv * channels
        case StateSpace():
            channels = block.heads * block.head_dim + 2 * block.groups * block.state
            return block.heads * block.head_dim * block.state + block.conv * channels
        case Selective():
            return block.inner * (block.state + block.conv)
        case Counted():
            return block.state
        case _:
            return 0


def cache_bytes(model: Architecture, context: Size) -> Any:
    """Bytes one sequence of this length keeps: keys and values within their windows, and states.

    `Architecture.kv_bits` sets the bits of an element (scales of a quantised cache included).
    """
    total: Any = 0
    for block in model.mixers:
        if isinstance(block, Attention):
            seen = mean_context(context, block.window, causal=False)
            total = total + block.count * _per_token(block) * seen
        elif isinstance(block, Latent):
            total = total + block.count * _per_token(block) * context
        elif isinstance(block, ShortConv):
            total = total + block.count * block.kernel * model.width
        else:
            total = total + block.count * state_elements(block)
    return total * model.kv_bits / 8


def weight_bytes(model: Architecture) -> Any:
    """Bytes of the stored weights; quantisation holds for the matrices of the layers only."""
    counts = count(model)
    everything = counts.total + counts.buffers
    if model.weights is None:
        return 2 * everything
    matrices: Any = 0
    for block in (*model.mixers, *model.feedforwards):
        matrices = matrices + block.count * _matrices(block, model)
    return matrices * model.weights.bits_per_weight / 8 + 2 * (everything - matrices)


def _matrices(block: Mixer | FeedForward, model: Architecture) -> Any:
    """Weights of the matrices of one layer, resting experts too; the router keeps its 16 bits."""
    layer = tally(block, model.width)
    if not isinstance(block, Experts):
        kept = model.weights is not None and model.weights.experts_only
        return 0 if kept else layer.matmul
    one = (3 if block.gated else 2) * model.width * block.hidden
    router = model.width * (block.experts + block.shared_gate)
    return layer.matmul - router + (block.experts - block.top_k) * one


def checkpoint_bytes(model: Architecture, optimizer: str | None = None) -> Any:
    """Bytes of a 16-bit checkpoint, with optimizer state if one is named."""
    counts = count(model)
    stored = counts.total + counts.buffers
    return stored * (2 if optimizer is None else 2 + _optimizer(optimizer))


def _optimizer(name: str) -> float:
    if name not in OPTIMIZERS:
        raise ValueError(f"optimizer {name!r} is not one of {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def training_memory(
    model: Architecture,
    batch: Size,
    sequence: Size,
    *,
    optimizer: str = "adamw",
    zero: Literal[0, 1, 2, 3] = 0,
    data_parallel: int = 1,
    tensor_parallel: int = 1,
    pipeline_parallel: int = 1,
    checkpointing: Literal["none", "selective", "full"] = "none",
    attention: Literal["flash", "materialised"] = "flash",
    dropout: bool = False,
    gradient_bytes: int = 2,
    logit_bytes: int = 6,
) -> TrainingMemory:
    """Bytes on one device for `batch` sequences per device and step.

    ZeRO (or FSDP, which is 3) divides the optimizer (1), gradients (2) and weights (3) by the
    data-parallel degree only: the other degrees divide the model before. Activations follow
    Korthikanti et al. 2022, section 4, with the sizes of each layer instead of h and 4h; tensor
    parallelism implies sequence parallelism; 34 s b h is GELU with dropout. The logits hold
    16-bit scores and an FP32 softmax unless `logit_bytes` says otherwise.
    """
    if zero not in (0, 1, 2, 3):
        raise ValueError(f"zero {zero!r} is not one of 0, 1, 2, 3")
    split = tensor_parallel * pipeline_parallel
    params = count(model).total / split
    shard = [data_parallel if zero >= stage else 1 for stage in (3, 2, 1)]
    tokens = batch * sequence
    kept: Any = 0
    for block in (*model.mixers, *model.feedforwards):
        each = _kept(block, model.width, sequence, checkpointing=checkpointing,
                     attention=attention, dropout=dropout)  # fmt: skip
        kept = kept + block.count * each
    if checkpointing == "full":
        kept = 2 * model.layers * model.width
    else:
        kept = kept + 2 * model.layers * model.norms_per_layer * model.width
    return TrainingMemory(
        weights=2 * params / shard[0],
        gradients=gradient_bytes * params / shard[1],
        optimizer=_optimizer(optimizer) * params / shard[2],
        activations=tokens * kept / split,
        logits=logit_bytes * tokens * model.vocab / tensor_parallel,
        settings={"batch": batch, "sequence": sequence, "optimizer": optimizer, "zero": zero,
                  "data_parallel": data_parallel, "tensor_parallel": tensor_parallel,
                  "pipeline_parallel": pipeline_parallel, "checkpointing": checkpointing,
                  "attention": attention, "dropout": dropout},
    )  # fmt: skip


def _kept(block: Mixer | FeedForward, width: Size, sequence: Size, *, checkpointing: str,
          attention: str, dropout: bool) -> Any:  # fmt: skip
    """Bytes of activations one layer keeps per token for its backward pass, norms aside."""
    mask = width if dropout else 0
    match block:
        case Attention():
            queries, keys = block.heads * block.head_dim, block.kv_heads * block.head_dim
            scores: Any = 0
            if attention == "materialised" and checkpointing == "none":
                seen = mean_context(sequence, block.window, causal=False)
                scores = (5 if dropout else 2) * block.heads * seen
            return 2 * width + 2 * (2 * queries + 2 * keys) + mask + scores
        case Latent():
            query = block.heads * (block.nope_dim + block.rope_dim)
            value = block.heads * block.value_dim
            ranks = block.q_rank + block.kv_rank + block.rope_dim
            return 2 * (width + 2 * ranks + 2 * query + 2 * value) + mask
        case Mlp():
            return _kept_mlp(block.hidden, block.gated, width) + mask
        case Experts():
            routed = block.top_k * _kept_mlp(block.hidden, block.gated, width)
            return routed + _kept_mlp(block.shared, block.gated, 0) + 4 * block.experts + mask
        case Linear():
            keys, values = block.key_heads * block.key_dim, block.heads * block.value_dim
            convolved = 1 + (block.conv > 0)
            return 2 * (width + convolved * (2 * keys + values) + 3 * values) + mask
        case StateSpace():
            inner = block.heads * block.head_dim
            return 2 * (width + 4 * inner + 4 * block.groups * block.state) + mask
        case Selective():
            return 2 * (width + 5 * block.inner + 2 * block.state + block.rank) + mask
        case ShortConv():
            return 2 * (width + 5 * width)
        case Counted():
            return 2 * width


def _kept_mlp(hidden: Size, gated: bool, width: Size) -> Any:
    """Input, and what the activation and the last product need: gate, its activation, up, both."""
    return 2 * width + (8 if gated else 4) * hidden


def serving_memory(
    model: Architecture, batch: Size, context: Size, *, chunk: int = 1
) -> ServingMemory:
    """Bytes to hold `batch` sequences of `context` tokens, `chunk` new tokens a step each."""
    widest: Any = 0
    for block in model.feedforwards:
        if isinstance(block, Mlp):
            widest = widest + (block.count > 0) * 2 * block.hidden
        elif isinstance(block, Experts):
            widest = widest + 2 * (block.top_k * block.hidden + block.shared)
    tokens = batch * chunk
    return ServingMemory(
        weights=weight_bytes(model),
        cache=batch * cache_bytes(model, context),
        activations=tokens * 2 * (2 * model.width + widest) + 4 * batch * model.vocab,
        settings={"batch": batch, "context": context, "chunk": chunk,
                  "bits_per_weight": model.weights.bits_per_weight if model.weights else 16,
                  "kv_bits": model.kv_bits},
    )  # fmt: skip
