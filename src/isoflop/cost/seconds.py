"""How long: training from FLOPs and utilisation, serving from the roofline, a CPU measured."""

from __future__ import annotations

import datetime
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.cost.architecture import Architecture, plain_value
from isoflop.cost.blocks import Experts
from isoflop.cost.counts import count
from isoflop.cost.facts import Accelerator, accelerator
from isoflop.cost.flops import decode_flops, prefill_flops
from isoflop.cost.memory import cache_bytes, weight_bytes
from isoflop.cost.utilisation import Utilisation, given, size_factor

if TYPE_CHECKING:
    from isoflop.cost.blocks import Amount, Size

DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class TrainingTime:
    """Seconds to spend FLOPs: the middle, an 80% interval, and both factors by name."""

    seconds: Any
    low: Any
    high: Any
    flops: Any
    chips: Any
    machine: str
    peak: float
    mfu: Utilisation
    goodput: Utilisation
    size_factor: Any = 1.0

    @property
    def days(self) -> Any:
        """Days at the median."""
        return self.seconds / DAY

    @property
    def chip_hours(self) -> Any:
        """Chip-hours at the median."""
        return self.seconds * self.chips / 3600

    def to_json(self) -> dict[str, Any]:
        """Plain values; both utilisations with their kind, peak precision and source."""
        plain = {key: plain_value(value) for key, value in vars(self).items()}
        return plain | {"mfu": vars(self.mfu), "goodput": vars(self.goodput)}

    def __str__(self) -> str:
        return (
            f"{self.seconds / DAY:,.4g} days ({self.low / DAY:,.3g} to {self.high / DAY:,.3g}, 80%)"
            f" on {self.chips} x {self.machine}, {self.chip_hours:,.4g} chip-hours\n"
            f"  {self.mfu}\n  {self.goodput}"
            + (
                f"\n  x {self.size_factor:.2f} for so small a model"
                if np.ndim(self.size_factor) == 0 and self.size_factor < 0.995
                else ""
            )
        )


def training_time(
    flops: Amount,
    *,
    machine: Accelerator | str,
    chips: Amount = 1,
    precision: str = "bf16",
    mfu: float | Utilisation | None = None,
    goodput: float | Utilisation | None = None,
    params: Amount | None = None,
    draws: int = 999,
    seed: int = 0,
) -> TrainingTime:
    """FLOPs / (chips x peak x MFU x goodput), in seconds.

    Model FLOPs go with MFU; give an HFU as `mfu` only with hardware FLOPs. Without a value both
    factors come from published runs, and the interval with them; then `params`, the active
    parameters, lower the MFU of a model below 1B (`size_factor`). Arrays of FLOPs give arrays.
    """
    chip = accelerator(machine) if isinstance(machine, str) else machine
    used, good = given("MFU", mfu, precision), given("goodput", goodput, precision)
    rng = np.random.default_rng(seed)
    ideal = flops / (chips * chip.peak(precision))
    low, high = 1.0, 1.0
    if used.sd or good.sd:
        shares = used.draws(draws, rng) * good.draws(draws, rng) / (used.median * good.median)
        low, high = np.quantile(shares, (0.1, 0.9))
    size = 1.0 if params is None or mfu is not None else size_factor(params)
    seconds = ideal / (used.median * good.median * size)
    return TrainingTime(
        seconds=seconds,
        low=seconds / high,
        high=seconds / low,
        flops=flops,
        chips=chips,
        machine=chip.name,
        peak=chip.peak(precision),
        mfu=used,
        goodput=good,
        size_factor=size,
    )


def days_at(flops: Amount, *, chips: Amount, flops_per_chip: Amount) -> Any:
    """Days at an achieved FLOP/s per chip; hardware FLOPs 8TP/(nX) is Narayanan 2021, eq. 4."""
    return flops / (chips * flops_per_chip) / DAY


def expected_experts(experts: Amount, top_k: Amount, tokens: Amount) -> Any:
    """Distinct experts a batch of tokens reads if routing is even: E (1 - (1 - k/E)^B)."""
    return experts * (1 - (1 - top_k / experts) ** tokens)


def critical_batch(machine: Accelerator, precision: str = "bf16", *, bytes_per_weight: float = 2
                   ) -> float:  # fmt: skip
    """Tokens a step from which a dense layer is bound by compute and no longer by its weights."""
    return machine.peak(precision) / machine.bandwidth * bytes_per_weight / 2


def roofline_step(
    batch: Amount,
    *,
    cache_bytes: Amount,
    weight_bytes: Amount,
    flops_per_token: Amount,
    peak: Amount,
    bandwidth: Amount,
) -> Any:
    """Seconds of one decoding step: B KV/BW + max(B F/peak, W/BW).

    `cache_bytes` are per sequence, `flops_per_token` 2N; attention itself is bound by the cache.
    """
    products = np.maximum(batch * flops_per_token / peak, weight_bytes / bandwidth)
    return batch * cache_bytes / bandwidth + products


@dataclass(frozen=True, kw_only=True)
class Decode:
    """One decoding step of a batch: seconds by cause, and what they buy."""

    seconds: Any
    cache_seconds: Any
    weight_seconds: Any
    compute_seconds: Any
    batch: Any
    context: Any
    chips: Any
    machine: str
    precision: str
    mbu: float
    mfu: float

    @property
    def tokens_per_second(self) -> Any:
        """Tokens per second of the whole group of chips."""
        return self.batch / self.seconds

    @property
    def bound(self) -> str:
        """What the larger of weights and compute is."""
        return "memory" if np.all(self.weight_seconds >= self.compute_seconds) else "compute"

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {key: plain_value(value) for key, value in vars(self).items()}

    def __str__(self) -> str:
        return (
            f"{self.seconds * 1e3:,.4g} ms a step, {self.tokens_per_second:,.4g} tokens/s: batch "
            f"{self.batch}, context {self.context}, {self.chips} x {self.machine}, "
            f"{self.bound}-bound, MBU {self.mbu:g}, MFU {self.mfu:g} vs {self.precision}"
        )


def decode_time(
    model: Architecture,
    batch: Size,
    context: Size,
    *,
    machine: Accelerator | str,
    chips: Amount = 1,
    precision: str = "bf16",
    mbu: float = 1.0,
    mfu: float = 1.0,
) -> Decode:
    """Seconds of one decoding step on chips that share weights and cache evenly.

    Attention takes the longer of reading its cache and computing on it (latent attention computes
    in absorbed form), then come the matrix products as in `roofline_step`.
    With `mbu` and `mfu` 1 this is the bound no system beats; published systems reach an MBU of
    0.15 to 0.6 on large models. Communication between the chips is not in it.
    """
    chip = accelerator(machine) if isinstance(machine, str) else machine
    bandwidth = chips * chip.bandwidth * mbu
    peak = chips * chip.peak(precision) * mfu
    products = 2 * count(model).matmul
    attention = decode_flops(model, context) - products
    cache = np.maximum(batch * cache_bytes(model, context) / bandwidth, batch * attention / peak)
    weights = read_bytes(model, batch) / bandwidth
    compute = batch * products / peak
    return Decode(
        seconds=cache + np.maximum(weights, compute),
        cache_seconds=cache,
        weight_seconds=weights,
        compute_seconds=compute,
        batch=batch,
        context=context,
        chips=chips,
        machine=chip.name,
        precision=precision,
        mbu=mbu,
        mfu=mfu,
    )


def read_bytes(model: Architecture, tokens: Size) -> Any:
    """Bytes of weights a step reads: no input table, and only the experts somebody chose."""
    stored = weight_bytes(model)
    table = 0 if model.tied else 2 * model.vocab * model.width
    per_weight = model.weights.bits_per_weight / 8 if model.weights else 2
    resting: Any = 0
    for block in model.feedforwards:
        if isinstance(block, Experts):
            idle = block.experts - expected_experts(block.experts, block.top_k, tokens)
            matrices = (3 if block.gated else 2) * model.width * block.hidden
            resting = resting + block.count * idle * matrices
    return stored - table - resting * per_weight


def prefill_time(
    model: Architecture,
    prompt: Size,
    *,
    machine: Accelerator | str,
    batch: Size = 1,
    chips: Amount = 1,
    precision: str = "bf16",
    mfu: float = 1.0,
    mbu: float = 1.0,
) -> Any:
    """Seconds to read `batch` prompts: compute, or the weights once if that takes longer."""
    chip = accelerator(machine) if isinstance(machine, str) else machine
    compute = batch * prefill_flops(model, prompt) / (chips * chip.peak(precision) * mfu)
    return np.maximum(compute, read_bytes(model, batch * prompt) / (chips * chip.bandwidth * mbu))


def generation_time(
    model: Architecture,
    tokens: int,
    *,
    machine: Accelerator | str,
    prompt: int = 0,
    batch: int = 1,
    chips: int = 1,
    precision: str = "bf16",
    mbu: float = 1.0,
    mfu: float = 1.0,
) -> float:
    """Seconds until `tokens` new tokens stand, prompt included; steps grow with the context."""
    steps = np.arange(prompt, prompt + tokens)
    each = decode_time(model, batch, steps, machine=machine, chips=chips, precision=precision,
                       mbu=mbu, mfu=mfu).seconds  # fmt: skip
    first = 0.0
    if prompt:
        first = prefill_time(model, prompt, machine=machine, batch=batch, chips=chips,
                             precision=precision, mfu=mfu, mbu=mbu)  # fmt: skip
    return float(np.sum(np.broadcast_to(each, steps.shape)) + first)


def calibrate(*, seconds: float = 0.5, size: int = 768) -> Accelerator:
    """This machine as measured now: best FP32 matrix product and best copy, by NumPy's threads.

    Never looked up: what a CPU reaches depends on the library, the threads and the neighbours.
    """
    a = np.random.default_rng(0).standard_normal((size, size), dtype=np.float32)
    out = np.empty_like(a)
    product = _best(lambda: np.matmul(a, a, out=out), seconds / 2)
    block = np.zeros(2**23, dtype=np.float32)
    target = np.empty_like(block)
    copy = _best(lambda: np.copyto(target, block), seconds / 2)
    today = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    return Accelerator(
        name="this machine",
        year=int(today[:4]),
        fp32_tflops=2 * size**3 / product / 1e12,
        bandwidth_tb_s=2 * block.nbytes / copy / 1e12,
        source=f"measured {today}: NumPy product of {size} x {size} FP32, copy of 32 MiB",
        checked="yes",
    )


def _best(work: Any, seconds: float) -> float:
    work()
    best, end = np.inf, time.perf_counter() + seconds
    while time.perf_counter() < end:
        start = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - start)
    return float(best)
