"""The pages say what is there: every reason, every link, every folder."""

import dataclasses
import re
from pathlib import Path

import pytest

import encoders
from encoders.media.errors import Reason
from jobs import reference

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def test_every_reason_is_explained_once_and_no_other():
    page = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    table = page.partition("## Reasons")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE)
    assert sorted(explained) == sorted(Reason)


def test_every_encoder_and_every_option_is_in_the_tables_and_no_other():
    page = (ROOT / "docs" / "encoders.md").read_text(encoding="utf-8")
    kinds, options = (
        [[cell.strip() for cell in row.split("|")[1:-1]] for row in part.splitlines()
         if row.startswith("| `")]
        for part in page.partition("## Precision")[0].split("## Options")
    )  # fmt: skip
    there = {
        (name, kind): encoders.options_type(kind, name)
        for name, entry in encoders.ENCODERS.items()
        for kind in entry.targets
    }
    described = {(row[0].strip("`"), kind) for row in kinds for kind in row[1].split(", ")}
    assert described == set(there)
    shown = {(row[0].strip("`"), row[1], row[2].strip("`")): row[3] for row in options}
    fields = {(*key, field.name): field for key, own in there.items()
              for field in dataclasses.fields(own)}  # fmt: skip
    assert shown.keys() == fields.keys()
    for key, field in fields.items():
        if field.default in (dataclasses.MISSING, None, ""):
            assert shown[key] in ("required", "chosen", "none", "main"), key
        else:
            text = str(field.default)
            assert shown[key] == f"`{text.lower() if isinstance(field.default, bool) else text}`"


def test_the_page_of_models_is_what_the_code_says():
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    assert page == reference.page(), "python -m jobs.reference > docs/models.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8"))
    for link in links:
        if "://" not in link:
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_tree_of_the_readme_is_the_tree():
    page = (ROOT / "README.md").read_text(encoding="utf-8")
    tree = page.partition("## The tree\n\n```\n")[2].partition("```")[0]
    named, parent = set(), ""
    for line in tree.splitlines():
        name = line.split()[0]
        indented = line.startswith(" ")
        named.add(f"{parent}{name}" if indented else name)
        parent = parent if indented else name
    assert {"encoders/", "encoders/media/", "pipeline/", "jobs/", "cluster.yaml"} <= named
    for name in named:
        assert (ROOT / name).exists(), name


def test_the_make_targets_in_the_pages_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for page in PAGES:
        blocks = re.findall(
            r"(?:^|`)(?:\S+=\S+ )?make ([a-z]+)", page.read_text(encoding="utf-8"), re.M
        )
        assert set(blocks) <= targets, page.name
