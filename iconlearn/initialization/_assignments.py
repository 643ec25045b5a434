"""Assignments that a clustering begins with, and how they reach a table or a head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_array

from .._torch_state import as_array
from ..clusters import (
    k_means,
    number_of_nodes,
    pair_weights,
    partitions,
    rank,
    refined,
    search,
    search_balances,
    soften,
    with_groups,
)
from ..conditional import MAX_MATERIALISED, Conditional
from ..divergences import KL
from ..engines import Dense, write_table
from ..learned import Dot
from ..mappers import TableModule
from ..objective import Objective, Points, Problem

# Steps that refine the best starts.
N_REFINE = 150
# A uniform share of p is seen by so many groups of rows while starts are compared.
N_SHARING = 300
# How much of an assignment is spread over all clusters where gradients are to change it.
SHARE_OF_DOUBT = 0.1
# Lessons of a head: steps, and the fewest epochs of batches.
N_LESSONS, N_LESSONS_EPOCHS = 200, 5


def best_assignments(objective, engine, X, n_clusters, rng, *, init, n_init, tol, present_loss):
    """The best of several starts.

    Parameters
    ----------
    objective : Objective
    engine : Engine
        What follows; the start of one that solves by the same steps is not refined here.
    X : ndarray, sparse matrix or None
        Features, where there are any.
    n_clusters : int
    rng : RandomState
    init : str or ndarray of int of shape (n,)
    n_init : int
    tol : float
    present_loss : callable
        Gives the loss at what a table of the objective holds.

    Returns
    -------
    r : ndarray of shape (n, n_clusters)
    weights : PairWeights or None
        Of all terms, where the start was found by them.
    """
    main = objective.problems[0]
    terms = [term for term in objective.problems if _is_graph(term)]
    if main.divergence.reverse and terms and terms[0] is main:
        tried = _tried(main.p, X, n_clusters, rng, init, n_init)
        if main.rows.inputs is not None or _only_one(init, n_init):
            return next(tried), None
        return min(tried, key=lambda r: _loss_from(r, objective, engine, rng, tol, present_loss)), None
    if not terms or any(term.p.dense and term.n_pairs > MAX_MATERIALISED for term in terms):
        # Such a p cannot be held as a graph, or there is none: k-means is the start, and there is nothing to rank.
        labels = init if not isinstance(init, str) else k_means(X, n_clusters, rng)
        return soften(labels, n_clusters), None
    free = all(q.balance == "auto" and q.normalize == "self" for q in _shared(objective))
    kl = all(problem.divergence.linear_in_log_q for problem in objective.problems)
    # p as edges and KL, by which starts are searched.
    terms = [replace(term, p=term.p.with_edges(), divergence=KL()) for term in terms]
    weights = pair_weights(terms)
    if isinstance(init, str) and init == "agglomerate":
        starts = [_searched(weights, objective, n_clusters, n_init, rng, tol, free, kl)]
        weights = weights.balanced(_balance(objective))
    else:
        tried = partitions(init, n_init, X, terms[0].p.sparse(), n_clusters, rng)
        if _only_one(init, n_init):
            starts = [soften(labels, n_clusters) for labels in tried]
        else:
            starts = rank(with_groups(weights, N_SHARING, rng), tried, n_clusters)
    if len(starts) == 1 and engine.solves:
        return starts[0], weights  # the engine takes these very steps itself
    compared = with_groups(weights, N_SHARING, rng)
    ended = [refined(compared, r, max_iter=N_REFINE, tol=max(tol, 1e-7)) for r in starts]
    return min(ended, key=lambda found: found[1])[0], weights


def _searched(weights, objective, n_clusters, n_init, rng, tol, free, kl):
    """The best start of all, and with it the balance where none is given.

    Rows of q under a weaker balance sum to less than one, which KL alone allows; another divergence begins there and
    goes on with a balance of 1.
    """

    def find(graph):
        given = graph, n_clusters, n_init, rng, tol
        return search_balances(*given) if free else (search(*given),)

    r, *chosen = weights.found(find, number_of_nodes(weights.n_all, n_clusters), rng)
    if chosen and kl:
        balance, candidates = chosen
        for q in _shared(objective):
            q.balance_, q.candidates_ = balance, candidates
    return r


def _is_graph(term):
    """Whether a term's p is one of pairs of rows, which lists of candidates are not."""
    return term.q.shared_clusters and term.tied and not term.fresh and not term.p.listed


def _shared(objective):
    return [problem.q for problem in objective.problems if problem.q.shared_clusters]


def _balance(objective):
    return _shared(objective)[0].balance_


def _tried(p, X, n_clusters, rng, init, n_init):
    """Starts for divergences that run from q to p; a loss that runs from p to q does not rank them."""
    points, edges = p.quadratic, p.graph
    X = X if points is None else points[0]
    if edges is None and (X is None or (isinstance(init, str) and init in ("agglomerate", "spectral"))):
        edges = p.sparse()
    return (soften(labels, n_clusters) for labels in partitions(init, n_init, X, edges, n_clusters, rng))


def _loss_from(r, objective, engine, rng, tol, present_loss):
    """The loss some steps after assignments r where the engine solves, else the one at r."""
    write_table(objective.problems[0].rows.mapper, r)
    if not engine.solves:
        return present_loss()
    return engine.solve(objective, max_iter=N_REFINE, tol=tol, rng=rng).loss


def _only_one(init, n_init):
    """Whether there is but one start, with which none is to be compared."""
    return not isinstance(init, str) or n_init == 1


def checked_labels(init, n_rows, n_clusters):
    """Labels that a user gives for a start, as an array."""
    labels = np.asarray(as_array(init))
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.ravel()
    if labels.ndim != 1 or labels.dtype.kind not in "biuf":
        kind = f"an array of shape {labels.shape}" if labels.ndim else f"a {type(init).__name__}"
        raise ValueError(
            f"init is {kind}; it must be 'agglomerate', 'kmeans', 'k-means++', 'spectral', 'random', or the cluster of "
            f"every row, {n_rows} integers from 0 to n_clusters - 1 = {n_clusters - 1}; for centres give the number of "
            f"the nearest one"
        )
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or len(labels) != n_rows or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(
            f"init must be a name or n_samples={n_rows} integers from 0 to n_clusters - 1 = {n_clusters - 1}, "
            f"got {len(labels)} values of type {labels.dtype}"
        )
    return labels


def doubtful(r, n_clusters):
    """Assignments with a share that is spread over all clusters: where they are certain, a softmax has no slope."""
    return (1.0 - SHARE_OF_DOUBT) * r + SHARE_OF_DOUBT / n_clusters


def lesson(rows, r, engine, *, dtype, device):
    """What gives assignments to a head: cross-entropy, the same loss with classes for columns.

    Parameters
    ----------
    rows : Points
        Behind the head.
    r : ndarray of shape (n, n_clusters)
    engine : Engine
        That of the fit.

    Returns
    -------
    objective : Objective
    engine : Engine
    n_iter : int
    """
    n_clusters = r.shape[1]
    q = Dot()
    q.begin(dtype=dtype, device=device)
    basis = TableModule(torch.eye(n_clusters)).to(device=device, dtype=dtype).requires_grad_(False)
    problem = Problem(Conditional(csr_array(r)), q, KL(), rows, Points(basis, n_clusters))
    if not engine.stochastic:
        return Objective((problem,)), Dense(), N_LESSONS
    return Objective((problem,)), engine, max(N_LESSONS // steps_an_epoch(engine, rows), N_LESSONS_EPOCHS)


def steps_an_epoch(engine, rows) -> int:
    """How many batches a stochastic engine makes of the rows."""
    return max(1, rows.size // getattr(engine, "batch_size", 1))
