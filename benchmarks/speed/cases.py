"""What is measured: each case is a generated corpus, a model, and a handful of systems."""

from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.speed.goals import OF_OURS

Kind = Literal["text", "image", "audio", "video", "mixed"]


@dataclass(frozen=True)
class Case:
    """One table of the page.

    corpus: name of a generator in `corpora`; items: its records; models: {modality: name in
    `models`}; unit: what a rate counts, per second; goal: the least share of the bf16 ceiling (or,
    `additive`, of the bound 1 / (t_decode + t_model)) that the whole pipeline shall keep; sample:
    records that decoding and model alone are timed on.
    """

    name: str
    title: str
    kind: Kind
    corpus: str
    items: int
    models: dict[str, str]
    goal: float
    systems: tuple[str, ...]
    unit: str = "records"
    additive: bool = False
    sample: int = 32


_RAY = ("Ray Data, documented", "Ray Data, tuned")
_SENTENCES = (
    "sentence-transformers",
    "sentence-transformers, bf16",
    "sentence-transformers, OpenVINO",
)

CASES = {
    case.name: case
    for case in (
        Case(
            "T1", "texts of log-normal length, MiniLM-L6", "text", "skewed_texts", 8000,
            {"text": "minilm"}, 0.92, (*OF_OURS, *_SENTENCES, *_RAY, "Daft"), "texts",
            sample=256,
        ),
        Case(
            "T2", "texts of 128 tokens, BERT-base", "text", "uniform_texts", 640,
            {"text": "bert-base"}, 0.92, (*OF_OURS, *_SENTENCES, *_RAY), "texts",
        ),
        Case(
            "I1", "JPEG 500x375, ViT-S/16", "image", "pictures", 1024,
            {"image": "vit-small"}, 0.85, (*OF_OURS, *_RAY), "pictures",
        ),
        Case(
            "I1B", "JPEG 500x375, ViT-B/16", "image", "pictures", 576,
            {"image": "vit-base"}, 0.92, (*OF_OURS, *_RAY), "pictures",
        ),
        Case(
            "I1C", "JPEG 500x375, CLIP ViT-B/32", "image", "pictures", 800,
            {"image": "clip"}, 0.85, (*OF_OURS, "clip-retrieval", *_RAY, "Daft"), "pictures",
        ),
        Case(
            "I2", "JPEG 4000x3000, ViT-S/16", "image", "photos", 576,
            {"image": "vit-small"}, 0.92, (*OF_OURS, *_RAY), "pictures", additive=True,
        ),
        Case(
            "A1", "WAV 16 kHz, 3 to 60 s, VGGish", "audio", "sounds", 640,
            {"audio": "vggish"}, 0.92, (*OF_OURS, *_RAY), "sounds",
            sample=24,
        ),
        Case(
            "V1", "H.264 1280x720, a frame a second, ViT-S/16", "video", "clips", 96,
            {"video": "vit-small"}, 0.92, (*OF_OURS, *_RAY), "clips", additive=True,
            sample=4,
        ),
        Case(
            "M1", "text, picture and sound in one record", "mixed", "mixed", 576,
            {"text": "minilm", "image": "vit-small", "audio": "vggish"}, 0.85,
            (*OF_OURS, *_RAY), "records", additive=True,
        ),
    )
}  # fmt: skip


def named(names: list[str] | None) -> list[Case]:
    """Those cases, or all.

    Raises:
        ValueError: an unknown name.
    """
    unknown = [name for name in names or [] if name not in CASES]
    if unknown:
        raise ValueError(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}")
    return [CASES[name] for name in names or CASES]


def encoder(modality: str, model: Any) -> dict[str, Any]:
    """How a configuration of ours names that model. model: its folder or file."""
    if modality == "audio":
        return {"name": "vggish", "weights": str(model)}
    if (
        modality == "text"
    ):  # not of unit length, which would change its share in a record of several
        return {"name": "transformers", "model": str(model), "pooling": "mean", "normalize": False}
    return {"name": "transformers", "model": str(model)}
