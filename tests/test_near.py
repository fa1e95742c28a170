"""Laws under priors, near their targets: exact where a law is linear, enough from few runs."""

import json

import numpy as np
import pytest

from isoflop.fit.posterior import NOISE, WORTH, posterior, prior_of
from isoflop.fit.solver import chart_of
from isoflop.forecast import forecast_near, near
from isoflop.laws import find, laws, laws_for
from isoflop.laws.general import forms
from isoflop.laws.pretrain import CHINCHILLA, TIED
from isoflop.tables import Runs

TRUE = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
SIZES, COUNTS = 5e7 * 2.0 ** np.arange(5), 1e9 * 2.0 ** np.arange(5)
GRID = {"params": np.repeat(SIZES, 5), "tokens": np.tile(COUNTS, 5)}
TARGET = {"params": 3e9, "tokens": 6e10, "flops": 6 * 3e9 * 6e10}


def table(rows, loss):
    columns = {k: v[rows] for k, v in GRID.items()}
    return Runs.of(columns | {"loss": loss[rows]}, params="total", loss="nats/token")


def test_a_product_of_powers_has_the_closed_posterior_of_a_line():
    """ln L is linear in the coordinates, so the ridge solution at the noise found is exact."""
    law = forms(("a", "b"))[2]
    assert law.name == "product (a, b)"
    rng = np.random.default_rng(0)
    columns = {k: 10 ** rng.uniform(0, 2, 9) for k in "ab"}
    y = 2.0 * columns["a"][:6] ** -0.1 * columns["b"][:6] ** -0.2
    y *= np.exp(0.01 * rng.standard_normal(6))
    made = posterior(law, columns, y)
    assert made is not None
    chart = chart_of(law, columns)
    prior, z = prior_of(chart, y, seed=0), chart.atoms[0].design
    precision = prior.root.T @ prior.root
    inner = z[:6].T @ z[:6] / made.noise + precision
    u = np.linalg.solve(inner, z[:6].T @ np.log(y) / made.noise + precision @ prior.mean)
    np.testing.assert_allclose(made.location, z @ u, atol=1e-7)
    np.testing.assert_allclose(
        made.spread.T @ made.spread, z @ np.linalg.inv(inner) @ z.T, rtol=1e-6, atol=1e-12
    )
    squares = np.sum((np.log(y) - made.location[:6]) ** 2)
    assert made.noise == pytest.approx((WORTH * NOISE**2 + squares) / (6 + WORTH))
    np.testing.assert_allclose(
        law.predict(made.coefficients[None], columns)[0], np.exp(made.location), rtol=1e-9
    )


@pytest.mark.parametrize("name", ["chinchilla", "skaling", "farseer", "kaplan", "tied", "power"])
def test_with_many_exact_runs_the_prior_does_not_matter(name):
    """The target's loss is found from 25 runs of the law itself, to 2% where it bends."""
    law = find(name)
    columns = GRID | {"flops": 6 * GRID["params"] * GRID["tokens"]}
    rows = {k: np.append(v, TARGET[k]) for k, v in columns.items()}
    known = {"skaling": TRUE | {"R": 3.0, "k": 0.6}, "power": {"E": 1.7, "a": 95.0, "c": 0.094}}
    values = known.get(name) or law.coefficients(law.published[0].name)
    loss = law.predict(values, rows)
    made = posterior(law, rows, loss[:-1])
    assert made is not None
    assert np.exp(made.location[:-1]) == pytest.approx(loss[:-1], rel=0.01)
    assert np.exp(made.location[-1]) == pytest.approx(loss[-1], rel=0.02)


def test_every_law_of_a_table_has_a_posterior_from_three_runs():
    rng = np.random.default_rng(1)
    columns = {"params": 10 ** rng.uniform(7, 9, 4), "experts": 2.0 ** np.array([0.0, 3, 6, 9])}
    loss = np.array([3.1, 2.9, 2.6])
    for law in laws_for(columns):
        made = posterior(law, columns, loss)
        assert made is not None, law.name
        assert np.abs(made.location[:3] - np.log(loss)).max() < 0.1
        assert 1.0 < np.exp(made.location[3]) < 4.0, law.name


def test_a_handful_of_runs_forecasts_a_target_far_away():
    """Four runs, fewer than the law has coefficients; the 90% interval holds as it should."""
    truth = float(CHINCHILLA.predict(TRUE, {k: np.array([v]) for k, v in TARGET.items()})[0])
    loss = CHINCHILLA.predict(TRUE, GRID)
    errors, held = [], []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        rows = rng.choice(25, 4, replace=False)
        runs = table(rows, loss * np.exp(0.003 * rng.standard_normal(25)))
        made = forecast_near(runs, TARGET, laws=[CHINCHILLA, TIED])
        low, high = made.predict().interval(0.9)
        held.append(low[0] <= truth <= high[0])
        errors.append(np.log(made.predict().median()[0] / truth))
    assert np.sqrt(np.mean(np.square(errors))) < 0.12
    assert np.mean(held) >= 0.8


def test_runs_near_the_target_outvote_many_far_from_it():
    """Where the loss bends away from every law, what the nearest runs say counts."""
    rng = np.random.default_rng(0)
    n = np.concatenate([10 ** rng.uniform(6, 7.5, 60), np.geomspace(1e9, 4e9, 8)])
    slope = np.where(n < 5e7, -0.2, -0.05)
    loss = 3.0 * (n / 5e7) ** slope * np.exp(0.001 * rng.standard_normal(68))
    columns = {"params": n, "streams": np.tile([1.0, 2.0], 34)}
    runs = Runs.of(columns | {"loss": loss}, params="total", loss="nats/token")
    made = forecast_near(runs, {"params": 1e10, "streams": 2.0}, laws=forms(tuple(columns))[2:3])
    assert all(np.isfinite(m.reach) for m in made.members)
    truth = 3.0 * 200**-0.05
    error = abs(made.predict().median()[0] / truth - 1)
    aim = {"params": np.append(n, 1e10), "streams": np.append(columns["streams"], 2.0)}
    one = posterior(made.members[0].law, aim, loss)
    assert one is not None
    assert error < 0.06 < 3 * error < abs(np.exp(one.location[-1]) / truth - 1)


def test_members_weights_and_json():
    loss = CHINCHILLA.predict(TRUE, GRID)
    made = forecast_near(table(np.arange(25), loss), TARGET)
    assert sum(m.weight for m in made.members) == pytest.approx(1)
    assert all(a.weight >= b.weight for a, b in zip(made.members, made.members[1:], strict=False))
    assert json.loads(json.dumps(made.to_json(), allow_nan=False))["n"] == 25
    assert made.members[0].law.name in str(made)
    assert made.predict().median()[0] == pytest.approx(
        CHINCHILLA.predict(TRUE, {k: np.array([v]) for k, v in TARGET.items()})[0], rel=0.005
    )


def test_more_runs_than_can_be_looked_at_are_thinned(monkeypatch):
    monkeypatch.setattr(near, "MOST", 60)
    rng = np.random.default_rng(0)
    columns = {"params": 10 ** rng.uniform(7, 9, 200), "streams": 2.0 ** rng.integers(0, 4, 200)}
    law = forms(tuple(columns))[2]
    loss = 3.0 * columns["params"] ** -0.05 * columns["streams"] ** -0.1
    loss *= np.exp(0.002 * rng.standard_normal(200))
    runs = Runs.of(columns | {"loss": loss}, params="total", loss="nats/token")
    made = forecast_near(runs, {"params": 1e10, "streams": 8.0}, laws=[law])
    assert made.n == 60
    assert made.members[0].noise < 0.004  # .2%, and the prior's 1% worth two runs


def test_what_cannot_be_forecast_is_refused():
    loss = CHINCHILLA.predict(TRUE, GRID)
    with pytest.raises(ValueError, match="has 1 runs; a law needs 2"):
        forecast_near(table(np.arange(1), loss), TARGET)
    with pytest.raises(ValueError, match="no law of loss reads these alone"):
        forecast_near(table(np.arange(5), loss), {"streams": 2.0})
    assert len(laws()) > 20
