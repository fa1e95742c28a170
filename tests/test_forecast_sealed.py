"""Sealed forecasts: written once, refused when edited, scored by closed forms."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest

from isoflop.fit import Objective
from isoflop.forecast import Score, forecast, pool, read_forecast, score, write_forecast
from isoflop.forecast.score import crps, level_of
from isoflop.forecast.sealed import LEVELS, canonical
from isoflop.laws.pretrain import CHINCHILLA, TIED
from isoflop.tables import Runs

FAST = Objective("lsqlog")
TRUE = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.37}
TARGET = {"params": 2e9, "tokens": 1.6e10}


def table(n, d, measured, **stated):
    stated = {"params": "total", "loss": "nats/token"} | stated
    return Runs.of({"params": n, "tokens": d, "loss": measured}, name="ladder", **stated)


@pytest.fixture(scope="module")
def runs():
    n, d = np.meshgrid(3e7 * 2.0 ** np.arange(6), 5e8 * 2.0 ** np.arange(5))
    n, d = n.ravel(), d.ravel()
    noise = np.random.default_rng(0).standard_normal(len(n))
    loss = CHINCHILLA.predict(TRUE, {"params": n, "tokens": d})
    return table(n, d, loss * np.exp(0.003 * noise))


@pytest.fixture(scope="module")
def fitted(runs):
    return pool(runs, (CHINCHILLA, TIED), objective=FAST, draws=40)


@pytest.fixture
def sealed(runs, fitted):
    return forecast(runs, TARGET, fitted=fitted)


def test_round_trip(sealed, tmp_path):
    path = write_forecast(sealed, tmp_path / "target.json")
    back = read_forecast(path)
    assert back == sealed
    assert back.seal == sealed.seal == json.loads(path.read_text())["seal"]
    assert set(back.quantiles) == set(LEVELS)
    assert back.inputs["n"] == 30
    assert back.code.startswith("isoflop ")


def test_what_is_sealed(runs, fitted, sealed):
    aim = {k: np.array([v]) for k, v in sealed.target.items()}
    assert sealed.target["flops"] == 6 * 2e9 * 1.6e10
    for level in (0.025, 0.5, 0.95):
        exact = fitted.predict(aim).quantile(level)[0]
        assert sealed.quantile(level) == pytest.approx(exact, rel=1e-3)
    low, high = sealed.interval(0.95)
    truth = CHINCHILLA.predict(TRUE, aim)[0]
    assert low < truth < high
    assert sealed.inputs["hash"] == runs.hash
    assert sealed.decades == pytest.approx(np.log10(2e9 * 1.6e10 / (9.6e8 * 8e9)))
    assert forecast(runs, TARGET, fitted=fitted).quantiles == sealed.quantiles
    with pytest.raises(ValueError, match=r"levels from 0\.001 to 0\.999 are stored"):
        sealed.interval(0.9999)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"0.5": ', '"0.5": 1'),
        ('"name": "ladder"', '"name": "other"'),
        ("2026", "2025"),
        ('"forced": false', '"forced": true'),
        ('"weight": 0.', '"weight": 0.0'),
    ],
)
def test_an_edited_file_is_refused(sealed, tmp_path, old, new):
    made = replace(sealed, sealed_at="2026-01-02T03:04:05+00:00")
    path = write_forecast(made, tmp_path / "target.json")
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(ValueError, match="edited after it was sealed"):
        read_forecast(path)


def test_another_seal_is_refused_and_other_spacing_is_not(sealed, tmp_path):
    path = write_forecast(sealed, tmp_path / "target.json")
    whole = json.loads(path.read_text())
    path.write_text(json.dumps(whole))  # the same content in other white space
    assert read_forecast(path) == sealed
    path.write_text(json.dumps(whole | {"seal": "0" * 64}))
    with pytest.raises(ValueError, match="edited after it was sealed"):
        read_forecast(path)


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "null", '{"seal": "x"}', '{"seal": 1, "forecast": {}}', "[" * 100_000,
        '{"seal": "x", "seal": "y", "forecast": {}}', '{"seal": NaN, "forecast": {}}',
        '{"seal": "x", "forecast": {"format": "isoflop-forecast-9"}}', "\udcff",
    ],
)  # fmt: skip
def test_files_that_are_no_forecast(tmp_path, text):
    path = tmp_path / "odd.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(ValueError, match="is not a sealed forecast"):
        read_forecast(path)


def test_resealed_content_is_still_checked(sealed, tmp_path):
    import hashlib

    for change, complaint in (
        ({"extra": 1}, "extra missing or unknown"),
        ({"quantiles": {"0.1": 2.0, "0.5": 1.0}}, "must not fall"),
        ({"quantiles": {"0.1": 2.0}}, "need the median"),
    ):
        content = json.loads(json.dumps(sealed.to_json())) | change
        seal = hashlib.sha256(canonical(content).encode()).hexdigest()
        path = tmp_path / "odd.json"
        path.write_text(json.dumps({"seal": seal, "forecast": content}))
        with pytest.raises(ValueError, match=complaint):
            read_forecast(path)


def test_a_sealed_file_is_never_replaced(sealed, tmp_path):
    path = write_forecast(sealed, tmp_path / "target.json")
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match="never replaced"):
        write_forecast(sealed, path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["target.json"]


def test_forecasts_chain(runs, fitted, sealed):
    second = forecast(runs, TARGET | {"tokens": 2e10}, fitted=fitted, previous=sealed.seal)
    assert second.previous == sealed.seal
    assert replace(second, previous="").seal != second.seal


def test_targets_that_are_refused(runs, fitted):
    for target, complaint in (
        ({"params": 3e7, "tokens": 5e8}, "already holds a run"),
        ({"params": 3e7 * (1 + 1e-9), "tokens": 5e8}, "already holds a run"),
        ({"params": 2e12, "tokens": 1.6e13}, "refused: the target has .* The cheapest run"),
        ({"params": 2e7, "tokens": 1e12}, "tokens per parameter"),
        ({"params": -1.0, "tokens": 1e9}, "'params' must be a positive number"),
        ({"params": 1e9}, "'tokens' must be a positive number"),
        ({"params": 1e9, "tokens": 1e9, "flops": np.inf}, "'flops' must be a positive number"),
        ({"params": 1e9, "tokens": 1e9, "seed": 1.0}, "seed unknown"),
    ):
        with pytest.raises(ValueError, match=complaint):
            forecast(runs, target, fitted=fitted)
    forced = forecast(runs, {"params": 2e12, "tokens": 1.6e13}, fitted=fitted, force=True)
    assert forced.forced
    assert "WARNING" in str(forced)
    with pytest.raises(ValueError, match="fitted to other runs"):
        forecast(runs.where(runs["params"] < 5e8), TARGET, fitted=fitted)


def test_score(sealed, runs):
    hit = score(sealed, sealed.median * 1.001, known=runs)
    assert (hit.verdict, hit.inside_90, hit.inside_95) == ("hit", True, True)
    assert hit.error == pytest.approx(1 / 1.001 - 1)
    miss = score(sealed, sealed.quantile(0.999) * 1.05)
    assert (miss.verdict, miss.inside_95, miss.level) == ("miss", False, 1.0)
    assert miss.crps > hit.crps
    between = (sealed.quantile(0.95) + sealed.quantile(0.975)) / 2
    edge = score(sealed, between)
    assert (edge.verdict, edge.inside_90, edge.inside_95) == ("miss", False, True)
    assert Score(**json.loads(json.dumps(hit.to_json()))) == hit
    assert str(hit).startswith("hit: observed")


def test_a_run_of_the_target_is_compared_with_it(sealed):
    loss = np.array([sealed.median])
    run = table(np.array([2.001e9]), np.array([1.6e10]), loss)
    assert score(sealed, run).verdict == "hit"
    with pytest.raises(ValueError, match="this run is not the target"):
        score(sealed, table(np.array([3e9]), np.array([1.6e10]), loss))
    with pytest.raises(ValueError, match="'loss': the run is counted in bits/byte"):
        score(sealed, table(np.array([2e9]), np.array([1.6e10]), loss, loss="bits/byte"))
    with pytest.raises(ValueError, match="'params': the run is counted in non_embedding"):
        score(sealed, table(np.array([2e9]), np.array([1.6e10]), loss, params="non_embedding"))


def test_scores_that_are_refused(sealed, runs):
    with pytest.raises(ValueError, match="the observed loss is in bits/byte"):
        score(sealed, 2.0, loss="bits/byte")
    assert score(sealed, sealed.median, loss="nats/token").verdict == "hit"
    for value in (np.nan, np.inf, 0.0, -1.0):
        with pytest.raises(ValueError, match="must be a positive number"):
            score(sealed, value)
    with pytest.raises(ValueError, match="is not the one the forecast was made from"):
        score(sealed, 2.0, known=runs.where(runs["params"] < 5e8))
    known = replace(sealed, target={"params": 3e7, "tokens": 5e8, "flops": 9e16})
    with pytest.raises(ValueError, match="already among the runs"):
        score(known, 2.0)


def test_crps_of_a_normal():
    from scipy.stats import norm

    mean, sd = 2.0, 0.05
    quantiles = {p: float(norm.ppf(p, mean, sd)) for p in LEVELS}
    for z in (-6.0, -1.3, 0.0, 0.4, 2.5):
        closed = sd * (z * (2 * norm.cdf(z) - 1) + 2 * norm.pdf(z) - 1 / np.sqrt(np.pi))
        assert crps(quantiles, mean + z * sd) == pytest.approx(closed, rel=4e-3)
        assert level_of(quantiles, mean + 0.4 * sd) == pytest.approx(norm.cdf(0.4), abs=1e-4)


def test_crps_is_exact_for_the_stored_distribution():
    quantiles = {0.2: 1.0, 0.5: 2.0, 0.9: 4.0}

    def cdf(x):
        levels, at = sorted(quantiles), [quantiles[p] for p in sorted(quantiles)]
        return np.where(x < at[0], 0, np.where(x >= at[-1], 1, np.interp(x, at, levels)))

    x = np.linspace(0, 6, 600_001)
    for observed in (0.5, 1.0, 1.7, 2.0, 3.9, 4.0, 5.5):
        numeric = np.trapezoid((cdf(x) - (x >= observed)) ** 2, x)
        assert crps(quantiles, observed) == pytest.approx(numeric, abs=2e-5)
    assert crps({0.5: 2.0}, 2.3) == pytest.approx(0.3)
