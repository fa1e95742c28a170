"""Luo et al. 2025, arXiv:2503.12811: curves of unseen schedules from two seen."""

import numpy as np
import pytest
from evidence import columns

from isoflop.fit import Objective, solve
from isoflop.laws import find

LSQLOG = Objective("lsqlog")


def curves(size, *schedules):
    table = columns(f"curves-{size}")
    kept = np.isin(table["schedule"], schedules)
    return {k: table[k][kept] for k in ("curve", "step", "learning_rate")}, table["loss"][kept]


@pytest.mark.parametrize("size", ["25m", "100m"])
@pytest.mark.parametrize("law", ["multi-power", "annealing"])
def test_final_loss_of_an_unseen_schedule(size, law):
    law = find(law)
    found = solve(law, *curves(size, "cosine_24000", "constant_24000"), objective=LSQLOG)
    for schedule in ("wsd_20000_24000", "wsdld_20000_24000"):
        x, y = curves(size, schedule)
        predicted = law.predict(found.coefficients, x)[0]
        final = abs(predicted[-1] / y[-1] - 1)
        assert final < (0.005 if law.name == "multi-power" else 0.007)
        assert np.mean(np.abs(predicted / y - 1)) < 0.001


@pytest.mark.parametrize(("size", "offset"), [("25m", -0.033), ("100m", -0.044)])
def test_published_coefficients_have_the_shape_but_lie_below_the_public_curves(size, offset):
    law = find("multi-power")
    x, y = curves(size, "cosine_24000", "constant_24000", "wsd_20000_24000")
    r = np.log(law.predict(law.coefficients(f"luo-2025-{size}"), x) / y)
    assert np.mean(r) == pytest.approx(offset, abs=0.003)
    assert np.std(r) < 0.0035
