"""The verbs of the command line, in the same words as the Python API."""

from __future__ import annotations

import json as json_format
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from threadpoolctl import threadpool_limits

if TYPE_CHECKING:
    from isoflop.tables import Runs

Json = Annotated[bool, tyro.conf.arg(help="print exactly one JSON object")]
Table = Annotated[
    str, tyro.conf.Positional, tyro.conf.arg(help="CSV, JSONL or Parquet file, or a public table")
]
Params = Annotated[
    Literal["total", "non_embedding", "active", "matmul", "unstated"],
    tyro.conf.arg(help="how the table counts parameters"),
]
Loss = Annotated[
    Literal["nats/token", "bits/token", "bits/byte", "unstated"],
    tyro.conf.arg(help="what the loss is measured in"),
]
Machine = Annotated[str | None, tyro.conf.arg(help="accelerator: H100-SXM")]
LawName = Literal["chinchilla", "skaling", "kaplan", "tied", "farseer", "power"]
ObjectiveName = Literal["huber", "lad", "lsqlog", "lsq", "asymmetric"]


def fit(
    runs: Table,
    law: LawName = "chinchilla",
    objective: ObjectiveName = "huber",
    method: Literal["wild", "pairs"] = "wild",
    level: float = 0.95,
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Fit a law to runs at the global minimum, with intervals and what to distrust."""
    from isoflop.fit import fit as fit_law

    table = _read(runs, params, loss)
    _emit(fit_law(table, law, objective=objective, method=method, level=level), json)


def backtest(
    runs: Table, level: float = 0.95, params: Params = "unstated", loss: Loss = "unstated",
    json: Json = False,
) -> None:  # fmt: skip
    """Forecast a table's own larger runs from its smaller ones, by every law and by the pool."""
    from isoflop.forecast import backtest as run_backtest

    _emit(run_backtest(_read(runs, params, loss), levels=(level,)), json)


def forecast(
    runs: Table,
    target_params: Annotated[str, tyro.conf.arg(help="parameters of the run to come: 7B")],
    target_tokens: Annotated[str, tyro.conf.arg(help="tokens of the run to come: 1.4T")],
    out: Annotated[Path, tyro.conf.arg(help="sealed file to write")] = Path("forecast.json"),
    params: Params = "unstated",
    loss: Loss = "unstated",
    force: Annotated[bool, tyro.conf.arg(help="forecast even far beyond the backtest")] = False,
    json: Json = False,
) -> None:
    """Forecast a run that has not been made, and seal the forecast in a file."""
    from isoflop.forecast import forecast as make_forecast
    from isoflop.forecast import write_forecast
    from isoflop.units import parse

    target = {"params": parse(target_params), "tokens": parse(target_tokens)}
    made = make_forecast(_read(runs, params, loss), target, force=force)
    write_forecast(made, out)
    if json:
        _emit({"file": str(out), "seal": made.seal, **made.to_json()}, json)
    else:
        print(f"{made}\nsealed in {out} ({made.seal[:12]})")


def score(
    sealed: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="sealed forecast")],
    observed: Annotated[float, tyro.conf.arg(help="the loss that came out")],
    loss: Annotated[str | None, tyro.conf.arg(help="what it is measured in")] = None,
    json: Json = False,
) -> None:
    """Open a sealed forecast once its target has run: error, hit or miss, CRPS."""
    from isoflop.forecast import read_forecast
    from isoflop.forecast import score as score_forecast

    _emit(score_forecast(read_forecast(sealed), observed, loss=loss), json)


def page(
    runs: Table,
    out: Annotated[Path, tyro.conf.arg(help="HTML file to write")] = Path("page.html"),
    forecasts: Annotated[
        tuple[Path, ...], tyro.conf.arg(help="sealed forecasts of these runs")
    ] = (),
    machine: Machine = None,
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Write all that can be said of a table of runs as one self-contained HTML file."""
    from isoflop import __version__
    from isoflop.forecast import read_forecast
    from isoflop.page import Reproduce, write_page
    from isoflop.page.analysis import analyse, headline_of, report_of

    table = _read(runs, params, loss)
    command = ["isoflop", "page", runs, "--out", str(out), "--params", params, "--loss", loss]
    analysis = analyse(table)
    report = report_of(
        analysis,
        headline=headline_of(analysis.pool, machine=machine),
        title=f"isoflop: {table.name}",
        ledger=[(read_forecast(path), None) for path in forecasts],
        reproduce=Reproduce(commands=(shlex.join(command),), versions={"isoflop": __version__}),
    )
    write_page(report, out)
    _emit({"page": str(out)} if json else str(out), json)


def plan(
    runs: Table,
    budget: Annotated[str, tyro.conf.arg(help="1e23 (FLOPs), $2M or 90000 h of the machine")],
    machine: Machine = None,
    chips: int = 1,
    level: float = 0.9,
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Split a budget between parameters and tokens, with what it takes in hours and dollars."""
    from isoflop.forecast import pool
    from isoflop.plan import plan as make_plan

    made = pool(_read(runs, params, loss))
    _emit(make_plan(made, budget, machine=machine, chips=chips, level=level), json)


def compare(
    runs: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="runs of the arm in use")],
    other: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="runs of the arm on trial")],
    at: Annotated[tuple[float, ...], tyro.conf.arg(help="computes to compare at, in FLOPs")] = (),
    worth: Annotated[float, tyro.conf.arg(help="speed-up that would pay for the change")] = 1.0,
    risk: Annotated[float, tyro.conf.arg(help="chance of a wrong promotion to accept")] = 0.1,
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Effective-compute speed-up of one recipe over another, and whether it persists with scale."""
    from isoflop.forecast import compare as compare_arms

    arms = [_read(path, params, loss) for path in (runs, other)]
    _emit(compare_arms(*arms, at=at or None, worth=worth, risk=risk), json)


def next_runs(
    runs: Table,
    target_params: Annotated[str, tyro.conf.arg(help="parameters of the run to be forecast")],
    target_tokens: Annotated[str, tyro.conf.arg(help="tokens of the run to be forecast")],
    budget: Annotated[float, tyro.conf.arg(help="FLOPs to spend on runs before it")],
    params: Params = "unstated",
    loss: Loss = "unstated",
    json: Json = False,
) -> None:
    """Which runs to do next so that a target's interval shrinks most per FLOP."""
    from isoflop.forecast import pool
    from isoflop.plan import next_runs as choose
    from isoflop.units import parse

    aim = {"params": parse(target_params), "tokens": parse(target_tokens)}
    _emit(choose(pool(_read(runs, params, loss)), aim, budget=budget), json)


def cost(
    model: Annotated[
        str,
        tyro.conf.Positional,
        tyro.conf.arg(help="config.json, its folder, or a published name"),
    ] = "",
    tokens: Annotated[str | None, tyro.conf.arg(help="training tokens: 15T")] = None,
    machine: Machine = None,
    chips: int = 1,
    batch: Annotated[int, tyro.conf.arg(help="sequences decoded at once")] = 1,
    sequence: Annotated[int, tyro.conf.arg(help="tokens of a sequence")] = 4096,
    check: Annotated[bool, tyro.conf.arg(help="compare with every published figure known")] = False,
    json: Json = False,
) -> None:
    """What an architecture costs: parameters, FLOPs, bytes, seconds, dollars, by convention."""
    from isoflop import cost as room
    from isoflop.units import parse

    if check:
        return _emit(room.check(), json)
    if not model:
        raise ValueError("cost needs a config.json, its folder, or the name of a published model")
    path = Path(model)
    return _emit(
        room.cost(
            room.from_config(path) if path.exists() else model,
            None if tokens is None else parse(tokens),
            machine=machine,
            chips=chips,
            batch=batch,
            sequence=sequence,
        ),
        json,
    )


def know(
    items: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help="CSV, JSONL or Parquet: one question a row")
    ],
    threshold: Annotated[
        float, tyro.conf.arg(help="confidence from which an answer is claimed")
    ] = 0.5,
    rate: Annotated[float, tyro.conf.arg(help="error that abstention shall keep to")] = 0.1,
    second: Annotated[
        float, tyro.conf.arg(help="what a second costs, a right answer being 1")
    ] = 0.0,
    only: Annotated[
        tuple[str, ...], tyro.conf.arg(help="rows to keep: model=RLCR dataset=triviaqa")
    ] = (),
    level: float = 0.95,
    json: Json = False,
) -> None:
    """What a model knows of what it knows: quadrants, calibration, abstention, routing."""
    from isoflop.knowing import know as report
    from isoflop.tables import read_items

    for word in only:
        if "=" not in word:
            raise ValueError(f"--only takes column=value, not {word!r}")
    table = read_items(items, only=dict(word.split("=", 1) for word in only))
    _emit(report(table, threshold=threshold, rate=rate, second=second, level=level), json)


def data(
    name: Annotated[
        str, tyro.conf.Positional, tyro.conf.arg(help="a table to bring; none lists them all")
    ] = "",
    out: Annotated[Path | None, tyro.conf.arg(help="CSV file to write it to")] = None,
    json: Json = False,
) -> None:
    """List the public tables with source and licence, or bring one by URL and sha256."""
    from isoflop.sources import listing, load, load_columns

    entries = {entry["name"]: entry for entry in listing()}
    if not name:
        if json:
            return _emit({"tables": list(entries.values())}, json)
        width = max(map(len, entries))
        lines = [f"{e['name']:<{width}}  {e['title']} (licence: {e['licence']})"
                 for e in entries.values()]  # fmt: skip
        return print("\n".join(lines))
    if name not in entries:
        raise ValueError(f"no public table {name!r}; `isoflop data` lists them")
    brought = load(name) if entries[name]["kind"] == "runs" else None
    columns = brought.data if brought is not None else load_columns(name)
    if out is not None:
        write_csv(columns, out)
    if json:
        return _emit(entries[name] | {"rows": len(next(iter(columns.values())))}, json)
    return print(brought if brought is not None else "\n".join(
        f"{column}: {len(values)} values" for column, values in columns.items()
    ))  # fmt: skip


def write_csv(columns: Mapping[str, Any], path: Path) -> None:
    """Write columns as CSV. Raises FileExistsError: no file of the user's is replaced."""
    import csv

    with path.open("x", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def lint(
    runs: Annotated[str, tyro.conf.Positional, tyro.conf.arg(help="CSV of training runs")],
    json: Json = False,
) -> None:
    """Find what cannot be in a table of training runs: units, MFU, conventions, hours."""
    from isoflop.cost import lint as check_table
    from isoflop.cost import read_table

    _emit(check_table(read_table(runs)), json)


def climb(
    ladder: Annotated[str, tyro.conf.arg(help="laptop, phase, gpu, ci, or a TOML file")] = "laptop",
    folder: Annotated[
        Path | None, tyro.conf.arg(help="where the runs go (runs/NAME); continued if it exists")
    ] = None,
    minutes: Annotated[
        float | None, tyro.conf.arg(help="measure this machine, size the ladder to the time")
    ] = None,
    seed: Annotated[int, tyro.conf.arg(help="first seed; the repeats follow it")] = 0,
    dry_run: Annotated[bool, tyro.conf.arg(help="print the cost and train nothing")] = False,
    json: Json = False,
) -> None:
    """Train a ladder, forecast the next rung, seal it, run it, score it, write the page."""
    try:
        from isoflop.lab import verb
    except ModuleNotFoundError as error:
        raise ValueError(f"climb needs {error.name}: pip install 'isoflop[lab]'") from None
    _emit(
        verb.climb(ladder, folder=folder, minutes=minutes, seed=seed, dry_run=dry_run, quiet=json),
        json,
    )


def _read(path: str, params: str, loss: str) -> Runs:
    from isoflop.sources import data_sets, load
    from isoflop.tables import read_runs

    if path in [entry.name for entry in data_sets()]:
        return load(path)
    return read_runs(
        path,
        params=None if params == "unstated" else params,
        loss=None if loss == "unstated" else loss,
    )


def _emit(result: Any, json: bool) -> None:
    if json:
        plain = result if isinstance(result, Mapping) else result.to_json()
        print(json_format.dumps(plain, allow_nan=False))
    else:
        print(result)


VERBS = {
    "climb": climb, "fit": fit, "backtest": backtest, "forecast": forecast, "score": score,
    "page": page, "compare": compare, "plan": plan, "next": next_runs, "cost": cost,
    "lint": lint, "know": know, "data": data,
}  # fmt: skip


def main() -> None:
    """Run one verb; what a user can mend is one line on standard error and exit status 2."""
    try:
        # The solver's matrices are small: more BLAS threads than one make it slower.
        with threadpool_limits(limits=1, user_api="blas"):
            tyro.extras.subcommand_cli_from_dict(
                VERBS,
                prog="isoflop",
                description=__doc__,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except BrokenPipeError:
        sys.stderr.close()  # the reader has seen enough
    except (ValueError, OSError, RuntimeError) as error:
        if "--json" in sys.argv:
            print(json_format.dumps({"error": str(error)}))
        print(f"isoflop: {error}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()
