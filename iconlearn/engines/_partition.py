"""A free assignment table under the shared-cluster kernel, without gradients: see :mod:`iconlearn.clusters`."""

from __future__ import annotations

import numpy as np
import torch

from .._checks import check_number
from ..clusters import LOOSE, SMALLEST, PairWeights, pair_weights, refine, transduce
from ..optim import History, Solution
from ._base import Engine

__all__ = ["Partition", "transduced"]

# What records call these steps.
PHASE = "partition"


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
        graph = self._weights(objective, rng)
        table = objective.problems[0].rows.mapper.places
        r = torch.softmax(table.detach().double(), 1).cpu().numpy()
        history = History(callback, report)
        r, descent = refine(
            graph,
            r,
            max_iter=max_iter,
            tol=tol,
            offset=-_entropy(objective.problems),
            observe=_adder(history),
        )
        with torch.no_grad():
            table.copy_(torch.as_tensor(np.log(np.maximum(r, SMALLEST))))
        return _solution(history, descent)

    def _weights(self, objective, rng):
        """Those of the objective, unless a uniform share is to be sampled."""
        found, q = objective.pair_weights, objective.problems[0].q
        if found is None or (found.n > self.max_exact and found.floor.any()):
            return self.graph(objective.problems, rng)
        return found.balanced(q.balance_)

    def graph(self, problems, rng) -> PairWeights:
        """The weights w of all terms together."""
        sampled = problems[0].p.n_rows > self.max_exact
        return pair_weights(problems, self.n_off if sampled else None, rng)


def transduced(
    problems, codes, targets, beliefs, engine, rng, *, max_iter, tol, start=None, callback=None, report=None
):
    """Classes of unlabelled rows; see :func:`iconlearn.clusters.transduce`.

    Parameters
    ----------
    problems : list of Problem
        Terms over the shared-class kernel; the first one is the graph that starts are ranked by.  Their q get the
        balance that a search finds, where theirs is "auto".
    codes : ndarray of int of shape (n,)
        Class of each row, -1 where it is unknown.
    targets : ndarray of shape (n_classes, n_classes)
        What the rows of each class are held at.
    beliefs : dict
        What :class:`iconlearn.clusters.Beliefs` takes, for all rows.
    engine : Partition
    rng : RandomState
    max_iter, tol
        As for :meth:`Partition.solve`.
    start : ndarray of shape (n, n_classes) or None
        Where to begin; None searches.
    callback, report
        As for :meth:`Partition.solve`.

    Returns
    -------
    r : ndarray of shape (n, n_classes)
    reached : ndarray of bool of shape (n,)
        Rows that edges connect to a label, perhaps through others; the rest have the prior.
    solution : Solution
    """
    exact = pair_weights(problems)
    graph = engine.graph(problems, rng) if exact.floor.any() else exact
    first = exact if len(problems) == 1 or start is not None else pair_weights(problems[:1])
    history = History(callback, report)
    loose = LOOSE if all(problem.q.balance == "auto" for problem in problems) else None
    r, reached, balance, descent = transduce(
        graph, codes, targets, beliefs, rng, exact=exact, first=first, start=start, loose=loose, max_iter=max_iter,
        tol=tol, offset=-_entropy(problems), observe=_adder(history),
    )  # fmt: skip
    for problem in problems:
        problem.q.balance_ = balance
    return r, reached, _solution(history, descent)


def _entropy(problems):
    return sum(problem.weight * problem.entropy() for problem in problems)


def _adder(history):
    return lambda loss: history.add(loss, PHASE)


def _solution(history, descent):
    return history.solution("callback" if descent.reason == "stopped" else descent.reason)
