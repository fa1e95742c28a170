"""The formulas: one file a family, one value a law."""

from isoflop.law import Law
from isoflop.laws import (
    broken,
    data,
    density,
    downstream,
    precision,
    pretrain,
    reward,
    sampling,
    schedule,
    sparse,
    tuning,
)
from isoflop.laws.pin import pin

__all__ = ["FAMILIES", "find", "laws", "pin"]

FAMILIES = {
    "pretrain": pretrain.ALL,
    "data": data.ALL,
    "sparse": sparse.ALL,
    "precision": precision.ALL,
    "schedule": schedule.ALL,
    "tuning": tuning.ALL,
    "downstream": downstream.ALL,
    "reward": reward.ALL,
    "sampling": sampling.ALL,
    "density": density.ALL,
    "broken": broken.ALL,
}


def laws() -> tuple[Law, ...]:
    """Every law of every family."""
    return tuple(law for family in FAMILIES.values() for law in family)


def find(name: str) -> Law:
    """The law of that name. Raises ValueError that lists the names."""
    for law in laws():
        if law.name == name:
            return law
    raise ValueError(f"no law {name!r}; the laws are {', '.join(law.name for law in laws())}")
