"""polyfuse restore: missing modalities, filled in by a model that can."""

from typing import Annotated

import typer

from jobs import watch
from jobs.commands.options import Address, Json, RunFolder, print_json
from jobs.terminal import Bars, console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("restore")(restore)


def restore(
    run: RunFolder,
    model: Annotated[str, typer.Argument(help="A trained model of the run, such as a vae.")],
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Fill in missing vectors with a trained model; they are kept apart from measured ones.

    Example: polyfuse restore runs/products joint
    """
    from pipeline import run as pipeline_run
    from pipeline import saved
    from pipeline.restore import check, count

    check(run, saved.load_saved(run), model)
    if not watch.in_driver():
        raise typer.Exit(watch.drive())
    watch.begin_driver()
    with Bars() as bars:
        pipeline_run.restore(run, model, pipeline_run.Options(address=address), bars)
    counts = count(run, model)
    if as_json:
        print_json({"format": 1, "model": model, "restored": counts})
        return
    out = console()
    for feature, restored in counts.items():
        out.print(f"{feature}: {restored:,} vectors restored")
    out.print(
        f"written to {run / 'restored' / model}, apart from the measured vectors in features/"
    )
