"""polyfuse export: one wide table."""

from pathlib import Path
from typing import Annotated

import typer

from jobs.commands.options import RunFolder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    run: RunFolder,
    out: Annotated[Path, typer.Argument(metavar="OUT.parquet", help="The file to write.")],
) -> None:
    """Write one wide Parquet table: metadata and every vector as list<float>.

    Example: polyfuse export runs/products products.parquet
    """
    from pipeline.results import Run

    Run(run).export(out)
    typer.echo(str(out))
