"""polyfuse doctor: does what polyfuse needs work here?"""

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("doctor")(doctor)


def doctor(
    fix: Annotated[
        bool, typer.Option("--fix", help="Repair a torchaudio that can't load.")
    ] = False,
) -> None:
    """Look at the environment: libraries that load, codecs, GPU, where Ray keeps its token.

    Example: polyfuse doctor --fix
    """
    from jobs.doctor import main

    raise typer.Exit(main(["--fix"] if fix else []))
