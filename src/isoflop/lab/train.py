"""Train one trunk and the runs that branch off it; kill it at any moment and start it again.

Warmup-stable-decay: the rate stays constant on the trunk, and each run leaves it for a linear
decay to 0 over its last steps, so one trunk serves several token counts (Hu et al. 2024;
Haegele et al. 2024). Everything a run computes depends only on its config, never on when it was
stopped: its result is the same bit for bit.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import tomli_w

from isoflop.lab import files
from isoflop.lab.corpus import Corpus, open_corpus
from isoflop.lab.device import describe_machine, single_thread
from isoflop.lab.evaluate import measure
from isoflop.lab.files import LabError
from isoflop.lab.model import init_weights
from isoflop.lab.optim import init_state
from isoflop.lab.recipe import Recipe, Rung, as_table
from isoflop.lab.shape import Model
from isoflop.lab.state import Loop, State, advance, load_latest, store
from isoflop.lab.step import Bench, build_bench, noise_scale, train_steps

SAVE_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """All a process needs to train one rung, wherever it runs."""

    rung: Rung
    recipe: Recipe
    corpus: str  # folder of the prepared corpus
    folder: str  # of the whole climb
    model: Model = field(default_factory=Model)
    mixture: tuple[tuple[str, float], ...] = ()  # folders of other corpora, with their shares
    unique_tokens: int = 0  # after which the training text repeats; 0: it never does
    device: str = "cpu"
    save_seconds: float = SAVE_SECONDS

    @property
    def gpus(self) -> int:
        """How many an executor must give it."""
        return self.rung.processes if self.device == "cuda" else 0


def run_name(rung: Rung, tokens: int) -> str:
    return f"{rung.name}-{tokens}"


def train_rung(job: Job) -> list[str]:
    """Train all runs of a rung that are not complete yet; returns messages about repairs made.

    Raises LabError for a busy folder, a full or read-only disk, a diverged loss, another config.
    """
    if job.rung.processes > 1:
        from isoflop.lab.torchrun import launch_sharded

        return launch_sharded(job)
    if job.device == "cpu":
        single_thread()
    root = Path(job.folder)
    trunk = files.make_folder(root / "trunks" / job.rung.name)
    with files.lock(trunk):
        bench = set_up(job)
        config = {**describe(job, bench), "rung": job.rung.name}
        claim(trunk, config)
        messages: list[str] = []
        state = None
        for tokens in job.rung.tokens:
            run = root / "runs" / run_name(job.rung, tokens)
            if read_result(run) is not None:
                continue
            start = job.recipe.branch_step(tokens)
            if state is None:
                state = resume(trunk, job, bench, at_most=start, messages=messages)
            loop = loop_of(state, bench, rate=warmup(job.recipe), folder=trunk, job=job)
            state = advance(state, loop, until=start, folder=trunk)
            store(trunk, state)
            finish(run, trunk, state, job=job, bench=bench, tokens=tokens, messages=messages)
    return messages


def set_up(job: Job) -> Bench:
    bench = build_bench(
        job.rung,
        job.recipe,
        job.model,
        folders=((job.corpus, 1.0 - sum(share for _, share in job.mixture)), *job.mixture),
        unique_tokens=job.unique_tokens,
        device=job.device,
    )
    check_enough(
        bench, [open_corpus(Path(job.corpus)), *(open_corpus(Path(f)) for f, _ in job.mixture)]
    )
    return bench


def check_enough(bench: Bench, corpora: list[Corpus]) -> None:
    """Raise ValueError where a corpus would repeat and was not asked to."""
    short = bench.feed.shortage(bench.feed.total)
    if short is None:
        return
    which, needed, held = short
    context, corpus = bench.recipe.context, corpora[which]
    raise ValueError(
        f"{needed * context:,} tokens are more than the {held * context:,} training tokens of "
        f"corpus {corpus.name!r} ({corpus.tokenizer}): they would repeat; give a larger corpus, "
        "fewer tokens, or data.unique_tokens within what there is"
    )


def describe(job: Job, bench: Bench) -> dict:
    """Resolve everything that decides a result."""
    corpus = open_corpus(Path(job.corpus))
    return {
        "width": job.rung.width,
        "depth": job.rung.depth,
        "seed": job.rung.seed,
        "vocab": corpus.vocab,
        "corpus": corpus.name,
        "corpus_hash": corpus.digest,
        "tokenizer": corpus.tokenizer,
        "unique_tokens": job.unique_tokens,
        "mixture": [
            {
                "corpus": (held := open_corpus(Path(folder))).name,
                "hash": held.digest,
                "share": share,
            }
            for folder, share in job.mixture
        ],
        "precision": str(bench.table.dtype).removeprefix("torch."),
        "device": job.device,
        "model": asdict(job.model),
        "recipe": as_table(job.recipe),
    }


def claim(folder: Path, config: dict) -> None:
    """Write the config of a fresh folder; refuse a folder that holds another config."""
    path, text = folder / "config.toml", tomli_w.dumps(config)
    if not path.exists():
        files.write_bytes(path, text.encode())
    elif (held := path.read_text()) != text:
        changed = [
            line for line in text.splitlines() if line not in held.splitlines() and "=" in line
        ]
        raise LabError(
            f"{folder} was trained with another config (now: {'; '.join(changed) or 'less'}): "
            "choose another folder, or delete this one to train it again"
        )


def read_result(run: Path) -> dict | None:
    """Read a complete run's result, None where the run is not complete."""
    path = run / "result.json"
    if not path.exists():
        return None
    rows = files.read_whole(path)
    if rows is None:
        raise LabError(f"{path} is damaged: delete it to train this run's end again")
    return rows


def warmup(recipe: Recipe) -> Callable[[int], float]:
    return lambda step: min(1.0, (step + 1) / recipe.warmup_steps)


def warmup_and_decay(recipe: Recipe, tokens: int) -> Callable[[int], float]:
    """The share of the peak rates at each step of one run: linear or cosine to 0 at its end."""
    steps, start, rise = recipe.steps(tokens), recipe.branch_step(tokens), warmup(recipe)
    if recipe.schedule == "cosine":
        return lambda step: rise(step) * 0.5 * (1 + math.cos(math.pi * step / steps))
    return lambda step: rise(step) * min(1.0, (steps - step) / (steps - start))


def resume(folder: Path, job: Job, bench: Bench, *, at_most: int, messages: list[str]) -> State:
    """Load the furthest intact checkpoint of a trunk, or begin with fresh weights."""
    state = load_latest(folder, at_most=at_most, messages=messages, device=job.device)
    if state is None:
        weights = init_weights(bench.shape, seed=job.rung.seed, device=job.device)
        moments = init_state(weights, shape=bench.shape, optimizer=job.recipe.optimizer)
        state = State(step=0, weights=weights, moments=moments)
    return state


def loop_of(
    state: State, bench: Bench, *, rate: Callable[[int], float], folder: Path, job: Job
) -> Loop:
    """The loop that trains a state in place."""
    for weight in state.weights.values():
        weight.requires_grad_()
    return Loop(
        take=lambda start, stop: train_steps(state, bench, span=(start, stop), rate=rate),
        rate=rate,
        save=lambda reached: store(folder, reached),
        tokens_per_step=job.recipe.tokens_per_step,
        save_seconds=job.save_seconds,
    )


def finish(
    run: Path,
    trunk: Path,
    state: State,
    *,
    job: Job,
    bench: Bench,
    tokens: int,
    messages: list[str],
) -> None:
    """Decay a copy of the trunk's state to the end of one run, validate it, write its result."""
    files.make_folder(run)
    config = {**describe(job, bench), "tokens": tokens, "steps": job.recipe.steps(tokens)}
    claim(run, config)
    decaying = load_latest(run, at_most=config["steps"], messages=messages, device=job.device)
    if decaying is None:
        decaying = replace(
            state,
            weights={k: v.detach().clone() for k, v in state.weights.items()},
            moments={k: v.clone() for k, v in state.moments.items()},
        )
        files.write_rows(run / "metrics.jsonl", files.read_lines(trunk / "metrics.jsonl"))
    rate = warmup_and_decay(job.recipe, tokens)
    loop = loop_of(decaying, bench, rate=rate, folder=run, job=job)
    decaying = advance(decaying, loop, until=config["steps"], folder=run)
    noise = {}
    if job.recipe.noise_sequences:
        noise["noise_scale"] = noise_scale(state.weights, bench)
    conclude(run, decaying, config=config, job=job, bench=bench, extra=noise)
    for path in run.glob("state-*.safetensors"):
        path.unlink(missing_ok=True)


def conclude(run: Path, state: State, *, config: dict, job: Job, bench: Bench, extra: dict) -> None:
    """Validate the weights at the end of a run and write its files, the result last."""
    began = time.process_time(), time.perf_counter()
    nats_W, summary = measure(state.weights, Path(job.corpus), bench, tokens=config["tokens"])
    files.save_checkpoint(run / "checkpoint.safetensors", state.weights, config)
    files.write_array(run / "validation.npy", nats_W)
    timing = {
        "core_seconds": state.core_seconds + time.process_time() - began[0],
        "wall_seconds": state.wall_seconds + time.perf_counter() - began[1],
        "machine": describe_machine(job.device),
        "load": os.getloadavg()[0],
    }
    files.write_json(run / "timing.json", timing)
    weights_hash = files.digest_tensors(state.weights, "")
    result = {
        "run": run.name, **flatten(config), **summary, **extra, "weights_sha256": weights_hash
    }  # fmt: skip
    files.write_json(run / "result.json", result)


def flatten(config: dict) -> dict:
    return {key: config[key] for key in config if key not in ("recipe", "model", "mixture")}
