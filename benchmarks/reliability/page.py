"""docs/results/reliability.md."""

from collections.abc import Mapping
from typing import Any

from benchmarks.results import footer

_EXPLAINED = """\
One program each, in `benchmarks/reliability/programs/`, as its documentation has it; nothing is
caught that the system does not catch itself. Ray Data: `read_parquet`, blocks of 16 rows (by itself
it makes one of so few), `map_batches`, `write_parquet`, once in its default mode (append), once with
`mode=overwrite`, once with `CheckpointConfig`, once with `max_errored_blocks=-1` (drop; broken media
only). datatrove: reader, step and `ParquetWriter` on its Ray executor, eight tasks of three tables.
pq.write_table: a loop in one process. polyfuse: `polyfuse extract`, shards of 16, `max_error_rate`
0.5."""


def page(results: Mapping[str, Any]) -> str:
    """From the numbers alone."""
    rows = results["rows"]
    good = results["records"] - results["broken"]
    lines = [
        "# Kills and broken media: polyfuse beside others",
        "",
        f"{results['records']} pictures in {results['tables']} tables, described by the same code "
        "(`hog-colour`), written as Parquet, two workers.",
        "",
        _EXPLAINED,
        "",
        "## SIGKILL",
        "",
        "A trial: one worker is killed, then the program (of a loop in one process: the program "
        "alone), each after a random picture was opened; then the same command runs again until it "
        f"ends well, {results['reruns']} times at most. A command that takes longer than "
        f"{results['patience']:.0f} s hangs. Counted are records over all trials, in all files that "
        "a reader of the folder finds; files whose name begins with a dot are hidden from readers.",
        "",
        "| system | kills | trials | ended well | hung | lost | duplicated "
        "| trials with duplicates | unreadable files after the kills | and at the end |",
        "| --- |" + " ---: |" * 9,
        *(_kills(row) for row in rows if row["trials"]),
        "",
        "## Broken media",
        "",
        f"{results['broken']} of the pictures are broken: cut in half, empty, another format, without "
        "their beginning, missing. A command that fails is run once more. explained: the record is "
        f"named with a reason in a file of the output.",
        "",
        f"| system | ended well | good ones kept, of {good} | twice "
        f"| broken ones explained, of {results['broken']} | unreadable files |",
        "| --- | --- |" + " ---: |" * 4,
        *(_corrupted(row) for row in rows),
        "",
        "Not measured: a user who catches every exception in a program of their own would keep the good "
        "ones with any of these systems, and would have to keep the reasons, too; overwrite and the "
        "loop start from nothing after a kill, which costs time and no record.",
    ]
    return "\n".join([*lines, *footer(results, "benchmarks/reliability")]) + "\n"


def _kills(row: Mapping[str, Any]) -> str:
    trials = row["trials"]
    cells = [
        sum(len(trial["struck"]) for trial in trials),
        len(trials),
        sum(trial["code"] == 0 for trial in trials),
        sum(trial["code"] is None for trial in trials),
        *(sum(trial[name] for trial in trials) for name in ("lost", "duplicated")),
        sum(trial["duplicated"] > 0 for trial in trials),
        *(sum(trial[name] for trial in trials) for name in ("partial", "unreadable")),
    ]
    return f"| {row['name']} | " + " | ".join(map(str, cells)) + " |"


def _corrupted(row: Mapping[str, Any]) -> str:
    found = row["corrupted"]
    ended = {0: "yes", None: "hung"}.get(found["code"], "no")
    cells = [found[name] for name in ("good", "duplicated", "explained", "unreadable")]
    return f"| {row['name']} | {ended} | " + " | ".join(map(str, cells)) + " |"
