"""How much: every dollar with its rate, the rate's date and its source."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.cost.architecture import plain_value
from isoflop.cost.counts import count
from isoflop.cost.facts import Quote, accelerator, quotes
from isoflop.cost.flops import flops
from isoflop.cost.seconds import decode_time, prefill_time, training_time

if TYPE_CHECKING:
    from isoflop.cost.architecture import Architecture
    from isoflop.cost.blocks import Amount
    from isoflop.cost.facts import Accelerator
    from isoflop.cost.utilisation import Utilisation

Z90 = 1.6448536269514722  # list prices are taken to span the central 90% of a lognormal
Z80 = 1.2815515655446004


@dataclass(frozen=True, kw_only=True)
class Price:
    """Dollars per chip-hour as a lognormal: its median, the sd of its log, and where it is from."""

    usd_per_hour: float
    log_sd: float = 0.0
    accelerator: str = ""
    date: str
    source: str

    def __post_init__(self) -> None:
        if self.usd_per_hour <= 0:
            raise ValueError(f"a rate of ${self.usd_per_hour} per chip-hour must be positive")
        if not self.date or not self.source:
            raise ValueError("a price needs the date and the source it is from")

    def __str__(self) -> str:
        spread = math.exp(Z80 * self.log_sd)
        interval = f" (x{1 / spread:.2f} to x{spread:.2f}, 80%)" if self.log_sd else ""
        return f"${self.usd_per_hour:.3g} per {self.accelerator or 'chip'}-hour{interval}, " + (
            f"{self.date}, {self.source}"
        )


@dataclass(frozen=True, kw_only=True)
class Dollars:
    """An amount with its 80% interval, and the rate, date and source it rests on."""

    usd: Any
    low: Any
    high: Any
    chip_hours: Any
    price: Price
    what: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values with the price beside them."""
        plain = {key: plain_value(value) for key, value in vars(self).items()}
        return plain | {"price": vars(self.price)}

    def __str__(self) -> str:
        interval = ""
        if np.ndim(self.low) == 0 and self.low != self.high:
            interval = f" (${self.low:,.4g} to ${self.high:,.4g}, 80%)"
        return f"{self.what + ': ' if self.what else ''}${self.usd:,.6g}{interval} = " + (
            f"{self.chip_hours:,.5g} chip-hours x {self.price}"
        )


def price(
    machine: Accelerator | str,
    usd_per_hour: float | None = None,
    *,
    date: str = "",
    source: str = "given",
    log_sd: float = 0.0,
) -> Price:
    """The given rate (which needs its date), or the latest quoted range for this accelerator.

    Raises ValueError where no price of the accelerator is known.
    """
    name = machine if isinstance(machine, str) else machine.name
    if usd_per_hour is not None:
        return Price(usd_per_hour=usd_per_hour, log_sd=log_sd, accelerator=name, date=date,
                     source=source)  # fmt: skip
    chip = accelerator(name).name
    found = [quote for quote in quotes() if quote.accelerator == chip]
    if not found:
        raise ValueError(f"no dated price of {chip} is known: give usd_per_hour and its date")
    return quoted(max(found, key=lambda quote: quote.date.split("..")[-1]))


def quoted(quote: Quote) -> Price:
    """A range of list prices as a lognormal: the range holds 90%, its middle is the median."""
    middle = quote.median_usd_h or math.sqrt(quote.low_usd_h * quote.high_usd_h)
    return Price(
        usd_per_hour=middle,
        log_sd=math.log(quote.high_usd_h / quote.low_usd_h) / (2 * Z90),
        accelerator=quote.accelerator,
        date=quote.date,
        source=quote.source,
    )


def rent(chip_hours: Amount, rate: Price, *, low_hours: Amount | None = None,
         high_hours: Amount | None = None, what: str = "") -> Dollars:  # fmt: skip
    """Chip-hours x rate; an interval of hours (80%) and the spread of the rate add in logs."""
    low = chip_hours if low_hours is None else low_hours
    high = chip_hours if high_hours is None else high_hours
    spread = Z80 * rate.log_sd
    down = np.sqrt(np.log(chip_hours / low) ** 2 + spread**2)
    up = np.sqrt(np.log(high / chip_hours) ** 2 + spread**2)
    usd = chip_hours * rate.usd_per_hour
    return Dollars(usd=usd, low=usd * np.exp(-down), high=usd * np.exp(up), chip_hours=chip_hours,
                   price=rate, what=what)  # fmt: skip


def owned(
    machine: Accelerator | str,
    capital_usd: float,
    *,
    years: float = 4.0,
    in_use: float = 0.9,
    overhead: float = 1.64,
    interconnect: float = 1.19,
    usd_per_kwh: float = 0.08,
    pue: float = 1.2,
    date: str,
) -> Price:
    """Dollars per chip-hour of a chip bought at `capital_usd`: amortised, plus its energy.

    `overhead` is server cost over chip cost, `interconnect` cluster over server (Epoch's 90%
    intervals: 1.3 to 2.1 and 1.07 to 1.32); the spread holds those and a factor 2 on the price.
    """
    chip = accelerator(machine) if isinstance(machine, str) else machine
    if chip.tdp_w is None:
        raise ValueError(f"no power of {chip.name} is known: energy cannot be priced")
    hours = years * 365.25 * 24 * in_use
    amortised = capital_usd * overhead * interconnect / hours
    energy = chip.tdp_w / 1000 * pue * usd_per_kwh
    spread = [math.log(2), math.log(2.1 / 1.3) / 2, math.log(1.32 / 1.07) / 2]
    return Price(
        usd_per_hour=amortised + energy,
        log_sd=math.sqrt(sum(s * s for s in spread)) / Z90,
        accelerator=chip.name,
        date=date,
        source=f"owned at ${capital_usd:,.0f} over {years:g} years, energy ${energy:.3f} an hour",
    )


def energy_kwh(chip_hours: Amount, machine: Accelerator | str, *, pue: float = 1.2,
               load: float = 1.0) -> Any:  # fmt: skip
    """Chip-hours x rated power x load x PUE: how nearly all published energies were made."""
    chip = accelerator(machine) if isinstance(machine, str) else machine
    if chip.tdp_w is None:
        raise ValueError(f"no power of {chip.name} is known")
    return chip_hours * chip.tdp_w / 1000 * pue * load


def lifetime_flops(params: Amount, tokens: Amount, *, served: Amount = 0.0, rl_tokens: Amount = 0.0
                   ) -> dict[str, Any]:  # fmt: skip
    """6ND pretraining, 2N a served token, 12N a token of RL (of which 2N are the rollout)."""
    parts = {
        "pretraining": 6.0 * params * tokens,
        "rollout": 2.0 * params * rl_tokens,
        "update": 10.0 * params * rl_tokens,
        "serving": 2.0 * params * served,
    }
    return parts | {"total": sum(parts.values())}


@dataclass(frozen=True, kw_only=True)
class Reinforcement:
    """RL of sampled tokens: rollouts at decoding speed and updates at training speed, apart."""

    rollout_flops: Amount
    update_flops: Amount
    rollout_chip_hours: Amount
    update_chip_hours: Amount
    dollars: Dollars

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self) | {"dollars": self.dollars.to_json()}

    def __str__(self) -> str:
        return (
            f"rollout {self.rollout_flops:.3g} FLOP in {self.rollout_chip_hours:,.4g} chip-hours, "
            f"update {self.update_flops:.3g} FLOP in {self.update_chip_hours:,.4g} chip-hours\n"
            f"{self.dollars}"
        )


def reinforcement(
    model: Architecture,
    tokens: float,
    *,
    machine: Accelerator | str,
    rate: Price,
    batch: int = 64,
    context: int = 4096,
    chips: int = 8,
    mbu: float = 0.5,
    old_policy: bool = True,
    reference: bool = True,
    mfu: float | Utilisation | None = None,
    goodput: float | Utilisation | None = None,
) -> Reinforcement:
    """RL on `tokens` sampled tokens: 2N rollout, 2N old and 2N reference log-probabilities, 6N.

    Without `old_policy` and `reference` those passes are left out: 8N to 12N a token in all.

    The rollout is bound by bandwidth, so its seconds come from the decoding roofline at `mbu`
    for `batch` sequences at a time on a replica of `chips`, and not from its FLOPs.
    """
    forward = flops(model, context).forward
    update = tokens * forward * (3 + old_policy + reference)
    step = decode_time(model, batch, context // 2, machine=machine, chips=chips, mbu=mbu)
    rollout_hours = tokens / step.tokens_per_second * chips / 3600
    learn = training_time(update, machine=machine, mfu=mfu, goodput=goodput)
    hours = rollout_hours + learn.chip_hours
    return Reinforcement(
        rollout_flops=tokens * forward,
        update_flops=update,
        rollout_chip_hours=rollout_hours,
        update_chip_hours=learn.chip_hours,
        dollars=rent(hours, rate, what="RL"),
    )


@dataclass(frozen=True, kw_only=True)
class Serving:
    """A demand served over a life: chips, dollars, and the price at which it breaks even."""

    chips: float
    tokens: float
    flops: Amount
    dollars: Dollars
    training_usd: float
    break_even_per_million: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return vars(self) | {"dollars": self.dollars.to_json()}

    def __str__(self) -> str:
        return (
            f"{self.dollars}\n{self.chips:,.4g} chips for {self.tokens:.4g} generated tokens; "
            f"${self.break_even_per_million:.4g} per million breaks even"
            + (f" with ${self.training_usd:,.4g} of training" if self.training_usd else "")
        )


def serving(
    model: Architecture,
    tokens_per_day: float,
    *,
    days: float,
    machine: Accelerator | str,
    rate: Price,
    prompt: int = 1024,
    answer: int = 512,
    batch: int = 64,
    chips: int = 8,
    mbu: float = 0.5,
    mfu: float = 0.4,
    in_use: float = 0.6,
    training_usd: float = 0.0,
    precision: str = "bf16",
) -> Serving:
    """Serve a demand of generated tokens for `days`, and what a million must cost to break even.

    Each answer of `answer` tokens follows a `prompt`; a replica of `chips` decodes `batch`
    sequences at once and is busy `in_use` of the time.
    """
    step = decode_time(model, batch, prompt + answer // 2, machine=machine, chips=chips,
                       precision=precision, mbu=mbu, mfu=mfu)  # fmt: skip
    reading = prefill_time(model, prompt, machine=machine, chips=chips, precision=precision,
                           mfu=mfu, mbu=mbu)  # fmt: skip
    seconds = 1 / step.tokens_per_second + reading / answer  # of a replica, per generated token
    tokens = tokens_per_day * days
    chip_hours = tokens * seconds * chips / in_use / 3600
    dollars = rent(chip_hours, rate, what=f"serving {days:g} days")
    return Serving(
        chips=chip_hours / (days * 24),
        tokens=tokens,
        flops=2.0 * count(model).matmul * tokens * (1 + prompt / answer),
        dollars=dollars,
        training_usd=training_usd,
        break_even_per_million=(dollars.usd + training_usd) / tokens * 1e6,
    )


def implied_rate(usd: Amount, chip_hours: Amount) -> Any:
    """Dollars per chip-hour that a published total and its hours mean."""
    return usd / chip_hours


def margin(revenue: Amount, expense: Amount) -> Any:
    """Profit over cost: revenue / cost - 1."""
    return revenue / expense - 1


def doubling_time(rate: Amount) -> Any:
    """Time in which exp(rate t) doubles, in the units of 1/rate."""
    return math.log(2) / rate
