"""Symmetric weights of pairs of rows on a device, and a step of soft assignments under them.

The formulas are those of ``clusters/_weights.py``.  Sums over the edges of a row are taken in their order.
"""

from __future__ import annotations

import numpy as np
import torch

from .._transfer import sent
from ..clusters import SMALLEST

# Numbers at the ends of edges that are held together.
BLOCK = 2**25
# Newton's steps onto the simplex: at most so many, and so many between two looks at whether they have ended.
MOST_STEPS, STEPS = 60, 6
# What rows may miss of one.
EXCESS = 1e-12


class DeviceWeights:
    """What :func:`iconlearn.clusters.refine` takes in place of pair weights, for assignments that are on a device.

    Parameters
    ----------
    weights : PairWeights
        Without a constant part.
    device : torch.device
    """

    def __init__(self, weights, device):
        self.weights, self.n, self.device = weights, weights.n, device
        edges = weights.edges
        self.ends = edges.indptr.astype(np.int64)
        numbers = [(self.ends, torch.int64), (weights.row, torch.int32), (edges.indices, torch.int32)]
        numbers += [(edges.data, torch.float64), (weights.size, torch.float64)]
        self.pointers, self.rows, self.columns, self.values, self.size = sent(numbers, device)
        self.masks = {}

    def idle(self):
        """As of the weights."""
        return self.weights.idle()

    def table(self, r):
        """Assignments as an array."""
        return r.cpu().numpy().copy()

    def explained(self, r, valued=True):
        """G (rows x clusters) and the loss at r, which is 0 where it is not `valued`."""
        w = self.weights
        mass = (self.size @ r).clamp_min(SMALLEST)
        right = r / (mass**w.balance * w.n_rows ** (1.0 - w.balance))
        pulled, loss = torch.empty_like(r), r.new_zeros(())
        for first, last in self._stretches(r.shape[1]):
            part = slice(int(self.ends[first]), int(self.ends[last]))
            there = right.index_select(0, self.columns[part])
            q = (r.index_select(0, self.rows[part]) * there).sum(1).mul_(1.0 - w.debias)
            q = q.add_(w.debias / w.n_rows).clamp_min_(1e-300)
            if valued:
                loss = loss - self.values[part].dot(torch.log(q))
            there.mul_((self.values[part] / q)[:, None])
            offsets = self.pointers[first : last + 1] - part.start
            pulled[first:last] = torch.segment_reduce(
                there, "sum", offsets=offsets, axis=0, unsafe=True, initial=0
            )
        return pulled.mul_(r).mul_(2.0 * (1.0 - w.debias)), float(loss)

    def _stretches(self, n_clusters):
        """Stretches of rows with about so many edges as are held together."""
        step, first = max(1, BLOCK // n_clusters), 0
        while first < self.n:
            last = int(np.searchsorted(self.ends, self.ends[first] + step, side="right")) - 1
            last = min(max(last, first + 1), self.n)
            yield first, last
            first = last

    def improved(self, r, G, pull=None, idle=None, held=None, *, far=False):
        """The assignments that minimise the bound at r; rows that are `idle` follow the others."""
        w = self.weights
        size, of_others = (self.size, r) if idle is None else (self.size * ~self._there(idle), r)
        price = 0.5 * w.balance * G.sum(0) / (size @ of_others).clamp_min(SMALLEST)
        new = _onto_simplex(G if w.single else G / self.size[:, None], price, r)
        return new if idle is None else self.spread(new, idle)

    def spread(self, r, idle):
        """The assignments, in which the idle rows have the shares of the clusters among the others."""
        idle = self._there(idle)
        size = self.size * ~idle
        return torch.where(idle[:, None], (size @ r) / size.sum(), r)

    def _there(self, mask):
        """A mask on the device, sent once."""
        if id(mask) not in self.masks:
            self.masks[id(mask)] = mask, torch.from_numpy(mask).to(self.device)
        return self.masks[id(mask)][1]


def _onto_simplex(G, price, r):
    """r_ic = G_ic / (lambda_i + price_c) with rows on the simplex, by Newton's method from the left of the root."""
    explained = G.amax(1) > 0
    least = torch.where(G > 0, price, torch.inf).amin(1, keepdim=True)
    price = (price - torch.where(torch.isinf(least), price.max(), least)).clamp_min_(0.0)
    lam = (G - price).amax(1)
    for _ in range(0, MOST_STEPS, STEPS):
        for _ in range(STEPS):
            over = (lam[:, None] + price).clamp_min_(1e-300).reciprocal_()
            ratio = G * over
            excess = torch.where(explained, ratio.sum(1) - 1.0, 0.0)
            lam = lam + excess / torch.where(explained, (ratio * over).sum(1), 1.0)
        if bool((excess.abs() <= EXCESS).all()):
            break
    new = (G / (lam[:, None] + price).clamp_min_(1e-300)).clamp_min_(SMALLEST)
    return torch.where(explained[:, None], new / new.sum(1, keepdim=True), r)
