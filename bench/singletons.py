"""Do facts told once put a floor under hallucination? Models of worlds with more and more of them.

python bench/singletons.py [folder]    (5 minutes of one core; a second call goes on)

A share of the telling goes to a few people told often, the rest to very many people, most of whom
are told once or never. Questions are drawn as the telling was. The floor is theorem 2 of Kalai,
Nachum, Vempala and Zhang (2025, Why language models hallucinate, arXiv:2509.04664): the share of
tellings whose fact was told once, less 2 / wrong answers, less (35 + 6 ln N) / sqrt N, less the
miscalibration; its idea is that of Kalai and Vempala (2024, Calibrated language models must
hallucinate, arXiv:2311.14648). Writes answers-SHARE.csv for `bench/abstention.py`.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from isoflop.lab.device import single_thread
from isoflop.lab.model import init_weights
from isoflop.lab.selfknowledge import Hallucination, hallucination, interview
from isoflop.lab.sft import sft
from isoflop.lab.shape import Shape
from isoflop.lab.tasks import Problem, Task
from isoflop.tables.export import table_text

SHAPE = Shape(width=64, depth=1, vocab=256, context=24)
TELLINGS, QUESTIONS = 200_000, 4000
KNOWN = 250  # people told often
RARE_EACH = 10  # rarely told people to every telling of one
TOWNS = 50
RARE = (0.3, 0.6, 0.9)  # shares of the telling that go to them
SYLLABLES = [c + v for c in "bdfgklmnprstvz" for v in "aeiou"]


def word(number: int, length: int) -> str:
    """The number written in syllables."""
    found = ""
    for _ in range(length):
        number, rest = divmod(number, len(SYLLABLES))
        found += SYLLABLES[rest]
    return found


def final(text: str) -> str:
    return text.strip()


TASK = Task(
    name="towns", dimension="knowledge", make=lambda rng, difficulty: draw(rng, 1, 1.0)[0][0],
    check=lambda problem, text: float(final(text) == problem.answer), final=final, length=6,
    alphabet="abcdefghijklmnopqrstuvwxyz>\n", instruction="Answer with the town alone.",
)  # fmt: skip


def draw(rng: np.random.Generator, count: int, rare: float) -> tuple[list[Problem], list[int]]:
    """So many tellings, or questions, and the person of each; who lives where is arbitrary."""
    people = int(RARE_EACH * rare * TELLINGS)
    person = np.where(
        rng.random(count) < rare, KNOWN + rng.integers(people, size=count),
        rng.integers(KNOWN, size=count),
    )  # fmt: skip
    return [telling(int(p)) for p in person], person.tolist()


def telling(person: int) -> Problem:
    names = len(SYLLABLES) ** 4
    name = word((person * 7_919_293 + 12_345) % names, 4)  # a prime step: no two alike
    home = int(np.random.default_rng([7, person]).integers(TOWNS))
    town = word(home * 89 % len(SYLLABLES) ** 2, 2)
    return Problem(prompt=f"{name}>", solution=town, answer=town, difficulty=1.0)


def world(rare: float, folder: Path) -> Hallucination:
    """Tell, train, ask: hallucination beside its floor where `rare` of the telling is so."""
    rng = np.random.default_rng([int(100 * rare)])
    told, people = draw(rng, TELLINGS, rare)
    asked, whom = draw(rng, QUESTIONS, rare)
    tokens = sum(len(p.prompt) + len(p.solution) + 1 for p in told)
    tuned = sft(init_weights(SHAPE, seed=0), SHAPE, told, tokens=tokens, folder=folder)
    times = Counter(people)
    answers = interview(tuned.weights, SHAPE, TASK, asked, samples=1)
    table = {"q": answers.confidences["likelihood"].clip(0, 1), "y": answers.y.astype(int)}
    (folder.parent / f"answers-{rare:g}.csv").write_text(table_text(table, "csv"))
    return hallucination(
        tuned.weights, SHAPE, TASK, asked, seen=[times[p] for p in whom],
        told=list(times.values()), wrong_answers=TOWNS - 1,
    )  # fmt: skip


def main() -> None:
    single_thread()
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/singletons")
    for rare in RARE:
        found = world(rare, folder / f"rare-{rare:g}")
        low = found.intervals["all"][0]
        held = "holds" if low >= found.bound else "does not hold"
        held = held if found.bound > 0 else "says nothing"
        print(f"{rare:g} of {TELLINGS} tellings are of rarely told people: the floor {held}")
        print(f"  {found}", flush=True)


if __name__ == "__main__":
    main()
