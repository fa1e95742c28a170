"""Coordinates in which the laws are nearly linear: log-predictions as links of a few atoms.

A chart gives the solver f = log L as a link of atoms t_a, each atom a function of a few
coordinates u. For sums of powers the atoms are linear in u at centred log columns, f is a
log-sum-exp of them, and every derivative is exact and cheap (GEMMs over all problems at once).

Shapes: P problems, n runs, p coordinates, m coordinates of one atom.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


NEAR_LOG = 1e-12  # |q| below which N^q is a constant plus q ln N to rounding


class Bent(NamedTuple):
    """An atom's value (P, n), gradient (P, n, m) and Hessian {(i, j): (P, n)} for i <= j."""

    value: Array
    gradient: Array
    hessian: dict[tuple[int, int], Array]


class Linked(NamedTuple):
    """A link's value (P, n), gradient g (one (P, n) an atom) and Hessian {(a, b): (P, n)}, a <= b.

    The Hessian is what is listed plus `square` times g g': the logarithm of a sum has square -1.
    """

    value: Array
    gradient: tuple[Array, ...]
    hessian: dict[tuple[int, int], Array]
    square: float = 0.0


class Packed(NamedTuple):
    """The distinct columns of linear atoms, or of products of two atoms, and where they belong.

    designs: one (n, k) an atom, or a pair of atoms a <= b. places: (sum of k, p) or, of pairs,
    (sum of k, p p).
    """

    designs: list[Array]
    places: Array

    def contract(self, weights: Iterable[Array]) -> Array:
        """sum_n weights x columns for weights (P, n) of each atom or pair: (P, p) or (P, p p)."""
        parts = [weight @ design for weight, design in zip(weights, self.designs, strict=True)]
        return np.concatenate(parts, axis=1) @ self.places


@dataclass(frozen=True)
class Linear:
    """The atom design @ u[index]; design has shape (n, m)."""

    design: Array
    index: tuple[int, ...]

    def value(self, u: Array) -> Array:
        return u[:, self.index] @ self.design.T


@dataclass(frozen=True)
class BoxCox:
    """The atom c + s h(x; q), h = (exp(q x) - 1) / q, with u[index] = (c, s, q); x is (n,).

    A nested power s' N^q + c' in coordinates that stay apart when q is near 0.
    """

    x: Array
    index: tuple[int, ...]

    def value(self, u: Array) -> Array:
        c, s, q = (u[:, k, None] for k in self.index)
        return c + s * box_cox(self.x, q)

    def bend(self, u: Array) -> Bent:
        _, s, q = (u[:, k, None] for k in self.index)
        h, h_q, h_qq = box_cox_bend(self.x, q)
        gradient = np.stack([np.ones_like(h), h, s * h_q], axis=-1)
        return Bent(self.value(u), gradient, {(1, 2): h_q, (2, 2): s * h_qq})


def box_cox(x: Array, q: Array) -> Array:
    """h(x; q) = (exp(q x) - 1) / q, with h = x at q = 0."""
    q = np.where(np.abs(q) < NEAR_LOG, NEAR_LOG, q)
    return np.expm1(q * x) / q


def box_cox_bend(x: Array, q: Array) -> tuple[Array, Array, Array]:
    """h and its first two derivatives in q, to 1e-4 of their size through q = 0."""
    q = np.where(np.abs(q) < 1e-4, 1e-4, q)
    e = np.expm1(q * x)
    h = e / q
    h_q = (x * (e + 1) - h) / q
    return h, h_q, (x * x * (e + 1) - 2 * h_q) / q


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A law on given columns, in coordinates u of shape (P, p), predicting f = log output.

    The output is a sum of `terms` of the atoms' values. Where `floor` is set, term 0 is 1 and that
    coordinate its amplitude E; adding ln s to the coordinates `amplitudes[k]` multiplies the k-th
    of the other terms by s. So amplitudes are found by linear least squares (variable projection)
    and `starts(count, seed)` need only spread the other coordinates. Where `power` is not 1 it is
    the output to that power which is the sum.
    """

    atoms: tuple[Linear | BoxCox, ...]
    link: Callable[[list[Array]], Linked]
    link_value: Callable[[list[Array]], Array]
    terms: Callable[[list[Array]], list[Array]]
    floor: int | None
    amplitudes: tuple[tuple[int, ...], ...]
    lower: Array
    upper: Array
    to_params: Callable[[Array], Array]
    from_params: Callable[[Array], Array]
    starts: Callable[[int, int], Array]
    power: float = 1.0

    def value(self, u: Array) -> Array:
        """f of shape (P, n)."""
        return self.link_value([atom.value(u) for atom in self.atoms])

    @cached_property
    def straight(self) -> tuple[Packed, Packed] | None:
        """Where all atoms are linear: their columns for gradients, products for Hessians."""
        linear = [atom for atom in self.atoms if isinstance(atom, Linear)]
        if len(linear) < len(self.atoms):
            return None
        p = len(self.lower)
        rows = np.eye(p)[[k for atom in linear for k in atom.index]]
        pairs, places = [], []
        for a, left in enumerate(linear):
            for b in range(a, len(linear)):
                right, columns = linear[b], []
                for i, r in enumerate(left.index):
                    for j in range(i if a == b else 0, len(right.index)):
                        c, place = right.index[j], np.zeros((p, p))
                        columns.append(left.design[:, i] * right.design[:, j])
                        place[r, c] += 1
                        place[c, r] += (a, i) != (b, j)
                        places.append(place.ravel())
                pairs.append(np.stack(columns, axis=-1))
        singles = [atom.design for atom in linear]
        return Packed(singles, rows), Packed(pairs, np.stack(places))

    def expand(self, u: Array) -> tuple[Array, Expansion]:
        """f and all that `Expansion.contract` needs for gradients and Hessians at u."""
        bent = [
            Bent(atom.value(u), atom.design, {}) if isinstance(atom, Linear) else atom.bend(u)
            for atom in self.atoms
        ]
        linked = self.link([b.value for b in bent])
        return linked.value, Expansion(self, bent, linked)


class Expansion(NamedTuple):
    """First and second derivatives of f at a batch of coordinates."""

    chart: Chart
    bent: list[Bent]
    linked: Linked

    def take(self, rows: NDArray[np.integer]) -> Expansion:
        """The same for some of the problems."""
        f, g, h, square = self.linked
        h = {k: a[rows] for k, a in h.items()}
        linked = Linked(f[rows], tuple(a[rows] for a in g), h, square)
        bent = [
            b if b.gradient.ndim == 2 else Bent(b.value[rows], b.gradient[rows], {})
            for b in self.bent
        ]
        return Expansion(self.chart, bent, linked)

    def jacobian(self) -> Array:
        """df/du of shape (P, n, p)."""
        (problems, n), p = self.linked.value.shape, len(self.chart.lower)
        j = np.zeros((problems, n, p))
        for atom, b, g in zip(self.chart.atoms, self.bent, self.linked.gradient, strict=True):
            j[:, :, atom.index] += g[:, :, None] * b.gradient
        return j

    def gradient(self, s: Array) -> Array:
        """sum_i s_i df_i/du of shape (P, p) for weights s of shape (P, n)."""
        if self.chart.straight is not None:
            return self.chart.straight[0].contract(s * g for g in self.linked.gradient)
        out = np.zeros((len(s), len(self.chart.lower)))
        for atom, b, g in zip(self.chart.atoms, self.bent, self.linked.gradient, strict=True):
            out[:, atom.index] += _weighted(s * g, b.gradient)
        return out

    def quadratic(self, outer: Array, curvature: Array | None = None) -> Array:
        """sum_i outer_i (df_i/du)(df_i/du)' + curvature_i d2f_i/du2, of shape (P, p, p)."""
        if curvature is not None and self.linked.square:
            outer = outer + self.linked.square * curvature
        weights = self._pairs(outer, curvature)
        p = len(self.chart.lower)
        if self.chart.straight is not None:
            return self.chart.straight[1].contract(w for _, w in weights).reshape(-1, p, p)
        out = np.zeros((len(self.linked.value), p, p))
        self._scatter(out, weights)
        if curvature is not None:
            self._add_bends(out, curvature)
        return out

    def _pairs(
        self, outer: Array, curvature: Array | None
    ) -> Iterator[tuple[tuple[int, int], Array]]:
        """Each pair of atoms with the weights (P, n) of their product, one at a time: in cache."""
        g, hessian = self.linked.gradient, self.linked.hessian
        for a in range(len(g)):
            scaled = outer * g[a]
            for b in range(a, len(g)):
                weight = scaled * g[b]
                if curvature is not None and (a, b) in hessian:
                    weight += curvature * hessian[a, b]
                yield (a, b), weight

    def _add_bends(self, out: Array, s: Array) -> None:
        for atom, b, g in zip(self.chart.atoms, self.bent, self.linked.gradient, strict=True):
            for (i, j), h in b.hessian.items():
                total = np.sum(s * g * h, axis=1)
                out[:, atom.index[i], atom.index[j]] += total
                if i != j:
                    out[:, atom.index[j], atom.index[i]] += total

    def _scatter(self, out: Array, weights: Iterator[tuple[tuple[int, int], Array]]) -> None:
        for (a, b), weight in weights:
            block = _block(weight, self.bent[a].gradient, self.bent[b].gradient)
            rows, columns = self.chart.atoms[a].index, self.chart.atoms[b].index
            for i, r in enumerate(rows):
                for j, c in enumerate(columns):
                    out[:, r, c] += block[:, i, j]
                    if a != b:
                        out[:, c, r] += block[:, i, j]


def _weighted(s: Array, design: Array) -> Array:
    """(P, n) weights against an (n, m) or (P, n, m) design: (P, m)."""
    return s @ design if design.ndim == 2 else np.einsum("pn,pnm->pm", s, design)


def _block(s: Array, left: Array, right: Array) -> Array:
    """sum_n s left_i right_j of shape (P, m_left, m_right)."""
    if left.ndim == 2 and right.ndim == 2:
        products = (left[:, :, None] * right[:, None, :]).reshape(len(left), -1)
        return (s @ products).reshape(len(s), left.shape[1], right.shape[1])
    left, right = (d[None] if d.ndim == 2 else d for d in (left, right))
    return (s[:, :, None] * left).transpose(0, 2, 1) @ right
