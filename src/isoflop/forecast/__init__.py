"""What the next run will give: backtest, pool of laws, sealed forecast and its score."""

from isoflop.forecast.backtest import Backtest, backtest
from isoflop.forecast.pool import Pool, Rule, pool
from isoflop.forecast.score import Score, score
from isoflop.forecast.sealed import Forecast, forecast, read_forecast, write_forecast

__all__ = [
    "Backtest",
    "Forecast",
    "Pool",
    "Rule",
    "Score",
    "backtest",
    "forecast",
    "pool",
    "read_forecast",
    "score",
    "write_forecast",
]
