"""Symmetric weights of pairs of rows, and a step of soft assignments under them.

    minimise  - sum_ij w_ij log q_ij,     q_ij = (1 - a) sum_c r_ic r_jc / s_c + a / n,     s_c = sum_k r_kc

Let g_ijc = (1 - a) (r_ic r_jc / s_c) / q_ij be the share of q that cluster c explains.  Jensen's inequality
on the sum over c bounds the loss from above, and the bound is minimised in closed form by

    r_ic = G_ic / (lambda_i + B_c / s_c),     G_ic = sum_j (w_ij + w_ji) g_ijc,     B_c = sum_ij w_ij g_ijc

with lambda_i the root that makes row i sum to one.  So the loss falls in every step, without a step size.  Steps that
go further mostly need fewer of them: each assignment is multiplied by the power 1.75 of what it would be multiplied by
(Salakhutdinov and Roweis, "Adaptive overrelaxed bound optimization methods", ICML 2003).
A balance b < 1 of q puts s_c^b n^(1 - b) in the place of s_c; the bound then has b B_c log s_c where it had
B_c log s_c, still concave in s_c, and so the price of cluster c is b B_c / s_c.
"""

from __future__ import annotations

import copy
from functools import cached_property

import numpy as np
from scipy import sparse
from scipy.special import entr

from ..numerics.threads import available
from ._lists import Lists

# Numbers that are held at a time in sums over pairs and clusters.
BLOCK = 2**21
# Rows, and columns, of the tiles in which all pairs are summed: a tile stays in the cache.
TILE = 256
# Steps of a descent and of a search, about; edges times clusters times steps that repay loading the compiler's library,
# some tenths of a second.
DESCENT, SEARCH, MUCH_WORK = 100, 2000, 3 * 10**8
# So many rows repay it whatever there is to do.
MANY_POINTS = 5000
# Loops over fewer clusters than these gain less by it.
MANY_CLUSTERS = 64
# From so many edges on, and such a share of all pairs, edges are summed as a matrix.
MANY_EDGES, DENSE = 2**14, 0.25
# No assignment is less, so that the loss stays finite.
SMALLEST = 1e-12
# From so many on, edges between groups are summed by compiled loops.
MANY_EDGES_OF_GROUPS = 2**20
# What is not many times the least assignment has no part in what a merge changes.
MANY_TIMES = 1e4
# Rows are lists of clusters where these are fewer than such a share of so many clusters, and a step is so much work;
# of few clusters where there are fewer than so many in a row, and tables do not stay in the cache.
SHORT, MANY_LISTED, LISTED_WORK = 1 / 6, 24, 10**6
SHORT_ROW, FEW_LISTED, LARGE_TABLE = 3, 3, 2**18


class PairWeights:
    """Symmetric pair weights: sparse edges, and optionally a constant for every row against all columns.

    Rows may stand for groups of rows; what is constant between rows is then proportional to the sizes of both
    groups, and exact however coarse they are.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        w_ij; symmetrised here, since q is symmetric.
    floor : ndarray of shape (n,)
        Added to w_ij for every row that j stands for; summed over the rows that i stands for.
    debias : float
        The share a on q.
    size : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.
    balance : float, default=1.0
        The power b of the clusters' sizes in q.
    symmetric : bool, default=False
        Whether `edges` are symmetric already; they are kept then.

    Notes
    -----
    The constant part costs all pairs.  :meth:`grouped` computes it from the mean assignments of groups instead.
    """

    def __init__(self, edges, floor, debias, size=None, balance=1.0, *, symmetric=False):
        if not symmetric:
            edges = sparse.csr_array(edges + edges.T)
            edges.data *= 0.5
        edges.sum_duplicates()
        self.edges, self.floor, self.debias, self.n = edges, floor, debias, edges.shape[0]
        self.size, self.single = (np.ones(self.n), True) if size is None else (size, False)
        self.balance = balance
        self.group, self.group_floor, self.group_size = None, floor, self.size
        self.n_all, self.n_rows = self.n, self.size.sum()
        # Whether there is a constant part.
        self.even = bool(floor.any())
        # What a row weighs on average.
        self.unit = edges.sum() / self.n_rows or 1.0
        self.n_steps = DESCENT

    @cached_property
    def row(self):
        """The row of each edge."""
        return np.repeat(np.arange(self.n), np.diff(self.edges.indptr))

    def coarsened(self, labels):
        """The weights between groups of rows, numbered without gaps.

        The loss is the same where the rows of each group are assigned alike.  Starts are searched on them.  Groups of
        one row each are the rows in another order.
        """
        if len(labels) == labels.max() + 1 and (labels == np.arange(self.n)).all():
            self.n_steps = SEARCH
            return self
        m = int(labels.max()) + 1
        size, floor = np.bincount(labels, self.size, m), np.bincount(labels, self.floor, m)
        many = len(self.edges.data) >= MANY_EDGES_OF_GROUPS
        edges = of_groups(self.edges, labels, m, loops=True, compiled=many)
        coarse = PairWeights(edges, floor, self.debias, size, self.balance, symmetric=m == self.n)
        coarse.n_steps = SEARCH
        return coarse

    def balanced(self, balance):
        """The same weights under another balance."""
        other = copy.copy(self)
        other.balance = balance
        return other

    def information(self, labels):
        """Mutual information of the clusters at both ends of an edge, in nats.

        With W_cd the share of the mass of the edges that runs from cluster c to d and W_c its sum over d,

            I = sum_cd W_cd log( W_cd / (W_c W_d) )

        which is, but for a constant, the log-likelihood per edge of a block model that allows for the degrees of rows
        (Karrer and Newman, "Stochastic blockmodels and community structure in networks", Physical Review E 83, 2011,
        equation 16), at the most likely rates.  It does not depend on the balance, nor on a uniform share.
        """
        member = members(labels)
        mass = (member.T @ self.edges @ member).toarray()
        mass /= mass.sum() or 1.0
        chance = mass.sum(axis=1)[:, None] * mass.sum(axis=0)
        some = mass > 0
        return float(mass[some] @ np.log(mass[some] / chance[some]))

    def entropy(self, labels):
        """Entropy of the cluster at one end of an edge, in nats: the information is no more."""
        share = np.bincount(labels[self.row], self.edges.data)
        return float(entr(share / (share.sum() or 1.0)).sum())

    def cut(self, labels):
        """Share of the mass of the edges that runs between groups of rows."""
        apart = labels[self.row] != labels[self.edges.indices]
        return self.edges.data[apart].sum() / (self.edges.sum() or 1.0)

    def cuts(self, labels, m):
        """Share of the mass of its edges that leaves each of m groups; 0 for a group without edges."""
        own = np.bincount(labels[self.row], self.edges.data, m)
        apart = labels[self.row] != labels[self.edges.indices]
        leaving = np.bincount(labels[self.row[apart]], self.edges.data[apart], m)
        return np.divide(leaving, own, out=np.zeros(m), where=own > 0)

    def grouped(self, labels):
        """The same, but the constant part is computed from the mean assignments of groups (numbered without gaps).

        - log q is convex in what a row is assigned, so the loss is no larger than without groups, and the same
        where the rows of each group are assigned alike; Jensen's inequality once more keeps every step's bound.
        """
        other = copy.copy(self)
        other.group = labels
        other.group_floor, other.group_size = np.bincount(labels, self.floor), np.bincount(labels, self.size)
        return other

    def found(self, find, n_nodes, rng):
        """What ``find(weights)`` finds from weights of about so many nodes at least: here, of all rows.

        Parameters
        ----------
        find : callable
            Returns a tuple of an array with an entry for each node, and of further values.
        n_nodes : int
        rng : RandomState
            Of the same state on all processes, there as afterwards; `find` draws from it.

        Returns
        -------
        tuple
            An entry for each row, and the further values.
        """
        return find(self)

    def among(self, rows):
        """The weights among some of the rows."""
        edges = self.edges[rows][:, rows]
        size = self.size[rows]
        some = PairWeights(edges, self.floor[rows], self.debias, size, self.balance, symmetric=True)
        if self.group is None:
            return some
        return some.grouped(np.unique(self.group[rows], return_inverse=True)[1])

    def compiled(self, n_clusters):
        """Whether all the steps that are likely to come repay loading the compiler's library."""
        work = len(self.edges.data) * n_clusters * self.n_steps * min(n_clusters / MANY_CLUSTERS, 1.0)
        return self.n_rows >= MANY_POINTS or work >= MUCH_WORK

    def in_lists(self, r, least, doubt=0.0, idle=None):
        """Assignments as lists of few clusters for each row, where steps take less by these; else `r`.

        Parameters
        ----------
        r : ndarray of shape (n, n_clusters)
        least : float
            What is not more is not listed; a cluster that comes to a row begins there with as much.
        doubt : float
            What a start leaves to each cluster; it is not listed where nothing else keeps lists from being short.
        idle : ndarray of bool of shape (n,) or None
            Rows that follow the others.

        Returns
        -------
        r : Lists or ndarray
        """
        if not self.may_list(r.shape[1]):
            return r
        for listed in sorted({least, max(least, doubt)}):
            if np.count_nonzero(r > listed) <= max(SHORT * r.shape[1], SHORT_ROW) * len(r):
                lists = Lists.of(r, listed, least, self.size, idle)
                return r if lists is None else lists
        return r

    def may_list(self, n_clusters, *, on_device=False):
        """Whether lists of so many clusters may take less for a step than a table, which may be `on_device`."""
        work = len(self.edges.data) * n_clusters
        large = not on_device and self.n * n_clusters >= LARGE_TABLE
        many = FEW_LISTED if large else MANY_LISTED
        few = n_clusters < many or work < LISTED_WORK or not self.compiled(n_clusters)
        return not (few or self.even or self._square is not None)

    def table(self, r):
        """Assignments as an array of their own."""
        return r.table(SMALLEST) if isinstance(r, Lists) else r.copy()

    def idle(self):
        """Which rows nothing pulls: no edge has any weight, and there is no constant part."""
        return (self.edges.sum(axis=1) <= 0) & (not self.even)

    def mass(self, r):
        """s_c, the rows of each cluster."""
        return np.maximum(r.mass, SMALLEST) if isinstance(r, Lists) else np.maximum(self.size @ r, SMALLEST)

    def explained(self, r, valued=True):
        """G (rows x clusters) and the loss at r; of lists G is what :meth:`improved` takes.

        A loss that is not `valued` is left out of what is summed over the edges of a table: its logarithms take longer
        than the rest.
        """
        if isinstance(r, Lists):
            return self._explained_by_lists(r)
        right = r / sized(self.mass(r), self.n_rows, self.balance)
        G, loss = self._of_edges(r, right, valued)
        if self.even:
            pulled, more = self._by_floor(r, right)
            G, loss = G + 2.0 * (1.0 - self.debias) * right * pulled, loss + more
        return G, loss

    def _of_edges(self, r, right, valued=True):
        """The part of the edges, whose columns have the assignments `right`, divided by the clusters' sizes."""
        if self._square is not None:
            return self._explained_by_all(r, right, valued)
        if not self.compiled(r.shape[1]):
            return self._explained(r, right, valued)
        from ..numerics.compiled import explained_by_clusters

        a, edges = self.debias, self.edges
        return explained_by_clusters(
            r, right, edges.indptr, edges.indices, edges.data, a, a / self.n_rows, available(), valued
        )

    def _explained_by_lists(self, lists):
        from ..numerics.compiled import explained_by_lists

        # Rows that are idle add to all clusters in proportion.
        mass = self.mass(lists)
        a, scale = self.debias, 1.0 / sized(mass * (self.n_rows / mass.sum()), self.n_rows, self.balance)
        *G, loss = explained_by_lists(
            lists.parts, scale, *self._numbers, self.edges.data, a, a / self.n_rows, lists.least, available()
        )
        return G, loss

    @cached_property
    def _numbers(self):
        """Where rows of edges end, and their columns, as the loops over lists take them."""
        return self.edges.indptr.astype(np.uint64), self.edges.indices.astype(np.uint32)

    @cached_property
    def _pairs(self):
        """Rows, columns and weights of the edges in both directions together, and which of these each edge is of."""
        row, column = self.row, self.edges.indices
        one_way = np.flatnonzero(row <= column)
        number = np.minimum(row, column) * self.n + np.maximum(row, column)
        each = np.searchsorted(number[one_way], number)  # columns are in order
        row, column = row[one_way], column[one_way]
        return row, column, self.edges.data[one_way] * np.where(row < column, 2.0, 1.0), each

    @cached_property
    def _square(self):
        """The weights of all pairs, where so many are edges that products of matrices take less than single pairs."""
        n_edges = len(self.edges.data)
        return self.edges.toarray() if n_edges >= max(MANY_EDGES, DENSE * self.n**2) else None

    def _explained_by_all(self, r, right, valued):
        """The part of the edges, as a product of matrices."""
        a = self.debias
        q = (1.0 - a) * (r @ right.T) + a / self.n_rows
        np.maximum(q, 1e-300, out=q)
        loss = -np.vdot(self._square, np.log(q)) if valued else 0.0
        np.divide(self._square, q, out=q)
        return 2.0 * (1.0 - a) * right * (q @ r), loss

    def _explained(self, r, right, valued):
        a, (row, column, weight, each) = self.debias, self._pairs
        q, step = np.empty(len(row)), max(1, BLOCK // r.shape[1])
        for start in range(0, len(q), step):
            part = slice(start, start + step)
            np.einsum("ec,ec->e", r.take(row[part], 0), right.take(column[part], 0), out=q[part])
        q *= 1.0 - a
        q += a / self.n_rows
        np.maximum(q, 1e-300, out=q)
        shares = copy.copy(self.edges)  # a new matrix would be checked again
        shares.data = self.edges.data / q[each]
        return 2.0 * (1.0 - a) * self._pulled(shares, r, right), -(weight @ np.log(q)) if valued else 0.0

    def _pulled(self, shares, r, right):
        """sum_j (w_ij / q_ij) r_ic r_jc / s_c over the edges of each row i, from the shares w_ij / q_ij."""
        return right * (shares @ r)

    def _by_floor(self, r, right):
        """The constant part."""
        if self.group is None:
            return self._of_all_pairs(r, right)
        share = self._shares_of_groups()
        pulled, loss = self._of_all_pairs(share @ r, share @ right)
        return share.T @ pulled, loss

    def _shares_of_groups(self):
        """What each row is of its group, shape (n_groups, n)."""
        each = self.size / self.group_size[self.group]
        return sparse.csr_array((each, (self.group, np.arange(self.n))), shape=(len(self.group_size), self.n))

    def _of_all_pairs(self, r, right):
        """The constant part by tiles; q and the weights are symmetric, so each pair is seen once."""
        a, loss, floor, size = self.debias, 0.0, self.group_floor, self.group_size
        pulled = np.zeros_like(r)
        for first in range(0, len(r), TILE):
            rows = slice(first, first + TILE)
            for second in range(first, len(r), TILE):
                cols = slice(second, second + TILE)
                q = (1.0 - a) * (r[rows] @ right[cols].T) + a / self.n_rows
                np.maximum(q, 1e-300, out=q)
                weight = 0.5 * (np.outer(floor[rows], size[cols]) + np.outer(size[rows], floor[cols]))
                loss -= (1.0 if first == second else 2.0) * np.vdot(weight, np.log(q))
                weight /= q
                pulled[rows] += weight @ r[cols]
                if second > first:
                    pulled[cols] += weight.T @ r[rows]
        return pulled, loss

    def merge_costs(self, r, pairs):
        """What the loss at r rises by when each of some pairs of clusters becomes one.

        Only pairs of rows that both have a part in either cluster are changed by it.
        """
        if self.even:
            return [self.explained(joined(r, *pair))[1] for pair in pairs]
        a, mass, costs = self.debias, self.mass(r), []
        row, column, weight, _ = self._pairs
        scale = (1.0 - a) / sized(mass, self.n_rows, self.balance)
        some = [r[:, keep] + r[:, drop] > SMALLEST * MANY_TIMES for keep, drop in pairs]
        changed = [one[row] & one[column] for one in some]
        # Pairs that several merges change have one q before each of them.
        at = np.flatnonzero(np.logical_or.reduce(changed))
        row, column, weight, q = row[at], column[at], weight[at], np.empty(len(at))
        step = max(1, BLOCK // r.shape[1])
        for start in range(0, len(at), step):
            part = slice(start, start + step)
            np.einsum("ec,ec,c->e", r[row[part]], r[column[part]], scale, out=q[part])
        q += a / self.n_rows
        log_q, assigned = np.log(np.maximum(q, 1e-300)), np.ascontiguousarray(r.T)
        for (keep, drop), one in zip(pairs, changed, strict=True):
            of = np.flatnonzero(one[at])
            first, second = (assigned[c].take(row[of]) for c in (keep, drop))
            third, fourth = (assigned[c].take(column[of]) for c in (keep, drop))
            new = (first + second) * (third + fourth)
            new *= (1.0 - a) / sized(mass[keep] + mass[drop], self.n_rows, self.balance)
            new -= first * third * scale[keep] + second * fourth * scale[drop]
            costs.append(weight[of] @ (log_q[of] - np.log(np.maximum(new + q[of], 1e-300))))
        return costs

    def improved(self, r, G, pull=None, idle=None, held=None, *, far=False):
        """The assignments that minimise the bound at r; a further `pull` on them costs no cluster anything.

        Where rows are `idle` they follow the others, and so all sizes are in proportion to the others' sizes.  Rows
        that are `held` keep theirs.  Steps may go `far`, beyond that minimum, which mostly leads to a lower loss.
        """
        if isinstance(r, Lists):
            return self._improved_lists(r, *G, pull, held, far)
        mass = self.mass(r) if idle is None else np.maximum(self.size[~idle] @ r[~idle], SMALLEST)
        price = 0.5 * self.balance * G.sum(0) / mass
        G = G if pull is None else G + pull
        if not self.single:
            G = G / self.size[:, None]
        new = self._projected(G, price, r, far)
        if held is not None:
            new[held] = r[held]
        return new if idle is None else self.spread(new, idle)

    def _projected(self, G, price, r, far):
        """Rows on the simplex; see :func:`_project`."""
        if not self.compiled(r.shape[1]):
            return _project(G, price, r, far)
        from ..numerics.compiled import onto_simplex

        return onto_simplex(G, price, r, SMALLEST, available(), far)

    def _improved_lists(self, r, G, total, pull, held, far):
        from ..numerics.compiled import lists_onto_simplex

        price = 0.5 * self.balance * total / self.mass(r)
        pull = np.zeros_like(price) if pull is None else pull
        held = np.zeros(self.n, dtype=bool) if held is None else held
        return Lists(*lists_onto_simplex(G, price, pull, r.parts, held, self.size, r.least, far), r.least)

    def spread(self, r, idle):
        """The assignments, in which the idle rows have the shares of the clusters among the others."""
        r = r.copy()
        r[idle] = np.average(r[~idle], axis=0, weights=self.size[~idle])
        return r


def sized(size, n, balance):
    """s_c^b n^(1 - b), what the assignments to cluster c are divided by."""
    return size**balance * n ** (1.0 - balance)


def contraction(edges, labels, m, *, loops):
    """The graph between m groups of rows, by a compiled loop; see :func:`iconlearn.numerics.compiled.contracted`."""
    from ..numerics.compiled import contracted

    graph = edges.indptr, edges.indices, edges.data
    pointers, columns, weights = contracted(*graph, labels, m, available(), loops=loops)
    return sparse.csr_array((weights, columns, pointers), shape=(m, m))


def of_groups(edges, labels, m, *, loops, compiled):
    """As :func:`contraction`, or by products of matrices."""
    if compiled:
        return contraction(edges, labels, m, loops=loops)
    member = members(labels)
    graph = member.T @ edges @ member
    return graph if loops else without_loops(graph)


def without_loops(graph):
    """The positive weights between different rows."""
    graph = sparse.coo_array(graph)
    other = (graph.row != graph.col) & (graph.data > 0)
    return sparse.csr_array((graph.data[other], (graph.row[other], graph.col[other])), shape=graph.shape)


def joined(r, keep, drop):
    """Assignments where the second of two clusters has become a part of the first."""
    both = r.copy()
    both[:, keep] += both[:, drop]
    return np.delete(both, drop, axis=1)


def members(labels):
    """One column for each group."""
    n = len(labels)
    return sparse.csr_array((np.ones(n), (np.arange(n), labels)), shape=(n, int(labels.max()) + 1))


def _project(G, price, r, far=False):
    """r_ic = G_ic / (lambda_i + price_c) with rows on the simplex; or, `far`, 1.75 times as far from `r`.

    sum_c G_ic / (lambda + price_c) is convex and falling in lambda, so Newton's method from the left of
    the root climbs to it without overshooting.  Prices count from the lowest of a row: beside them its G may be
    so small that lambda + price_c would be nothing but rounding.
    """
    # Sums over few clusters take less where those of a row are apart and those of a cluster together.
    G, price = np.ascontiguousarray(G.T), price[:, None]
    price = np.maximum(price - np.where(G > 0, price, np.inf).min(axis=0, initial=price.max()), 0.0)
    some, lam = G.max(axis=0) > 0, (G - price).max(axis=0)
    active = np.flatnonzero(some)
    own, paid, root = G[:, active], price[:, active], lam[active]
    for _ in range(60):
        if not len(active):
            break
        over = 1.0 / np.maximum(root + paid, 1e-300)
        ratio = own * over
        excess = ratio.sum(axis=0) - 1.0
        ratio *= over
        root += excess / ratio.sum(axis=0)
        lam[active] = root
        on = np.abs(excess) > 1e-12
        if not on.all():
            active, own, paid, root = active[on], own[:, on], paid[:, on], root[on]
    new = np.ascontiguousarray((G / np.maximum(lam + price, 1e-300)).T)
    if far:
        grown = np.sqrt(new / np.maximum(r, SMALLEST))
        new *= grown * np.sqrt(grown)
    new = np.maximum(new, SMALLEST)
    new /= new.sum(1, keepdims=True)
    new[~some] = r[~some]
    return new
