"""polyfuse status: how far a run is."""

import time
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text

from jobs.commands.options import Json, RunFolder, print_json
from jobs.terminal import console, duration, table


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("status")(status)


def status(
    run: RunFolder,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds.")] = False,
    as_json: Json = False,
) -> None:
    """Counts, rates, what is left and the errors by reason. Never starts Ray.

    Example: polyfuse status runs/products --watch
    """
    from pipeline.status import read_status, to_json

    if as_json:
        print_json(to_json(read_status(run)))
        return
    out = console()
    if not watch:
        out.print(render(read_status(run)))
        return
    with Live(console=out) as live:
        while True:
            now = read_status(run)
            live.update(render(now))
            if not now.pending and not any(stage.left for stage in now.stages):
                return
            time.sleep(2)


def render(now: "object") -> RenderableType:
    """A status as tables."""
    from pipeline.status import Status

    assert isinstance(now, Status)
    outcomes = ", ".join(f"{count:,} {name}" for name, count in now.outcomes.items() if count)
    head = Text(
        f"{now.run}: {now.records:,} records: {outcomes or 'none finished'}, {now.pending:,} pending"
    )
    rows = [
        (
            stage.name,
            stage.done,
            stage.left,
            stage.failed,
            f"{stage.rate:,.1f}/s" if stage.rate else "",
            duration(stage.left / stage.rate) if stage.rate and stage.left else "",
        )
        for stage in now.stages
    ]
    parts: list[RenderableType] = [
        head,
        table("", ("stage", "rows done", "left", "failed", "rate", "time left"), rows),
    ]
    if now.errors:
        parts.append(table("\nerrors by reason", ("reason", "count"), now.errors.most_common()))
    if now.models:
        learned = [
            (
                model.name,
                model.state,
                f"{model.step:,} of {model.steps:,}" if model.steps else "",
                "" if model.valid is None else f"{model.valid:.4f}",
            )
            for model in now.models
        ]
        parts.append(table("\nmodels", ("model", "state", "step", "validation loss"), learned))
    parts.append(Text(f"\nindexes: {', '.join(now.indexes) or 'none yet'}"))
    return Group(*parts)
