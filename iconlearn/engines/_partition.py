"""A free assignment table under the shared-cluster kernel, refined by majorise-minimise steps.

    minimise  - sum_ij w_ij log q_ij,     q_ij = (1 - a) sum_c r_ic r_jc / s_c + a / n,     s_c = sum_k r_kc

Let g_ijc = (1 - a) (r_ic r_jc / s_c) / q_ij be the share of q that cluster c explains.  Jensen's inequality
on the sum over c bounds the loss from above, and the bound is minimised in closed form by

    r_ic = G_ic / (lambda_i + B_c / s_c),     G_ic = sum_j (w_ij + w_ji) g_ijc,     B_c = sum_ij w_ij g_ijc

with lambda_i the root that makes row i sum to one.  So the loss falls in every step, without a step size.
A balance b < 1 of q puts s_c^b n^(1 - b) in the place of s_c; the bound then has b B_c log s_c where it had
B_c log s_c, still concave in s_c, and so the price of cluster c is b B_c / s_c.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy import sparse

from .._checks import check_number
from ..numerics.threads import MANY_POINTS, available
from ..optim import History, Solution
from ._agglomeration import members, sized
from ._base import Engine

__all__ = ["PairWeights", "Partition", "assign", "refine", "refined", "soften"]

# What records call these steps.
PHASE = "partition"

# Numbers that are held at a time in sums over pairs and clusters.
BLOCK = 2**21
SMALLEST = 1e-12
# Share of a row that a soft start leaves to the other clusters.
DOUBT = 0.1


class Partition(Engine):
    """Solves a table of soft assignments under the cluster kernel and KL, without gradients.

    Parameters
    ----------
    max_exact : int, default=512
        Up to this many rows a uniform share on p is summed over all pairs; beyond it over random columns.
    n_off : int, default=32
        Random columns per row that stand for the uniform share, drawn once per fit.
    """

    solves = True

    def __init__(self, max_exact=512, *, n_off=32):
        self.max_exact = max_exact
        self.n_off = n_off

    def refuses(self, problem):
        check_number("max_exact", self.max_exact, low=0, integer=True)
        check_number("n_off", self.n_off, low=1, integer=True)
        if not getattr(problem.q, "shared_clusters", False):
            return "the partition engine solves the cluster kernel only; use engine='dense' for other q"
        if problem.rows.inputs is not None:
            return (
                "the partition engine needs mapper='table'; use engine='dense' or 'minibatch' for a network"
            )
        if problem.q.normalize != "self" or problem.q.degree_weighted:
            return "the partition engine needs Cluster(normalize='self', degree_weighted=False)"
        if problem.q.mass_momentum > 0:
            return "the partition engine sees all rows at once; use engine='minibatch' for mass_momentum > 0"
        if not problem.tied:
            return "the partition engine needs a p whose columns are the rows; use engine='dense' for other p"
        if not problem.divergence.linear_in_log_q:
            return "the partition engine minimises KL only; use engine='dense' for other divergences"
        if problem.p.dense:
            return "the partition engine needs a sparse p; give p a finite n_neighbors, or use engine='dense'"
        return super().refuses(problem)

    def solve(self, objective, *, max_iter, tol, rng, callback=None, report=None) -> Solution:
        """Refine the table of `objective` in place; the start is what the table holds."""
        graph = self.graph(objective.problems, rng)
        table = objective.problems[0].rows.mapper.places
        r = torch.softmax(table.detach().double(), 1).cpu().numpy()
        entropy = sum(problem.weight * problem.entropy() for problem in objective.problems)
        r, solution = refine(
            graph, r, max_iter=max_iter, tol=tol, offset=-entropy, callback=callback, report=report
        )
        with torch.no_grad():
            table.copy_(torch.as_tensor(np.log(np.maximum(r, SMALLEST))))
        return solution

    def graph(self, problems, rng) -> PairWeights:
        """The weights w of all terms together."""
        n = problems[0].p.n_rows
        debias = _shared("debias", problems)
        balance = _shared("balance_", problems)
        total, floor = sparse.csr_array((n, n)), np.zeros(n)
        for problem in problems:
            mass = problem.weight * problem.p.row_mass
            total = total + sparse.diags(mass * (1.0 - problem.p.uniform)) @ problem.p.sparse()
            floor += mass * problem.p.uniform
        if floor.any() and n > self.max_exact:
            cols = rng.randint(n, size=n * self.n_off)
            pointers = np.arange(0, n * self.n_off + 1, self.n_off)
            values = np.repeat(floor / self.n_off, self.n_off)
            total, floor = total + sparse.csr_array((values, cols, pointers), shape=(n, n)), np.zeros(n)
        return PairWeights(total, floor / n, debias, balance=balance)


def _shared(name, problems):
    """The one value that a parameter of q has in all terms."""
    values = {getattr(problem.q, name) for problem in problems}
    if len(values) > 1:
        raise ValueError(
            f"all terms must share one {name.rstrip('_')} of q in the partition engine, got {sorted(values)}"
        )
    return values.pop()


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

    Notes
    -----
    The constant part costs all pairs.  :meth:`grouped` lets it see the mean assignments of groups instead.
    """

    def __init__(self, edges, floor, debias, size=None, balance=1.0):
        edges = sparse.csr_array((edges + edges.T) * 0.5)
        edges.sum_duplicates()
        self.edges, self.floor, self.debias, self.n = edges, floor, debias, edges.shape[0]
        self.size, self.single = (np.ones(self.n), True) if size is None else (size, False)
        self.balance = balance
        self.group, self.group_floor, self.group_size = None, floor, self.size
        self.n_rows = self.size.sum()
        # What a row weighs on average.
        self.unit = edges.sum() / self.n_rows or 1.0
        self.many = self.n_rows >= MANY_POINTS
        self.row = np.repeat(np.arange(self.n), np.diff(edges.indptr))

    def coarsened(self, labels):
        """The weights between groups of rows, numbered without gaps: the same loss, where a group is of one mind."""
        m = int(labels.max()) + 1
        member = members(labels)
        size = np.bincount(labels, self.size, m)
        edges, floor = member.T @ self.edges @ member, np.bincount(labels, self.floor, m)
        return PairWeights(edges, floor, self.debias, size, self.balance)

    def balanced(self, balance):
        """The same weights under another balance."""
        other = copy.copy(self)
        other.balance = balance
        return other

    def cut(self, labels):
        """Share of the mass of the edges that runs between groups of rows."""
        apart = labels[self.row] != labels[self.edges.indices]
        return self.edges.data[apart].sum() / (self.edges.sum() or 1.0)

    def grouped(self, labels):
        """The same, but the constant part sees groups (numbered without gaps) by their mean assignments.

        - log q is convex in what a row is assigned, so the loss is no larger than without groups, and the same
        where a group is of one mind; Jensen's inequality once more keeps every step's bound.
        """
        self.group = labels
        self.group_floor, self.group_size = np.bincount(labels, self.floor), np.bincount(labels, self.size)
        return self

    def among(self, rows):
        """The weights among some of the rows."""
        edges = self.edges[rows][:, rows]
        return PairWeights(edges, self.floor[rows], self.debias, self.size[rows], self.balance)

    def mass(self, r):
        """s_c, the rows of each cluster."""
        return np.maximum(self.size @ r, SMALLEST)

    def explained(self, r):
        """G (rows x clusters) and the loss at r."""
        a, edges = self.debias, self.edges
        right = r / sized(self.mass(r), self.n_rows, self.balance)
        if self.many:
            from ..numerics.compiled import explained_by_clusters

            G, loss = explained_by_clusters(
                r, right, edges.indptr, edges.indices, edges.data, a, a / self.n_rows, available()
            )
        else:
            G, loss = self._explained(r, right)
        if self.floor.any():
            pulled, more = self._by_floor(r, right)
            G, loss = G + 2.0 * (1.0 - a) * right * pulled, loss + more
        return G, loss

    def _explained(self, r, right):
        """The part of the edges."""
        a, loss, shares = self.debias, 0.0, np.empty_like(self.edges.data)
        step = max(1, BLOCK // r.shape[1])
        for start in range(0, len(shares), step):
            part = slice(start, start + step)
            q = np.einsum("ec,ec->e", r[self.row[part]], right[self.edges.indices[part]])
            q = (1.0 - a) * q + a / self.n_rows
            np.maximum(q, 1e-300, out=q)
            shares[part] = self.edges.data[part] / q
            loss -= self.edges.data[part] @ np.log(q)
        pulled = sparse.csr_array((shares, self.edges.indices, self.edges.indptr), shape=self.edges.shape) @ r
        return 2.0 * (1.0 - a) * right * pulled, loss

    def _by_floor(self, r, right):
        """The constant part, over all pairs by blocks."""
        a, loss, floor, size = self.debias, 0.0, self.group_floor, self.group_size
        if self.group is not None:
            share = members(self.group).T * (self.size / size[self.group])
            r, right = share @ r, share @ right
        pulled = np.empty_like(r)
        step = max(1, BLOCK // len(r))
        for start in range(0, len(r), step):
            part = slice(start, start + step)
            q = (1.0 - a) * (r[part] @ right.T) + a / self.n_rows
            np.maximum(q, 1e-300, out=q)
            weight = 0.5 * (np.outer(floor[part], size) + np.outer(size[part], floor))
            loss -= (weight * np.log(q)).sum()
            pulled[part] = (weight / q) @ r
        return pulled if self.group is None else share.T @ pulled, loss

    def improved(self, r, G, pull=None):
        """The assignments that minimise the bound at r; a further `pull` on them costs no cluster anything."""
        price = 0.5 * self.balance * G.sum(0) / self.mass(r)
        G = G if pull is None else G + pull
        if not self.single:
            G = G / self.size[:, None]
        if self.many:
            from ..numerics.compiled import onto_simplex

            return onto_simplex(G, price, r, SMALLEST, available())
        return _project(G, price, r)


def refine(graph, r, *, max_iter, tol, offset=0.0, held=None, beliefs=None, callback=None, report=None):
    """Majorise-minimise from the assignments `r`.

    Parameters
    ----------
    graph : PairWeights
    r : ndarray of shape (n, n_clusters)
        Rows sum to one.
    max_iter : int
    tol : float
        Stop when an iteration improves the loss by less than ``tol * |loss|``.
    offset : float
        Added to the loss (minus the entropy of p, to report a divergence).
    held : ndarray of bool or None
        Rows that keep their assignments.
    beliefs : Beliefs or None
        Further terms of the loss, which speak of assignments without pairs.
    callback, report
        As in :func:`iconlearn.optim._loop.minimise`.

    Returns
    -------
    r : ndarray
    solution : Solution
    """
    history, reason = History(callback, report), "max_iter"
    losses, best_r = history.losses, r
    try:
        while len(losses) < max_iter:
            G, loss = graph.explained(r)
            pull, cost = (None, 0.0) if beliefs is None else beliefs.explained(r, graph)
            loss += offset + cost
            best_r = r
            if history.add(loss, PHASE):
                reason = "callback"
                break
            if len(losses) > 5 and losses[-2] - loss <= tol * abs(loss - offset):
                reason = "plateau"
                break
            new = graph.improved(r, G, pull)
            if held is not None:
                new[held] = r[held]
            r = new
    except KeyboardInterrupt:
        reason = "interrupted"
    return best_r, history.solution(reason)


def refined(graph, r, *, max_iter, tol, **fixed):
    """:func:`refine` as a part of something longer, which Ctrl-C ends; the assignments and their loss."""
    r, solution = refine(graph, r, max_iter=max_iter, tol=tol, **fixed)
    if solution.reason == "interrupted":
        raise KeyboardInterrupt
    return r, solution.loss


def soften(labels, n_clusters):
    """Assignments that leave every row a little doubt."""
    r = np.full((len(labels), n_clusters), DOUBT / max(n_clusters - 1, 1))
    r[np.arange(len(labels)), labels] = 1.0 - DOUBT if n_clusters > 1 else 1.0
    return r


def assign(p, r, n_iter=200, tol=1e-10, *, debias=0.0, balance=1.0):
    """Assignments of new rows, given p of the new rows over the training rows and their assignments r.

    Each row minimises - sum_j p_j log[ (1 - a) sum_c t_c r_jc / s_c^b n^(1 - b) + a / n ] over the simplex: a
    mixture with known components, of which the last keeps its share a, solved by expectation-maximisation from
    the uniform start, every row on its own.  The sum is over the support of p.
    """
    n = len(r)
    right = (1.0 - debias) * r / sized(np.maximum(r.sum(0), SMALLEST), n, balance)
    edges, n_clusters = p.sparse(), r.shape[1]
    out = np.tile(r.mean(0), (edges.shape[0], 1))
    degree = np.diff(edges.indptr)
    step = max(1, BLOCK // (n_clusters * max(degree.max(initial=1), 1)))
    for start in range(0, edges.shape[0], step):
        rows = np.arange(start, min(start + step, edges.shape[0]))
        rows = rows[degree[rows] > 0]
        if len(rows):
            weight, cols = _padded(edges, rows, degree[rows])
            out[rows] = _mixture(weight, right[cols], debias / n, n_iter, tol)
    return out


def _padded(edges, rows, degree):
    """Weights and columns of some rows as rectangles; the padding weighs nothing."""
    slot = np.arange(degree.max())
    place = edges.indptr[rows][:, None] + np.minimum(slot, degree[:, None] - 1)
    return np.where(slot < degree[:, None], edges.data[place], 0.0), edges.indices[place]


def _mixture(weight, likelihood, floor, n_iter, tol):
    """Expectation-maximisation for the proportions of each row; (rows, k) and (rows, k, clusters)."""
    t = np.full((len(weight), likelihood.shape[2]), 1.0 / likelihood.shape[2])
    active = np.arange(len(weight))
    for _ in range(n_iter):
        mixed = np.maximum((likelihood[active] * t[active, None, :]).sum(2) + floor, 1e-300)
        new = t[active] * ((weight[active] / mixed)[:, :, None] * likelihood[active]).sum(1)
        new /= new.sum(1, keepdims=True)
        moved = np.abs(new - t[active]).max(1)
        t[active] = new
        active = active[moved > tol]
        if not len(active):
            break
    return t


def _project(G, price, r):
    """r_ic = G_ic / (lambda_i + price_c) with rows on the simplex.

    sum_c G_ic / (lambda + price_c) is convex and falling in lambda, so Newton's method from the left of
    the root climbs to it without overshooting.  Prices count from the lowest of a row: beside them its G may be
    so small that lambda + price_c would be nothing but rounding.
    """
    price = np.maximum(
        price - np.where(G > 0, price, np.inf).min(axis=1, keepdims=True, initial=price.max()), 0.0
    )
    low = (G - price).max(axis=1)
    lam = low.copy()
    active = np.flatnonzero(G.max(axis=1) > 0)
    for _ in range(60):
        over = 1.0 / np.maximum(lam[active, None] + price[active], 1e-300)
        ratio = G[active] * over
        excess = ratio.sum(1) - 1.0
        lam[active] += excess / (ratio * over).sum(1)
        active = active[np.abs(excess) > 1e-12]
        if not len(active):
            break
    new = np.maximum(G / np.maximum(lam[:, None] + price, 1e-300), SMALLEST)
    new /= new.sum(1, keepdims=True)
    still = G.max(axis=1) <= 0
    new[still] = r[still]
    return new
