"""What an architecture costs: parameters, FLOPs, bytes, seconds, dollars, each by convention."""

from isoflop.cost.architecture import (
    Architecture,
    Quantized,
    Shape,
    architecture,
    architecture_from_json,
)
from isoflop.cost.config import from_config
from isoflop.cost.counts import CONVENTIONS, Counts, count

__all__ = [
    "CONVENTIONS",
    "Architecture",
    "Counts",
    "Quantized",
    "Shape",
    "architecture",
    "architecture_from_json",
    "count",
    "from_config",
]
