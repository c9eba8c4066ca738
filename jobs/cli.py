"""The `polyfuse` command: one short module per command, put together here.

Only this module turns our errors into one line and an exit code; anything else that escapes is a
bug, shown as one, with how to see more.
"""

import os
import sys
import traceback
from typing import Any

import typer

from jobs import watch
from jobs.commands import (
    catalogue,
    compare,
    doctor,
    export,
    predict,
    restore,
    retry,
    run,
    sample,
    search,
    status,
    verify,
)
from jobs.doctor import torchaudio_problem
from pipeline.errors import PolyfuseError
from pipeline.redact import redacted

# typer brings its own click and does not export the base of its usage errors.
UsageError: type[Any] = typer.BadParameter.__mro__[1]
_INTERRUPTED = 130

app = typer.Typer(
    name="polyfuse",
    help="Records with any subset of image, text, audio and video -> vectors, one fused vector, "
    "a FAISS index, neighbours.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (
    sample,
    run,
    compare,
    status,
    retry,
    restore,
    search,
    predict,
    verify,
    export,
    catalogue,
    doctor,
):
    module.register(app)


def main() -> None:
    """The console script."""
    _check_neighbours()
    try:
        code = _run()
    finally:
        watch.end_driver()
    watch.leave(code)


def _run() -> int:
    try:
        code = app(standalone_mode=False)
        if code == _INTERRUPTED:  # typer's way of passing a KeyboardInterrupt on
            return _say("stopped; what is done is kept, the same command continues", _INTERRUPTED)
        return code if isinstance(code, int) else 0
    except UsageError as err:
        err.show()
        return 2
    except PolyfuseError as err:
        return _say(str(err), err.exit_code)
    except BrokenPipeError:
        return 1
    except Exception as err:
        if "POLYFUSE_TRACEBACK" in os.environ:
            raise
        return _say(_explain(err), 1)


def _explain(err: Exception) -> str:
    """What to say of an exception that is not ours."""
    problem = torchaudio_problem()
    if problem:  # then even transformers can't be imported, whatever the error says
        return problem
    if isinstance(err, OSError) and err.strerror:  # the disk, not us
        place = f"{err.filename}: " if err.filename else ""
        return f"{place}{err.strerror}; nothing committed is lost: mend that and run it again"
    last = traceback.extract_tb(err.__traceback__)[-1]
    return (
        f"a bug in polyfuse: {type(err).__name__}: {err} "
        f"({os.path.basename(last.filename)}:{last.lineno}); "
        "set POLYFUSE_TRACEBACK=1 to see where it came from"
    )


def _check_neighbours() -> None:
    """Our packages have common names; another distribution may have installed the same ones."""
    import encoders
    import fusion
    import pipeline

    here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    for package in (encoders, fusion, pipeline):
        home = os.path.dirname(os.path.dirname(os.path.abspath(str(package.__file__))))
        if home != here:
            hidden = f"another package called {package.__name__!r} in {home} hides ours in {here}"
            sys.exit(_say(f"{hidden}: remove it", 1))


def _say(text: str, code: int) -> int:
    typer.echo(f"polyfuse: {redacted(text)}", err=True)
    return code


if __name__ == "__main__":
    main()
