"""Counts what a computation costs while it runs: arithmetic and memory. On meta tensors it costs nothing.

The same meter runs over real tensors, which is how its numbers are checked. What a kernel allocates
inside itself (a workspace of a matrix product, of an FFT) never appears as a tensor and is not seen.
"""

import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


class Meter(TorchDispatchMode):
    """While entered, adds up every operation.

    flops: 2mnk of a product of (m, k) by (k, n), as torch counts them; 5/2 n log2 n of a real
        Fourier transform of length n, twice that of a complex one (Cooley and Tukey's count); one
        per value of anything elementwise, and per value summed.
    peak: the most bytes alive at once in tensors made since the meter was entered; `live`: now.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = 0
        self.live = 0
        self.peak = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self,
        func: Any,
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        given, made = _tensors((args, kwargs)), _tensors(result)
        self.flops += _flops(func, args, kwargs or {}, given, made, result)
        # A view or an update in place is no new memory, whoever owns what it lies in.
        old = {id(tensor.untyped_storage()) for tensor in given}
        for tensor in made:
            storage = tensor.untyped_storage()
            if id(storage) not in old and id(storage) not in self._known:
                self._watch(storage)
        return result

    def _watch(self, storage: torch.UntypedStorage) -> None:
        key, size = id(storage), storage.nbytes()
        self._known[key] = weakref.ref(storage, lambda _: self._forget(key, size))
        self.live += size
        self.peak = max(self.peak, self.live)

    def _forget(self, key: int, size: int) -> None:
        del self._known[key]
        self.live -= size


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


def _flops(
    func: Any,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    given: list[Tensor],
    made: list[Tensor],
    result: Any,
) -> int:
    packet = func.overloadpacket
    if packet in flop_registry:
        return flop_registry[packet](*args, **kwargs, out_val=result)
    if packet in _TRANSFORMS:
        return _transform(_TRANSFORMS[packet], args, made)
    if torch.Tag.pointwise in func.tags:
        return sum(tensor.numel() for tensor in made)
    if torch.Tag.reduction in func.tags:
        return sum(tensor.numel() for tensor in given)
    return 0


# Operations per n log2 n.
_TRANSFORMS: dict[Callable[..., Any], float] = {
    torch.ops.aten._fft_r2c: 2.5,
    torch.ops.aten._fft_c2r: 2.5,
    torch.ops.aten._fft_c2c: 5.0,
}


def _transform(factor: float, args: tuple[Any, ...], made: list[Tensor]) -> int:
    tensor, axes = args[0], args[1]
    # The longer of the two sides is the length: a half spectrum has n/2 + 1 values.
    wide = max((tensor, *made), key=Tensor.numel)
    length = math.prod(wide.shape[axis] for axis in axes)
    return round(factor * wide.numel() * math.log2(max(length, 1)))
