"""polyfuse search: nearest neighbours by any modality."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from jobs.commands.options import Json, RunFolder, print_json
from jobs.terminal import console, table
from pipeline.errors import ConfigError

if TYPE_CHECKING:
    from pipeline.search.searcher import Hit

_WIDTH = 32  # characters of one cell; --json has everything


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("search")(search)


def search(
    run: RunFolder,
    text: Annotated[str | None, typer.Option(help="Words to look for.")] = None,
    image: Annotated[Path | None, typer.Option(help="A picture to look for.")] = None,
    audio: Annotated[Path | None, typer.Option(help="A sound to look for.")] = None,
    video: Annotated[Path | None, typer.Option(help="A video to look for.")] = None,
    record: Annotated[
        str | None, typer.Option("--id", help="A record to find the neighbours of.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MODALITY=W", help="How much a part of the query counts; may be negative."
        ),
    ] = None,
    where: Annotated[str | None, typer.Option(help="Only records for which this holds.")] = None,
    k: Annotated[int, typer.Option("-k", min=1, help="How many neighbours.")] = 10,
    index: Annotated[
        str | None,
        typer.Option(help="Which index: a feature or a model; default the first model's."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FEATURE=DIR", help="Where a query encoder's model is on this machine."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the nearest neighbours of a text, image, sound, video, record, or a mixture of them.

    Example: polyfuse search runs/products --text "red boots" --image boot.jpg --where "price < 50"
    """
    from pipeline.results import Run

    query: dict[str, Any] = {
        kind: value
        for kind, value in (("text", text), ("image", image), ("audio", audio), ("video", video))
        if value is not None
    }
    if not query and record is None:
        raise ConfigError("nothing to look for: give --text, --image, --audio, --video or --id")
    hits = Run(run).search(
        query,
        id=record,
        weights={name: _number(name, value) for name, value in _pairs("--weight", weight)},
        where=where,
        k=k,
        index=index,
        models=dict(_pairs("--model", model)),
    )
    if as_json:
        print_json([asdict(hit) for hit in hits])
        return
    out = console()
    names = _columns(hits, out.width)
    rows = [(h.rank, h.score, h.record_id, *(_short(h.metadata[n]) for n in names)) for h in hits]
    out.print(table("", ("rank", "score", "record", *names), rows))
    if not hits:
        out.print("no record has the modality asked for, or none passes the filter")


def _columns(hits: "Sequence[Hit]", width: int) -> list[str]:
    """The metadata columns that say something, are not the id again, and fit the terminal."""
    left = (
        width
        - len("rank  ")
        - len("0.0000  ")
        - max((len(h.record_id) + 2 for h in hits), default=8)
    )
    chosen = []
    for name in hits[0].metadata if hits else ():
        cells = [_short(hit.metadata[name]) for hit in hits if hit.metadata[name] != hit.record_id]
        needs = max([len(name), *map(len, cells)]) + 2
        if any(cells) and needs < left:
            chosen.append(name)
            left -= needs
    return chosen


def _pairs(option: str, values: list[str] | None) -> list[tuple[str, str]]:
    pairs = [value.partition("=") for value in values or ()]
    for name, sign, value in pairs:
        if not (name and sign and value):
            raise ConfigError(
                f"{option} {name}{sign}{value}: expected NAME=VALUE, for example image=0.5"
            )
    return [(name, value) for name, _, value in pairs]


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise ConfigError(f"--weight {name}={value}: expected a number") from None


def _short(value: object) -> str:
    text = "" if value is None else str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"
