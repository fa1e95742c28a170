"""The dated rows that the package ships, read strictly: columns, units and sources are checked."""

from __future__ import annotations

import csv
from dataclasses import dataclass, fields
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from typing import Any

from isoflop.cost.architecture import Architecture, Shape, architecture
from isoflop.cost.config import from_config

PRECISIONS = {
    "fp32": "fp32_tflops",
    "bf16": "bf16_tflops",
    "fp8": "fp8_tflops",
    "int8": "int8_tops",
    "fp4": "fp4_tflops",
}


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One chip: dense peaks (never with sparsity) in TFLOP/s, memory in GB, bandwidth in TB/s.

    What no source gave is None, and asking for it is an error. `measured` machines come from
    `calibrate` and never from the table.
    """

    name: str
    aliases: tuple[str, ...] = ()
    vendor: str = ""
    year: int | None = None
    fp32_tflops: float | None = None
    bf16_tflops: float | None = None
    fp8_tflops: float | None = None
    int8_tops: float | None = None
    fp4_tflops: float | None = None
    memory_gb: float | None = None
    bandwidth_tb_s: float | None = None
    tdp_w: float | None = None
    link_gb_s: float | None = None
    source: str
    checked: str = "no"
    note: str = ""

    def peak(self, precision: str = "bf16") -> float:
        """Dense peak in FLOP/s at a precision."""
        if precision not in PRECISIONS:
            raise ValueError(f"precision {precision!r} is not one of {', '.join(PRECISIONS)}")
        value = getattr(self, PRECISIONS[precision])
        if value is None:
            raise ValueError(f"no dense {precision} peak of {self.name} is known: give a machine "
                             f"with {PRECISIONS[precision]} set")  # fmt: skip
        return value * 1e12

    @property
    def bandwidth(self) -> float:
        """Memory bandwidth in bytes/s."""
        if self.bandwidth_tb_s is None:
            raise ValueError(f"no memory bandwidth of {self.name} is known")
        return self.bandwidth_tb_s * 1e12


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What one chip-hour cost: a range of list prices on a date."""

    accelerator: str
    low_usd_h: float
    median_usd_h: float | None = None
    high_usd_h: float
    date: str
    terms: str
    source: str
    checked: str = "no"


@dataclass(frozen=True, kw_only=True)
class Run:
    """A published training run; `prior` says whether utilisation defaults may rest on it."""

    run: str
    year: int
    params: float | None = None
    active_params: float | None = None
    tokens: float | None = None
    accelerator: str = ""
    chips: float | None = None
    chip_hours: float | None = None
    days: float | None = None
    train_flops: float | None = None
    flops_convention: str = ""
    mfu: float | None = None
    hfu: float | None = None
    tflops_per_chip: float | None = None
    step_seconds: float | None = None
    batch_tokens: float | None = None
    usd: float | None = None
    energy_mwh: float | None = None
    prior: bool
    source: str
    checked: str
    note: str = ""


def read_rows(name: str) -> list[dict[str, str]]:
    """Rows of a shipped table, as text."""
    text = (files("isoflop") / "facts" / name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Every accelerator in the table."""
    return tuple(
        _row(Accelerator, row, "accelerators.csv") for row in read_rows("accelerators.csv")
    )


@cache
def quotes() -> tuple[Quote, ...]:
    """Every dated price in the table."""
    return tuple(_row(Quote, row, "prices.csv") for row in read_rows("prices.csv"))


@cache
def runs() -> tuple[Run, ...]:
    """Every published training run in the table."""
    return tuple(_row(Run, row, "runs.csv") for row in read_rows("runs.csv"))


def accelerator(name: str) -> Accelerator:
    """The accelerator of this name or alias, upper and lower case alike."""
    for chip in accelerators():
        if name.casefold() in {known.casefold() for known in (chip.name, *chip.aliases)}:
            return chip
    known = ", ".join(chip.name for chip in accelerators())
    raise ValueError(f"accelerator {name!r} is not known; known are {known}. A CPU is measured "
                     "with calibrate(), another chip given as Accelerator(...)")  # fmt: skip


@cache
def _shapes() -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in read_rows("architectures.csv")}


def published_names() -> list[str]:
    """Names of the published architectures in the table."""
    return list(_shapes())


@cache
def published(name: str) -> Architecture:
    """A published architecture by name, upper and lower case alike."""
    for known, row in _shapes().items():
        if known.casefold() == name.casefold():
            return architecture(**read_values(Shape, row, "architectures.csv", skip=("source",)))
    names = {known.casefold(): known for known in _shapes()}
    near = [names[match] for match in get_close_matches(name.casefold(), names)]
    raise ValueError(f"no published architecture {name!r}"
                     + (f"; near are {', '.join(near)}" if near else ""))  # fmt: skip


def resolve(model: Any) -> Architecture:
    """An Architecture from itself, a published name, a config.json (dict, file, folder)."""
    if isinstance(model, Architecture):
        return model
    if isinstance(model, str) and not model.endswith(".json") and "/" not in model:
        return published(model)
    return from_config(model)


def _row(kind: Any, row: dict[str, str], table: str) -> Any:
    return kind(**read_values(kind, row, table))


def read_values(kind: Any, row: dict[str, str], table: str, *, skip: tuple[str, ...] = ()
            ) -> dict[str, Any]:  # fmt: skip
    """Cells as the field types want them; an empty cell leaves the default."""
    types = {f.name: str(f.type) for f in fields(kind)}
    first = next(iter(row.values()))
    found = {}
    for column, cell in row.items():
        if column in skip or cell == "":
            continue
        if column not in types:
            raise ValueError(f"{table} has a column {column!r} that {kind.__name__} has not")
        try:
            found[column] = _cell(cell, types[column])
        except ValueError as error:
            raise ValueError(f"{table}, row {first!r}, column {column!r}: {error}") from error
    return found


def _cell(cell: str, kind: str) -> Any:
    if kind == "bool":
        if cell not in ("yes", "no"):
            raise ValueError(f"{cell!r} is neither yes nor no")
        return cell == "yes"
    if kind.startswith("tuple[str"):
        return tuple(cell.split("|"))
    if kind.startswith("tuple"):
        return tuple(int(part) for part in cell.split("|"))
    if kind.startswith("float"):
        return float(cell)
    if kind.startswith(("int", "Size")):
        return int(cell)
    return cell
