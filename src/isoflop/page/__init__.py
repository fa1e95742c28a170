"""Any results as one self-contained HTML file."""

from isoflop.page.build import build_page, read_page, write_page
from isoflop.page.report import (
    Backtest,
    BacktestRow,
    Band,
    Coefficient,
    Column,
    Curve,
    Fact,
    Headline,
    LawFit,
    Member,
    Noise,
    Optimum,
    Report,
    Reproduce,
    Sealed,
    Slice,
    Slope,
    Target,
    Valley,
    Warn,
    report_from_json,
    report_json,
)  # fmt: skip

__all__ = [
    "Backtest", "BacktestRow", "Band", "Coefficient", "Column", "Curve", "Fact", "Headline",
    "LawFit", "Member", "Noise", "Optimum", "Report", "Reproduce", "Sealed", "Slice", "Slope",
    "Target", "Valley", "Warn", "build_page", "read_page", "report_from_json", "report_json",
    "write_page",
]  # fmt: skip
