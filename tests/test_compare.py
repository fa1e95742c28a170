"""Two arms with a known speed-up: intervals hold, trends are told, refusals say what to run."""

import json

import numpy as np
import pytest

from isoflop.forecast import compare
from isoflop.laws.pretrain import CHINCHILLA, POWER
from isoflop.tables import Runs

TRUE = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
MIDDLE = 18.3  # log10 of the compute at which the simulated speed-up is exp(lead)
NOISE = 0.003


def grid(sizes=4, counts=4, *, smallest=4e7, fewest=8e8):
    n, d = smallest * 2.0 ** np.arange(sizes), fewest * 2.0 ** np.arange(counts)
    return np.repeat(n, counts), np.tile(d, sizes)


def truth(flops, lead, growth):
    return np.exp(lead + growth * (np.log10(flops) - MIDDLE))


def arm(cells, noise, *, lead=0.0, growth=0.0, name="arm", more=None):
    """Runs of a recipe that makes compute worth `truth` times as much."""
    n, d = cells
    scale = np.sqrt(truth(6 * n * d, lead, growth))
    loss = CHINCHILLA.predict(TRUE, {"params": n * scale, "tokens": d * scale})
    table = {"params": n, "tokens": d, "loss": loss * np.exp(noise)} | (more or {})
    return Runs.of(table, params="total", loss="nats/token", name=name)


def pair(seed, *, lead, growth, shared=True):
    """Two arms on one grid with half of their noise in common, or on two grids without."""
    rng = np.random.default_rng(seed)
    cells = grid()
    common = NOISE * rng.standard_normal(16)
    a = arm(cells, common + 0.5 * NOISE * rng.standard_normal(16), name="a")
    if shared:
        noise = common + 0.5 * NOISE * rng.standard_normal(16)
    else:
        cells = grid(4, 3, smallest=5.5e7, fewest=1e9)
        noise = NOISE * rng.standard_normal(12)
    return a, arm(cells, noise, lead=lead, growth=growth, name="b")


def test_arms_of_other_parameters_are_paired_by_their_cells():
    """A router's .5% of parameters apart, two arms of one noise: known better than unpaired."""
    rng = np.random.default_rng(0)
    (n, d), noise = grid(), NOISE * rng.standard_normal(16)
    named = {"cell": [f"size {k}" for k in range(16)]}
    widths = {}
    for more in ({}, named):
        a = arm((n, d), noise, more=more)
        b = arm((1.005 * n, d), noise, lead=0.2, name="b", more=more)
        found = compare(a, b, draws=80)
        low, *_, high = found.at
        widths[found.paired] = high.high - high.low
        assert low.low <= np.exp(0.2) <= low.high
    assert set(widths) == {0, 16}
    assert widths[16] < 0.5 * widths[0]


KINDS = {"none": (0.0, 0.0), "constant": (0.2, 0.0), "growing": (0.2, 0.15)}


def test_intervals_hold_the_known_speed_up_of_120_tables():
    """90% intervals at both ends and of the slope; no trend is claimed where there is none.

    Two tables in three are ladders on one path, the others grids, shared and not.
    """
    held, claimed, grew, wrong = [], 0, 0, 0
    for seed in range(120):
        lead, growth = KINDS[list(KINDS)[seed % 3]]
        if seed % 9 < 6:
            a, b = ladder(seed, lead=lead, growth=growth)
        else:
            a, b = pair(seed, lead=lead, growth=growth, shared=seed % 2 == 0)
        found = compare(a, b, draws=80)
        low, *_, high = found.at
        held.append(
            [s.low <= truth(s.flops, lead, growth) <= s.high for s in (low, high)]
            + [found.slope_low <= np.exp(growth) <= found.slope_high]
        )
        claimed += not growth and found.trend != "cannot tell"
        grew += bool(growth) and (found.trend, found.decision) == ("grows", "promote")
        # Where nothing is gained, to promote is wrong and so, by symmetry, is to be sure not to.
        wrong += not lead and found.decision != "undecided"
    shares = np.mean(held, axis=0)
    assert np.all((shares >= 0.83) & (shares <= 0.97)), shares
    assert claimed <= 16  # of 80, at 90%
    assert grew >= 36  # of 40
    assert wrong <= 13  # of 2 x 40, at a risk of .1: two standard errors above 8


@pytest.mark.slow
def test_promotion_is_wrong_no_more_often_than_its_risk():
    """200 pairs whose true speed-up at the last compute is exactly what would pay for a change."""
    wrong = {0.05: 0, 0.1: 0, 0.2: 0}
    for seed in range(200):
        lead, growth = ((0.0, 0.0), (0.2, 0.0), (0.1, 0.1), (0.3, -0.1))[seed % 4]
        if seed % 3:
            a, b = ladder(seed, lead=lead, growth=growth)
        else:
            a, b = pair(seed, lead=lead, growth=growth, shared=seed % 2 == 0)
        last = min(a["flops"].max(), b["flops"].max())
        found = compare(a, b, draws=100, worth=float(truth(last, lead, growth)))
        for risk in wrong:
            wrong[risk] += found.probability >= 1 - risk
            wrong[risk] += found.probability <= risk
    for risk, count in wrong.items():
        spread = np.sqrt(400 * risk * (1 - risk))
        assert count <= 400 * risk + 2 * spread, (risk, count / 400)
        assert count >= 400 * risk / 3, (risk, count / 400)  # nor is every pair left undecided


def test_noise_in_common_cancels_where_the_grids_match():
    widths = []
    for shared in (True, False):
        a, b = pair(1, lead=0.2, growth=0.0, shared=shared)
        found = compare(a, b, laws=[CHINCHILLA])
        assert found.paired == (16 if shared else 0)
        widths.append(found.speed_up.high / found.speed_up.low - 1)
    assert widths[0] < 0.6 * widths[1]


def ladder(seed, **worth):
    """Two arms on one path at 20 tokens a parameter, as a depth-only ladder is run."""
    rng = np.random.default_rng(seed)
    n = 3e7 * 1.6 ** np.arange(9)
    noise = 0.002 * rng.standard_normal((2, 9))
    return arm((n, 20 * n), noise[0], name="a"), arm((n, 20 * n), noise[1], name="b", **worth)


def test_on_one_path_the_power_law_is_read_and_the_floor_can_be_own_or_pinned():
    a, b = ladder(3, lead=0.2, growth=0.05)
    shared, own = compare(a, b), compare(a, b, floor="own")
    pinned = compare(a, b, pinned={"E": 1.8})
    assert [law.law for law in shared.laws if law.weight] == ["power"]
    assert any("lockstep" in law.note for law in shared.laws)
    for found in (shared, own, pinned):
        last = found.speed_up
        assert last.low <= truth(last.flops, 0.2, 0.05) <= last.high
    assert own.speed_up.high / own.speed_up.low > shared.speed_up.high / shared.speed_up.low
    assert "E = 1.8 held" in pinned.floor


def test_the_marin_formula_is_what_a_pinned_power_law_gives():
    """s = ((L0 - E)/(L1 - E))^(1/gamma) on exact losses of equal exponent and floor."""
    c = np.geomspace(1e18, 1e20, 6)
    floor, exponent, amplitude = 1.6, 0.0941, 95.18
    tables = [
        Runs.of({"flops": c, "loss": floor + a * c**-exponent}, loss="nats/token", flops="exact")
        for a in (amplitude, amplitude * 0.97)
    ]
    found = compare(*tables, laws=[POWER], pinned={"E": floor})
    assert found.speed_up.factor == pytest.approx(0.97 ** (-1 / exponent), rel=1e-6)
    assert found.slope == pytest.approx(1.0, abs=1e-6)


def test_the_decision_is_made_at_a_stated_risk_and_worth():
    a, b = pair(7, lead=0.2, growth=0.0)
    assert compare(a, b).decision == "promote"
    assert compare(a, b, worth=1.5).decision == "keep"
    assert compare(b, a).decision == "keep"
    a, b = pair(4, lead=0.0, growth=0.0)
    undecided = compare(a, b, risk=0.01)
    assert undecided.decision == "undecided"
    assert "more runs" in str(undecided)


def test_flops_beyond_6nd_count_against_an_arm():
    """An arm whose every token costs 10% more saves 10% less."""
    (n, d), noise = grid(), np.zeros(16)
    a, b = (
        Runs.of(
            {**dict(arm((n, d), noise, lead=lead).data), "flops": 6 * n * d * factor},
            params="total", flops="exact", loss="nats/token",
        )
        for lead, factor in ((0.0, 1.0), (0.2, 1.1))
    )  # fmt: skip
    found = compare(a, b, laws=[CHINCHILLA])
    assert found.speed_up.factor == pytest.approx(np.exp(0.2) / 1.1, rel=1e-3)


def test_countings_of_params_stand_side_by_side():
    n, d = grid()
    more = {"params_matmul": n * 0.8 - 1e7}
    rng = np.random.default_rng(0)
    a, b = (
        arm((n, d), 0.001 * rng.standard_normal(16), lead=lead, name=name, more=more)
        for lead, name in ((0.0, "a"), (0.2, "b"))
    )
    found = compare(a, b)
    assert list(found.conventions) == ["params_matmul"]
    other = found.conventions["params_matmul"].speed_up
    assert other.flops < found.speed_up.flops
    assert other.factor == pytest.approx(found.speed_up.factor, rel=0.1)
    assert "counted by params_matmul" in str(found)
    assert json.loads(json.dumps(found.to_json(), allow_nan=False))["conventions"]


def test_beyond_the_runs_it_warns_and_far_beyond_it_refuses():
    a, b = pair(2, lead=0.2, growth=0.0)
    top = a["flops"].max()
    near = compare(a, b, at=5 * top)
    assert "decades beyond" in near.speed_up.warning
    assert "WARNING" in str(near)
    with pytest.raises(ValueError, match="run both arms at"):
        compare(a, b, at=1e4 * top)


def test_arms_that_cannot_be_compared_are_refused_with_the_cure():
    a, b = pair(2, lead=0.2, growth=0.0)
    far = arm(grid(smallest=4e9, fewest=8e10), np.zeros(16), name="far")
    other = Runs.of({c: a[c] for c in a.columns}, params="active", loss="nats/token", name="c")
    few = b.where(np.arange(len(b)) < 2)
    for one, two, message in (
        (a, far, "share no range of compute"),
        (a, other, "convert one of them"),
        (a, few, "3 runs on two computes"),
        (a, a, "no second arm"),
    ):
        with pytest.raises(ValueError, match=message):
            compare(one, two)
    with pytest.raises(ValueError, match="risk"):
        compare(a, b, risk=0.7)
    with pytest.raises(ValueError, match="runs of both arms"):
        compare(a.where(np.arange(16) % 5 == 0), few_of(b), laws=[CHINCHILLA])


def few_of(runs):
    return runs.where(np.arange(len(runs)) % 6 == 0)
