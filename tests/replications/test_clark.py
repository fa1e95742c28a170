"""Clark et al. 2022, arXiv:2202.01169: the table of coefficients for three routers."""

import numpy as np
import pytest
from evidence import columns

from isoflop.fit import Objective, solve
from isoflop.laws import find

# Routed runs, rms of ln loss about the printed law, and E_max of a refit.
ROUTERS = {
    "S-Base": ("sbase", 53, 0.0088, 255),
    "RL-R": ("rlr", 54, 0.0186, 562),
    "Hash": ("hash", 51, 0.0126, 458),
}


def runs(router):
    """Last steps of one router's runs with one expert a token in every other layer, no dense."""
    table = columns("routing")
    plain = (table["active_experts"] == 1) & (table["frequency"] == 0.5)
    kept = (table["router"] == router) & plain
    return {k: table[k][kept] for k in ("params", "experts")}, table["loss"][kept]


@pytest.mark.parametrize("router", list(ROUTERS))
def test_a_refit_comes_back_to_the_table(router):
    name, count, _, most = ROUTERS[router]
    law = find("clark")
    x, y = runs(router)
    assert len(y) == count
    found = solve(law, x, y, objective=Objective("lsqlog"))
    assert found.certified[0]
    got = dict(zip(law.names, found.coefficients[0], strict=True))
    printed = law.coefficients(f"clark-2022-{name}")
    for letter, near in (("a", 0.0016), ("b", 0.012), ("c", 0.0013), ("d", 0.013)):
        assert got[letter] == pytest.approx(printed[letter], abs=near)
    assert got["E_start"] == pytest.approx(printed["E_start"], rel=0.3)
    assert got["E_max"] == pytest.approx(most, rel=0.01)  # the runs hold it to a third or so


@pytest.mark.parametrize("router", list(ROUTERS))
def test_printed_coefficients_predict_the_runs(router):
    name, _, rms, _ = ROUTERS[router]
    law = find("clark")
    x, y = runs(router)
    r = np.log(y / law.predict(law.coefficients(f"clark-2022-{name}"), x))
    assert np.sqrt(np.mean(r**2)) == pytest.approx(rms, abs=2e-4)


def test_dense_runs_do_not_lie_on_the_routed_law_at_one_expert():
    """With the 13 dense runs as E = 1 the coefficients leave the table."""
    table = columns("routing")
    x, y = runs("S-Base")
    dense = table["router"] == "Dense"
    both = {k: np.concatenate([x[k], table[k][dense]]) for k in x}
    found = solve(
        find("clark"), both, np.concatenate([y, table["loss"][dense]]),
        objective=Objective("lsqlog"),
    )  # fmt: skip
    assert found.coefficients[0, 1] == pytest.approx(-0.158, abs=0.002)
