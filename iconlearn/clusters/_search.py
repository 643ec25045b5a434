"""The search of a start: merges, crossings and rounds on a graph of some thousand micro-clusters.

From random assignments the loss has poor local optima, so micro-clusters are merged by the closed form of
the hard loss at several resolutions, and the eigenvectors of the walk add what merges miss.  Micro-clusters are
groups of neighbours in p: cells of k-means cut across the borders of classes, and the loss of such a coarse graph
has its optimum elsewhere.

Crossings: two clusterings of about the same loss are often wrong in different places.  Their common refinement has a
few pieces more than either has clusters, and the greedy merges of so few pieces find combinations that neither steps
nor single splits reach.  The idea is that of evolutionary graph partitioning.

Rounds of splits and merges: steps that only improve assignments cannot move a whole cluster.  A round cuts clusters in
two along the slowest random walk inside them, refines, and undoes the cuts that raise the loss most, which need
not be those just made.  The loss decides whether the round is kept.

References
----------
Sanders and Schulz, "Distributed evolutionary graph partitioning", ALENEX 2012; Karrer and Newman, "Stochastic
blockmodels and community structure in networks", Physical Review E 83, 2011.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.cluster.vq import ClusterError, kmeans2
from scipy.linalg import qr
from scipy.spatial.distance import cdist

from ..numerics.graphs import MANY_ROWS, order_by_neighbors, vectors_of_graph
from ._agglomeration import agglomerate, gains
from ._microclusters import MAX_CELLS, coarsen, merge_smallest, micro_clusters, with_groups
from ._refine import refined, soften
from ._weights import SMALLEST, joined

# Debias weights of the merging (resolutions).
RESOLUTIONS = (0.05, 0.2, 0.5, 0.8)
# The search uses eigenvectors too where it needs no more than these.
MAX_EIGENVECTORS, MAX_LLOYD = 100, 100
# A uniform share, which joins all pairs, is seen by so many groups of micro-clusters.
N_SHARING = 300
# Groups of nodes per cluster where the merging by the hard loss begins.
GROUPS_PER_CLUSTER = 10
# Merges that are crossed with each other, crossings for each of them, and steps after which they are compared.
N_MERGES, CROSSINGS_PER_MERGE, N_SHORT = 8, 3, 40
# The balances that are compared where none is given, from the strongest pull on, the merges for each, and the share by
# which a weaker pull must raise the information, besides what a row on the other side makes, about 1 / n_rows:
# smaller differences come and go with the draw of the rows.
BALANCES, N_COMPARED, MORE = (1.0, 0.7, 0.5, 0.3, 0.2, 0.1), len(RESOLUTIONS), 0.002
# A weaker balance is taken where it cuts less than this share of what is cut otherwise, edges tell at least that share
# of the entropy of its clusters, and none of them is smaller than that share of the mean one: a clump of outliers.
# What is cut otherwise is the least with an information that is by no more than that share below the largest.
APART, KNOWN, TINY, BELOW = 0.36, 0.9, 0.1, 0.01
# The weaker balance of few labels, and the share of a class's edges that it must spare.
LOOSE, MUCH_LESS = 0.1, 1 / 3
# Clusters that a round splits at most: the merges that follow cost as many steps each.
MAX_SPLITS = 20
# Pairs whose merged loss is evaluated for each merge; the closed form of the hard loss proposes them.
N_CANDIDATES = 6
ROUND_RESOLUTION = 0.2
# Steps of the random walk, after which a random start has become the slowest direction, roughly.
N_WALK = 20
# Share of a row that a cut leaves on the other side.
DOUBT = 0.1
# Steps after the splits, after each merge, and at the end of a round.
N_AFTER_SPLIT, N_AFTER_MERGE, N_LAST = 20, 4, 80


def search(graph, n_clusters, n_init, rng, tol, *, promising=None):
    """Assignments of low loss: merges at several resolutions, crossed, then rounds of splits and merges.

    Merges see masses between groups, and not the way around a ring or along a curve.  The leading eigenvectors of the
    walk do, so clusters among them are one more start where they are few enough to be fast.

    Parameters
    ----------
    graph : PairWeights
        A uniform share is best left as a constant: rounds of splits and merges can fit columns drawn for it.
    n_clusters : int
    n_init : int
        Merges (the first eight) and rounds together.
    rng : RandomState
    tol : float
        As in :func:`refine`.
    promising : callable or None
        ``promising(r)`` says of the assignments by the best of the first merges whether it is worth to go on from them;
        these are the answer where it is not.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    """
    coarse = _CoarseSearch(graph, n_clusters, rng, tol)
    if promising is not None:
        n_merges = min(n_init, N_COMPARED)
        first = coarse.of_rows(min(coarse.merged(graph.balance, n_merges, spectral=False), key=_loss)[1])
        if not promising(first):
            return first
    return coarse.of_rows(coarse.best(graph.balance, n_init))


def search_balances(graph, n_clusters, n_init, rng, tol, *, balances=BALANCES):
    """As :func:`search`, under the balance whose clusters say most about the edges.

    Candidates share the micro-clusters, the groups that merging begins with and the eigenvectors; only those of the
    first balance, and of the chosen one, are crossed and split.  A balance under which clusters are lost is the last
    that is tried: weaker ones lose more.

    Parameters
    ----------
    graph, n_clusters, n_init, rng, tol
        As for :func:`search`.
    balances : sequence of float
        From the strongest pull to the weakest.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    balance : float
        What it was found under.
    candidates : dict of str to ndarray
        A row for each balance that was tried: "balance", "information" and "entropy" (in nats; of the clusters at the
        ends of an edge), "cut" (share of the mass of the edges between clusters), "n_clusters", and "smallest" (share
        of the rows in the smallest cluster).
    """
    coarse = _CoarseSearch(graph, n_clusters, rng, tol)
    found, n_rows = [], coarse.coarse.n_rows
    for balance in balances:
        tried = [coarse.best(balance, n_init)] if not found else []
        # Thin shapes that lie apart are found under the weakest balance, and not by every merge.
        n_merges = min(n_init, N_MERGES if balance == balances[-1] else N_COMPARED)
        tried.append(min(coarse.merged(balance, n_merges, spectral=n_init > 1), key=_loss)[1])
        found.append(tried[_most_informed(n_rows, **coarse.facts(tried))])
        if np.ptp(coarse.facts([found[0], found[-1]])["n_clusters"]) > 0:
            break
    facts = coarse.facts(found)
    at, lies_apart = _chosen(n_rows, facts)
    r = found[at]
    if at > 0:
        tried = [coarse.best(balances[at], n_init), r]
        both = coarse.facts(tried)
        r = tried[_least_cut(**both) if lies_apart else _most_informed(n_rows, **both)]
    return coarse.of_rows(r), balances[at], {"balance": np.array(balances[: len(found)]), **facts}


def _chosen(n_rows, facts):
    """Which candidate is taken, and whether it is for groups that lie apart."""
    at, apart = _most_informed(n_rows, **facts), _least_cut(**facts)
    alike = facts["n_clusters"] == facts["n_clusters"][at]
    alike &= facts["information"] >= (1.0 - BELOW) * facts["information"][at]
    if apart is not None and facts["cut"][apart] < APART * facts["cut"][alike].min():
        return apart, True
    return at, False


def _most_informed(n_rows, information, n_clusters, **_):
    """The first whose information is about the largest of those with all clusters."""
    whole = n_clusters == n_clusters.max()
    enough = information[whole].max() * (1.0 - MORE) - 1.0 / n_rows
    return int(np.argmax(whole & (information >= enough)))


def _least_cut(cut, information, entropy, n_clusters, smallest, **_):
    """The last that cuts the least of those with all clusters, known by edges and none tiny; None where there are none.

    A large cluster beside a few rows that touch it cuts next to no edges either, but edges tell little of it.
    """
    whole = (n_clusters == n_clusters.max()) & (smallest * n_clusters >= TINY)
    whole &= information >= KNOWN * entropy
    return int(np.flatnonzero(whole & (cut == cut[whole].min()))[-1]) if whole.any() else None


class _CoarseSearch:
    """The search on a graph of micro-clusters."""

    def __init__(self, graph, n_clusters, rng, tol):
        self.n_clusters, self.rng, self.tol = n_clusters, rng, tol
        whole = graph
        # Rows that nothing pulls would be clusters of their own.
        self.pulled = ~graph.idle()
        if not self.pulled.all():
            graph = graph.among(self.pulled)
        place = np.arange(graph.n)
        if graph.n >= MANY_ROWS:
            place[order_by_neighbors(graph.edges)] = np.arange(graph.n)
            graph = graph.coarsened(place)
        node = micro_clusters(graph, n_clusters, rng)
        self.node, self.coarse = node[place], graph.coarsened(node)
        self.edges = self.coarse.edges / self.coarse.unit
        if self.coarse.compiled(n_clusters):
            whole.n_steps = self.coarse.n_steps  # the library is loaded then, and the descent may use it
        self.coarse = with_groups(self.coarse, N_SHARING, rng)
        n_groups = max(
            min(GROUPS_PER_CLUSTER * n_clusters, self.coarse.n // 4, MAX_CELLS),
            min(n_clusters, self.coarse.n),
        )
        self.n_groups, self.groups, self.known = n_groups, [], {}

    def best(self, balance, n_init):
        """The best assignments of the micro-clusters."""
        coarse, n_merges = self.coarse.balanced(balance), min(n_init, N_MERGES)
        found = self.merged(balance, n_merges, spectral=n_init > 1, all_wanted=True)
        n_crossings = CROSSINGS_PER_MERGE * n_merges
        best = cross(coarse, found, RESOLUTIONS, self.rng, n_crossings=n_crossings, n_steps=N_SHORT)
        return split_and_merge(coarse, best, self.rng, n_rounds=n_init - n_merges, tol=self.tol)

    def merged(self, balance, n_merges, *, spectral, all_wanted=False):
        """Losses and assignments of merges at several resolutions, and of clusters among the eigenvectors.

        Unless all are wanted, those that would not be the best are not followed to their end.  Nor are they later, when
        all are wanted: crossings take what they are good for.
        """
        numbers = list(range(n_merges))
        if spectral and 1 < self.n_clusters <= MAX_EIGENVECTORS and self._spectral is not None:
            numbers.append(None)
        found = []
        for number in numbers:
            bar = min(found, key=_loss)[0] if found and not all_wanted else np.inf
            found.append(self._start(balance, number, bar))
        return found

    def _start(self, balance, number, bar):
        """Loss and assignments of a merge, or of the clusters among the eigenvectors (None), after a few steps."""
        if (balance, number) not in self.known:
            coarse, labels = self.coarse.balanced(balance), self._spectral if number is None else None
            if labels is None:
                resolution = RESOLUTIONS[number % len(RESOLUTIONS)]
                labels = agglomerate(
                    self.edges, self._group(number), self.n_clusters, resolution, coarse.size, balance
                )
            r, loss = refined(coarse, soften(labels, self.n_clusters), max_iter=N_SHORT, tol=0.0, bar=bar)
            self.known[balance, number] = loss, r
        return self.known[balance, number]

    def _group(self, number):
        while len(self.groups) <= number:
            groups = coarsen(self.edges, self.n_groups, self.rng, self.coarse.size)
            self.groups.append(merge_smallest(groups, self.coarse.size, self.n_groups))
        return self.groups[number]

    def of_rows(self, r):
        """The assignments of all rows by those of the nodes; the clusters' shares where nothing pulls."""
        if self.pulled.all():
            return r[self.node]
        out = np.tile(self.coarse.size @ r / self.coarse.n_rows, (len(self.pulled), 1))
        out[self.pulled] = r[self.node]
        return out

    def facts(self, found):
        """What clusterings are compared by, as columns; see :func:`search_balances`."""
        labels = [r.argmax(axis=1) for r in found]
        sizes = [np.bincount(one, self.coarse.size, self.n_clusters) for one in labels]
        return {
            "information": np.array([self.coarse.information(one) for one in labels]),
            "entropy": np.array([self.coarse.entropy(one) for one in labels]),
            "cut": np.array([self.coarse.cut(one) for one in labels]),
            "n_clusters": np.array([np.count_nonzero(size) for size in sizes]),
            "smallest": np.array([size[size > 0].min() for size in sizes]) / self.coarse.n_rows,
        }

    @cached_property
    def _spectral(self):
        """Labels by clusters among the eigenvectors, which know no balance."""
        places = walk_places(self.edges, self.n_clusters, self.rng)
        return None if places is None else _from_spread(places, self.n_clusters)


def walk_places(edges, n_clusters, rng):
    """Leading eigenvectors of the walk on the symmetrised graph, the constant one among them.

    None where they have fewer distinct rows than there are clusters.
    """
    if edges.shape[0] <= n_clusters:
        return None
    places = vectors_of_graph(edges, n_clusters, rng, tol=1e-5)
    return places if places is not None and len(np.unique(places, axis=0)) >= n_clusters else None


def _from_spread(places, n_clusters):
    """Labels by k-means from rows of places that point in different directions; nothing is left to chance."""
    spread = places[qr(places.T, mode="r", pivoting=True)[1][:n_clusters]]
    # scikit-learn's KMeans gives the same labels, but its package loads manifold learning and linear models as well,
    # which a fit of few rows does without.
    try:
        return kmeans2(places, spread, iter=MAX_LLOYD, minit="matrix", missing="raise")[1]
    except ClusterError:  # a cluster has lost its rows
        return cdist(places, spread).argmin(axis=1)


def cross(graph, found, resolutions, rng, *, n_crossings, n_steps):
    """Improve a set of clusterings by crossing pairs of them; a child takes the place of the worst.

    Parameters
    ----------
    graph : PairWeights
    found : list of (float, ndarray of shape (n, n_clusters))
        Losses and assignments.
    resolutions : sequence of float
        Debias weights of the merges; each crossing draws one.
    rng : RandomState
    n_crossings : int
    n_steps : int
        Steps that refine each child.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
        Those of the lowest loss.
    """
    found = sorted(found, key=_loss)
    edges, n_clusters = graph.edges / graph.unit, found[0][1].shape[1]
    for _ in range(n_crossings if len(found) > 1 else 0):
        one, other = (found[k][1].argmax(axis=1) for k in rng.permutation(len(found))[:2])
        resolution = resolutions[rng.randint(len(resolutions))]
        pieces = np.unique(one * n_clusters + other, return_inverse=True)[1]
        if pieces.max() + 1 <= n_clusters:
            continue
        labels = agglomerate(edges, pieces, n_clusters, resolution, graph.size, graph.balance)
        r, loss = refined(graph, soften(labels, n_clusters), max_iter=n_steps, tol=0.0, bar=found[-1][0])
        # A duplicate would replace a clustering that there is to cross with.
        if loss < found[-1][0] and not any(np.isclose(loss, other, rtol=1e-6) for other, _ in found):
            found = sorted([*found[:-1], (loss, r)], key=_loss)
    return found[0][1]


def _loss(start):
    return start[0]


def split_and_merge(graph, r, rng, *, n_rounds, tol):
    """Improve the assignments `r` by rounds of splits and merges.

    Parameters
    ----------
    graph : PairWeights
    r : ndarray of shape (n, n_clusters)
    rng : RandomState
    n_rounds : int
    tol : float
        As in :func:`refine`.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    """
    n_clusters = r.shape[1]
    if n_clusters == 1 or graph.n <= n_clusters:
        return r
    r, loss = refined(graph, r, max_iter=N_LAST, tol=tol)
    for _ in range(n_rounds):
        chosen = rng.permutation(n_clusters)[:MAX_SPLITS]
        other = refined(graph, _split(graph, r, chosen, rng), max_iter=N_AFTER_SPLIT, tol=0.0)[0]
        while other.shape[1] > n_clusters:
            other = refined(graph, _merged(graph, other), max_iter=N_AFTER_MERGE, tol=0.0)[0]
        other, other_loss = refined(graph, other, max_iter=N_LAST, tol=tol)
        if other_loss < loss:
            r, loss = other, other_loss
    return r


def _split(graph, r, chosen, rng):
    """Cut the chosen clusters in two; the second halves are appended."""
    side = 0.5 + (0.5 - DOUBT) * np.sign(_slowest(graph, r.argmax(axis=1), r.shape[1], rng))
    halves = r[:, chosen]
    kept = r.copy()
    kept[:, chosen] = halves * side[:, None]
    return np.maximum(np.hstack([kept, halves * (1.0 - side[:, None])]), SMALLEST)


def _slowest(graph, labels, n_clusters, rng):
    """A few steps of the random walks inside the clusters from random values, with mean zero in each cluster."""
    edges = sparse.coo_array(graph.edges)
    within = labels[edges.row] == labels[edges.col]
    row, col, weight = edges.row[within], edges.col[within], edges.data[within]
    degree = np.maximum(np.bincount(row, weight, graph.n), 1e-300)
    walk = sparse.csr_array((weight / degree[row], (row, col)), shape=edges.shape)
    mass = np.maximum(np.bincount(labels, graph.size, n_clusters), SMALLEST)
    values = rng.normal(size=graph.n)
    for _ in range(N_WALK):
        values = walk @ values
        values = values - (np.bincount(labels, graph.size * values, n_clusters) / mass)[labels]
        spread = np.sqrt(np.bincount(labels, graph.size * values**2, n_clusters) / mass)
        values = values / np.maximum(spread, 1e-300)[labels]
    return values


def _merged(graph, r):
    """The merge of one pair that leaves the lowest loss."""
    gain = gains(r.T @ (graph.edges @ r) / graph.unit, graph.mass(r), ROUND_RESOLUTION, graph.balance)
    gain[np.tril_indices(len(gain))] = -np.inf
    proposed = np.argsort(-gain, axis=None, kind="stable")[:N_CANDIDATES]
    pairs = [
        (keep, drop)
        for keep, drop in zip(*np.unravel_index(proposed, gain.shape), strict=True)
        if keep < drop
    ]
    return joined(r, *pairs[int(np.argmin(graph.merge_costs(r, pairs)))])
