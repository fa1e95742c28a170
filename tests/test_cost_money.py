"""Dollars: every one with rate, date and source; training, RL, serving, owning, breaking even."""

import numpy as np
import pytest

from isoflop.cost import (
    energy_kwh,
    implied_rate,
    lifetime_flops,
    owned,
    price,
    published,
    reinforcement,
    rent,
    runs,
    serving,
)
from isoflop.cost.facts import Quote
from isoflop.cost.money import quoted

RATE = price("H800", 2.0, date="2024-12", source="DeepSeek-V3 report")


def test_published_dollars():
    v3 = rent(2664e3 + 119e3 + 5e3, RATE)
    assert v3.usd == 5.576e6
    assert rent(512 * 198 + 512 * 80 + 5000, RATE).usd == 294672
    assert rent(226.75 * 8 * 24, RATE).usd == 87072
    assert str(v3) == ("$5.576e+06 = 2.788e+06 chip-hours x $2 per H800-hour, 2024-12, "
                       "DeepSeek-V3 report")  # fmt: skip


def test_what_four_million_rmb_of_compute_means():
    rate = implied_rate(4e6, 768 * 60 * 24)
    assert rate == pytest.approx(3.6, abs=0.02)  # RMB, about $0.5 an A100-hour
    assert rate / 7.2 < price("A100-40").usd_per_hour / 2


def test_a_price_needs_its_date_and_is_a_distribution_by_default():
    with pytest.raises(ValueError, match="needs the date and the source"):
        price("H100", 2.0)
    default = price("H100")
    assert default.usd_per_hour == 2.95
    assert default.date == "2025-03..2026-05"
    assert default.log_sd == pytest.approx(np.log(12.29 / 1.99) / (2 * 1.645), rel=1e-3)
    with pytest.raises(ValueError, match="no dated price of Apple M1 Max"):
        price("Apple M1 Max")
    with pytest.raises(ValueError, match="must be positive"):
        price("H100", -1.0, date="2025")


def test_a_range_of_quotes_holds_ninety_per_cent():
    quote = Quote(accelerator="x", low_usd_h=1.0, high_usd_h=4.0, date="2025", terms="", source="s")
    made = quoted(quote)
    drawn = made.usd_per_hour * np.exp(
        made.log_sd * np.random.default_rng(0).standard_normal(20000)
    )
    assert np.mean((drawn > 1) & (drawn < 4)) == pytest.approx(0.9, abs=0.01)


def test_intervals_of_hours_and_rate_add_in_logs():
    cost = rent(1000.0, price("H100"), low_hours=800.0, high_hours=1500.0)
    alone = rent(1000.0, price("H100"))
    assert cost.low < alone.low < alone.usd == cost.usd < alone.high < cost.high
    assert rent(1000.0, RATE).low == rent(1000.0, RATE).high == 2000


def test_owned_hardware_amortises_and_pays_its_energy():
    rate = owned("H100", 30000, date="2025-06")
    hours = 4 * 365.25 * 24 * 0.9
    assert rate.usd_per_hour == pytest.approx(30000 * 1.64 * 1.19 / hours + 0.7 * 1.2 * 0.08)
    assert rate.date == "2025-06"
    assert rate.log_sd > 0.4  # the chip's price alone is known to a factor 2
    with pytest.raises(ValueError, match="no power of Apple M3 Max"):
        owned("Apple M3 Max", 3000, date="2025")


def test_energy_is_hours_times_power_times_pue():
    llama = next(run for run in runs() if run.run == "LLaMA-1 7B")
    # LLaMA: 82,432 h x 400 W x 1.1 = 36 MWh, as printed
    assert round(energy_kwh(llama.chip_hours, "A100", pue=1.1) / 1000) == 36


def test_a_lifetime_splits_into_training_rl_and_serving():
    parts = lifetime_flops(1e9, 1e12, served=3e12, rl_tokens=1e10)
    assert parts["pretraining"] == parts["serving"] == 6e21
    assert parts["rollout"] + parts["update"] == 12e19
    assert parts["total"] == sum(value for name, value in parts.items() if name != "total")


def test_rl_keeps_flops_and_seconds_of_rollout_and_update_apart():
    model = published("Qwen3-8B")
    rl = reinforcement(model, 1e9, machine="H100", rate=price("H100"), batch=16)
    assert rl.update_flops == pytest.approx(5 * rl.rollout_flops)
    lean = reinforcement(model, 1e9, machine="H100", rate=price("H100"), batch=16, reference=False)
    assert lean.update_flops == pytest.approx(4 * rl.rollout_flops)
    least = reinforcement(
        model, 1e9, machine="H100", rate=price("H100"), reference=False, old_policy=False
    )
    assert least.rollout_flops + least.update_flops == pytest.approx(4 * rl.rollout_flops)
    # bound by bandwidth: a sixth of the FLOPs, more than a sixth of the hours
    assert rl.rollout_chip_hours > rl.update_chip_hours / 5
    assert rl.dollars.usd == pytest.approx(2.95 * (rl.rollout_chip_hours + rl.update_chip_hours))
    faster = reinforcement(model, 1e9, machine="H100", rate=price("H100"), batch=128)
    # the weights are shared by the batch, the cache is not
    assert faster.rollout_chip_hours < rl.rollout_chip_hours / 2.5


def test_serving_breaks_even_where_it_pays_for_itself_and_training():
    model = published("Qwen3-8B")
    free = serving(model, 1e9, days=365, machine="H100", rate=price("H100"))
    paid = serving(model, 1e9, days=365, machine="H100", rate=price("H100"), training_usd=1e6)
    assert free.break_even_per_million * free.tokens / 1e6 == pytest.approx(free.dollars.usd)
    assert paid.break_even_per_million - free.break_even_per_million == pytest.approx(
        1e6 / (365e9 / 1e6)
    )
    twice = serving(model, 2e9, days=365, machine="H100", rate=price("H100"))
    assert twice.dollars.usd == pytest.approx(2 * free.dollars.usd)
    assert twice.chips == pytest.approx(2 * free.chips)
