"""The report page: what happened is in it, whatever the size of the run, and nothing breaks out."""

import html.parser

import pytest
from corpus import write_corpus

from jobs.report import write_report
from pipeline import config
from pipeline.run import Options, run

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("two_cpus")]


class Text(html.parser.HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.add(tag)


def test_a_run_of_few_records_has_a_page_with_everything(tmp_path):
    path = write_corpus(tmp_path, records=8)  # too few to withhold queries from
    table = (tmp_path / "records.csv").read_text()
    (tmp_path / "records.csv").write_text(table.replace("photo-5.png", "<script>alert(1)</script>"))
    summary = run(config.load(path))
    page = Text(write_report(summary).read_text())
    text = " ".join(page.words)
    for expected in ("6 ok", "2 partial", "NOT_FOUND", "too few vectors", "hog-colour", "concat"):
        assert expected in text
    assert "<script>alert(1)</script>" in text  # as text
    assert "script" not in page.tags


def test_a_run_that_is_not_indexed_yet_has_a_page_too(tmp_path):
    summary = run(config.load(write_corpus(tmp_path, records=8)), Options(("extract",)))
    text = " ".join(Text(write_report(summary).read_text()).words)
    assert "none yet" in text
