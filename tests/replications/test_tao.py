"""Tao et al. 2024, arXiv:2407.13623: the published vocabulary law on its public points."""

import numpy as np
from evidence import columns

from isoflop.laws import find


def test_published_coefficients_follow_the_public_points():
    """In millions of parameters and billions of characters; widths grow as the cube root of N."""
    table = columns("vocabulary")
    width = 512 * (table["non_vocab_params"] / 33.2e6) ** (1 / 3)
    design = {
        "non_vocab_params": table["non_vocab_params"] / 1e6,
        "vocab_params": table["vocab_size"] * width / 1e6,
        "characters": table["characters"] / 1e9,
    }
    law = find("vocabulary")
    y = table["loss_below_unigram"]
    r = y - law.predict(law.published[0].values, design)
    assert 1 - np.mean(r**2) / np.var(y) > 0.94
    assert np.sqrt(np.mean(r**2)) < 0.2
