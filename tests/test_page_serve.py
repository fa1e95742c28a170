# ruff: noqa: F811 (a fixture imported by name)
"""The live page over real HTTP: news without a reload, guarded, alive whatever goes wrong."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from isoflop.lab.watching import report_in, watch
from isoflop.page import write_page
from isoflop.page.serve import STREAMS, Site
from page_browser import NEEDS_CHROMIUM, browser  # noqa: F401
from page_reports import ladder
from page_rungs import everything
from test_page import HOSTILE

LADDER = """
name = "made"
rungs = [{ width = 32, depth = 1, tokens = [16384, 32768], seed = 0 },
         { width = 32, depth = 1, tokens = [32768], seed = 1 }]
target = { width = 64, depth = 1, tokens = [65536], seed = 0 }
[recipe]
context = 128
sequences = 4
"""


def log(path, *steps, torn=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"step": s, "loss": 5 - s / 100}) for s in steps]
    path.write_text("\n".join(lines) + "\n" + torn)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ladder.toml").write_text(LADDER)
    log(tmp_path / "trunks/d32-L1-s0/metrics.jsonl", 8, 16, 24, torn='{"step": 32, "lo')
    done = tmp_path / "runs/d32-L1-s0-16384"
    log(done / "metrics.jsonl", 8, 32)
    (done / "result.json").write_text(json.dumps({"loss": 3.25}))
    return tmp_path


@pytest.fixture
def site(folder):
    made = Site(lambda: report_in(folder), lambda: watch(folder), port=0)
    thread = threading.Thread(target=made.run, daemon=True)
    thread.start()
    yield made
    made.ending.set()
    made.shutdown()
    thread.join(5)
    assert not thread.is_alive()


def ask(site, path="/", method="GET", **headers):
    link = http.client.HTTPConnection(*site.server_address, timeout=10)
    link.request(method, path, headers=headers)
    answer = link.getresponse()
    body = answer.read().decode() if path != "/events" or answer.status != 200 else ""
    link.close()
    return answer, body


def test_a_folder_says_where_its_runs_stand(folder):
    rows = {row["run"]: row for row in watch(folder)["rows"]}
    assert rows["d32-L1-s0-16384"] == {
        "run": "d32-L1-s0-16384", "role": "ladder", "step": 32, "steps": 32, "share": 1.0,
        "loss": 3.25, "state": "done",
    }  # fmt: skip
    assert rows["d32-L1-s0-32768"] == {
        "run": "d32-L1-s0-32768", "role": "ladder", "step": 24, "steps": 64, "share": 0.375,
        "loss": 4.76, "state": "running",
    }  # fmt: skip
    assert rows["d32-L1-s1-32768"]["state"] == "waiting"
    assert rows["d64-L1-s0-65536"]["role"] == "target"


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '"x"', '{"step": "a", "loss": []}', '{"step": NaN, "loss": Infinity}',
     '{"step": 1e999}', "\x00\xff\xfe", "[" * 100_000, '{"step": true, "loss": {}}', "a = 1",
     '{"loss": 1e400, "seal": {}, "verdict": 3}'],
)  # fmt: skip
def test_no_file_however_strange_stops_the_watching(folder, text):
    for name in ("ladder.toml", "forecast.json", "score.json", "page.html",
                 "runs/d32-L1-s0-16384/result.json", "runs/d32-L1-s0-16384/metrics.jsonl",
                 "trunks/d32-L1-s0/metrics.jsonl"):  # fmt: skip
        (folder / name).write_text(text, errors="surrogateescape")
        json.dumps(watch(folder), allow_nan=False)
        assert report_in(folder) is None
    for name in ('rungs = 3\ntarget = "x"', "rungs = [1, {tokens = 2}]", 'recipe = "x"',
                 'rungs = [{width = 1, tokens = ["a", 1e400, -5, true]}]\n[recipe]\ncontext = 0',
                 "target = {width = 1, tokens = [1e400, nan]}"):  # fmt: skip
        (folder / "ladder.toml").write_text(name)
        json.dumps(watch(folder), allow_nan=False)


def test_a_folder_without_a_ladder_lists_its_runs(tmp_path):
    log(tmp_path / "runs/mine/metrics.jsonl", 5)
    assert watch(tmp_path)["rows"][0]["run"] == "mine"
    assert watch(tmp_path / "absent")["rows"] == []


def test_the_page_is_served_and_only_read(site, folder):
    before = sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*"))
    answer, body = ask(site)
    assert answer.status == 200
    assert "no answer yet" in body
    assert "connect-src 'self'" in body
    assert answer.getheader("X-Frame-Options") == "DENY"
    write_page(everything(), folder / "page.html")
    assert "IsoFLOP valley of this budget" in ask(site)[1]
    (folder / "page.html").unlink()
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        assert ask(site, method=method)[0].status == 501
    for path in ("/ladder.toml", "/../ladder.toml", "/%2e%2e/", "//etc/passwd", "/events/"):
        assert ask(site, path)[0].status == 404
    assert sorted((p, p.stat().st_mtime_ns) for p in folder.rglob("*")) == before


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "", "0.0.0.0:1"])
def test_another_name_for_this_machine_is_turned_away(site, host):
    for path in ("/", "/events"):
        answer, body = ask(site, path, Host=host)
        assert answer.status == 421
        assert "made" not in body


def test_it_listens_on_loopback_alone(site):
    assert site.server_address[0] == "127.0.0.1"
    assert ask(site, Host=f"localhost:{site.server_address[1]}")[0].status == 200


def events(site, count):
    """The first news of a stream."""
    link = socket.create_connection(site.server_address, timeout=10)
    host = f"127.0.0.1:{site.server_address[1]}"
    link.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    found = []
    with link, link.makefile("rb") as lines:
        for line in lines:
            if line.startswith(b"data: "):
                found.append(json.loads(line[6:]))
                yield found[-1]
                if len(found) == count:
                    return


def test_progress_arrives_as_it_is_made(site, folder):
    news = events(site, 3)
    assert next(news)["rows"][1]["step"] == 24
    log(folder / "trunks/d32-L1-s0/metrics.jsonl", 8, 16, 24, 40)
    assert next(news)["rows"][1]["step"] == 40
    write_page(ladder(), folder / "page.html")
    assert next(news)["page"] != ""
    news.close()


def test_it_outlives_clients_that_vanish_and_refuses_too_many(site):
    for _ in range(40):
        link = socket.create_connection(site.server_address, timeout=5)
        link.sendall(b"GET /events HTTP/1.1\r\nHost: 127.0.0.1")
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        link.close()  # with a reset
    host = f"127.0.0.1:{site.server_address[1]}"
    held = []
    for _ in range(STREAMS):
        link = socket.create_connection(site.server_address, timeout=5)
        link.sendall(f"GET /events HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert b"200" in link.recv(4096)
        held.append(link)
    assert ask(site, "/events")[0].status == 503
    assert ask(site)[0].status == 200
    for link in held:
        link.close()


def test_control_c_ends_the_verb_at_once(folder):
    words = [sys.executable, "-m", "isoflop.cli", "serve", str(folder), "--port", "0", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        url = json.loads(run.stdout.readline())["url"]
        port = int(url.rsplit(":", 1)[1].strip("/"))
        link = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        link.request("GET", "/events")
        assert link.getresponse().status == 200
        run.send_signal(signal.SIGINT)
        assert run.wait(15) == 0
        assert run.stderr.read() == ""
        link.close()


def test_a_folder_that_is_none_is_an_error_in_one_line(tmp_path):
    words = [sys.executable, "-m", "isoflop.cli", "serve", str(tmp_path / "absent")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "is no folder; give one that a climb writes" in done.stderr


@NEEDS_CHROMIUM
def test_the_browser_shows_news_without_a_reload_and_the_report_at_the_end(site, folder, browser):
    context = browser.new_context()
    page, noise = context.new_page(), []
    page.on("console", lambda message: noise.append(message.text))
    page.on("pageerror", lambda error: noise.append(str(error)))
    page.on("dialog", lambda dialog: noise.append(dialog.message))
    page.goto(site.url)
    rows = page.locator("#live tbody tr")
    rows.nth(1).wait_for()
    assert rows.nth(1).inner_text().split("\t") == [
        "d32-L1-s0-32768", "ladder", "running", "24 of 64", "38%", "4.7600"
    ]  # fmt: skip
    page.evaluate("window.mark = 1")
    log(folder / "trunks/d32-L1-s0/metrics.jsonl", 48)
    rows.nth(1).get_by_text("48 of 64").wait_for()
    (folder / "ladder.toml").unlink()
    log(folder / "runs" / HOSTILE.replace("/", "∕") / "metrics.jsonl", 3)
    page.get_by_text(HOSTILE.replace("/", "∕")).wait_for()
    assert page.evaluate("window.mark") == 1
    write_page(everything(), folder / "page.html")
    (folder / "score.json").write_text('{"verdict": "hit"}')
    page.locator("#dials").wait_for()
    assert page.evaluate("window.mark ?? 0") == 0
    page.get_by_text("Ended: the forecast was a hit.").wait_for()
    assert page.locator("[role=tab]").count() == 11
    time.sleep(1.2)
    assert noise == []
    context.close()
