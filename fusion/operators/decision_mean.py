"""Decision mean: the average of what calibrated classifiers say."""

import torch
from torch import Tensor

from fusion.decision import Decision


class DecisionMean(Decision):
    """p = 1/|P| sum_{m in P} p_m,  p_m = softmax(g_m(x_m) / T_m); vector = log p, sharpened by 1/T.

    Any number of features: one classifier each. An absent feature has no vote. All absent: the
    frequencies of the classes. The "sum rule" of Kittler, Hatef, Duin and Matas, On Combining
    Classifiers, IEEE TPAMI 1998.
    """

    def combine(self, opinions: Tensor, present: Tensor) -> Tensor:
        """The log of the mean: (B, M, K) -> (B, K)."""
        low = torch.finfo(opinions.dtype).min
        return torch.where(present[..., None], opinions, low).logsumexp(dim=1)
