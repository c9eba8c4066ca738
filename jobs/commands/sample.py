"""polyfuse sample: a small corpus to try things on."""

from pathlib import Path
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where to write it.")],
    records: Annotated[int, typer.Option(min=240, help="How many records.")] = 264,
    seed: Annotated[int, typer.Option(help="Another seed gives another corpus.")] = 0,
) -> None:
    """Write a small multimodal corpus, generated and always the same, and a configuration that runs it.

    Example: polyfuse sample demo
    """
    from jobs.sample import write_sample

    config = write_sample(folder, records=records, seed=seed)
    typer.echo(f"{records} records written to {folder}; next: polyfuse run {config}")
