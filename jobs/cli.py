"""The `polyfuse` command: one short module per command, put together here.

Only this module turns our errors into one line and an exit code; anything else that escapes is a
bug, shown as one, with how to see more.
"""

import os
import sys
import traceback
from typing import Any

import typer

from jobs.commands import catalogue, doctor, export, retry, run, sample, search, status, verify
from jobs.doctor import torchaudio_problem
from pipeline.errors import PolyfuseError

# typer brings its own click and does not export the base of its usage errors.
UsageError: type[Any] = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="polyfuse",
    help="Records with any subset of image, text, audio and video -> vectors, one fused vector, "
    "a FAISS index, neighbours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (sample, run, status, retry, search, verify, export, catalogue, doctor):
    module.register(app)


def main() -> None:
    """The console script."""
    _check_neighbours()
    try:
        code = app(standalone_mode=False)
        sys.exit(code if isinstance(code, int) else 0)
    except UsageError as err:
        err.show()
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        _say("stopped; what is done is kept, the same command continues")
        sys.exit(130)
    except PolyfuseError as err:
        _say(str(err))
        sys.exit(err.exit_code)
    except BrokenPipeError:
        sys.exit(1)
    except Exception as err:
        problem = torchaudio_problem()
        if problem:  # then even transformers can't be imported, whatever the error says
            _say(problem)
            sys.exit(1)
        if os.environ.get("POLYFUSE_TRACEBACK"):
            raise
        if isinstance(err, OSError) and err.strerror:  # the disk, not us
            place = f"{err.filename}: " if err.filename else ""
            _say(f"{place}{err.strerror}; nothing committed is lost: mend that and run it again")
            sys.exit(1)
        last = traceback.extract_tb(err.__traceback__)[-1]
        _say(
            f"a bug in polyfuse: {type(err).__name__}: {err} "
            f"({os.path.basename(last.filename)}:{last.lineno}); "
            "set POLYFUSE_TRACEBACK=1 to see where it came from"
        )
        sys.exit(1)


def _check_neighbours() -> None:
    """Our packages have common names; another distribution may have installed the same ones."""
    import encoders
    import fusion
    import pipeline

    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for package in (encoders, fusion, pipeline):
        home = os.path.dirname(os.path.dirname(os.path.abspath(str(package.__file__))))
        if home != here:
            _say(
                f"another package called {package.__name__!r} in {home} hides ours in {here}: remove it"
            )
            sys.exit(1)


def _say(text: str) -> None:
    typer.echo(f"polyfuse: {text}", err=True)


if __name__ == "__main__":
    main()
