"""Verbs on what the lab trains: climb, why, publish, quantise, serve."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import tyro

from isoflop.cli.words import Json, emit, lab_needed


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
    place: Annotated[str, tyro.conf.arg(help="local, ray, ray:ADDRESS or slurm")] = "local",
    json: Json = False,
) -> None:
    """Train a ladder, forecast the next rung, seal it, run it, score it, write the page."""
    with lab_needed("climb"):
        from isoflop.lab import verb
    emit(
        verb.climb(
            ladder,
            folder=folder,
            minutes=minutes,
            seed=seed,
            dry_run=dry_run,
            place=place,
            quiet=json,
        ),
        json,
    )


def why(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="a climb: runs/laptop")],
    windows: Annotated[int, tyro.conf.arg(help="validation windows to look at")] = 512,
    json: Json = False,
) -> None:
    """Which tokens brought the drop in loss, and what the text itself predicts of the exponent."""
    with lab_needed("why"):
        from isoflop.lab.why import why as explain
    emit(explain(folder, windows=windows), json)


def publish(
    run: Annotated[
        Path, tyro.conf.Positional, tyro.conf.arg(help="one run of a climb: runs/laptop/runs/RUN")
    ],
    out: Annotated[Path, tyro.conf.arg(help="new folder for weights, config, tokenizer, card")],
    json: Json = False,
) -> None:
    """Write a trained run in Hugging Face format, with a card: ladder, sealed forecast, score."""
    with lab_needed("publish"):
        from isoflop.lab.export import export
    emit(export(run, out), json)


def quantise(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="a climb: runs/laptop")],
    bits: Annotated[tuple[int, ...], tyro.conf.arg(help="of a weight, 2 to 8")] = (2, 3, 4, 5, 8),
    json: Json = False,
) -> None:
    """Round the weights of every run: loss against bits per size, and the law of what it adds."""
    with lab_needed("quantise"):
        from isoflop.lab.quantise import quantise as measure
    emit(measure(folder, bits=bits), json)


def serve(
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(help="a climb: runs/laptop")],
    port: Annotated[int, tyro.conf.arg(help="of 127.0.0.1; 0 takes a free one")] = 8765,
    json: Json = False,
) -> None:
    """Show a folder's page in the browser, live while its runs are made; it only reads."""
    from functools import partial

    from isoflop.lab.watching import report_in, watch
    from isoflop.page.serve import Site

    if not folder.is_dir():
        raise ValueError(f"{folder} is no folder; give one that a climb writes, as runs/laptop")
    site = Site(partial(report_in, folder), partial(watch, folder), port=port)
    words = f"{site.url} shows {folder}; end it with ctrl-C"
    emit({"url": site.url, "folder": str(folder)} if json else words, json)
    sys.stdout.flush()  # whoever started it through a pipe waits for the address
    site.run()
