"""What the next run will give: backtest, pool, sealed forecast, score; two arms compared."""

from isoflop.forecast.backtest import Backtest, backtest
from isoflop.forecast.compare import Comparison, compare
from isoflop.forecast.pool import Pool, Rule, pool
from isoflop.forecast.score import Score, score
from isoflop.forecast.sealed import Forecast, forecast, read_forecast, write_forecast

__all__ = [
    "Backtest",
    "Comparison",
    "Forecast",
    "Pool",
    "Rule",
    "Score",
    "backtest",
    "compare",
    "forecast",
    "pool",
    "read_forecast",
    "score",
    "write_forecast",
]
