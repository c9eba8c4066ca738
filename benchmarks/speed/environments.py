"""Where the peers live: a virtual environment each, made when it is first needed.

Beside its own packages each sees ours, last on its path: so all compute with the same torch, and
gigabytes are not installed twice. What a peer wants in another version it has in its own.
"""

import subprocess
import sys
import sysconfig
from importlib.metadata import version
from pathlib import Path

_PACKAGES = {
    "sentences": ["sentence-transformers==6.2.0"],
    "openvino": ["sentence-transformers[openvino]==6.2.0"],
    "daft": ["daft==0.6.14", "sentence-transformers==5.7.0", "transformers<5"],
    "clip": ["clip-retrieval==2.45.0", "setuptools<81"],
}
# Its build doesn't load beside a torch without CUDA, and transformers imports it where it is.
_UNWANTED = {"openvino": ["torchvision"]}
_REASON = 300  # characters kept of what pip said


class NotInstalled(Exception):
    """A peer that can't be had here, with pip's reason."""


def python(name: str | None, cache: Path) -> Path:
    """The interpreter of an environment; None: our own.

    Raises:
        NotInstalled: pip could not, now or in an earlier call.
    """
    if name is None:
        return Path(sys.executable)
    folder = cache / "environments" / name
    state = folder / "state"
    if not state.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        state.write_text(_install(folder, name), encoding="utf-8")
    reason = state.read_text(encoding="utf-8")
    if reason:
        raise NotInstalled(reason)
    return folder / "bin" / "python"


def _install(folder: Path, name: str) -> str:
    """Empty, or why not."""
    ours = sysconfig.get_path("purelib")
    shared = next(folder.glob("lib/python*/site-packages"))
    (shared / "ours.pth").write_text(ours + "\n", encoding="utf-8")
    pinned = folder / "constraints.txt"
    torch = version("torch").partition("+")[0]
    pinned.write_text(f"torch=={torch}\n", encoding="utf-8")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
    done = subprocess.run(
        [*pip, "install", "--constraint", str(pinned), *_PACKAGES[name]],
        capture_output=True,
        text=True,
    )
    if done.returncode:
        return (done.stderr.strip() or "pip failed")[-_REASON:]
    if name in _UNWANTED:
        subprocess.run([*pip, "uninstall", "--yes", *_UNWANTED[name]], check=True)
    return ""
