"""What share of a dense peak training reaches: MFU, HFU and goodput apart, as distributions."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from isoflop.cost.facts import Accelerator, Run, accelerator, runs

if TYPE_CHECKING:
    from isoflop.cost.blocks import Amount

Kind = Literal["MFU", "HFU", "goodput", "effective"]
KINDS = {
    "MFU": "model FLOPs of the running steps / (seconds x chips x peak)",
    "HFU": "as MFU with the FLOPs of recomputation: at full recompute about 4/3 of it",
    "goodput": "useful share of the hours paid: restarts, failures and evaluations cost the rest",
    "effective": "6ND / (all chip-hours x peak): about MFU x goodput",
}


@dataclass(frozen=True, kw_only=True)
class Utilisation:
    """A share in (0, 1) as a logit-normal distribution; `sd` 0 is a single value."""

    kind: Kind
    median: float
    sd: float = 0.0
    precision: str = "bf16"
    count: int = 1
    source: str = "given"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"kind {self.kind!r} is not one of {', '.join(KINDS)}")
        if not 0 < self.median <= 1 or (self.median == 1 and self.sd):
            raise ValueError(f"{self.kind} {self.median} must lie in (0, 1); a percentage "
                             "is divided by 100 first")  # fmt: skip

    def draws(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Independent draws, shape (count,)."""
        if self.sd == 0:
            return np.full(count, self.median)
        logit = np.log(self.median / (1 - self.median))
        return 1 / (1 + np.exp(-(logit + self.sd * rng.standard_normal(count))))

    def __str__(self) -> str:
        spread = f", logit sd {self.sd:.2f}" if self.sd else ""
        return f"{self.kind} {self.median:.3f}{spread} vs dense {self.precision} ({self.source})"


def given(kind: Kind, value: float | Utilisation | None, precision: str = "bf16") -> Utilisation:
    """The user's number or distribution, or what published runs reached."""
    if isinstance(value, Utilisation):
        return value
    if value is None:
        return prior(kind, precision)
    return Utilisation(kind=kind, median=value, precision=precision)


@cache
def prior(kind: Kind, precision: str = "bf16") -> Utilisation:
    """Median and spread over published runs; FP8 training is measured against the BF16 peak."""
    found = [value for run in runs() if run.prior and (value := _value(run, kind)) is not None]
    logits = np.log(np.array(found) / (1 - np.array(found)))
    middle = float(np.median(logits))
    return Utilisation(
        kind=kind,
        median=1 / (1 + np.exp(-middle)),
        sd=float(np.std(logits, ddof=1)),
        precision=precision,
        count=len(found),
        source=f"{len(found)} published runs",
    )


def _value(run: Run, kind: Kind) -> float | None:
    if kind in ("MFU", "HFU"):
        return run.mfu if kind == "MFU" else run.hfu
    whole = effective(run)
    if kind == "effective" or whole is None:
        return whole
    return None if run.mfu is None else min(whole / run.mfu, 0.99)


def effective(run: Run) -> float | None:
    """6ND over chip-hours x dense BF16 peak, where the run has all of them."""
    if run.active_params is None or run.tokens is None or not run.accelerator:
        return None
    hours = run.chip_hours
    if hours is None and run.chips is not None and run.days is not None:
        hours = run.chips * run.days * 24
    if hours is None:
        return None
    peak = accelerator(run.accelerator).peak("bf16")
    return 6 * run.active_params * run.tokens / (hours * 3600 * peak)


@cache
def _by_size() -> tuple[np.ndarray, np.ndarray]:
    """Sizes (log10) and effective utilisations (log) of published runs."""
    found = [
        (run.active_params, value) for run in runs() if run.prior and (value := effective(run))
    ]
    sizes, shares = np.array(found, dtype=float).T
    return np.log10(sizes), np.log(shares)


def size_factor(params: Amount) -> Any:
    """What a model below 1B reaches of the utilisation of larger ones: 1 from 1B on.

    A mean over published runs of similar size (kernel of half a decade in parameters). Small
    models are bound by latency; one utilisation for a ladder from 70M up is wrong by half.
    """
    return np.minimum(_near(np.minimum(params, 1e9)) / _near(1e9), 1.0)


def _near(params: Amount) -> Any:
    sizes, shares = _by_size()
    distance = (np.log10(params)[..., None] - sizes) / 0.5
    weight = np.exp(-0.5 * distance**2)
    return np.exp(np.sum(weight * shares, axis=-1) / np.sum(weight, axis=-1))


def utilisation(
    flops_per_token: Amount,
    tokens_per_second: Amount,
    *,
    machine: Accelerator,
    chips: Amount = 1,
    precision: str = "bf16",
) -> Any:
    """Share of the dense peak that this throughput means: MFU from model, HFU from hardware FLOPs.

    See `Flops.utilisation` for which of the two a FLOP count gives.
    """
    return flops_per_token * tokens_per_second / (chips * machine.peak(precision))
