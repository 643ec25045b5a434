"""How sure rows are of their clusters: what rows that are each other's neighbours say.

Assignments that minimise the loss are nearly hard, and most mistakes have a share near one.  What tells them apart is
how much of p is returned: a row in a border region, or between two classes, has few neighbours that have it for a
neighbour of theirs, and these disagree.  With r the assignments, m_ij = min(p_ij, p_ji) and w_ij = p_ij + p_ji

    t_ic = [ sum_j m_ij r_jc + A h_ic + B / K ] / [ sum_j m_ij + A + B ],      h_ic = sum_j w_ij r_jc / sum_j w_ij

the mean of a Dirichlet distribution over the K clusters whose counts are what is returned, and whose prior is what all
neighbours say, and a little of every cluster.  Where t would name another cluster than r, which happens to one row in a
hundred, the two have the mean of both.  A and B were chosen on ten of the labelled sets of
``benchmarks/cluster_confidence.py``.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

# Pseudo-counts, as shares of p: of what neighbours on either side say, and of all clusters alike.
EITHER_SIDE, ANY_CLUSTER = 0.1, 0.005
# Less than this is left of a share of p by the rounding of a difference.
ROUNDING = 1e-12
# Beside a cluster of equal share the row's own one is larger by more than single precision loses.
OWN = 1e-6


def pairs_of(p):
    """What pairs of rows give each other.

    Parameters
    ----------
    p : Conditional
        Columns are the rows; with its `copies`, where there are any.

    Returns
    -------
    mutual, either : csr_array of shape (n, n)
        m and w, for all copies of a column together.
    """
    ours, copies = p.sparse(), p.copies
    if copies is not None:
        ours = _scaled(ours, 1.0 / copies)
    weighs = p.row_mass > 0
    if not weighs.all():
        ours = csr_array(ours.multiply(weighs[:, None]))  # what such a row says is no part of the loss
        ours.eliminate_zeros()
    return _both(ours, csr_array(ours.T), copies)


def pairs_of_new(ours, sides, totals=None, copies=None):
    """As :func:`pairs_of` between new rows and training rows.

    Parameters
    ----------
    ours : Conditional of shape (m, n)
        p of new rows over the training rows.
    sides : Conditional of shape (m, n)
        Proportional to what both sides give; its mass is what they sum to, None where p knows one side only, which
        then stands for both.
    totals : ndarray of shape (n,) or None
        What p of each training row sums to over all copies of its columns, where there are `copies`.
    copies : ndarray of shape (n,) or None
    """
    mine = csr_array(ours.sparse())
    if sides.mass is None:
        theirs = mine
    else:
        edges = sides.sparse()
        total = np.repeat(sides.mass, np.diff(edges.indptr))
        theirs = csr_array((edges.data * total, edges.indices, edges.indptr), shape=edges.shape) - mine
        theirs.data[theirs.data < ROUNDING] = 0.0
    if copies is not None:
        share = mine @ copies
        mine = csr_array(mine.multiply(1.0 / np.where(share > 0, share, 1.0)[:, None]))
        theirs = _scaled(theirs, 1.0 / np.where(totals > 0, totals, 1.0))
    return _both(mine, theirs, copies)


def mutual_shares(mutual, either, r, own):
    """The shares t, which name the clusters that `own` does.

    Parameters
    ----------
    mutual, either : csr_array of shape (m, n)
        m and w.
    r : ndarray of shape (n, n_clusters)
        Assignments of the columns.
    own : ndarray of shape (m, n_clusters)
        Assignments of the rows; those without pairs keep them.

    Returns
    -------
    ndarray of shape (m, n_clusters)
    """
    n_clusters = r.shape[1]
    weight = np.asarray(either.sum(axis=1)).ravel()
    paired = weight > 0
    out = either @ r
    out *= (EITHER_SIDE / np.where(paired, weight, 1.0))[:, None]
    out += mutual @ r
    out += ANY_CLUSTER / n_clusters
    out /= out.sum(axis=1, keepdims=True)
    out[~paired] = own[~paired]
    label, top = own.argmax(axis=1), out.argmax(axis=1)
    at = np.flatnonzero(label != top)
    mean = 0.5 * (out[at, label[at]] + out[at, top[at]])
    out[at, label[at]], out[at, top[at]] = mean * (1.0 + OWN), mean * (1.0 - OWN)
    return out


def _both(ours, theirs, copies):
    mutual, either = csr_array(ours.minimum(theirs)), csr_array(ours + theirs)
    return (mutual, either) if copies is None else (_scaled(mutual, copies), _scaled(either, copies))


def _scaled(edges, factor):
    """Columns times a factor of their own."""
    return csr_array((edges.data * factor[edges.indices], edges.indices, edges.indptr), shape=edges.shape)
