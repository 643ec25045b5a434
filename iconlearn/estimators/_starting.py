"""Which start a clustering goes on from, and how the table or the head gets it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.utils.validation import column_or_1d

from ..conditional import MAX_MATERIALISED, Conditional
from ..divergences import KL
from ..engines import Dense, Partition, refined, soften
from ..learned import Dot
from ..mappers import TableModule
from ..objective import Objective, Points, Problem
from ..optim import Phase
from ..plan import NoCheckpoint
from ..solve import adam_rate, present_loss
from ._search import freed, searched
from ._starts import k_means, partitions, rank

__all__ = ["Starting"]

# Steps that refine the best starts, and lessons of a head (steps; fewest and most epochs of batches).
N_REFINE = 150
# The balance that is tried where none is given.
LOOSE = 0.1
N_LESSONS = 200
N_LESSONS_EPOCHS = 5, 40


class Starting:
    """Compares the starts of a clusterer by the loss."""

    def _start(self, plan, n_clusters, n_init):
        """Put the best start into the table, or teach it to the head; the lesson's solution, if any."""
        init = (
            self.init
            if isinstance(self.init, str)
            else _checked_labels(self.init, plan.X.shape[0], n_clusters)
        )
        X = None if self._pairwise else plan.X
        terms = [
            problem
            for problem in plan.objective.problems
            if problem.q.shared_clusters and problem.tied and not problem.fresh
        ]
        if plan.problem.divergence.reverse and terms and terms[0] is plan.problem:
            return self._tried(plan, init, n_init, X, n_clusters)
        if not terms or any(problem.p.dense and problem.n_pairs > MAX_MATERIALISED for problem in terms):
            # Such a p cannot be held as a graph, or there is none: k-means is the start, and there is nothing to rank.
            labels = init if not isinstance(init, str) else k_means(X, n_clusters, plan.rng)
            r = soften(labels, n_clusters)
        else:
            r = self._best_start(plan, [_as_graph(problem) for problem in terms], init, n_init, X, n_clusters)
        if plan.parametric:
            return self._teach(plan, r)
        with torch.no_grad():
            plan.mapper.places.copy_(torch.as_tensor(np.log(np.maximum(r, 1e-12))))
        return None

    def _best_start(self, plan, terms, init, n_init, X, n_clusters):
        # A uniform share is sampled while starts are compared, but exact on the few nodes that are searched.
        graph = Partition(max_exact=0).graph(terms, plan.rng)
        if isinstance(init, str) and init == "agglomerate":
            exact = Partition(max_exact=graph.n).graph(terms, plan.rng)
            starts = [self._searched(plan, exact, terms, n_clusters, n_init)]
        else:
            tried = partitions(init, n_init, X, terms[0].p.sparse(), n_clusters, plan.rng)
            if _only_one(init, n_init):
                starts = [soften(labels, n_clusters) for labels in tried]
            else:
                starts = rank(graph, tried, n_clusters)
        if len(starts) == 1 and plan.engine.solves:
            return starts[0]  # the engine takes these very steps itself
        ended = [refined(graph, r, max_iter=N_REFINE, tol=max(self.tol, 1e-7)) for r in starts]
        return min(ended, key=lambda found: found[1])[0]

    def _searched(self, plan, graph, terms, n_clusters, n_init):
        """The best start of all, and with it the balance where none is given; a head may lose what few rows hold."""
        told = n_clusters, n_init, plan.rng, self.tol
        if not plan.engine.solves or any(problem.q.balance != "auto" for problem in terms):
            return searched(graph, *told)
        r, balance = freed(graph, *told, loose=LOOSE)
        for problem in terms:
            problem.q.balance_ = balance
        return r

    def _tried(self, plan, init, n_init, X, n_clusters):
        """The start of the lowest loss itself: forward KL says nothing about the reverse one.

        An engine that solves is let run from every start; otherwise the loss is taken where they are.
        """
        points, edges = plan.problem.p.quadratic, plan.problem.p.graph
        X = X if points is None else points[0]
        if edges is None and (X is None or (isinstance(init, str) and init in ("agglomerate", "spectral"))):
            edges = plan.problem.p.sparse()
        best, least = None, np.inf
        for labels in partitions(init, n_init, X, edges, n_clusters, plan.rng):
            r = soften(labels, n_clusters)
            if plan.parametric:
                return self._teach(plan, r)
            places = torch.as_tensor(np.log(np.maximum(r, 1e-12)))
            with torch.no_grad():
                plan.mapper.places.copy_(places)
            if _only_one(init, n_init):
                return None
            if plan.engine.solves:
                loss = plan.engine.solve(plan.objective, max_iter=N_REFINE, tol=self.tol, rng=plan.rng).loss
            else:
                loss = present_loss(plan)
            if loss < least:
                best, least = places, loss
        with torch.no_grad():
            plan.mapper.places.copy_(best)
        return None

    def _teach(self, plan, r):
        """Fit the head to given assignments by cross-entropy, the same loss with classes for columns."""
        n_clusters = r.shape[1]
        q = Dot()
        q.begin(dtype=plan.dtype, device=plan.device)
        basis = (
            TableModule(torch.eye(n_clusters)).to(device=plan.device, dtype=plan.dtype).requires_grad_(False)
        )
        target = Conditional(csr_array(r))
        problem = Problem(target, q, KL(), plan.rows, Points(basis, n_clusters))
        engine = plan.engine if plan.engine.stochastic else Dense()
        lesson = replace(plan, objective=Objective((problem,)), engine=engine, keeper=NoCheckpoint())
        n_iter = N_LESSONS
        if engine.stochastic:
            visits = max(1, plan.X.shape[0] // getattr(engine, "batch_size", 1))
            n_iter = int(np.clip(N_LESSONS // visits, *N_LESSONS_EPOCHS))
        return self._optimise(
            lesson,
            "adam",
            [Phase(n_iter, adam_rate(plan, self.learning_rate), name="start")],
            patience=n_iter,
        )


def _only_one(init, n_init):
    """Whether there is but one start, with which none is to be compared."""
    return not isinstance(init, str) or n_init == 1


def _as_graph(problem):
    """The same term with p as a sparse matrix and KL, for the search of a start."""
    return replace(problem, p=problem.p.with_edges(), divergence=KL())


def _checked_labels(init, n_rows, n_clusters):
    labels = column_or_1d(init)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or len(labels) != n_rows or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(
            f"init must be a name or n_samples={n_rows} integers from 0 to n_clusters - 1 = {n_clusters - 1}, "
            f"got {len(labels)} values of type {labels.dtype}"
        )
    return labels
