"""Public run tables and other people's logs, as Runs."""

from isoflop.sources.datasets import DataSet, data_sets, load

__all__ = ["DataSet", "data_sets", "load"]
