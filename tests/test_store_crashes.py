"""A command on an object store dies before or after any request, its answer lost or not, and the
next one sees listings of long ago: still it ends with the bytes of an undisturbed one.

The store is fsspec's in memory. A put is whole or not there, so that a crash leaves one of as many
states as there were changes; each is tried with listings of several ages.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import fsspec
import pytest
from test_crashes import EDITED, ROWS, a_process_that_died, command, look, source

from chaos.in_process import without_ray
from chaos.sound import published
from pipeline import bucket, files
from pipeline.verify import verify

Objects = dict[str, bytes]
RUN = "memory://run"
LAGS = (0, 2, 1_000_000)  # changes that a listing does not show yet


def objects() -> Objects:
    """Everything in the store."""
    store = fsspec.filesystem("memory").store
    return {path: file.getvalue() for path, file in sorted(store.items())}


def restore(then: Objects) -> None:
    """Exactly this in the store."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    system.pseudo_dirs[:] = [""]
    for path, data in then.items():
        system.pipe_file(path, data)


@contextmanager
def recorded() -> Iterator[list[Objects]]:
    """The store before the first change and after each."""
    states = [objects()]
    with pytest.MonkeyPatch.context() as patch:
        for name in ("put", "put_new", "upload", "remove", "remove_tree"):
            patch.setattr(bucket, name, _noting(getattr(bucket, name), states))
        yield states


def _noting(real: Callable, states: list[Objects]) -> Callable:
    def operation(*args):
        result = real(*args)
        states.append(objects())
        return result

    return operation


@contextmanager
def listings_of(then: Objects) -> Iterator[None]:
    """Listings show this, whatever is put or removed meanwhile."""

    def names(folder: Path, prefix: str = "") -> list[str]:
        base = PurePosixPath(bucket.key(folder))
        found = {PurePosixPath(path).relative_to(base).parts[0] for path in then
                 if PurePosixPath(path).is_relative_to(base)}  # fmt: skip
        return sorted(name for name in found if name.startswith(prefix))

    def below(folder: Path) -> list[Path]:
        base = bucket.key(folder) + "/"
        return [folder / path.removeprefix(base) for path in sorted(then) if path.startswith(base)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket, "names", names)
        patch.setattr(bucket, "below", below)
        yield


def first(folder: Path) -> None:
    source(folder, ROWS)
    command(folder, output=RUN)


def edited(folder: Path) -> None:
    source(folder, EDITED)
    command(folder, output=RUN, update=True)


@pytest.fixture
def empty(own_cache: None) -> Iterator[None]:
    """Nothing in the store, before and after."""
    restore({})
    yield
    restore({})


@pytest.mark.parametrize(
    ("before", "act"), [(None, first), (first, edited)], ids=["a first run", "rows were edited"]
)
def test_a_crash_at_any_request_is_as_if_it_had_not_been(tmp_path, empty, before, act):
    with a_process_that_died():
        if before:
            before(tmp_path)
        with recorded() as states:
            act(tmp_path)
    calm = published(files.at(RUN))
    assert {f"{name}/index.faiss" for name in ("title", "material", "concat")} <= calm.keys()
    points = 0
    for moment, then in enumerate(states):
        for lag in LAGS[: 1 + 2 * (moment % 6 == 0)]:
            points += 1
            restore(then)
            look(files.at(RUN))
            with listings_of(states[max(0, moment - lag)]) if lag else without_ray():
                act(tmp_path)
            assert published(files.at(RUN)) == calm
        act(tmp_path)  # with listings that tell the truth again
        audit = verify(files.at(RUN))
        assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)
    assert points > 70
