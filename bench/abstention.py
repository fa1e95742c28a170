"""Is the promise of abstention kept? 200 calibrations resampled from answered questions.

python bench/abstention.py FOLDER    (of a climb with the upper rungs: asks its models, 3 minutes)
python bench/abstention.py TABLE     (columns q and y: CSV, JSONL or Parquet)

Calibrations are drawn with replacement from the answers, and judged on all of them: for such a
draw the error of a threshold on all answers is its true one.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from isoflop.knowing import certified_threshold, conformal_threshold, quadrants
from isoflop.knowing.abstention import clopper_pearson
from isoflop.tables import Items, read_items

CALIBRATIONS = 200
RATE, CONFIDENCE = 0.1, 0.9
ASKED = 2000  # test questions put to each model
SAMPLES = 8  # behind the vote


def of_climb(folder: Path) -> Iterator[Items]:
    """Answers of the largest token count's model at each width, by each kind of confidence."""
    from isoflop.lab import upper as rungs
    from isoflop.lab.device import single_thread
    from isoflop.lab.recipe import read_ladder
    from isoflop.lab.selfknowledge import fit_probe, interview
    from isoflop.lab.tasks import problems

    single_thread()
    ladder = read_ladder(folder / "ladder.toml")
    upper, seed = ladder.upper, ladder.target.seed
    if upper is None:
        raise ValueError(f"{folder} is the climb of a ladder without upper rungs")
    task = rungs.TASKS[upper.task]()
    many = replace(upper, questions=ASKED)
    train = problems(task, split="train", count=rungs.KNOWN, difficulty=1.0, seed=seed + 1)
    for width in upper.widths:
        job = rungs.Tuning(
            upper=upper, width=width, tokens=max(upper.tokens), folder=str(folder / "upper"),
            seed=seed,
        )  # fmt: skip
        weights, shape = rungs.tuned_at(job).weights, rungs.shape_at(upper, width)
        told = interview(
            weights, shape, task, rungs.asked(many), samples=SAMPLES, seed=seed,
            probe=fit_probe(weights, shape, task, train, seed=seed), name=f"d{width}",
        )  # fmt: skip
        yield from (told.items(by) for by in told.confidences)


def check(items: Items, size: int) -> list[str]:
    """How often each promise was kept over resampled calibrations of `size` questions."""
    q, y = items["q"], items["y"]
    rng = np.random.default_rng(0)
    kept, hallucinated, certain = [], [], []
    answered, silent = [], 0
    for _ in range(CALIBRATIONS):
        rows = rng.integers(len(q), size=size)
        drawn = Items.of({"q": q[rows], "y": y[rows].astype(int)})
        given = certified_threshold(drawn, RATE, confidence=CONFIDENCE).answers(q)
        kept.append(not given.any() or float((1 - y[given]).mean()) <= RATE)
        answered.append(float(given.mean()))
        silent += not given.any()
        rule = certified_threshold(drawn, RATE, confidence=CONFIDENCE, among="all")
        certain.append(float(((1 - y) * rule.answers(q)).mean()) <= RATE)
        hallucinated.append(float(((1 - y) * conformal_threshold(drawn, RATE).answers(q)).mean()))
    mean, error = float(np.mean(hallucinated)), float(np.std(hallucinated) / CALIBRATIONS**0.5)
    area = quadrants(items, draws=0).scores["auroc"]
    told = "AUROC not identified" if area is None else f"AUROC {area:.3f}"
    return [
        f"{items.name}: {len(q)} answers, {y.mean():.3f} right, {told}; calibrations of {size}",
        f"  at most {RATE:g} of the answered wrong, promised in {CONFIDENCE:.0%}: {share(kept)}; "
        f"{np.mean(answered):.3f} answered on average, nothing in {silent} of {CALIBRATIONS}",
        f"  at most {RATE:g} of all wrong, promised in {CONFIDENCE:.0%}: {share(certain)}",
        f"  at most {RATE:g} of all wrong, promised on average: {mean:.4f} "
        f"(standard error {error:.4f})",
    ]


def share(kept: list[bool]) -> str:
    low, high = clopper_pearson(sum(kept), len(kept))
    return f"kept in {np.mean(kept):.3f} (95%: {low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source", type=Path, help="a climb's folder, or a table of answers")
    parser.add_argument("--size", type=int, default=500, help="questions of a calibration")
    options = parser.parse_args()
    folder = options.source.is_dir()
    for items in of_climb(options.source) if folder else [read_items(options.source)]:
        print("\n".join(check(items, options.size)), flush=True)


if __name__ == "__main__":
    main()
