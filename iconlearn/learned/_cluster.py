"""The shared-cluster kernel: two points are near when they are in the same cluster.

    q(j|i) = sum_c r_ic r_jc w_j / s_c,      s_c = sum_k r_kc w_k,      r = softmax of the mapper's outputs

Rows sum to one by themselves (the row itself is a candidate), so no negatives are needed.

A hard cluster of N_c rows costs each of them log N_c, so two halves cost less than a large and a small part:
sizes are pulled towards each other.  With a balance b < 1 cluster c counts (s_c / n)^(1 - b) times as much,

    q(j|i) = sum_c r_ic r_jc w_j / s_c * (s_c / n)^(1 - b),      n = sum_c s_c

and a row pays b log N_c + (1 - b) log n: the loss gains (1 - b) times the entropy of the sizes, the logarithm of
a prior on them, which takes a share 1 - b of the pull away.  Dividing each row by its sum would undo it: for hard
clusters q(j|i) = 1 / N_c whatever the power of s_c.

How much pull is right cannot be read off the loss, whose values differ with b by more than any clustering does.  What
clusters tell about p can be compared: "auto" takes the b whose clusters at both ends of an edge of p have the largest
mutual information, and a weak pull where that saves most of what is cut.
"""

from __future__ import annotations

import torch

from .._checks import check_number
from ._base import Learned


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
        "auto" compares 1, 0.7, 0.5, 0.3, 0.2 and 0.1 in the search of :class:`iconlearn.ICONClustering` (its default
        start, under KL): the least b that finds all clusters, none of them tiny, whose information is at least 0.9 of
        their entropy, and that cuts less than 0.36 of what others do whose information is within 1 % of the largest;
        else the b of the largest information I(c; c') between the clusters at both ends of an edge, the strongest of
        those that are within 0.2 % and 1 / n_samples of it.  With given labels, or another start, it is 1.
    debias : float, default=0.0
        Share of q, in [0, 1), that is spread evenly over the candidates.  It bounds the loss:
        -log q <= log(n / debias).

    Attributes
    ----------
    balance_ : float
        The balance in use.
    candidates_ : dict of str to ndarray, or None
        What "auto" compared, in columns, a row for each b until one loses clusters: "balance"; "information" and
        "entropy" of the clusters at the ends of edges, in nats; "cut", the share of the mass of p that runs between
        clusters; "n_clusters", those that have rows; "smallest", the share of the rows in the smallest of them.  All
        are of the clusters among the micro-clusters of the search.  None where nothing was compared.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; Yang and Oja,
    "Clustering by low-rank doubly stochastic matrix decomposition", ICML 2012.  For the information: Karrer and Newman,
    "Stochastic blockmodels and community structure in networks", Physical Review E 83, 2011.
    """

    geometry = "dot"
    normalizers = ("self", "row", "joint")
    shared_clusters = True
    same_places = False
    candidates_ = None  # of files from before there were any

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
        return {"balance_": self.balance_, "candidates_": self.candidates_}

    def begin(self, *, dtype=torch.float32, device="cpu"):
        check_number("mass_momentum", self.mass_momentum, low=0, high=1, closed="left")
        self.balance_, self.candidates_ = 1.0, None
        if self.balance != "auto":
            self.balance_ = float(check_number("balance", self.balance, low=0, high=1, hint='or "auto"'))
        self.mean_size_ = None
        return super().begin(dtype=dtype, device=device)

    def place(self, Z, columns=False, mass=None, copies=None):
        r = torch.softmax(Z, dim=1)
        if not columns:
            return r
        if self.degree_weighted and mass is not None:
            r = r * (mass if copies is None else mass / copies)[:, None]
        sizes = self._sizes(r if copies is None else r * copies[:, None]).clamp_min(torch.finfo(r.dtype).tiny)
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

    def log_null(self, U, rows, columns):
        """That of a row that is in every cluster at once: log sum_c r_ic / s_c; see :meth:`Learned.log_null`."""
        tiny = torch.finfo(U.dtype).tiny
        return self.log_kernel(U @ (columns.sum(0) / rows.sum(0).clamp_min(tiny)))

    def log_kernel(self, s):
        return torch.log(s.clamp_min(torch.finfo(s.dtype).tiny))

    def slope(self, s):
        return s.clamp_min(torch.finfo(s.dtype).tiny).reciprocal()
