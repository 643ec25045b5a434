"""The shared-cluster kernel: two points are near when they are in the same cluster.

    q(j|i) = sum_c r_ic r_jc w_j / s_c,      s_c = sum_k r_kc w_k,      r = softmax of the mapper's outputs

Rows sum to one by themselves (the row itself is a candidate), so no negatives are needed.
"""

from __future__ import annotations

import torch

from ._base import Learned

__all__ = ["Cluster"]


class Cluster(Learned):
    """q(j|i) = sum_c r_ic r_jc w_j / s_c over soft assignments r.

    Parameters
    ----------
    degree_weighted : bool, default=False
        Whether w_j is the weight that p gives to column j (its degree in a graph, as in normalised cuts) or,
        where p has none for columns, to row j; otherwise all w_j are one.
    normalize : {"self", "row", "joint"}, default="self"
        The kernel is normalised by itself; the others renormalise it over the candidates of p.
    debias : float, default=0.0
        Share of q, in [0, 1), that is spread evenly over the candidates.  It bounds the loss:
        -log q <= log(n / debias).

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; Yang and Oja,
    "Clustering by low-rank doubly stochastic matrix decomposition", ICML 2012.
    """

    geometry = "dot"
    normalizers = ("self", "row", "joint")
    shared_clusters = True
    same_places = False

    def __init__(self, *, degree_weighted=False, normalize="self", debias=0.0):
        self.degree_weighted = degree_weighted
        self.normalize = normalize
        self.debias = debias

    @property
    def self_pairs(self):
        return self.normalize == "self"

    def place(self, Z, columns=False, mass=None):
        r = torch.softmax(Z, dim=1)
        if not columns:
            return r
        if self.degree_weighted and mass is not None:
            r = r * mass[:, None]
        tiny = torch.finfo(r.dtype).tiny
        return r / r.sum(dim=0).clamp_min(tiny)

    def represent(self, Z):
        return torch.softmax(Z, dim=1)

    def log_kernel(self, s):
        return torch.log(s.clamp_min(torch.finfo(s.dtype).tiny))

    def slope(self, s):
        return s.clamp_min(torch.finfo(s.dtype).tiny).reciprocal()
