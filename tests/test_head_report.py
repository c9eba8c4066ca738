"""The page of a head shows what its evaluation says, for every task, and nothing breaks out of it."""

import html.parser

import pytest
import torch

from fusion.evaluation import Evaluation, evaluate
from fusion.objectives.prediction import Prediction
from jobs.head_report import head_page
from learning.loop import History, Point


class Text(html.parser.HTMLParser):
    """The text of a page, and its tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def evaluated(task, classes=3, rows=200):
    generator = torch.Generator().manual_seed(0)
    present = {
        "image": torch.rand(rows, generator=generator) > 0.3,
        "text": torch.rand(rows, generator=generator) > 0.3,
    }
    names = ["<script>alert(1)</script>", *(f"class {i}" for i in range(1, classes))]
    noise = torch.randn(rows, classes, generator=generator)
    if task == "classify":
        targets = torch.randint(-1, classes, (rows,), generator=generator)
        probabilities = (noise + 2 * torch.eye(classes)[targets]).softmax(dim=1)
        prediction = Prediction(probabilities.argmax(dim=1), probabilities)
    elif task == "multilabel":
        targets = (noise > 0).float()
        probabilities = (noise * 2 + torch.randn(noise.shape, generator=generator)).sigmoid()
        prediction = Prediction(probabilities >= 0.5, probabilities)
    else:
        targets, prediction = noise * 100, Prediction(noise * 100 + 5)
    history = History([Point(50, 1.0, 1.1), Point(100, 0.5, None), Point(150, 0.4, 0.6)], 150)
    return evaluate(
        prediction,
        targets,
        present,
        name="animals",
        task=task,
        classes=names,
        rows={"train": 1000, "valid": 100},
        history=history,
        made={"head": "linear"},
    )


@pytest.mark.parametrize("task", ["classify", "regress", "multilabel"])
def test_the_document_survives_its_file(task):
    evaluation = evaluated(task)
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    with pytest.raises(ValueError, match="evaluate again"):
        Evaluation.from_json('{"format": 0}')


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("classify", ["accuracy", "log loss", "taken for", "confidence can be taken"]),
        ("regress", ["R2", "MAE", "RMSE"]),
        ("multilabel", ["micro F1", "average precision", "confidence can be taken"]),
    ],
)
def test_the_page_shows_it(task, expected):
    evaluation = evaluated(task)
    page = Text(head_page(evaluation))
    text = " ".join(page.words)
    for word in [*expected, "animals", "image + text", "nothing", "1,000 train", "150 steps"]:
        assert word in text
    for measured in evaluation.metrics.values():
        assert (f"{measured.value:.3f}" in text) or (f"{measured.value:.4g}" in text)
    assert "script" not in page.tags
    assert "<script>alert(1)</script>" in text or task == "multilabel"


def test_counts_are_those_of_the_test_part():
    evaluation = evaluated("classify")
    labelled = evaluation.rows["test"]
    assert labelled < 200  # those without a label are left out
    assert sum(c.rows for c in evaluation.confusions) == labelled
    assert sum(p.rows for p in evaluation.patterns) == labelled
    assert sum(b.rows for b in evaluation.reliability) == labelled
    right = sum(c.rows for c in evaluation.confusions if c.true == c.predicted)
    assert evaluation.metrics["accuracy"].value == pytest.approx(right / labelled)


def test_many_classes_are_listed_instead_of_a_matrix():
    few, many = (Text(head_page(evaluated("classify", classes=n))) for n in (3, 40))
    assert few.tags.count("table") == many.tags.count("table") + 1
    assert "top-5 accuracy" in " ".join(many.words)
