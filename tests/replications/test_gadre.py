"""Gadre et al. 2024, arXiv:2403.08540: errors of the predictions for over-trained models."""

import numpy as np
import pytest
from evidence import columns

from isoflop.fit import Objective, solve
from isoflop.laws import find

LSQ = Objective("lsq")


def fitted(corpus):
    """The paper's recipe: loss from five small runs, error from those and the 1.4B at M = 20.

    Tokens are the nominal M N, as upstream.
    """
    table = columns("gadre-tasks")
    runs = {k: v[table["corpus"] == corpus] for k, v in table.items()}
    n, m = runs["params"].astype(float), runs["tokens_per_param"]
    runs["tokens"] = n * m
    small = (n < 1e9) & (m == 20)
    tiny = (n == n.min()) & (m == 320)
    few, more = small | tiny, small | tiny | ((n > 1e9) & (n < 2e9) & (m == 20))
    assert few.sum() == 5
    design = {k: np.asarray(runs[k][few], float) for k in ("params", "tokens")}
    loss = solve(find("tied"), design, runs["loss"][few], objective=LSQ)
    error = solve(
        find("gadre-error"), {"loss": runs["loss"][more]}, runs["error"][more], objective=LSQ
    )
    return runs, loss, error


def errors(runs, loss, error, pick):
    """Relative errors in percent of the loss and of the task error predicted from it."""
    (k,) = np.flatnonzero(pick)
    at = {name: np.array([runs[name][k]], float) for name in ("params", "tokens")}
    predicted = find("tied").predict(loss.coefficients, at)[0]
    tasks = find("gadre-error").predict(error.coefficients, {"loss": predicted})[0]
    return [
        100 * abs(float(predicted[0] / runs["loss"][k]) - 1),
        100 * abs(float(tasks[0] / runs["error"][k]) - 1),
    ]


def test_errors_of_the_two_forecasts_to_every_printed_digit():
    runs, loss, error = fitted("redpajama")
    assert loss.certified[0]
    large, ratio = runs["params"] > 1e9, runs["tokens_per_param"]
    over = errors(runs, loss, error, large & (ratio == 640))
    assert [f"{value:.4f}" for value in over] == ["0.7103", "3.6365"]
    seven = errors(runs, loss, error, runs["params"] > 6e9)
    assert [f"{value:.4f}" for value in seven] == ["0.7320", "0.0464"]


@pytest.mark.parametrize(
    ("corpus", "law", "curve"),
    [
        ("c4", (1.51, 141, 190, 0.121), None),
        ("redpajama", (1.84, 212, 367, 0.136), (0.857, 2.21, 0.715)),
        ("refinedweb", (1.73, 157, 246, 0.127), (0.865, 2.21, 0.707)),
    ],
)
def test_coefficients_to_every_printed_digit(corpus, law, curve):
    _, loss, error = fitted(corpus)
    e, a, b, eta = loss.coefficients[0]
    assert (round(e, 2), round(a), round(b), round(eta, 3)) == law
    if curve:
        eps, k, gamma = error.coefficients[0]
        assert (round(eps, 3), round(k, 2), round(gamma, 3)) == curve
        published = find("gadre-error").coefficients(f"gadre-2024-{corpus}")
        assert tuple(published.values()) == curve
