"""Knowledge, reasoning and creation in one model: a small ladder trained on a task of each.

Every size on the same tokens is the reference; the smallest on the most tokens is put beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.knowing import Knowledge, know
from isoflop.lab import files
from isoflop.lab.device import single_thread
from isoflop.lab.model import Shape, count_params, init_weights
from isoflop.lab.selfknowledge import interview
from isoflop.lab.sft import Tuned, sft
from isoflop.lab.tasks import Problem, Task, acrostic, facts, problems
from isoflop.tables import Items
from isoflop.tables.export import table_text
from isoflop.units import show

if TYPE_CHECKING:
    from isoflop.lab.upper import Tuning

Columns = dict[str, list[Any]]

PROMPT = 24  # bytes that the context holds beside an answer
SAMPLES = 4  # behind the share of votes
TEST_SEED = 98


def tasks_of(reasoning: Task) -> tuple[Task, ...]:
    """One task of each dimension."""
    return facts(), reasoning, acrostic()


def rungs_of(job: Tuning) -> dict[str, Tuning]:
    """The reference at every width, and last the smallest on the most tokens, by name."""
    tokens = sorted(job.upper.tokens)
    shared = replace(job, tokens=tokens[(len(tokens) - 1) // 2])
    ladder = {f"d{width}": replace(shared, width=width) for width in sorted(job.upper.widths)}
    least = min(job.upper.widths)
    beside = f"d{least} on {show(tokens[-1] / shared.tokens)} times the tokens"
    return ladder | {beside: replace(job, width=least, tokens=tokens[-1])}


def shape_of(job: Tuning, tasks: Sequence[Task]) -> Shape:
    context = max(task.length for task in tasks) + PROMPT
    return Shape(width=job.width, depth=job.upper.depth, vocab=256, context=context)


def tuned_on_all(job: Tuning, tasks: Sequence[Task]) -> Tuned:
    """A model trained on as many bytes of each task, trained now where it is not complete."""
    shape = shape_of(job, tasks)
    mixed: list[Problem] = []
    for task in tasks:
        drawn = problems(
            task, split="train", count=job.upper.problems, difficulty=1.0, seed=job.seed
        )
        size = np.cumsum([len((p.prompt + p.solution + task.stop).encode()) for p in drawn])
        mixed += drawn[: int(np.searchsorted(size, job.tokens / len(tasks))) + 1]
    return sft(
        init_weights(shape, seed=job.seed), shape, mixed, tokens=job.tokens, seed=job.seed,
        folder=Path(job.folder) / f"all-d{job.width}-{job.tokens}",
    )  # fmt: skip


def answer_all(job: Tuning, name: str, reasoning: Callable[[], Task]) -> Columns:
    """Columns of one model's answers to the test questions of every dimension."""
    single_thread()
    path = Path(job.folder) / f"all-d{job.width}-{job.tokens}.json"
    held = files.read_whole(path) if path.exists() else None
    if held is not None:
        return held
    tasks = tasks_of(reasoning())
    shape, weights = shape_of(job, tasks), tuned_on_all(job, tasks).weights
    columns: Columns = {
        k: [] for k in ("id", "model", "params", "task", "dimension", "q", "y", "n", "c", "tokens")
    }
    for task in tasks:
        asked = problems(
            task, split="test", count=job.upper.questions, difficulty=1.0, seed=TEST_SEED
        )
        told = interview(weights, shape, task, asked, samples=SAMPLES, seed=job.seed).items()
        rows = len(told)
        columns["model"] += [name] * rows
        columns["params"] += [float(count_params(shape)["matmul"])] * rows
        columns["task"] += [task.name] * rows
        for column in ("id", "dimension", "q", "y", "n", "c", "tokens"):
            columns[column] += told[column].tolist()
    files.write_json(path, columns)
    return columns


def known_apart(parts: Sequence[Columns], folder: Path, *, draws: int) -> Knowledge:
    """What the last model knows in each dimension, and its density against the others.

    Writes all answers to dimensions.csv, which `isoflop know` reads.
    """
    columns = {name: [v for part in parts for v in part[name]] for name in parts[0]}
    files.write_bytes(folder / "dimensions.csv", table_text(columns, "csv").encode())
    models = list(dict.fromkeys(columns["model"]))
    items = Items.of(columns, name="knowledge, reasoning and creation")
    return know(items, reference=models[:-1], draws=draws)
