"""The doctor: the torchaudio that can't load beside its torch, found and repaired."""

import importlib.util
import subprocess
import sys

import pytest

from jobs import doctor

LIBRARIES = ("_torchaudio.abi3.so", "libtorchaudio.abi3.so", "torchaudio_prefixctc.abi3.so")


def environment(folder, *, torch_cuda, audio_cuda):
    """A site-packages folder as the wheels lay it out; a CUDA of None: a build without."""
    (folder / "torch").mkdir()
    version = f"__version__ = '2.13.0'\ncuda: Optional[str] = {torch_cuda!r}\nhip = None\n"
    (folder / "torch" / "version.py").write_text(version)
    library = folder / "torchaudio" / "lib"
    library.mkdir(parents=True)
    (library / "__init__.py").touch()
    needed = (
        b"libtorch_cpu.so\0libcudart.so.%s\0" % audio_cuda if audio_cuda else b"libtorch_cpu.so\0"
    )
    for name in LIBRARIES:
        (library / name).write_bytes(b"\x7fELF\2\1\1\0" + needed + b"libc.so.6\0")
    return folder


@pytest.mark.parametrize(
    ("torch_cuda", "audio_cuda"), [("13.0", b"13"), (None, None), ("12.8", b"12"), ("13.0", None)]
)
def test_a_pair_that_fits_is_left_alone(tmp_path, torch_cuda, audio_cuda):
    packages = environment(tmp_path, torch_cuda=torch_cuda, audio_cuda=audio_cuda)
    assert doctor.torchaudio_problem(packages) is None
    assert doctor.fix_torchaudio(packages) == []
    assert len(doctor.native_libraries(packages / "torchaudio")) == 3


@pytest.mark.parametrize(
    ("torch_cuda", "said"), [(None, "torch has no CUDA"), ("12.8", "torch has CUDA 12")]
)
def test_a_broken_pair_is_one_sentence_and_a_fix(tmp_path, torch_cuda, said):
    packages = environment(tmp_path, torch_cuda=torch_cuda, audio_cuda=b"13")
    problem = doctor.torchaudio_problem(packages)
    assert "wants CUDA 13" in problem
    assert said in problem
    assert "polyfuse doctor --fix" in problem
    assert "\n" not in problem
    assert [path.name for path in doctor.fix_torchaudio(packages)] == sorted(LIBRARIES)
    assert doctor.torchaudio_problem(packages) is None
    assert [path.name for path in (packages / "torchaudio/lib").iterdir()] == ["__init__.py"]
    assert doctor.fix_torchaudio(packages) == []


def test_without_torchaudio_there_is_no_problem(tmp_path):
    assert doctor.torchaudio_problem(tmp_path) is None


def test_this_environment_can_import_torchaudio():
    # The static check and the import itself must agree; the import is done in a fresh process.
    command = [sys.executable, "-c", "import torchaudio"]
    imports = subprocess.run(command, capture_output=True, check=False).returncode == 0
    if importlib.util.find_spec("torchaudio") is None:
        pytest.skip("torchaudio is not installed")
    assert imports == (doctor.torchaudio_problem() is None)


def test_the_quick_check_does_not_import_torch():
    code = (
        "import sys; from jobs.doctor import torchaudio_problem; torchaudio_problem();"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_report_says_what_is_missing(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(tmp_path / "no-such-token"))
    report = {check.name: check for check in doctor.checks()}
    assert report["Ray's token"].ok is False
    assert report["Python"].ok
    assert report["decoders"].ok
    assert report["GPU"].ok is None
