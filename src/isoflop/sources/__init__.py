"""Public run tables and other people's logs, as Runs."""

from isoflop.sources.datasets import DataSet, data_sets, load
from isoflop.sources.evidence import Evidence, listing, load_columns

__all__ = ["DataSet", "Evidence", "data_sets", "listing", "load", "load_columns"]
