"""check_law passes laws that conform and names what is wrong with those that do not."""

from dataclasses import replace

import numpy as np
import pytest

from isoflop.check import check_law
from isoflop.law import Param
from isoflop.laws import find, pretrain
from law_designs import TRUE, grid


@pytest.mark.parametrize("law", pretrain.ALL, ids=lambda law: law.name)
def test_pretraining_laws_conform(law):
    found = check_law(law, columns=grid(), values=TRUE[law.name])
    assert found.passed, str(found)
    if law.name in ("power", "kaplan", "chinchilla", "tied"):
        assert all(found.identified.values()), str(found)


def test_what_the_runs_do_not_hold_is_said():
    nested = check_law(pretrain.FARSEER, columns=grid(), values=TRUE["farseer"])
    assert [name for name, known in nested.identified.items() if not known] == ["Q", "B", "E", "A"]
    diagonal = {"params": np.geomspace(1e8, 1e10, 12), "tokens": 20 * np.geomspace(1e8, 1e10, 12)}
    found = check_law(pretrain.CHINCHILLA, columns=diagonal, values=TRUE["chinchilla"])
    assert not found.identified["A"]
    assert not found.identified["alpha"]
    assert "alpha: true 0.348" in str(found)
    assert "not identified" in str(found)


def test_standard_errors_agree_with_the_spread_of_refits():
    from isoflop.check.law import standard_errors
    from isoflop.fit import Objective, solve

    law, columns = pretrain.CHINCHILLA, grid()
    y = law.predict(TRUE["chinchilla"], columns)
    rng = np.random.default_rng(0)
    tables = y * np.exp(0.003 * rng.standard_normal((400, len(y))))
    theta = solve(
        law, columns, tables, objective=Objective("lsqlog"),
        warm=np.array([list(TRUE["chinchilla"].values())]),
    ).coefficients  # fmt: skip
    spread = np.std(np.where([p.log for p in law.params], np.log(theta), theta), axis=0)
    said = list(standard_errors(law, columns, TRUE["chinchilla"], noise=0.003).values())
    np.testing.assert_allclose(spread, said, rtol=0.15)


def spoilt(**change):
    return replace(pretrain.CHINCHILLA, **change)


@pytest.mark.parametrize(
    ("law", "fault"),
    [
        (spoilt(citation="a friend"), "names no year"),
        (spoilt(title=""), "title is empty"),
        (
            spoilt(formula=lambda p, x: p["E"] + np.log(p["A"] - 2) + p["alpha"] + x["params"] * 0),
            "not finite",
        ),
        (
            spoilt(formula=lambda p, x: p["E"] - p["A"] * x["params"] ** -p["alpha"] - p["B"]),
            "not positive",
        ),
        (
            spoilt(
                formula=lambda p, x: p["E"] + p["A"] * x["params"] ** -p["beta"] + p["B"] / 1e3
                + p["alpha"]
            ),
            "the search misses the minimum",
        ),  # its coordinates are those of another formula
        (
            spoilt(params=(*pretrain.CHINCHILLA.params[:-1],
                           Param(name="beta", low=0, high=3, start=(0, 1), unit=""))),
            "beta has no unit",
        ),
        (
            spoilt(params=(*pretrain.CHINCHILLA.params[:-1],
                           Param(name="beta", low=0.5, high=3, start=(0.6, 1)))),
            "beta is outside its box",
        ),
    ],
)  # fmt: skip
def test_a_law_that_does_not_conform_is_told_why(law, fault):
    found = check_law(law, columns=grid(), values=TRUE["chinchilla"])
    assert not found.passed
    assert fault in str(found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"columns": {"flops": np.geomspace(1e18, 1e21, 9)}}, "pass values"),
        ({"columns": {"params": np.ones(9)}, "values": TRUE["power"]}, "columns lack flops"),
        ({"columns": {"flops": np.ones(3)}, "values": TRUE["power"]}, "one length above 3"),
        ({"columns": {"flops": np.ones(9)}, "values": {"E": 1.0}}, "values lack a, c"),
    ],
)
def test_what_a_check_needs_is_asked_for(arguments, message):
    with pytest.raises(ValueError, match=message):
        check_law(find("power"), **arguments)
