"""Live progress of a climb in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from isoflop.units import show

if TYPE_CHECKING:
    from rich.console import Console

    from isoflop.lab.launch import Event


@contextmanager
def live(console: Console) -> Iterator[Callable[[Event], None]]:
    """A bar a rung, and a line for every finished run, message and sealed forecast.

    Yields the function that takes the events of `climb`.
    """
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        TextColumn("{task.fields[state]}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )
    bars: dict[str, TaskID] = {}

    def on_event(event: Event) -> None:
        kind, rung = event["kind"], str(event.get("rung", ""))
        if kind == "step":
            share = float(event["share"])  # type: ignore[arg-type]
            state = f"loss {event['loss']:.3f}"
            if event.get("tokens_per_second"):
                state += f", {show(float(event['tokens_per_second']))} tokens/s"  # type: ignore[arg-type]
            if rung not in bars:
                bars[rung] = progress.add_task(escape(rung), total=1.0, state=state)
            progress.update(bars[rung], completed=share, state=state)
        elif kind == "done":
            progress.console.print(f"{escape(str(event['run']))}  loss {event['loss']:.4f}")
        elif kind in ("message", "sealed"):
            progress.console.print(escape(str(event["text"])))
            if kind == "sealed":
                progress.console.print(f"sealed {str(event['seal'])[:12]} before the target starts")

    with progress:
        yield on_event
