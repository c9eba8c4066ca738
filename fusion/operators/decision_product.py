"""Decision product: what classifiers say together if their features are independent given the class."""

import torch
from torch import Tensor

from fusion.decision import Decision


class DecisionProduct(Decision):
    """log p = sum_{m in P} log p_m - (|P| - 1) log prior + const,  p_m = softmax(g_m(x_m) / T_m).

    Bayes' rule for features that are independent given the class; vector = log p, softened by 1/T
    where they are not. Any number of features: one classifier each. An absent feature drops out,
    which is exact. All absent: the prior, the frequencies of the classes. The "product rule" of
    Kittler, Hatef, Duin and Matas, On Combining Classifiers, IEEE TPAMI 1998.
    """

    def combine(self, opinions: Tensor, present: Tensor) -> Tensor:
        """The sum of the logs, the prior counted once: (B, M, K) -> (B, K)."""
        total = torch.where(present[..., None], opinions, 0).sum(dim=1)
        return total - (present.sum(dim=1, keepdim=True) - 1) * self.log_prior
