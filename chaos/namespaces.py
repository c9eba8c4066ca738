"""Several hosts on this machine: each in namespaces of its own, on one switch, as root on Linux.

A host has its own network address, host name, process numbers and /tmp/ray; all other files are shared,
as on a network share. It is a tree of processes and nothing else: when its first process dies, the
others, its network card and its mounts go with it, and that one dies with the program that made it. So
nothing stays behind, however the program ends.

    with Switch(folder) as switch:
        one, two = switch.host("one"), switch.host("two")
        one.run("ping", "-c", "1", two.address)
        two.cut()
"""

import contextlib
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

_UNSHARE = "unshare --net --uts --mount --pid --fork --kill-child --mount-proc".split()
# The first process takes in the orphans of its namespace, which must not stay as zombies.
_FIRST = """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(flush=True)
while True: signal.pause()
"""
_SUBNET = "10.213.77"
_RAY = Path("/tmp/ray")  # Ray's own folder; what lies there belongs to one host
_PR_SET_PDEATHSIG = 1


def why_not() -> str | None:
    """What this machine lacks for hosts of its own; None where nothing does."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "network namespaces need Linux and root"
    missing = [tool for tool in ("ip", "unshare", "nsenter") if not shutil.which(tool)]
    if missing:
        return f"there is no {' and no '.join(missing)} here (packages iproute2, util-linux)"
    bridge = [*_UNSHARE, *"ip link add switch type bridge".split()]
    tried = subprocess.run(bridge, capture_output=True, text=True, check=False)
    return f"no network namespaces here: {tried.stderr.strip()}" if tried.returncode else None


class Namespaces:
    """Namespaces that last as long as their first process, which ends with this program."""

    def __init__(self) -> None:
        self._unshare = subprocess.Popen(
            [*_UNSHARE, sys.executable, "-c", _FIRST],
            stdout=subprocess.PIPE,
            preexec_fn=_die_with_parent,
            start_new_session=True,
        )
        self._unshare.stdout.readline()  # it has all its namespaces
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self.pid = int(children.read_text())  # as this machine numbers it

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in here."""
        enter = f"nsenter --target={self.pid} --net --uts --mount --pid --wd={os.getcwd()}"
        return [*enter.split(), *command]

    def run(self, *command: str, **options: Any) -> str:
        """What a command in here prints; options as for subprocess.run.

        Raises:
            RuntimeError: it fails; with all that it said.
        """
        return _checked(self.command(*command), **options)

    def ip(self, words: str) -> None:
        """Change the network in here with the `ip` tool; process numbers are this machine's."""
        _checked(["nsenter", f"--target={self.pid}", "--net", "ip", *words.split()])

    def processes(self) -> dict[int, str]:
        """{pid: command line} of everything in here, as this machine numbers it."""
        own, found = os.stat(f"/proc/{self.pid}/ns/pid").st_ino, {}
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it has just ended
                if os.stat(folder / "ns" / "pid").st_ino == own:
                    line = (folder / "cmdline").read_bytes()
                    found[int(folder.name)] = line.replace(b"\0", b" ").decode()
        return found

    @property
    def alive(self) -> bool:
        """Whether its first process is."""
        return self._unshare.poll() is None

    def end(self) -> None:
        """Every process dies at once, as when the power goes."""
        self._unshare.kill()
        self._unshare.wait()
        self._unshare.stdout.close()


class Switch(Namespaces):
    """What hosts are plugged into. folder: for what each of them has on disk for itself."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self._hosts: dict[str, Host] = {}
        self.ip("link add switch type bridge")
        self.ip("link set switch up")

    def host(self, name: str) -> "Host":
        """One more host; or one that has ended again, at its old address."""
        before = self._hosts.get(name)
        number = before.number if before else len(self._hosts) + 1
        host = self._hosts[name] = Host(self, name, number)
        return host

    def end(self) -> None:
        """The hosts go first."""
        for host in self._hosts.values():
            host.end()
        super().end()


class Host(Namespaces):
    """One host. address: its own, IPv4; port: where its cable is plugged into the switch."""

    def __init__(self, switch: Switch, name: str, number: int) -> None:
        super().__init__()
        self.name, self.number = name, number
        self.address, self.port = f"{_SUBNET}.{number}", f"port-{number}"
        self._switch = switch
        own = switch.folder / name
        for folder in (own, _RAY):
            folder.mkdir(parents=True, exist_ok=True)
        self.run("hostname", name)
        self.run("mount", "--bind", str(own), str(_RAY))
        switch.ip(f"link add {self.port} type veth peer name eth0 netns {self.pid}")
        switch.ip(f"link set {self.port} master switch up")
        for words in ("link set lo up", f"addr add {self.address}/24 dev eth0", "link set eth0 up"):
            self.ip(words)

    def end(self) -> None:
        """The port is free at once; the kernel itself would take its time."""
        with contextlib.suppress(RuntimeError):
            self._switch.ip(f"link del {self.port}")
        super().end()

    def cut(self) -> None:
        """Nothing goes in or out; whoever waits for an answer is not told."""
        self._switch.ip(f"link set {self.port} nomaster")

    def mend(self) -> None:
        """The cable is back."""
        self._switch.ip(f"link set {self.port} master switch")


def _checked(command: list[str], **options: Any) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
