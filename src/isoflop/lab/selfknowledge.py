"""Question a model and write down how sure it is of each answer, in every way it can be asked.

Shapes: P problems, N samples of each, D model width, B rows, U text positions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from isoflop.knowing import singleton_bound, singleton_rate
from isoflop.knowing.abstention import clopper_pearson
from isoflop.lab.device import pick_precision
from isoflop.lab.model import Shape, Weights, forward, rotation
from isoflop.lab.rewards import split_confidence
from isoflop.lab.sample import Samples, sample
from isoflop.lab.tasks import Problem, Task
from isoflop.tables.items import Items

Array = NDArray[np.float64]

ROWS = 128
NEWTON_STEPS = 25
ALL = "all"  # questions, however often their facts were told
MEANINGS = {
    "likelihood": "the probability of the whole answer",
    "vote": "the share of further samples that end in the same answer",
    "probe": "a linear probe of the state in which the answer ends",
    "said": "the confidence that the model states itself",
}


@dataclass(frozen=True, kw_only=True)
class Interview:
    """One answer a problem, the verdict, and confidences by their name (see MEANINGS)."""

    name: str
    prompts: tuple[str, ...]
    y: Array
    confidences: Mapping[str, Array]
    n: Array
    c: Array
    tokens: Array
    dimension: str

    def items(self, by: str = "likelihood") -> Items:
        """The answered questions with one kind of confidence as `q`."""
        if by not in self.confidences:
            raise ValueError(f"no confidence {by!r}; there are {', '.join(self.confidences)}")
        table = {
            "id": list(self.prompts), "q": np.clip(self.confidences[by], 0, 1), "y": self.y,
            "n": self.n, "c": self.c, "tokens": self.tokens,
            "dimension": [self.dimension] * len(self.prompts),
        }  # fmt: skip
        return Items.of(table, name=f"{self.name}, {by}")


@dataclass(frozen=True, kw_only=True)
class Probe:
    """Logistic regression on a model's states, standardised."""

    mean_D: Array
    scale_D: Array
    weight_D: Array
    bias: float

    def __call__(self, states_BD: Array) -> Array:
        return _sigmoid((states_BD - self.mean_D) / self.scale_D @ self.weight_D + self.bias)


def interview(
    weights: Weights,
    shape: Shape,
    task: Task,
    asked: Sequence[Problem],
    *,
    samples: int = 8,
    probe: Probe | None = None,
    temperature: float = 0.0,
    seed: int = 0,
    name: str = "model",
) -> Interview:
    """Ask every problem once at `temperature` (0: greedily) and `samples` times at 1.

    Confidences learnt in RL are about answers at temperature 1; greedy ones are right more often.
    A stated confidence is reported where the task asks for one (see `rewards.confident`), the
    probe's where one is given (see `fit_probe`).
    """
    prompts = [p.prompt for p in asked]
    greedy = _ask(weights, shape, task, prompts, count=1, temperature=temperature, seed=seed + 1)
    drawn = _ask(weights, shape, task, prompts, count=samples, temperature=1.0, seed=seed)
    answers = [texts[0] for texts in greedy.texts]
    y = _verdicts(task, asked, greedy)[:, 0]
    finals = [task.final(answer) for answer in answers]
    votes = [
        np.mean([task.final(text) == final for text in texts])
        for texts, final in zip(drawn.texts, finals, strict=True)
    ]
    said = [split_confidence(answer)[1] for answer in answers]
    stated = [q is not None for q in said]
    confidences = {"likelihood": np.exp(_answer_log_prob(greedy, stated)), "vote": np.array(votes)}
    if any(stated):
        confidences["said"] = np.array([0.0 if q is None else q for q in said])
    if probe is not None:
        ends = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
        confidences["probe"] = probe(states(weights, shape, ends))
    return Interview(
        name=name, prompts=tuple(prompts), y=y, confidences=confidences,
        n=np.full(len(asked), float(samples)), c=_verdicts(task, asked, drawn).sum(axis=1),
        tokens=greedy.lengths_PN[:, 0].astype(float), dimension=task.dimension,
    )  # fmt: skip


def _ask(
    weights: Weights, shape: Shape, task: Task, prompts: Sequence[str], **how: float
) -> Samples:
    longest = max(len(p.encode()) for p in prompts)
    return sample(
        weights, shape, prompts, count=int(how["count"]), temperature=how["temperature"],
        length=min(task.length, shape.context - longest), seed=int(how["seed"]), stop=task.stop,
    )  # fmt: skip


def _verdicts(task: Task, asked: Sequence[Problem], drawn: Samples) -> Array:
    return np.array(
        [
            [task.check(p, text) if ended else 0.0 for text, ended in zip(texts, done, strict=True)]
            for p, texts, done in zip(asked, drawn.texts, drawn.finished_PN, strict=True)
        ]
    )


def _answer_log_prob(greedy: Samples, stated: Sequence[bool]) -> Array:
    """Log-probability of each answer and its stop, without the digit that states a confidence."""
    total = greedy.log_prob_PN[:, 0].copy()
    for p, has in enumerate(stated):
        if has:
            total[p] -= float(greedy.log_probs_PNT[p, 0, greedy.lengths_PN[p, 0] - 2])
    return total


def states(weights: Weights, shape: Shape, texts: Sequence[str]) -> Array:
    """The normalised state at the last character of each text, (B, D)."""
    device = str(next(iter(weights.values())).device)
    # With the identity for a head the logits are the states themselves.
    bare = {k: v.detach() for k, v in weights.items()}
    bare["head_VD"] = torch.eye(shape.width, device=device)
    untied = replace(shape, model=replace(shape.model, tied=False))
    table = rotation(shape, dtype=pick_precision(device), device=device)
    coded = [t.encode() for t in texts]
    order = np.argsort([len(c) for c in coded], kind="stable")
    found = np.empty((len(coded), shape.width))
    with torch.no_grad():
        for start in range(0, len(order), ROWS):
            rows = order[start : start + ROWS]
            sizes = np.array([len(coded[k]) for k in rows])
            text_BU = np.zeros((len(rows), int(sizes.max())), np.int64)
            for at, k in enumerate(rows):
                text_BU[at, : sizes[at]] = np.frombuffer(coded[k], np.uint8)
            text = torch.from_numpy(text_BU).to(device)
            state_BUD = forward(bare, text, shape=untied, table=table)
            ends = torch.from_numpy(sizes - 1).to(device)
            last_BD = state_BUD[torch.arange(len(rows), device=device), ends]
            found[rows] = last_BD.float().cpu().numpy()
    return found


def fit_probe(
    weights: Weights,
    shape: Shape,
    task: Task,
    known: Sequence[Problem],
    *,
    ridge: float = 10.0,
    seed: int = 0,
) -> Probe:
    """Teach a probe which greedy answers are right, on problems of the training split.

    Ridge logistic regression by Newton's method. Raises ValueError where all answers are right or
    all are wrong.
    """
    prompts = [p.prompt for p in known]
    greedy = _ask(weights, shape, task, prompts, count=1, temperature=0.0, seed=seed)
    y = _verdicts(task, known, greedy)[:, 0]
    if y.min() == y.max():
        raise ValueError(
            f"all {len(y)} answers are {'right' if y[0] else 'wrong'}: a probe needs both; ask "
            "harder or easier problems"
        )
    ends = [prompt + texts[0] for prompt, texts in zip(prompts, greedy.texts, strict=True)]
    return fit_logistic(states(weights, shape, ends), y, ridge=ridge)


def fit_logistic(states_BD: Array, y: Array, *, ridge: float) -> Probe:
    """Ridge logistic regression on standardised columns; the bias is not shrunk."""
    mean, scale = states_BD.mean(axis=0), states_BD.std(axis=0) + 1e-6
    x = np.concatenate([(states_BD - mean) / scale, np.ones((len(y), 1))], axis=1)
    penalty = np.diag([ridge] * (x.shape[1] - 1) + [1e-9])
    beta = np.zeros(x.shape[1])
    for _ in range(NEWTON_STEPS):
        p = _sigmoid(x @ beta)
        slope = x.T @ (y - p) - penalty @ beta
        beta += np.linalg.solve((x * (p * (1 - p))[:, None]).T @ x + penalty, slope)
    return Probe(mean_D=mean, scale_D=scale, weight_D=beta[:-1], bias=float(beta[-1]))


def _sigmoid(x: Array) -> Array:
    return 1 / (1 + np.exp(-np.clip(x, -500, 500)))


@dataclass(frozen=True, kw_only=True)
class Hallucination:
    """Wrong answers of a model that always answers, beside the floor that singletons put.

    by_seen: times a fact was told in training -> (questions, share wrong). intervals: 95%, exact
    binomial, of each of them and of the rate of all. miscalibration: how much more often the
    model's own answers are likely (above one in `wrong_answers`) than the true ones. bound:
    theorem 2 of Kalai et al. 2025; at or below 0 it says nothing.
    """

    questions: int
    rate: float
    by_seen: Mapping[str, tuple[int, float]]
    intervals: Mapping[str, tuple[float, float]]
    singletons: float
    miscalibration: float
    bound: float

    def __str__(self) -> str:
        parts = ", ".join(
            f"{k}: {r:.3f} of {n}{self._span(k)}" for k, (n, r) in self.by_seen.items()
        )
        says = "" if self.bound > 0 else " (says nothing: too few examples)"
        return (
            f"{self.rate:.4f} of {self.questions} answers wrong{self._span(ALL)}; floor "
            f"{self.bound:.4f}{says} from {self.singletons:.4f} singletons, miscalibration "
            f"{self.miscalibration:.4f}\n  wrong by times seen: {parts}"
        )

    def _span(self, kind: str) -> str:
        low, high = self.intervals[kind]
        return f" (95%: {low:.3f} to {high:.3f})"


def hallucination(
    weights: Weights,
    shape: Shape,
    task: Task,
    asked: Sequence[Problem],
    *,
    seen: Sequence[int],
    told: Sequence[int],
    wrong_answers: int,
    seed: int = 0,
) -> Hallucination:
    """Question a model on facts drawn as its training drew them.

    seen: for each question, how often training told its fact. told: for each fact of the
    training set, how often it was told.
    """
    prompts = [p.prompt for p in asked]
    drawn = _ask(weights, shape, task, prompts, count=1, temperature=1.0, seed=seed)
    wrong = 1 - _verdicts(task, asked, drawn)[:, 0]
    likely = np.log(1 / wrong_answers)
    true = log_prob(weights, shape, prompts, [p.answer + task.stop for p in asked])
    delta = abs(float((drawn.log_prob_PN[:, 0] > likely).mean() - (true > likely).mean()))
    times = np.asarray(seen)
    kinds = {
        ALL: times >= 0,
        "0": times == 0,
        "1": times == 1,
        "2-3": (times > 1) & (times < 4),
        "4+": times > 3,
    }
    rate = singleton_rate(told)
    among = {k: wrong[rows] for k, rows in kinds.items() if rows.any()}
    return Hallucination(
        questions=len(asked), rate=float(wrong.mean()), singletons=rate, miscalibration=delta,
        by_seen={k: (len(part), float(part.mean())) for k, part in among.items() if k != ALL},
        intervals={k: clopper_pearson(float(part.sum()), len(part)) for k, part in among.items()},
        bound=singleton_bound(
            rate, examples=sum(told), wrong_answers=wrong_answers, miscalibration=delta
        ),
    )  # fmt: skip


def log_prob(
    weights: Weights, shape: Shape, prompts: Sequence[str], completions: Sequence[str]
) -> Array:
    """The log-probability of each completion of its prompt, (B,)."""
    device = str(next(iter(weights.values())).device)
    table = rotation(shape, dtype=pick_precision(device), device=device)
    coded = [(a.encode(), (a + b).encode()) for a, b in zip(prompts, completions, strict=True)]
    found = np.empty(len(coded))
    with torch.no_grad():
        for start in range(0, len(coded), ROWS):
            part = coded[start : start + ROWS]
            text_BU = np.zeros((len(part), max(len(whole) for _, whole in part)), np.int64)
            for k, (_, whole) in enumerate(part):
                text_BU[k, : len(whole)] = np.frombuffer(whole, np.uint8)
            text = torch.from_numpy(text_BU).to(device)
            logits = forward(weights, text[:, :-1], shape=shape, table=table).float()
            each = torch.log_softmax(logits, -1).gather(2, text[:, 1:, None])[..., 0].cpu().numpy()
            for k, (prompt, whole) in enumerate(part):
                found[start + k] = each[k, len(prompt) - 1 : len(whole) - 1].sum(dtype=np.float64)
    return found
