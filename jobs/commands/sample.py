"""polyfuse sample: a small corpus to try things on."""

from pathlib import Path
from typing import Annotated

import typer

from pipeline.errors import ConfigError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("sample")(sample)


def sample(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write to.")],
    records: Annotated[int, typer.Option(help="How many records.")] = 264,
    seed: Annotated[int, typer.Option(min=0, help="Another seed, other media.")] = 0,
) -> None:
    """Write a small generated corpus, always the same, and DIR/polyfuse.yaml that runs it.

    Example: polyfuse sample demo && polyfuse run demo/polyfuse.yaml
    """
    from jobs.sample import write_sample

    try:
        config = write_sample(folder, records=records, seed=seed)
    except ValueError as err:
        raise ConfigError(str(err)) from err
    except OSError as err:
        raise ConfigError(f"can't write the sample to {folder}: {err.strerror or err}") from err
    typer.echo(f"wrote {records} records; next: polyfuse run {config}")
