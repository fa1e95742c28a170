"""What a fit minimises: a sum over runs, never a mean, of a loss of the residual."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

Kind = Literal["huber", "lad", "lsqlog", "lsq", "asymmetric"]
LAD_DELTA = 1e-7  # a Huber loss this narrow has the least-absolute-deviation minimiser


@dataclass(frozen=True)
class Objective:
    """sum_i w_i rho(r_i) with r = ln(observed/predicted), or observed - predicted for `lsq`.

    huber       rho = r^2/2 inside |r| <= delta, delta (|r| - delta/2) outside
    lad         rho = |r|
    lsqlog      rho = r^2/2 of the log residual
    lsq         rho = r^2/2 of the raw residual
    asymmetric  Huber with predictions above the observation counted `penalty` times: a run that
                was tuned badly can only be too high
    """

    kind: Kind = "huber"
    delta: float = 1e-3
    penalty: float = 10.0

    def __post_init__(self) -> None:
        if self.kind not in ("huber", "lad", "lsqlog", "lsq", "asymmetric"):
            raise ValueError(
                f"no objective {self.kind!r}; choose huber, lad, lsqlog, lsq or asymmetric"
            )
        if not self.delta > 0 or not self.penalty >= 1:
            raise ValueError("an objective needs delta > 0 and penalty >= 1")

    @property
    def raw(self) -> bool:
        """Whether residuals are of the loss itself rather than of its logarithm."""
        return self.kind == "lsq"

    @property
    def width(self) -> float:
        """Half-width of the quadratic region."""
        if self.kind in ("lsq", "lsqlog"):
            return np.inf
        return LAD_DELTA if self.kind == "lad" else self.delta

    def sides(self, r: Array) -> Array | float:
        """Weight of each residual by its sign."""
        return np.where(r < 0, self.penalty, 1.0) if self.kind == "asymmetric" else 1.0

    def rho(self, r: Array, width: float) -> Array:
        """Loss of residuals at a given half-width (the solver narrows it step by step)."""
        if not np.isfinite(width):
            return 0.5 * self.sides(r) * r * r
        size = np.abs(r)
        inside = np.minimum(size, width)
        return self.sides(r) * inside * (size - 0.5 * inside)

    def value(self, r: Array, weights: Array) -> Array:
        """The objective as reported: sum |r| for lad, the sum of rho otherwise."""
        if self.kind == "lad":
            return np.sum(weights * np.abs(r), axis=-1)
        return np.sum(weights * self.rho(r, self.width), axis=-1)
