"""Public tables that are not plain runs, by name, and the list of everything that is public."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from isoflop.sources import datasets, parsing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """A public table of named columns: where it comes from and what was published about it.

    `files` names groups of rows in public_files.csv; `parse` reads those files, in that order.
    """

    name: str
    title: str
    files: tuple[str, ...]
    parse: Callable[[Sequence[Path]], Columns]
    citation: str
    licence: str
    columns: str
    published: Mapping[str, float] = field(default_factory=dict)
    note: str = ""


def load_columns(name: str) -> Columns:
    """The columns of the public table of that name, from the cache or fetched into it.

    Raises as `load` does: ValueError for an unknown name or a changed file, FileNotFoundError
    where a file is neither cached nor to be had.
    """
    for entry in EVIDENCE:
        if entry.name == name:
            keys = [pair for group in entry.files for pair in datasets.files_of(group)]
            return entry.parse([datasets.fetch(key, digest) for key, digest in keys])
    known = ", ".join(entry.name for entry in EVIDENCE)
    raise ValueError(f"no public table of columns {name!r}; there are {known}")


def listing() -> list[dict[str, Any]]:
    """Every public table: name, kind, title, source, licence, columns with units, published
    result, note, and whether all its files are in the cache. `kind` is runs (read by `load`) or
    columns (read by `load_columns`)."""
    out = []
    for kind, entries in (("runs", datasets.data_sets()), ("columns", EVIDENCE)):
        for entry in entries:
            groups = (entry.files,) if isinstance(entry.files, str) else entry.files
            keys = [key for group in groups for key, _ in datasets.files_of(group)]
            out.append(
                {
                    "name": entry.name,
                    "kind": kind,
                    "title": entry.title,
                    "source": entry.citation,
                    "urls": [f"{datasets.HOST}/{key}" for key in keys],
                    "licence": entry.licence,
                    "columns": entry.columns,
                    "published": dict(entry.published),
                    "note": entry.note,
                    "cached": all((datasets.cache_folder() / key).is_file() for key in keys),
                }
            )
    return out


SCALEBENCH = "in the collection of Li et al. 2026, Spend Less, Fit Better, arXiv:2604.22753"
CARD = "CC-BY-4.0 (card), MIT (code)"
CURVES = {
    "citation": "Luo et al. 2025, Multi-power law, arXiv:2503.12811",
    "licence": "MIT",
    "columns": "curve (number), schedule (name), step, learning_rate, loss (nats/token)",
    "note": "The published coefficients lie 3 to 5% below these curves, by a nearly constant "
    "amount: refit the floor.",
}
EVIDENCE = (
    Evidence(
        name="repetition",
        title="Repeated data, 182 runs on up to 1,500 epochs of 100M to 178B unique tokens",
        files=("repetition",),
        parse=parsing.repetition,
        citation=f"Muennighoff et al. 2023, arXiv:2305.16264; {SCALEBENCH}",
        licence=CARD,
        columns="params, tokens, unique_tokens, loss (nats/token), part (train or test)",
        published={"R_D": 15.387756, "R_N": 5.309743},
        note="(R_D, R_N) lies in a flat valley: (47, 2.3) fits slightly better.",
    ),
    Evidence(
        name="experts",
        title="Routed models, 221 runs",
        files=("routing-scalebench",),
        parse=parsing.experts,
        citation=f"Clark et al. 2022, arXiv:2202.01169; {SCALEBENCH}",
        licence=CARD,
        columns="params (dense), experts, loss (nats/token), part",
    ),
    Evidence(
        name="routing",
        title="Routed models, the last step of 223 runs with three routers",
        files=("routing",),
        parse=parsing.routing,
        citation="Clark et al. 2022, Unified scaling laws for routed models, arXiv:2202.01169",
        licence="CC-BY-4.0",
        columns="params (dense), total_params, experts, active_experts, frequency (share of layers "
        "routed), step, loss (nats/token), router",
        published={"S-Base a": -0.082, "S-Base b": -0.108, "S-Base c": 0.009, "S-Base d": 1.104,
                   "S-Base E_start": 1.847, "S-Base E_max": 314.478},
        note="All runs saw 130B tokens.",
    ),
    Evidence(
        name="parallel",
        title="Parallel streams, 48 runs on two corpora",
        files=("parallel",),
        parse=parsing.parallel,
        citation=f"Chen et al. 2025 (ParScale), arXiv:2505.10475; {SCALEBENCH}",
        licence=CARD,
        columns="params, streams, loss (nats/token), corpus, part",
    ),
    Evidence(
        name="sparsity",
        title="Sparse models, 70 runs",
        files=("sparsity",),
        parse=parsing.sparsity,
        citation=SCALEBENCH,
        licence=CARD,
        columns="params (total), active_params, dense_params, tokens_before and tokens (upstream's "
        "D1 and D2), loss (nats/token), part",
        note="Upstream gives counts in billions; here they are counts.",
    ),
    Evidence(
        name="learning-rate",
        title="Learning rate and batch size, 2,702 runs",
        files=("learning-rate",),
        parse=parsing.learning_rate,
        citation=f"Li et al. 2025 (Step Law), arXiv:2503.04715; {SCALEBENCH}",
        licence=CARD,
        columns="params (non-embedding), tokens, learning_rate, batch_sequences, loss "
        "(nats/token), part",
    ),
    Evidence(
        name="mixture",
        title="Mixtures of five domains, 80 runs at four sizes",
        files=("mixture",),
        parse=parsing.mixture,
        citation=SCALEBENCH,
        licence=CARD,
        columns="model (size), share_1 to share_5 (sum 1), loss_1 to loss_5 (nats/token), part",
    ),
    Evidence(
        name="vocabulary",
        title="Vocabulary size, 1,200 points",
        files=("vocabulary",),
        parse=parsing.vocabulary,
        citation=f"Tao et al. 2024, arXiv:2407.13623; {SCALEBENCH}",
        licence=CARD,
        columns="non_vocab_params, vocab_size (words), characters, loss_below_unigram "
        "(nats/token, minus the unigram-normalised loss), part",
    ),
    Evidence(
        name="curves-25m",
        title="Loss curves of a 25M model under nine schedules",
        files=("curves-25m",),
        parse=parsing.curves,
        published={"L0": 3.0405, "A": 0.5247, "a": 0.5079, "B": 363.79, "C": 2.0656, "b": 0.5828,
                   "g": 0.6414},
        **CURVES,
    ),
    Evidence(
        name="curves-100m",
        title="Loss curves of a 100M model under nine schedules",
        files=("curves-100m",),
        parse=parsing.curves,
        published={"L0": 2.6514, "A": 0.6012, "a": 0.4530, "B": 437.95, "C": 2.1325, "b": 0.5979,
                   "g": 0.6552},
        **CURVES,
    ),
    Evidence(
        name="gadre-tasks",
        title="Loss and error over 17 tasks of 104 models on three corpora",
        files=("gadre", "gadre-evals"),
        parse=parsing.gadre_tasks,
        citation=datasets.GADRE,
        licence="MIT",
        columns="corpus, params (total), tokens, tokens_per_param (nominal), loss (C4, "
        "nats/token), error (mean over 17 tasks)",
        published={"loss error % at 1.4B, M=640": 0.7103, "loss error % at 6.9B": 0.7320,
                   "task error % at 1.4B, M=640": 3.6365, "task error % at 6.9B": 0.0464},
    ),
    Evidence(
        name="olmo-ladder-tasks",
        title="OLMo ladder, every checkpoint on eight tasks",
        files=("olmo-ladder",),
        parse=parsing.ladder_tasks,
        citation="Bhagia et al. 2024, Establishing Task Scaling Laws, arXiv:2412.04403",
        licence="Apache-2.0",
        columns="run, rung, params (all but the input embedding), tokens, loss TASK (bits/byte), "
        "accuracy TASK",
        published={"accuracy hellaswag_val at 13B, 5T": 0.853036},
        note="MMLU is the mean of its four parts, weighted by questions.",
    ),
    Evidence(
        name="observational",
        title="109 base models on eight benchmarks with their compute",
        files=("observational",),
        parse=parsing.observational,
        citation="Ruan et al. 2024, Observational scaling laws, arXiv:2405.10938",
        licence="Apache-2.0",
        columns="model, family, flops, " + ", ".join(parsing.BENCHMARKS) + " (accuracy)",
        published={"variance of the first component": 0.80, "of three components": 0.97},
    ),
)  # fmt: skip
