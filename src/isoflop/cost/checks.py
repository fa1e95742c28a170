"""Every published number that the formulas reproduce, beside what they give."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, replace
from decimal import Decimal
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from isoflop.cost.architecture import Quantized, architecture
from isoflop.cost.counts import count
from isoflop.cost.facts import accelerator, published, read_rows
from isoflop.cost.flops import flops
from isoflop.cost.memory import cache_bytes, cache_elements, checkpoint_bytes, weight_bytes
from isoflop.cost.money import Price, doubling_time, implied_rate, margin, rent
from isoflop.cost.seconds import days_at, roofline_step
from isoflop.cost.utilisation import utilisation

if TYPE_CHECKING:
    from collections.abc import Callable

UNITS = {"GB": 1e9, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One published number and ours; `exact` if ours agrees in every digit the source prints."""

    id: str
    what: str
    ours: float
    published: str
    tolerance: float
    source: str
    why: str = ""
    known_bad: bool = False  # the published number contradicts its own inputs

    @property
    def difference(self) -> float:
        """Relative difference, ours over published less 1."""
        return self.ours / float(self.published) - 1

    @property
    def exact(self) -> bool:
        """Ours, rounded to the digits printed, is the published number."""
        return Decimal(self.ours).quantize(Decimal(self.published)) == Decimal(self.published)

    @property
    def ok(self) -> bool:
        """Within tolerance; tolerance 0 asks for every digit."""
        if self.known_bad:
            return True
        return self.exact if self.tolerance == 0 else abs(self.difference) <= self.tolerance

    @property
    def verdict(self) -> str:
        """One word: exact, ok, fails, or known bad where the source is wrong."""
        if self.known_bad:
            return "known bad"
        return "exact" if self.exact else "ok" if self.ok else "FAILS"

    def to_json(self) -> dict[str, Any]:
        """The row with its verdict."""
        return vars(self) | {"difference": self.difference, "verdict": self.verdict}


@dataclass(frozen=True)
class Checks:
    """All checks, printable as a table."""

    rows: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every row is within its tolerance."""
        return all(row.ok for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """Rows with their verdicts."""
        return {"ok": self.ok, "checks": [row.to_json() for row in self.rows]}

    def __str__(self) -> str:
        head = f"{'id':<17}{'ours':>18}{'published':>14}{'difference':>12}{'tolerance':>11}  "
        lines = [head + "verdict    what (source)"]
        for row in self.rows:
            whole = row.ours == int(row.ours) and row.ours < 1e15
            ours = f"{row.ours:,.0f}" if whole else f"{row.ours:,.7g}"
            lines.append(
                f"{row.id:<17}{ours:>18}{row.published:>14}{row.difference:>+12.3%}"
                f"{row.tolerance:>11.2%}  {row.verdict:<11}{row.what} ({row.source})"
            )
            if row.why and not row.exact:
                lines.append(f"{'':<17}explained: {row.why}")
        sound = [row for row in self.rows if not row.known_bad]
        exact, good = sum(row.exact for row in sound), sum(row.ok for row in sound)
        lines.append(f"{good} of {len(sound)} within tolerance, {exact} in every printed digit")
        return "\n".join(lines)


def check() -> Checks:
    """Compute every row of the shipped table of published numbers."""
    text = (files("isoflop") / "facts" / "checks.toml").read_text(encoding="utf-8")
    return Checks(tuple(_check(entry) for entry in tomllib.loads(text)["check"]))


def _check(entry: dict[str, Any]) -> Check:
    quantity, args = entry["quantity"], entry["args"]
    if quantity not in QUANTITIES:
        raise ValueError(f"checks.toml, {entry['id']}: quantity {quantity!r} is not known")
    ours = float(QUANTITIES[quantity](**args))
    kept = ("id", "what", "published", "tolerance", "source", "why", "known_bad")
    return Check(ours=ours, **{key: entry[key] for key in kept if key in entry})


def _params(model: str, convention: str = "total", multi_token: bool = False) -> Any:
    counts = count(published(model))
    return counts[convention] + (counts.multi_token if multi_token else 0)


def _gflop_per_token(model: str, sequence: int, causal: bool = True) -> Any:
    return flops(published(model), sequence, causal=causal).training / 1e9


def _six_n_d(model: str, tokens: float, params: str = "total") -> Any:
    return flops(published(model), 1, convention="6nd", params=params).training * tokens


def _narayanan(
    *,
    model: str,
    sequence: int,
    chips: int,
    samples_per_second: float = 0.0,
    samples_per_second_of: tuple[float, float] = (0.0, 1.0),
) -> Any:
    samples, seconds = samples_per_second_of
    rate = samples_per_second or samples / seconds
    work = flops(published(model), sequence, convention="narayanan", recompute="full")
    return work.training * sequence * rate / chips / 1e12


def _training_days(*, params: float, tokens: float, chips: int, tflops: float) -> float:
    """8TP: hardware FLOPs of forward, recomputed forward and backward."""
    return days_at(8 * params * tokens, chips=chips, flops_per_chip=tflops * 1e12)


def _utilisation(
    *,
    model: str,
    sequence: int,
    chips: int,
    machine: str,
    tokens_per_second: float = 0,
    tokens_per_day: float = 0,
    batch_tokens: float = 0,
    step_seconds: float = 1,
    **convention: Any,
) -> Any:
    rate = tokens_per_second or tokens_per_day / 86400 or batch_tokens / step_seconds
    work = flops(published(model), sequence, **convention)
    return utilisation(work.training, rate, machine=accelerator(machine), chips=chips)


def _share_of_peak(
    *, flops: float, seconds: float, chips: int, machine: str, peak_tflops: float = 0
) -> Any:
    peak = peak_tflops * 1e12 or accelerator(machine).peak("bf16")
    return flops / (seconds * chips * peak)


def chinchilla(published_params: int | None = None) -> list[dict[str, Any]]:
    """Rows of Chinchilla's table A9 as architectures, or the one with these published parameters.

    Transformer-XL positions and biases: with them all fifty counts are within 1%.
    """
    found = []
    for row in read_rows("chinchilla.csv"):
        size = {key: int(value) for key, value in row.items()}
        if published_params not in (None, size["published_params"]):
            continue
        label = size.pop("published_params")
        model = architecture(
            **size,
            vocab=32000,
            gated=False,
            tied=True,
            norm="layer",
            relative=True,
            qkv_bias=True,
            out_bias=True,
            mlp_bias=True,
        )
        found.append({"published_params": label, "architecture": model})
    return found


def _chinchilla_ratio(published_params: int, sequence: int = 2048) -> Any:
    model = chinchilla(published_params)[0]["architecture"]
    work = flops(model, sequence, convention="chinchilla_a4").training
    return work / (6 * count(model).total)


def _weights(model: str, unit: str, **stored: Any) -> Any:
    return weight_bytes(replace(published(model), weights=Quantized(**stored))) / UNITS[unit]


def _checkpoint(model: str, unit: str, optimizer: str | None = None) -> Any:
    return checkpoint_bytes(published(model), optimizer) / UNITS[unit]


def _roofline_ms(
    *,
    params: float,
    bytes_per_weight: float,
    cache_bytes: float,
    chips: int,
    bandwidth: float,
    peak: float,
    batch: int,
) -> Any:
    return 1e3 * roofline_step(
        batch,
        cache_bytes=cache_bytes,
        weight_bytes=params * bytes_per_weight,
        flops_per_token=2 * params,
        peak=chips * peak,
        bandwidth=chips * bandwidth,
    )


def _hours(hours: list[list[float]]) -> float:
    """Sum of chips x hours."""
    return sum(chips * each for chips, each in hours)


def _dollars(hours: list[list[float]], rate: float) -> float:
    price = Price(usd_per_hour=rate, date="as published", source="as published")
    return rent(_hours(hours), price).usd


QUANTITIES: dict[str, Callable[..., Any]] = {
    "params": _params,
    "train_gflop_per_token": _gflop_per_token,
    "six_n_d": _six_n_d,
    "tflops_per_chip": lambda flops, days, chips: flops / (days * 86400 * chips) / 1e12,
    "narayanan_tflops": _narayanan,
    "training_days": _training_days,
    "utilisation": _utilisation,
    "share_of_peak": _share_of_peak,
    "chinchilla_ratio": _chinchilla_ratio,
    "cache_kb_per_token": lambda model: cache_elements(published(model)) * 2 / 1000,
    "cache_elements": lambda model: cache_elements(published(model)),
    "cache_gb": lambda model, context: cache_bytes(published(model), context) / 1e9,
    "checkpoint": _checkpoint,
    "weights": _weights,
    "roofline_ms": _roofline_ms,
    "hours": _hours,
    "dollars": _dollars,
    "implied_rate": lambda usd, hours: implied_rate(usd, _hours(hours)),
    "margin": margin,
    "doubling_time": doubling_time,
    "ratio": lambda above, below: above / below,
    "halving_months": lambda fall_per_year: 12 * doubling_time(-math.log(1 - fall_per_year)),
}
