"""A budget and a pool of laws -> what to train and what it takes; which runs to do next."""

from isoflop.plan.allocation import Allocation, allocate
from isoflop.plan.budget import Plan, plan
from isoflop.plan.first import FirstRuns, first_runs
from isoflop.plan.next import NextRuns, next_runs

__all__ = [
    "Allocation",
    "FirstRuns",
    "NextRuns",
    "Plan",
    "allocate",
    "first_runs",
    "next_runs",
    "plan",
]
