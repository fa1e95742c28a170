"""Seconds for the reports of self-knowledge, beside the same resampling with scikit-learn.

python bench/knowing.py
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from isoflop.knowing import decide, majority_at_k, pass_at_k, quadrants, route, spread
from isoflop.tables.items import Items

QUESTIONS, DRAWS = 10_000, 1000


def timed(name: str, work: Callable[[], object], share: float = 1.0) -> float:
    """Print the processor seconds of `work`, which is `share` of the whole job."""
    start = time.process_time()
    work()
    seconds = (time.process_time() - start) / share
    print(f"{name:<58} {seconds:8.3f} s")
    return seconds


def sklearn_draws(q: np.ndarray, y: np.ndarray, draws: int) -> None:
    """AUROC and Brier of resampled questions, one resample a call."""
    from sklearn.metrics import brier_score_loss, roc_auc_score

    rng = np.random.default_rng(0)
    for _ in range(draws):
        rows = rng.integers(len(q), size=len(q))
        roc_auc_score(y[rows], q[rows])
        brier_score_loss(y[rows], q[rows])


def main() -> None:
    rng = np.random.default_rng(0)
    q = rng.random(QUESTIONS)
    y, y_strong = rng.random(QUESTIONS) < q, rng.random(QUESTIONS) < 0.8
    smooth = Items.of({"q": q, "y": y, "y_strong": y_strong})
    tied = Items.of({"q": np.round(q, 2), "y": y, "y_strong": y_strong})
    quadrants(tied, draws=100)  # imports
    sklearn_draws(q, y, 1)
    print(f"{QUESTIONS} questions, {DRAWS} resamples")
    timed("quadrants, every confidence different", lambda: quadrants(smooth, draws=DRAWS))
    timed("quadrants, 101 different confidences", lambda: quadrants(tied, draws=DRAWS))
    timed("scikit-learn, AUROC and Brier only", lambda: sklearn_draws(q, y, 100), 100 / DRAWS)
    timed("route, four routers", lambda: route(smooth, draws=DRAWS))
    timed("decide", lambda: decide(smooth, draws=DRAWS))
    votes = [rng.multinomial(64, rng.dirichlet(np.full(12, 0.4))) for _ in range(100)]
    timed(
        "exact majority of 32 in 64, 100 questions", lambda: [majority_at_k(v, 32) for v in votes]
    )
    n, c = np.full(QUESTIONS, 64), rng.binomial(64, rng.beta(0.3, 2, QUESTIONS))
    timed("pass@k for seven k", lambda: pass_at_k(n, c, [1, 2, 4, 8, 16, 32, 64]))
    timed("spread of 100,000 samples", lambda: spread(Items.of({"n": n, "c": c}), 100_000))


if __name__ == "__main__":
    main()
