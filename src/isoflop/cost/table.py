"""A run table as people publish it, read into numbers: columns by any of their usual names."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.cost.facts import accelerators
from isoflop.tables.columns import plain
from isoflop.tables.reading import columns_of
from isoflop.tables.runs import Runs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from isoflop.cost.facts import Accelerator

# What a column is called here, and by whom else.
NAMES = {
    "run": ("run", "run_name", "run_id", "name", "id"),
    "model": ("model", "model_key", "architecture"),
    "params": ("params", "n_total", "n_params", "num_params", "parameters", "params_total",
               "total_params", "model_size", "N"),
    "active_params": ("active_params", "n_active", "params_active"),
    "params_convention": ("params_convention", "params_kind"),
    "tokens": ("tokens", "n_tokens", "num_tokens", "d_tokens", "train_tokens", "training_tokens",
               "D"),
    "accelerator": ("accelerator", "hardware", "chip", "gpu", "device"),
    "chips": ("chips", "n_chips", "gpus", "n_gpus"),
    "chip_hours": ("chip_hours", "gpu_hours"),
    "days": ("days", "wall_days"),
    "train_flops": ("train_flops", "training_flops", "reported_train_flops", "flops", "C"),
    "flops_convention": ("flops_convention",),
    "utilisation": ("utilisation", "utilization", "reported_utilisation"),
    "utilisation_kind": ("utilisation_kind", "utilization_kind"),
    "mfu": ("mfu",),
    "hfu": ("hfu",),
    "peak_tflops": ("peak_tflops", "peak"),
    "precision": ("precision", "dtype"),
    "tflops_per_chip": ("tflops_per_chip", "reported_tflops_per_chip"),
    "step_seconds": ("step_seconds",),
    "batch_tokens": ("batch_tokens",),
    "usd": ("usd", "cost_usd"),
    "six_nd": ("six_nd", "our_6ND"),
    "effective": ("effective", "our_6ND_over_chip_hours_peak"),
}  # fmt: skip
TEXT = ("run", "model", "params_convention", "accelerator", "flops_convention", "utilisation_kind",
        "precision")  # fmt: skip
NUMBER = re.compile(r"\s*[-+]?(\d[\d,_]*\.?\d*|\.\d+)(e[-+]?\d+)?", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One run: its number in the table, its name, numbers by our names (None: not given)."""

    index: int
    name: str
    text: Mapping[str, str]
    numbers: Mapping[str, float | None]
    columns: Mapping[str, str]
    chip: Accelerator | None

    def __call__(self, name: str) -> float | None:
        """A number by our name."""
        return self.numbers.get(name)

    @property
    def params(self) -> float | None:
        """Parameters that enter 6ND: the active ones where given."""
        return self("active_params") or self("params")

    @property
    def hours(self) -> float | None:
        """Chip-hours, or chips x days."""
        if self("chip_hours") is not None:
            return self("chip_hours")
        chips, days = self("chips"), self("days")
        return None if chips is None or days is None else chips * days * 24

    @property
    def six_nd(self) -> float | None:
        """6 x parameters x tokens."""
        params, tokens = self.params, self("tokens")
        return None if params is None or tokens is None else 6 * params * tokens

    @property
    def peak(self) -> float | None:
        """Dense 16-bit peak in FLOP/s: what FP8 training is measured against too."""
        if self.chip is None or self.chip.bf16_tflops is None:
            return None
        return self.chip.bf16_tflops * 1e12

    @property
    def implied(self) -> float | None:
        """6ND over chip-hours x dense peak."""
        if self.six_nd is None or not self.hours or self.peak is None:
            return None
        return self.six_nd / (self.hours * 3600 * self.peak)


def read_table(path: str | Path) -> dict[str, list[str]]:
    """Columns of a CSV file, as text."""
    with Path(path).open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file, strict=True)
        rows = list(reader)
        names = reader.fieldnames or []
    if not names or not rows:
        raise ValueError(f"{path} holds no rows under a header")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise ValueError(f"{path}, line {number}: {len(names)} columns are in the header, the "
                             "line has more or fewer")  # fmt: skip
    return {name: [row[name] for row in rows] for name in names}


def rows(table: Any) -> list[Row]:
    """Rows of a dict of columns, list of dicts, data frame or Runs.

    A column that is under no known name is left alone.
    """
    given = columns_of(table.data if isinstance(table, Runs) else table)
    plain_names = {_plain(header): header for header in given}
    columns = {}
    for ours, names in NAMES.items():
        found = [plain_names[name] for name in map(_plain, names) if name in plain_names]
        if found:
            columns[ours] = found[0]
    if not columns:
        raise ValueError("no column of the table is known: lint reads "
                         + ", ".join(names[0] for names in NAMES.values()))  # fmt: skip
    count = len(next(iter(given.values())))
    return [_row(index, given, columns) for index in range(count)]


def _plain(name: str) -> str:
    return name if len(name) == 1 else plain(name)


def _row(index: int, given: Mapping[str, Sequence[Any]], columns: dict[str, str]) -> Row:
    cells = {ours: given[name][index] for ours, name in columns.items()}
    text = {ours: _text(cells[ours]) for ours in TEXT if ours in cells}
    numbers = {ours: number(cell) for ours, cell in cells.items() if ours not in TEXT}
    return Row(
        index=index,
        name=text.get("run") or text.get("model") or f"row {index + 1}",
        text=text,
        numbers=numbers,
        columns=columns,
        chip=_chip(text.get("accelerator", "")),
    )


def _text(cell: Any) -> str:
    return "" if cell is None or (isinstance(cell, float) and np.isnan(cell)) else str(cell).strip()


def number(cell: Any) -> float | None:
    """The number a cell begins with ("0.462 (0.457 w/o attention)" is 0.462), or None."""
    if isinstance(cell, (int, float, np.integer, np.floating)):
        return None if np.isnan(cell) else float(cell)
    found = NUMBER.match(_text(cell))
    return float(re.sub("[,_]", "", found.group())) if found else None


def _chip(name: str) -> Accelerator | None:
    wanted = name.casefold()
    for chip in accelerators():
        if wanted in {known.casefold() for known in (chip.name, *chip.aliases)}:
            return chip
    return None
