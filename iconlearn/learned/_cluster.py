"""The shared-cluster kernel: two points are near when they are in the same cluster.

    q(j|i) = sum_c r_ic r_jc w_j / s_c,      s_c = sum_k r_kc w_k,      r = softmax of the mapper's outputs

Rows sum to one by themselves (the row itself is a candidate), so no negatives are needed.

A hard cluster of N_c rows costs each of them log N_c, so two halves cost less than a large and a small part:
sizes are pulled towards each other.  With a balance b < 1 cluster c counts (s_c / n)^(1 - b) times as much,

    q(j|i) = sum_c r_ic r_jc w_j / s_c * (s_c / n)^(1 - b),      n = sum_c s_c

and a row pays b log N_c + (1 - b) log n: the loss gains (1 - b) times the entropy of the sizes, the logarithm of
a prior on them, which takes a share 1 - b of the pull away.  Dividing each row by its sum would undo it: for hard
clusters q(j|i) = 1 / N_c whatever the power of s_c.

How much pull is right cannot be read off the loss, whose values differ with b by more than any clustering does; the
mass that is cut can be compared.  So "auto" weakens the pull where that saves most of what is cut.
"""

from __future__ import annotations

import torch

from .._checks import check_number
from ._base import Learned

__all__ = ["Cluster"]


class Cluster(Learned):
    """q(j|i) = sum_c r_ic r_jc w_j / s_c over soft assignments r.

    Parameters
    ----------
    degree_weighted : bool, default=False
        Whether w_j is the weight that p gives to column j (its degree in a graph, as in normalised cuts) or,
        where p has none for columns, to row j; otherwise all w_j are one.
    mass_momentum : float, default=0.0
        Share, in [0, 1), of the clusters' sizes s_c that is remembered from earlier batches.  Above 0 the
        sizes are moving averages, as in TEMI, and rows sum to one only on average.
    normalize : {"self", "row", "joint"}, default="self"
        The kernel is normalised by itself; the others renormalise it over the candidates of p.
    balance : float or "auto", default="auto"
        b, in [0, 1]: how strongly sizes are pulled towards each other.  Below 1 small clusters are dearer, which
        suits classes of very different sizes; at 0 sizes count nothing, and cutting as few edges as possible is
        all.  The rows of q then sum to less than one, so KL is the only divergence (with normalize="self").
        "auto" is 1, but 0.1 where the merges of :class:`iconlearn.ICONClustering` (its default start, under KL)
        then find as many clusters, none of them tiny, that cut less than a third of what is cut with 1.
    debias : float, default=0.0
        Share of q, in [0, 1), that is spread evenly over the candidates.  It bounds the loss:
        -log q <= log(n / debias).

    Attributes
    ----------
    balance_ : float
        The balance in use.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; Yang and Oja,
    "Clustering by low-rank doubly stochastic matrix decomposition", ICML 2012.
    """

    geometry = "dot"
    normalizers = ("self", "row", "joint")
    shared_clusters = True
    same_places = False

    def __init__(
        self, *, degree_weighted=False, mass_momentum=0.0, normalize="self", balance="auto", debias=0.0
    ):
        self.degree_weighted = degree_weighted
        self.mass_momentum = mass_momentum
        self.normalize = normalize
        self.balance = balance
        self.debias = debias

    @property
    def self_pairs(self):
        return self.normalize == "self"

    @property
    def subnormal(self):
        return self.normalize == "self" and (self.balance_ < 1 or self.mass_momentum > 0)

    @property
    def chosen(self):
        return {"balance_": self.balance_}

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("mass_momentum", self.mass_momentum, low=0, high=1, closed="left")
        self.balance_ = 1.0
        if self.balance != "auto":
            self.balance_ = float(check_number("balance", self.balance, low=0, high=1, hint='or "auto"'))
        self.mean_size_ = None
        return super().begin(dtype=dtype, device=device)

    def place(self, Z, columns=False, mass=None):
        r = torch.softmax(Z, dim=1)
        if not columns:
            return r
        if self.degree_weighted and mass is not None:
            r = r * mass[:, None]
        sizes = self._sizes(r).clamp_min(torch.finfo(r.dtype).tiny)
        if self.balance_ == 1:
            return r / sizes
        return r * (sizes / sizes.sum()) ** (1.0 - self.balance_) / sizes

    def _sizes(self, r):
        """s_c of the batch, blended with what earlier batches had where that is asked for."""
        sizes = r.sum(dim=0)
        if self.mass_momentum == 0 or not torch.is_grad_enabled():
            return sizes
        total = sizes.sum()
        share = sizes / total
        if self.mean_size_ is not None:
            share = self.mass_momentum * self.mean_size_ + (1.0 - self.mass_momentum) * share
        self.mean_size_ = share.detach()
        return share * total

    def represent(self, Z):
        return torch.softmax(Z, dim=1)

    def log_kernel(self, s):
        return torch.log(s.clamp_min(torch.finfo(s.dtype).tiny))

    def slope(self, s):
        return s.clamp_min(torch.finfo(s.dtype).tiny).reciprocal()
