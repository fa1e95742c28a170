"""Porian et al. 2024, arXiv:2406.19146: the optimal size, corrected step by step."""

import numpy as np
import pytest
from evidence import tidy

STEPS = {
    "rw|base|long|kaplan|kaplan|train": (0.835, (0.82, 0.85), 3e12),
    "rw|base|long|kaplan|standard|val": (0.706, (0.69, 0.72), 787e9),
    "rw|base|short|kaplan|standard|val": (0.602, (0.59, 0.62), 292e9),
    "rw|base|short|chinchilla|standard|val": (0.571, (0.56, 0.59), 183e9),
    "rw|tuned|short|const|standard|val": (0.497, (0.49, 0.50), 77e9),
}


def frontier(experiment):
    """Exponent of N* and N* at Chinchilla's compute: Akima minimum a budget, then a line.

    Upstream weights budgets by their bootstrap noise; here all weigh the same.
    """
    from scipy.interpolate import Akima1DInterpolator

    table = tidy("porian_refinedweb_isoflop")
    rows = table["experiment"] == experiment
    flops, size, loss = (table[name][rows] for name in ("flops", "n_params", "loss"))
    best = []
    for budget in np.unique(flops):
        at = flops == budget
        order = np.argsort(size[at])
        x = np.log(size[at][order])
        fine = np.linspace(x[0], x[-1], 4001)
        k = int(np.argmin(Akima1DInterpolator(x, loss[at][order])(fine)))
        if 0 < k < 4000:  # bracketed
            best.append((np.log(budget), fine[k]))
    slope, level = np.polyfit(*np.array(best).T, 1)
    return slope, float(np.exp(level + slope * np.log(5.88e23)))


@pytest.mark.parametrize("experiment", list(STEPS))
def test_each_correction_within_its_printed_interval(experiment):
    exponent, (low, high), size = STEPS[experiment]
    found, at_chinchilla = frontier(experiment)
    assert low <= found <= high
    assert found == pytest.approx(exponent, abs=0.007)
    assert at_chinchilla == pytest.approx(size, rel=0.09)
