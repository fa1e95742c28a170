"""Public tables of columns: what is listed, and the counts that are known about each."""

import numpy as np
import pytest

from isoflop.sources import data_sets, datasets, evidence, listing, load_columns

ROWS = {
    "repetition": 182, "experts": 221, "routing": 223, "parallel": 48, "sparsity": 70,
    "learning-rate": 2702, "mixture": 80, "vocabulary": 1200, "curves-25m": 2059,
    "curves-100m": 2103, "gadre-tasks": 104, "olmo-ladder-tasks": 3569, "observational": 109,
}  # fmt: skip


@pytest.mark.parametrize("name", list(ROWS))
def test_counts_and_finite_numbers(name):
    if name in ("repetition", "experts", "parallel", "sparsity", "learning-rate", "mixture",
                "vocabulary"):  # fmt: skip
        pytest.importorskip("pyarrow")
    try:
        columns = load_columns(name)
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    assert {len(column) for column in columns.values()} == {ROWS[name]}
    for header, column in columns.items():
        assert (
            header in evidence_of(name).columns
            or header.split()[0] in ("loss", "accuracy")
            or (header.rstrip("12345") in ("share_", "loss_"))
        )
        if column.dtype.kind in "fi" and not header.startswith(("loss ", "accuracy ")):
            assert np.isfinite(column).all()


def evidence_of(name):
    return next(entry for entry in evidence.EVIDENCE if entry.name == name)


def test_shares_sum_to_one_and_counts_are_counts():
    pytest.importorskip("pyarrow")
    try:
        mixture, sparse = load_columns("mixture"), load_columns("sparsity")
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    total = sum(mixture[f"share_{k}"] for k in range(1, 6))
    np.testing.assert_allclose(total, 1, atol=2e-3)
    assert sparse["params"].min() > 1e9
    assert np.all(sparse["active_params"] < sparse["params"])


def test_everything_public_is_listed_once_with_its_licence():
    rows = listing()
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names) == len(data_sets()) + len(ROWS)
    for row in rows:
        assert all(row[key] for key in ("title", "source", "licence", "columns", "urls"))
        assert row["kind"] in ("runs", "columns")
        assert isinstance(row["cached"], bool)


def test_every_file_of_the_registry_is_used_by_some_table():
    rows = [row for row in listing() for _ in row["urls"]]
    used = {url.removeprefix(f"{datasets.HOST}/") for row in rows for url in row["urls"]}
    groups = {group for entry in data_sets() for group in [entry.files]}
    groups |= {group for entry in evidence.EVIDENCE for group in entry.files}
    assert used == {key for group in groups for key, _ in datasets.files_of(group)}


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="olmo-ladder-tasks"):
        load_columns("nothing")
