"""Any result as a Vega-Lite dict, from plain arrays."""

from isoflop.figures.grammar import Figure
from isoflop.figures.judged import backtest, ledger
from isoflop.figures.scaling import local_slopes, loss_curve, optimum, valley

__all__ = ["Figure", "backtest", "ledger", "local_slopes", "loss_curve", "optimum", "valley"]
