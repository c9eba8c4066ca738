"""What every measurement does alike: its options, where its numbers lie, and what they are of.

A benchmark writes its numbers to docs/results/NAME.json and, from them alone, the page
docs/results/NAME.md; `--tables` writes the page again.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "docs" / "results"


def main(
    name: str,
    description: str | None,
    measure: Callable[[Path], dict[str, Any]],
    page: Callable[[Mapping[str, Any]], str],
    *,
    needs: str,
) -> None:
    """The command line of a benchmark without options of its own.

    measure: from the folder of test data to the numbers. needs: what it reads there.
    """
    if not parser(name, description).parse_args().tables:
        save(name, measure(data_folder(needs)))
    write_page(name, page)


def parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options all share. description: a docstring, whose first line is shown."""
    first = (description or "").partition("\n")[0]
    options = argparse.ArgumentParser(prog=f"python -m benchmarks.{name}", description=first)
    options.add_argument("--tables", action="store_true", help="only rewrite the page")
    return options


def data_folder(needs: str) -> Path:
    """Where the real data lie; ends the program where nobody says."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        sys.exit(f"set POLYFUSE_TEST_DATA to the folder that holds {needs}")
    return Path(folder)


def load(name: str) -> dict[str, Any]:
    """The numbers of docs/results/NAME.json; empty where nothing is measured yet."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def save(name: str, results: Mapping[str, Any], indent: int | None = 2) -> None:
    """Write the numbers: all of them, or the file stays as it was."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    partial = RESULTS / f"{name}.partial"
    partial.write_text(json.dumps(results, indent=indent) + "\n", encoding="utf-8")
    partial.replace(RESULTS / f"{name}.json")


def write_page(name: str, page: Callable[[Mapping[str, Any]], str]) -> None:
    """Write docs/results/NAME.md from the numbers."""
    results = load(name)
    if not results:
        sys.exit(f"there are no numbers in {RESULTS / name}.json yet: run without --tables")
    path = RESULTS / f"{name}.md"
    path.write_text(page(results), encoding="utf-8")
    print(path)


# -- what the numbers are of


def about(name: str, *packages: str, threads: int | None = None) -> dict[str, Any]:
    """How numbers came to be: command, day, code, machine, and the versions of the packages."""
    used = "" if threads is None else f", {threads} thread{'s' if threads > 1 else ''}"
    return {
        "format": 1,
        "command": f"python -m benchmarks.{name}",
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine() + used,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in packages},
    }


def commit() -> str:
    """Of the code that measures; "-dirty" where it is another. Results themselves are no code."""

    def git(*arguments: str) -> str:
        found = subprocess.run(["git", *arguments], capture_output=True, text=True, cwd=ROOT)
        return found.stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!docs/results")
    return git("describe", "--always") + ("-dirty" if changed else "")


def machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores"


def footer(results: Mapping[str, Any], script: str, note: str | None = None) -> list[str]:
    """The last lines of a page: what `about` found, a note, and the script that writes the page."""
    made = [f"`{results['command']}`", results["date"]]
    if "commit" in results:
        made.append(f"commit {results['commit']}")
    if "seed" in results:
        made.append("nothing random" if results["seed"] is None else f"seed {results['seed']}")
    versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
    return [
        "",
        ", ".join(made) + ".",
        f"{results['machine']}; {versions}.",
        *(["", note] if note else []),
        "",
        f"Written by `{script}` from the .json file beside it.",
    ]


def fresh_process(program: str, *arguments: str) -> Any:
    """What a program prints as JSON in a process of its own: peak memory never goes down."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    return json.loads(done.stdout)
