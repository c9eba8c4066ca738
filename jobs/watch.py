"""Run the driver in a child process, so that a dying Ray is a sentence and not a native crash.

Ray ends the process that drives it when its head dies, without a Python exception. The command
the person started therefore only watches: it passes signals on and explains a strange end.
"""

import ctypes
import os
import signal
import subprocess
import sys

_MARK = "POLYFUSE_DRIVER"  # set in the child; holds the parent's pid
_PR_SET_PDEATHSIG = 1


def in_driver() -> bool:
    """Whether this process is the child that drives Ray."""
    return _MARK in os.environ


def drive() -> int:
    """Start this very command line again as the driver, wait for it, return its exit code."""
    command = [sys.executable, "-m", "jobs.cli", *sys.argv[1:]]
    child = subprocess.Popen(command, env={**os.environ, **_environment()})
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the terminal sends it to the child as well
    signal.signal(signal.SIGTERM, lambda *_: child.terminate())
    code = child.wait()
    if code < 0:
        name = signal.Signals(-code).name
        print(  # noqa: T201
            f"polyfuse: the driver was ended by {name} (Ray's head died, or it was killed); nothing "
            "committed is lost: run the same command again to continue",
            file=sys.stderr,
        )
        return 1
    return code


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
