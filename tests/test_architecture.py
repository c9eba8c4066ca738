"""The shape of the repository: imports go one way, files stay short, nothing names a machine."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# What each package may import of ours.
ALLOWED = {
    "learning": set(),
    "encoders": {"learning"},
    "fusion": {"learning"},
    "pipeline": {"encoders", "fusion", "learning"},
    "jobs": {"pipeline", "encoders", "fusion", "learning"},
}
# Libraries that a package must never import, at any depth, lazily or not.
BANNED = {
    "encoders": {"ray", "pyarrow", "faiss", "yaml"},
    "fusion": {"ray", "pyarrow", "faiss", "yaml", "transformers", "torchaudio", "PIL", "av"},
    "learning": {"ray", "pyarrow", "faiss", "yaml", "transformers", "torchaudio", "PIL", "av"},
    "encoders/media": {"torch", "torchaudio", "transformers", "ray", "pyarrow", "faiss", "yaml"},
}
PACKAGES = sorted(name for name in ALLOWED if (ROOT / name).is_dir())
MODULES = sorted(path for name in PACKAGES for path in (ROOT / name).rglob("*.py"))


def imported(path):
    """The full names of all modules a file imports, inside functions as well."""
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            yield base + (node.module or "")


def tracked():
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    paths = [ROOT / name for name in listed.stdout.decode().split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink()]


def relative(path):
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_go_one_way(path):
    home = path.relative_to(ROOT).parts[0]
    roots = {name.partition(".")[0] for name in imported(path)}
    assert roots & set(ALLOWED) - {home} <= ALLOWED[home]
    banned = {lib for folder, libs in BANNED.items() if relative(path).startswith(folder + "/")
              for lib in libs}  # fmt: skip
    assert not roots & banned


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_no_module_is_over_400_lines(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


def test_the_modules_of_a_package_import_each_other_without_a_circle():
    names = {".".join(p.relative_to(ROOT).with_suffix("").parts): p for p in MODULES}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    edges = {}
    for name, path in names.items():
        body = ast.parse(path.read_text(encoding="utf-8")).body  # top level only: it runs at import
        top = [node for node in body if isinstance(node, ast.Import | ast.ImportFrom)]
        found = {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        for node in top:
            if isinstance(node, ast.ImportFrom) and node.module:
                found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
        edges[name] = {
            target for target in found if target in names and not name.startswith(target)
        }
    done, path_taken = set(), []

    def visit(name):
        assert name not in path_taken, " -> ".join([*path_taken, name])
        if name not in done:
            path_taken.append(name)
            for target in sorted(edges[name]):
                visit(target)
            path_taken.pop()
            done.add(name)

    for name in sorted(names):
        visit(name)


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.is_relative_to(ROOT / "pipeline")], ids=relative
)
def test_only_the_disk_changes_files(path):
    changing = {"unlink", "rename", "replace", "rmtree", "rmdir", "mkdir", "makedirs", "link", "symlink",
                "utime", "write_bytes", "write_text", "touch", "remove"}  # fmt: skip
    owners = {"os", "shutil", "path", "temporary", "folder"}
    found = {
        f"{node.func.value.id}.{node.func.attr}"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name) and node.func.attr in changing
    }  # fmt: skip
    assert relative(path) == "pipeline/disk.py" or not {
        f for f in found if f.split(".")[0] in owners
    }


def test_every_package_is_listed_for_installation():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    listed = set(project["tool"]["setuptools"]["packages"])
    there = {".".join(path.parent.relative_to(ROOT).parts) for path in MODULES}
    assert listed == there
    typed = set(project["tool"]["mypy"]["packages"])
    assert typed == set(PACKAGES)


def test_nothing_names_a_machine_or_a_package_host():
    # Written in pieces, so that this file passes its own test.
    patterns = [
        "/" + "work/", "/" + "home/[a-z]+/", "/" + "root/", "/" + "Users/[a-z]+/",
        "pypi" + r"\.org", "python" + r"hosted\.org", "download" + r"\.pytorch\.org",
        "index" + "-url", "find" + "-links", r"/opt/" + "(wheels|pypi)",
    ]  # fmt: skip
    named = re.compile("|".join(patterns))
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        found = named.search(text)
        assert found is None, f"{relative(path)} names {found[0]!r}"


def test_tracing_a_model_leaves_no_tensor_without_data_in_a_library():
    code = (
        "import sys, torch, transformers; from encoders import backbone;"
        "shape = dict(hidden_size=8, num_attention_heads=1, intermediate_size=8);"
        "config = transformers.BertConfig(num_hidden_layers=1, **shape);"
        "ids = torch.ones(1, 8, dtype=torch.long);"
        "backbone.outline(config, 'text', {'input_ids': ids});"
        "from torchaudio.compliance import kaldi; sys.exit(kaldi.EPSILON.is_meta)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_importing_the_decoders_loads_no_model_library():
    code = (
        "import sys, encoders, encoders.media; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
