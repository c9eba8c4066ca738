"""polyfuse run | extract | fit | fuse | index: the stages of a run."""

from collections.abc import Sequence
from typing import Annotated

import typer

from jobs import watch
from jobs.commands.options import Address, ConfigFile, Json, Set, print_json
from jobs.summary import print_summary
from jobs.terminal import Bars

Update = Annotated[
    bool,
    typer.Option(
        "--update", help="Take in edited or removed rows and changed settings; keep the rest."
    ),
]
Restart = Annotated[
    bool, typer.Option("--restart", help="Forget what this output holds and start over.")
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run)
    app.command("extract")(extract)
    app.command("fit")(fit)
    app.command("fuse")(fuse)
    app.command("index")(index)


def run(
    config: ConfigFile,
    overrides: Set = None,
    update: Update = False,
    restart: Restart = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Plan, extract, fit, fuse and index; continues where an earlier command stopped.

    Example: polyfuse run products.yaml --set workers=2
    """
    _run(("extract", "fit", "fuse", "index"), config, overrides, update, restart, address, as_json)


def extract(
    config: ConfigFile,
    overrides: Set = None,
    update: Update = False,
    restart: Restart = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Compute the vectors of every modality, nothing else.

    Example: polyfuse extract products.yaml --address ray://head:10001
    """
    _run(("extract",), config, overrides, update, restart, address, as_json)


def fit(
    config: ConfigFile,
    overrides: Set = None,
    again: Annotated[
        bool,
        typer.Option(
            "--again", help="Train anew what is trained already, for example on more records."
        ),
    ] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Train the models of the configuration on the stored vectors; continues where it was stopped.

    Example: polyfuse fit products.yaml --set models.joint.training.steps=5000
    """
    _run(("fit",), config, overrides, False, False, address, as_json, again=again)


def fuse(
    config: ConfigFile, overrides: Set = None, address: Address = None, as_json: Json = False
) -> None:
    """Fuse the stored vectors of each record with the models of the configuration.

    Example: polyfuse fuse products.yaml
    """
    _run(("fuse",), config, overrides, False, False, address, as_json)


def index(
    config: ConfigFile, overrides: Set = None, address: Address = None, as_json: Json = False
) -> None:
    """Build the FAISS indexes over every feature and every fused vector.

    Example: polyfuse index products.yaml --set index.memory=2GB
    """
    _run(("index",), config, overrides, False, False, address, as_json)


def _run(
    stages: Sequence[str],
    path: ConfigFile,
    overrides: Set,
    update: bool,
    restart: bool,
    address: str | None,
    as_json: bool,
    *,
    again: bool = False,
) -> None:
    if not watch.in_driver():
        raise typer.Exit(watch.drive())
    watch.begin_driver()
    from jobs.report import write_report  # as the others: the watching process needs none of it
    from pipeline import config, run, status

    options = run.Options(stages, update=update, restart=restart, again=again, address=address)
    with Bars() as bars:
        summary = run.run(config.load(path, overrides or ()), options, bars)
    write_report(summary)
    if as_json:
        print_json(status.to_json(summary.status))
    else:
        print_summary(summary)
