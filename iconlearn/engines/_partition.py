"""A free assignment table under the shared-cluster kernel, without gradients: see :mod:`iconlearn.clusters`."""

from __future__ import annotations

import numpy as np
import torch

from .._checks import check_number
from ..clusters import LOOSE, SMALLEST, PairWeights, pair_weights, refine, transduce, with_groups
from ..optim import History, Solution
from ._base import Engine
from ._device_weights import DeviceWeights

# What records call these steps.
PHASE = "partition"
# Numbers of a table that are written together.
BLOCK = 2**22
# Groups of rows that stand for all rows in a uniform share, and the most rows whose pairs are all summed once,
# at the end: some seconds.
N_GROUPS, MAX_PAIRED = 1000, 20_000


class Partition(Engine):
    """Solves a table of soft assignments under the cluster kernel and KL, without gradients.

    Parameters
    ----------
    max_exact : int, default=2000
        Up to this many rows every step sums a uniform share on p over all pairs; beyond it the steps see the mean
        assignments of a thousand groups of neighbours.
    n_off : int, default=32
        Random columns per row, drawn after the last step, from which the loss of a uniform share is estimated where
        all pairs are too many: beyond 20 000 rows.

    Notes
    -----
    The loss of the means is a lower bound of the loss.  Callbacks receive it after each step; the last entry of the
    history, and the loss of the solution, are over all pairs.
    """

    solves = True
    takes_shards = True

    def __init__(self, max_exact=2000, *, n_off=32):
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
        problems = objective.problems
        known, q = objective.pair_weights, problems[0].q
        exact = pair_weights(problems) if known is None else known.balanced(q.balance_)
        graph = self.graph(problems, rng, exact)
        table, offset = problems[0].rows.mapper.places, -_entropy(problems)
        history = History(callback, report)
        steps = {"max_iter": max_iter, "tol": tol, "offset": offset, "observe": _adder(history)}
        # Tables of many rows and clusters are large: this one is not kept beside the next.
        on_host = table.device.type == "cpu" or problems[0].p.sharded
        if on_host or graph.even or graph.may_list(table.shape[1], on_device=True):
            begun = torch.softmax(table.detach().double(), 1).cpu().numpy()
            r, descent = refine(graph, begun, far=True, **steps)
        else:
            there = DeviceWeights(graph, table.device)
            r, descent = refine(there, torch.softmax(table.detach().double(), 1), **steps)
            r = there.table(r)
        if graph is not exact:
            history.losses[-1:] = [self.loss(problems, exact, r, rng) + offset]
        write_table(problems[0].rows.mapper, r)
        return _solution(history, descent)

    def graph(self, problems, rng, exact=None) -> PairWeights:
        """The weights w of all terms together, as the steps see them.

        Parameters
        ----------
        problems : sequence of Problem
        rng : RandomState
            Breaks ties among the groups of rows that see a uniform share.
        exact : PairWeights or None
            The weights, where they are known already; returned where nothing is grouped.
        """
        exact = pair_weights(problems) if exact is None else exact
        return exact if exact.n_all <= self.max_exact else with_groups(exact, N_GROUPS, rng)

    def loss(self, problems, exact, r, rng, rows=None):
        """The cross-entropy of assignments over all pairs, or an estimate where these are too many.

        Parameters
        ----------
        problems : sequence of Problem
        exact : PairWeights
            Their weights.
        r : ndarray of shape (n, n_clusters)
        rng : RandomState
            Draws the columns of the estimate.
        rows : ndarray of bool or None
            Those that `exact` and `r` have; None for all.
        """
        if exact.n_all > MAX_PAIRED:
            exact = pair_weights(problems, self.n_off, rng)
            exact = exact if rows is None else exact.among(rows)
        return exact.explained(r)[1]


def write_table(module, r):
    """Make assignments those of a table."""
    step = max(1, BLOCK // r.shape[1])
    with torch.no_grad():
        for start in range(0, len(r), step):
            part = np.maximum(r[start : start + step], SMALLEST)
            module.places[start : start + step] = torch.as_tensor(np.log(part, out=part))


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
    graph = engine.graph(problems, rng, exact)
    first = exact if len(problems) == 1 or start is not None else pair_weights(problems[:1])
    history = History(callback, report)
    loose = LOOSE if all(problem.q.balance == "auto" for problem in problems) else None
    r, reached, balance, descent = transduce(
        graph, codes, targets, beliefs, rng, exact=exact, first=first, start=start, loose=loose, max_iter=max_iter,
        tol=tol, offset=-_entropy(problems), observe=_adder(history),
    )  # fmt: skip
    for problem in problems:
        problem.q.balance_ = balance
    if graph is not exact:
        # Beliefs are part of the loss of the descent as well: the part of the pairs alone is replaced.
        pairs, groups = (weights.among(reached).balanced(balance) for weights in (exact, graph))
        paired = engine.loss(problems, pairs, r[reached], rng, reached)
        by_groups = groups.explained(r[reached])[1]
        history.losses[-1:] = [descent.loss + paired - by_groups]
    return r, reached, _solution(history, descent)


def _entropy(problems):
    return sum(problem.weight * problem.entropy() for problem in problems)


def _adder(history):
    return lambda loss, outputs: history.add(loss, PHASE, outputs=outputs)


def _solution(history, descent):
    return history.solution("callback" if descent.reason == "stopped" else descent.reason)
