"""What a model knows, whether it knows that it knows, and what to do with a question."""

from isoflop.knowing.abstention import Abstention, certified_threshold, conformal_threshold
from isoflop.knowing.decision import Decision, SecondsWorth, decide, worth_of_a_second
from isoflop.knowing.density import Densities, densities
from isoflop.knowing.dimensions import Dimensions, dimensions
from isoflop.knowing.loss_density import LossDensities, loss_densities
from isoflop.knowing.quadrants import Quadrants, quadrants
from isoflop.knowing.report import Knowledge, know
from isoflop.knowing.routing import Routing, apgr_from_auroc, route
from isoflop.knowing.samples import SampleCurve, best_of_k, pass_at_k, sample_curve
from isoflop.knowing.singletons import singleton_bound, singleton_rate
from isoflop.knowing.spread import Spread, spread
from isoflop.knowing.trends import Trends, row_of, trends
from isoflop.knowing.votes import majority_at_k, weighted_at_k

__all__ = [
    "Abstention", "Decision", "Densities", "Dimensions", "Knowledge", "LossDensities", "Quadrants",
    "Routing", "SampleCurve", "SecondsWorth", "Spread", "Trends", "apgr_from_auroc", "best_of_k",
    "certified_threshold", "conformal_threshold", "decide", "densities", "dimensions", "know",
    "loss_densities", "majority_at_k", "pass_at_k", "quadrants", "route", "row_of", "sample_curve",
    "singleton_bound", "singleton_rate", "spread", "trends", "weighted_at_k", "worth_of_a_second",
]  # fmt: skip
