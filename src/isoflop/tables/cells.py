"""Cells of a foreign table into float or text arrays; strict, with the column and row in errors."""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop import units

if TYPE_CHECKING:
    from numpy.typing import NDArray

PLAIN = re.compile(rf"[+-]?{units.NUMBER}", re.ASCII)
MISSING = {"", "nan", "na", "n/a", "null", "none", "<na>", "nat"}
INFINITE = {"inf", "+inf", "-inf", "infinity", "-infinity"}


class MissingCell(ValueError):
    """A cell that holds no value."""


def cells(name: str, column: Any) -> Sequence[Any]:
    """The cells of one column as Python or NumPy scalars; masked cells become None."""
    if isinstance(column, (str, bytes)) or not hasattr(column, "__len__"):
        raise ValueError(
            f"column {name!r} is one {type(column).__name__}; give a list or array with "
            "one value per run"
        )
    if isinstance(column, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(column).tolist()
        column = [None if h else v for h, v in zip(hidden, column.data.tolist(), strict=True)]
    if isinstance(column, (list, tuple)):
        return column
    array = np.asarray(column)
    if array.ndim != 1:
        raise ValueError(f"column {name!r} has {array.ndim} dimensions; one value per run is due")
    return array.tolist() if array.dtype.kind in "fiubOUT" else list(array)


def numbers(
    name: str, values: Sequence[Any], kind: units.Kind | None = None
) -> NDArray[np.float64]:
    """Cells as finite floats; with a `kind`, text may carry its suffix ("7B" is 7e9)."""
    out = np.empty(len(values))
    for row, value in enumerate(values, start=1):
        out[row - 1] = _number(name, row, value, kind)
    return _read_only(out)


def text(name: str, values: Sequence[Any]) -> NDArray[np.str_]:
    """Cells as text; an empty cell is ''."""
    return _read_only(np.array([_text(name, r, v) for r, v in enumerate(values, start=1)], "U"))


def extra(name: str, values: Sequence[Any]) -> NDArray[Any]:
    """A column without a role: floats where every cell is a number, text otherwise.

    Raises MissingCell where a column of numbers has an empty cell.
    """
    filled = [v for v in values if not _missing(v)]
    if filled and all(_is_number(v) for v in filled):
        return numbers(name, values)
    return text(name, values)


def at(name: str, row: int) -> str:
    return f"column {name!r}, row {row}"


def _number(name: str, row: int, value: Any, kind: units.Kind | None) -> float:
    if _missing(value):
        raise MissingCell(f"{at(name, row)}: no value; fill the cell or drop the row")
    if isinstance(value, (bool, np.bool_)):
        raise ValueError(f"{at(name, row)}: {value} is true or false; a number is due")
    if isinstance(value, (int, float, np.integer, np.floating)):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
    elif isinstance(value, str):
        number = _from_text(name, row, value.strip(), kind)
    else:
        found = type(value).__name__
        raise ValueError(f"{at(name, row)}: a {found} where a number is due; convert the column")
    if not math.isfinite(number):
        raise ValueError(f"{at(name, row)}: the value is not finite; drop the row or mend the cell")
    return number


def _from_text(name: str, row: int, value: str, kind: units.Kind | None) -> float:
    if PLAIN.fullmatch(value):
        return float(value)
    if value.lower() in INFINITE:
        return math.inf
    try:
        number = units.parse(value, kind)
    except ValueError as error:
        raise ValueError(f"{at(name, row)}: {error}") from None
    if kind is None:
        raise ValueError(f"{at(name, row)}: {value[:40]!r} has a unit; a plain number is due")
    return number


def _missing(value: Any) -> bool:
    if value is None or value is np.ma.masked or type(value).__name__ in ("NAType", "NaTType"):
        return True
    if isinstance(value, str):
        return value.strip().lower() in MISSING
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _is_number(value: Any) -> bool:
    if isinstance(value, str):
        stripped = value.strip()
        return bool(PLAIN.fullmatch(stripped)) or stripped.lower() in INFINITE
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)


WRITERS: tuple[tuple[type | tuple[type, ...], Callable[[Any], str]], ...] = (
    (str, str),
    ((bool, np.bool_), lambda v: str(bool(v)).lower()),
    ((int, np.integer), str),
    ((float, np.floating), lambda v: repr(float(v))),
    ((datetime.date, datetime.time), lambda v: v.isoformat()),
    (np.datetime64, str),
)


def _text(name: str, row: int, value: Any) -> str:
    if value is None or (_missing(value) and not isinstance(value, str)):
        return ""
    if isinstance(value, int) and abs(value) >= 2**64:
        raise ValueError(f"{at(name, row)}: the integer is beyond 64 bits; give it as text")
    for kind, write in WRITERS:
        if isinstance(value, kind):
            written = write(value)
            if "\x00" in written:
                raise ValueError(f"{at(name, row)}: the text holds a NUL byte; mend the cell")
            return written
    raise ValueError(
        f"{at(name, row)}: a {type(value).__name__} is neither number nor text; "
        f"leave the column out with ignore=({name!r},)"
    )


def _read_only(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array
