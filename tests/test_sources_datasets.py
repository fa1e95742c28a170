"""Public tables: the counts and figures that are known about them, and what a lack of them says."""

import hashlib
import http.server
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from isoflop.sources import data_sets, datasets, load

SERVED = b"params,tokens,loss\n"
BESIDE = Path(__file__).parents[1].parent / "shared" / "data" / "raw"


@pytest.fixture
def public(monkeypatch):
    """Point the cache at the public tables, or skip."""
    if not os.environ.get(datasets.CACHE_VARIABLE):
        if not BESIDE.is_dir():
            pytest.skip(f"{datasets.CACHE_VARIABLE} is not set and there are no tables beside us")
        monkeypatch.setenv(datasets.CACHE_VARIABLE, str(BESIDE))


def table(name):
    if name.startswith("farseer"):
        pytest.importorskip("pyarrow")
    return load(name)


@pytest.mark.parametrize(
    ("name", "runs", "sizes", "flops", "loss"),
    [
        ("chinchilla", 245, 142, (1.3962e18, 1.2982e22), (2.0774, 5.0056)),
        ("chinchilla-240", 240, 140, (1.3962e18, 1.2982e22), (2.0774, 3.4059)),
        ("gadre-c4", 34, 6, (3.3513e15, 5.6957e21), (2.3822, 5.9749)),
        ("gadre-redpajama", 35, 6, (3.3513e15, 7.9604e21), (2.4250, 6.1239)),
        ("gadre-refinedweb", 35, 6, (3.3513e15, 5.6957e21), (2.4547, 6.0254)),
        ("llama3-isoflop", 133, 133, (6e18, 1e22), (0.69357, 0.93219)),
        ("marin-comma", 85, 22, (3e18, 3e20), (3.1097, 3.9703)),
        ("marin-dclm", 85, 22, (3e18, 3e20), (2.9607, 3.8303)),
        ("farseer", 404, 25, (1.19e18, 3.49e21), (0.46201, 0.70936)),
        ("farseer-400", 400, 25, (1.19e18, 3.49e21), (0.46201, 0.70936)),
        ("steplaw-best", 17, 5, (5.15e18, 3.67e20), (2.1206, 2.6214)),
        ("steplaw-sweep", 1911, 5, (5.15e18, 3.67e20), (2.1206, 11.093)),
        ("olmo-ladder", 30, 5, (3.63e18, 1.46e22), (2.6644, 3.7475)),
    ],
)
def test_counts_and_spans(public, name, runs, sizes, flops, loss):
    got = table(name)
    assert (len(got), len(np.unique(got["params"]))) == (runs, sizes)
    assert got["flops"].min() == pytest.approx(flops[0], rel=5e-3)
    assert got["flops"].max() == pytest.approx(flops[1], rel=5e-3)
    assert got["loss"].min() == pytest.approx(loss[0], rel=1e-4)
    assert got["loss"].max() == pytest.approx(loss[1], rel=1e-4)
    assert got.name == name


def test_every_data_set_is_described_and_listed():
    names = [entry.name for entry in data_sets()]
    assert len(set(names)) == len(names) == 13
    for entry in data_sets():
        assert "arXiv" in entry.citation
        assert entry.licence
        assert entry.title
        assert entry.columns
        assert datasets.files_of(entry.files)


def test_a_hash_is_a_hash_and_a_key_is_below_one_commit():
    keys = [key for entry in data_sets() for key, _ in datasets.files_of(entry.files)]
    digests = [digest for entry in data_sets() for _, digest in datasets.files_of(entry.files)]
    assert all(len(key.split("/")[2]) == 40 and ".." not in key for key in keys)
    assert all(len(digest) == 64 and int(digest, 16) for digest in digests)


def test_tokens_of_chinchilla_are_compute_over_six_params(public):
    runs = load("chinchilla")
    np.testing.assert_allclose(runs["tokens"], runs["flops"] / (6 * runs["params"]), rtol=1e-12)
    assert runs.conventions == {"params": "total", "flops": "6nd", "loss": "nats/token"}
    dropped = set(runs["loss"]) - set(load("chinchilla-240")["loss"])
    assert min(dropped) > load("chinchilla-240")["loss"].max()


def test_farseer_lists_four_runs_twice(public):
    runs = table("farseer")
    cells = runs.cells()
    assert len(cells) == 400
    assert sum(len(cell) == 2 for cell in cells) == 4
    assert all(np.ptp(runs["loss"][cell]) == 0 for cell in cells)


def test_gadre_tokens_per_parameter_run_from_5_to_640(public):
    ratios = load("gadre-redpajama")["tokens"] / load("gadre-redpajama")["params"]
    assert {round(r) for r in ratios} == {5, 10, 20, 40, 80, 160, 320, 640}


def test_best_runs_of_step_law_lie_on_its_published_batch_size(public):
    runs = load("steplaw-best")
    published = 0.58 * runs["tokens"] ** 0.571
    assert 0.5 < np.median(runs["batch_tokens"] / published) < 2
    assert len(load("steplaw-sweep").cells(("params", "tokens"))) == 17


def test_the_noise_of_a_repeat_on_the_olmo_ladder(public):
    runs = load("olmo-ladder")
    repeats = [runs["loss"][cell] for cell in runs.cells() if len(cell) == 2]
    assert len(repeats) == 5
    assert max(np.ptp(pair) for pair in repeats) < 0.0011


def test_no_public_table_is_refused_in_another_unit_check(public):
    """The widest real tables lie well inside the limits on tokens per parameter and 6ND."""
    for entry in data_sets():
        runs = table(entry.name)
        assert 1e-3 < np.median(runs["tokens"] / runs["params"]) < 1e3, entry.name
        gap = runs["flops"] / (6 * runs["params"] * runs["tokens"])
        assert gap.min() > 0.5, entry.name
        assert gap.max() < 2, entry.name


@pytest.mark.parametrize(
    ("file", "options"),
    [
        ("porian_refinedweb_isoflop.csv", {"columns": {"params": "n_params"}}),
        ("datablations_repeat.csv", {"seeds": True}),
    ],
)
def test_wide_real_tables_are_read(file, options):
    path = BESIDE.parent / "tidy" / file
    if not path.is_file():
        pytest.skip(f"{file} is not beside us")
    from isoflop.tables import read_runs

    runs = read_runs(path, **options)
    assert len(runs) == {"p": 1164, "d": 290}[file[0]]
    assert runs.conventions["flops"] == {"p": "unstated", "d": "6nd"}[file[0]]


def test_unknown_name_lists_the_known():
    with pytest.raises(ValueError, match="no public table 'pile'; there are chinchilla, "):
        load("pile")


def test_no_network_and_no_cache_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.setenv(datasets.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr(datasets, "HOST", "http://127.0.0.1:1")
    with pytest.raises(FileNotFoundError) as error:
        load("chinchilla")
    assert "environment variable ISOFLOP_DATA" in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_changed_file_is_refused(public, monkeypatch, tmp_path):
    key, _ = datasets.files_of("chinchilla")[0]
    spoiled = tmp_path / key
    spoiled.parent.mkdir(parents=True)
    spoiled.write_bytes((datasets.cache_folder() / key).read_bytes() + b"\n")
    monkeypatch.setenv(datasets.CACHE_VARIABLE, str(tmp_path))
    with pytest.raises(ValueError, match=r"193478df4e90\.\.\. was published; delete the file"):
        load("chinchilla")


@pytest.fixture
def served(monkeypatch, tmp_path):
    """A host on this machine that serves one file, and an empty cache."""

    class OneFile(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(SERVED)))
            self.end_headers()
            self.wfile.write(SERVED)

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OneFile) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setattr(datasets, "HOST", f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setenv(datasets.CACHE_VARIABLE, str(tmp_path / "cache"))
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield tmp_path / "cache"
        server.shutdown()
        thread.join()


def test_fetches_into_the_cache_once(served, monkeypatch):
    digest = hashlib.sha256(SERVED).hexdigest()
    assert datasets.fetch("a/b/c.csv", digest) == served / "a/b/c.csv"
    monkeypatch.setattr(datasets, "HOST", "http://127.0.0.1:1")
    assert datasets.fetch("a/b/c.csv", digest).read_bytes() == SERVED


def test_a_file_that_changed_upstream_is_not_kept(served):
    with pytest.raises(ValueError, match="no longer has the published sha256 000000000000"):
        datasets.fetch("a/b/c.csv", "0" * 64)
    assert not any(path.is_file() for path in served.rglob("*"))
