"""Run the driver in a child process, so that a dying Ray is a sentence and not a native crash.

Ray ends the process that drives it when its head dies, without a Python exception. The command
the person started therefore only watches: it passes signals on and explains a strange end.
"""

import atexit
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from typing import NoReturn

_MARK = "POLYFUSE_DRIVER"  # set in the child; holds the parent's pid
_FAREWELL = "POLYFUSE_FAREWELL"  # set in the child; the descriptor to say it on
_PR_SET_PDEATHSIG = 1


def in_driver() -> bool:
    """Whether this process is the child that drives Ray."""
    return _MARK in os.environ


def drive() -> int:
    """Start this very command line again as the driver, wait for it, return its exit code."""
    command = [sys.executable, "-m", "jobs.cli", *sys.argv[1:]]
    listen, speak = os.pipe()
    environment = {**os.environ, **_environment(), _FAREWELL: str(speak)}
    child = subprocess.Popen(command, env=environment, pass_fds=[speak])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    if _said_farewell(listen):
        return code
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    print(  # noqa: T201
        f"polyfuse: the driver ended without a word ({how}): Ray's head died, or it was killed; what "
        "is committed is kept, run the same command again to continue",
        file=sys.stderr,
    )
    return 1


def _said_farewell(listen: int) -> bool:
    os.set_blocking(listen, False)  # a process that the driver left behind may hold the other end
    try:
        return bool(os.read(listen, 1))
    except BlockingIOError:
        return False


def end_driver() -> None:
    """In the driver, as the last thing: tell the watching command that this end was meant.

    Ray ends a driver whose head has died from native code, past every `except` and `finally`.
    """
    if _FAREWELL in os.environ:
        os.write(int(os.environ[_FAREWELL]), b".")


def leave(code: int) -> NoReturn:
    """End this process with that exit code.

    A driver runs what is registered for its exit, and is gone: to take torch, transformers and Ray
    apart, module by module, as Python does, would take it nearly two seconds.
    """
    if in_driver():
        with contextlib.suppress(BrokenPipeError):
            atexit._run_exitfuncs()
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _environment() -> dict[str, str]:
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    path = os.environ.get("PYTHONPATH")
    return {_MARK: str(os.getpid()), "PYTHONPATH": f"{root}{os.pathsep}{path}" if path else root}


def begin_driver() -> None:
    """In the driver: end when the watching command is killed, and keep native noise off the terminal."""
    _die_with_parent()
    if "POLYFUSE_TRACEBACK" not in os.environ:
        _hush_native_code()


def _hush_native_code() -> None:
    """Ray's C++ writes warnings for its developers to descriptor 2; Python keeps the terminal."""
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)


def _die_with_parent() -> None:
    """A killed command must leave no writer behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(os.environ[_MARK]):
            os._exit(1)
