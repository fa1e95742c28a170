"""Checked tables: Runs of trained models and Items, one question answered a row."""

from isoflop.tables.files import read_runs
from isoflop.tables.items import Items, read_items
from isoflop.tables.runs import Runs

__all__ = ["Items", "Runs", "read_items", "read_runs"]
