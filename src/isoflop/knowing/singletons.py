"""The floor that facts seen once put under hallucination."""

from __future__ import annotations

from collections.abc import Sequence
from math import log, sqrt


def singleton_rate(times_seen: Sequence[int]) -> float:
    """Facts seen exactly once as a share of all training examples of facts.

    times_seen: for each fact, how often it was in the training set.
    """
    examples = sum(times_seen)
    if not examples or any(times < 0 for times in times_seen):
        raise ValueError("times_seen must be counts of which one at least is positive")
    return sum(times == 1 for times in times_seen) / examples


def singleton_bound(
    rate: float, *, examples: int, wrong_answers: int, miscalibration: float = 0.0
) -> float:
    """The least hallucination rate of a model that answers; at or below 0 it says nothing.

    rate: share of training examples whose fact was seen once. examples: N of them.
    wrong_answers: plausible wrong answers to the question that has fewest. miscalibration: |delta|
    of the model. Holds with probability 0.99 where every fact is arbitrary (Kalai et al. 2025,
    theorem 2): rate - 2 / wrong_answers - (35 + 6 ln N) / sqrt(N) - miscalibration.
    """
    if not 0 <= rate <= 1:
        raise ValueError(f"rate is {rate}; it is a share of the examples, between 0 and 1")
    if examples < 1 or wrong_answers < 1:
        raise ValueError("examples and wrong_answers must be 1 or more")
    if miscalibration < 0:
        raise ValueError(f"miscalibration is {miscalibration}; it cannot be negative")
    luck = (35 + 6 * log(examples)) / sqrt(examples)
    return rate - 2 / wrong_answers - luck - miscalibration
