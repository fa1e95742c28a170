"""Items: questions answered, from every kind of table; malformed ones name a column or a row."""

import json

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.parquet
import pytest

from isoflop.tables.items import Items, read_items

COLUMNS = {
    "item_id": ["a", "b", "c", "d"],
    "topic": ["x", "x", "y", "y"],
    "confidence": [0.9, 0.2, 0.5, 1.0],
    "correct": [1, 0, 0, 1],
    "seconds": [1.5, 2.0, 0.5, 1.0],
}
SAMPLES = {
    "id": ["a", "b"],
    "answers": [["4", "5", "4"], ["7", "7"]],
    "truth": ["4", "8"],
    "scores": [[0.1, 0.9, 0.3], [1, 2]],
}


def write(folder, name, content):
    path = folder / name
    path.write_text(content)
    return path


def equal(one, other):
    assert one.columns == other.columns
    for name in one.columns:
        np.testing.assert_array_equal(one[name], other[name])


def test_every_kind_of_table_gives_the_same_items(tmp_path):
    items = Items.of(COLUMNS)
    frame = pandas.DataFrame(COLUMNS)
    frame.to_csv(tmp_path / "items.csv", index=False)
    rows = frame.to_dict("records")
    write(tmp_path, "items.jsonl", "\n".join(json.dumps(row) for row in rows))
    pyarrow.parquet.write_table(pyarrow.table(COLUMNS), tmp_path / "items.parquet")
    equal(Items.of(frame), items)
    equal(Items.of(polars.DataFrame(COLUMNS)), items)
    equal(Items.of(pyarrow.table(COLUMNS)), items)
    equal(Items.of(rows), items)
    for name in ("items.csv", "items.jsonl", "items.parquet"):
        equal(read_items(tmp_path / name), items)
    assert items.columns == ("id", "group", "q", "y", "seconds")
    np.testing.assert_array_equal(items.right, [1, 0, 0, 1])
    np.testing.assert_array_equal(items.clusters, [0, 0, 1, 1])
    assert "4 questions" in str(items)


def test_items_are_read_only_and_survive_json():
    items = Items.of(COLUMNS, name="quiz")
    with pytest.raises(ValueError, match="read-only"):
        items["q"][0] = 0.5
    back = Items.from_json(json.loads(json.dumps(items.to_json())))
    equal(back, items)
    samples = Items.of(SAMPLES)
    equal(Items.from_json(json.loads(json.dumps(samples.to_json()))), samples)


@pytest.mark.parametrize("kind", ["lists", "json", "frame", "parquet"])
def test_samples_are_counted_from_answers_and_truth(tmp_path, kind):
    table = SAMPLES
    if kind == "json":
        table = {**SAMPLES, "answers": [json.dumps(v) for v in SAMPLES["answers"]]}
    if kind == "frame":
        table = pandas.DataFrame(SAMPLES)
    if kind == "parquet":
        pyarrow.parquet.write_table(pyarrow.table(SAMPLES), tmp_path / "s.parquet")
        items = read_items(tmp_path / "s.parquet")
    else:
        items = Items.of(table)
    np.testing.assert_array_equal(items["n"], [3, 2])
    np.testing.assert_array_equal(items["c"], [2, 0])
    np.testing.assert_allclose(items.right, [2 / 3, 0])
    assert items.lists("answers") == SAMPLES["answers"]
    assert items.lists("scores") == SAMPLES["scores"]


def test_rows_number_themselves_and_truth_values_are_marks():
    items = Items.of({"y": [True, False, "true", "0"], "q": ["0.5", ".25", "1", "0"]})
    assert items["id"].tolist() == ["1", "2", "3", "4"]
    np.testing.assert_array_equal(items["y"], [1, 0, 1, 0])


def test_tables_of_several_models_are_split_before_they_are_judged():
    table = {"model": ["m", "m", "o", "o"], "id": [1, 2, 1, 2], "y": [1, 0, 1, 1]}
    items = Items.of(table)
    parts = items.by("model")
    assert {key: part["y"].tolist() for key, part in parts.items()} == {
        ("m",): [1, 0], ("o",): [1, 1]
    }  # fmt: skip
    assert parts[("o",)].name == "items o"
    equal(Items.of(table, only={"model": "o"}), parts[("o",)])
    with pytest.raises(ValueError, match=r"one model, column 'model' has 2 \(m, o\); keep one"):
        items.need("y", why="the report")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"q": [50, 90], "y": [1, 0]}, "column 'q', row 1: 50 is no confidence .* percentages"),
        ({"q": [0.5, None], "y": [1, 0]}, "column 'q', row 2: no value; fill the cell"),
        ({"q": [0.5, "nan"], "y": [1, 0]}, "column 'q', row 2: no value"),
        ({"y": [1, 2]}, "column 'y', row 2: '2' is neither right .* counts in columns 'n' and"),
        ({"y": [1, None]}, "column 'y', row 2: '' is neither right"),
        ({"n": [10, 10], "c": [1, 11]}, "column 'c', row 2: 11 right of fewer samples"),
        ({"n": [10, 2.5], "c": [1, 1]}, "column 'n', row 2: 2.5 is no count"),
        ({"n": [10, 0], "c": [1, 0]}, "column 'n', row 2: 0 samples; drop"),
        ({"c": [1, 2]}, "columns 'n' .* and 'c' .* go together"),
        ({"y": [1, 0], "price": [1, -2]}, "column 'price', row 2: -2 is negative"),
        ({"id": ["a", "a"], "y": [1, 0]}, "column 'id', rows 1 and 2: question 'a' is in .* twice"),
        ({"y": [1, 0], "correct": [1, 0], "right": [0, 0]}, None),
        ({"correct": [1, 0], "right": [0, 0]}, "columns 'correct' and 'right' could each be y"),
        ({"seconds": [1, 2]}, "no column 'y', 'q', 'c'"),
        ({"answers": ["[1", "[2]"], "truth": [1, 2]}, "column 'answers', row 1: not a JSON list"),
        ({"answers": [[], [2]], "truth": [1, 2]}, "row 1: a list with one element a sample"),
        (
            {"answers": [["1"]], "truth": ["1"], "n": [2], "c": [1]},
            "'n', row 1: 2 disagrees",
        ),
        ({"answers": [["1"]], "truth": ["1"], "scores": [[1, 2]]}, "row 1: 2 scores of 1 samples"),
        ({"answers": [["1"]], "truth": ["1"], "scores": [["x"]]}, "column 'scores', row 1: a bad"),
        ({"scores": [[1]], "y": [1]}, "'scores' needs the answers it scores"),
        ({"y": [1, 0], "z": [1, None]}, r"column 'z', row 2: no value.*ignore=\('z',\)"),
    ],
)
def test_malformed_tables_name_the_column_the_row_and_the_cure(table, message):
    if message is None:
        assert Items.of(table)["y"].tolist() == [1, 0]
        return
    with pytest.raises(ValueError, match=message):
        Items.of(table)


def test_bad_options_and_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="column 'p', named for q, is not in the table"):
        Items.of({"y": [1]}, columns={"q": "p"})
    with pytest.raises(ValueError, match="names the role 'conf'; roles are id"):
        Items.of({"y": [1]}, columns={"conf": "y"})
    with pytest.raises(ValueError, match="column 'model' never is 'z'; it has 'm'"):
        Items.of({"y": [1], "model": ["m"]}, only={"model": "z"})
    with pytest.raises(ValueError, match="ignore names column 'w'"):
        Items.of({"y": [1]}, ignore=["w"])
    with pytest.raises(ValueError, match=r"items.csv: column 'q', row 1: 7 is no confidence"):
        read_items(write(tmp_path, "items.csv", "q,y\n7,1\n"))
    with pytest.raises(ValueError, match=r"is .csv, .tsv, .jsonl or .parquet"):
        read_items(tmp_path / "items.pkl")
    with pytest.raises(ValueError, match="no such file"):
        read_items(tmp_path / "none.csv")
    with pytest.raises(ValueError, match="not the JSON of a table of items"):
        Items.from_json({"format": "x"})
    with pytest.raises(ValueError, match="the mask is false in each row"):
        Items.of({"y": [1]}).where(np.array([False]))
