"""The last measurement of a model with labels: on the test part, that nothing else has seen."""

import torch

from fusion.base import Fusion
from fusion.evaluation import Evaluation, evaluate
from fusion.objectives.prediction import Prediction, Predictor
from learning.loop import History
from pipeline.fit.feed import StoredFeed


def measure(
    fusion: Fusion,
    objective: Predictor,
    feed: StoredFeed,
    history: History,
    *,
    name: str,
    column: str,
    made: dict[str, str],
    rows: int,
    device: str,
) -> Evaluation | None:
    """Metrics on the labelled test records; None where there are none.

    The records stream by in batches of `rows`; only predictions are kept.
    """
    labels = feed.data.labels
    if labels is None or not feed.rows["test"]:
        return None
    found: list[tuple[Prediction, torch.Tensor, dict[str, torch.Tensor]]] = []
    with torch.inference_mode():
        for batch in feed.test(rows):
            there = {n: m if m.dim() == 1 else m.any(dim=1) for n, m in batch.present.items()}
            given = batch.to(device)
            prediction = objective.predict(fusion, given.features, given.present)
            assert batch.targets is not None, "the feed has labels"
            found.append((_on_cpu(prediction), batch.targets, there))
    predictions, targets, present = zip(*found, strict=True)
    return evaluate(
        _joined(list(predictions)),
        torch.cat(targets),
        {name: torch.cat([own[name] for own in present]) for name in present[0]},
        name=name,
        task=labels.task,
        classes=labels.classes or (column,),
        rows={part: feed.rows[part] for part in ("train", "valid")},
        history=history,
        made=made,
    )


def _on_cpu(prediction: Prediction) -> Prediction:
    probabilities = prediction.probabilities
    return Prediction(
        prediction.values.cpu(), None if probabilities is None else probabilities.cpu()
    )


def _joined(several: list[Prediction]) -> Prediction:
    values = torch.cat([prediction.values for prediction in several])
    known = [p.probabilities for p in several if p.probabilities is not None]
    return Prediction(values, torch.cat(known) if known else None)
