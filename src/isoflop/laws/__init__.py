"""The formulas: one file a family, one value a law."""

from isoflop.law import Law
from isoflop.laws import pretrain


def find(name: str) -> Law:
    """The law of that name. Raises ValueError that lists the names."""
    for law in pretrain.ALL:
        if law.name == name:
            return law
    raise ValueError(f"no law {name!r}; the laws are {', '.join(k.name for k in pretrain.ALL)}")
