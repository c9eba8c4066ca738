"""polyfuse encoders | fusions: what there is."""

import dataclasses

import typer

from jobs.commands.options import Json, print_json
from jobs.terminal import console, table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("encoders")(list_encoders)
    app.command("fusions")(list_fusions)


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


def list_fusions(as_json: Json = False) -> None:
    """List the fusion operators and what training them needs.

    Example: polyfuse fusions
    """
    import fusion

    rows = [{"name": name, **dataclasses.asdict(entry)} for name, entry in fusion.FUSIONS.items()]
    if as_json:
        print_json([{**row, "needs": sorted(row["needs"])} for row in rows])
        return
    cells = [(r["name"], r["summary"], ", ".join(sorted(r["needs"])) or "nothing") for r in rows]
    console().print(table("", ("fusion", "what it is", "needs"), cells))
