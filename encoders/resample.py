"""Sample-rate conversion, one filter per rate pair.

A windowed sinc with torchaudio's Kaiser window at the settings that imitate resampy's
`kaiser_best`, which the reference implementation of VGGish resamples with (torchaudio tutorial
"Audio Resampling").
"""

from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch

# The filter bank has (target term) x (source term) taps, both in lowest terms: 16000 x 44101 would
# be gigabytes. Every pair of the usual rates (8 to 192 kHz, 11.025 to 176.4 kHz) stays within this.
_LARGEST_TERM = 2560


def resample(samples: np.ndarray, source: int, target: int) -> np.ndarray:
    """(N,) float32 at `source` per second -> (ceil(N * target / source),) float32 at `target`.

    Equal rates return the samples untouched. An odd pair such as 44101 -> 16000 is converted by the
    nearest ratio with small terms (441 : 160), which moves pitch and duration by at most 4 parts in
    ten thousand.

    Raises:
        ValueError: a rate is not positive.
    """
    if source <= 0 or target <= 0:
        raise ValueError(f"expected positive sample rates, got {source} and {target}")
    if source == target or len(samples) == 0:
        return samples
    import torch

    ratio = _ratio(source, target)
    with torch.inference_mode():
        kernel = _filter(ratio.denominator, ratio.numerator)
        return kernel(torch.from_numpy(np.ascontiguousarray(samples, np.float32))).numpy()


def _ratio(source: int, target: int) -> Fraction:
    """target / source in lowest terms, or near it where those terms are too large."""
    low, high = sorted((source, target))
    up = Fraction(high, low).limit_denominator(max(1, _LARGEST_TERM * low // high))
    return up if target == high else 1 / up


@lru_cache(maxsize=32)
def _filter(source: int, target: int) -> "torch.nn.Module":
    from torchaudio.transforms import Resample

    return Resample(
        source,
        target,
        resampling_method="sinc_interp_kaiser",
        lowpass_filter_width=64,
        rolloff=0.9475937167399596,
        beta=14.769656459379492,
    )
