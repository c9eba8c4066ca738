"""Processes as Linux knows them, for attacks that kill some."""

from pathlib import Path


def descendants(pid: int) -> list[tuple[int, str]]:
    """(pid, command line) of all processes below this one."""
    found, queue = [], [pid]
    while queue:
        parent = queue.pop()
        children = Path(f"/proc/{parent}/task/{parent}/children")
        for child in children.read_text().split() if children.exists() else ():
            line = Path(f"/proc/{child}/cmdline")
            text = line.read_bytes().replace(b"\0", b" ").decode() if line.exists() else ""
            found.append((int(child), text))
            queue.append(int(child))
    return found
