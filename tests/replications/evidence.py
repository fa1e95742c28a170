"""What a replication reads: public tables by name, or tables compiled from figures beside them."""

import csv
from pathlib import Path

import numpy as np
import pytest

from isoflop.sources import load_columns

TIDY = Path(__file__).parents[2].parent / "shared" / "data" / "tidy"


def columns(name):
    """The public table of that name, or skip where it is neither cached nor to be had."""
    if name in ("repetition", "experts", "parallel", "vocabulary"):
        pytest.importorskip("pyarrow")
    try:
        return load_columns(name)
    except FileNotFoundError as reason:
        pytest.skip(str(reason))


def tidy(name):
    """A compiled table as header -> array (numbers where all cells are), or skip."""
    file = TIDY / f"{name}.csv"
    if not file.is_file():
        pytest.skip(f"there is no {file.name} beside the project")
    with file.open(newline="") as source:
        rows = list(csv.DictReader(source))
    out = {}
    for header in rows[0]:
        cells = [row[header] for row in rows]
        try:
            out[header] = np.array(cells, dtype=float)
        except ValueError:
            out[header] = np.array(cells)
    return out
