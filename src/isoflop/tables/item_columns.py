"""Which column of a foreign table of questions plays which role, and how its cells are read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.tables import cells as cell
from isoflop.tables.columns import plain

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

ROLES: Mapping[str, tuple[str, ...]] = {
    "id": ("item", "item_id", "question_id", "prompt_id", "prompt_idx", "doc_id"),
    "model": ("model_name",),
    "task": ("dataset", "benchmark"),
    "group": ("topic", "subject", "cluster", "category"),
    "q": ("confidence", "conf", "p_true"),
    "y": ("correct", "is_correct", "right"),
    "n": ("n_samples", "num_samples"),
    "c": ("n_correct", "num_correct"),
    "answers": ("samples",),
    "scores": ("weights",),
    "truth": ("target", "gold", "reference"),
    "y_weak": ("weak_correct",),
    "y_strong": ("strong_correct",),
    "y_think": ("think_correct",),
    "tokens": ("n_tokens", "tokens_generated"),
    "tokens_strong": (),
    "tokens_think": (),
    "seconds": (),
    "seconds_strong": (),
    "seconds_think": (),
    "price": (),
    "price_strong": (),
    "price_think": (),
}
LABELS = ("id", "model", "task", "group", "truth")
MARKS = ("y", "y_weak", "y_strong", "y_think")
COUNTS = ("n", "c")
COSTS = tuple(r for r in ROLES if r.split("_")[0] in ("tokens", "seconds", "price"))
LISTS = ("answers", "scores")
TRUE, FALSE = {"1", "1.0", "true"}, {"0", "0.0", "false"}


def only_rows(raw: dict[str, Sequence[Any]], only: Mapping[str, str]) -> dict[str, Sequence[Any]]:
    for header, wanted in only.items():
        if header not in raw:
            raise ValueError(f"only names column {header!r}; the table has {', '.join(raw)}")
        values = cell.text(header, raw[header]).tolist()
        keep = [row for row, value in enumerate(values) if value == str(wanted)]
        if not keep:
            found = ", ".join(map(repr, list(dict.fromkeys(values))[:8]))
            raise ValueError(f"column {header!r} never is {wanted!r}; it has {found}")
        raw = {name: [column[row] for row in keep] for name, column in raw.items()}
    return raw


def roles(headers: Sequence[str], columns: Mapping[str, str]) -> dict[str, str]:
    """Role -> header. `columns` decides; otherwise the name or one of its synonyms does."""
    taken = dict(columns)
    for role, header in taken.items():
        if role not in ROLES:
            raise ValueError(f"columns names the role {role!r}; roles are {', '.join(ROLES)}")
        if header not in headers:
            raise ValueError(
                f"column {header!r}, named for {role}, is not in the table; "
                f"it has {', '.join(map(repr, headers))}"
            )
    if len(set(taken.values())) < len(taken):
        raise ValueError(f"columns gives one column two roles: {taken}")
    for role, synonyms in ROLES.items():
        if role in taken:
            continue
        free = [h for h in headers if h not in taken.values()]
        found = [h for h in free if plain(h) == role] or [h for h in free if plain(h) in synonyms]
        if len(found) > 1:
            raise ValueError(
                f"columns {' and '.join(map(repr, found))} could each be {role}; "
                f"say which: columns={{{role!r}: {found[0]!r}}}"
            )
        if found:
            taken[role] = found[0]
    return taken


def reader(role: str) -> Callable[[str, Sequence[Any]], NDArray[Any]]:
    if role in LABELS:
        return cell.text
    if role in MARKS:
        return _marks
    return {"answers": _answers, "scores": _scores}.get(role, cell.numbers)


def extra(name: str, values: Sequence[Any]) -> NDArray[Any]:
    try:
        return cell.extra(name, values)
    except cell.MissingCell as error:
        raise ValueError(f"{error}, or leave the column out with ignore=({name!r},)") from None


def _marks(name: str, values: Sequence[Any]) -> Array:
    out = np.empty(len(values))
    for row, value in enumerate(values, start=1):
        text = "" if value is None else str(value).strip().lower()
        if text not in TRUE | FALSE:
            raise ValueError(
                f"{cell.at(name, row)}: {text[:40]!r} is neither right (1, true) nor wrong "
                "(0, false); give samples as counts in columns 'n' and 'c'"
            )
        out[row - 1] = text in TRUE
    return out


def _answers(name: str, values: Sequence[Any]) -> NDArray[np.str_]:
    return _lists(name, values, cell.text)


def _scores(name: str, values: Sequence[Any]) -> NDArray[np.str_]:
    return _lists(name, values, cell.numbers)


def _lists(
    name: str, values: Sequence[Any], read: Callable[[str, Sequence[Any]], NDArray[Any]]
) -> NDArray[np.str_]:
    """Lists, or JSON lists as text, into JSON text."""
    out = []
    for row, value in enumerate(values, start=1):
        where = cell.at(name, row)
        try:
            found = json.loads(value) if isinstance(value, str) else value
        except (ValueError, RecursionError):
            raise ValueError(f'{where}: not a JSON list; write ["4", "5"]') from None
        found = found.tolist() if isinstance(found, np.ndarray) else found
        if not isinstance(found, (list, tuple)) or not found:
            raise ValueError(f"{where}: a list with one element a sample is due")
        try:
            out.append(json.dumps(read(name, list(found)).tolist()))
        except ValueError as error:
            raise ValueError(f"{where}: a bad element ({error})") from None
    return np.array(out)
