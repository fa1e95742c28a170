"""Refits that say how far the coefficients could have come out otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Method = Literal["wild", "pairs", "cluster"]
MOST_LEVERAGE = 0.95  # a run that fixes its own prediction has no residual to inflate


def leverage(jacobian: Array, weights: Array) -> Array:
    """Diagonal of the hat matrix of the linearised log-residual problem: (n,) in [0, 1].

    jacobian: (n, p) of the log-prediction, columns of coordinates at a bound left out.
    """
    if jacobian.shape[1] == 0:
        return np.zeros(len(weights))
    root = np.sqrt(weights)[:, None]
    q, r = np.linalg.qr(jacobian * root)
    sound = np.abs(np.diag(r)) > 1e-12 * np.abs(np.diag(r)).max()
    return np.sum(q[:, sound] ** 2, axis=1)


def wild(
    predicted: Array, residuals: Array, hat: Array, *, draws: int, rng: np.random.Generator
) -> Array:
    """Outputs (draws, n) with signs of HC3-scaled log residuals flipped at random.

    Keeps the design, so a grid of sizes and token counts stays a grid. Wu 1986; MacKinnon 2012.
    """
    scaled = residuals / (1 - np.minimum(hat, MOST_LEVERAGE))
    signs = rng.integers(0, 2, (draws, len(residuals))) * 2 - 1
    return predicted * np.exp(signs * scaled)


def pairs(n: int, *, draws: int, rng: np.random.Generator) -> Array:
    """Counts (draws, n) of runs drawn with replacement."""
    picked = rng.integers(0, n, (draws, n)) + n * np.arange(draws)[:, None]
    return np.bincount(picked.ravel(), minlength=n * draws).reshape(draws, n).astype(float)


def cluster(groups: NDArray, *, draws: int, rng: np.random.Generator) -> Array:
    """Counts (draws, n): whole groups drawn with replacement, then runs within each group.

    For checkpoints of one run or seeds of one cell, which are not independent (Ivgi et al. 2022).
    """
    labels, index = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(index == g) for g in range(len(labels))]
    out = np.zeros((draws, len(index)))
    for row in out:
        for g in rng.integers(0, len(labels), len(labels)):
            np.add.at(row, rng.choice(members[g], len(members[g])), 1.0)
    return out
