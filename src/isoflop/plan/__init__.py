"""A budget and a pool of laws -> what to train and what it takes."""

from isoflop.plan.allocation import Allocation, allocate
from isoflop.plan.budget import Plan, plan

__all__ = ["Allocation", "Plan", "allocate", "plan"]
