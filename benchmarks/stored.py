"""The beginning of a run whose vectors are laid down by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.config import RunConfig
from pipeline.saved import SavedRun, Setting, identify_feature


def save_config(run: Path, modalities: Mapping[str, Any], **settings: Any) -> None:
    """RUN/config.yaml as `polyfuse extract` leaves it, of a table that nobody has."""
    source = {"path": "vectors.parquet"}
    config = RunConfig.model_validate(
        {"source": source, "modalities": modalities, "output": str(run), **settings}
    )
    identities = {feature.name: identify_feature(feature) for feature in config.features()}
    saved = SavedRun(config, identities, {name: Setting() for name in identities}, {})
    run.mkdir(parents=True, exist_ok=True)
    (run / "config.yaml").write_text(saved.to_yaml(), encoding="utf-8")
