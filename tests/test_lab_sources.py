"""Text from many kinds of files, bad ones named; sources whose entropy is what they say."""

import gzip
import json

import numpy as np
import pytest

from isoflop.lab import corpus, entropy, files
from isoflop.lab.corpus import Data
from isoflop.lab.duplicates import PASSAGE, sketch_of
from isoflop.lab.entropy import draw, rate, read_source, window_rate
from isoflop.lab.recipe import Ladder, Recipe, Rung
from isoflop.lab.tokens import flags_of, pieces_of
from isoflop.lab.train import Job, read_result, run_name, train_rung

DOCUMENTS = [f"document {i}: " + " ".join(str(i * k % 997) for k in range(40)) for i in range(60)]


def read(path, column="text"):
    left_out: list[str] = []
    from isoflop.lab.texts import read_documents

    found = list(read_documents(str(path), column=column, left_out=left_out))
    return [text.decode() for _, text in found], left_out


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_all_kinds_of_files_give_the_same_documents(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"id": i, "text": text} for i, text in enumerate(DOCUMENTS)]
    lines = write(tmp_path / "a.jsonl", rows)
    packed = tmp_path / "b.jsonl.gz"
    packed.write_bytes(gzip.compress(lines.read_bytes()))
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "c.parquet")
    for name in ("a.jsonl", "b.jsonl.gz", "c.parquet"):
        assert read(tmp_path / name) == (DOCUMENTS, [])
    assert read(tmp_path)[0] == 3 * DOCUMENTS
    held, folder = corpus.load_corpus(str(tmp_path), "bpe-300", cache=tmp_path.parent / "cache")
    assert (held.files, held.dropped) == (60, 120)
    assert held.train_bytes + held.validation_bytes == sum(map(len, DOCUMENTS)) + 60 - 2
    pieces = pieces_of(folder / "tokenizer.json")
    text = b"".join(pieces[t] for t in corpus.open_tokens(folder, "train")).split(b"\0")
    assert set(text) < {d.encode() for d in DOCUMENTS}
    assert held.separator == held.vocab - 1 == len(pieces) - 1


def test_a_data_set_by_name(tmp_path):
    pytest.importorskip("datasets", reason="needs: pip install datasets")
    write(tmp_path / "train.jsonl", [{"story": text} for text in DOCUMENTS])
    assert read(f"hf:{tmp_path}", column="story") == (DOCUMENTS, [])
    with pytest.raises(ValueError, match=r"no column 'text' \(there: story\)"):
        read(f"hf:{tmp_path}")
    with pytest.raises(ValueError, match="cannot be loaded"):
        read(f"hf:{tmp_path / 'nowhere'}")


BAD = {
    "torn": ('{"text": "a"}\n{"text": "b', "line 2: no JSON"),
    "other column": ('{"content": "a"}\n', r"no column 'text' \(there: content\)"),
    "no object": ("[1, 2]\n", r"there: no object"),
    "number": ('{"text": 3}\n', "holds int, not text"),
    "surrogate": ('{"text": "\\ud800"}\n', "no valid Unicode"),
    "nul": ('{"text": "a\\u0000b"}\n', "a NUL character"),
    "deep": ("[" * 100_000 + "\n", "line 1: no JSON"),
    "empty": ('{"text": ""}\n{"text": null}\n', "holds no UTF-8 text file and no row"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named(tmp_path, case):
    text, said = BAD[case]
    (tmp_path / "bad.jsonl").write_text(text)
    with pytest.raises(ValueError, match=said):
        read(tmp_path / "bad.jsonl")


def test_bad_files_are_named_and_what_is_no_text_is_counted(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(ValueError, match=r"x\.parquet: no readable Parquet file"):
        read(tmp_path)
    (tmp_path / "x.parquet").unlink()
    (tmp_path / "y.jsonl.gz").write_bytes(gzip.compress(b'{"text": "a"}\n' * 99)[:30])
    with pytest.raises(ValueError, match=r"y\.jsonl\.gz: cannot be unpacked"):
        read(tmp_path)
    (tmp_path / "y.jsonl.gz").unlink()
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "image.png").write_bytes(bytes(range(256)))
    (tmp_path / "empty.txt").write_text(" \n")
    assert read(tmp_path) == (["good"], ["empty.txt", "image.png"])


def test_a_damaged_token_file_says_what_to_delete(tmp_path):
    source = write(tmp_path / "a.jsonl", [{"text": text} for text in DOCUMENTS])
    _, folder = corpus.load_corpus(str(source), "bytes", cache=tmp_path / "cache")
    (folder / "train.npy").write_bytes((folder / "train.npy").read_bytes()[:200])
    with pytest.raises(files.LabError, match="to prepare it again"):
        corpus.open_tokens(folder, "train")


def test_sketches_agree_as_much_as_passages_are_shared():
    generator = np.random.default_rng(0)
    for share in (0.5, 0.7, 0.9):
        agreed, true = [], []
        for _ in range(60):
            text = generator.integers(97, 123, 3000, dtype=np.uint8)
            other = text.copy()
            other[int(share * 3000) :] = generator.integers(97, 123, 3000 - int(share * 3000))
            a, b = ({x.tobytes()[i : i + PASSAGE] for i in range(2977)} for x in (text, other))
            true.append(len(a & b) / len(a | b))
            agreed.append((sketch_of(text.tobytes()) == sketch_of(other.tobytes())).mean())
        assert np.mean(agreed) == pytest.approx(np.mean(true), abs=0.02)
    assert (sketch_of(b"xx" + bytes(range(200))) == sketch_of(bytes(range(200)))).mean() > 0.9
    assert len(sketch_of(b"a")) == 128


def test_flags_mark_line_ends_stops_and_spaces():
    pieces = [b"\n", b"a.", b".)", b" b", b"c", b"?\n"]
    assert flags_of(pieces).tolist() == [1 | 4, 2, 2, 4, 0, 1]
    assert pieces_of(None)[65] == b"A"


@pytest.mark.parametrize("order", [1, 2])
def test_a_chain_has_the_entropy_it_says(order):
    source = read_source(f"markov:order={order},symbols=8,seed=3")
    text = draw(source, 600_000, 0).astype(np.int64)

    def block(size):
        code = sum(text[k : len(text) - size + k + 1] * 8 ** (size - 1 - k) for k in range(size))
        share = np.bincount(code) / len(code)
        return -np.sum(share[share > 0] * np.log(share[share > 0]))

    assert rate(source) == pytest.approx(block(order + 1) - block(order), abs=0.004)
    early = block(2) - block(1) if order == 2 else rate(source)
    expected = (early + 9 * rate(source)) / 10
    assert window_rate(source, 10) == pytest.approx(expected, abs=0.004)


def test_a_grammar_has_the_entropy_it_says():
    source = read_source("grammar:symbols=12,kinds=5,seed=1")
    first, follow, odds = entropy.grammar_rules(source)
    text = draw(source, 300_000, 0).tolist()
    nats, waiting = 0.0, []
    for symbol in text:  # read without ambiguity, as a listener would
        kind = waiting.pop() if waiting else 0
        (rule,) = np.flatnonzero(first[kind] == symbol)
        nats -= np.log(odds[kind, rule])
        waiting.extend(reversed(follow[kind][rule]))
    assert rate(source) == pytest.approx(nats / len(text), rel=0.01)


def test_skills_have_the_entropy_they_say():
    source = read_source("skills:skills=32,keys=3,seed=2")
    records = draw(source, 400_000, 0).reshape(-1, 4)
    share = np.bincount(records[:, 0]) / len(records)
    assert rate(source) == pytest.approx(
        (-np.sum(share * np.log(share)) + 2 * np.log(3)) / 4, abs=0.003
    )
    asked: dict[tuple, set] = {}
    for skill, one, two, answer in records.tolist():
        asked.setdefault((skill, one, two), set()).add(answer)
    assert all(len(answers) == 1 for answers in asked.values())


@pytest.mark.parametrize(
    "name", ["markov:order=1,symbols=8", "markov:order=3,symbols=5", "skills:skills=32,keys=3"]
)
def test_the_source_loses_its_entropy_on_its_own_windows(name):
    source = read_source(name + ",seed=4")
    text = draw(source, 20_000 * 8 + 1, 0).astype(np.int64)
    text_WU = text[8 * np.arange(20_000)[:, None] + np.arange(9)]
    nats = entropy.least_nats(source, text_WU)
    noise = nats.mean(1).std() / len(nats) ** 0.5
    assert nats.shape == (20_000, 8)
    assert nats.mean() == pytest.approx(window_rate(source, 8), abs=4 * noise)
    assert noise < 0.01
    if source.order == 3 and source.kind == "markov":  # as many pairs as the text has
        pairs = np.bincount(text[:-1] * 5 + text[1:], minlength=25).reshape(5, 5)
        odds = pairs / pairs.sum(1, keepdims=True)
        assert nats[:, 0] == pytest.approx(-np.log(odds[text_WU[:, 0], text_WU[:, 1]]), abs=0.15)


def test_no_least_loss_of_a_grammar():
    with pytest.raises(ValueError, match="is not known"):
        entropy.least_nats(read_source("grammar:"), np.zeros((2, 5), np.int64))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("markov:order=9", "symbols\\^order must be at most"),
        ("markov:kinds=9", "no setting 'kinds'"),
        ("grammar:symbols=two", "must be a number"),
        ("skills:skills=99999", "more than 65,536"),
        ("skills:tokens=1", "tokens must be at least"),
    ],
)
def test_impossible_sources_are_refused(name, said):
    with pytest.raises(ValueError, match=said):
        read_source(name)


def test_a_source_is_trained_on_down_to_its_entropy(tmp_path):
    """The loss of a chain of 4 symbols comes within 1% of its entropy, never below."""
    name = "markov:order=2,symbols=4,seed=1,tokens=400000"
    held, folder = corpus.load_corpus(name, "symbols", cache=tmp_path / "cache")
    source = read_source(name)
    assert held.entropy == rate(source)
    recipe = Recipe(context=32, sequences=8, warmup_steps=16, validation_windows=400)
    rung = Rung(width=32, depth=1, tokens=(256 * 600,))
    assert Ladder(
        name="x", corpus=name, tokenizer="symbols", rungs=(rung,), recipe=recipe,
        target=Rung(width=64, depth=1, tokens=(256 * 600,)),
    ).shape(rung).vocab == 4  # fmt: skip
    job = Job(rung=rung, recipe=recipe, corpus=str(folder), folder=str(tmp_path))
    train_rung(job)
    found = read_result(tmp_path / "runs" / run_name(rung, 256 * 600))
    assert found is not None
    floor = window_rate(source, 32)
    assert floor * 0.98 < found["loss"] < floor * 1.02
    with pytest.raises(ValueError, match="for sources of known entropy"):
        corpus.load_corpus("pystd", "symbols", cache=tmp_path)
    with pytest.raises(ValueError, match='set tokenizer = "symbols"'):
        corpus.load_corpus(name, "bytes", cache=tmp_path)


def test_impossible_data_is_refused():
    with pytest.raises(ValueError, match="noise = 2"):
        Data(noise=2)
    with pytest.raises(ValueError, match="leave some of 1"):
        Data(mixture={"a": 0.6, "b": 0.4})
    with pytest.raises(ValueError, match="imitates another"):
        corpus.load_corpus("synthetic:3", "bytes")
    with pytest.raises(ValueError, match="K from 1 to 7"):
        corpus.synthetic.order_of("synthetic:nine")
