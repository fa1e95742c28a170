"""isoflop: where should the next FLOP go, what will it buy, and how sure are we?"""

from isoflop.fit import Fit, Objective, fit
from isoflop.fit.isoflop import Isoflop, isoflop
from isoflop.forecast import (
    Backtest,
    Forecast,
    Pool,
    Score,
    backtest,
    forecast,
    pool,
    read_forecast,
    score,
    write_forecast,
)
from isoflop.law import Law, Param, Published
from isoflop.plan import Allocation, Plan, allocate, plan
from isoflop.sources import data_sets, load
from isoflop.tables import Items, Runs, read_items, read_runs

__version__ = "0.1.0"

__all__ = [
    "Allocation", "Backtest", "Fit", "Forecast", "Isoflop", "Items", "Law", "Objective", "Param",
    "Plan", "Pool", "Published", "Runs", "Score", "allocate", "backtest", "data_sets", "fit",
    "forecast", "isoflop", "load", "plan", "pool", "read_forecast", "read_items", "read_runs",
    "score", "write_forecast",
]  # fmt: skip
