"""Lint finds every planted error, of its kind and in its row, and nothing in a good table."""

from pathlib import Path

import pytest

from isoflop.cost import lint, published, read_table
from isoflop.cost.counts import count
from isoflop.cost.facts import read_rows
from isoflop.cost.findings import KINDS

FACTS = Path(__file__).parents[1].parent / "shared" / "facts" / "training_runs.csv"


@pytest.fixture(scope="module")
def good():
    if not FACTS.exists():
        pytest.skip("the folder ../shared/facts is absent")
    return read_table(FACTS)


def broken(table, run, **cells):
    """A copy with cells of one run changed."""
    row = table["run"].index(run)
    return row, {
        name: [str(cells[name]) if name in cells and i == row else cell
               for i, cell in enumerate(column)]
        for name, column in table.items()
    }  # fmt: skip


def test_the_good_tables_are_clean(good):
    assert str(lint(good)) == "nothing found in 43 runs"
    shipped = read_rows("runs.csv")
    assert lint({name: [row[name] for row in shipped] for name in shipped[0]}).ok


PLANTED = [
    # 6ND needs more than the chips have, or nearly nothing of them
    ("Llama-2-70B", {"chip_hours": 172032}, "implied_mfu"),
    ("Pythia-6.9B", {"chip_hours": 3350}, "implied_mfu"),
    ("MPT-7B", {"tokens": "1e13"}, "implied_mfu"),
    ("LLaMA-1 13B", {"hardware": "T4"}, "implied_mfu"),
    ("BLOOM-176B", {"chip_hours": 1082990000}, "implied_mfu"),
    # recomputation counted and called MFU
    ("BLOOM-176B", {"utilisation_kind": "MFU"}, "hfu_as_mfu"),
    ("BLOOM-176B", {"utilisation_kind": "MFU = 150/312"}, "hfu_as_mfu"),
    ("OPT-175B", {"utilisation_kind": "MFU"}, "hfu_as_mfu"),
    ("MT-NLG-530B 280 nodes", {"utilisation_kind": "MFU"}, "hfu_as_mfu"),
    ("GLM-130B (GBS 6144, old kernels)", {"utilisation_kind": "MFU"}, "hfu_as_mfu"),
    ("PaLM-540B", {"reported_utilisation": 0.578, "utilisation_kind": "MFU"}, "hfu_as_mfu"),
    ("Gopher-280B", {"reported_utilisation": 0.433}, "hfu_as_mfu"),
    # twice the dense peak
    ("OPT-175B", {"reported_utilisation": 0.235}, "sparsity_peak"),
    ("BLOOM-176B", {"reported_utilisation": 0.24, "utilisation_kind": "HFU = 150/624"},
     "sparsity_peak"),
    ("Gopher-280B", {"reported_utilisation": 0.1625}, "sparsity_peak"),
    ("PaLM-540B", {"reported_utilisation": "0.231"}, "sparsity_peak"),
    ("Llama-3.1-8B", {"our_6ND_over_chip_hours_peak": 0.0695}, "sparsity_peak"),
    # hours per trillion tokens
    ("DeepSeek-V2", {"chip_hours": 172800}, "hours_per_trillion"),
    ("DeepSeek-V3 total", {"chip_hours": 180000}, "hours_per_trillion"),
    ("DeepSeek-67B", {"chip_hours": 300600}, "hours_per_trillion"),
    ("Llama-2-7B", {"chip_hours": 92160}, "hours_per_trillion"),
    ("Llama-3-70B (3.0)", {"chip_hours": 426667}, "hours_per_trillion"),
    ("SmolLM3-3B", {"chip_hours": 19749}, "hours_per_trillion"),
    # another count of parameters than the column holds
    ("Pythia-70M", {"n_total": 18915328}, "params_convention"),
    ("Llama-2-70B", {"n_total": 68452360192}, "params_convention"),
    ("Llama-3.1-8B", {"n_active": 6979588096}, "params_convention"),
    ("DeepSeek-V3 total", {"n_total": 37552282624}, "params_convention"),
    ("DeepSeek-V2", {"n_active": 20851512320}, "params_convention"),
    ("GLM-4.5", {"n_active": 32080359424}, "params_convention"),
    ("MiniMax-M1 RL", {"n_active": 460e9}, "params_convention"),
    ("Llama-4-Scout", {"n_total": 17000000000}, "params_convention"),
    # billions beside counts
    ("Llama-2-7B", {"tokens": 2000}, "tokens_unit"),
    ("GPT-3 175B", {"tokens": 300}, "tokens_unit"),
    ("DeepSeek-V3 total", {"tokens": 14.8}, "tokens_unit"),
    ("TinyLlama-1.1B", {"tokens": "3000"}, "tokens_unit"),
    ("Pythia-160M", {"tokens": 299.893}, "tokens_unit"),
    ("Llama-2-13B", {"n_total": 13.0, "n_active": 13.0}, "params_unit"),
    # the rest of what a table gets wrong
    ("TinyLlama-1.1B", {"reported_utilisation": 56}, "utilisation_percent"),
    ("PaLM-540B", {"reported_utilisation": 46.2}, "utilisation_percent"),
    ("MPT-7B", {"n_chips": 44}, "hours_mismatch"),
    ("GPT-3 175B", {"reported_train_flops": "4.3e23"}, "train_flops"),
    ("MPT-7B", {"usd": 200}, "usd_rate"),
    ("StarCoderBase-15.5B", {"chip_hours": -320256}, "not_positive"),
]  # fmt: skip


@pytest.mark.parametrize(("run", "cells", "kind"), PLANTED)
def test_a_planted_error_is_found_in_its_row_and_nowhere_else(good, run, cells, kind):
    row, table = broken(good, run, **cells)
    result = lint(table)
    assert {finding.row for finding in result.findings} == {row}
    assert kind in {finding.kind for finding in result.findings}
    assert run in str(result)


def test_every_kind_is_planted_and_the_six_main_ones_at_several_rows():
    kinds = [kind for _, _, kind in PLANTED]
    assert set(kinds) == set(KINDS)
    for kind in ("implied_mfu", "hfu_as_mfu", "sparsity_peak", "hours_per_trillion",
                 "params_convention", "tokens_unit"):  # fmt: skip
        assert kinds.count(kind) >= 5


def test_all_planted_errors_of_different_rows_are_found_at_once(good):
    table, wanted = good, set()
    for run, cells, kind in PLANTED:
        row = table["run"].index(run)
        if row not in {place for place, _ in wanted}:
            _, table = broken(table, run, **cells)
            wanted.add((row, kind))
    found = {(finding.row, finding.kind) for finding in lint(table).findings}
    assert wanted <= found
    assert {row for row, _ in found} == {row for row, _ in wanted}
    assert len(wanted) > 20


def test_a_plain_table_of_numbers_is_enough():
    table = {"params": [7e9, 7e9], "tokens": [1e12, 1e12], "gpu_hours": [90e3, 9e3],
             "gpu": ["A100", "A100"], "mfu": [0.45, None]}  # fmt: skip
    (finding,) = lint(table).findings
    assert (finding.row, finding.column, finding.kind) == (1, "gpu_hours", "implied_mfu")
    assert "is a utilisation of 4.15" in finding.message


def test_true_rows_that_look_suspicious_pass():
    rows = [
        # hardware TFLOP/s beside an MFU; hours with a goodput of .77
        {
            "run": "GLM-130B",
            "n_total": 128697794560,
            "tokens": 4e11,
            "hardware": "A100-40",
            "n_chips": 768,
            "wall_days": 60,
            "chip_hours": 1105920,
            "reported_utilisation": 0.325,
            "utilisation_kind": "MFU",
            "reported_tflops_per_chip": 134,
            "step_seconds": 88.5,
            "batch_tokens": 8650752,
        },
        # a range, and long contexts
        {
            "run": "Llama-3.1-405B",
            "n_total": 405853388800,
            "tokens": 15.6e12,
            "hardware": "H100-80",
            "chip_hours": 30.84e6,
            "reported_utilisation": "0.38-0.43",
            "utilisation_kind": "MFU",
            "reported_train_flops": 3.8e25,
            "flops_convention": "6ND",
        },
        # two MFUs in one cell, not a quotient of a peak
        {
            "run": "DeepSeek-V3",
            "n_total": 671026404352,
            "n_active": 37552282624,
            "tokens": 14.8e12,
            "hardware": "H800-80",
            "chip_hours": 2788000,
            "reported_utilisation": 0.4373,
            "utilisation_kind": "MFU 0.3894/0.4373 causal / not",
        },
        # an MFU beside hardware FLOPs of the same run
        {
            "run": "OPT-175B",
            "n_total": 174604468224,
            "tokens": 3e11,
            "hardware": "A100-80",
            "n_chips": 1024,
            "wall_days": 33,
            "reported_train_flops": 4.3e23,
            "flops_convention": "with recompute",
            "reported_utilisation": 0.345,
            "utilisation_kind": "MFU",
        },
        {
            "run": "Falcon-180B",
            "n_total": 180e9,
            "tokens": 3.5e12,
            "hardware": "A100-40",
            "chip_hours": 7.0e6,
        },
        {
            "run": "LLaMA-1 65B",
            "n_total": 65285660672,
            "tokens": 1.4e12,
            "hardware": "A100-80",
            "chip_hours": 1022362,
        },
        {
            "run": "Llama-4-Maverick",
            "n_total": 400e9,
            "n_active": 17e9,
            "tokens": 22e12,
            "hardware": "H100-80",
            "chip_hours": 2.38e6,
        },
        {
            "run": "Pythia-12B",
            "n_total": 11846072320,
            "tokens": 299892736000,
            "hardware": "A100-40",
            "chip_hours": 72300,
        },
        {
            "run": "MT-NLG-530B 420 nodes",
            "n_total": 529600819200,
            "hardware": "A100-80",
            "n_chips": 3360,
            "reported_tflops_per_chip": 113,
            "utilisation_kind": "HFU",
            "step_seconds": 44.4,
            "batch_tokens": 3932160,
        },
    ]
    assert str(lint(rows)) == "nothing found in 9 runs"


def test_errors_of_a_public_database_are_found():
    rows = [
        {"run": "FlashAttention-2", "mfu": 72.0, "hardware": "A100-80"},
        {
            "run": "DeepSeek-V2",
            "n_total": 235741434880,
            "n_active": 21375800320,
            "tokens": 8.1e12,
            "hardware": "H800-80",
            "chip_hours": 172800,
        },
        {
            "run": "BLOOM-176B",
            "n_total": 176247271424,
            "tokens": 3.66e11,
            "hardware": "A100-80",
            "chip_hours": 1082990,
            "mfu": 0.50,
        },
        {
            "run": "OPT-175B",
            "n_total": 174604468224,
            "tokens": 3e11,
            "hardware": "A100-80",
            "n_chips": 1024,
            "wall_days": 33,
            "mfu": 0.47,
        },
    ]
    found = [(finding.run, finding.kind) for finding in lint(rows).findings]
    assert found == [
        ("FlashAttention-2", "utilisation_percent"),
        ("DeepSeek-V2", "hours_per_trillion"),
        ("BLOOM-176B", "hfu_as_mfu"),
        ("OPT-175B", "hfu_as_mfu"),
    ]


def test_two_named_conventions_are_named():
    table = {"params": [1e8, 2e8, 3e8], "params_convention": ["total", "total", "non_embedding"]}
    (finding,) = lint(table).findings
    assert (finding.row, finding.kind) == (2, "params_convention")


def test_non_embedding_throughout_is_no_mixture():
    names = ["Pythia-70M", "Pythia-160M", "Pythia-410M"]
    table = {"model": names, "params": [count(published(n)).non_embedding for n in names]}
    assert lint(table).ok
    table["params"][1] = count(published("Pythia-160M")).total
    (finding,) = lint(table).findings
    assert "is the total count of Pythia-160M, the column holds non_embedding" in finding.message


def test_unreadable_tables_are_refused(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("run,tokens\nx,1,2\n")
    with pytest.raises(ValueError, match="line 2: 2 columns are in the header"):
        read_table(path)
    path.write_text("run,tokens\n")
    with pytest.raises(ValueError, match="holds no rows"):
        read_table(path)
    with pytest.raises(ValueError, match="no column of the table is known"):
        lint({"colour": ["red"]})
    with pytest.raises(ValueError, match="differ in length"):
        lint({"params": [1e9], "tokens": [1e9, 2e9]})
