"""Upstream formats of the public tables: one small function each, files in, Runs out."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.tables import Runs, read_runs
from isoflop.tables.files import read_csv

# The validation sets of the Gadre runs by a part of their upstream path; C4 is the paper's own.
GADRE_LOSSES = {
    "loss": "/c4_val/",
    "loss_openlm": "/openlm/",
    "loss_paloma_c4": "/paloma_c4_en/",
    "loss_paloma_code": "/paloma_dolma_100_programing_languages/",
    "loss_paloma_refinedweb": "/paloma_falcon-refinedweb/",
    "loss_paloma_ptb": "/paloma_ptb/",
    "loss_paloma_redpajama": "/paloma_redpajama/",
    "loss_german_english": "/de-en/",
}
# Everything but the input embedding, as upstream counts it (so the head is in).
OLMO_PARAMS = {
    "190M": 190_354_176,
    "370M": 371_262_464,
    "760M": 758_220_288,
    "1B": 1_279_395_840,
    "3B": 3_169_537_280,
}
OLMO_LOSS = "eval/c4_en-validation/CrossEntropyLoss"
STEPLAW_SEQUENCE = 2048


def chinchilla(files: Sequence[Path]) -> Runs:
    return read_runs(
        files[0],
        name="chinchilla",
        params="total",
        flops="6nd",
        loss="nats/token",
        columns={"params": "Model Size", "flops": "Training FLOP"},
        ignore=("x", "y", "color", "hex_color"),
    )


def chinchilla_240(files: Sequence[Path]) -> Runs:
    runs = chinchilla(files)
    highest = np.argsort(-runs["loss"], kind="stable")[:5]
    return runs.where(~np.isin(np.arange(len(runs)), highest))


def gadre(files: Sequence[Path], train_set: str) -> Runs:
    """Runs trained on one corpus; the loss is that on C4, the other seven are columns."""
    rows = []
    for file in files:
        run = json.loads(file.read_text(encoding="utf-8"))
        if run["dataset_name"] != train_set:
            continue
        row: dict[str, Any] = {
            "run": run["name"],
            "params": run["hyperparameters"]["params"],
            "params (no embedding)": run["hyperparameters"]["params_no_embed"],
            "tokens": run["hyperparameters"]["tokens"],
        }
        for column, part in GADRE_LOSSES.items():
            (row[column],) = (r["loss"] for r in run["results"] if part in r["val_data"][0])
        rows.append(row)
    return Runs.of(rows, name=f"gadre-{train_set}", params="total", loss="nats/token")


def gadre_c4(files: Sequence[Path]) -> Runs:
    return gadre(files, "c4_original")


def gadre_redpajama(files: Sequence[Path]) -> Runs:
    return gadre(files, "rpj")


def gadre_refinedweb(files: Sequence[Path]) -> Runs:
    return gadre(files, "rw_original")


def llama3(files: Sequence[Path]) -> Runs:
    table = read_csv(files[0])
    rows = [k for k, condition in enumerate(table["condition"]) if condition == "raw_loss"]
    headers = {"params": "params", "tokens": "tokens", "flops": "budget", "loss": "loss"}
    picked = {role: [table[header][k] for k in rows] for role, header in headers.items()}
    return Runs.of(picked, name="llama3-isoflop", flops="6nd")


def marin(files: Sequence[Path]) -> Runs:
    """The sweep proper: runs named isoflop-*; the others count FLOPs in another way."""
    table = read_csv(files[0])
    rows = [k for k, name in enumerate(table["Name"]) if name.startswith("isoflop-")]
    picked = {
        "run": [table["Name"][k] for k in rows],
        "params": [table["parameter_count"][k] for k in rows],
        "tokens": [table["throughput/total_tokens"][k] for k in rows],
        "flops": [float(table["throughput/total_gflops"][k]) * 1e9 for k in rows],
        "loss": [table["eval/paloma/macro_loss"][k] for k in rows],
    }
    name = f"marin-{files[0].stem.removeprefix('isoflop-')}"
    return Runs.of(picked, name=name, params="total", flops="exact", loss="nats/token")


def farseer(files: Sequence[Path]) -> Runs:
    return read_runs(
        files[0],
        name="farseer",
        loss="bits/character",
        ignore=("group",),
        seeds=True,  # four rows are copies of four others
    )


def farseer_400(files: Sequence[Path]) -> Runs:
    runs = farseer(files)
    first = {int(cell[0]) for cell in runs.cells()}
    return runs.where(np.array([k in first for k in range(len(runs))]))


def steplaw_sweep(files: Sequence[Path]) -> Runs:
    """All runs: learning rate and batch size varied within each of 17 cells."""
    table = read_csv(files[0])
    picked = {
        "run": table["exp_name"],
        "params": table["N"],
        "tokens": table["D"],
        "loss": table["smooth loss"],
        "learning_rate": table["lr"],
        "batch_tokens": [float(cell) * STEPLAW_SEQUENCE for cell in table["bs"]],
        "width": table["h"],
        "layers": table["numl"],
    }
    return Runs.of(picked, name="steplaw-sweep", params="non_embedding", loss="nats/token")


def steplaw_best(files: Sequence[Path]) -> Runs:
    """The lowest loss of each of the 17 cells of (params, tokens)."""
    runs = steplaw_sweep(files)
    best = {int(cell[np.argmin(runs["loss"][cell])]) for cell in runs.cells(("params", "tokens"))}
    return runs.where(np.array([k in best for k in range(len(runs))]))


def olmo_ladder(files: Sequence[Path]) -> Runs:
    """The last checkpoint of each run; the 1xC runs were done twice, marked as seeds."""
    rows = []
    for file in files:
        table = read_csv(file)
        last = max(k for k, cell in enumerate(table[OLMO_LOSS]) if cell)
        rows.append(
            {
                "run": file.stem,
                "seed": "rerun" if file.stem.endswith("-rerun") else "first",
                "params": OLMO_PARAMS[file.stem.split("-")[0]],
                "tokens": table["throughput/total_tokens"][last],
                "flops": float(table["throughput/total_training_Gflops"][last]) * 1e9,
                "loss": table[OLMO_LOSS][last],
            }
        )
    return Runs.of(rows, name="olmo-ladder", params="matmul", flops="exact", loss="nats/token")
