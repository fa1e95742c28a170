"""The quadrant report: what a model knows, and whether it knows that it knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from isoflop.knowing import calibration
from isoflop.knowing.levels import (
    Levels,
    bootstrap,
    check_resampling,
    interval,
    levels_of,
    resampled_means,
)
from isoflop.knowing.votes import vote_counts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from isoflop.tables.items import Items

    Array = NDArray[np.float64]

CELLS = {
    "known_known": "claims and is right",
    "unknown_unknown": "claims and is wrong",
    "known_unknown": "stays silent and would be wrong",
    "unknown_known": "stays silent and would be right",
}
LEAST_IN_CELL = 5
SHARES = np.arange(1, 21) / 20  # answered, at which the risk-coverage curve is reported
LEAST_AT_LEVEL = 10  # answers that share a confidence, on average
ECE_KINDS = ("width", "width_below", "mass")
WHY = {
    "auroc": "needs right and wrong answers, in every resample for an interval",
    "sensitivity": "AUROC is undefined, 0 or 1, here or in a resample",
    "d_prime": f"needs {LEAST_IN_CELL} answers in each quadrant",
    "criterion": f"needs {LEAST_IN_CELL} answers in each quadrant",
    "reliability": f"needs {LEAST_AT_LEVEL} answers a distinct confidence; see miscalibration",
    "resolution": f"needs {LEAST_AT_LEVEL} answers a distinct confidence; see discrimination",
    "skill": "perfect self-knowledge is worth no more than answering all or none",
    "latent": "needs the samples' answers and the right one: columns 'answers' and 'truth'",
}
SHOWN = (
    ("knowledge (accuracy)", "accuracy"), ("sensitivity d_a", "sensitivity"),
    ("boldness (criterion)", "criterion"), ("d' at the threshold", "d_prime"),
    ("overconfidence", "overconfidence"), ("AUROC", "auroc"), ("Brier", "brier"),
    ("  reliability", "reliability"), ("  resolution", "resolution"),
    ("  uncertainty", "uncertainty"), ("  miscalibration, isotonic", "miscalibration"),
    ("  discrimination, isotonic", "discrimination"), ("ECE, 10 equal widths", "ece_width"),
    ("  edges in the bin above", "ece_width_below"),
    ("ECE, 10 equal masses", "ece_mass"), ("AURC", "aurc"), ("AURC above the best", "excess_aurc"),
    ("utility at the threshold", "utility"), ("skill", "skill"),
    ("omniscience index", "omniscience"), ("latent knowledge", "latent"),
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Quadrants:
    """Shares of questions by what was claimed and what was right, and the scores that follow.

    cells: confidence at least `threshold` counts as a claim. soft: the same weighted by
    confidence, without a threshold. scores: None where not identified, with the reason in
    `unidentified`. intervals: name -> (low, high) at `level`, of whole groups resampled; cells
    also have posterior intervals (Dirichlet with 1/2 a cell) that remain honest at zero counts.
    risk_coverage: error among the answered by share answered, the most confident first.
    """

    name: str
    questions: int
    groups: int
    threshold: float
    level: float
    draws: int
    cells: Mapping[str, float]
    soft: Mapping[str, float]
    posterior: Mapping[str, tuple[float, float]]
    scores: Mapping[str, float | None]
    intervals: Mapping[str, tuple[float, float]]
    unidentified: Mapping[str, str]
    risk_coverage: Mapping[str, list[float]]

    def to_json(self) -> dict[str, Any]:
        """Plain values; what is not identified is null, with its reason."""
        return {
            "name": self.name,
            "questions": self.questions,
            "groups": self.groups,
            "threshold": self.threshold,
            "level": self.level,
            "draws": self.draws,
            "cells": dict(self.cells),
            "soft": dict(self.soft),
            "posterior": {k: list(v) for k, v in self.posterior.items()},
            "scores": dict(self.scores),
            "intervals": {k: list(v) for k, v in self.intervals.items()},
            "unidentified": dict(self.unidentified),
            "risk_coverage": dict(self.risk_coverage),
        }

    def __str__(self) -> str:
        lines = [
            f"{self.name}: {self.questions} questions in {self.groups} groups; "
            f"a claim is a confidence of {self.threshold:g} or more"
        ]
        for cell, meaning in CELLS.items():
            rare = self.cells[cell] * self.questions < LEAST_IN_CELL
            low, high = self.posterior[cell] if rare else self._ends(cell)
            lines.append(
                f"  {cell.replace('_', ' '):<16} {self.cells[cell]:7.4f}  "
                f"{100 * self.level:g}%: {low:.4f} to {high:.4f}  {meaning}"
            )
        for title, name in SHOWN:
            value = self.scores[name]
            line = f"  {title:<26}"
            line += " not identified" if value is None else f" {value:8.4f}"
            if name in self.intervals:
                low, high = self.intervals[name]
                line += f"  {100 * self.level:g}%: {low:.4f} to {high:.4f}"
            if name in self.unidentified and (value is None or name not in self.intervals):
                line += f"  ({self.unidentified[name]})"
            lines.append(line)
        return "\n".join(lines)

    def _ends(self, cell: str) -> tuple[float, float]:
        return self.intervals.get(cell, self.posterior[cell])


def quadrants(
    items: Items,
    *,
    threshold: float = 0.5,
    draws: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Quadrants:
    """Report what one model knows and knows that it knows, from its answers and confidences.

    A confidence of `threshold` t or more is a claim; it is the confidence from which answering
    pays where a right answer earns 1, a wrong one costs t / (1 - t) and silence is 0. Questions
    with n samples and c right count as c / n right. draws=0 leaves bootstrap intervals out.
    Raises ValueError for a table without confidences or of several models.
    """
    items.need("q", why="the quadrant report")
    check_resampling(items.clusters, level, draws)
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; it must be at least 0 and below 1")
    right, clusters = items.right, items.clusters
    levels = levels_of(items["q"], right)

    def statistics(counts: Levels) -> dict[str, Array]:
        return {**cells(counts, threshold), **scores_of(counts, threshold),
                "risk": calibration.risk_at(counts, SHARES)}  # fmt: skip

    found = statistics(levels)
    risk = found.pop("risk")
    point = _plain(found) | _single(levels)
    drawn = {}
    if draws:
        drawn = bootstrap(statistics, (items["q"], right, clusters), draws=draws, seed=seed)
    risks = [interval(column, level) for column in drawn.pop("risk", np.empty((0, 0))).T]
    intervals = {name: ends for name, x in drawn.items() if (ends := interval(x, level))}
    gap = latent(items)
    point["latent"] = np.nan if gap is None else gap.mean()
    if gap is not None and draws:
        means = resampled_means((gap,), clusters, draws=draws, seed=seed)[:, 0]
        if ends := interval(means, level):
            intervals["latent"] = ends
    missing = {n for n, x in point.items() if not np.isfinite(x)} | _too_few(levels, point)
    lost = missing | (set(drawn) - set(intervals))
    return Quadrants(
        name=items.name, questions=len(items), groups=int(clusters.max()) + 1,
        threshold=threshold, level=level, draws=draws,
        cells={name: point[name] for name in CELLS}, soft=_plain(soft_cells(levels)),
        posterior={name: _posterior(point[name], len(items), level) for name in CELLS},
        scores={n: None if n in missing else x for n, x in point.items() if n not in CELLS},
        intervals={n: x for n, x in intervals.items() if n not in missing},
        unidentified={n: WHY[n] for n in sorted(lost) if n in WHY},
        risk_coverage={"coverage": SHARES.tolist(), "risk": risk.tolist(),
                       "low": [ends[0] for ends in risks if ends],
                       "high": [ends[1] for ends in risks if ends]},
    )  # fmt: skip


def _single(levels: Levels) -> dict[str, float]:
    """The scores of one table that are not resampled."""
    miscalibration, discrimination = calibration.isotonic_parts(levels)
    errors = {f"ece_{kind}": float(calibration.ece(levels, 10, kind)) for kind in ECE_KINDS}
    return {"miscalibration": miscalibration, "discrimination": discrimination, **errors}


def _too_few(levels: Levels, point: Mapping[str, float]) -> set[str]:
    """Scores that would be finite and yet mostly made up."""
    found = set()
    if any(levels.total * point[cell] < LEAST_IN_CELL for cell in CELLS):
        # A rate of 0 or 1 has no finite normal quantile; adding a half invents a signal instead.
        found |= {"d_prime", "criterion"}
    if levels.total < LEAST_AT_LEVEL * len(levels.q):
        # Each confidence with its own answers is perfectly resolved and as badly calibrated.
        found |= {"reliability", "resolution"}
    return found


def cells(levels: Levels, threshold: float) -> dict[str, Array]:
    """Shares of the four hard quadrants; they add to 1, known + unknown knowns to accuracy."""
    claim, total = levels.q >= threshold, levels.total
    return {
        "known_known": (levels.right * claim).sum(axis=-1) / total,
        "unknown_unknown": (levels.wrong * claim).sum(axis=-1) / total,
        "known_unknown": (levels.wrong * ~claim).sum(axis=-1) / total,
        "unknown_known": (levels.right * ~claim).sum(axis=-1) / total,
    }


def soft_cells(levels: Levels) -> dict[str, Array]:
    """Quadrants weighted by confidence: E[qy], E[q(1-y)], E[(1-q)(1-y)], E[(1-q)y]."""
    q, total = levels.q, levels.total
    return {
        "known_known": (levels.right * q).sum(axis=-1) / total,
        "unknown_unknown": (levels.wrong * q).sum(axis=-1) / total,
        "known_unknown": (levels.wrong * (1 - q)).sum(axis=-1) / total,
        "unknown_known": (levels.right * (1 - q)).sum(axis=-1) / total,
    }


def utility(levels: Levels, threshold: float) -> Array:
    """Mean payoff of claiming from `threshold` t on: 1 if right, -t / (1 - t) if wrong, else 0."""
    found = cells(levels, threshold)
    odds = threshold / (1 - threshold)
    return found["known_known"] - odds * found["unknown_unknown"]


def skill(levels: Levels, threshold: float) -> Array:
    """Utility as a share of what perfect self-knowledge adds to always or never answering.

    1 is perfect, 0 no better than the better of the two, negative harmful; NaN where perfect
    self-knowledge adds nothing. Where always and never answering pay about the same, resampling
    favours the better of the two and the interval is too narrow (90% covered 82% in simulation).
    """
    accuracy = levels.accuracy
    always = accuracy - threshold / (1 - threshold) * (1 - accuracy)
    blind = np.maximum(always, 0.0)
    room = accuracy - blind
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(room > 0, (utility(levels, threshold) - blind) / room, np.nan)


def scores_of(levels: Levels, threshold: float) -> dict[str, Array]:
    """Every score of the report that counts by confidence determine; NaN or infinite if none."""
    from scipy.special import ndtri

    found, half = cells(levels, threshold), cells(levels, 0.5)
    area = calibration.auroc(levels)
    reliability, resolution, uncertainty = calibration.brier_parts(levels)
    accuracy = levels.accuracy
    with np.errstate(invalid="ignore", divide="ignore"):
        hits = ndtri(found["known_known"] / accuracy)
        false_alarms = ndtri(found["unknown_unknown"] / (1 - accuracy))
        # Infinity minus infinity where nothing or everything is claimed: not a number.
        d_prime, criterion = hits - false_alarms, -(hits + false_alarms) / 2
    soft, curve = soft_cells(levels), calibration.aurc(levels)
    return {
        "accuracy": accuracy,
        "auroc": area,
        "sensitivity": np.sqrt(2) * ndtri(area),
        "d_prime": d_prime,
        "criterion": criterion,
        "overconfidence": soft["unknown_unknown"] - soft["unknown_known"],
        "brier": calibration.brier(levels),
        "reliability": reliability,
        "resolution": resolution,
        "uncertainty": uncertainty,
        "aurc": curve,
        "excess_aurc": curve - calibration.best_aurc(levels),
        "utility": utility(levels, threshold),
        "skill": skill(levels, threshold),
        "omniscience": half["known_known"] - half["unknown_unknown"],
    }


def latent(items: Items) -> Array | None:
    """Per question: 1 if any sample is right, less the chance that the samples' vote is right.

    The second kind of unknown known: the model can produce the answer and does not select it.
    None without the samples' answers.
    """
    if "answers" not in items or "truth" not in items:
        return None
    return np.array([float(counts[0] > 0) - _vote(counts) for counts in vote_counts(items)])


def _vote(counts: NDArray[np.int64]) -> float:
    top = counts == counts.max()
    return float(top[0] / top.sum())


def _posterior(share: float, questions: int, level: float) -> tuple[float, float]:
    """The cell's interval under the Dirichlet posterior of all four: a Beta distribution."""
    from scipy.stats import beta

    count, prior = share * questions, 0.5
    ends = beta.ppf(
        [(1 - level) / 2, (1 + level) / 2], count + prior, questions - count + 3 * prior
    )
    return float(ends[0]), float(ends[1])


def _plain(values: Mapping[str, Array]) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}
