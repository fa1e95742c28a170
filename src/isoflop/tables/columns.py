"""Which column of a foreign table plays which role, and what its counting convention is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

CONVENTIONS: Mapping[str, tuple[str, ...]] = {
    "params": ("total", "non_embedding", "active", "matmul", "unstated"),
    "flops": ("6nd", "exact", "unstated"),
    "loss": (
        "nats/token", "bits/token", "nats/byte", "bits/byte", "bits/character", "unstated"
    ),
}  # fmt: skip
UNITS: Mapping[str, str] = {
    "params": "parameters",
    "tokens": "tokens",
    "flops": "FLOPs",
    "unique_tokens": "tokens",
    "seed": "label",
    "run": "label",
}
POSITIVE = ("params", "tokens", "flops", "loss", "unique_tokens", "loss_se", "weight")
LABELS = ("run", "seed")
# What a run gave rather than what went into it: never part of its identity.
OUTCOMES = ("loss", "loss_se", "weight")

# The single letters count only in upper case: d, n and c mean other things in lower case.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "params": (
        "N", "n_params", "num_params", "nparams", "parameters", "n_parameters", "num_parameters",
        "parameter_count", "param_count", "model_size", "model_params", "total_params",
        "params_total", "active_params", "params_active", "non_embedding_params",
        "params_non_embedding", "params_no_embed", "non_embedding_param_size",
        "n_params_non_embedding",
    ),
    "tokens": (
        "D", "n_tokens", "num_tokens", "d_tokens", "tokens_seen", "training_tokens",
        "train_tokens", "total_tokens", "tokens_trained", "dataset_size", "data_size",
    ),
    "flops": (
        "C", "flop", "training_flop", "training_flops", "train_flops", "total_flops", "compute",
        "train_compute", "flops_6nd",
    ),
    "loss": (
        "val_loss", "validation_loss", "loss_validation", "eval_loss", "test_loss", "lm_loss",
        "final_loss",
    ),
    "unique_tokens": ("U", "n_unique_tokens"),
    "seed": ("random_seed",),
    "run": ("run_name", "run_id", "name", "exp_name", "experiment_name", "model_name"),
    "loss_se": ("loss_stderr", "loss_standard_error"),
    "weight": ("weights",),
}  # fmt: skip
# Names that state the convention themselves.
STATED: Mapping[str, tuple[str, str]] = {
    "total_params": ("params", "total"),
    "params_total": ("params", "total"),
    "active_params": ("params", "active"),
    "params_active": ("params", "active"),
    "non_embedding_params": ("params", "non_embedding"),
    "params_non_embedding": ("params", "non_embedding"),
    "params_no_embed": ("params", "non_embedding"),
    "non_embedding_param_size": ("params", "non_embedding"),
    "n_params_non_embedding": ("params", "non_embedding"),
    "flops_6nd": ("flops", "6nd"),
}
CONVENTION_COLUMNS: Mapping[str, str] = {
    "params_convention": "params",
    "flops_convention": "flops",
    "loss_convention": "loss",
    "loss_unit": "loss",
}


def plain(header: str) -> str:
    """The header in lower case with its separators as underscores."""
    return re.sub(r"[\s\-./]+", "_", header.strip().lower()).strip("_")


def roles(headers: Sequence[str], columns: Mapping[str, str] | None) -> dict[str, str]:
    """Role -> header. `columns` decides; otherwise the name or one of its synonyms does.

    Raises ValueError where a named column is missing or two columns could play one role.
    """
    taken = dict(columns or {})
    for role, header in taken.items():
        if role not in SYNONYMS:
            raise ValueError(
                f"columns names the role {role!r}; roles are {', '.join(SYNONYMS)} "
                f"(any other column keeps its own name)"
            )
        if header not in headers:
            raise ValueError(
                f"column {header!r}, named for {role}, is not in the table; "
                f"it has {', '.join(map(repr, headers))}"
            )
    if len(set(taken.values())) < len(taken):
        raise ValueError(f"columns gives one column two roles: {taken}")
    for role in SYNONYMS:
        if role in taken:
            continue
        found = [h for h in candidates(headers, role) if h not in taken.values()]
        if len(found) > 1:
            raise ValueError(
                f"columns {' and '.join(map(repr, found))} could each be {role}; "
                f"say which: columns={{{role!r}: {found[0]!r}}}"
            )
        if found:
            taken[role] = found[0]
    return taken


def candidates(headers: Sequence[str], role: str) -> list[str]:
    """Headers whose name says that they play `role`."""
    known = {role, *(s for s in SYNONYMS[role] if len(s) > 1)}
    letters = {s for s in SYNONYMS[role] if len(s) == 1}
    return [h for h in headers if plain(h) in known or h.strip() in letters]


def conventions(
    taken: Mapping[str, str], given: Mapping[str, str], read: Mapping[str, Sequence[str]]
) -> dict[str, str]:
    """Counting convention of params, flops and loss from arguments, header names and columns.

    `read` holds the cells of convention columns by header. Raises ValueError for an unknown
    convention, two that contradict each other, or a column that mixes them (rows named).
    """
    out = {}
    for role, known in CONVENTIONS.items():
        stated = {f"{role}={given[role]!r}": given[role]} if given.get(role) else {}
        if role in taken and plain(taken[role]) in STATED:
            stated[f"the header {taken[role]!r}"] = STATED[plain(taken[role])][1]
        for header, cells in read.items():
            if CONVENTION_COLUMNS[plain(header)] == role:
                stated[f"the column {header!r}"] = _single(role, header, cells)
        for where, value in stated.items():
            if value not in known:
                raise ValueError(
                    f"column {role!r}: unknown convention {value[:40]!r} from {where}; "
                    f"use one of {', '.join(known)}"
                )
        said = {v for v in stated.values() if v != "unstated"}
        if len(said) > 1:
            raise ValueError(
                f"column {role!r}: {' but '.join(f'{w} says {v}' for w, v in stated.items())}; "
                "convert the column or state one convention"
            )
        out[role] = next(iter(said), "unstated")
    return out


def _single(role: str, header: str, cells: Sequence[str]) -> str:
    first = cells[0]
    for row, cell in enumerate(cells, start=1):
        if cell != first:
            raise ValueError(
                f"column {role!r} mixes conventions (column {header!r}): row 1 is {first[:40]!r}, "
                f"row {row} is {cell[:40]!r}; recount to one convention or fit them apart"
            )
    return first
