"""What is believed of assignments before any pair of rows is looked at, as further terms of their loss.

    b_1 mean_i u_i KL( h_i || r_i )     h_i: what a classifier of the features says of row i
    b_2 KL( pi || mean_i r_i )          pi: the proportions of the classes

Neither needs a step of its own: -log r_ic is in the form of the bound already, and Jensen's inequality over the
rows puts -log sum_i r_ic into it, with weights r_ic / s_c.  So the sum still falls in every step.  An opinion counts
for as much as it says, u_i = 1 - H(h_i) / log n_clusters: one that hardly favours any class would otherwise hold
its row back from the class of its neighbours.
"""

from __future__ import annotations

import numpy as np
from scipy.special import xlogy

__all__ = ["Beliefs"]

SMALLEST = 1e-300


class Beliefs:
    """Terms of a loss over assignments that speak of no pairs.

    Parameters
    ----------
    opinions : ndarray of shape (n, n_clusters) or None
        h; rows sum to one.
    opinion_weight : float
        b_1.
    proportions : ndarray of shape (n_clusters,) or None
        pi; positive, sums to one.
    proportion_weight : float
        b_2.
    """

    def __init__(self, opinions=None, opinion_weight=1.0, proportions=None, proportion_weight=1.0):
        self.opinions, self.opinion_weight = opinions, opinion_weight
        self.proportions, self.proportion_weight = proportions, proportion_weight

    def explained(self, r, graph):
        """The pull on every assignment and what the beliefs cost at r.

        Parameters
        ----------
        r : ndarray of shape (n, n_clusters)
        graph : PairWeights
            Knows how many rows each of these stands for.

        Returns
        -------
        pull : ndarray of shape (n, n_clusters)
        cost : float
        """
        pull, cost = np.zeros_like(r), 0.0
        if self.opinions is not None:
            weight = self.opinion_weight / graph.n_rows * graph.size[:, None] * _said(self.opinions)
            pull += weight * self.opinions
            cost += _divergence(weight * self.opinions, weight * r)
        if self.proportions is not None:
            mass = graph.mass(r)
            pull += self.proportion_weight * self.proportions / mass * r * graph.size[:, None]
            cost += self.proportion_weight * _divergence(self.proportions, mass / graph.n_rows)
        return pull, cost


def _said(opinions):
    """1 - H(h_i) / log n_clusters of every row, as a column."""
    entropy = -xlogy(opinions, opinions).sum(axis=1, keepdims=True)
    return np.clip(1.0 - entropy / np.log(opinions.shape[1]), 0.0, 1.0)


def _divergence(p, q):
    """sum p log(p / q)."""
    return float((p * (np.log(np.maximum(p, SMALLEST)) - np.log(np.maximum(q, SMALLEST)))).sum())
