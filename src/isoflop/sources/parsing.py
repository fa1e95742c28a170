"""Upstream formats of public tables that are more, or less, than runs: files in, columns out."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.sources.public import OLMO_PARAMS
from isoflop.tables.files import read_csv, read_parquet

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Columns = dict[str, NDArray[Any]]

# The 17 tasks on which Gadre's smallest models are already above chance.
GADRE_TASKS = (
    "arc_easy", "bigbench_cs_algorithms", "bigbench_dyck_languages", "bigbench_novel_concepts",
    "bigbench_operators", "bigbench_qa_wikidata", "boolq", "commonsense_qa", "copa", "coqa",
    "hellaswag", "hellaswag_zeroshot", "lambada_openai", "piqa", "pubmed_qa_labeled", "squad",
    "winograd",
)  # fmt: skip
GADRE_CORPORA = {"c4_original": "c4", "rpj": "redpajama", "rw_original": "refinedweb"}
# Shares of the questions in MMLU's four parts.
MMLU = {"stem": 0.215, "humanities": 0.335, "social_sciences": 0.219, "other": 0.231}
LADDER_TASKS = (
    "hellaswag_val", "arc_challenge_test", "arc_easy_test", "piqa_val", "csqa_val",
    "socialiqa_val", "openbookqa_test",
)  # fmt: skip
KINDS = (("loss", "downstream_bpb", "bpb"), ("accuracy", "downstream", "len_norm"))
BENCHMARKS = (
    "MMLU", "ARC-C", "HellaSwag", "Winograd", "TruthfulQA", "GSM8K", "XWinograd", "HumanEval",
)  # fmt: skip
BILLION = 1e9


def parquet(files: Sequence[Path], names: Mapping[str, str]) -> Columns:
    """All files one after another, in the columns `names` (ours -> upstream's); part says which."""
    tables = [read_parquet(file) for file in files]
    out: Columns = {
        ours: np.concatenate([np.asarray(t[theirs].to_pylist()) for t in tables])
        for ours, theirs in names.items()
    }
    parts = [file.name.split("-")[0] for file in files]
    out["part"] = np.repeat(parts, [t.num_rows for t in tables])
    return out


def repetition(files: Sequence[Path]) -> Columns:
    names = ("params", "tokens", "unique_tokens", "loss")
    return parquet(files, {name: name for name in names})


def experts(files: Sequence[Path]) -> Columns:
    return parquet(
        files,
        {"params": "dense_parameter_count", "experts": "num_experts", "loss": "loss_validation"},
    )


def parallel(files: Sequence[Path]) -> Columns:
    names = {"params": "num_params", "streams": "parallel_size", "loss": "loss", "corpus": "group"}
    return parquet(files, names)


def sparsity(files: Sequence[Path]) -> Columns:
    names = {"params": "P", "active_params": "N_active", "dense_params": "N_dense",
             "tokens_before": "D1", "tokens": "D2"}  # fmt: skip
    out = parquet(files, names | {"loss": "loss"})
    return out | {name: out[name] * BILLION for name in names}


def learning_rate(files: Sequence[Path]) -> Columns:
    names = {"params": "non_embedding_param_size", "tokens": "data_size", "learning_rate": "lr",
             "batch_sequences": "bsz", "loss": "lm_loss"}  # fmt: skip
    return parquet(files, names)


def mixture(files: Sequence[Path]) -> Columns:
    names = {"model": "group"}
    for k in range(1, 6):
        names |= {f"share_{k}": f"proportion_domain_{k}", f"loss_{k}": f"loss_domain_{k}"}
    return parquet(files, names)


def vocabulary(files: Sequence[Path]) -> Columns:
    names = {
        "non_vocab_params": "non_vocab_parameters",
        "vocab_size": "vocab_size",
        "characters": "num_characters",
        "loss_below_unigram": "unigram_normalized_loss",
    }
    out = parquet(files, names)
    return out | {"loss_below_unigram": -out["loss_below_unigram"]}


def routing(files: Sequence[Path]) -> Columns:
    """The last logged step of each of the 223 models."""
    text = gzip.decompress(files[0].read_bytes()).decode("utf-8")
    last: dict[str, dict[str, str]] = {}
    for row in csv.DictReader(io.StringIO(text)):
        if row["loss_validation"]:
            last[row["hyper_id"]] = row  # rows of a model are in order of steps
    rows = list(last.values())
    numbers = {"params": "dense_parameter_count", "total_params": "total_parameter_count",
               "experts": "num_experts", "active_experts": "k", "frequency": "routing_frequency",
               "step": "step", "loss": "loss_validation"}  # fmt: skip
    out: Columns = {ours: np.array([float(r[theirs]) for r in rows])
                    for ours, theirs in numbers.items()}  # fmt: skip
    return out | {"router": np.array([r["router_type"] for r in rows])}


def curves(files: Sequence[Path]) -> Columns:
    """Logged points of all schedules, each numbered in `curve` and named in `schedule`."""
    parts = []
    for k, file in enumerate(files):
        table = read_csv(file)
        upstream = {"step": "step", "learning_rate": "lr", "loss": "loss"}
        rows = {ours: np.array(table[name], dtype=float) for ours, name in upstream.items()}
        count = len(rows["step"])
        parts.append(rows | {"curve": np.full(count, float(k)),
                             "schedule": np.repeat(file.stem, count)})  # fmt: skip
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def gadre_tasks(files: Sequence[Path]) -> Columns:
    """All 104 models: loss on C4 and mean error over the 17 tasks; files are models, then evals."""
    evals = {f.stem: f for f in files if f.stem.startswith("evaluation_")}
    rows = []
    for file in files:
        if file.stem.startswith("evaluation_"):
            continue
        run = json.loads(file.read_text(encoding="utf-8"))
        scored = json.loads(evals[f"evaluation_{file.stem}_heavy"].read_text(encoding="utf-8"))
        accuracy = scored["eval_metrics"]["icl"]
        (loss,) = (r["loss"] for r in run["results"] if "/c4_val/" in r["val_data"][0])
        told = run["hyperparameters"]
        error = float(np.mean([1 - accuracy[task] for task in GADRE_TASKS]))
        rows.append((GADRE_CORPORA[run["dataset_name"]], told["params"], told["tokens"],
                     20 * told["chinchilla_multiplier"], loss, error))  # fmt: skip
    names = ("corpus", "params", "tokens", "tokens_per_param", "loss", "error")
    return {
        name: np.array(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)
    }


def ladder_tasks(files: Sequence[Path]) -> Columns:
    """Every checkpoint: bits per byte and accuracy of eight tasks; `run`, `rung` say which."""
    parts = []
    for file in files:
        table = read_csv(file)
        size, rung, *_ = file.stem.split("-")
        count = len(table["_step"])
        part: Columns = {
            "run": np.repeat(file.stem, count),
            "rung": np.repeat(rung, count),
            "params": np.full(count, float(OLMO_PARAMS[size])),
            "tokens": np.array(table["throughput/total_tokens"], dtype=float),
        }
        for kind, folder, suffix in KINDS:
            cells = f"eval/{folder}/{{}}_rc_5shot_{suffix}"
            for task in LADDER_TASKS:
                part[f"{kind} {task}"] = _floats(table[cells.format(task)])
            mmlu = [w * _floats(table[cells.format(f"mmlu_{k}_test")]) for k, w in MMLU.items()]
            part[f"{kind} mmlu_test"] = np.sum(mmlu, axis=0)
        parts.append(part)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _floats(cells: Sequence[str]) -> NDArray[np.float64]:
    return np.array([float(cell or "nan") for cell in cells])


def observational(files: Sequence[Path]) -> Columns:
    """Models with all eight benchmarks and known compute."""
    table = read_csv(files[0])
    needed = (*BENCHMARKS, "FLOPs (1E21)")
    rows = [k for k in range(len(table["Model"])) if all(table[name][k] for name in needed)]
    out: Columns = {name: np.array([float(table[name][k]) for k in rows]) for name in BENCHMARKS}
    flops = np.array([float(table["FLOPs (1E21)"][k]) for k in rows]) * 1e21
    labels = {ours: np.array([table[theirs][k] for k in rows])
              for ours, theirs in (("model", "Model"), ("family", "Model Family"))}  # fmt: skip
    return labels | {"flops": flops} | out
