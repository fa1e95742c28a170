"""A budget in FLOPs, dollars or accelerator-hours, and what a plan costs in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from isoflop.cost import Dollars, TrainingTime, price, rent, training_time
from isoflop.plan.allocation import Allocation, allocate
from isoflop.units import measure, show

if TYPE_CHECKING:
    from isoflop.cost import Price
    from isoflop.forecast import Pool

UNIT = 1e21  # FLOPs whose cost is scaled to a budget


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The best allocation of a budget, and what it takes on a machine (None without one)."""

    allocation: Allocation
    time: TrainingTime | None
    money: Dollars | None

    def to_json(self) -> dict[str, Any]:
        return {
            "allocation": self.allocation.to_json(),
            "time": None if self.time is None else self.time.to_json(),
            "money": None if self.money is None else self.money.to_json(),
        }

    def __str__(self) -> str:
        parts = [self.allocation, self.time, self.money]
        return "\n".join(str(part) for part in parts if part is not None)


def plan(
    pool: Pool,
    budget: str,
    *,
    machine: str | None = None,
    chips: int = 1,
    rate: Price | None = None,
    level: float = 0.9,
) -> Plan:
    """Split a budget between parameters and tokens, and cost it.

    budget: "1e23" (FLOPs, 6ND), "$2M", or accelerator-hours such as "90000 h"; the last two need
    a machine, whose utilisation comes from published runs. Raises ValueError where it is missing.
    """
    flops = flops_of(budget, machine=machine, rate=rate)
    allocation = allocate(pool, flops, level=level)
    if machine is None:
        return Plan(allocation=allocation, time=None, money=None)
    time = training_time(flops, machine=machine, chips=chips, params=allocation.params)
    return Plan(allocation=allocation, time=time, money=dollars_of(time, rate))


def flops_of(budget: str, *, machine: str | None = None, rate: Price | None = None) -> float:
    """The FLOPs that a budget buys at the median utilisation and price."""
    value, kind = measure(budget)
    if kind in ("count", "flops"):
        return value
    if kind not in ("dollars", "seconds"):
        raise ValueError(f"budget {budget!r}: give FLOPs (1e23), dollars ($2M) or hours (90000 h)")
    if machine is None:
        raise ValueError(f"budget {budget!r} needs a machine to turn it into FLOPs, as H100-SXM")
    unit = training_time(UNIT, machine=machine)
    spent = unit.chip_hours * 3600 if kind == "seconds" else dollars_of(unit, rate).usd
    return float(UNIT * value / spent)


def dollars_of(time: TrainingTime, rate: Price | None = None) -> Dollars:
    """The rent of a training with both intervals, of the hours and of the rate."""
    hours = float(time.chip_hours)
    return rent(
        hours,
        rate or price(time.machine),
        low_hours=hours * time.low / time.seconds,
        high_hours=hours * time.high / time.seconds,
        what="training",
    )


def in_words(time: TrainingTime, money: Dollars) -> str:
    """Accelerator-hours and dollars with rate and date, for a sentence."""
    return (
        f"{show(float(time.chip_hours), digits=2)} {time.machine}-hours, "
        f"{show(float(money.usd), 'dollars', digits=2)} "
        f"({show(float(money.low), 'dollars', digits=2)} to "
        f"{show(float(money.high), 'dollars', digits=2)} at "
        f"${money.price.usd_per_hour:.2f} an hour, {money.price.date})"
    )
