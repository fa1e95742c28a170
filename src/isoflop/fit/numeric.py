"""Coordinates for a law that brings none: its own parameters, derivatives by differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from isoflop.law import Law

    Array = NDArray[np.float64]

STEP = 1e-5  # of a coordinate, whose start box has width of order one


@dataclass(frozen=True)
class NumericChart:
    """ln of log-scaled parameters, others in units of their start box; f is the log-prediction."""

    law: Law
    columns: Mapping[str, Array]
    lower: Array
    upper: Array
    floor: None = None
    straight: None = None
    amplitudes: tuple[tuple[int, ...], ...] = ()

    def to_params(self, u: Array) -> Array:
        return np.stack(
            [
                np.exp(u[:, k]) if p.log else u[:, k] * _width(p)
                for k, p in enumerate(self.law.params)
            ],
            axis=-1,
        )

    def from_params(self, v: Array) -> Array:
        return np.stack(
            [
                np.log(v[:, k]) if p.log else v[:, k] / _width(p)
                for k, p in enumerate(self.law.params)
            ],
            axis=-1,
        )

    def starts(self, count: int, seed: int) -> Array:
        """Uniform in the start box."""
        low, high = (
            self.from_params(np.array([[p.start[k] for p in self.law.params]])) for k in (0, 1)
        )
        return low + (high - low) * np.random.default_rng(seed).random((count, len(self.lower)))

    def value(self, u: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.log(self.law.predict(self.to_params(u), self.columns))

    def expand(self, u: Array) -> tuple[Array, NumericExpansion]:
        return self.value(u), NumericExpansion(self, u, self._jacobian(u))

    def _jacobian(self, u: Array) -> Array:
        """Central differences, one-sided at the box: (P, n, p)."""
        out = []
        for k in range(u.shape[1]):
            up, down = u.copy(), u.copy()
            up[:, k] = np.minimum(up[:, k] + STEP, self.upper[k])
            down[:, k] = np.maximum(down[:, k] - STEP, self.lower[k])
            out.append((self.value(up) - self.value(down)) / (up - down)[:, k, None])
        return np.stack(out, axis=-1)


class NumericExpansion(NamedTuple):
    """The contractions of the solver from a Jacobian by differences."""

    chart: NumericChart
    u: Array
    j: Array

    def take(self, rows: NDArray[np.integer]) -> NumericExpansion:
        return NumericExpansion(self.chart, self.u[rows], self.j[rows])

    def jacobian(self) -> Array:
        return self.j

    def gradient(self, s: Array) -> Array:
        return np.einsum("pn,pni->pi", s, self.j)

    def quadratic(self, outer: Array, curvature: Array | None = None) -> Array:
        """The second derivative by differences of the contracted gradient, made symmetric."""
        out = (outer[:, :, None] * self.j).transpose(0, 2, 1) @ self.j
        if curvature is None:
            return out
        bend = np.empty_like(out)
        for k in range(self.u.shape[1]):
            up = self.u.copy()
            up[:, k] += 20 * STEP
            j = self.chart._jacobian(up)
            bend[:, k] = np.einsum("pn,pni->pi", curvature, j - self.j) / (20 * STEP)
        return out + 0.5 * (bend + bend.transpose(0, 2, 1))


def _width(p) -> float:
    return max(p.start[1] - p.start[0], 1e-12)


def numeric_chart(law: Law, columns: Mapping[str, Array]) -> NumericChart:
    """The law in its own parameters, scaled by their start boxes."""
    box = NumericChart(law, columns, np.zeros(0), np.zeros(0))
    with np.errstate(divide="ignore"):
        lower = box.from_params(np.array([[p.low for p in law.params]]))[0]
        upper = box.from_params(np.array([[p.high for p in law.params]]))[0]
    return NumericChart(law, columns, lower, upper)
