"""Symmetric weights of pairs of rows that lie in several processes, steps under them, and micro-clusters of all rows.

A step is that of one process: each has the edges of its own rows, gets the assignments of rows of others with which
these have edges, and sums over rows go over all processes.  Micro-clusters are those of one process as well: nodes
belong to processes, and where two of them join that belong to different ones, the edges of the second go to the
first's.  The last rounds, and what is done with the graph of micro-clusters, are left to the first process.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse

from ..distributed import Halo, Shard
from ._microclusters import LARGEST, partners
from ._weights import DESCENT, MANY_EDGES_OF_GROUPS, SMALLEST, TILE, PairWeights, of_groups, sized

# The first process gets the graph of at most so many times the micro-clusters that it needs, or of so few nodes; at
# least twice as many, since rounds before join all pairs that they find.
MOST_NODES, FEW_NODES = 2, 1000
# Random numbers that are drawn at a time.
BLOCK = 2**20


class ShardWeights(PairWeights):
    """Pair weights of the rows of one process.

    Parameters
    ----------
    edges : csr_array of shape (n, n + n_of_others)
        w_ij + w_ji, where columns are the rows of this process and behind them those of others.
    halo : Halo
        Gives values of such columns.
    floor : ndarray of shape (n,)
    debias, balance : float
        As for :class:`PairWeights`.

    Notes
    -----
    Rows without edges keep what they begin with.
    """

    # Edges are never so many that a matrix of all pairs would take less.
    _square = None

    def __init__(self, edges, halo, floor, debias, balance):
        edges.data *= 0.5
        self.halo, self.shard, self.across = halo, halo.shard, halo.shard.group
        self.edges, self.floor, self.debias, self.balance = edges, floor, debias, balance
        self.n = edges.shape[0]
        self.size, self.single = np.ones(self.n), True
        self.group, self.group_floor, self.group_size = None, floor, self.size
        self.n_all, self.n_rows = self.shard.n_all, float(self.shard.n_all)
        self.even = bool(self.across.largest(bool(floor.any())))
        self.unit = self.across.total(float(edges.sum())) / self.n_rows or 1.0
        self.n_steps = DESCENT

    def grouped(self, labels):
        m = int(self.across.largest(int(labels.max(initial=0)))) + 1
        other = copy.copy(self)
        other.group, other.group_floor = labels, self.across.total(np.bincount(labels, self.floor, m))
        other.group_size = self.across.total(np.bincount(labels, self.size, m))
        return other

    def idle(self):
        return np.zeros(self.n, dtype=bool)

    def may_list(self, n_clusters, *, on_device=False):
        return False

    def mass(self, r):
        return np.maximum(self.across.total(r.sum(axis=0)), SMALLEST)

    def explained(self, r, valued=True):
        own = r / sized(self.mass(r), self.n_rows, self.balance)
        G, loss = self._of_edges(r, self.halo(own), valued)
        if self.even:
            pulled, more = self._by_floor(r, own)
            G, loss = G + 2.0 * (1.0 - self.debias) * own * pulled, loss + more
        return G, self.across.total(loss) if valued else 0.0

    @property
    def _pairs(self):
        # The other direction of an edge may be with another process.
        return self.row, self.edges.indices, self.edges.data, slice(None)

    def _pulled(self, shares, r, right):
        return r * (shares @ right)  # r of other processes is not at hand

    def _by_floor(self, r, right):
        if self.group is None:
            return self._of_all_columns(r, right)
        share = self._shares_of_groups()
        means = self.across.total(np.hstack([share @ r, share @ right]))
        pulled, loss = self._of_all_pairs(*np.hsplit(means, 2))
        return share.T @ pulled, loss / self.across.size  # each process finds all of it

    def _of_all_columns(self, r, right):
        """The constant part of these rows, against all."""
        a, loss, pulled = self.debias, 0.0, np.zeros_like(r)
        there, right = np.hsplit(self.across.gathered(np.hstack([r, right])), 2)
        floor = self.across.gathered(self.floor)
        for first in range(0, self.n, TILE):
            rows = slice(first, first + TILE)
            for second in range(0, self.n_all, TILE):
                cols = slice(second, second + TILE)
                q = np.maximum((1.0 - a) * (r[rows] @ right[cols].T) + a / self.n_rows, 1e-300)
                weight = 0.5 * (self.floor[rows, None] + floor[cols])
                loss -= np.vdot(weight, np.log(q))
                pulled[rows] += (weight / q) @ there[cols]
        return pulled, loss

    def improved(self, r, G, pull=None, idle=None, held=None, *, far=False):
        price = 0.5 * self.balance * self.across.total(G.sum(axis=0)) / self.mass(r)
        return self._projected(G, price, r, far)

    def found(self, find, n_nodes, rng):
        node = self._nodes(max(MOST_NODES * n_nodes, FEW_NODES), n_nodes, rng)
        graph, answer = self._of_nodes(node), None
        with self.across.together():
            if self.across.rank == 0:
                answer = find(graph), rng.get_state()
        (of_nodes, *values), state = self.across.from_first(answer)
        rng.set_state(state)
        return of_nodes[node], *values

    def _of_nodes(self, node):
        """The weights between nodes, which the first process has; others have None."""
        m = int(self.across.largest(int(node.max(initial=-1)))) + 1
        numbers, group = np.unique(self.halo(node), return_inverse=True)
        graph = _square(self.edges)
        edges = sparse.coo_array(of_groups(graph, group, len(numbers), loops=True, compiled=_many(graph)))
        size, floor = (self.across.total(np.bincount(node, part, m)) for part in (self.size, self.floor))
        none = slice(0, 0)
        parts = numbers[edges.row], numbers[edges.col], edges.data
        i, j, w = (
            np.concatenate(self.across.exchanged([part, *[part[none]] * (self.across.size - 1)]))
            for part in parts
        )
        if self.across.rank > 0:
            return None
        return PairWeights(
            sparse.csr_array((w, (i, j)), shape=(m, m)), floor, self.debias, size, self.balance
        )

    def _nodes(self, most, n_groups, rng):
        """The node of each row, after as many rounds as lead to no more than `most` nodes."""
        graph, own = _square(self.edges), self.shard.first + np.arange(self.n)
        compiled, largest = _many(graph), LARGEST * self.n_rows / n_groups
        graph = of_groups(graph, np.arange(self.halo.size), self.halo.size, loops=False, compiled=compiled)
        nodes = _Nodes(self.shard, self.halo, graph, np.ones(self.n), compiled)
        while nodes.shard.n_all > most and self.across.largest(nodes.graph.nnz):
            after, new = nodes.joined(largest, rng)
            if after is None:
                largest *= 2.0
                continue
            own = nodes.shard.fetched(own, new)
            nodes = after
        return own


class _Nodes:
    """The nodes of a process: single rows first, and groups of them later.

    Parameters
    ----------
    shard : Shard
        Of nodes.
    halo : Halo
    graph : csr_array
        Between these nodes and, behind them, those of others that they have edges with; theirs are empty.
    size : ndarray of shape (n,)
        Rows of each node of this process.
    compiled : bool
        Whether there are so many edges that compiled loops are loaded.
    """

    def __init__(self, shard, halo, graph, size, compiled):
        self.shard, self.halo, self.graph, self.size, self.compiled = shard, halo, graph, size, compiled

    def joined(self, largest, rng):
        """A round in which nodes that are each other's best partner join; see :func:`coarsen`.

        Returns
        -------
        nodes : _Nodes or None
            None where nothing can join.
        new : ndarray of int
            The number of each node of this process among those.
        """
        shard, n = self.shard, self.shard.n_own
        number = shard.first + np.arange(n)
        factor, size = self.halo(np.column_stack([_part(rng, shard) / self.size, self.size])).T
        at = partners(self.graph, factor.copy(), size.copy(), largest, compiled=self.compiled)[0][:n]
        every = np.concatenate([number, self.halo.numbers])
        partner = np.where(at >= 0, np.append(every, -1)[at], -1)
        if not shard.group.largest(bool((partner >= 0).any())):
            return None, None
        of_partner = self.halo(partner)[at]
        mutual = (partner >= 0) & (of_partner == number)
        first, dropped = mutual & (partner > number), mutual & (partner < number)
        after = Shard(shard.group, int((~dropped).sum()))
        new = after.first + np.cumsum(~dropped) - 1
        new = np.where(dropped, self.halo(new)[at], new)
        grown = (self.size + np.where(first, size[at], 0.0))[~dropped]
        return self._moved(after, self.halo(new), grown), new

    def _moved(self, shard, new, size):
        """The nodes by their new numbers, and their edges at the processes that they belong to."""
        group = shard.group
        numbers, label = np.unique(new, return_inverse=True)
        edges = sparse.coo_array(
            of_groups(self.graph, label, len(numbers), loops=False, compiled=self.compiled)
        )
        i, j = numbers[edges.row], numbers[edges.col]
        owner = shard.owners(i)
        to = [np.flatnonzero(owner == rank) for rank in range(group.size)]
        i, j, w = (
            np.concatenate(group.exchanged([part[some] for some in to])) for part in (i, j, edges.data)
        )
        halo = Halo(shard, j)
        graph = sparse.csr_array((w, (i - shard.first, halo.at(j))), shape=(halo.size, halo.size))
        return _Nodes(shard, halo, graph, size, self.compiled)


def _square(edges):
    """Edges with empty rows for columns of other processes."""
    lack = edges.shape[1] - edges.shape[0]
    pointers = np.append(edges.indptr, np.full(lack, edges.indptr[-1]))
    return sparse.csr_array((edges.data, edges.indices, pointers), shape=(edges.shape[1],) * 2)


def _many(graph):
    return len(graph.data) >= MANY_EDGES_OF_GROUPS


def _part(rng, shard):
    """A random factor for each node of this process, of those that one process would draw for all."""
    parts = []
    for start in range(0, shard.n_all, BLOCK):
        drawn = rng.random(min(BLOCK, shard.n_all - start))
        parts.append(drawn[max(shard.first - start, 0) : max(shard.first + shard.n_own - start, 0)])
    return 1.0 + 1e-2 * np.concatenate(parts)
