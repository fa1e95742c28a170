"""Self-play: a proposer makes problems at the edge of the solver's ability, both learn.

The proposer is a model that writes problems, or worked solutions from which a reader makes
problems that can be solved. It is paid 4 p (1 - p) for a problem that the solver gets right with
frequency p, most at one half, shared among copies, and nothing for what is no problem or is in
the test split: as an exact verifier judges the solver, no answer key is needed (Zhao et al. 2025,
Absolute Zero).
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from isoflop.lab import files
from isoflop.lab.device import pick_precision
from isoflop.lab.gradient import Trial, gather
from isoflop.lab.model import Shape, Weights, rotation
from isoflop.lab.optim import init_state
from isoflop.lab.policy import rollout_flops, update_flops
from isoflop.lab.rewards import Judged, verified
from isoflop.lab.rl import (
    COUNTED,
    Grpo,
    Learned,
    Run,
    first_row,
    from_task,
    learn_from,
    measured_row,
    step_once,
)
from isoflop.lab.sample import Samples, sample
from isoflop.lab.state import State, keep_lines, load_latest, step_of, store
from isoflop.lab.tasks import Problem, Task, in_test
from isoflop.lab.train import claim

ROOT = "\n"  # what a proposer continues
Reader = Callable[[str], Problem | None]


@dataclass(frozen=True, kw_only=True)
class SelfPlay:
    """How proposer and solver learn: `grpo` is the solver's, `proposals` are drawn a step."""

    grpo: Grpo = field(default_factory=Grpo)
    proposals: int = 64
    share: float = 0.5  # of a step's problems that are proposed, at most; the task gives the rest
    proposer_scale: float = 0.3

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.proposals < 2:
            raise ValueError(
                f"share {self.share} must lie in (0, 1], proposals {self.proposals} be 2 or more"
            )


def proposer_examples(known: Sequence[Problem]) -> list[Problem]:
    """What a proposer is fine-tuned on first: to write worked solutions like these."""
    return [replace(p, prompt=ROOT) for p in known]


def edge(right_PN: np.ndarray) -> np.ndarray:
    """4 p (1 - p), unbiased from the rollouts of each problem: the mean over pairs of them."""
    count = right_PN.shape[1]
    p = right_PN.mean(axis=1)
    return 4 * p * (1 - p) * count / (count - 1)


def play(
    solver: Weights,
    proposer: Weights,
    shape: Shape,
    task: Task,
    *,
    read: Reader,
    steps: int,
    folder: Path,
    config: SelfPlay | None = None,
    test: Sequence[Problem],
    seed: int = 0,
) -> Learned:
    """Train copies of both for `steps` steps; killed and called again, it ends in the same bits.

    read: the problem that a written text makes, None where it makes none. The result's rows are
    those of `learn`, with the `valid` and `different` shares of the proposals, and the `success` of
    the solver on them with their mean `edge`.
    """
    config = config or SelfPlay()
    players = {"solver": solver, "proposer": proposer}
    held = {
        name: {k: v.detach().clone() for k, v in weights.items()}
        for name, weights in players.items()
    }
    files.make_folder(folder)
    with files.lock(folder):
        claim(folder, _describe(held, shape, task, config, test=test, seed=seed))
        states = _resume(held, shape, folder, config, at_most=steps)
        log = folder / "metrics.jsonl"
        keep_lines(log, until=states["solver"].step)
        run = Run(
            shape=shape, task=task, config=config.grpo, test=test, seed=seed, reference=None,
            table=rotation(shape, dtype=pick_precision("cpu")), judge=verified(task),
            source=from_task(task, config.grpo.difficulty, seed),
        )  # fmt: skip
        if not files.read_lines(log):
            files.append_line(log, first_row(run, states["solver"].weights))
        total = {name: files.read_lines(log)[-1][name] for name in COUNTED}
        saved = time.perf_counter()
        for step in range(states["solver"].step, steps):
            row = one_round(states, run, config, read, step)
            total = {name: total[name] + row[name] for name in COUNTED}
            row |= {"step": step + 1, **total}
            if (step + 1) % config.grpo.every == 0 or step + 1 == steps:
                row |= measured_row(run, states["solver"].weights)
            files.append_line(log, row)
            states = {name: replace(s, step=step + 1) for name, s in states.items()}
            due = time.perf_counter() - saved > config.grpo.save_seconds
            if due or step + 1 == steps:
                for name, state in states.items():
                    store(folder / name, state)
                saved = time.perf_counter()
        rows = files.read_lines(log)
    return Learned(weights={k: v.detach() for k, v in states["solver"].weights.items()}, rows=rows)


def _describe(
    held: dict[str, Weights],
    shape: Shape,
    task: Task,
    config: SelfPlay,
    *,
    test: Sequence[Problem],
    seed: int,
) -> dict[str, Any]:
    recorded: dict[str, Any] = asdict(config)
    del recorded["grpo"]["save_seconds"]
    return {
        **{name: files.digest_tensors(weights, "") for name, weights in held.items()},
        "shape": asdict(shape), "task": task.name, "seed": seed, "selfplay": recorded,
        "test": files.digest_tensors({}, "\n".join(p.prompt for p in test)),
    }  # fmt: skip


def _resume(
    held: dict[str, Weights], shape: Shape, folder: Path, config: SelfPlay, *, at_most: int
) -> dict[str, State]:
    """Both players at the furthest step that both have saved, or at the start."""
    for name in held:
        files.make_folder(folder / name)
    saved = [{step_of(p) for p in (folder / n).glob("state-*.safetensors")} for n in held]
    common = [k for k in saved[0] & saved[1] if k <= at_most]
    states = {}
    for name, weights in held.items():
        state = None
        if common:
            state = load_latest(folder / name, at_most=max(common), messages=[], device="cpu")
        if state is None:
            moments = init_state(weights, shape=shape, optimizer=config.grpo.optimizer)
            state = State(step=0, weights=weights, moments=moments)
        for weight in state.weights.values():
            weight.requires_grad_()
        states[name] = state
    return states


def one_round(
    states: dict[str, State], run: Run, config: SelfPlay, read: Reader, step: int
) -> dict[str, Any]:
    """One step of both players in place: propose, solve, judge, update. Returns its row."""
    place = int(np.random.SeedSequence([run.seed, step, 3]).generate_state(1)[0])
    written = sample(
        states["proposer"].weights, run.shape, [ROOT], count=config.proposals, temperature=1.0,
        length=min(run.task.length, run.shape.context - 1), seed=place, stop=run.task.stop,
    )  # fmt: skip
    found = _read_all(written, read)
    most = round(config.share * config.grpo.groups)
    different = list({p.prompt: p for p in found if p}.values())[:most]
    own = {p.prompt for p in different}

    def source(step: int, again: int, count: int) -> list[Problem]:
        rest = run.source(step, again, count)
        if again:
            return list(rest)
        return [*different, *(p for p in rest if p.prompt not in own)][:count]

    paid: dict[str, float] = {}
    solved: list[float] = []

    def judge(asked: Sequence[Problem], samples: Samples) -> Judged:
        judged = run.judge(asked, samples)
        for problem, worth, right in zip(
            asked, edge(judged.right_PN), judged.right_PN.mean(axis=1), strict=True
        ):
            if problem.prompt in own and problem.prompt not in paid:
                paid[problem.prompt] = float(worth)
                solved.append(float(right))
        return judged

    row = step_once(states["solver"], replace(run, source=source, judge=judge), step)
    copies = Counter(p.prompt for p in found if p)
    rewards = [paid.get(p.prompt, 0.0) / copies[p.prompt] if p else 0.0 for p in found]
    reward_1M = np.array([rewards])
    root = Problem(prompt=ROOT, solution="", answer="", difficulty=1.0)
    judged = Judged(rewards_PN=reward_1M, right_PN=reward_1M)
    trial = Trial([root], written, judged, np.array([np.ptp(reward_1M) > 0]))
    slow = replace(run, config=replace(config.grpo, scale=config.proposer_scale))
    batch = gather([trial])
    learn_from(batch, states["proposer"], slow, step)
    row["rollout_flops"] += rollout_flops(run.shape, prompts=[1], lengths=written.lengths_PN)
    row["update_flops"] += update_flops(run.shape, lengths=batch.length_B)
    return row | {
        "valid": float(np.mean([p is not None for p in found])),
        "different": len(own) / max(1, sum(copies.values())),
        "success": float(np.mean(solved)) if solved else None,
        "edge": float(np.mean(list(paid.values()))) if paid else None,
    }


def _read_all(written: Samples, read: Reader) -> list[Problem | None]:
    """The problem of each proposal; None for no problem and for one of the test split."""
    found = []
    for text, ended in zip(written.texts[0], written.finished_PN[0], strict=True):
        problem = read(text) if ended else None
        found.append(None if problem is None or in_test(problem.prompt) else problem)
    return found


def read_countdown(text: str, *, numbers: int = 3, largest: int = 20) -> Problem | None:
    """The countdown problem that a chain of true steps such as `17-5=12,7+12=19` solves.

    Its numbers stand in an order that says nothing of the steps.
    """
    held: Counter[int] = Counter()
    given: list[int] = []
    result = 0
    for step in text.split(","):
        form = re.fullmatch(r"(\d{1,3})([-+*])(\d{1,3})=(\d{1,3})", step, re.ASCII)
        if not form:
            return None
        a, b, result = int(form[1]), int(form[3]), int(form[4])
        if {"+": a + b, "-": a - b, "*": a * b}[form[2]] != result:
            return None
        for used in (a, b):
            if held[used]:
                held[used] -= 1
            else:
                given.append(used)
        held[result] += 1
    right = len(given) == numbers and held.total() == 1 and 10 <= result <= 99
    if not right or not all(1 <= x <= largest for x in given):
        return None
    order = np.random.default_rng(list(text.encode())).permutation(numbers)
    prompt = ",".join(f"{given[k]:02d}" for k in order) + f">{result}:"
    return Problem(prompt=prompt, solution=text, answer=text, difficulty=1.0)
