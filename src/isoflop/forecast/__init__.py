"""What the next run will give: backtest, pool, sealed forecast, score; two arms compared."""

from isoflop.forecast.backtest import Backtest, backtest
from isoflop.forecast.compare import Comparison, compare
from isoflop.forecast.curve import (
    CurveForecast,
    forecast_curve,
    read_curve,
    score_curve,
    write_curve,
)
from isoflop.forecast.near import Near, forecast_near
from isoflop.forecast.pool import Pool, Rule, pool
from isoflop.forecast.score import Score, score
from isoflop.forecast.sealed import Forecast, forecast, read_forecast, write_forecast

__all__ = [
    "Backtest",
    "Comparison",
    "CurveForecast",
    "Forecast",
    "Near",
    "Pool",
    "Rule",
    "Score",
    "backtest",
    "compare",
    "forecast",
    "forecast_curve",
    "forecast_near",
    "pool",
    "read_curve",
    "read_forecast",
    "score",
    "score_curve",
    "write_curve",
    "write_forecast",
]
