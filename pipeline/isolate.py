"""Decoding that may crash, hang or eat memory, kept away from the actor.

The first try of a shard decodes in the actor, under a watchdog: a medium that takes longer than
`item_timeout` ends the actor, as one that crashes the decoder does. The shard's attempt was noted
durably before, so from the second try on every medium of it is decoded in a disposable process
with a deadline and a memory cap. There a bad one costs only itself: CRASH, TIMEOUT or OOM.
"""

import os
import resource
import signal
import subprocess
import sys
from multiprocessing.connection import Connection, Pipe
from typing import Any

from encoders.media import decode
from encoders.media.errors import MediaError, Reason
from encoders.media.limits import Limits
from encoders.media.types import FramePolicy

TRIES = 2  # isolated tries of one medium
STARTUP = 120.0  # seconds a decoder process may take to come up, on a busy node
# What only a try that ended badly tells. `attempts` counts for these; for any other error it is 0,
# so that a shard whose worker was killed gives the bytes of one whose worker lived.
ENDINGS = (Reason.CRASH, Reason.TIMEOUT, Reason.OOM)
MEMORY = 4_000_000_000  # address space of a decoder process, bytes


class InActor:
    """Decodes in this process; a watchdog ends the process when one medium takes too long."""

    attempts = 0

    def __init__(self, limits: Limits) -> None:
        self.limits = limits

    def decode(
        self,
        raw: bytes,
        kind: str,
        frames: FramePolicy | None,
        sound: bool,
        least_side: int | None = None,
    ) -> Any:
        """As `encoders.media.decode`."""
        # A thread would wait for ever for a decoder that hangs with the interpreter's lock held;
        # the kernel's timer ends the process by SIGALRM whatever it does.
        before = signal.setitimer(signal.ITIMER_REAL, self.limits.item_timeout)
        try:
            return decode(raw, kind, self.limits, frames=frames, sound=sound, least_side=least_side)
        finally:
            signal.setitimer(signal.ITIMER_REAL, *before)

    def close(self) -> None:
        """Nothing to end."""


class Disposable:
    """Decodes in a child process that is replaced when it dies."""

    def __init__(self, limits: Limits) -> None:
        self.limits = limits
        self.attempts = 0  # isolated tries of the last medium
        self._child: subprocess.Popen[bytes] | None = None
        self._pipe: Connection | None = None

    def decode(
        self,
        raw: bytes,
        kind: str,
        frames: FramePolicy | None,
        sound: bool,
        least_side: int | None = None,
    ) -> Any:
        """As `encoders.media.decode`; CRASH, TIMEOUT or OOM after `TRIES` tries."""
        for attempt in range(1, TRIES + 1):
            self.attempts = attempt
            try:
                pipe = self._start()
                pipe.send((raw, kind, self.limits, frames, sound, least_side))
                if not pipe.poll(self.limits.item_timeout):
                    failure = MediaError(
                        Reason.TIMEOUT, f"decoding took longer than {self.limits.item_timeout:g} s"
                    )
                else:
                    good, answer = pipe.recv()
                    if good:
                        return answer
                    raise answer
            except (EOFError, OSError):
                failure = self._ending()
            self.close()
        raise failure

    def _ending(self) -> MediaError:
        """What became of a child that is gone; nobody but the system kills it outright."""
        if self._child and self._code(self._child) == -signal.SIGKILL:
            return MediaError(Reason.OOM, "the system ended its decoder: memory was gone")
        return MediaError(Reason.CRASH, "the decoder process died on this medium")

    def _code(self, child: subprocess.Popen[bytes]) -> int | None:
        try:
            return child.wait(self.limits.item_timeout)
        except subprocess.TimeoutExpired:
            return None

    def close(self) -> None:
        """End the child process."""
        if self._child:
            self._child.kill()
            self._child.wait()
        if self._pipe:
            self._pipe.close()
        self._child = self._pipe = None

    def _start(self) -> Connection:
        if self._pipe is None:
            self._pipe, theirs = Pipe()
            # Not multiprocessing: that runs the caller's script once more in the child.
            program = f"from pipeline import isolate; isolate.serve({theirs.fileno()})"
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-c", program],
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
            )
            theirs.close()
            if self._pipe.poll(STARTUP):  # the deadline of a medium begins when the child is up
                self._pipe.recv()
        return self._pipe


def serve(descriptor: int) -> None:
    """The child: media in, what they decode to out, until the other end of this pipe is closed."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    pipe = Connection(descriptor)
    pipe.send("ready")
    while True:
        try:
            raw, kind, limits, frames, sound, least_side = pipe.recv()
        except EOFError:
            return
        try:
            medium = decode(raw, kind, limits, frames=frames, sound=sound, least_side=least_side)
            answer: tuple[bool, Any] = (True, medium)
        except MediaError as err:
            answer = (False, err)
        except MemoryError:
            answer = (False, MediaError(Reason.OOM, f"decoding needs more than {MEMORY:,} bytes"))
        pipe.send(answer)


def decoder(limits: Limits, *, isolated: bool) -> "InActor | Disposable":
    """Here, or in a process of its own."""
    return Disposable(limits) if isolated else InActor(limits)
