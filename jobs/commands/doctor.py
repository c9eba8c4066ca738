"""polyfuse doctor: does what polyfuse needs work here?"""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair a torchaudio that can't load beside this torch.")
    ] = False,
) -> None:
    """Look at the environment; exit code 1 if something that is needed doesn't work.

    Example: polyfuse doctor --fix
    """
    from jobs.doctor import diagnose

    if not diagnose(fix=fix):
        raise typer.Exit(1)
