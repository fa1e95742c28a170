"""The best split of a budget equals the closed form; dollars and hours buy the FLOPs they cost."""

import numpy as np
import pytest

from isoflop.cost import training_time
from isoflop.forecast import pool
from isoflop.laws.pretrain import CHINCHILLA
from isoflop.plan import allocate, plan
from isoflop.plan.budget import flops_of
from test_fit import TRUE, simulated


@pytest.fixture(scope="module")
def made():
    return pool(simulated("chinchilla", 0.002), [CHINCHILLA], windows=(None,))


def optimum(flops):
    """Hoffmann et al. 2022, appendix: N* = G (C/6)^(beta / (alpha + beta))."""
    _, a, b, alpha, beta = TRUE["chinchilla"]
    g = (alpha * a / (beta * b)) ** (1 / (alpha + beta))
    return g * (flops / 6) ** (beta / (alpha + beta))


def test_the_split_is_the_closed_form_of_the_law(made):
    for flops in (1e19, 1e21):
        found = allocate(made, flops)
        assert found.low <= optimum(flops) <= found.high
        assert found.params == pytest.approx(optimum(flops), rel=0.15)
        assert 6 * found.params * found.tokens == pytest.approx(flops)
        assert found.flat_low < found.params < found.flat_high
        assert not found.at_edge


def test_dollars_and_hours_are_the_flops_they_pay_for(made):
    for budget, machine in (("$2M", "H100-SXM"), ("90000 h", "A100-80")):
        said = plan(made, budget, machine=machine)
        assert said.time is not None
        assert said.money is not None
        paid = said.money.usd if budget.startswith("$") else said.time.chip_hours
        assert float(paid) == pytest.approx(2e6 if budget.startswith("$") else 9e4, rel=1e-6)
        assert said.money.low < said.money.usd < said.money.high
        assert said.money.price.date
    again = training_time(flops_of("$2M", machine="H100-SXM"), machine="H100-SXM")
    assert np.isfinite(float(again.chip_hours))


@pytest.mark.parametrize(
    ("budget", "message"), [("$2M", "needs a machine"), ("3 GB", "give FLOPs"), ("much", "cannot")]
)
def test_a_budget_that_cannot_be_read_is_refused(made, budget, message):
    with pytest.raises(ValueError, match=message):
        plan(made, budget)


def test_one_ratio_cannot_be_split():
    columns = {"params": np.geomspace(1e7, 1e9, 9)}
    columns["tokens"] = 20 * columns["params"]
    loss = 1.8 + 480 * columns["params"] ** -0.3
    from isoflop.laws.pretrain import POWER
    from isoflop.tables import Runs

    runs = Runs.of(columns | {"loss": loss}, params="total", loss="nats/token")
    with pytest.raises(ValueError, match="one ratio"):
        allocate(pool(runs, [POWER]), 1e21)
