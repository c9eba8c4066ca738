"""What several test files share."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

# Read when torch starts its pool. Tests share their cores, and waiting threads spin.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def data() -> Path:
    """Real media and weights; without them a test skips on a user's machine, and fails in CI."""
    folder = os.environ.get("POLYFUSE_TEST_DATA")
    if not folder:
        if os.environ.get("CI"):
            pytest.fail("POLYFUSE_TEST_DATA is not set: in CI the tests with real data must run")
        pytest.skip("POLYFUSE_TEST_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="module")
def two_cpus() -> Iterator[None]:
    """A Ray of this machine with two CPUs, for all tests of a module."""
    import ray

    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes on indexes that were checked go to this test's folder, not to the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[bytes], list[str]]:
    """An indexed run over pictures and texts, and both, as `stored.write_media` makes it."""
    from stored import write_media  # what it imports is not for every test

    run = tmp_path_factory.mktemp("media")
    return run, *write_media(run)


@pytest.fixture
def small_bert(data: Path, tmp_path: Path) -> list[str]:
    """Overrides of a configuration: titles by a one-layer BERT of random weights, and photos."""
    import torch  # slow, and not for every test
    import transformers

    folder = tmp_path / "model"
    known = data / "weights/hf/all-MiniLM-L6-v2"
    folder.mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt"):
        if (known / name).exists():
            shutil.copy(known / name, folder)
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.BertConfig(vocab_size=30522, intermediate_size=48, **shape)
    transformers.AutoModel.from_config(config).save_pretrained(folder)
    modality = f"{{kind: text, encoder: {{name: transformers, model: {folder}}}}}"
    return [f"modalities={{title: {modality}, photo: {{kind: image}}}}"]


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """A path that nothing may create."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists(), "an attack succeeded"
