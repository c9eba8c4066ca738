"""Weights of workers of one machine: one copy in memory, by the kernel's own count."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import encoders
from chaos.in_process import without_ray
from encoders import shared_weights
from pipeline import Run, config
from pipeline.run import Options, run

SIZE = 4 * 2048 * 2048  # bytes of the large weight
PROGRAM = """
import sys, torch
from torch import nn
from encoders import shared_weights
torch.manual_seed(0)
module = nn.Linear(2048, 2048)
print("ready", flush=True)
sys.stdin.readline()
print(shared_weights.share(module), module(torch.ones(1, 2048)).sum().item(), flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    shared_weights._folder.cache_clear()
    yield tmp_path
    shared_weights._folder.cache_clear()


def network() -> nn.Module:
    torch.manual_seed(0)
    convolution = nn.Conv2d(64, 512, 16).to(memory_format=torch.channels_last)
    norm = nn.BatchNorm2d(512)
    norm.running_mean.normal_()
    return nn.Sequential(convolution, norm).eval()


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_shared_network_computes_the_same_bits(precision):
    module = network().to(precision)
    given = torch.randn(2, 64, 20, 20, dtype=precision).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        before = module(given)
    strides = {name: value.stride() for name, value in module.state_dict().items()}
    private = module[0].weight.data_ptr()
    assert shared_weights.share(module)
    assert module[0].weight.data_ptr() != private
    assert strides == {name: value.stride() for name, value in module.state_dict().items()}
    with torch.inference_mode():
        assert torch.equal(module(given), before)


def mapped(pid: int, kind: str) -> int:
    """Bytes of files of weights in a process, of one of the kernel's kinds of pages."""
    sections = re.split(
        r"^(?=[0-9a-f]+-[0-9a-f]+ )", Path(f"/proc/{pid}/smaps").read_text(), flags=re.M
    )
    ours = [section for section in sections if "polyfuse-weights" in section]
    return 1024 * sum(int(re.search(rf"^{kind}: +(\d+)", section, re.M)[1]) for section in ours)


def test_two_processes_hold_one_copy_and_the_file_ends_with_them(temporary):
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    for process in started:
        assert process.stdout.readline() == "ready\n"
    for process in started:  # both at once: there must be one file whoever is faster
        process.stdin.write("\n")
        process.stdin.flush()
    said = [process.stdout.readline() for process in started]
    assert said[0] == said[1]
    assert said[0].startswith("True")
    for process in started:
        shared = [mapped(process.pid, f"Shared_{state}") for state in ("Clean", "Dirty")]
        assert sum(shared) >= SIZE
        assert mapped(process.pid, "Anonymous") == 0
    [file] = temporary.glob("polyfuse-weights-*/*")
    module = network()  # while they live, nobody removes it
    shared_weights.share(module)
    assert file.exists()
    for process in started:
        process.kill()  # as Ray ends its workers
        process.communicate()
    shared_weights._folder.cache_clear()
    shared_weights.share(module)
    assert not file.exists()


def test_what_is_being_written_is_not_removed(temporary, monkeypatch):
    lock, swept = shared_weights.fcntl.flock, []

    def other_process_first(file, how):
        """Another worker starts between the making of a file and its lock."""
        if hasattr(file, "name") and not swept:
            swept.append(file.name)
            shared_weights._sweep(Path(file.name).parent)
            assert Path(file.name).exists()
        lock(file, how)

    monkeypatch.setattr(shared_weights.fcntl, "flock", other_process_first)
    assert shared_weights.share(network())
    assert swept


def test_a_run_shares_the_weights_of_its_encoders(data, temporary):
    model = str(data / "weights" / "hf" / "all-MiniLM-L6-v2")
    texts = ["a red shoe", "rain on the roof", "the siren of an ambulance"]
    (temporary / "t.csv").write_text("\n".join(["title", *texts]) + "\n")
    wanted = {"kind": "text", "encoder": {"name": "transformers", "model": model}}
    content = {"source": {"path": "t.csv"}, "modalities": {"title": wanted}, "output": "run"}
    with without_ray():
        run(config.parse(content, temporary), Options(stages=("extract",)))
    [file] = temporary.glob("polyfuse-weights-*/*")
    assert file.stat().st_size > 80_000_000
    encoder = encoders.build(encoders.EncoderSpec("text", "transformers", {"model": model}))
    alone = encoder.encode(encoder.prepare(texts))
    np.testing.assert_allclose(Run(temporary / "run").vectors("title")[1], alone, atol=1e-5)


def test_a_file_that_holds_anything_else_is_not_used(temporary):
    module = network()
    assert shared_weights.share(module)
    [file] = temporary.glob("polyfuse-weights-*/*")
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    other = network()
    assert not shared_weights.share(other)
    torch.manual_seed(0)
    assert torch.equal(other[0].weight, nn.Conv2d(64, 512, 16).weight)


def test_a_folder_that_others_may_write_to_is_not_used(temporary):
    module = network()
    assert shared_weights.share(module)
    [folder] = temporary.glob("polyfuse-weights-*")
    folder.chmod(0o777)
    shared_weights._folder.cache_clear()
    assert not shared_weights.share(network())


def test_small_networks_are_left_alone(temporary):
    assert not shared_weights.share(nn.Linear(8, 8))
    assert not list(temporary.iterdir())
