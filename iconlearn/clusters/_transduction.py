"""Classes of unlabelled rows: an assignment table under the shared-class kernel, its labelled rows held.

    minimise  sum_t weight_t sum_i mass_ti KL( p(.|i) || q(.|i) ) + beliefs,     q(j|i) = sum_c r_ic r_jc / sum_k r_kc

The loss has many local optima and labels alone do not lead past them, so several starts are tried on a coarse
graph: labels that walk for a short and for a long time, and the clusters that a search without labels finds,
matched to classes, provided that the labels agree with them.  The match is the most likely one, by the clusters of the
labels' neighbours and by those where walks from the labels end; a class's only label may lie in the cluster of another.
Pairs of what starts lead to are crossed: the mean of both is undecided where they differ, and a descent from it
decides there, with all else in place.  The loss chooses, starts before crossings where these gain little: which cluster
is which class changes the loss by the edges of the labels alone, less than two descents over the same clusters differ.

Beliefs about assignments before any pair of rows is looked at are further terms of the loss:

    b_1 mean_i u_i KL( h_i || r_i )     h_i: the prediction of a classifier of the features for row i
    b_2 KL( pi || mean_i r_i )          pi: the proportions of the classes

Neither needs a step of its own: -log r_ic is in the form of the bound already, and Jensen's inequality over the
rows puts - log sum_i r_ic into it, with weights r_ic / s_c.  So the sum still falls in every step.  An opinion counts
by its certainty, u_i = 1 - H(h_i) / log n_clusters: one that barely favours any class would otherwise hold
its row back from the class of its neighbours.

References
----------
Zhou et al., "Learning with local and global consistency", NIPS 2003; Zhu, Ghahramani and Lafferty,
"Semi-supervised learning using Gaussian fields and harmonic functions", ICML 2003 (class mass normalisation).
"""

from __future__ import annotations

from functools import partial
from itertools import combinations

import numpy as np
from scipy import sparse
from scipy.optimize import linear_sum_assignment
from scipy.special import xlogy

from ..numerics.graphs import parts_of_graph
from ._lists import Lists
from ._microclusters import FEW_ROWS, NODES_PER_CLUSTER, coarsen, merge_smallest, micro_clusters
from ._refine import refine, refined, soften
from ._search import MUCH_LESS, search
from ._weights import SMALLEST

# Chances that a walk from a row to a label goes on: 10 and 100 steps on average.
KEEP = (0.9, 0.99)
# What may be left of walks, as a share of every score, and after how many steps each time that is looked at.
LEFT, STRIDE = 0.01, 10
# Share of the labels that must lie in the cluster of their class before clusters can be a start.
# The first merges, before they are crossed and split, may fall short of it by so much, and by no more than the labels
# of one class: crossings and splits put single clusters right, and among many classes none of these holds a tenth.
AGREE, LATER = 0.8, 0.1
# Chance that a walk from a label ends in a cluster, at least.
RARELY = 1e-3
# Merges and rounds of the search for clusters, and steps after which starts are compared.
N_SEARCH, N_RANK = 12, 150
# Crossings of what starts lead to: so many of the best with each other, once and then once more.  They are taken where
# they lower the loss by more than such a share.
PARENTS, CLEARLY = (5, 4), 1e-3
# The least that a logarithm is taken of.
LEAST = 1e-300


def transduce(
    graph, codes, targets, beliefs, rng, *,
    exact, first, start=None, loose=None, max_iter, tol, offset=0.0, observe=None,
):  # fmt: skip
    """Assignments of all rows.

    Parameters
    ----------
    graph : PairWeights
        Those of the loss.
    codes : ndarray of int of shape (n,)
        Class of each row, -1 where it is unknown.
    targets : ndarray of shape (n_classes, n_classes)
        What the rows of each class are held at.
    beliefs : dict
        What :class:`Beliefs` takes, for all rows.
    rng : RandomState
    exact : PairWeights
        The same without random columns for a uniform share: its edges connect rows.
    first : PairWeights
        Those by which starts are ranked.
    start : ndarray of shape (n, n_classes) or None
        Where to begin; None searches.
    loose : float or None
        A weaker balance that a search may take in the place of the graph's own.
    max_iter, tol, offset, observe
        As in :func:`refine`.

    Returns
    -------
    r : ndarray of shape (n, n_classes)
    reached : ndarray of bool of shape (n,)
        Rows that edges connect to a label, perhaps through others; the rest have the prior.
    balance : float
        What it was found under.
    descent : Descent
    """
    reached = _reached(exact.edges, codes)
    everywhere = bool(reached.all())
    graph = graph if everywhere else graph.among(reached)
    codes, held = codes[reached], codes[reached] >= 0
    beliefs = {k: v[reached] if k == "opinions" and v is not None else v for k, v in beliefs.items()}
    pins = _pinned(codes, targets)
    if start is None:
        first = first if everywhere else first.among(reached)
        begun, balance = _best_start(first, codes, targets, beliefs["proportions"], rng, tol, loose)
        graph = graph.balanced(balance)
    else:
        begun = np.maximum(start[reached], SMALLEST)
    begun[held] = pins

    def completed(found):
        prior = found.mean(axis=0) if beliefs["proportions"] is None else beliefs["proportions"]
        r = np.empty((len(reached), len(targets)))
        r[reached], r[~reached] = found, prior
        return r

    found, descent = refine(
        graph, begun, max_iter=max_iter, tol=tol, offset=offset, held=held, beliefs=Beliefs(**beliefs),
        observe=None if observe is None else lambda loss, part: observe(loss, lambda: completed(part())),
    )  # fmt: skip
    return completed(found), reached, graph.balance, descent


def _reached(edges, codes):
    part = parts_of_graph(edges)
    labelled = np.zeros(part.max() + 1, dtype=bool)
    labelled[part[codes >= 0]] = True
    return labelled[part]


def _pinned(codes, targets):
    return np.maximum(targets[codes[codes >= 0]], SMALLEST)


def _best_start(graph, codes, targets, proportions, rng, tol, loose):
    """The start of the lowest loss on a graph of micro-clusters whose labelled rows are of one class, and its balance.

    The weaker balance is taken where it cuts some classes much less and none more.  What is cut is measured for each
    class as a share of its own edges: under a weak pull towards equal sizes a class may be its labelled rows and no
    others, which cuts few edges but nearly all of its own.
    """
    n_classes = len(targets)
    micro = micro_clusters(graph, n_classes, rng)
    first, node = np.unique(micro * (n_classes + 1) + codes + 1, return_index=True, return_inverse=True)[1:]
    coarse, known = graph.coarsened(node), codes[first]
    held, n_labels = known >= 0, np.bincount(node[codes >= 0], minlength=len(first))
    pins, beliefs = _pinned(known, targets), Beliefs(proportions=proportions)
    walks = _walks(coarse, known, n_labels, targets)
    starts = list(_starts(coarse, known, n_labels, walks, proportions, rng, tol))

    def descent(graph, begun):
        begun[held] = pins
        return refined(graph, begun, max_iter=N_RANK, tol=tol, held=held, beliefs=beliefs)

    def ends(graph, starts):
        return [descent(graph, soften(scores.argmax(axis=1), n_classes)) for scores in starts]

    found, balance = _crossed(ends(coarse, starts), partial(descent, coarse)), graph.balance
    if loose is not None and loose < balance:
        other = min(ends(coarse.balanced(loose), starts + [_of_rows(walk) for walk in walks]), key=_loss)[0]
        before, after = (coarse.cuts(r.argmax(axis=1), n_classes) for r in (found, other))
        if (after <= before).all() and (after < MUCH_LESS * before).any():
            found, balance = other, loose
    return found[node], balance


def _loss(end):
    return end[1]


def _crossed(ends, descent):
    """Assignments of the lowest loss among these, or what crossings of them lead to where its loss is clearly lower."""
    best, ends, pairs = min(ends, key=_loss), list(ends), set()
    for n_parents in PARENTS:
        parents = sorted(range(len(ends)), key=lambda k: ends[k][1])[:n_parents]
        new = [pair for pair in combinations(sorted(parents), 2) if pair not in pairs]
        pairs.update(new)
        ends += [descent(0.5 * (ends[one][0] + ends[other][0])) for one, other in new]
    other = min(ends, key=_loss)
    return (other if _loss(best) - _loss(other) > CLEARLY * abs(_loss(best)) else best)[0]


def _walks(coarse, known, n_labels, targets):
    """Where the labels of the nodes, each of so many rows, walk for a short and for a long time."""
    labels = np.zeros((len(known), len(targets)))
    labels[known >= 0] = targets[known[known >= 0]] * n_labels[known >= 0, None]
    return [_walked(coarse.edges, labels, keep) for keep in KEEP]


def _starts(coarse, known, n_labels, walks, proportions, rng, tol):
    """Scores of the nodes by labels that walk, and by clusters that agree with them."""
    held, n_classes = known >= 0, walks[0].shape[1]
    for walk in walks:
        scores = _of_rows(_even(walk, coarse.size))
        yield scores if proportions is None else scores * proportions
    if coarse.n <= n_classes:
        return
    counts = np.bincount(known[held], n_labels[held], n_classes)
    near = (coarse.edges[held].T * n_labels[held]) @ np.eye(n_classes)[known[held]]
    # Walks are reversible: from a label of each class to each node, but for a factor.
    far = np.asarray(coarse.edges.sum(axis=1)).ravel()[:, None] * walks[0]

    def matched(clusters):
        """The most likely cluster of each class, and the share of the labels that lie in it."""
        likelihood = sum(_log_chances(ends.T @ clusters) for ends in (near, far))
        of_class = linear_sum_assignment(-counts[:, None] * likelihood)[1]
        at_home = clusters[held].argmax(axis=1) == of_class[known[held]]
        return of_class, n_labels[held] @ at_home / n_labels.sum()

    def promising(clusters):
        return matched(clusters)[1] >= AGREE - min(LATER, 1.0 / n_classes)

    group = _groups(coarse, n_classes, rng)
    clusters = search(
        coarse.coarsened(group), n_classes, N_SEARCH, rng, tol, promising=lambda r: promising(r[group])
    )
    clusters = refined(coarse, clusters[group], max_iter=N_RANK, tol=tol)[0]
    of_class, share = matched(clusters)
    if share >= AGREE:
        yield clusters[:, of_class]


def _log_chances(weights):
    chances = weights / np.maximum(weights.sum(axis=1, keepdims=True), LEAST)
    return np.log(np.maximum(chances, RARELY))


def _groups(coarse, n_classes, rng):
    """The group of each node in a search for clusters, which a descent over all nodes follows."""
    n_groups = max(coarse.n // 4, NODES_PER_CLUSTER * n_classes)
    if coarse.n <= max(n_groups, FEW_ROWS):
        return np.arange(coarse.n)
    return merge_smallest(coarsen(coarse.edges, n_groups, rng, coarse.size), coarse.size, n_groups)


def propagate(edges, targets, keep, size=None, *, even=True):
    """Class scores of every row by labels that walk along a graph.

        F <- keep * W F + (1 - keep) * Y,        w_ij the symmetric weights, rows of W summing to one

    F_ic is the chance, up to a factor, that a walk from row i, which stops with probability 1 - keep after every
    step, stops at a label of class c.  Rows sum to one, and are zero where no label reaches them.

    Parameters
    ----------
    edges : csr_array of shape (n, n)
        Symmetric weights.
    targets : ndarray of shape (n, n_classes)
        Y, rows of the unlabelled zero.
    keep : float in (0, 1)
        Chance that the walk goes on; it takes 1 / (1 - keep) steps on average.
    size : ndarray of shape (n,) or None
        How many rows each of these stands for; None is one.
    even : bool, default=True
        Whether columns are divided by their sums at the end, so that a class whose labels lie in a dense part of the
        graph gets no more rows for it.

    Returns
    -------
    scores : ndarray of shape (n, n_classes)
    """
    scores = _walked(edges, targets, keep)
    return _of_rows(_even(scores, np.ones(len(scores)) if size is None else size) if even else scores)


def _walked(edges, targets, keep):
    degree = np.asarray(edges.sum(axis=1)).ravel()
    walk = sparse.diags(1.0 / np.where(degree > 0, degree, 1.0)) @ edges
    scores, stopping = targets, (1.0 - keep) * targets
    # After so many steps all but a hundredth of the walks have stopped, or none that goes on would change more.
    for step in range(1, int(np.ceil(np.log(LEFT) / np.log(keep))) + 1):
        before, scores = scores, keep * (walk @ scores) + stopping
        if step % STRIDE == 0 and (np.abs(scores - before) <= LEFT * (1.0 - keep) * scores).all():
            break
    return scores


def _even(scores, size):
    return scores / np.maximum(size @ scores, LEAST)


def _of_rows(scores):
    total = scores.sum(axis=1, keepdims=True)
    return np.divide(scores, total, out=np.zeros_like(scores), where=total > 0)


class Beliefs:
    """Terms of a loss over assignments that involve no pairs.

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
        r : ndarray of shape (n, n_clusters) or Lists
            Lists only where there are no opinions.
        graph : PairWeights
            Has how many rows each of these stands for.

        Returns
        -------
        pull : ndarray of shape (n, n_clusters)
            Of lists of shape (n_clusters,): over each assignment and the rows that its row stands for.
        cost : float
        """
        if isinstance(r, Lists):
            return self._expected(graph.mass(r), graph)
        pull, cost = np.zeros_like(r), 0.0
        if self.opinions is not None:
            weight = self.opinion_weight / graph.n_rows * graph.size[:, None] * _said(self.opinions)
            pull += weight * self.opinions
            cost += _divergence(weight * self.opinions, weight * r)
        pulled, more = self._expected(graph.mass(r), graph)
        return pull + pulled * r * graph.size[:, None], cost + more

    def _expected(self, mass, graph):
        """The pull of the proportions on each cluster, and what they cost."""
        if self.proportions is None:
            return np.zeros_like(mass), 0.0
        weight = self.proportion_weight
        return weight * self.proportions / mass, weight * _divergence(self.proportions, mass / graph.n_rows)


def _said(opinions):
    """1 - H(h_i) / log n_clusters of every row, as a column."""
    entropy = -xlogy(opinions, opinions).sum(axis=1, keepdims=True)
    return np.clip(1.0 - entropy / np.log(opinions.shape[1]), 0.0, 1.0)


def _divergence(p, q):
    """sum p log(p / q)."""
    return float((p * (np.log(np.maximum(p, LEAST)) - np.log(np.maximum(q, LEAST)))).sum())
