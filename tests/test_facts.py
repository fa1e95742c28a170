"""The shipped tables: dated, sourced, dense, and read strictly."""

import re

import pytest

from isoflop.cost import accelerator, accelerators, published, published_names, quotes, runs
from isoflop.cost.facts import Accelerator, read_values

DATE = re.compile(r"\d{4}(-\d{2})?(\.\.\d{4}(-\d{2})?)?$")


def test_every_accelerator_has_a_year_a_source_and_plausible_units():
    assert len(accelerators()) >= 36
    for chip in accelerators():
        assert chip.source, chip.name
        assert chip.year is not None
        assert 2015 < chip.year < 2030
        assert chip.checked in ("yes", "part", "no")
        assert chip.bandwidth_tb_s is not None
        assert 0.01 < chip.bandwidth_tb_s < 20
        if chip.bf16_tflops is not None:
            assert 10 < chip.bf16_tflops < 5000, chip.name


def test_peaks_are_dense():
    assert accelerator("H100").peak("bf16") == 989.4e12
    assert accelerator("H800").peak("bf16") == 989e12
    assert accelerator("A100").peak("bf16") == 312e12
    for chip in accelerators():
        if chip.bf16_tflops and chip.fp8_tflops:  # twice, or more with another accumulator
            assert chip.fp8_tflops >= 1.99 * chip.bf16_tflops, chip.name


def test_names_and_aliases_are_unique():
    names = [name.casefold() for chip in accelerators() for name in (chip.name, *chip.aliases)]
    assert len(set(names)) == len(names)


def test_no_cpu_is_looked_up():
    assert all("cpu" not in chip.name.casefold() for chip in accelerators())
    with pytest.raises(ValueError, match=r"A CPU is measured with calibrate\(\)"):
        accelerator("Xeon")


def test_unknown_peaks_are_refused_by_name():
    with pytest.raises(ValueError, match="no dense fp8 peak of A100-80"):
        accelerator("A100-80").peak("fp8")
    with pytest.raises(ValueError, match="precision 'int4'"):
        accelerator("A100-80").peak("int4")


def test_every_price_is_dated_and_of_a_known_accelerator():
    known = {chip.name for chip in accelerators()}
    assert len(quotes()) >= 18
    for quote in quotes():
        assert quote.accelerator in known
        assert DATE.match(quote.date), quote
        assert 0 < quote.low_usd_h <= (quote.median_usd_h or quote.low_usd_h) <= quote.high_usd_h
        assert quote.source


def test_every_run_names_a_source_and_a_known_accelerator():
    for run in runs():
        assert run.source
        if run.accelerator:
            accelerator(run.accelerator)
        for share in (run.mfu, run.hfu):
            assert share is None or 0 < share < 1
    distilled = {run.run for run in runs() if not run.prior}
    assert distilled == {"Llama-3.2-1B", "Llama-3.2-3B"}


def test_every_published_architecture_builds():
    assert len(published_names()) >= 85
    for name in published_names():
        assert published(name).name == name
    assert published("deepseek-v3") is published("deepseek-v3")
    with pytest.raises(
        ValueError, match="no published architecture 'DeepSeek-V9'; near are DeepSeek"
    ):
        published("DeepSeek-V9")


def test_a_broken_row_names_table_row_and_column():
    with pytest.raises(ValueError, match=r"x\.csv, row 'H1', column 'year'"):
        read_values(Accelerator, {"name": "H1", "year": "soon"}, "x.csv")
    with pytest.raises(ValueError, match="a column 'colour' that Accelerator has not"):
        read_values(Accelerator, {"name": "H1", "colour": "red"}, "x.csv")
