"""polyfuse compare: which fusion should I use on my data?"""

import dataclasses
from typing import Annotated

import typer

from jobs import watch
from jobs.commands.options import Address, ConfigFile, Json, Set, print_json
from jobs.terminal import Bars, console


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    config: ConfigFile,
    overrides: Set = None,
    name: Annotated[
        str, typer.Option(help="The comparison, a folder under RUN/compare.")
    ] = "default",
    budget: Annotated[
        str | None, typer.Option(metavar="TIME", help="Wall clock, e.g. 90s, 10m, 2h.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Forget the trainings of this comparison.")
    ] = False,
    address: Address = None,
    as_json: Json = False,
) -> None:
    """Train many fusions on the stored vectors and a label, and rank them; goes on where it stopped.

    Example: polyfuse compare products.yaml --set label.column=category --budget 10m
    """
    if not watch.in_driver():
        raise typer.Exit(watch.drive())
    watch.begin_driver()
    from jobs import leaderboard
    from pipeline import config as configuration
    from pipeline import run
    from pipeline.compare.run import compare as run_comparison

    wanted = [*(overrides or ()), *([f"compare.budget={budget}"] if budget else [])]
    settings = configuration.load(config, wanted)
    with Bars() as bars:
        run.run(settings, run.Options(("extract", "split"), address=address), bars)
        board, folder = run_comparison(
            settings, name, restart=restart, address=address, progress=bars
        )
    page = leaderboard.write_page(board, folder)
    if as_json:
        print_json(dataclasses.asdict(board))
        return
    out = console()
    out.print(leaderboard.to_table(board))
    for note in leaderboard.notes(board):
        out.print(note)
    out.print(leaderboard.verdict(board))
    out.print(f"written to {folder}: {page.name}, leaderboard.parquet, leaderboard.json")
