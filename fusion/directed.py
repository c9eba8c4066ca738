"""Operators with a direction: one feature, the target, is acted on by all others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from fusion.base import Learned


class Directed(Learned):
    """Names the target for good: a feature that is added later must not become it.

    others: {feature: length} of all features but the target, by name.

    Raises:
        ValueError: the target is none of the features.
    """

    extensible = True

    @dataclass(frozen=True)
    class Options:
        """dim: length of the fused vector. target: the feature acted on; the first by name."""

        dim: int = 128
        target: str | None = None

    def __init__(self, dims: Mapping[str, int], options: Options | None = None) -> None:
        options = options or self.Options()
        if options.target is not None and options.target not in dims:
            known = ", ".join(sorted(dims))
            raise ValueError(f"target: unknown feature {options.target!r}; there are: {known}")
        target = options.target or min(dims)
        super().__init__(dims, options.dim, replace(options, target=target))
        self.target = target
        self.others = {name: dims[name] for name in sorted(dims) if name != target}
