"""The state of a training run on disk: checkpoints that are whole, logs that are cut to them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from isoflop.lab import files
from isoflop.lab.files import LabError
from isoflop.lab.model import Weights

LOG_STEPS = 32


@dataclass(frozen=True, kw_only=True)
class State:
    """Weights and optimizer state after `step` steps, and what they have cost so far."""

    step: int
    weights: Weights
    moments: Weights
    core_seconds: float = 0.0
    wall_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Loop:
    """What a kind of training does between two lines of its log.

    take    train from one step to another in place; returns the mean loss in nats/token
    rate    the share of the peak rates at a step
    save    write a checkpoint
    agree   what processes that share a model decide together
    writes  whether this process writes the log: one of those that share a model does
    """

    take: Callable[[int, int], float]
    rate: Callable[[int], float]
    save: Callable[[State], None]
    tokens_per_step: int
    save_seconds: float
    agree: Callable[[bool], bool] = bool
    writes: bool = True


def advance(state: State, loop: Loop, *, until: int, folder: Path) -> State:
    """Train up to step `until` in place, logging and saving into `folder` on the way.

    Raises LabError where the loss diverges.
    """
    log = folder / "metrics.jsonl"
    if loop.writes:
        keep_lines(log, until=state.step)
    clock = time.process_time() - state.core_seconds, time.perf_counter() - state.wall_seconds
    saved = time.perf_counter()
    while state.step < until:
        start, began = state.step, time.perf_counter()
        stop = min(until, (start // LOG_STEPS + 1) * LOG_STEPS)
        loss = loop.take(start, stop)
        if not math.isfinite(loss):
            raise LabError(
                f"the loss of {folder.name} became {loss} between steps {start} and {stop}: lower "
                "the learning rates of the recipe and choose another folder; finished runs are kept"
            )
        speed = (stop - start) * loop.tokens_per_step / (time.perf_counter() - began)
        line = {"step": stop, "loss": loss, "rate": loop.rate(stop - 1), "tokens_per_second": speed}
        if loop.writes:
            files.append_line(log, line)
        state = replace(
            state,
            step=stop,
            core_seconds=time.process_time() - clock[0],
            wall_seconds=time.perf_counter() - clock[1],
        )
        if loop.agree(time.perf_counter() - saved > loop.save_seconds):
            loop.save(state)
            saved = time.perf_counter()
    return state


def tensors_of(state: State) -> Weights:
    """All tensors of a state under the names that a checkpoint gives them."""
    tensors = {f"weights.{name}": weight.detach() for name, weight in state.weights.items()}
    return tensors | {f"moments.{name}": moment for name, moment in state.moments.items()}


def progress_of(state: State) -> dict[str, float]:
    """What a checkpoint records beside its tensors: the seconds are of one process."""
    return {
        "step": state.step,
        "core_seconds": state.core_seconds,
        "wall_seconds": state.wall_seconds,
    }


def store(folder: Path, state: State) -> None:
    """Save a state and drop those before the last one; later states of the folder stay.

    A state that is there already is left as it is: the same step has the same bits.
    """
    path = folder / f"state-{state.step:08d}.safetensors"
    if path.exists():
        return
    files.save_checkpoint(path, tensors_of(state), progress_of(state))
    before = [p for p in sorted(folder.glob("state-*.safetensors")) if step_of(p) < state.step]
    for old in before[:-1]:
        old.unlink(missing_ok=True)


def step_of(path: Path) -> int:
    return int(path.stem.removeprefix("state-"))


def load_latest(folder: Path, *, at_most: int, messages: list[str], device: str) -> State | None:
    """Load the furthest intact state of a folder; corrupt ones are reported and removed."""
    for path in sorted(folder.glob("state-*.safetensors"), reverse=True):
        if step_of(path) > at_most:
            continue
        try:
            tensors, meta = files.load_checkpoint(path)
        except LabError as error:
            messages.append(f"{error}; going back to the state before it")
            path.unlink()
            continue

        def part(name: str, tensors: Weights = tensors) -> Weights:
            prefix = f"{name}."
            return {
                k.removeprefix(prefix): v.to(device)
                for k, v in tensors.items()
                if k.startswith(prefix)
            }

        return State(weights=part("weights"), moments=part("moments"), **meta)
    return None


def keep_lines(path: Path, *, until: int) -> None:
    """Drop log lines after a step, which a resumed run will write again."""
    lines = [row for row in files.read_lines(path) if row["step"] <= until]
    files.write_rows(path, lines)
