"""Classes of unlabelled rows: an assignment table under the shared-class kernel, its labelled rows held.

    minimise  sum_t weight_t sum_i mass_ti KL( p(.|i) || q(.|i) ),     q(j|i) = sum_c r_ic r_jc / sum_k r_kc

The loss has many local optima and labels alone do not lead past them, so several starts are tried on a coarse
graph: labels that walk for a short and for a long time, and the clusters that a search without labels finds,
matched to classes, provided that the labels agree with them.  Clusters are matched by the labels in them and by
where walks from the labels end: of two classes whose only labels lie in one cluster, walks tell which it belongs to.
The loss decides.
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse.csgraph import connected_components

from ..engines import Beliefs, Partition, propagated, refine, refined, soften
from ._search import micro_clusters, searched

__all__ = ["transduced"]

# Chances that a walk from a row to a label goes on: 10 and 100 steps on average.
KEEP = (0.9, 0.99)
# Share of the labels that must lie in the cluster of their class before clusters can be a start.
AGREE = 0.8
# Merges and rounds of the search for clusters, and steps after which starts are compared.
N_SEARCH, N_RANK = 12, 150
# No assignment is less, so that the loss stays finite.
SMALLEST = 1e-12


def transduced(problems, codes, targets, beliefs, engine, rng, *, max_iter, tol, start=None, **told):
    """Assignments of all rows.

    Parameters
    ----------
    problems : list of Problem
        Terms over the shared-class kernel; the first one is the graph that starts are ranked by.
    codes : ndarray of int of shape (n,)
        Class of each row, -1 where it is unknown.
    targets : ndarray of shape (n_classes, n_classes)
        What the rows of each class are held at.
    beliefs : dict
        What :class:`Beliefs` takes, for all rows.
    engine : Partition
    rng : RandomState
    max_iter, tol
        As in :func:`refine`.
    start : ndarray of shape (n, n_classes) or None
        Where to begin; None searches.
    **told
        callback and report of :func:`refine`.

    Returns
    -------
    r : ndarray of shape (n, n_classes)
    reached : ndarray of bool of shape (n,)
        Rows that edges connect to a label, perhaps through others; the rest have the prior.
    solution : Solution
    """
    support = _support(problems)
    graph = support if not _has_share(problems) else engine.graph(problems, rng)
    reached = _reached(support.edges, codes)
    r = np.empty((len(codes), len(targets)))
    everywhere = bool(reached.all())
    if not everywhere:
        support, graph = support.among(reached), graph.among(reached)
    known, held = codes[reached], codes[reached] >= 0
    beliefs = {k: v[reached] if k == "opinions" and v is not None else v for k, v in beliefs.items()}
    pins = _pinned(known, targets)
    if start is None:
        ranking = support if len(problems) == 1 else _support(problems[:1])
        ranking = ranking if everywhere or len(problems) == 1 else ranking.among(reached)
        begun = _best_start(ranking, known, targets, beliefs["proportions"], rng, tol)
    else:
        begun = np.maximum(start[reached], SMALLEST)
    begun[held] = pins
    offset = -sum(problem.weight * problem.entropy() for problem in problems)
    found, solution = refine(
        graph, begun, max_iter=max_iter, tol=tol, offset=offset, held=held, beliefs=Beliefs(**beliefs), **told
    )
    prior = found.mean(axis=0) if beliefs["proportions"] is None else beliefs["proportions"]
    r[reached], r[~reached] = found, prior
    return r, reached, solution


def _support(problems):
    """The pair weights without any uniform share."""
    return Partition(max_exact=problems[0].p.n_rows).graph(problems, None)


def _has_share(problems):
    return any(problem.p.uniform > 0 for problem in problems)


def _reached(edges, codes):
    part = connected_components(edges, directed=False)[1]
    labelled = np.zeros(part.max() + 1, dtype=bool)
    labelled[part[codes >= 0]] = True
    return labelled[part]


def _pinned(codes, targets):
    return np.maximum(targets[codes[codes >= 0]], SMALLEST)


def _best_start(graph, codes, targets, proportions, rng, tol):
    """The start of the lowest loss on a graph of micro-clusters whose labelled rows are of one class."""
    n_classes = len(targets)
    micro = micro_clusters(graph, n_classes, rng)
    first, node = np.unique(micro * (n_classes + 1) + codes + 1, return_index=True, return_inverse=True)[1:]
    coarse, known = graph.coarsened(node), codes[first]
    held, n_labels = known >= 0, np.bincount(node[codes >= 0], minlength=len(first))
    pins = _pinned(known, targets)
    best, least = None, np.inf
    for scores in _starts(coarse, known, n_labels, targets, proportions, rng, tol):
        r = soften(scores.argmax(axis=1), n_classes)
        r[held] = pins
        r, loss = refined(
            coarse, r, max_iter=N_RANK, tol=tol, held=held, beliefs=Beliefs(proportions=proportions)
        )
        if loss < least:
            best, least = r, loss
    return best[node]


def _starts(coarse, known, n_labels, targets, proportions, rng, tol):
    """Scores of the nodes by labels that walk, and by clusters that agree with them."""
    held, n_classes = known >= 0, len(targets)
    labels = np.zeros((coarse.n, n_classes))
    labels[held] = targets[known[held]] * n_labels[held, None]
    walked = [propagated(coarse.edges, labels, keep, coarse.size) for keep in KEEP]
    for scores in walked:
        yield scores if proportions is None else scores * proportions
    if coarse.n <= n_classes:
        return
    clusters = searched(coarse, n_classes, N_SEARCH, rng, tol)
    votes = np.zeros((n_classes, n_classes))
    np.add.at(votes, known[held], n_labels[held, None] * clusters[held])
    by_votes = linear_sum_assignment(-votes)[1]
    if votes[np.arange(n_classes), by_votes].sum() < AGREE * n_labels.sum():
        return
    yield clusters[:, by_votes]
    tried = {tuple(by_votes)}
    for scores in walked:
        by_walk = linear_sum_assignment(-(coarse.size[:, None] * scores).T @ clusters)[1]
        if tuple(by_walk) not in tried:
            tried.add(tuple(by_walk))
            yield clusters[:, by_walk]
