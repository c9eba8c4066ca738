"""A disk that loses power: what `pipeline.disk` did is recorded, then played back up to any moment.

A file's bytes last once it was synced, a name once its folder was. What was not synced at the moment
of the crash may be there or not, each change for itself, and a file may be torn. After SQLite's
simulated file systems (sqlite.org, How SQLite Is Tested, section 3).
"""

import os
import random
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from pipeline import disk

Tree = dict[str, bytes | None]  # relative path -> bytes; None: a folder


@dataclass
class Name:
    """In folder `folder`, `name` now means `target`, or nothing where that is None."""

    folder: int
    name: str
    target: int | None


@dataclass
class Bytes:
    """The content of a file."""

    file: int
    data: bytes


@dataclass
class Sync:
    """What was changed about this file or folder lasts."""

    node: int


@dataclass
class Renamed:
    """Several names change in one step, or not at all."""

    names: tuple[Name, ...]


Change = Name | Bytes | Sync | Renamed


@dataclass
class Recording:
    """Everything that happened below a folder. Node 0 is the folder."""

    root: Path
    changes: list[Change] = field(default_factory=list)
    nodes: dict[str, int] = field(default_factory=lambda: {"": 0})  # by relative path, as of now
    folders: set[int] = field(default_factory=lambda: {0})
    known: dict[int, bytes] = field(default_factory=dict)  # bytes of files, as of now
    begun: int = 0  # changes that only say what lay there before

    def start(self, tree: Tree) -> None:
        """What lies there before; it lasts."""
        for path in sorted(tree):
            data = tree[path]
            node = self._named(self.root / path, folder=data is None)
            if data is not None:
                self._bytes(node, data)
                self.changes.append(Sync(node))
        self.changes += [Sync(node) for node in sorted(self.folders)]
        self.begun = len(self.changes)

    # -- recorded operations: each does what it says, on the real disk as well

    def write(self, path: Path, data: bytes) -> None:
        path.write_bytes(data)
        self._bytes(self._known(path), data)

    def sync(self, path: Path) -> None:
        node = self._known(path)
        if path.is_file() and self.known.get(node) != path.read_bytes():
            self._bytes(node, path.read_bytes())  # written by a library
        if path.is_dir():
            for child in path.iterdir():
                self._known(child)
        self.changes.append(Sync(node))

    def rename(self, old: Path, new: Path) -> None:
        node = self._known(old)
        os.replace(old, new)
        before, after = self._relative(old), self._relative(new)
        moved = {p: n for p, n in self.nodes.items() if p == before or p.startswith(before + "/")}
        for path in moved:
            del self.nodes[path]
        self.nodes |= {after + path[len(before) :]: n for path, n in moved.items()}
        names = (self._name(new, node), self._name(old, None))
        self.changes.append(Renamed(names))

    def link(self, old: Path, new: Path) -> None:
        os.link(old, new)
        node = self._known(old)
        self.nodes[self._relative(new)] = node
        self.changes.append(self._name(new, node))

    def make_folder(self, path: Path) -> None:
        if not path.is_dir():
            self.make_folder(path.parent)
            path.mkdir()
            self._named(path, folder=True)
            self.sync(path.parent)

    def remove(self, path: Path) -> None:
        if path.exists():
            self._known(path)
            path.unlink()
            del self.nodes[self._relative(path)]
            self.changes.append(self._name(path, None))

    def remove_tree(self, path: Path) -> None:
        if not path.exists():
            return
        for child in sorted(path.iterdir()):
            self.remove_tree(child) if child.is_dir() else self.remove(child)
        self._known(path)
        path.rmdir()
        del self.nodes[self._relative(path)]
        self.changes.append(self._name(path, None))

    def touch(self, path: Path) -> None:
        os.utime(path)

    # --

    def _known(self, path: Path) -> int:
        """The node of a path; what a library made since is noticed here."""
        relative = self._relative(path)
        if relative not in self.nodes:
            self._named(path, folder=path.is_dir())
        return self.nodes[relative]

    def _named(self, path: Path, *, folder: bool) -> int:
        self._known(path.parent)
        node = len(self.folders) + len(self.known)
        if folder:
            self.folders.add(node)
        else:
            self.known[node] = b""
        self.nodes[self._relative(path)] = node
        self.changes.append(self._name(path, node))
        return node

    def _bytes(self, node: int, data: bytes) -> None:
        self.known[node] = data
        self.changes.append(Bytes(node, data))

    def _name(self, path: Path, target: int | None) -> Name:
        return Name(self.nodes[self._relative(path.parent)], path.name, target)

    def _relative(self, path: Path) -> str:
        relative = path.relative_to(self.root).as_posix()
        return "" if relative == "." else relative

    # -- playing back

    def after(self, moment: int, dice: random.Random | None, keep: float) -> Tree:
        """What a machine finds that lost power after so many changes.

        keep: how likely a change survives that was not synced; without dice none or all do.
        """
        synced = {c.node: i for i, c in enumerate(self.changes[:moment]) if isinstance(c, Sync)}

        def survives(node: int, when: int) -> bool:
            lasts = synced.get(node, -1) > when
            return lasts or (dice.random() < keep if dice else keep >= 1)

        names: dict[int, dict[str, int]] = {}
        content: dict[int, bytes] = {}
        for when, change in enumerate(self.changes[:moment]):
            if isinstance(change, Bytes):
                data = change.data
                if not survives(change.file, when):
                    data = data[: dice.randrange(len(data) + 1)] if dice else b""
                content[change.file] = data
            elif isinstance(change, Name) and survives(change.folder, when):
                _apply(names, change)
            elif isinstance(change, Renamed) and survives(change.names[0].folder, when):
                for name in change.names:
                    _apply(names, name)
        return dict(self._tree("", 0, names, content))

    def _tree(
        self, path: str, node: int, names: dict[int, dict[str, int]], content: dict[int, bytes]
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, child in names.get(node, {}).items():
            below = f"{path}/{name}" if path else name
            if child in self.folders:
                yield below, None
                yield from self._tree(below, child, names, content)
            else:
                yield below, content.get(child, b"")


def _apply(names: dict[int, dict[str, int]], change: Name) -> None:
    entries = names.setdefault(change.folder, {})
    if change.target is None:
        entries.pop(change.name, None)
    else:
        entries[change.name] = change.target


@contextmanager
def recorded(root: Path) -> Iterator[Recording]:
    """Record what happens below a folder while the block runs; changes elsewhere go their way."""
    recording = Recording(root)
    recording.start(read_tree(root))
    with pytest.MonkeyPatch.context() as patch:
        for name in (
            "write",
            "sync",
            "rename",
            "link",
            "make_folder",
            "remove",
            "remove_tree",
            "touch",
        ):
            patch.setattr(disk, name, _switch(recording, name, getattr(disk, name)))
        yield recording


def _switch(recording: Recording, name: str, real):
    own = getattr(recording, name)

    def operation(path: Path, *rest):
        return (own if path.is_relative_to(recording.root) else real)(path, *rest)

    return operation


def read_tree(root: Path) -> Tree:
    """All that lies below a folder."""
    return {
        path.relative_to(root).as_posix(): None if path.is_dir() else path.read_bytes()
        for path in sorted(root.rglob("*"))
    }


def write_tree(root: Path, tree: Tree) -> None:
    """Exactly this, and nothing else, below a folder."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    for path in sorted(tree):
        data = tree[path]
        if data is None:
            (root / path).mkdir()
        else:
            (root / path).write_bytes(data)
