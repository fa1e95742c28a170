"""What lint says: the kinds of error it knows, one finding, all of a table's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from isoflop.cost.table import Row

KINDS = {
    "not_positive": "a count, duration or price that is zero or negative",
    "tokens_unit": "tokens in billions (or trillions) beside raw counts",
    "params_unit": "parameters in billions (or millions) beside raw counts",
    "implied_mfu": "6ND, hours and peak imply a utilisation outside (0, 1) or above any published",
    "hours_per_trillion": "chip-hours per trillion tokens taken for the total",
    "hours_mismatch": "chip-hours are not chips x days x 24",
    "utilisation_percent": "a utilisation in per cent, or above 1",
    "hfu_as_mfu": "hardware utilisation, recomputation counted, called MFU",
    "sparsity_peak": "measured against a peak with structured sparsity, twice the dense one",
    "params_convention": "parameter counts of different conventions in one column",
    "train_flops": "reported training FLOPs are not near 6ND",
    "usd_rate": "dollars over chip-hours is no price of a chip-hour",
}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that cannot be true: where, of which kind (see KINDS), why, and the cure."""

    row: int
    run: str
    column: str
    kind: str
    message: str

    def __str__(self) -> str:
        return f"row {self.row + 1} ({self.run}), {self.column}: {self.kind}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class Lint:
    """All findings of a table; `row` in a finding counts from 0 without the header."""

    findings: tuple[Finding, ...]
    rows: int

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def to_json(self) -> dict[str, Any]:
        """Findings as plain values."""
        return {"ok": self.ok, "rows": self.rows, "findings": [vars(f) for f in self.findings]}

    def __str__(self) -> str:
        if self.ok:
            return f"nothing found in {self.rows} runs"
        lines = [str(finding) for finding in self.findings]
        return "\n".join([*lines, f"{len(lines)} findings in {self.rows} runs"])


def finding(row: Row, column: str, kind: str, *, message: str) -> Finding:
    """A finding in a row, its column by the name the table gives it."""
    return Finding(
        row=row.index,
        run=row.name,
        column=row.columns.get(column, column),
        kind=kind,
        message=message,
    )
