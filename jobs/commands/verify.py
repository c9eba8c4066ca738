"""polyfuse verify: the audit."""

from typing import Annotated

import typer

from jobs.commands.options import Json, RunFolder, print_json
from jobs.terminal import console

_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    run: RunFolder,
    clean: Annotated[
        bool, typer.Option("--clean", help="Remove files that no marker names.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Audit a run: digests of all files, every record counted once, index ids against rows.

    Example: polyfuse verify runs/products
    """
    from pipeline.verify import verify as audit_run

    audit = audit_run(run, clean=clean)
    if as_json:
        print_json({"format": 1, "sound": not audit.problems, **vars(audit)})
        raise typer.Exit(1 if audit.problems else 0)
    out = console()
    outcomes = " + ".join(f"{audit.outcomes[name]:,} {name}" for name in sorted(audit.outcomes))
    out.print(f"{audit.records:,} records = {outcomes or '0'} + {audit.pending:,} pending")
    out.print(
        f"{audit.parts:,} part files, {audit.models} models and {audit.indexes} indexes checked"
    )
    if audit.cleaned:
        out.print(f"{audit.cleaned:,} files that no marker names removed")
    elif audit.garbage:
        out.print(
            f"{len(audit.garbage):,} files that no marker names (harmless; --clean removes them)"
        )
    for problem in audit.problems[:_SHOWN]:
        out.print(f"PROBLEM {problem}")
    if len(audit.problems) > _SHOWN:
        out.print(f"... and {len(audit.problems) - _SHOWN:,} more")
    out.print("NOT sound" if audit.problems else "sound")
    raise typer.Exit(1 if audit.problems else 0)
