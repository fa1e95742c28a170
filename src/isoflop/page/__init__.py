"""Any results as one self-contained HTML file."""

from isoflop.page.build import build_page, read_page, write_page
from isoflop.page.outlook import Chip, DrawnLaw, Held, Outlook, Reached, Thinking, Widening
from isoflop.page.report import (
    Backtest,
    BacktestRow,
    Band,
    Coefficient,
    Column,
    Curve,
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
from isoflop.page.rungs import (
    Arms,
    Cost,
    Costs,
    Density,
    Dimension,
    Fact,
    Gain,
    Knowing,
    Learning,
    Line,
    Quadrant,
    Samples,
    Step,
    Tried,
)  # fmt: skip
from isoflop.page.slider import Answer, Dials, answer

__all__ = [
    "Answer", "Arms", "Backtest", "BacktestRow", "Band", "Chip", "Coefficient", "Column", "Cost",
    "Costs", "Curve", "Density", "Dials", "Dimension", "DrawnLaw", "Fact", "Gain", "Headline",
    "Held", "Knowing", "LawFit", "Learning", "Line", "Member", "Noise", "Optimum", "Outlook",
    "Quadrant", "Reached", "Report", "Reproduce", "Samples", "Sealed", "Slice", "Slope", "Step",
    "Target", "Thinking", "Tried", "Valley", "Warn", "Widening", "answer", "build_page",
    "read_page", "report_from_json", "report_json", "write_page",
]  # fmt: skip
