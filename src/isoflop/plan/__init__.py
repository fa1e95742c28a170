"""A budget and a pool of laws -> what to train."""

from isoflop.plan.allocation import Allocation, allocate

__all__ = ["Allocation", "allocate"]
