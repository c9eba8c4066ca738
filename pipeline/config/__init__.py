"""The run configuration: one YAML file, read in one place, checked strictly.

An unknown key is an error with its dotted path and the nearest known name. Relative paths are
relative to the configuration file. What a component may be given is defined beside the component
(its `Options` dataclass) and validated as strictly as our own keys.
"""

from pipeline.config.base import ComponentConfig
from pipeline.config.comparison import CompareConfig
from pipeline.config.learned import PARTS, HeadConfig, LabelConfig, ModelConfig, SplitConfig
from pipeline.config.read import load, parse
from pipeline.config.schema import KINDS, AllowConfig, Feature, ModalityConfig, RunConfig

__all__ = [
    "KINDS",
    "PARTS",
    "AllowConfig",
    "CompareConfig",
    "ComponentConfig",
    "Feature",
    "HeadConfig",
    "LabelConfig",
    "ModalityConfig",
    "ModelConfig",
    "RunConfig",
    "SplitConfig",
    "load",
    "parse",
]
