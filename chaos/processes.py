"""Processes as Linux knows them, for attacks that kill some."""

from pathlib import Path


def descendants(pid: int) -> list[tuple[int, str]]:
    """(pid, command line) of all processes below this one; "" for one that has just ended."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        for child in _read(f"/proc/{parent}/task/{parent}/children").split():
            found.append((int(child), _read(f"/proc/{child}/cmdline").replace("\0", " ")))
            queue.append(int(child))
    return found


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # before it was opened, or since
        return ""
