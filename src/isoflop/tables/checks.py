"""What a table of runs must satisfy before anything is fitted to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from isoflop.tables.columns import LABELS, OUTCOMES, POSITIVE
from isoflop.units import show

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Data = Mapping[str, NDArray[Any]]

# No model that reads tokens has fewer parameters; a smaller figure is in thousands or more.
LEAST_PARAMS = 1e3
# Public sweeps run from .006 to 64,000 tokens per parameter, their medians from 4 to 150, and one
# run lies up to 3,200 times from its sweep's median. A wrong unit is off by 1e6 or 1e9 either way.
ROW_TOKENS_PER_PARAM = (1e-4, 1e6)
MEDIAN_TOKENS_PER_PARAM = (1e-3, 1e5)
TOKENS_PER_PARAM_OFF_MEDIAN = 3e4
# FLOPs / 6ND is .9 to 1.4 in dense sweeps, about .03 for sparse models counted in total and up to
# about 20 for tiny models counted without embeddings; a wrong unit is off by 1e3 at least.
FLOPS_PER_6ND = (1 / 300, 300.0)
# Published FLOPs are rounded to two digits or more.
ROUNDED_6ND = 0.05
# Spread of ln(tokens) left after a straight line in ln(params): below it the two are one variable.
COLLINEAR = 1e-3


class LawLike(Protocol):
    """What `check_for` reads of a law."""

    @property
    def name(self) -> str: ...
    @property
    def names(self) -> tuple[str, ...]: ...
    @property
    def inputs(self) -> tuple[str, ...]: ...
    @property
    def output(self) -> str: ...


def check_positive(data: Data) -> None:
    """ValueError for a count, loss or weight that is not above zero."""
    for name in POSITIVE:
        if name in data:
            for row in np.flatnonzero(~(data[name] > 0))[:1] + 1:
                raise ValueError(
                    f"column {name!r}, row {row}: {data[name][row - 1]:g} is not positive; "
                    "drop the row or mend the cell"
                )


def check_scale(data: Data) -> None:
    """ValueError for counts in mixed units: millions beside raw counts, GFLOPs beside FLOPs."""
    if "params" in data:
        for row in np.flatnonzero(data["params"] < LEAST_PARAMS)[:1] + 1:
            value = data["params"][row - 1]
            raise ValueError(
                f"column 'params', row {row}: {value:g} parameters is no count; if the column is "
                "in millions or billions, say units={'params': 'M'} or 'B'"
            )
    if "params" in data and "tokens" in data:
        ratio = data["tokens"] / data["params"]
        median = float(np.median(ratio))
        low = max(ROW_TOKENS_PER_PARAM[0], median / TOKENS_PER_PARAM_OFF_MEDIAN)
        high = min(ROW_TOKENS_PER_PARAM[1], median * TOKENS_PER_PARAM_OFF_MEDIAN)
        limits = {"rows": (low, high), "median": MEDIAN_TOKENS_PER_PARAM}
        _in_range(ratio, "tokens", "per parameter", **limits)
    if {"params", "tokens", "flops"} <= data.keys():
        gap = data["flops"] / (6 * data["params"] * data["tokens"])
        limits = {"rows": FLOPS_PER_6ND, "median": FLOPS_PER_6ND}
        _in_range(gap, "flops", "times 6 params tokens", **limits)


def check_6nd(data: Data, convention: str) -> None:
    """ValueError where FLOPs stated as 6ND are not 6 params tokens."""
    if convention != "6nd" or not {"params", "tokens", "flops"} <= data.keys():
        return
    gap = data["flops"] / (6 * data["params"] * data["tokens"])
    for row in np.flatnonzero(abs(gap - 1) > ROUNDED_6ND)[:1] + 1:
        raise ValueError(
            f"column 'flops', row {row}: stated as 6nd but {gap[row - 1]:.3g} times 6 params "
            "tokens; state flops='exact' or leave the column out"
        )


def _in_range(
    ratio: NDArray[np.float64],
    column: str,
    per: str,
    *,
    rows: tuple[float, float],
    median: tuple[float, float],
) -> None:
    middle = float(np.median(ratio))
    outside = (ratio < rows[0]) | (ratio > rows[1])
    if not median[0] <= middle <= median[1]:
        where = f"columns 'params' and {column!r}, all rows: the median run has {middle:.3g}"
    elif outside.any():
        row = int(np.flatnonzero(outside)[0]) + 1
        where = f"column {column!r}, row {row}: the run has {ratio[row - 1]:.3g}"
    else:
        return
    raise ValueError(
        f"{where} {column} {per}, which no real table has; one of the columns is in another "
        "unit: give raw counts, or say for example units={'params': 'M'} (also 'K', 'B', 'T')"
    )


def identity(data: Data) -> list[str]:
    """Columns that tell one configuration from another: neither outcomes nor labels."""
    return [name for name in data if name not in OUTCOMES and name not in LABELS]


def groups(data: Data, by: list[str]) -> NDArray[np.intp]:
    """A number per row, equal for rows equal in all columns of `by`, in order of appearance."""
    seen: dict[tuple[Any, ...], int] = {}
    rows = zip(*(data[name].tolist() for name in by), strict=True)
    return np.array([seen.setdefault(row, len(seen)) for row in rows], dtype=np.intp)


def check_repeats(data: Data, seeds: bool) -> None:
    """ValueError for rows of one configuration that are not marked as different seeds."""
    label = groups(data, identity(data))
    first: dict[tuple[Any, ...], int] = {}
    for row, group in enumerate(label.tolist(), start=1):
        loss = data["loss"][row - 1]
        key = (group, data["seed"][row - 1]) if "seed" in data else (group,)
        earlier = first.setdefault(key, row)
        if earlier == row or (seeds and "seed" not in data):
            continue
        if data["loss"][earlier - 1] == loss:
            raise ValueError(
                f"rows {earlier} and {row} are the same run twice (column 'loss' {loss:g}); "
                "drop one of them, or say seeds=True"
            )
        raise ValueError(
            f"rows {earlier} and {row} are one configuration with different values in column "
            f"'loss' ({data['loss'][earlier - 1]:g}, {loss:g}); add a 'seed' column that tells "
            "them apart, say seeds=True, or add the column in which they differ"
        )


def check_for(data: Data, law: LawLike) -> None:
    """ValueError where the table cannot determine the coefficients of `law`.

    A law with p coefficients needs p + 1 different runs, three different values of each input
    (two where it has a single slope), and inputs that do not move in lockstep.
    """
    for name in (*law.inputs, law.output):
        if name not in data:
            raise ValueError(
                f"law {law.name!r} needs column {name!r}; the table has {', '.join(data)}"
            )
        if data[name].dtype.kind != "f":
            raise ValueError(f"law {law.name!r} needs numbers in column {name!r}; it holds text")
    least = 3 if len(law.names) > 2 else 2
    for name in law.inputs:
        values = np.unique(data[name])
        if len(values) < least:
            shown = ", ".join(show(float(v)) for v in values)
            raise ValueError(
                f"law {law.name!r} ({len(law.names)} coefficients) needs {least} different values "
                f"in column {name!r}, the table has {len(values)} ({shown}); "
                f"{_cheapest(data, law, name)}"
            )
    cells = int(groups(data, list(law.inputs)).max()) + 1
    if cells <= len(law.names):
        raise ValueError(
            f"law {law.name!r} has {len(law.names)} coefficients and needs {len(law.names) + 1} "
            f"different runs in columns {', '.join(law.inputs)}, the table has {cells}; "
            f"{_cheapest(data, law, law.inputs[0])}"
        )
    if {"params", "tokens"} <= set(law.inputs):
        x, y = np.log(data["params"]), np.log(data["tokens"])
        slope, level = np.polyfit(x - x.mean(), y, 1)
        if np.std(y - level - slope * (x - x.mean())) < COLLINEAR:
            raise ValueError(
                f"law {law.name!r}: columns 'params' and 'tokens' move in lockstep (tokens = "
                f"params^{slope:.3g} times a constant), so their effects cannot be told apart; "
                f"{_cheapest(data, law, 'tokens')}"
            )


def _cheapest(data: Data, law: LawLike, name: str) -> str:
    """The cheapest run that adds a value of `name`: the cheapest there is, at half of it."""
    if not {"params", "tokens"} <= data.keys():
        return f"the cheapest cure is one more run at half the smallest {name}"
    cheapest = int(np.argmin(data["params"] * data["tokens"]))
    run = {key: float(data[key][cheapest]) for key in ("params", "tokens")}
    run["tokens" if name == "tokens" else "params"] /= 2
    cost = show(6 * run["params"] * run["tokens"], "flops")
    return (
        f"the cheapest cure is a run of {show(run['params'])} parameters on "
        f"{show(run['tokens'])} tokens ({cost} FLOPs)"
    )
