"""Arguments and options that several commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer


def _place(text: str) -> Path:
    from pipeline.files import at

    return at(text)


ConfigFile = Annotated[
    Path, typer.Argument(metavar="CONFIG", help="The YAML configuration of the run.")
]
RunFolder = Annotated[
    Path,
    typer.Argument(metavar="RUN", parser=_place, help="The folder, or s3://BUCKET/NAME, of a run."),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a configuration key, e.g. --set workers=2."
    ),
]
Address = Annotated[
    str | None,
    typer.Option(help="A Ray cluster; without it Ray starts on this machine (or RAY_ADDRESS)."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def print_json(data: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(data, indent=1, ensure_ascii=False, default=str))
