"""Schaeffer et al. 2025, arXiv:2502.17578: pass@10,000 of Pythia on MATH from 100 samples."""

import numpy as np
import pytest
from evidence import tidy

from isoflop.knowing import pass_at_k
from isoflop.laws.sampling import coverage, fit_beta, forecast_pass_at_k


@pytest.fixture(scope="module")
def cells():
    """(n, c) of each task and model with 10,000 samples of 30 questions or more."""
    table = tidy("pythia_pass_at_k_items")
    out = {}
    for task, model in sorted(set(zip(table["task"], table["model"], strict=True))):
        kept = (table["task"] == task) & (table["model"] == model) & (table["n"] >= 10_000)
        if kept.sum() >= 30 and table["c"][kept].any():
            out[task, model] = (table["n"][kept], table["c"][kept])
    return out


def test_a_beta_on_all_samples_follows_the_measured_coverage(cells):
    n, c = cells["math", "Pythia_2.8B_300B"]
    fit = fit_beta(n, c)
    assert fit.identified
    assert fit.a == pytest.approx(0.393, abs=0.005)
    for k in (1, 100, 10_000):
        assert coverage(fit, k)[0] == pytest.approx(np.mean(pass_at_k(n, c, k)), abs=0.03)


def test_pass_at_10000_from_100_samples_lies_in_its_interval(cells):
    rng = np.random.default_rng(0)
    inside, refused = [], []
    for n, c in cells.values():
        few = rng.hypergeometric(c.astype(int), (n - c).astype(int), 100)
        try:
            found = forecast_pass_at_k(np.full(len(few), 100), few, 1e4, draws=100)
        except ValueError:
            refused.append(np.sum(few > 1))
            continue
        inside.append(found.low <= np.mean(pass_at_k(n, c, 1e4)) <= found.high)
    assert len(inside) >= 20
    assert np.mean(inside) >= 0.9
    assert np.sum(np.array(refused) > 0) <= 3  # the others had no question solved twice
