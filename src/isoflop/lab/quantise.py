"""What rounding the weights of a climb's runs costs: loss against bits, for every size.

Rounding is torchao's, of weights alone: symmetric, one scale for every 32 weights of a row. Tables,
norms and routers keep their precision, as in `isoflop.cost`.
"""

from __future__ import annotations

import logging
import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.fit.fitting import fit
from isoflop.fit.result import Fit
from isoflop.lab.corpus import open_corpus
from isoflop.lab.device import single_thread
from isoflop.lab.evaluate import nats_of_next, validation_windows
from isoflop.lab.export import open_run
from isoflop.lab.launch import jobs_of
from isoflop.lab.layer import Weights
from isoflop.lab.model import matrices, rotation
from isoflop.lab.recipe import read_ladder
from isoflop.lab.shape import Shape
from isoflop.lab.step import Bench
from isoflop.lab.table import run_folders
from isoflop.lab.train import read_result, set_up
from isoflop.laws.precision import ROUNDED
from isoflop.tables import Runs
from isoflop.units import show

GROUP = 32  # weights of a row that share a scale
BITS = (2, 3, 4, 5, 8)
FEWEST = 3  # different values of every column that the law's fit needs
CLEAR = 2.0  # standard errors by which an added loss must stand out to be fitted


@dataclass(frozen=True, kw_only=True)
class Quantised:
    """Loss by bits: `runs` has a row for each run and number of bits, in nats/token.

    Both losses are measured in float32 on the run's own validation windows; `added_noise` is the
    standard error of the difference. `law` is fitted to what stands out of it, which leaves out
    rounding that costs nothing; None where too little stands out.
    """

    folder: Path
    runs: Runs
    law: Fit | None

    def to_json(self) -> dict[str, Any]:
        columns = {name: np.asarray(self.runs[name]).tolist() for name in self.runs.columns}
        law = None if self.law is None else self.law.values
        return {"folder": str(self.folder), "runs": columns, "law": law}

    def __str__(self) -> str:
        columns = self.to_json()["runs"]
        bits = sorted(set(columns["weight_bits"]))
        added = {
            (run, width): value
            for run, width, value in zip(
                columns["run"], columns["weight_bits"], columns["loss_added"], strict=True
            )
        }
        head = "".join(f"{f'INT{width:g}':>10}" for width in bits)
        lines = [f"{'run':<22}{'params':>9}{'tokens':>9}{'loss':>9}{head}  nats/token added"]
        seen = zip(*(columns[x] for x in ("run", "params", "tokens", "loss")), strict=True)
        for run, params, tokens, loss in dict.fromkeys(seen):
            cells = "".join(f"{added[run, width]:>+10.4f}" for width in bits)
            lines.append(f"{run:<22}{show(params):>9}{show(tokens):>9}{loss:>9.4f}{cells}")
        return "\n".join([*lines, "" if self.law is None else str(self.law)])


def quantise(folder: Path, *, bits: tuple[int, ...] = BITS, cache: Path | None = None) -> Quantised:
    """Round the weights of every complete run of a climb and measure each on its windows.

    Fits the law of post-training quantisation (`isoflop.laws.precision`) to what rounding added.
    Raises ValueError for other bits than 2 to 8, a climb without runs, or a corpus that changed.
    """
    single_thread()  # more are slower for matrices of this size
    if not bits or any(width not in range(2, 9) for width in bits):
        raise ValueError(f"bits {bits} must be whole numbers from 2 to 8")
    ladder = read_ladder(folder / "ladder.toml")
    if not ladder.recipe.objective.next_token:
        raise ValueError("the runs were trained to fill blanks alone: their loss is not that of "
                         "the next token, which is what is measured here")  # fmt: skip
    target = replace(jobs_of(ladder, folder, cache=cache)[-1], device="cpu")
    bench, corpus = set_up(target), open_corpus(Path(target.corpus))
    text_WU = validation_windows(Path(target.corpus), ladder.recipe)
    rows: list[dict[str, Any]] = []
    for _, run in run_folders(ladder, folder):
        result = read_result(run)
        if result is None:
            continue
        if corpus.digest != result["corpus_hash"]:
            raise ValueError(f"{run.name} was trained on corpus {result['corpus_hash']}, which is "
                             f"now {corpus.digest}: it cannot be measured on it")  # fmt: skip
        rows += measure_run(run, result, text_WU, bench, bits=bits)
    if not rows:
        raise ValueError(f"{folder} holds no complete run: climb first")
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    runs = _runs(columns, ladder.name)
    added, noise = columns["loss_added"], columns["added_noise"]
    clear = [k for k in range(len(added)) if added[k] > CLEAR * noise[k]]
    kept = {name: [values[k] for k in clear] for name, values in columns.items()}
    enough = all(len(set(kept[name])) >= FEWEST for name in (*ROUNDED.inputs, "loss_added"))
    law = fit(_runs(kept, ladder.name), ROUNDED, method="pairs", draws=200) if enough else None
    return Quantised(folder=folder, runs=runs, law=law)


def _runs(columns: dict[str, list[Any]], name: str) -> Runs:
    return Runs.of(columns, name=name, params="matmul", flops="6nd", loss="nats/token", seeds=True)


def measure_run(
    run: Path,
    result: dict[str, Any],
    text_WU: NDArray[np.int64],
    bench: Bench,
    *,
    bits: tuple[int, ...],
) -> list[dict[str, Any]]:
    """One row for each number of bits: the run, its loss, and what rounding adds to it."""
    weights, shape, _ = open_run(run)
    exact = rotation(shape, dtype=torch.float32)  # bfloat16 rounds by more than 8 bits add
    bench = replace(bench, shape=shape, table=exact)
    whole_W = nats_of_next(weights, text_WU, bench).mean(1)
    kept = ("run", "seed", "params", "flops")
    rows = []
    for width in bits:
        low = rounded(weights, shape, bits=width)
        added_W = nats_of_next(low, text_WU, bench).mean(1) - whole_W
        rows.append(
            {name: result[name] for name in kept}
            | {
                "tokens": result["tokens_trained"],
                "loss": float(whole_W.mean()),
                "weight_bits": float(width),
                "loss_added": float(added_W.mean()),
                "added_noise": float(added_W.std(ddof=1) / len(added_W) ** 0.5),
            }
        )
    return rows


def rounded(weights: Weights, shape: Shape, *, bits: int) -> Weights:
    """The weights with every matrix of the layers rounded to so many bits, as float32."""
    loud = logging.root.manager.disable
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about its kernels for other devices
            logging.disable(logging.WARNING)
            from torchao.quantization import IntxWeightOnlyConfig, quantize_
            from torchao.quantization.granularity import PerGroup
    except ImportError as error:
        raise ValueError("rounding weights needs torchao: pip install 'isoflop[lab]'") from error
    finally:
        logging.disable(loud)
    low = dict(weights)
    for name in matrices(shape):
        rows = weights[name].flatten(0, -2)  # groups lie within a row, so stacks are one matrix
        linear = torch.nn.Linear(rows.shape[1], rows.shape[0], bias=False)
        linear.weight = torch.nn.Parameter(rows.float(), requires_grad=False)
        granularity = PerGroup(math.gcd(GROUP, rows.shape[1]))
        kind = getattr(torch, f"int{bits}")
        quantize_(linear, IntxWeightOnlyConfig(weight_dtype=kind, granularity=granularity))
        low[name] = linear.weight.dequantize().view_as(weights[name])
    return low
