"""The main job end to end, and what a kill, a full disk or a bad file do to it."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from isoflop.page import read_page

MICRO = """
name = "micro"
corpus = "{corpus}"
rungs = [
  {{ width = 32, depth = 1, tokens = [4096, 8192, 16384] }},
  {{ width = 64, depth = 1, tokens = [4096, 8192, 16384] }},
  {{ width = 96, depth = 1, tokens = [4096, 8192, 16384] }},
]
target = {{ width = 128, depth = 1, tokens = [49152] }}

[recipe]
context = 64
sequences = 4
warmup_steps = 4
validation_windows = 64
"""
TIMED = {"core_seconds", "wall_seconds", "machine"}


@pytest.fixture(scope="session")
def ladder(tmp_path_factory) -> Path:
    """A ladder of seconds on a small corpus of the user's own."""
    folder = tmp_path_factory.mktemp("climb")
    texts = folder / "texts"
    texts.mkdir()
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghij", k=rng.randint(2, 7))) for _ in range(400)]
    for k in range(60):
        (texts / f"{k}.txt").write_text(" ".join(rng.choices(words, k=700)))
    path = folder / "micro.toml"
    path.write_text(MICRO.format(corpus=texts))
    return path


def start(ladder, folder):
    return subprocess.Popen(
        [sys.executable, "-m", "isoflop.cli", "climb", "--ladder", ladder, "--folder", folder,
         "--json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "XDG_CACHE_HOME": str(ladder.parent / "cache")},
    )  # fmt: skip


def finished(ladder, folder):
    """The climb's JSON object, run to its end."""
    process = start(ladder, folder)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return json.loads(out)


def lasting(said):
    """What must not differ between two climbs: the table without its times, and the quantiles."""
    runs = {name: values for name, values in said["runs"].items() if name not in TIMED}
    return runs, said["forecast"]["quantiles"], said["score"]["error"]


@pytest.fixture(scope="session")
def clean(ladder):
    return finished(ladder, ladder.parent / "clean")


def children(pid):
    """All processes below one, from /proc."""
    out = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in task.read_text().split():
            out += [int(child), *children(int(child))]
    return out


def interrupted(ladder, folder, *, kills, seed):
    """A climb of which a process is killed again and again at random moments, then its end."""
    rng = random.Random(seed)
    for _ in range(kills):
        process = start(ladder, folder)
        time.sleep(rng.uniform(1.0, 12.0))
        if process.poll() is None:
            victim = rng.choice([process.pid, *children(process.pid)])
            os.kill(victim, signal.SIGKILL)
        try:
            process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
    return finished(ladder, folder)


def test_a_climb_seals_before_the_target_scores_it_and_shows_both(clean):
    runs = clean["runs"]
    assert runs["role"].count("target") == 1
    below = max(f for f, role in zip(runs["flops"], runs["role"], strict=True) if role != "target")
    target = runs["flops"][runs["role"].index("target")]
    assert target >= 3.9 * below
    assert clean["forecast"]["inputs"]["n"] == 9
    report = read_page(clean["page"])
    (entry,) = report.ledger
    assert entry.seal == clean["seal"]
    assert entry.verdict == clean["score"]["verdict"]
    assert report.curve is not None
    assert report.curve.target is not None
    assert report.curve.target.loss == pytest.approx(clean["score"]["median"])
    assert entry.observed == pytest.approx(runs["loss"][runs["role"].index("target")])
    (dense,) = report.densities
    assert dense.by == "loss"
    assert dense.params == runs["params"][runs["role"].index("target")]
    assert dense.density == clean["density"]["rows"][0]["density"]


def test_a_finished_climb_trains_nothing_again(ladder, clean):
    folder = Path(clean["folder"])
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")}
    again = finished(ladder, folder)
    assert lasting(again) == lasting(clean)
    assert again["seal"] == clean["seal"]
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("result.json")} == before


def test_a_killed_climb_continues_to_the_same_table(ladder, clean, tmp_path):
    assert lasting(interrupted(ladder, tmp_path / "killed", kills=2, seed=1)) == lasting(clean)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_many_kills_leave_the_same_table(ladder, clean, tmp_path, seed):
    assert lasting(interrupted(ladder, tmp_path / "killed", kills=5, seed=seed)) == lasting(clean)


def test_a_forecast_that_was_edited_stops_the_climb(ladder, clean, tmp_path):
    import shutil

    folder = tmp_path / "edited"
    shutil.copytree(clean["folder"], folder)
    sealed = folder / "forecast.json"
    sealed.write_text(sealed.read_text().replace('"decades": ', '"decades": 1'))
    process = start(ladder, folder)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "edited after it was sealed" in err
    assert "edited after it was sealed" in json.loads(out)["error"]


def test_a_dry_run_prints_the_cost_and_trains_nothing(ladder, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "isoflop.cli", "climb", "--ladder", ladder, "--folder",
         tmp_path / "dry", "--dry-run", "--json"],
        capture_output=True, text=True, check=True,
        env={**os.environ, "XDG_CACHE_HOME": str(ladder.parent / "cache")},
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert said["runs"] == 10
    assert said["core_seconds"] > 0
    assert not (tmp_path / "dry").exists()
