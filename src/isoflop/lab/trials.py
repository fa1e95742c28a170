"""Is trial and error worth more than clean data? The claim put to the test at equal tokens.

Arms see the same number of training bytes of the same problems: solutions straight (`clean`), or
with attempts that fail and are retracted, whose loss counts (`imitated`) or not (`read`). At test
time arms are compared per answer and at equal generated characters, with and without a verifier.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isoflop.knowing.samples import pass_at_k
from isoflop.lab import files
from isoflop.lab.model import Shape, count_params, init_weights
from isoflop.lab.sample import sample
from isoflop.lab.sft import SftRecipe, sft
from isoflop.lab.tasks import Problem, Task, check_disjoint, countdown, problems
from isoflop.lab.thinking import vote_at_k
from isoflop.lab.train import claim, read_result
from isoflop.page import Column, Fact, Report, Reproduce, Tried, write_page
from isoflop.page import Gain as ShownGain

ARMS = ("clean", "imitated", "read")
TAUGHT = {"imitated": "errors imitated", "read": "errors read, their loss masked"}
METRICS = {
    "greedy": "the likeliest answer is right",
    "sampled": "an answer drawn at temperature 1 is right",
    "vote_at_equal_characters": "the vote over as many answers as fit the characters",
    "verifier_at_equal_characters": "any of as many answers as fit the characters is right",
}


@dataclass(frozen=True, kw_only=True)
class Design:
    """What is trained and asked; every arm of a size and seed starts from the same weights."""

    clean: Task
    erring: Task
    sizes: tuple[tuple[int, int], ...] = ((64, 2), (64, 4))  # width, depth
    seeds: tuple[int, ...] = (0, 1, 2)
    tokens: int = 1_000_000  # bytes of prompts, solutions and stops
    train_problems: int = 30_000
    questions: int = 200
    samples: int = 16
    characters: int = 240  # generated a question, at which arms are compared at test time
    context: int = 160
    recipe: SftRecipe = field(default_factory=SftRecipe)


def countdown_design(**changes: Any) -> Design:
    """Countdown with three numbers: straight solutions, or up to four failed attempts first."""
    return replace(Design(clean=countdown(), erring=countdown(attempts=4)), **changes)


@dataclass(frozen=True, kw_only=True)
class Gain:
    """How much better an arm is than clean data by one metric, over sizes and seeds.

    pairs: runs compared. by_size: the mean difference at each width. verdict: "worth more",
    "worth less" or "undecided" at `level`.
    """

    arm: str
    metric: str
    clean: float
    arm_value: float
    difference: float
    low: float
    high: float
    level: float
    pairs: int
    by_size: dict[str, float]
    verdict: str


@dataclass(frozen=True, kw_only=True)
class Trials:
    """All runs of the comparison and what they say of each arm against clean data."""

    task: str
    questions: int
    runs: tuple[dict[str, Any], ...]
    gains: tuple[Gain, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "questions": self.questions,
            "runs": list(self.runs),
            "gains": [asdict(g) for g in self.gains],
        }

    def __str__(self) -> str:
        lines = ["trial and error against clean data at equal training tokens"]
        for g in self.gains:
            sizes = ", ".join(f"{size} {x:+.3f}" for size, x in g.by_size.items())
            lines.append(
                f"  {g.arm:<9}{g.metric:<30}{g.arm_value:.3f} vs {g.clean:.3f}: "
                f"{g.difference:+.3f} ({100 * g.level:g}%: {g.low:+.3f} to {g.high:+.3f}; "
                f"{sizes}): {g.verdict}"
            )
        return "\n".join(lines)


def run_trials(
    design: Design, folder: Path, *, on_event: Callable[[str], None] | None = None
) -> Trials:
    """Train and question every arm, size and seed that `folder` does not hold; compare them.

    Writes trials.json, and page.html with the verdict and every run behind it.
    """
    files.make_folder(folder)
    claim(folder, _describe(design))
    found = []
    for width, depth in design.sizes:
        for seed in design.seeds:
            for arm in ARMS:
                run = folder / f"{arm}-d{width}-L{depth}-s{seed}"
                row = read_result(run)
                if row is None:
                    row = _run(design, arm, run, size=(width, depth), seed=seed)
                    files.write_json(run / "result.json", row)
                    if on_event:
                        on_event(json.dumps({k: v for k, v in row.items() if k != "marks"}))
                found.append(row)
    gains = [compare(found, arm=arm, metric=metric) for arm in ARMS[1:] for metric in METRICS]
    trials = Trials(
        task=design.clean.name,
        questions=design.questions,
        runs=tuple({k: v for k, v in row.items() if k != "marks"} for row in found),
        gains=tuple(gains),
    )
    files.write_json(folder / "trials.json", trials.to_json())
    write_page(report_of(trials, context=design.context), folder / "page.html")
    return trials


def read_trials(path: Path) -> Trials:
    """What `run_trials` wrote to trials.json."""
    held = json.loads(path.read_text())
    return Trials(
        task=held["task"], questions=held["questions"], runs=tuple(held["runs"]),
        gains=tuple(Gain(**gain) for gain in held["gains"]),
    )  # fmt: skip


def tried_of(trials: Trials) -> Tried:
    """The verdict as a page shows it, with sizes, seeds and intervals."""
    return Tried(
        name=trials.task,
        sizes=tuple(trials.gains[0].by_size),
        seeds=len({row["seed"] for row in trials.runs}),
        tokens=float(np.median([row["tokens"] for row in trials.runs])),
        questions=trials.questions,
        level=trials.gains[0].level,
        gains=tuple(
            ShownGain(
                arm=TAUGHT[g.arm], measure=METRICS[g.metric], clean=g.clean, value=g.arm_value,
                difference=g.difference, low=g.low, high=g.high, verdict=g.verdict,
                by_size=tuple(Fact(name=k, value=f"{v:+.3f}") for k, v in g.by_size.items()),
            )
            for g in trials.gains
        ),
    )  # fmt: skip


def report_of(trials: Trials, *, context: int) -> Report:
    """The verdict and every run behind it as a page; `context` is that of the models."""
    rows = [
        (
            f"{row['arm']}-d{row['width']}-L{row['depth']}-s{row['seed']}", "ladder",
            float(_params(row["width"], row["depth"], context)), float(row["tokens"]),
            row["flops"], row["loss"], row["seed"], row["core_seconds"], row["greedy"],
            row["sampled"],
        )
        for row in trials.runs
    ]  # fmt: skip
    names = ("run", "role", "params", "tokens", "flops", "loss", "seed", "core_seconds",
             "greedy", "sampled")  # fmt: skip
    return Report(
        title=f"isoflop trials: {trials.task}",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        loss_unit="nats/token",
        params_convention="matmul",
        flops_convention="6nd",
        runs=tuple(
            Column(name=name, values=values)
            for name, values in zip(names, zip(*rows, strict=True), strict=True)
        ),
        reproduce=Reproduce(commands=("python bench/trials.py FOLDER",)),
        tried=(tried_of(trials),),
    )


def _params(width: int, depth: int, context: int) -> int:
    shape = Shape(width=width, depth=depth, vocab=256, context=context)
    return count_params(shape)["matmul"]


def _describe(design: Design) -> dict[str, Any]:
    """What decides the results and is the same for all runs; sizes and seeds may be added."""
    plain = asdict(replace(design, sizes=(), seeds=()))
    del plain["sizes"], plain["seeds"], plain["recipe"]["save_seconds"]
    return {**plain, "clean": design.clean.name, "erring": design.erring.name}


def _run(
    design: Design, arm: str, folder: Path, *, size: tuple[int, int], seed: int
) -> dict[str, Any]:
    task = design.clean if arm == "clean" else design.erring
    shape = Shape(width=size[0], depth=size[1], vocab=256, context=design.context)
    train = problems(task, split="train", count=design.train_problems, difficulty=1.0, seed=seed)
    test = problems(design.clean, split="test", count=design.questions, difficulty=1.0, seed=0)
    check_disjoint(train, test)
    tuned = sft(
        init_weights(shape, seed=seed), shape, train, tokens=design.tokens, folder=folder,
        recipe=replace(design.recipe, blame=arm != "read"), seed=seed,
    )  # fmt: skip
    prompts = [p.prompt for p in test]
    length = min(task.length, design.context - max(len(p) for p in prompts))
    shared = {"length": length, "stop": task.stop}
    greedy = sample(tuned.weights, shape, prompts, count=1, temperature=0, seed=0, **shared)
    drawn = sample(
        tuned.weights, shape, prompts, count=design.samples, temperature=1, seed=seed, **shared
    )
    marks = {
        "greedy": [task.check(p, row[0]) for p, row in zip(test, greedy.texts, strict=True)],
        **_marks(task, test, drawn.texts, drawn.lengths_PN, characters=design.characters),
    }
    return {
        "arm": arm, "width": size[0], "depth": size[1], "seed": seed, "tokens": tuned.tokens,
        "problems": tuned.problems, "loss": tuned.loss, "flops": tuned.flops,
        "core_seconds": tuned.core_seconds, "characters": float(drawn.lengths_PN.mean()),
        **{metric: float(np.mean(values)) for metric, values in marks.items()},
        "marks": marks,
    }  # fmt: skip


def _marks(
    task: Task,
    test: Sequence[Problem],
    texts: Sequence[Sequence[str]],
    lengths_PN: NDArray[np.int64],
    *,
    characters: int,
) -> dict[str, list[float]]:
    """Each question's chance to be right, by metric, from one pool of samples."""
    right = np.array([[task.check(p, x) for x in row] for p, row in zip(test, texts, strict=True)])
    finals = [[task.final(x) for x in row] for row in texts]
    n = right.shape[1]
    even = np.ones(n)
    allowed = min(characters / float(lengths_PN.mean()), n)
    return {
        "sampled": right.mean(axis=1).tolist(),
        "vote_at_equal_characters": [
            between(allowed, lambda k, f=f, r=r: vote_at_k(f, even, r, k=k))
            for f, r in zip(finals, right, strict=True)
        ],
        "verifier_at_equal_characters": [
            between(allowed, lambda k, c=c: float(pass_at_k(n, c, k)[0])) for c in right.sum(axis=1)
        ],
    }


def between(k: float, value: Callable[[int], float]) -> float:
    """A quantity of whole numbers of samples, read at k by a straight line; below 1, at 1."""
    low = max(int(k), 1)
    share = max(k, 1) - low
    return (1 - share) * value(low) + (share * value(low + 1) if share else 0.0)


def compare(runs: Sequence[dict[str, Any]], *, arm: str, metric: str, level: float = 0.95) -> Gain:
    """Difference of an arm and clean data, paired by size and seed.

    The interval joins two variances: of training seeds, from the spread of the pairs around their
    size's mean (Student's t with pairs - sizes degrees of freedom), and of the questions asked,
    from the spread of each question's mean difference over all pairs.
    """
    from scipy.stats import t

    by_key = {(r["arm"], r["width"], r["depth"], r["seed"]): r for r in runs}
    keys = [key[1:] for key in by_key if key[0] == "clean"]
    sizes = list(dict.fromkeys(key[:2] for key in keys))
    if len(keys) <= len(sizes):
        raise ValueError("a verdict needs two seeds at least at some size")
    diff_PQ = np.array(
        [
            np.subtract(by_key[arm, *key]["marks"][metric], by_key["clean", *key]["marks"][metric])
            for key in keys
        ]
    )
    pair = diff_PQ.mean(axis=1)
    at = [[x for x, key in zip(pair, keys, strict=True) if key[:2] == size] for size in sizes]
    freedom = len(keys) - len(sizes)
    between_seeds = sum(float(np.sum((np.array(x) - np.mean(x)) ** 2)) for x in at) / freedom
    of_question = diff_PQ.mean(axis=0)
    variance = between_seeds / len(keys) + of_question.var(ddof=1) / len(of_question)
    half = float(t.ppf((1 + level) / 2, freedom) * np.sqrt(variance))
    mean = float(pair.mean())
    verdict = "worth more" if mean - half > 0 else "worth less" if mean + half < 0 else "undecided"
    values = {
        name: float(np.mean([by_key[name, *key][metric] for key in keys]))
        for name in ("clean", arm)
    }
    return Gain(
        arm=arm, metric=metric, clean=values["clean"], arm_value=values[arm], difference=mean,
        low=mean - half, high=mean + half, level=level, pairs=len(keys), verdict=verdict,
        by_size={f"d{w}-L{d}": float(np.mean(x)) for (w, d), x in zip(sizes, at, strict=True)},
    )  # fmt: skip
