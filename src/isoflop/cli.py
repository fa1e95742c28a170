"""The verbs of the command line, in the same words as the Python API."""

from __future__ import annotations

import json as json_format
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from isoflop.tables import Runs

Json = Annotated[bool, tyro.conf.arg(help="print exactly one JSON object")]
Table = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(help="CSV, JSONL or Parquet file, or a public table")
]
Params = Annotated[
    Literal["total", "non_embedding", "active", "matmul", "unstated"],
    tyro.conf.arg(help="how the table counts parameters"),
]
Loss = Annotated[
    Literal["nats/token", "bits/token", "bits/byte", "unstated"],
    tyro.conf.arg(help="what the loss is measured in"),
]
LawName = Literal["chinchilla", "skaling", "kaplan", "tied", "farseer", "power"]
ObjectiveName = Literal["huber", "lad", "lsqlog", "lsq", "asymmetric"]


def fit(
    runs: Table,
    law: LawName = "chinchilla",
    objective: ObjectiveName = "huber",
    method: Literal["wild", "pairs"] = "wild",
    level: float = 0.95,
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Fit a law to runs at the global minimum, with intervals and what to distrust."""
    from isoflop.fit import fit as fit_law

    table = _read(runs, params, loss)
    _emit(fit_law(table, law, objective=objective, method=method, level=level), json)


def _read(path: str, params: str, loss: str) -> Runs:
    from isoflop.sources import data_sets, load
    from isoflop.tables import read_runs

    if path in [entry.name for entry in data_sets()]:
        return load(path)
    return read_runs(
        path,
        params=None if params == "unstated" else params,
        loss=None if loss == "unstated" else loss,
    )


def _emit(result: Any, json: bool) -> None:
    if json:
        plain = result if isinstance(result, Mapping) else result.to_json()
        print(json_format.dumps(plain, allow_nan=False))
    else:
        print(result)


VERBS = {"fit": fit}


def main() -> None:
    """Run one verb; what a user can mend is one line on standard error and exit status 2."""
    try:
        tyro.extras.subcommand_cli_from_dict(VERBS, prog="isoflop", description=__doc__)
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough
    except (ValueError, OSError) as error:
        if "--json" in sys.argv:
            print(json_format.dumps({"error": str(error)}))
        print(f"isoflop: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
