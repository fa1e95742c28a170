"""Public tables of runs by name: fetched by URL and sha256 into a cache folder, then parsed."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

from isoflop.sources import public
from isoflop.tables import Runs

CACHE_VARIABLE = "ISOFLOP_DATA"


@dataclass(frozen=True, kw_only=True)
class DataSet:
    """A public table: where it comes from, what it holds and what was published about it.

    `files` names a group of rows in public_files.csv; `parse` reads those files, in that order.
    """

    name: str
    title: str
    files: str
    parse: Callable[[Sequence[Path]], Runs]
    citation: str
    licence: str  # "none" where upstream has no licence file: cite it, do not redistribute it
    columns: str
    published: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def data_sets() -> tuple[DataSet, ...]:
    """All public tables that `load` knows."""
    return DATA_SETS


def load(name: str) -> Runs:
    """The public table of that name, from the cache or fetched into it.

    The cache is the folder in the environment variable ISOFLOP_DATA, else the user's own.
    Raises ValueError for an unknown name, FileNotFoundError where a file is neither cached nor
    to be had, and ValueError for one whose content is not what was published.
    """
    for entry in DATA_SETS:
        if entry.name == name:
            return entry.parse([fetch(key, digest) for key, digest in files_of(entry.files)])
    known = ", ".join(entry.name for entry in DATA_SETS)
    raise ValueError(f"no public table {name!r}; there are {known}")


def files_of(group: str) -> tuple[tuple[str, str], ...]:
    """Key (the path below the host, commit included) and sha256 of each file of a group."""
    text = resources.files("isoflop.sources").joinpath("public_files.csv").read_text()
    rows = csv.DictReader(text.splitlines())
    return tuple((row["key"], row["sha256"]) for row in rows if row["group"] == group)


def cache_folder() -> Path:
    """The folder that holds fetched files, each at its key."""
    chosen = os.environ.get(CACHE_VARIABLE)
    if chosen:
        return Path(chosen)
    import pooch

    return Path(pooch.os_cache("isoflop"))


def fetch(key: str, digest: str) -> Path:
    """Path of the file in the cache, fetched if it is not there; its sha256 is always checked."""
    path = cache_folder() / key
    if path.is_file():
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != digest:
            raise ValueError(
                f"{path} has sha256 {found[:12]}..., {digest[:12]}... was published; delete the "
                "file and it is fetched again"
            )
        return path
    import pooch

    url = f"https://raw.githubusercontent.com/{key}"
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, known_hash=f"sha256:{digest}", fname=path.name, path=path.parent)
    except OSError as error:  # requests' errors are OSErrors
        raise FileNotFoundError(
            f"{key} is not in {cache_folder()} and could not be fetched from {url} "
            f"({type(error).__name__}); connect to the network, or point the environment variable "
            f"{CACHE_VARIABLE} at a folder that holds it"
        ) from None
    except ValueError:
        raise ValueError(
            f"{url} no longer has the published sha256 {digest[:12]}...; the file was not kept"
        ) from None
    return path


CHINCHILLA = (
    "Besiroglu et al. 2024, Chinchilla Scaling: A replication attempt, arXiv:2404.10102; "
    "points read from a figure of Hoffmann et al. 2022, arXiv:2203.15556"
)
DATA_SETS = (
    DataSet(
        name="chinchilla",
        title="Chinchilla, 245 models read from the paper's figure",
        files="chinchilla",
        parse=public.chinchilla,
        citation=CHINCHILLA,
        licence="none",
        columns="params (total), flops, loss (nats/token); tokens = flops / (6 params)",
        note="Losses are read to about .01; the published fit leaves out the five highest.",
    ),
    DataSet(
        name="chinchilla-240",
        title="Chinchilla without its five highest losses, as fitted in the replication",
        files="chinchilla",
        parse=public.chinchilla_240,
        citation=CHINCHILLA,
        licence="none",
        columns="params (total), flops, loss (nats/token); tokens = flops / (6 params)",
        published={"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3658},
        note="The published A, B, alpha, beta are those of the LAD limit, E that of Huber 1e-3.",
    ),
)
