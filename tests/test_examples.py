"""The examples run and print what their text promises."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


def run(name: str, *arguments: str) -> str:
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(
        command, cwd=EXAMPLES.parent, capture_output=True, text=True, check=True, timeout=250
    ).stdout


@pytest.mark.ray
def test_first_run_finds_the_concept_asked_for(tmp_path):
    lines = run("first_run.py", str(tmp_path / "sample")).splitlines()
    assert "'ok': 256" in lines[0]
    assert [line.split()[-1] for line in lines[-3:]] == ["siren"] * 3


def test_the_new_encoder_keeps_the_contract():
    names = runpy.run_path(str(EXAMPLES / "new_encoder.py"))
    encoder = names["MeanColour"](names["MeanColour"].Options())
    rng = np.random.default_rng(0)
    pictures = [names["Image"](rng.integers(0, 256, (5, 7, 3), np.uint8)) for _ in range(3)]
    together = encoder.encode([*encoder.prepare(pictures), None])
    alone = np.concatenate([encoder.encode(encoder.prepare([picture])) for picture in pictures])
    assert together.dtype == np.float32
    assert (together[:3] == alone).all()
    assert not together[3].any()
    assert encoder.encode([]).shape == (0, encoder.identity.dim)
    np.testing.assert_allclose(alone[0], pictures[0].pixels.mean((0, 1)) / 255, rtol=1e-6)
    other = names["MeanColour"](names["MeanColour"].Options(gamma=2.0))
    assert other.identity.digest != encoder.identity.digest


def test_the_new_operator_keeps_the_contract():
    names = runpy.run_path(str(EXAMPLES / "new_operator.py"))
    operator = names["Maximum"]({"image": 4, "text": 3}, names["Maximum"].Options(dim=2))
    torch.manual_seed(0)
    features = {"image": torch.randn(4, 4), "text": torch.randn(4, 3)}
    present = {
        "image": torch.tensor([True, True, False, False]),
        "text": torch.tensor([True, False, True, False]),
    }
    projected = operator.projection(features)
    one, other = projected["image"], projected["text"]
    expected = torch.stack([torch.maximum(one[0], other[0]), one[1], other[2], torch.zeros(2)])
    spoiled = {n: x.masked_fill(~present[n][:, None], torch.nan) for n, x in features.items()}
    found = operator(spoiled, present).vector
    torch.testing.assert_close(found, expected)
    found.sum().backward()
    assert all(p.grad.isfinite().all() for p in operator.parameters())
    body = (
        (EXAMPLES / "new_operator.py").read_text().split("class Maximum")[1].split("if __name__")[0]
    )
    assert len(body.strip().splitlines()) < 40
