"""Tables of runs: named columns with units and counting conventions, checked on the way in."""

from isoflop.tables.files import read_runs
from isoflop.tables.runs import Runs

__all__ = ["Runs", "read_runs"]
