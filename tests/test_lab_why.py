"""What a climb's runs hold is read as their training would: under every objective."""

import email
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch

from isoflop.lab.launch import run
from isoflop.lab.recipe import Ladder, Objective, Recipe, Rung
from isoflop.lab.why import why

KINDS = {
    "documents": {"separate_documents": True},
    "blanks": {"objective": Objective(next_token=0.5, spans=0.25, suffix=0.25)},
}


def climb(folder: Path, **recipe: object) -> Path:
    """Three sizes on small texts."""
    (folder / "texts").mkdir(parents=True)
    for path in sorted(Path(email.__file__).parent.glob("*.py")):
        (folder / "texts" / path.name).write_bytes(path.read_bytes())
    ladder = Ladder(
        name="small", corpus=str(folder / "texts"),
        rungs=tuple(Rung(width=w, depth=1, tokens=(4096, 8192, 16384)) for w in (32, 64)),
        target=Rung(width=96, depth=1, tokens=(20480,)),
        recipe=Recipe(context=64, sequences=4, warmup_steps=4, validation_windows=16, **recipe),
    )  # fmt: skip
    with ThreadPoolExecutor(1) as executor:
        run(ladder, folder / "climb", roles=("ladder", "target"), executor=executor,
            cache=folder / "cache")  # fmt: skip
    return folder / "climb"


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_drop_is_that_of_the_runs_and_its_groups_add_up(tmp_path, kind):
    folder = climb(tmp_path, **KINDS[kind])
    threads = torch.get_num_threads()
    found = why(folder, windows=16, cache=tmp_path / "cache")
    torch.set_num_threads(threads)
    losses = {p.parent.name: json.loads(p.read_text())["loss"]
              for p in (folder / "runs").glob("*/result.json")}  # fmt: skip
    assert found.drop.before == pytest.approx(losses[found.drop.first], abs=1e-5)
    assert found.drop.after == pytest.approx(losses[found.drop.last], abs=1e-5)
    assert found.drop.after < found.drop.before
    for by in {group.by for group in found.drop.groups}:
        parts = [group for group in found.drop.groups if group.by == by]
        assert sum(g.share for g in parts) == pytest.approx(1)
        assert sum(g.of_drop for g in parts) == pytest.approx(1)
    before = {p: p.stat().st_mtime_ns for p in (folder / "tokens").glob("*.npy")}
    why(folder, windows=16, cache=tmp_path / "cache")
    torch.set_num_threads(threads)
    assert before == {p: p.stat().st_mtime_ns for p in before}


def test_runs_without_next_token_are_refused(tmp_path):
    folder = climb(tmp_path, objective=Objective(next_token=0, spans=0.5, suffix=0.5))
    with pytest.raises(ValueError, match="fill blanks alone"):
        why(folder, cache=tmp_path / "cache")
