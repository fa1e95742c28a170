"""A foreign table into columns by role: what was taken for what, what was derived or left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.tables import cells as cell
from isoflop.tables.columns import CONVENTION_COLUMNS, LABELS, SYNONYMS, candidates, plain
from isoflop.units import COUNT, Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES: Mapping[str, Kind] = {
    "params": "count", "tokens": "count", "unique_tokens": "count", "flops": "flops"
}  # fmt: skip


def columns_of(table: Any) -> dict[str, Sequence[Any]]:
    """Header -> cells of a mapping, a list of mappings, or a data frame."""
    if isinstance(table, (list, tuple)) and table and all(isinstance(r, Mapping) for r in table):
        headers = list(dict.fromkeys(key for row in table for key in row))
        table = {h: [row.get(h) for row in table] for h in headers}
    names = getattr(table, "column_names", None)
    if names is None:
        names = table.keys() if isinstance(table, Mapping) else getattr(table, "columns", None)
    if names is None:
        raise ValueError(
            f"a table is a dict of columns, a list of dicts or a data frame, "
            f"not {type(table).__name__}"
        )
    headers = list(names)
    for header in headers:
        if not isinstance(header, str) or not header.strip():
            raise ValueError(f"column name {header!r} is not text; name every column")
        if headers.count(header) > 1:
            raise ValueError(f"column {header!r} is in the table twice; rename or drop one")
    raw = {header: cell.cells(header, table[header]) for header in headers}
    lengths = {header: len(values) for header, values in raw.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns differ in length: {lengths}; give one value per run in each")
    if not sum(lengths.values()):
        raise ValueError(f"the table has no rows; its columns are {', '.join(headers) or 'none'}")
    return raw


def read(
    raw: dict[str, Sequence[Any]], taken: dict[str, str], scales: dict[str, str]
) -> tuple[dict[str, NDArray[Any]], dict[str, str], list[str]]:
    """Columns by role then the rest, where each came from, and notes on what was left out."""
    for role, unit in scales.items():
        if role not in SUFFIXES or unit not in COUNT:
            raise ValueError(
                f"units {{{role!r}: {unit!r}}}: units are K, M, B or T, for params, tokens, "
                "flops or unique_tokens"
            )
        if role not in taken:
            raise ValueError(f"units names column {role!r}, which the table does not have")
    data: dict[str, NDArray[Any]] = {}
    origin: dict[str, str] = {}
    for role, header in taken.items():
        origin[role] = repr(header) + (f" in {scales[role]}" if role in scales else "")
        if role in LABELS:
            data[role] = cell.extra(header, raw[header])
        else:
            # A suffix in a cell of a scaled column would count twice: there text must be plain.
            kind = None if role in scales else SUFFIXES.get(role)
            data[role] = cell.numbers(header, raw[header], kind) * COUNT[scales.get(role, "")]
    notes, holes = [], []
    for header, values in raw.items():
        if header in taken.values() or plain(header) in CONVENTION_COLUMNS:
            continue
        displaced = [role for role in SYNONYMS if header in candidates(list(raw), role)]
        if displaced:
            notes.append(f"left out {header!r}: {displaced[0]} is {taken[displaced[0]]!r}")
            continue
        try:
            data[header] = cell.extra(header, values)
        except cell.MissingCell as error:
            holes.append(str(error))
            continue
        origin[header] = repr(header)
    if holes:
        names = [h for h in raw if any(hole.startswith(f"column {h!r},") for hole in holes)]
        raise ValueError(f"{holes[0]}, or leave columns out with ignore={names!r}")
    return data, origin, notes


def derive(data: dict[str, NDArray[Any]], origin: dict[str, str], kinds: dict[str, str]) -> None:
    """Fill flops or tokens from C = 6ND, and say so."""
    with np.errstate(over="ignore", under="ignore"):
        if {"params", "tokens"} <= data.keys() and "flops" not in data:
            if kinds["flops"] == "exact":
                raise ValueError("flops='exact' is stated but there is no column 'flops'")
            data["flops"] = 6 * data["params"] * data["tokens"]
            origin["flops"], kinds["flops"] = "derived: 6 params tokens", "6nd"
        elif {"params", "flops"} <= data.keys() and "tokens" not in data:
            with np.errstate(divide="ignore"):
                data["tokens"] = data["flops"] / (6 * data["params"])
            origin["tokens"] = "derived: flops / (6 params)"
    for name in ("flops", "tokens"):
        if origin.get(name, "").startswith("derived"):
            for row in np.flatnonzero(~np.isfinite(data[name]))[:1] + 1:
                raise ValueError(
                    f"column {name!r}, row {row}: {origin[name]} is not finite; "
                    "mend params and its partner in that row"
                )
