"""What could make the lab's training step cheaper on a CPU: one graph of it, several runs at once.

python bench/step.py [--rounds 7] [--compile 128 4]

Runs of one shape packed into one step take at least what one run takes with as many sequences and
an update of as many matrices: beside the runs one after the other, packing's upper bound. With
`--compile`, a compiled step is timed beside the eager one and its compile time (all processes)
counted: the tokens after which it pays. Rounds alternate, one thread, Muon, 4 x 256 tokens a step.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

import tempfile

FRESH = tempfile.TemporaryDirectory()
os.environ["TORCHINDUCTOR_CACHE_DIR"] = FRESH.name  # what was compiled before would cost nothing

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from isoflop.lab.device import pick_precision, single_thread
from isoflop.lab.model import Shape, count_params, init_weights, rotation
from isoflop.lab.objectives import causal_batch
from isoflop.lab.optim import Rates, gradients, init_state, update
from isoflop.lab.step import mean_loss

SEQUENCES, CONTEXT, VOCAB, PACKED = 4, 256, 256, 4
SIZES = ((32, 1), (64, 1), (192, 1), (128, 4))  # the laptop ladder's ends, and four layers
STEPS = 8
Step = Callable[[], None]


def step_of(shape: Shape, *, packed: int = 1, compiled: bool = False) -> Step:
    """One step on the same text, again and again, of `packed` runs at the least they cost."""
    weights = init_weights(shape, seed=0)
    for weight in weights.values():
        weight.requires_grad_()
    stacked = replace(shape, depth=packed * shape.depth)
    moved = init_weights(stacked, seed=0)
    state = init_state(moved, shape=stacked)
    drawn = {name: torch.randn_like(weight) for name, weight in moved.items()}
    table = rotation(shape, dtype=pick_precision("cpu"))
    text = np.random.default_rng(0).integers(VOCAB, size=(packed * SEQUENCES, CONTEXT + 1))
    batch = causal_batch(torch.from_numpy(text))
    loss = torch.compile(mean_loss) if compiled else mean_loss

    def step() -> None:
        gradients(loss(weights, batch, shape=shape, table=table), weights)
        update(moved, drawn, state, shape=stacked, step=0, rates=Rates(), scale=1.0,
               dtype=table.dtype)  # fmt: skip

    return step


def milliseconds(steps: Sequence[Step], *, rounds: int) -> np.ndarray:
    """CPU milliseconds a step of each system, (rounds, systems)."""
    took = np.empty((rounds + 1, len(steps)))
    for row in took:
        for k, step in enumerate(steps):
            began = time.process_time()
            for _ in range(STEPS):
                step()
            row[k] = 1e3 * (time.process_time() - began) / STEPS
    return took[1:]  # the first lap warms up


def core_seconds() -> float:
    """Of this process and of the compilers it started, those still running included."""
    times = os.times()
    ticks = os.sysconf("SC_CLK_TCK")
    running = 0.0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == os.getpid():
            running += sum(int(x) for x in fields[11:15]) / ticks
    return sum(times[:4]) + running


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--compile", type=int, nargs=2, help="width and depth")
    chosen = parser.parse_args()
    single_thread()
    print(f"{PACKED} runs in one step, upper bound:")
    for width, depth in SIZES:
        shape = Shape(width=width, depth=depth, vocab=VOCAB, context=CONTEXT)
        systems = [step_of(shape, packed=n) for n in (1, PACKED)]
        took = milliseconds(systems, rounds=chosen.rounds)
        gain = np.median(PACKED * took[:, 0] / took[:, 1])
        print(f"  {count_params(shape)['non_embedding']:>9,} parameters: {gain:.2f} x", flush=True)
    if chosen.compile:
        width, depth = chosen.compile
        shape = Shape(width=width, depth=depth, vocab=VOCAB, context=CONTEXT)
        print(weigh_compiled(shape, rounds=chosen.rounds))


def weigh_compiled(shape: Shape, *, rounds: int) -> str:
    """What a compiled step gains, what it costs first, and when it pays."""
    eager, graph = (step_of(shape, compiled=compiled) for compiled in (False, True))
    eager()
    before = core_seconds()
    graph()
    cost = core_seconds() - before
    took = milliseconds((eager, graph), rounds=rounds)
    ratio = np.median(took[:, 0] / took[:, 1])
    saved = float(np.median(took[:, 0] - took[:, 1])) / 1e3
    pays = f"pays after {cost / saved * SEQUENCES * CONTEXT / 1e6:.1f}M tokens"
    return (
        f"compiled, {count_params(shape)['non_embedding']:,} parameters: {ratio:.2f} x, "
        f"{cost:.0f} core-s to compile, {pays if saved > 0 else 'never pays'}"
    )


if __name__ == "__main__":
    main()
