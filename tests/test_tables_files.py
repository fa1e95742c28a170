"""Files of runs: CSV, JSONL, Parquet and data frames; malformed ones name a column or a row."""

import json
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from isoflop.tables import Runs, read_runs

ROWS = [(70e6, 1.4e9, 3.9), (160e6, 3.2e9, 3.4), (410e6, 8.2e9, 3.0), (1.4e9, 28e9, 2.6)]
CSV = "params,tokens,loss\n" + "".join(f"{n:.0f},{d:.0f},{loss}\n" for n, d, loss in ROWS)


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("runs.csv", CSV),
        ("runs.csv", CSV.replace("\n", "\r\n")),
        ("runs.csv", b"\xef\xbb\xbf" + CSV.encode()),
        ("runs.csv", CSV.replace(",", ";")),
        ("runs.csv", CSV + "\n\n"),
        ("runs.csv", CSV.replace("params,tokens,loss", ' "params" , tokens,loss'.replace(" ", ""))),
        ("runs.tsv", CSV.replace(",", "\t")),
        ("runs.txt", CSV.replace(",", "|")),
        ("runs.csv", CSV.replace("70000000,", "70M,")),
    ],
)
def test_reads_the_usual_dialects(tmp_path, name, content):
    runs = read_runs(write(tmp_path, name, content), params="total")
    np.testing.assert_allclose(runs["params"], [r[0] for r in ROWS], rtol=1e-15)
    np.testing.assert_array_equal(runs["loss"], [r[2] for r in ROWS])
    assert (runs.name, runs.conventions["params"]) == ("runs", "total")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "no rows; the file is empty"),
        ("\n\n", "the file is empty"),
        ("params,tokens,loss\n", "the table has no rows; its columns are params, tokens, loss"),
        ("\n" + CSV, "the first row is empty"),
        (CSV.replace("3.4", "3.4,extra"), "row 2 has 4 fields, the header has 3"),
        (CSV.replace(",3.4", ""), "row 2 has 2 fields, the header has 3"),
        (CSV.replace("160000000", "160,000,000"), "thousand separators"),
        (CSV.replace("160000000", '"160,000,000"'), "row 2: cannot read '160,000,000'"),
        (CSV.replace(",", ";").replace("3.4", "3,4"), "row 2: cannot read '3,4'"),
        (CSV.replace("tokens", "params"), "column 'params' is in the header twice"),
        (CSV.replace("tokens", ""), "column 2 has no name"),
        (CSV.replace(",", ":"), "no column 'loss'"),
        (CSV.replace("3.4", '"3.4'), "row 2: unexpected end of data"),
        (CSV.replace("3.4", "9" * 200_000), "row 2: field larger than field limit"),
        (CSV.replace("3.4", "1_0"), "column 'loss', row 2: cannot read '1_0'"),
        (CSV.replace("3.4", "NaN"), "column 'loss', row 2: no value"),
        (CSV.replace("3.4", "-inf"), "column 'loss', row 2: the value is not finite"),
        (CSV.replace("3.4", "__import__('os')"), "column 'loss', row 2"),
        (CSV.replace("3.4", "=1+1"), "column 'loss', row 2"),
        (CSV.replace("3.4", "3.4\x00"), "row 2 holds a NUL byte"),
        (CSV.encode().replace(b"3.4", b"3.4\xff"), "row 2 is not UTF-8"),
        (CSV.encode("utf-16"), "row 0 is not UTF-8"),
    ],
)
def test_refuses_malformed_csv(tmp_path, content, says):
    with pytest.raises(ValueError) as error:
        read_runs(write(tmp_path, "bad.csv", content))
    assert says in str(error.value), str(error.value)
    assert str(error.value).startswith("bad.csv: ")
    assert len(str(error.value)) < 500


def test_jsonl(tmp_path):
    rows = [{"params": n, "tokens": d, "loss": loss} for n, d, loss in ROWS]
    lines = [json.dumps(row) for row in rows]
    runs = read_runs(write(tmp_path, "runs.jsonl", "\n".join(lines)))
    assert runs == Runs.of(rows)
    for spoiled, says in [
        (lines[1][:-1], "row 2: not a JSON object"),
        ("[1]", "row 2: a list where a JSON object is due"),
        ('{"loss": NaN}', "NaN is not a value"),
        ('{"loss": 1, "loss": 2}', "a key is given twice"),
        ("[" * 100_000, "row 2: not a JSON object"),
        ('{"loss": 3.4}', "row 2: no value"),
        (lines[1].replace("3.4", "9" * 5000), "row 2"),
        (lines[1].replace("3.4", "[3.4]"), "column 'loss', row 2: a list where"),
        (lines[1].replace("3.4", "true"), "column 'loss', row 2: True is true or false"),
    ]:
        path = write(tmp_path, "bad.jsonl", "\n".join([lines[0], spoiled, *lines[2:]]))
        with pytest.raises(ValueError) as error:
            read_runs(path)
        assert says in str(error.value), str(error.value)


def test_unknown_suffix_and_missing_file(tmp_path):
    with pytest.raises(ValueError, match=r"\.csv, \.tsv, \.jsonl or \.parquet"):
        read_runs(write(tmp_path, "runs.pkl", b"\x80\x04."))
    with pytest.raises(ValueError, match="no such file"):
        read_runs(tmp_path / "gone.csv")


def columns():
    n, d, loss = (np.array(column) for column in zip(*ROWS, strict=True))
    return {"params": n.astype(int), "tokens": d, "loss": loss, "optimizer": list("aabb")}


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_data_frames_give_the_same_runs_as_a_dict(library):
    module = pytest.importorskip(library)
    make = {"pandas": "DataFrame", "polars": "DataFrame", "pyarrow": "table"}[library]
    assert Runs.of(getattr(module, make)(columns())) == Runs.of(columns())
    holes = columns() | {"loss": [3.9, None, 3.0, 2.6]}
    with pytest.raises(ValueError, match="column 'loss', row 2: no value"):
        Runs.of(getattr(module, make)(holes))


def test_pandas_corner_cases():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(columns())
    nullable = frame.astype({"params": "Int64"})
    nullable.loc[1, "params"] = pandas.NA
    with pytest.raises(ValueError, match="column 'params', row 2: no value"):
        Runs.of(nullable)
    twice = pandas.concat([frame, frame[["loss"]]], axis=1)
    with pytest.raises(ValueError, match="column 'loss' is in the table twice"):
        Runs.of(twice)
    stamped = frame.assign(day=pandas.Timestamp("2026-01-01"))
    assert Runs.of(stamped)["day"][0].startswith("2026-01-01")
    shuffled = frame.set_index(np.array([3, 1, 0, 2]))
    assert Runs.of(shuffled) == Runs.of(frame)


def test_parquet(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    parquet.write_table(pyarrow.table(columns()), tmp_path / "runs.parquet")
    assert read_runs(tmp_path / "runs.parquet") == Runs.of(columns())
    with pytest.raises(ValueError, match="not a readable Parquet table"):
        read_runs(write(tmp_path, "bad.parquet", b"PAR1 but not really PAR1"))


def test_parquet_without_pyarrow_says_how_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ValueError, match=r"pip install 'isoflop\[parquet\]'"):
        read_runs(write(tmp_path, "runs.parquet", b""))


CELLS = st.one_of(
    st.sampled_from(
        ["70000000", "1.4e9", "7B", "3.1", "", "nan", "-1", "0", "inf", "1e999", "true", "x", "1,5",
         '"', "'", "$3", "4 days", "1e-300", "70", " ", "١٢", "0x10", "=A1", "\t", "9" * 400]
    ),
    st.text(max_size=6),
    st.floats().map(repr),
)  # fmt: skip
HEADERS = st.one_of(
    st.sampled_from(["params", "N", "tokens", "D", "loss", "val_loss", "flops", "seed", "lr",
                     "params_convention", "weight", "", "Loss", "unique_tokens"]),
    st.text(max_size=5),
)  # fmt: skip


@st.composite
def csv_bytes(draw):
    """A good table with a few cells, rows, delimiters or bytes spoiled, or a table of anything."""
    if draw(st.booleans()):
        lines = [line.split(",") for line in CSV.splitlines()]
    else:
        width = draw(st.integers(0, 4))
        lines = [[draw(HEADERS) for _ in range(width)]]
        lines += [[draw(CELLS) for _ in range(width)] for _ in range(draw(st.integers(0, 4)))]
    for _ in range(draw(st.integers(0, 3))):
        line = draw(st.sampled_from(lines))
        if line:
            line[draw(st.integers(0, len(line) - 1))] = draw(CELLS)
        if draw(st.integers(0, 4)) == 0:
            line.append(draw(CELLS))
    if draw(st.integers(0, 4)) == 0:
        lines.append(draw(st.sampled_from(lines)))
    delimiter = draw(st.sampled_from([",", ",", ";", "\t", "|", ":"]))
    content = "\n".join(delimiter.join(line) for line in lines).encode("utf-8", "surrogatepass")
    at = draw(st.integers(0, len(content)))
    return (
        content[:at]
        + draw(st.sampled_from([b"", b"", b"\x00", b"\xff", b"\r", b'"']))
        + content[at:]
    )


def sound(read):
    """A table is refused by column or row, or answers for every value in it."""
    try:
        runs = read()
    except ValueError as error:
        message = str(error)
    else:
        message = ""
    if message:
        assert "column" in message or "row" in message, message
        return
    for name in ("params", "tokens", "flops", "loss"):
        if name in runs:
            assert all(math.isfinite(x) and x > 0 for x in runs[name]), name
    assert len(runs) == len(runs["loss"]) > 0
    assert Runs.from_json(json.dumps(runs.to_json())) == runs
    assert str(runs)


@settings(max_examples=300, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(content=csv_bytes())
def test_malformed_csv_is_refused_by_column_or_row_or_read_soundly(tmp_path, content):
    path = write(tmp_path, "any.csv", content)
    sound(lambda: read_runs(path))


VALUES = st.one_of(
    st.floats(), st.integers(), st.booleans(), st.none(), st.text(max_size=4),
    st.binary(max_size=2), st.dates(), st.complex_numbers(), st.lists(st.integers(), max_size=1),
    st.decimals(),    st.floats(1e6, 1e10), st.floats(1e8, 1e11), st.floats(2, 4),
    st.sampled_from([np.float32(2.5), np.int8(3), np.bool_(True), np.datetime64("NaT"), 10**400]),
)  # fmt: skip


@settings(max_examples=300, deadline=None, derandomize=True)
@given(
    extra=st.dictionaries(HEADERS, st.lists(VALUES, max_size=5), max_size=3),
    spoil=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3), VALUES), max_size=3),
)
def test_malformed_columns_are_refused_by_column_or_row_or_read_soundly(extra, spoil):
    table = [[row[k] for row in ROWS] for k in range(3)]
    for column, row, value in spoil:
        table[column][row] = value
    named = dict(zip(("params", "tokens", "loss"), table, strict=True)) | extra
    sound(lambda: Runs.of(named))
