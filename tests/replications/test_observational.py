"""Ruan et al. 2024, arXiv:2405.10938: three components hold the benchmarks of base models."""

import numpy as np
from evidence import columns

from isoflop.sources.parsing import BENCHMARKS


def test_shares_of_variance():
    table = columns("observational")
    x = np.stack([table[name] for name in BENCHMARKS], axis=-1)
    assert x.shape == (109, 8)
    share = np.linalg.svd(x - x.mean(axis=0), compute_uv=False) ** 2
    share /= share.sum()
    assert round(100 * share[0], 1) == 81.8  # about 80% in the paper
    assert round(100 * share[:3].sum(), 1) == 96.9  # about 97% in the paper
