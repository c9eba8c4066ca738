"""What a finished command prints."""

from collections import Counter
from typing import TYPE_CHECKING

from jobs.terminal import console, duration, table

if TYPE_CHECKING:
    from pipeline.run import Summary


def computed(summary: "Summary") -> str:
    """How many rows the command computed, and how long it took to start."""
    after = f", the first after {duration(summary.first)}" if summary.first else ""
    return f"{summary.computed:,} rows computed{after}"


def print_summary(summary: "Summary") -> None:
    """Counts, errors by reason, times, and what to do next."""
    out = console()
    status = summary.status
    outcomes = " + ".join(f"{count:,} {name}" for name, count in status.outcomes.items() if count)
    pending = f" + {status.pending:,} pending" if status.pending else ""
    out.print(f"{status.records:,} records = {outcomes or '0'}{pending}")
    rows = [
        (stage.name.removeprefix("extract."), reason, count)
        for stage in status.stages
        for reason, count in sorted(Counter(stage.errors).items())
    ]
    if rows:
        out.print(table("errors", ("modality", "reason", "count"), rows))
        out.print(
            f"details in {summary.run}/errors; mend them and run: polyfuse retry {summary.run}"
        )
    times = ", ".join(f"{name} {duration(seconds)}" for name, seconds in summary.seconds.items())
    done = [computed(summary)] if summary.computed else []
    done += [f"{', '.join(summary.trained)} trained"] if summary.trained else []
    out.print(f"{'; '.join(done)} ({times})" if done else "nothing was left to do")
    for sentence in summary.verdict:
        out.print(sentence)
    out.print(
        f"written to {summary.run}: vectors in features/ and fused/, report.html, "
        f"indexes {', '.join(status.indexes) or 'none yet'}"
    )
