"""Temperature scaling: one number that makes the confidence of a classifier true.

Guo, Pleiss, Sun and Weinberger, On Calibration of Modern Neural Networks, ICML 2017: divide the
logits by T, chosen by maximum likelihood on rows that training has not seen. N rows, K classes.
"""

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from learning import parallel

_ROWS = 20_000  # of each worker: more would not move one number


def temperature(logits: Tensor, targets: Tensor) -> Tensor:
    """T of softmax(logits / T). logits: (N, K); targets: (N,) class numbers. Returns a scalar."""
    wanted = targets.long()

    def loss(scaled: Tensor) -> Tensor:
        return cross_entropy(scaled, wanted, reduction="sum")

    return _fit(logits, loss, ())


def temperatures(logits: Tensor, targets: Tensor) -> Tensor:
    """T_k of sigmoid(logit_k / T_k), label by label. (N, K) and (N, K) 0, 1 or NaN: unknown -> (K,)"""
    known = ~targets.isnan()
    wanted = torch.where(known, targets, 0).double()

    def loss(scaled: Tensor) -> Tensor:
        each = binary_cross_entropy_with_logits(scaled, wanted, reduction="none")
        return torch.where(known, each, 0).sum()

    return _fit(logits, loss, (logits.shape[1],))


def collect(batches: Iterable[Sequence[Tensor]]) -> list[Tensor] | None:
    """Rows to calibrate on: the tensors of all batches and workers joined, the same everywhere.

    Every batch gives the same number of tensors with its rows first. None: nobody has a row.
    """
    taken: list[list[Tensor]] = []
    rows = 0
    for batch in batches:
        if rows < _ROWS and len(batch[0]):
            taken.append([tensor.detach().cpu() for tensor in batch])
            rows += len(batch[0])
    everything = [batch for own in parallel.gather(taken) for batch in own]
    return [torch.cat(column) for column in zip(*everything, strict=True)] if everything else None


def _fit(logits: Tensor, loss: Callable[[Tensor], Tensor], shape: tuple[int, ...]) -> Tensor:
    """Minimise over log T, which keeps T positive, in float64.

    log T has a standard normal prior, worth about one row: where a few rows are all classified
    correctly the likelihood alone would choose T = 0 and a confidence of 1.
    """
    if not len(logits):
        return torch.ones(shape)
    fixed = logits.detach().cpu().double()
    with torch.enable_grad():
        log = torch.zeros(shape, dtype=torch.float64, requires_grad=True)
        solver = torch.optim.LBFGS([log], max_iter=100, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            solver.zero_grad()
            value = (loss(fixed / log.exp()) + log.square().sum() / 2) / len(fixed)
            value.backward()
            return value

        solver.step(closure)
    return log.detach().exp().float()
