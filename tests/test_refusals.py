"""What stops a command half-way: a source edited under it, an output that can't be written."""

import subprocess
import sys
from pathlib import Path

import pytest
from corpus import write_corpus

from pipeline.verify import verify

ROOT = Path(__file__).resolve().parent.parent


def start(command: str, config: Path, *arguments: str) -> subprocess.Popen:
    line = [sys.executable, "-m", "jobs.cli", command, str(config), *arguments]
    return subprocess.Popen(
        line, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    output, _ = process.communicate(timeout=120)
    assert "Traceback" not in output
    return process.returncode, output


@pytest.mark.ray
def test_a_table_edited_after_planning_is_refused_and_update_takes_it_in(tmp_path):
    config = write_corpus(tmp_path)
    table = tmp_path / "records.csv"
    process = start("extract", config, "--set", "modalities={title: {kind: text}}")
    for line in process.stdout:  # workers come up seconds after the plan is made
        if "plan: 60 records" in line:
            table.write_text(table.read_text().replace("thing 2 number 50,", "another thing,"))
            break
    code, output = finish(process)
    assert code == 4, output
    (sentence,) = [line for line in output.splitlines() if line.startswith("polyfuse: ")]
    assert "records.csv" in sentence
    assert "changed since planning" in sentence
    assert "--update" in sentence

    same = ("--set", "modalities={title: {kind: text}}")
    code, output = finish(start("extract", config, *same))
    assert (code, "--update" in output) == (4, True)  # now planning sees it
    code, output = finish(start("extract", config, *same, "--update"))
    assert code == 0, output
    audit = verify(tmp_path / "run")
    assert (audit.problems, audit.garbage, audit.pending) == ([], [], 0)


@pytest.mark.parametrize("output", ["records.csv", "records.csv/run"])
def test_an_output_that_cannot_be_a_folder_is_one_sentence(tmp_path, output):
    config = write_corpus(tmp_path, records=4)
    code, text = finish(start("run", config, "--set", f"output={output}"))
    assert code == 1
    assert text.startswith(f"polyfuse: can't write {tmp_path / 'records.csv'}")
    assert "a file stands where a folder should be" in text
    assert len(text.splitlines()) == 1


def test_a_write_that_the_system_cuts_off_leaves_nothing_behind(tmp_path):
    # A file-size limit makes write() fail half-way, as a full disk does.
    code = (
        "import resource, sys; from pathlib import Path; from pipeline import files\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "files.publish(Path(sys.argv[1]), bytes(5000))"
    )
    target = tmp_path / "part.parquet"
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], cwd=ROOT, capture_output=True, text=True
    )
    last = done.stderr.splitlines()[-1]
    assert f"PolyfuseError: can't write {target}: File too large" in last
    assert list(tmp_path.iterdir()) == []
