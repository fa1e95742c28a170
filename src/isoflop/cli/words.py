"""The flags that verbs share, how a table is read and how a result is printed."""

from __future__ import annotations

import contextlib
import json as json_format
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

if TYPE_CHECKING:
    from isoflop.tables import Runs

Json = Annotated[bool, tyro.conf.arg(help="print exactly one JSON object")]
Table = Annotated[
    str,
    tyro.conf.Positional,
    tyro.conf.arg(
        help="CSV, JSONL or Parquet file, a public table, or logs: wandb:exports,"
        "loss=eval/loss (also mlflow, tensorboard, trackio, ...)"
    ),
]
Params = Annotated[
    Literal["total", "non_embedding", "active", "matmul", "unstated"],
    tyro.conf.arg(help="how the table counts parameters"),
]
Loss = Annotated[
    Literal["nats/token", "bits/token", "bits/byte", "unstated"],
    tyro.conf.arg(help="what the loss is measured in"),
]
Machine = Annotated[str | None, tyro.conf.arg(help="accelerator: H100-SXM")]


def read_table(path: str, params: str, loss: str) -> Runs:
    """The runs that a TABLE argument names; what was read or left out goes to standard error."""
    from isoflop.sources.reading import read_source

    runs = read_source(
        path,
        params=None if params == "unstated" else params,
        loss=None if loss == "unstated" else loss,
    )
    for note in runs.notes:
        print(note, file=sys.stderr)
    return runs


@contextlib.contextmanager
def lab_needed(verb: str) -> Iterator[None]:
    """Say what to install where an import of the lab fails."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise ValueError(f"{verb} needs {error.name}: pip install 'isoflop[lab]'") from None


def emit(result: Any, json: bool) -> None:
    if json:
        plain = result if isinstance(result, Mapping) else result.to_json()
        print(json_format.dumps(plain, allow_nan=False))
    else:
        print(result)
