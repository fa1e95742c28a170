"""Upstream formats of the public tables: one small function each, files in, Runs out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from isoflop.tables import Runs, read_runs


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
