"""CSV, JSONL and Parquet files into Runs; strict, and nothing in a file is ever executed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from isoflop.tables.runs import Runs

DELIMITERS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}


def read_runs(path: str | Path, **options: Any) -> Runs:
    """Read a table of runs by its suffix: .csv, .tsv, .jsonl, .parquet.

    `options` are those of `Runs.of`; the name defaults to the file's. Raises ValueError naming
    the file, the column or row, and the cure.
    """
    file = Path(path)
    readers = {".csv": read_csv, ".tsv": read_csv, ".txt": read_csv, ".jsonl": read_jsonl,
               ".ndjson": read_jsonl, ".parquet": read_parquet}  # fmt: skip
    reader = readers.get(file.suffix.lower())
    if reader is None:
        raise ValueError(f"{file.name}: a table of runs is .csv, .tsv, .jsonl or .parquet")
    if not file.is_file():
        raise ValueError(f"{file}: no such file")
    try:
        return Runs.of(reader(file), **{"name": file.stem, **options})
    except ValueError as error:
        raise ValueError(f"{file.name}: {error}") from None


def read_csv(file: Path) -> dict[str, list[str]]:
    """Header -> cells as text; comma, semicolon, tab or bar as the header and every row agree."""
    content = _text(file)
    header_line = content.split("\n", 1)[0]
    if not header_line.strip():
        raise ValueError("the first row is empty; it must hold the column names")
    delimiter = max(DELIMITERS, key=header_line.count)
    rows = _csv_rows(content, delimiter)
    header = [name.strip() for name in rows[0]]
    for name in header:
        if not name:
            raise ValueError(
                f"column {header.index(name) + 1} has no name; name it, or leave a data "
                "frame's index out when writing the file (index=False)"
            )
        if header.count(name) > 1:
            raise ValueError(f"column {name[:40]!r} is in the header twice; rename or drop one")
    for row, fields in enumerate(rows[1:], start=1):
        if len(fields) != len(header):
            raise ValueError(
                f"row {row} has {len(fields)} fields, the header has {len(header)} "
                f"(split at each {DELIMITERS[delimiter]}); quote or remove the extra one, "
                "and write numbers without thousand separators"
            )
    return {name: [fields[k] for fields in rows[1:]] for k, name in enumerate(header)}


def _csv_rows(content: str, delimiter: str) -> list[list[str]]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    try:
        rows.extend(fields for fields in reader if fields)
    except csv.Error as error:
        raise ValueError(
            f"row {len(rows)}: {error}; mend the quotes or shorten the field"
        ) from None
    return rows


def read_jsonl(file: Path) -> list[dict[str, Any]]:
    """One JSON object of plain values per line."""
    rows: list[dict[str, Any]] = []
    for line in _text(file).split("\n"):
        if not line.strip():
            continue
        row = len(rows) + 1
        try:
            value = json.loads(line, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"row {row}: not a JSON object a line ({error})") from None
        if not isinstance(value, dict):
            raise ValueError(f"row {row}: a {type(value).__name__} where a JSON object is due")
        rows.append(value)
    if not rows:
        raise ValueError("no rows; the file is empty")
    return rows


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is given twice")
    return found


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a value; drop the row or mend the cell")


def read_parquet(file: Path) -> Any:
    """A pyarrow table."""
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise ValueError(
            "reading Parquet needs pyarrow; install it with: pip install 'isoflop[parquet]'"
        ) from None
    try:
        return parquet.ParquetFile(file).read()
    except (ArrowException, OSError) as error:
        raise ValueError(f"not a readable Parquet table ({error})") from None


def _text(file: Path) -> str:
    content = file.read_bytes()
    if not content.strip():
        raise ValueError("no rows; the file is empty")
    try:
        decoded = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ValueError(f"row {max(line - 1, 0)} is not UTF-8; save the file as UTF-8") from None
    if "\x00" in decoded:
        line = decoded[: decoded.index("\x00")].count("\n") + 1
        raise ValueError(f"row {max(line - 1, 0)} holds a NUL byte; save the file as UTF-8 text")
    return decoded.replace("\r\n", "\n").replace("\r", "\n")
