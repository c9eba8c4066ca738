"""The leaderboard says who is best by what the validation part chose, and shows it."""

import dataclasses
import json
import statistics
import xml.etree.ElementTree as ET

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from fusion.trial import Candidate, Score
from jobs import leaderboard, plots
from pipeline.compare.leaderboard import Entrant, Leaderboard, Training, best_rate, settle

PATTERNS = ("a+b", "a", "b")


def entrant(row, kind="fusion", inputs=("a", "b")):
    return Entrant(row, kind, Candidate(row.split()[0], inputs), 100, 2_000_000)


def trained(row, test, *, rate=1e-3, seed=0, valid=None):
    score = Score(
        test, test if valid is None else valid, dict.fromkeys(PATTERNS, test), 1234, 2.5, 40, 1.0
    )
    return Training(row, rate, seed, 40, score)


ENTRANTS = [
    entrant("only a", "single", ("a",)),
    entrant("only b", "single", ("b",)),
    entrant("decision-product", "reference"),
    entrant("gmu"),
    entrant("sum"),
    entrant("tucker"),
]


def a_board():
    trainings = [
        trained("only a", 0.70, valid=0.60),
        trained("only b", 0.65, valid=0.66),  # better on the validation part, not on the test part
        *(trained("decision-product", 0.80 + 0.01 * seed, seed=seed) for seed in range(3)),
        *(trained("gmu", 0.90 + 0.01 * seed, seed=seed) for seed in range(3)),
        trained("gmu", 0.99, rate=1e-2, valid=0.1),  # the best on the test part is not chosen by it
        trained("sum", 0.75),
        Training("tucker", 0.0, 0, 0, None, "tucker needs <115 GB>"),
    ]
    rows = settle(ENTRANTS, trainings)
    return Leaderboard("default", "accuracy", rows, {"label": "kind"}, ("1 seed instead of 3",))


def test_the_learning_rate_and_the_best_single_modality_are_chosen_by_validation():
    rows = {row.row: row for row in a_board().rows}
    assert rows["gmu"].learning_rate == 1e-3
    assert rows["gmu"].seeds == 3
    assert rows["gmu"].mean == pytest.approx(0.91)
    assert rows["gmu"].spread == pytest.approx(statistics.stdev([0.90, 0.91, 0.92]))
    assert rows["only b"].best_single
    assert not rows["only a"].best_single


def test_of_equal_learning_rates_the_smallest_is_taken_whatever_finished_first():
    grid = [trained("gmu", 0.9, rate=rate) for rate in (1e-2, 1e-3, 1e-1)]
    assert best_rate(grid) == best_rate(grid[::-1]) == 1e-3
    assert best_rate([]) is None


def test_an_operator_below_a_reference_is_marked_and_the_best_comes_first():
    board = a_board()
    assert [row.row for row in board.rows] == [
        "gmu", "decision-product", "sum", "only a", "only b", "tucker",
    ]  # fmt: skip
    marks = {row.row: row.below for row in board.rows}
    assert marks["sum"] == ("decision-product",)
    assert marks["gmu"] == marks["only a"] == ()


def test_the_files_say_what_the_table_says(tmp_path):
    board = a_board()
    board.write(tmp_path)
    found = json.loads((tmp_path / "leaderboard.json").read_text())
    assert found["format"] == 1
    assert [row["row"] for row in found["rows"]] == [row.row for row in board.rows]
    table = pq.read_table(tmp_path / "leaderboard.parquet")
    assert table["mean"].to_pylist() == [row.mean for row in board.rows]
    assert table["pattern a+b"].to_pylist()[-1] is None
    assert table.schema.metadata[b"format"] == b"1"


def test_the_page_shows_every_row_and_every_plot(tmp_path):
    page = leaderboard.write_page(a_board(), tmp_path).read_text()
    for row in a_board().rows:
        assert row.row in page
    assert "tucker needs &lt;115 GB&gt;" in page  # escaped
    assert "Cut to fit the budget: 1 seed instead of 3" in page
    drawings = [f"<svg{part.partition('</svg>')[0]}</svg>" for part in page.split("<svg")[1:]]
    assert len(drawings) == 3
    for drawing in drawings:
        ET.fromstring(drawing)  # well-formed
    assert "<script" not in page
    assert "http" not in page


def test_the_verdict_is_a_sentence():
    said = leaderboard.verdict(a_board())
    assert said.startswith("gmu is best: accuracy 91.0 % ± 1.0 % over 3 seeds")
    assert "10.0 points above the decision-product" in said
    assert "26.0 points above the best single modality (only b)" in said
    nothing = dataclasses.replace(a_board(), rows=settle(ENTRANTS, []))
    assert leaderboard.verdict(nothing).startswith("nothing was trained within the budget")
    (note,) = leaderboard.notes(nothing)[1:]
    assert note.startswith("decision-product, ")
    assert note.endswith("tucker: not trained within the budget")


def test_the_table_fits_a_terminal_of_80_columns(capsys):
    console = Console(width=80)
    console.print(leaderboard.to_table(a_board()))
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].split() == ["fusion", "accuracy", "weights", "ms/1,000", "peak"]
    assert shown[1].split()[:4] == ["gmu", "91.0", "%", "±"]
    assert "…" not in "".join(shown)


def test_an_empty_comparison_still_has_a_page(tmp_path):
    board = Leaderboard("x", "R2", settle(ENTRANTS, []), {})
    assert "nothing was trained" in leaderboard.write_page(board, tmp_path).read_text()


def test_whiskers_and_dots_lie_where_the_numbers_are():
    dots = [plots.Dot("one", 0.2, "#111111", 0.1), plots.Dot("two", 0.8, "#222222", 0.1)]
    drawing = ET.fromstring(plots.ranking(dots, [plots.Line("bar", 0.5, "#333333")], str))
    circles = [float(c.get("cx")) for c in drawing.iter("circle")]
    (bar,) = [float(x.get("x1")) for x in drawing.iter("line") if x.get("stroke") == "#333333"]
    assert bar == pytest.approx(sum(circles) / 2, abs=0.1)  # halfway between the two
    low, high = next(
        (float(x.get("x1")), float(x.get("x2")))
        for x in drawing.iter("line")
        if x.get("stroke") == "#111111"
    )
    assert (high - low) / (circles[1] - circles[0]) == pytest.approx(0.2 / 0.6, abs=1e-3)


def test_names_of_near_dots_do_not_cover_each_other():
    dots = [plots.Dot(f"operator-{i}", 0.9, "#111111", x=1000) for i in range(12)]
    drawing = ET.fromstring(plots.scatter(dots, str, x_name="x", y_name="y"))
    names = [t for t in drawing.iter("text") if (t.text or "").startswith("operator")]
    assert 1 <= len(names) < 12  # what has no room is told by the title of its dot
    assert len(list(drawing.iter("title"))) == 12


def test_one_value_alone_can_be_drawn():
    dot = plots.Dot("one", 0.5, "#111111", x=10)
    ET.fromstring(plots.ranking([dot], [], str))
    ET.fromstring(plots.scatter([dot], str, x_name="x", y_name="y"))
    ET.fromstring(plots.heat_map(["one"], ["a"], [[None]], str))
