"""Every command the README shows prints what the README says; its Python runs."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")
VARIES = re.compile(r"\(seal [0-9a-f]{12}\)|\([0-9a-f]{12}\)")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", README.read_text(), re.DOTALL)


def same(said, shown):
    """The same words, and numbers to a tenth: intervals come from draws that machines round."""
    said, shown = (" ".join(VARIES.sub("(seal)", text).split()) for text in (said, shown))
    assert NUMBER.sub("#", said) == NUMBER.sub("#", shown)
    numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(text)] for text in (said, shown)]
    assert numbers[0] == pytest.approx(numbers[1], rel=0.1, abs=0.1)


def test_commands_print_what_is_shown(tmp_path):
    from isoflop.sources import load

    try:
        load("chinchilla-240")
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    shown = blocks("console")
    assert len(shown) == 6
    for block in shown:
        command, output = block.split("\n", 1)
        words = shlex.split(command.removeprefix("$ isoflop "))
        done = subprocess.run(
            [sys.executable, "-m", "isoflop.cli", *words],
            capture_output=True, text=True, cwd=tmp_path, env=dict(os.environ), check=False,
        )  # fmt: skip
        said = done.stdout or done.stderr
        same("\n".join(said.splitlines()[: len(output.splitlines())]), output)


def test_its_python_runs(capsys):
    from isoflop.sources import load

    try:
        load("chinchilla-240")
    except FileNotFoundError as reason:
        pytest.skip(str(reason))
    for block in blocks("python"):
        exec(compile(block, str(README), "exec"), {})
    assert "parameters" in capsys.readouterr().out


def test_every_verb_is_in_the_readme():
    from isoflop.cli import VERBS

    text = README.read_text()
    for verb in VERBS:
        assert f"isoflop {verb}" in text or f"make {verb}" in text, verb
