"""Public tables of runs by name: fetched by URL and sha256 into a cache folder, then parsed."""

from __future__ import annotations

import csv
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

from isoflop.sources import public
from isoflop.tables import Runs

CACHE_VARIABLE = "ISOFLOP_DATA"
HOST = "https://raw.githubusercontent.com"


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
            paths = [fetch(key, digest) for key, digest in files_of(entry.files)]
            return replace(entry.parse(paths), name=name)
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

    url = f"{HOST}/{key}"
    pooch.get_logger().setLevel("WARNING")
    try:
        pooch.retrieve(url, known_hash=f"sha256:{digest}", fname=path.name, path=path.parent)
    except OSError as error:  # requests' errors are OSErrors
        raise FileNotFoundError(
            f"{key} is not in {cache_folder()} and could not be fetched from {url} "
            f"({type(error).__name__}: {str(error)[:120]}); connect to the network, "
            f"or point the environment variable {CACHE_VARIABLE} at a folder that holds it"
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
GADRE = "Gadre et al. 2024, Language models scale reliably with over-training, arXiv:2403.08540"
GADRE_COLUMNS = (
    "params (total), params without embedding, tokens, loss on C4 and seven more (nats/token)"
)
OPEN_ATHENA = "collected by Czech et al. 2026, arXiv:2603.22339"
FARSEER = (
    "Li et al. 2025, Farseer, arXiv:2506.10972; "
    "table of Li et al. 2026, Spend Less, Fit Better, arXiv:2604.22753"
)
FARSEER_NOTE = (
    "Four of the 404 rows are exact copies of four others. The papers' coefficients: "
    "E' 3.1333 s -.06247 q .13 S .1285 B 230.73 b -.1729 Q -1.5442 A -1.6656 a .0459."
)
STEPLAW = "Li et al. 2025, Step Law: optimal hyperparameter scaling law, arXiv:2503.04715"
STEPLAW_COLUMNS = (
    "params (non-embedding), tokens, loss (smoothed, nats/token), learning_rate, batch_tokens, "
    "width, layers"
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
    DataSet(
        name="gadre-c4",
        title="Over-training sweep on C4, 34 models of 11M to 6.9B at M = 5 to 640",
        files="gadre",
        parse=public.gadre_c4,
        citation=GADRE,
        licence="MIT",
        columns=GADRE_COLUMNS,
    ),
    DataSet(
        name="gadre-redpajama",
        title="Over-training sweep on RedPajama, 35 models of 11M to 6.9B at M = 5 to 640",
        files="gadre",
        parse=public.gadre_redpajama,
        citation=GADRE,
        licence="MIT",
        columns=GADRE_COLUMNS,
        published={"C4 loss error at 1.4B, M=640": 0.007103, "C4 loss error at 6.9B": 0.007320},
    ),
    DataSet(
        name="gadre-refinedweb",
        title="Over-training sweep on RefinedWeb, 35 models of 11M to 6.9B at M = 5 to 640",
        files="gadre",
        parse=public.gadre_refinedweb,
        citation=GADRE,
        licence="MIT",
        columns=GADRE_COLUMNS,
    ),
    DataSet(
        name="llama3-isoflop",
        title="Llama 3 isoFLOP curves, 133 points of 10 budgets read from the paper's figure",
        files="llama3",
        parse=public.llama3,
        citation=f"Llama team 2024, arXiv:2407.21783; {OPEN_ATHENA}",
        licence="none",
        columns="tokens, flops, loss (in the figure's unit); params = flops / (6 tokens) upstream",
        published={"tokens exponent": 0.53, "tokens factor": 0.29},
        note="The fit to these points is D* = .299 C^.537; the paper's 402B on 16.55T at 3.8e25 "
        "does not follow from it.",
    ),
    DataSet(
        name="marin-comma",
        title="Marin isoFLOP sweep on Comma, 85 models",
        files="marin-comma",
        parse=public.marin,
        citation=f"Marin community 2026, Scaling Ladders; {OPEN_ATHENA}",
        licence="none",
        columns="params (total), tokens, flops (the trainer's count), loss (Paloma macro average)",
        note="Budgets in run names count the forward pass; 6ND / flops lies between .93 and 1.35.",
    ),
    DataSet(
        name="marin-dclm",
        title="Marin isoFLOP sweep on DCLM, 85 models",
        files="marin-dclm",
        parse=public.marin,
        citation=f"Marin community 2026, Scaling Ladders; {OPEN_ATHENA}",
        licence="none",
        columns="params (total), tokens, flops (the trainer's count), loss (Paloma macro average)",
        note="Budgets in run names count the forward pass; 6ND / flops lies between .93 and 1.35.",
    ),
    DataSet(
        name="farseer",
        title="Farseer grid, 404 rows as published",
        files="farseer",
        parse=public.farseer,
        citation=FARSEER,
        licence="CC-BY-4.0 (card), MIT (code)",
        columns="params (convention not stated in the table), tokens, loss (bits/character)",
        note=FARSEER_NOTE,
    ),
    DataSet(
        name="farseer-400",
        title="Farseer grid without the four rows that are listed twice",
        files="farseer",
        parse=public.farseer_400,
        citation=FARSEER,
        licence="CC-BY-4.0 (card), MIT (code)",
        columns="params (convention not stated in the table), tokens, loss (bits/character)",
        note=FARSEER_NOTE,
    ),
    DataSet(
        name="steplaw-best",
        title="Step Law, the best of each of 17 cells of parameters and tokens",
        files="steplaw",
        parse=public.steplaw_best,
        citation=STEPLAW,
        licence="none",
        columns=STEPLAW_COLUMNS,
        note="Parameters and tokens move almost together; 47 to 120 runs were tried per cell.",
    ),
    DataSet(
        name="steplaw-sweep",
        title="Step Law, 1,911 runs over learning rate and batch size",
        files="steplaw",
        parse=public.steplaw_sweep,
        citation=STEPLAW,
        licence="none",
        columns=STEPLAW_COLUMNS,
        published={"lr factor": 1.79, "lr N exponent": -0.713, "lr D exponent": 0.307,
                   "batch factor": 0.58, "batch D exponent": 0.571},
    ),
    DataSet(
        name="olmo-ladder",
        title="OLMo ladder, 30 runs of 190M to 3B at .5 to 10 times Chinchilla's tokens",
        files="olmo-ladder",
        parse=public.olmo_ladder,
        citation="Bhagia et al. 2024, Establishing Task Scaling Laws, arXiv:2412.04403",
        licence="Apache-2.0",
        columns="params (all but the input embedding), tokens, flops (the trainer's count), "
        "loss (C4, nats/token), seed",
        note="Five configurations were run twice, which shows the noise of a repeat.",
    ),
)  # fmt: skip
