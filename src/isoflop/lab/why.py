"""Where the loss of a climb fell, and what its text predicts, beside what was measured."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.fit import fit
from isoflop.fit.language import Language, describe_text, ngram_losses
from isoflop.fit.tokens import Drop, drop, read_token_losses
from isoflop.lab import files
from isoflop.lab.climb import runs_of
from isoflop.lab.corpus import open_tokens
from isoflop.lab.device import single_thread
from isoflop.lab.evaluate import nats_of_next, validation_windows
from isoflop.lab.launch import jobs_of
from isoflop.lab.recipe import Ladder, Rung, read_ladder
from isoflop.lab.table import table
from isoflop.lab.train import Job, read_result, run_name, set_up

WINDOWS = 512
READ = 4_000_000  # training tokens the text's statistics are measured on
ORDER = 3


@dataclass(frozen=True, kw_only=True)
class Why:
    """Which tokens the drop came from, what the text predicts, and the exponent measured."""

    drop: Drop
    language: Language
    beta: float
    beta_interval: tuple[float, float]

    def to_json(self) -> dict[str, Any]:
        return {
            "drop": self.drop.to_json(),
            "language": self.language.to_json(),
            "measured": {"beta": self.beta, "interval_95": list(self.beta_interval)},
        }

    def __str__(self) -> str:
        low, high = self.beta_interval
        return (
            f"{self.drop}\nthe text\n{self.language}\nmeasured exponent of tokens (Chinchilla): "
            f"{self.beta:.3f} (95%: {low:.3f} to {high:.3f})"
        )


def why(folder: Path, *, windows: int = WINDOWS, cache: Path | None = None) -> Why:
    """Measure every token's loss under the climb's best runs of rising compute, and explain it.

    The losses are kept in `folder`/tokens, where a second call finds them. Raises ValueError
    where the climb has fewer than two complete runs.
    """
    ladder = read_ladder(folder / "ladder.toml")
    if not ladder.recipe.objective.next_token:
        raise ValueError("the runs were trained to fill blanks alone: they have no loss of the "
                         "next token to be looked at")  # fmt: skip
    target = replace(jobs_of(ladder, folder, cache=cache)[-1], device="cpu")
    held = measure_tokens(folder, ladder, target, windows=windows)
    corpus = Path(target.corpus)
    found = fit(runs_of(table(folder), ladder.name, target=None), "chinchilla")
    fell = drop(read_token_losses(held))
    language = describe_text(
        open_tokens(corpus, "train")[:READ],
        open_tokens(corpus, "validation"),
        vocab=ladder.shape(ladder.target).vocab,
        by_position=fell.by_position,
        order=ORDER,
    )
    return Why(
        drop=fell,
        language=language,
        beta=found.values["beta"],
        beta_interval=found.intervals["beta"],
    )


def measure_tokens(folder: Path, ladder: Ladder, target: Job, *, windows: int) -> Path:
    """Write the per-token losses of the frontier's runs; those already written stay."""
    runs = frontier(folder, ladder)
    if len(runs) < 2:
        raise ValueError(f"{folder} has {len(runs)} complete runs; `why` compares two or more")
    held = files.make_folder(folder / "tokens")
    single_thread()  # more are slower for matrices of this size
    bench, corpus = set_up(target), Path(target.corpus)
    text_WU = validation_windows(corpus, replace(ladder.recipe, validation_windows=windows))
    vocab, targets = bench.shape.vocab, text_WU[:, 1:]
    if not (held / "targets.npy").exists():
        train = open_tokens(corpus, "train")[:READ].astype(np.int64)
        counts = np.bincount(train, minlength=vocab)
        easy = ngram_losses(train, text_WU.ravel(), vocab=vocab, order=ORDER)[-1]
        files.write_array(held / "counts.npy", counts)
        files.write_array(held / "easy.npy", easy.reshape(text_WU.shape)[:, 1:])
        files.write_array(held / "targets.npy", targets)
    elif not np.array_equal(np.load(held / "targets.npy", allow_pickle=False), targets):
        raise ValueError(f"{held} holds other windows; delete it to measure them anew")
    for rung, tokens, _ in runs:
        path = held / f"{run_name(rung, tokens)}.npy"
        if not path.exists():
            weights, _ = files.load_checkpoint(
                folder / "runs" / run_name(rung, tokens) / "checkpoint.safetensors"
            )
            seen = replace(bench, shape=ladder.shape(rung))
            files.write_array(path, nats_of_next(weights, text_WU, seen).astype(np.float32))
    sheet = io.StringIO()
    rows = csv.writer(sheet)
    rows.writerow(["run", "flops", "tokens"])
    rows.writerows([run_name(rung, tokens), flops, tokens] for rung, tokens, flops in runs)
    files.write_bytes(held / "runs.csv", sheet.getvalue().encode())
    return held


def frontier(folder: Path, ladder: Ladder) -> list[tuple[Rung, int, float]]:
    """(rung, tokens, flops) of the runs that no cheaper one beats, by rising compute."""
    done = []
    for rung in (*ladder.rungs, ladder.target):
        for tokens in rung.tokens:
            result = read_result(folder / "runs" / run_name(rung, tokens))
            if result is not None and ladder.role(rung) != "seed":
                done.append((float(result["flops"]), float(result["loss"]), rung, tokens))
    best, out = np.inf, []
    for flops, loss, rung, tokens in sorted(done, key=lambda row: row[:2]):
        if loss < best:
            best = loss
            out.append((rung, tokens, flops))
    return out
