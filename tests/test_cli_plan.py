"""`plan` and `compare` as a user types them: every limit, one JSON object, errors of one line."""

import json

import numpy as np
import pytest

from isoflop.laws import find
from test_cli import isoflop, sweep

__all__ = ["sweep"]

EVERY = ("--machine", "H100-SXM", "--chips", "64", "--unique", "100B", "--serve", "1T",
         "--memory", "40GB", "--latency", "20ms")  # fmt: skip


def test_plan_answers_every_question_in_one_object(sweep, tmp_path):
    said = json.loads(isoflop("plan", sweep, "--budget", "$20k", *EVERY, "--json", cwd=tmp_path))
    best = said["allocation"]
    assert best["unit"] == "dollars"
    assert best["low"] <= best["params"] <= best["high"]
    assert best["tokens_low"] <= best["tokens"] <= best["tokens_high"]
    assert best["epochs"][0] == pytest.approx(best["tokens"] / 1e11)
    assert 2 * best["params"] <= 40e9 * (1 + 1e-9)
    assert said["money"]["usd"] == pytest.approx(20e3, rel=1e-6)
    life = said["serving"]
    assert life["unit"] == "dollars"
    assert life["params"][0] <= best["params"] * (1 + 1e-9)
    assert 0 <= life["saving"][0] < 1
    moves = {m["change"] for m in said["sensitivity"]["moves"]}
    assert moves == {"dropped", "worst", "objective", "law"}
    assert sum(m["change"] == "dropped" for m in said["sensitivity"]["moves"]) == 30


def test_plan_prints_what_it_found(sweep, tmp_path):
    said = isoflop("plan", sweep, "--budget", "1e21", "--memory", "1GB", cwd=tmp_path)
    for words in (
        "500M (",
        "held by memory",
        "1% is worth",
        "how far it moves",
        "dropping one run",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--budget", "$2M"), "needs a machine"),
        (("--budget", "2 parsecs"), "unknown unit"),
        (("--budget", "1e21", "--unique", "much"), "cannot read"),
        (("--budget", "1e21", "--memory", "20ms"), "bytes expected"),
        (("--budget", "1e21", "--latency", "20GB"), "seconds expected"),
        (("--budget", "1e21", "--latency", "20ms"), "needs the machine"),
        (("--budget", "1e21", "--serve", "$3"), "count expected"),
        (("--budget", "1e21", "--machine", "H100", "--memory", "1kB"), "allow more"),
        (("--budget", "1e21", "--machine", "abacus"), "abacus"),
        (("--budget", "1e21", "--memory", "0"), "must be positive"),
    ],
)
def test_what_cannot_be_planned_is_one_line(sweep, tmp_path, words, message):
    said = isoflop("plan", sweep, *words, cwd=tmp_path, code=2)
    assert message in said
    assert said.startswith("isoflop: ")


def test_compare_of_one_table_puts_its_countings_side_by_side(sweep, tmp_path):
    rows = sweep.read_text().splitlines()
    more = [f"{float(r.split(',')[0]) + 1e7:.0f},{r}" for r in rows[1:]]
    path = tmp_path / "two.csv"
    path.write_text("\n".join(["params_total_too,N,D,val_loss", *more]) + "\n")
    said = json.loads(isoflop("compare", path, "--at", "1e21", "--json", cwd=tmp_path))
    assert [c["column"] for c in said["countings"]] == ["params", "params_total_too"]
    assert said["flops"] == 1e21
    assert "one way only" in isoflop("compare", sweep, cwd=tmp_path, code=2)


def test_compare_pins_and_frees_the_floor(sweep, tmp_path):
    n, d = np.meshgrid(np.geomspace(1e7, 1e9, 6), np.geomspace(2e8, 2e10, 5))
    columns = {"params": n.ravel() * 1.2, "tokens": d.ravel() * 1.2}
    loss = find("chinchilla").predict({"E": 1.8, "A": 480, "B": 2100, "alpha": 0.348,
                                       "beta": 0.366}, columns)  # fmt: skip
    loss = loss * np.exp(0.003 * np.random.default_rng(2).standard_normal(30))
    rows = [f"{a:.0f},{b:.0f},{c:.5f}" for a, b, c in zip(n.ravel(), d.ravel(), loss, strict=True)]
    other = tmp_path / "other.csv"
    other.write_text("\n".join(["N,D,val_loss", *rows]) + "\n")
    for flags, floor in ((("--asymptote", "1.8"), "E = 1.8 held"), (("--floor", "own"), "own")):
        said = json.loads(isoflop("compare", sweep, other, *flags, "--json", cwd=tmp_path))
        assert floor in said["floor"]
        last = said["at"][-1]
        assert last["low"] <= 1.44 <= last["high"]


def test_density_says_how_large_a_model_of_the_ladder_would_have_to_be(sweep, tmp_path):
    n, d = np.array([2e8, 4e8]), np.array([5e9, 1e10])
    loss = find("chinchilla").predict({"E": 1.8, "A": 480, "B": 2100, "alpha": 0.348,
                                       "beta": 0.366}, {"params": 2 * n, "tokens": d})  # fmt: skip
    rows = [f"{a:.0f},{b:.0f},{c:.5f}" for a, b, c in zip(n, d, loss, strict=True)]
    (tmp_path / "twice.csv").write_text("\n".join(["N,D,val_loss", *rows]) + "\n")
    found = json.loads(isoflop("density", sweep, "twice.csv", "--json", cwd=tmp_path))
    for row in found["rows"]:
        assert row["density"] == pytest.approx(2, rel=0.15)
        assert row["interval"][0] < 2 < row["interval"][1]
    (tmp_path / "bare.csv").write_text("N,val_loss\n2e8,2.5\n")
    said = isoflop("density", sweep, "bare.csv", cwd=tmp_path, code=2)
    assert "density needs column 'tokens'" in said
    assert len(said.strip().splitlines()) == 1


def test_know_reports_each_dimension_and_the_density_of_answers(tmp_path):
    rng = np.random.default_rng(0)
    rows = ["id,model,params,dimension,q,y"]
    for model, params, share in (
        ("s", 1e6, 0.3),
        ("m", 4e6, 0.5),
        ("l", 16e6, 0.7),
        ("x", 4e6, 0.6),
    ):
        for kind in ("knowledge", "reasoning"):
            for k in range(400):
                q = rng.random()
                rows.append(f"{kind}-{k},{model},{params:.0f},{kind},{q:.3f},{int(q < share)}")
    (tmp_path / "answers.csv").write_text("\n".join(rows) + "\n")
    words = ("know", "answers.csv", "--reference", "s", "m", "l", "--json")
    said = json.loads(isoflop(*words, cwd=tmp_path))
    assert list(said["parts"]["dimensions"]["parts"]) == ["knowledge", "reasoning"]
    assert said["parts"]["dimensions"]["missing"] == ["creation"]
    rows = {r["dimension"]: r for r in said["parts"]["density"]["rows"]}
    assert list(rows) == ["knowledge", "reasoning", "all"]
    assert rows["all"]["density"] == pytest.approx(2, rel=0.3)  # half way from m to l
