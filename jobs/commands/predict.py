"""polyfuse predict: the labels that a head gives the records of any run."""

from pathlib import Path
from typing import Annotated

import typer

from jobs import watch
from jobs.commands.options import Address, Json, RunFolder, print_json
from jobs.terminal import Bars


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("predict")(predict)


def predict(
    run: RunFolder,
    head: Annotated[
        str,
        typer.Argument(
            metavar="HEAD", help="The name of a head in this run, or the folder of one anywhere."
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Apply a head to every record of a run whose vectors are of the kind it learned from.

    Example: polyfuse predict runs/new runs/products/models/head labels.parquet
    """
    if not watch.in_driver():
        raise typer.Exit(watch.drive())
    watch.begin_driver()
    from pipeline import predict as job

    with Bars() as bars:
        summary = job.predict(run, head, out, address=address, progress=bars)
    if as_json:
        print_json(
            {
                "format": 1,
                "out": str(summary.out),
                "head": str(summary.head),
                "task": summary.task,
                "records": summary.records,
                "predicted": summary.predicted,
            }
        )
        return
    without = summary.records - summary.predicted
    rest = f"; {without:,} have nothing it reads" if without else ""
    typer.echo(f"{summary.predicted:,} records predicted{rest}: {summary.out}")
