"""For torchvision where its compiled part can't load: beside a torch without CUDA.

Peers import it for transforms in Python; names of the operators it would define are enough for that.
"""

import functools

import torch

_OPERATORS = (
    "nms", "qnms", "roi_align", "_roi_align_backward", "roi_pool", "_roi_pool_backward",
    "ps_roi_align", "_ps_roi_align_backward", "ps_roi_pool", "_ps_roi_pool_backward",
    "deform_conv2d", "_deform_conv2d_backward",
)  # fmt: skip

_library = torch.library.Library("torchvision", "DEF")  # what it defines goes when it goes


@functools.cache  # a second definition is an error
def define() -> None:
    """In every process, before torchvision is imported."""
    for name in _OPERATORS:
        _library.define(f"{name}(Tensor input) -> Tensor")
