"""Runs: what is read, what is derived, what is refused and with which words."""

import datetime
import json
import pickle

import numpy as np
import pytest

from isoflop.law import Law, Param
from isoflop.tables import Runs

N = [70e6, 160e6, 410e6, 1.4e9]
D = [1.4e9, 3.2e9, 8.2e9, 28e9]
LOSS = [3.9, 3.4, 3.0, 2.6]


def table(**changes):
    return {"params": N, "tokens": D, "loss": LOSS} | changes


def two_inputs(count=5):
    names = ["E", "A", "B", "alpha", "beta", "gamma"][:count]
    return Law(
        name="sum", title="", equation="", formula=lambda p, c: c["params"], citation="",
        params=tuple(Param(name=n, low=0, high=1, start=(0, 1)) for n in names),
        inputs=("params", "tokens"),
    )  # fmt: skip


def refused(fragment, value, **options):
    with pytest.raises(ValueError) as error:
        Runs.of(value, **options)
    assert fragment in str(error.value), str(error.value)


def test_flops_are_derived_and_the_derivation_is_said():
    runs = Runs.of(table(), params="total", loss="nats/token")
    assert runs.columns == ("params", "tokens", "flops", "loss")
    np.testing.assert_allclose(runs["flops"], 6 * np.array(N) * D, rtol=1e-15)
    assert runs.conventions == {"params": "total", "flops": "6nd", "loss": "nats/token"}
    assert runs.origin["flops"] == "derived: 6 params tokens"
    assert "derived: 6 params tokens" in str(runs)
    assert len(runs) == 4


def test_tokens_are_derived_from_flops():
    flops = 6 * np.array(N) * np.array(D)
    runs = Runs.of({"params": N, "flops": flops, "loss": LOSS}, flops="6nd")
    np.testing.assert_allclose(runs["tokens"], D, rtol=1e-15)
    assert runs.origin["tokens"] == "derived: flops / (6 params)"


def test_conventions_are_never_guessed():
    assert set(Runs.of(table()).conventions.values()) == {"unstated", "6nd"}
    runs = Runs.of({"non_embedding_params": N, "tokens": D, "loss": LOSS})
    assert runs.conventions["params"] == "non_embedding"
    refused("says total", {"non_embedding_params": N, "tokens": D, "loss": LOSS}, params="total")
    refused("unknown convention 'all'", table(), params="all")
    refused("there is no column 'flops'", table(), flops="exact")


def test_a_convention_column_is_read_and_a_mixed_one_refused():
    runs = Runs.of(table(params_convention=["total"] * 4, loss_unit=["bits/byte"] * 4))
    assert (runs.conventions["params"], runs.conventions["loss"]) == ("total", "bits/byte")
    assert "params_convention" not in runs
    mixed = table(params_convention=["total", "total", "active", "total"])
    refused("(column 'params_convention'): row 1 is 'total', row 3 is 'active'", mixed)


@pytest.mark.parametrize(
    ("headers", "roles"),
    [
        (["N", "D", "loss"], ["params", "tokens", "loss"]),
        (["Model Size", "Training Tokens", "val_loss"], ["params", "tokens", "loss"]),
        (["parameter-count", "tokens_seen", "eval/loss"], ["params", "tokens", "loss"]),
        (["n_params", "C", "Validation Loss"], ["params", "flops", "loss"]),
    ],
)
def test_synonyms_are_recognised_and_said(headers, roles):
    values = {"params": N, "tokens": D, "flops": [1e18, 5e18, 3e19, 2e20], "loss": LOSS}
    runs = Runs.of(dict(zip(headers, (values[r] for r in roles), strict=True)))
    for header, role in zip(headers, roles, strict=True):
        assert runs.origin[role] == repr(header)
        np.testing.assert_array_equal(runs[role], values[role])


def test_two_candidates_for_one_role_are_refused_and_columns_decides():
    both = table(val_loss=[3.8, 3.3, 2.9, 2.5])
    refused("columns 'loss' and 'val_loss' could each be loss", both)
    runs = Runs.of(both, columns={"loss": "val_loss"})
    assert runs["loss"][0] == 3.8
    assert runs.notes == ("left out 'loss': loss is 'val_loss'",)
    refused("the role 'size'", table(), columns={"size": "params"})
    refused("column 'gone', named for loss", table(), columns={"loss": "gone"})
    assert Runs.of(table(d=[1, 2, 3, 4]))["d"].tolist() == [1, 2, 3, 4]  # lower case: no role


def test_text_numbers_are_read_through_units():
    runs = Runs.of(
        table(
            params=["70M", "160M", "410M", "1.4B"],
            loss=["3.9", "3.4", "3.0", "2.6"],
            flops=["6e17 FLOPs", "3.1 EFLOP", "2e19", "2.4e20"],
        )
    )
    assert runs["flops"].tolist() == [6e17, 3.1e18, 2e19, 2.4e20]
    np.testing.assert_allclose(runs["params"], N, rtol=1e-15)
    assert runs["loss"].dtype == float


@pytest.mark.parametrize(
    ("column", "value", "says"),
    [
        ("loss", float("nan"), "column 'loss', row 3: no value; fill the cell or drop the row"),
        ("loss", None, "column 'loss', row 3: no value"),
        ("loss", "", "column 'loss', row 3: no value"),
        ("loss", 0.0, "column 'loss', row 3: 0 is not positive"),
        ("tokens", -5e9, "column 'tokens', row 3: -5e+09 is not positive"),
        ("tokens", float("inf"), "column 'tokens', row 3: the value is not finite"),
        ("tokens", "inf", "column 'tokens', row 3: the value is not finite"),
        ("tokens", 10**400, "column 'tokens', row 3: the value is not finite"),
        ("params", "many", "column 'params', row 3: cannot read 'many'"),
        ("params", "410,000,000", "without thousand separators"),
        ("params", True, "column 'params', row 3: True is true or false"),
        ("params", 1 + 2j, "a complex where a number is due"),
        ("params", datetime.date(2026, 1, 1), "a date where a number is due"),
        ("params", [1], "a list where a number is due"),
        ("params", "4 days", "is in seconds, count expected"),
        ("loss", "3.0K", "column 'loss', row 3: '3.0K' has a unit; a plain number is due"),
        ("params", 410.0, "row 3: 410 parameters is no count"),
    ],
)
def test_a_bad_cell_is_named_with_its_column_row_and_cure(column, value, says):
    cells = list(table()[column])
    cells[2] = value
    refused(says, table(**{column: cells}))


def test_masked_and_boolean_arrays():
    masked = np.ma.masked_array(LOSS, mask=[False, True, False, False])
    refused("column 'loss', row 2: no value", table(loss=masked))
    refused("column 'loss', row 1: True is true or false", table(loss=np.array([True] * 4)))
    dates = np.array(["2026-01-01"] * 4, dtype="datetime64[D]")
    refused("column 'loss', row 1: a datetime64 where", table(loss=dates))
    refused("column 'loss' has 2 dimensions", table(loss=np.ones((4, 1))))
    refused("column 'loss' is one float", table(loss=2.5))


def test_other_columns_keep_their_kind():
    runs = Runs.of(
        table(
            optimizer=["adamw", "adamw", "muon", "none"], lr=["1e-3", "2e-3", "1e-3", "5e-4"],
            day=[datetime.date(2026, 1, k) for k in (1, 2, 3, 4)], done=[True, True, False, True],
        )
    )  # fmt: skip
    assert runs["optimizer"].tolist() == ["adamw", "adamw", "muon", "none"]
    assert runs["lr"].tolist() == [1e-3, 2e-3, 1e-3, 5e-4]
    assert runs["day"][0] == "2026-01-01"
    assert runs["done"].tolist() == ["true", "true", "false", "true"]


def test_a_hole_in_a_further_column_names_all_such_columns():
    holes = table(lr=[1e-3, None, 1e-3, 1e-3], width=[1, 2, 3, float("nan")])
    refused("column 'lr', row 2: no value", holes)
    refused("ignore=['lr', 'width']", holes)
    assert len(Runs.of(holes, ignore=("lr", "width"))) == 4
    refused("ignore names column 'gone'", table(), ignore=("gone",))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"params": [70, 160, 410, 1400]}, "units={'params': 'M'}"),
        ({"params": [7e3, 16e3, 41e3, 140e3], "tokens": [x * 1e3 for x in D]}, "per parameter"),
        ({"tokens": [1400, 3200, 8200, 28000]}, "per parameter"),
        ({"tokens": [1.4e9, 3.2e9, 8.2e9, 28]}, "column 'tokens', row 4"),
        ({"tokens": [1.4e9, 3.2e9, 8.2e9, 28e3]}, "column 'tokens', row 4"),
        ({"flops": [x / 1e9 for x in (5.9e17, 3e18, 2e19, 2.4e20)]}, "times 6 params tokens"),
        ({"flops": [5.9e17, 3e18, 2e19, 2.4e11]}, "column 'flops', row 4"),
    ],
)
def test_mixed_units_are_refused(change, says):
    refused(says, table(**change))
    with pytest.raises(ValueError, match="column"):
        Runs.of(table(**change))


def test_flops_stated_as_6nd_must_be_6nd():
    flops = [1.2 * 6 * n * d for n, d in zip(N, D, strict=True)]
    assert Runs.of(table(flops=flops), flops="exact").conventions["flops"] == "exact"
    refused("row 1: stated as 6nd but 1.2 times 6 params", table(flops=flops), flops="6nd")


def test_stated_units_are_applied_and_said():
    runs = Runs.of(table(params=[70, 160, 410, 1400]), units={"params": "M"})
    np.testing.assert_allclose(runs["params"], N, rtol=1e-15)
    assert runs.origin["params"] == "'params' in M"
    refused("'160M' has a unit", table(params=[70, "160M", 410, 1400]), units={"params": "M"})
    refused("units are K, M, B or T", table(), units={"params": "G"})
    refused("which the table does not have", table(), units={"flops": "B"})


def test_repeats_must_be_marked_as_seeds():
    twice = {"params": N + N, "tokens": D + D, "loss": LOSS + [x + 0.01 for x in LOSS]}
    refused("rows 1 and 5 are one configuration", twice)
    refused("seeds=True", twice)
    refused("rows 1 and 5 are the same run twice", twice | {"loss": LOSS + LOSS})
    refused("rows 1 and 5 are one configuration", twice | {"seed": [1] * 8})
    refused("rows 1 and 5", twice | {"run": list("abcdefgh")})
    by_column = Runs.of(twice | {"seed": [1] * 4 + [2] * 4})
    assert [cell.tolist() for cell in by_column.cells()] == [[0, 4], [1, 5], [2, 6], [3, 7]]
    assert Runs.of(twice, seeds=True).cells()[0].tolist() == [0, 4]
    assert len(Runs.of(twice | {"lr": [1] * 4 + [2] * 4})) == 8
    assert "8 runs, 4 of them repeats" in str(by_column)


def test_tables_that_are_none():
    refused("not int", 3)
    refused("has no rows", {"params": [], "tokens": [], "loss": []})
    refused("no column 'loss'", {"params": N, "tokens": D})
    refused("no column 'params', 'tokens' or 'flops'", {"loss": LOSS})
    refused("columns differ in length", table(loss=LOSS[:3]))
    refused("column name 3 is not text", table() | {3: N})
    refused("column 'x', row 1: a dict is neither", table(x=[{}] * 4))
    refused("a name that cannot be printed", table() | {"\x1b[31m": N})
    refused("the integer is beyond 64 bits", table(x=[10**5000, "b", "c", "d"]))
    refused("the text holds a NUL", table(x=["a\x00", "b", "c", "d"]))


def test_values_are_frozen():
    source = np.array(LOSS)
    runs = Runs.of(table(loss=source))
    source[0] = 99
    assert runs["loss"][0] == 3.9
    with pytest.raises(ValueError, match="read-only"):
        runs["loss"][0] = 1
    with pytest.raises(TypeError):
        runs.data["loss"] = source  # type: ignore[index]
    with pytest.raises(ValueError, match="no column 'gone'; the table has params"):
        runs["gone"]


def test_where_and_split():
    runs = Runs.of(table())
    below, above = runs.split(1e19)
    assert (len(below), len(above)) == (2, 2)
    assert below["flops"].max() <= 1e19 < above["flops"].min()
    assert runs.where(runs["loss"] < 3.5)["loss"].tolist() == [3.4, 3.0, 2.6]
    with pytest.raises(ValueError, match=r"split between 5.88e17 and 2.35e20"):
        runs.split(1e30)
    with pytest.raises(ValueError, match="no run of 'runs' is left"):
        runs.where(runs["loss"] < 0)
    with pytest.raises(ValueError, match="4 booleans"):
        runs.where([1, 0, 1, 0])


def test_hash_is_of_the_content():
    runs = Runs.of(table(), params="total", name="a")
    assert runs.hash == "" or len(runs.hash) == 64
    assert runs == Runs.of(table(), params="total", name="b")
    assert runs.hash != Runs.of(table(), params="active").hash
    assert runs.hash != Runs.of(table(loss=[3.9, 3.4, 3.0, 2.6000001]), params="total").hash
    assert runs.hash != runs.where(np.array([True, True, True, False])).hash


def test_json_round_trip_and_hostile_json():
    runs = Runs.of(table(run=list("abcd"), seed=[1, 2, 3, 4]), params="total", name="mine")
    text = json.dumps(runs.to_json())
    back = Runs.from_json(text)
    assert back == runs
    assert (back.name, back.origin, back.columns) == (runs.name, runs.origin, runs.columns)
    for spoiled in (
        "[]",
        "{",
        "[" * 100_000,
        json.dumps(runs.to_json() | {"extra": 1}),
        json.dumps(runs.to_json() | {"columns": {"loss": [1]}}),
        json.dumps(runs.to_json() | {"columns": {"loss": "text", "params": "text"}}),
        json.dumps(runs.to_json() | {"notes": 3}),
        json.dumps(runs.to_json() | {"origin": []}),
        json.dumps(runs.to_json() | {"conventions": {"params": "heads"}}),
        text.replace("3.9", "NaN"),
        text.replace("3.9", "-3.9"),
    ):
        with pytest.raises(ValueError):
            Runs.from_json(spoiled)


def test_a_table_can_be_sent_to_another_process():
    runs = Runs.of(table(run=list("abcd")), params="total", name="mine")
    back = pickle.loads(pickle.dumps(runs))
    assert back == runs
    assert (back.name, back.columns, back.conventions) == ("mine", runs.columns, runs.conventions)
    with pytest.raises(ValueError, match="read-only"):
        back["loss"][0] = 1


def test_concat():
    runs = Runs.of(table(), params="total", name="a")
    more = Runs.of(table(params=[x * 2 for x in N]), params="total", name="b")
    both = Runs.concat(runs, more)
    assert (len(both), both.name) == (8, "a+b")
    with pytest.raises(ValueError, match="are the same run twice"):
        Runs.concat(runs, runs)
    with pytest.raises(ValueError, match="is total in 'a' and active in 'runs'"):
        Runs.concat(runs, Runs.of(table(), params="active"))
    with pytest.raises(ValueError, match="lr"):
        Runs.concat(runs, Runs.of(table(lr=[1, 2, 3, 4]), params="total"))


def test_check_for_names_what_is_missing_and_the_cheapest_cure():
    grid = [(n, d) for n in (1e8, 2e8, 4e8) for d in (2e9, 4e9, 8e9)]
    full = Runs.of({"params": [n for n, _ in grid], "tokens": [d for _, d in grid],
                    "loss": np.linspace(4, 3, 9)})  # fmt: skip
    full.check_for(two_inputs())

    def fails(mask, says):
        with pytest.raises(ValueError) as error:
            full.where(mask).check_for(two_inputs())
        assert says in str(error.value), str(error.value)
        assert "cheapest cure is a run of" in str(error.value)

    fails(full["params"] < 3e8, "needs 3 different values in column 'params', the table has 2")
    fails(full["params"] < 3e8, "a run of 50M parameters on 2B tokens (6e17 FLOPs)")
    fails(full["tokens"] > 3e9, "needs 3 different values in column 'tokens', the table has 2")
    fails(np.arange(9) % 2 == 0, "needs 6 different runs")
    lockstep = Runs.of({"params": np.geomspace(1e8, 1e9, 8), "tokens": np.geomspace(2e9, 2e10, 8),
                        "loss": np.linspace(4, 3, 8)})  # fmt: skip
    with pytest.raises(ValueError, match="move in lockstep"):
        lockstep.check_for(two_inputs())
    with pytest.raises(ValueError, match="needs column 'tokens'; the table has params, loss"):
        Runs.of({"params": N, "loss": LOSS}).check_for(two_inputs())
