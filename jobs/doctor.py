"""Look at the environment: does what polyfuse needs work here?

    python -m jobs.doctor [--fix]

One trap is common enough to have a fix. The torchaudio wheel of the public package index links
CUDA. Beside a torch without CUDA (or with another CUDA) its native library can't load, and then
`import torchaudio` fails, and with it much of transformers. We use none of the native parts, and
torchaudio skips them by itself when the files are absent: the fix removes them.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_NATIVE_SUFFIXES = (".so", ".pyd", ".dylib")
_CODECS = ("h264", "aac", "vorbis", "opus", "flac", "mp3")


@dataclass(frozen=True)
class Check:
    """One line of the report; `ok` is None where there is nothing to be right or wrong."""

    name: str
    found: str
    ok: bool | None = None


def torchaudio_problem(packages: Path | None = None) -> str | None:
    """One sentence and its fix when torchaudio can't load beside the installed torch, else None.

    Reads files only, so it is quick and works where the import itself would fail.

    Args:
        packages: the folder that holds torch/ and torchaudio/; default: where Python finds them.
    """
    audio, torch = _package("torchaudio", packages), _package("torch", packages)
    if audio is None or torch is None:
        return None
    wanted = {cuda for library in native_libraries(audio) for cuda in _linked_cuda(library)}
    if not wanted or wanted == {_cuda_of(torch)}:
        return None
    have = f"CUDA {_cuda_of(torch)}" if _cuda_of(torch) else "no CUDA"
    return (
        f"torchaudio's native library wants CUDA {', '.join(sorted(wanted))} and the installed "
        f"torch has {have}, so `import torchaudio` fails; polyfuse doesn't need that library: "
        "`polyfuse doctor --fix` removes it"
    )


def native_libraries(torchaudio: Path) -> list[Path]:
    """The compiled files in torchaudio's `lib` folder, which it skips where they are absent."""
    return sorted(
        path for path in (torchaudio / "lib").glob("*") if path.suffix in _NATIVE_SUFFIXES
    )


def fix_torchaudio(packages: Path | None = None) -> list[Path]:
    """Remove the native libraries of a torchaudio that can't load them; what was removed."""
    audio = _package("torchaudio", packages)
    if audio is None or torchaudio_problem(packages) is None:
        return []
    removed = native_libraries(audio)
    for path in removed:
        path.unlink()
    return removed


def _package(name: str, packages: Path | None) -> Path | None:
    if packages is not None:
        return packages / name if (packages / name).is_dir() else None
    spec = importlib.util.find_spec(name)  # finds a top-level package without importing it
    return Path(spec.origin).parent if spec and spec.origin else None


def _linked_cuda(library: Path) -> set[str]:
    """The major versions of the CUDA runtime that a library names among those it needs."""
    names = re.findall(rb"libcudart\.so\.(\d+)|cudart64_(\d+)\.dll", library.read_bytes())
    return {(linux or windows).decode() for linux, windows in names}


def _cuda_of(torch: Path) -> str | None:
    """The major version of the CUDA that torch was built with; None for a build without."""
    version = (torch / "version.py").read_text(encoding="utf-8")
    found = re.search(r"^cuda\b[^=]*=\s*['\"](\d+)", version, re.MULTILINE)
    return found[1] if found else None


def checks() -> Iterator[Check]:
    """Everything the report shows, in order."""
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    yield Check("Python", platform.python_version(), good)
    for package in ("torch", "torchaudio", "transformers", "ray", "faiss-cpu", "pyarrow", "av"):
        version = _version(package)
        yield Check(package, version or "not installed: run `make setup`", version is not None)
    problem = torchaudio_problem() or _import_problem("torchaudio")
    yield Check("import torchaudio", problem or "works", not problem)
    without = "not installed; networks on CPUs are faster with it: pip install 'polyfuse[openvino]'"
    yield Check("OpenVINO", _version("openvino") or without)
    yield Check("processor cores", str(os.cpu_count()))
    yield Check("GPU", _gpu())
    yield _codecs()
    yield _token_folder()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _import_problem(module: str) -> str | None:
    """The last line of what goes wrong when a fresh Python imports a module."""
    command = [sys.executable, "-c", f"import {module}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stderr.strip().rpartition("\n")[2] if done.returncode else None


def _gpu() -> str:
    if importlib.util.find_spec("torch") is None:
        return "unknown without torch"
    import torch

    if not torch.cuda.is_available():
        return "none that torch can use"
    return ", ".join(torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count()))


def _codecs() -> Check:
    if importlib.util.find_spec("av") is None:
        return Check("decoders", "unknown without av", False)
    import av

    missing = sorted(set(_CODECS) - av.codecs_available)
    found = f"FFmpeg lacks {', '.join(missing)}" if missing else ", ".join(_CODECS)
    return Check("decoders", found, not missing)


def _token_folder() -> Check:
    """Ray keeps its access token in ~/.ray; without a home that can be written it can't start."""
    if path := os.environ.get("RAY_AUTH_TOKEN_PATH"):
        return Check("Ray's token", f"RAY_AUTH_TOKEN_PATH={path}", os.access(path, os.R_OK))
    home = Path.home()
    if os.access(home, os.W_OK):
        return Check("Ray's token", f"goes to {home / '.ray'}", True)
    return Check(
        "Ray's token", f"{home} can't be written: set RAY_AUTH_TOKEN_PATH to a file", False
    )


def diagnose(*, fix: bool = False) -> bool:
    """Print the report, after a repair if asked for; whether all that is needed works."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False)
    if fix:
        for path in fix_torchaudio():
            console.print(f"removed {path.name}: it can't load beside this torch")
    report = list(checks())
    table = Table("", "what", "found", box=None, pad_edge=False)
    marks = {True: "[green]ok[/]", False: "[red]no[/]", None: ""}
    for check in report:
        table.add_row(marks[check.ok], check.name, check.found)
    console.print(table)
    return all(check.ok is not False for check in report)


def main(arguments: list[str] | None = None) -> int:
    """Diagnose; 1 if something that is needed doesn't work."""
    parser = argparse.ArgumentParser(prog="python -m jobs.doctor", description="check this machine")
    parser.add_argument("--fix", action="store_true", help="repair torchaudio in this environment")
    return int(not diagnose(fix=parser.parse_args(arguments).fix))


if __name__ == "__main__":
    raise SystemExit(main())
