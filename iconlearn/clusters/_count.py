"""How many clusters a graph falls into: quantities along the path from micro-clusters to a single cluster.

Several coarse graphs of the same p are merged greedily, and for every number k of clusters on the way one reads

    gain          what the merge to k clusters saved in the hard, debiased loss
    relative gap  log G_k - log G_(k+1), where G_k is the largest T min(N_c, N_d) of the merges down to k -> k - 1, and
                  T what a lost edge must cost for a merge to pay:
                  [ (W_c + W_d + 2 B) log(N_c + N_d) - W_c log N_c - W_d log N_d ] / 2 B
    eigengap      (lambda_k - lambda_(k+1)) / (1 - lambda_k + 0.02), of the random walk among the micro-clusters
    stability     adjusted Rand index between the merges of different coarse graphs
    information   I = sum_cd W_cd log[ W_cd / (W_c W_d) ], what the cluster at one end of an edge says of the other's

W are masses inside (of I: shares of the mass between clusters, and their sums), B is the mass from one cluster to the
other and N are sizes.  What is suggested is the largest product of eigengap, exp(I) - 1 and the root of the relative
gap plus 0.2: exp(I) is how many clusters of equal size, without edges between them, would say as much.  An eigengap
alone, or times the stability, is large where the walk has its first bottleneck, and sees two or three clusters in most
data; the second factor asks how much is known behind it, and the third whether the clusters can be merged further.  The
rows of the smaller cluster weigh the price: a few outliers cost much for each of their edges, and would hide all gaps
that follow.  ``benchmarks/n_clusters_auto.py`` compares the columns: the plain difference of eigenvalues splits clouds
that nothing connects, and the least loss sees far too many.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.sparse import csr_array
from scipy.special import xlogy

from ._agglomeration import merges, price_of_an_edge
from ._microclusters import coarsen, merge_smallest
from ._terms import pair_weights
from ._weights import members

# Coarse graphs, the micro-clusters of each, and the rows that share one on average at least.
N_STARTS, N_NODES, ROWS_PER_NODE = 6, 200, 4
# Nodes that stand for the rows of several processes.
NODES_OF_SHARDS = 2000
# The most clusters that are looked at, at least ten rows each.
MOST, ROWS_PER_CLUSTER = 150, 10
# The debias weight of the merges; rows that stability compares.
RESOLUTION, N_COMPARED = 0.05, 1000
# Added to 1 - lambda, so that of two weak bonds the weaker does not count for all.
SOFT = 0.02
# Added to the relative gap, so that the other factors decide among numbers of clusters where no merge is dearer.
SOFT_GAP = 0.2


class MergePath(NamedTuple):
    """The way of a graph from many clusters to one, a row for every number of clusters.

    Attributes
    ----------
    n_clusters : ndarray of int of shape (m,)
        2, 3, ...
    loss : ndarray of shape (m,)
        Mean hard, debiased cross-entropy of the merged clusters, of the rows that have edges.
    gain : ndarray of shape (m,)
        What the merge that led to so many clusters saved of it; negative where it cost.
    relative_gap : ndarray of shape (m,)
        How much dearer, as a logarithm, the next merge is than all before, by the price of an edge times the rows of
        the smaller cluster (by the price alone in files of earlier versions).
    eigengap : ndarray of shape (m,)
        How far the random walk's k-th eigenvalue is from the next, beside its distance from one.
    stability : ndarray of shape (m,)
        Mean adjusted Rand index between merges of different starts.
    score : ndarray of shape (m,)
        eigengap * (exp(information) - 1) * sqrt(relative_gap + 0.2); the largest is what "auto" takes (files of
        earlier versions hold that of theirs).
    information : ndarray of shape (m,) or None
        Mutual information between the clusters at both ends of an edge of p, in nats; None in files of early
        versions.
    """

    n_clusters: np.ndarray
    loss: np.ndarray
    gain: np.ndarray
    relative_gap: np.ndarray
    eigengap: np.ndarray
    stability: np.ndarray
    score: np.ndarray
    information: np.ndarray | None = None

    @property
    def suggested(self) -> int:
        """The number of clusters of the largest score, 1 where there is none: no more than a suggestion."""
        return int(self.n_clusters[self.score.argmax()]) if len(self.n_clusters) else 1

    def __repr__(self):
        counts = self.n_clusters
        span = f"{counts[0]} to {counts[-1]} clusters" if len(counts) else "no clusters"
        return f"<MergePath of {span}, suggested={self.suggested}; fields {', '.join(self._fields)}>"


class LateMergePath(Sequence):
    """A merge path whose merges are found when anything of it is first read; it reads like a :class:`MergePath`.

    Parameters
    ----------
    find : callable
        Returns the path.

    Attributes
    ----------
    found : MergePath or None
        The path, once it has been found.
    """

    def __init__(self, find):
        self.find, self.found = find, None

    def _path(self):
        if self.found is None:
            self.found = self.find()
        return self.found

    def __getattr__(self, name):
        # Copies and displays look for methods of their own.
        if not hasattr(MergePath, name):
            raise AttributeError(f"{type(self).__name__} has no {name}")
        return getattr(self._path(), name)

    def __len__(self):
        return len(MergePath._fields)

    def __getitem__(self, at):
        return self._path()[at]

    def __repr__(self):
        return repr(self._path())

    def __reduce__(self):
        return MergePath, tuple(self._path())


def merge_path(p, rng, *, balance=1.0) -> MergePath:
    """The merges of a sparse p, means over several starts.

    Parameters
    ----------
    p : Conditional
        Columns are the rows.
    rng : RandomState
    balance : float, default=1.0
        The power of the clusters' sizes in q.
    """
    edges, size = p.sparse(), np.ones(p.n_rows)
    if p.copies is not None:
        edges, size = csr_array(edges.multiply(p.copies[:, None])), p.copies
    return _path((edges + edges.T) / 2.0, size, p.supported().all(), rng, balance)


def _path(edges, size, whole, rng, balance):
    """The merges of symmetric edges between rows, or nodes of `size` rows; whether the `whole` of these has support."""
    connected = np.diff(edges.indptr) > 0
    if not connected.all():
        edges, size = edges[connected][:, connected], size[connected]
    n_rows = size.sum()
    # Rows without support of p have no loss, and a share of it only as columns of others.
    weight = n_rows if whole else (1.0 - RESOLUTION) * edges.sum() + RESOLUTION * n_rows
    most = min(MOST, max(round(n_rows) // ROWS_PER_CLUSTER, 10))
    sample = rng.permutation(edges.shape[0])[:N_COMPARED]
    starts = [_start(edges, size, most, sample, rng, balance, weight) for _ in range(N_STARTS)]
    most = min(len(start.gain) for start in starts)
    loss, gain, gap, eigengap, information = (
        np.mean([column[:most] for column in columns], axis=0)
        for columns in list(zip(*starts, strict=True))[:5]
    )
    labels = [start.labels for start in starts]
    stability = np.array([_agreement([found[k] for found in labels]) for k in range(most)])
    counts, score = np.arange(2, most + 2), eigengap * np.expm1(information) * np.sqrt(gap + SOFT_GAP)
    return MergePath(counts, loss / weight, gain / weight, gap, eigengap, stability, score, information)


def counted_path(terms, rng) -> MergePath:
    """The merge path of the first term of a loss, for the number of clusters of all.

    Raises
    ------
    ValueError
        Where there is none.
    """
    if not all(term.tied and not term.fresh for term in terms):
        raise ValueError(
            "n_clusters='auto' counts the groups among the rows, and this p (or a term's) has other columns or "
            "draws views; give n_clusters as a number"
        )
    reason = without_path(terms[0].p)
    if reason is not None:
        raise ValueError(f"n_clusters='auto' cannot count clusters here: {reason}")
    p, balance = terms[0].p, terms[0].q.balance_
    if not p.sharded:
        return merge_path(p, rng, balance=balance)

    def find(graph):
        return graph.size, _path(graph.edges * graph.n_rows, graph.size, True, rng, balance)

    return pair_weights(terms[:1]).found(find, NODES_OF_SHARDS, rng)[1]


def without_path(p):
    """Why the groups of p cannot be counted, or None."""
    if p.listed:
        return "rows of p have lists of candidates; give a p such as 'knn', and the lists by a further term"
    if p.dense:
        return "p has no sparse neighbours; give it a finite n_neighbors, or take p='knn'"
    return None


class _Start(NamedTuple):
    """The columns of one start, for 2, 3, ... clusters, and its labels of some rows."""

    loss: np.ndarray
    gain: np.ndarray
    gap: np.ndarray
    eigengap: np.ndarray
    information: np.ndarray
    labels: list


def _start(edges, size, most, sample, rng, balance, weight):
    n = round(size.sum())
    n_nodes = max(min(N_NODES, n // ROWS_PER_NODE), min(n, 4))
    node = merge_smallest(coarsen(edges, n_nodes, rng, size), size, n_nodes, most=2 * N_NODES)
    m = int(node.max()) + 1
    walk = members(node)
    between = (walk.T @ edges @ walk).toarray()
    values = _eigenvalues(between)
    eigengap = (values[1:-1] - values[2:]) / (1.0 - values[1:-1] + SOFT)
    merged = list(merges(edges, node, RESOLUTION, size, balance))
    # Merge number t leads from m - t clusters to m - t - 1.
    price = np.maximum.accumulate([price_of_an_edge(merge) * min(merge.size) for merge in merged])
    gap = np.diff(np.log(price))[::-1]
    gain = np.array([merge.gain for merge in merged])
    labels, parent, kept = node[sample], np.arange(m), []
    for merge in merged:
        kept.append(parent[labels])
        parent[parent == merge.drop] = merge.keep
    most = max(min(most, m - 1), 1)
    information = np.cumsum(_information_lost(between, merged)[::-1])
    # From the single cluster, whose mean loss is log n, backwards.
    loss = weight * np.log(size.sum()) + np.cumsum(gain[::-1])
    return _Start(
        loss[: most - 1],
        gain[::-1][1:][: most - 1],
        gap[: most - 1],
        eigengap[: most - 1],
        information[: most - 1],
        kept[::-1][: most - 1],
    )


def _information_lost(between, merged):
    """What each merge takes of the information, from symmetric masses between the nodes; zero is left at the end."""
    W = between / max(between.sum(), np.finfo(float).tiny)
    lost = np.empty(len(merged))
    for at, merge in enumerate(merged):
        # W log W summed over all pairs, less 2 d log d over the clusters; a pair of different clusters counts twice.
        pair = [merge.keep, merge.drop]
        inside, outer = W[np.ix_(pair, pair)], W[pair].copy()
        outer[:, pair] = 0.0
        degree, both = W[pair].sum(axis=1), outer.sum(axis=0)
        before = (
            xlogy(inside, inside).sum() + 2.0 * xlogy(outer, outer).sum() - 2.0 * xlogy(degree, degree).sum()
        )
        whole, total = inside.sum(), degree.sum()
        lost[at] = before - xlogy(whole, whole) - 2.0 * xlogy(both, both).sum() + 2.0 * xlogy(total, total)
        W[merge.keep] = W[:, merge.keep] = both
        W[merge.keep, merge.keep] = whole
        W[merge.drop] = W[:, merge.drop] = 0.0
    return lost


def _eigenvalues(edges):
    """Of the random walk on a symmetric matrix, falling."""
    degree = np.sqrt(np.maximum(edges.sum(axis=1), np.finfo(float).tiny))
    return np.minimum(np.linalg.eigvalsh(edges / degree[:, None] / degree)[::-1], 1.0)


def _agreement(labels):
    """Mean adjusted Rand index of all pairs of partitions."""
    pairs = [_rand(labels[i], labels[j]) for i in range(len(labels)) for j in range(i)]
    return float(np.mean(pairs)) if pairs else 1.0


def _rand(a, b):
    """Adjusted Rand index, Hubert and Arabie, "Comparing partitions", 1985."""
    # A path compares some two thousand pairs, for each of which scikit-learn's function takes a millisecond.
    n, width = len(a), int(b.max()) + 1
    both, rows, cols = (
        float((count * (count - 1.0)).sum()) / 2.0
        for count in (
            np.unique(a * width + b, return_counts=True)[1],
            np.bincount(a),
            np.bincount(b),
        )
    )
    chance = rows * cols / max(n * (n - 1.0) / 2.0, 1.0)
    most = (rows + cols) / 2.0
    return 1.0 if most == chance else (both - chance) / (most - chance)
