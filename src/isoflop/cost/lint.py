"""What is wrong in a table of training runs: figures that cannot all be true at once."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TYPE_CHECKING, Any

from isoflop.cost import rules
from isoflop.cost.counts import CONVENTIONS, Counts, count
from isoflop.cost.facts import published, published_names
from isoflop.cost.findings import Finding, Lint, finding
from isoflop.cost.table import Row, rows

if TYPE_CHECKING:
    from collections.abc import Sequence


def lint(table: Any) -> Lint:
    """Check a table of training runs: a dict of columns, list of dicts, data frame or Runs.

    Columns go by their usual names (table.NAMES); a check runs where its columns are given. Known
    accelerators and published architectures are recognised by name.
    """
    runs = rows(table)
    found: list[Finding] = []
    for row in runs:
        units = rules.not_positive(row) + rules.units(row, runs)
        if units:  # figures in wrong units would be found a second time by what they imply
            found += units
            continue
        hours = rules.hours(row) or rules.effective_column(row)
        found += [*hours, *rules.utilisation(row), *rules.flops(row), *rules.dollars(row)]
        found += rules.active(row)
    found += _conventions(runs, {finding.row for finding in found if finding.kind.endswith("unit")})
    return Lint(findings=tuple(sorted(found, key=lambda f: f.row)), rows=len(runs))


@cache
def _known(name: str) -> Counts | None:
    wanted = name.casefold()
    for label in published_names():
        if wanted and wanted == label.casefold():
            return count(published(label))
    return None


def _conventions(runs: Sequence[Row], skip: set[int]) -> list[Finding]:
    """Which convention each known model's count is of; the rows outside the majority's."""
    found = _labels(runs)
    for column in ("params", "active_params"):
        fits = {}
        for row in runs:
            counts = _known(row.text.get("model") or "") or _known(row.name)
            value = row(column)
            if counts is not None and value and row.index not in skip:
                fits[row.index] = (counts, value, _fitting(counts, value))
        votes = Counter(name for _, _, names in fits.values() for name in names)
        if not votes:
            continue
        usual = max(votes, key=lambda name: (votes[name], -list(CONVENTIONS).index(name)))
        for row in runs:
            if row.index not in fits:
                continue
            counts, value, names = fits[row.index]
            if names and usual not in names:
                found.append(
                    finding(
                        row,
                        column,
                        "params_convention",
                        message=f"{value:.6g} is the {names[0]} count of {row.name}, the "
                        f"column holds {usual} ({counts[usual]:.6g})",
                    )
                )
    return found


def _fitting(counts: Counts, value: float) -> list[str]:
    """Conventions this value is: to every digit given, else the near one if others are far."""
    error = {name: abs(value / counts[name] - 1) for name in CONVENTIONS}
    exact = [name for name in error if error[name] < 1e-4]
    if exact:
        return exact
    best = min(error.values())
    return [name for name in error if error[name] < max(0.05, 3 * best)] if best < 0.03 else []


def _labels(runs: Sequence[Row]) -> list[Finding]:
    given = [row for row in runs if row.text.get("params_convention")]
    votes = Counter(row.text["params_convention"].casefold() for row in given)
    if len(votes) < 2:
        return []
    usual = votes.most_common(1)[0][0]
    return [
        finding(
            row,
            "params_convention",
            "params_convention",
            message=f"{row.text['params_convention']!r} beside {usual!r}: fit one at a time",
        )
        for row in given
        if row.text["params_convention"].casefold() != usual
    ]
