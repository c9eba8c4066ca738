"""polyfuse encoders | fusions | heads: what there is, and what it would cost."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any

import typer
import yaml

from jobs.commands.options import Json, print_json
from jobs.terminal import console, table

Dims = Annotated[
    str | None,
    typer.Option(
        metavar="NAME=LENGTH,...", help="Feature lengths: say what it would cost on them."
    ),
]
Chosen = Annotated[
    list[str] | None,
    typer.Option("--option", metavar="KEY=VALUE", help="An option of the operator, e.g. rank=4."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("encoders")(list_encoders)
    app.command("fusions")(list_fusions)
    app.command("heads")(list_heads)


def list_encoders(as_json: Json = False) -> None:
    """List the encoders: what they take, what they need, their options.

    Example: polyfuse encoders
    """
    import encoders

    rows = [
        {
            "name": name,
            "kinds": sorted(entry.targets),
            "summary": entry.summary,
            "size": entry.size,
            "needs": entry.needs,
            "default_for": sorted(k for k, default in encoders.DEFAULTS.items() if default == name),
        }
        for name, entry in encoders.ENCODERS.items()
    ]
    if as_json:
        print_json(rows)
        return
    cells = [(r["name"], ", ".join(r["kinds"]), r["size"], r["summary"], r["needs"]) for r in rows]
    console().print(table("", ("encoder", "takes", "values", "what it is", "needs"), cells))


def list_fusions(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="One operator.")] = None,
    dims: Dims = None,
    option: Chosen = None,
    batch: Annotated[int, typer.Option(min=1, help="Records at a time.")] = 256,
    as_json: Json = False,
) -> None:
    """List the fusion operators and what training them needs; with --dims, what they would cost.

    Example: polyfuse fusions tucker --dims image=2048,text=768 --option rank=160
    """
    import fusion
    from fusion import objectives

    if name and name not in fusion.FUSIONS:
        known = ", ".join(sorted(fusion.FUSIONS))
        raise typer.BadParameter(f"unknown fusion {name!r}; known: {known}")
    names = [name] if name else list(fusion.FUSIONS)
    if dims:
        options = _mapping("--option", option or ())
        _print_costs(names, _lengths(dims), options, batch, as_json)
        return
    if option:
        raise typer.BadParameter("--option says what to describe on given --dims; give them too")
    rows = [{"name": key, **dataclasses.asdict(fusion.FUSIONS[key])} for key in names]
    if as_json:
        print_json([{**row, "needs": sorted(row["needs"])} for row in rows])
        return
    cells = [
        (
            r["name"],
            r["summary"],
            r["objective"] or "nothing",
            ", ".join(sorted(r["needs"])) or "nothing",
        )
        for r in rows
    ]
    console().print(table("", ("fusion", "what it is", "trained for", "needs"), cells))
    if not name:
        goals = [
            (key, entry.summary, ", ".join(sorted(entry.needs)) or "nothing")
            for key, entry in objectives.OBJECTIVES.items()
        ]
        console().print(table("\n", ("objective", "trained for", "needs"), goals))


def list_heads(as_json: Json = False) -> None:
    """List what `head:` may put on a model or feature to predict a label.

    Example: polyfuse heads
    """
    from fusion.heads import HEADS

    if as_json:
        print_json([{"name": name, **dataclasses.asdict(entry)} for name, entry in HEADS.items()])
        return
    cells = [(name, entry.summary) for name, entry in HEADS.items()]
    console().print(table("", ("head", "what it is"), cells))


def _print_costs(
    names: list[str], dims: Mapping[str, int], options: Mapping[str, Any], batch: int, as_json: bool
) -> None:
    import fusion
    from fusion.cost import size

    rows = []
    for name in names:
        known = {field.name for field in dataclasses.fields(fusion.options_type(name))}
        own = options if len(names) == 1 else {k: v for k, v in options.items() if k in known}
        try:
            forward = fusion.describe(name, dims, batch=batch, **own)
            step = fusion.describe(name, dims, batch=batch, training=True, **own)
        except ValueError as err:
            if len(names) == 1:
                raise typer.BadParameter(str(err)) from err
            continue  # of many, only those that these features and options fit
        rows.append((name, forward, step))
    if not rows:
        raise typer.BadParameter("no operator takes these features and options")
    if as_json:
        print_json(
            [
                {"name": n, **dataclasses.asdict(f), "training": dataclasses.asdict(t)}
                for n, f, t in rows
            ]
        )
        return
    cells = [
        (
            n,
            f.dim,
            f.parameters,
            round(f.flops / 1e6),
            size(f.peak_bytes),
            round(t.flops / 1e6),
            size(t.peak_bytes),
        )
        for n, f, t in rows
    ]
    heads = ("fusion", "length", "parameters", "MFLOP", "peak", "MFLOP to train", "peak to train")
    console().print(table(f"a batch of {batch:,} records of {_said(dims)}", heads, cells))


def _lengths(text: str) -> dict[str, int]:
    lengths = _mapping("--dims", text.split(","))
    for name, length in lengths.items():
        if not isinstance(length, int) or length < 1:
            raise typer.BadParameter(
                f"--dims {name}={length}: expected a length such as {name}=384"
            )
    return lengths


def _mapping(flag: str, items: list[str] | tuple[()]) -> dict[str, Any]:
    found = {}
    for item in items:
        key, sign, value = item.partition("=")
        if not sign or not key.strip():
            raise typer.BadParameter(f"{flag} {item}: expected NAME=VALUE")
        found[key.strip()] = yaml.safe_load(value)
    return found


def _said(dims: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {length:,}" for name, length in dims.items())
