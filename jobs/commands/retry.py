"""polyfuse retry: replay only what failed."""

import typer

from jobs import watch
from jobs.commands.options import Address, Json, RunFolder, print_json
from jobs.summary import print_summary
from jobs.terminal import Bars


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("retry")(retry)


def retry(run: RunFolder, address: Address = None, as_json: Json = False) -> None:
    """Replay only the failed (record, modality) pairs, then fuse and index what changed.

    Example: polyfuse retry runs/products
    """
    if not watch.in_driver():
        raise typer.Exit(watch.drive())
    watch.begin_driver()
    from jobs.report import write_report
    from pipeline import run as pipeline_run
    from pipeline import status

    options = pipeline_run.Options(retry=True, address=address)
    with Bars() as bars:
        summary = pipeline_run.retry(run, options, bars)
    write_report(summary)
    if as_json:
        print_json(status.to_json(summary.status))
    else:
        print_summary(summary)
