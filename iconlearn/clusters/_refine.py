"""Majorise-minimise steps from given assignments, down to a local optimum."""

from __future__ import annotations

import math
from functools import partial
from typing import NamedTuple

import numpy as np

from ._lists import Lists
from ._weights import SMALLEST

# Share of a row that a soft start leaves to the other clusters.
DOUBT = 0.1
# A start's doubt is recognised by being less than so many times what each cluster gets of it.
MORE_THAN_DOUBT = 1.5
# What lists leave out: where an optimum is asked for, and where a start is.  A cluster that comes to a row begins there
# with as much, and so boundaries move faster where it is more.
UNLISTED = 1e-8, 3e-4
# Of steps that go further one is worth so many others.
STEPS_OF_ONE = 1.5


class Descent(NamedTuple):
    """The way of :func:`refine`.

    Attributes
    ----------
    history : list of float
        The loss before every step.
    reason : {"plateau", "max_iter", "stopped", "interrupted"}
        Why it ended.
    """

    history: list[float]
    reason: str

    @property
    def loss(self) -> float:
        """The last loss, that of the assignments which are returned."""
        return self.history[-1] if self.history else math.inf


def refine(graph, r, *, max_iter, tol, offset=0.0, held=None, beliefs=None, observe=None, far=False):
    """Majorise-minimise from the assignments `r`.

    Rows that nothing pulls get the shares of the clusters, where no row is held and there are no beliefs.

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
        Further terms of the loss, which depend on assignments without pairs.
    observe : callable or None
        Called with every loss and a function that copies the assignments; true ends the descent.
    far : bool, default=False
        Whether two thirds as many steps go further where they are taken by lists, to about the same loss.

    Returns
    -------
    r : ndarray
    descent : Descent
    """
    idle = graph.idle() if held is None and beliefs is None else np.zeros(graph.n, dtype=bool)
    idle = idle if idle.any() and not idle.all() else None
    if idle is not None:
        r = graph.spread(r, idle)
    listed = beliefs is None or beliefs.opinions is None
    least, doubt = UNLISTED[far], MORE_THAN_DOUBT * DOUBT / max(r.shape[1] - 1, 1) if far else 0.0
    history, reason, best_r = [], "max_iter", r
    try:
        while len(history) < max_iter:
            if listed and isinstance(r, np.ndarray):
                r = graph.in_lists(r, least, doubt, idle)
                if far and isinstance(r, Lists):
                    max_iter = len(history) + 1 + math.ceil((max_iter - len(history) - 1) / STEPS_OF_ONE)
            G, loss = graph.explained(r)
            pull, cost = (None, 0.0) if beliefs is None else beliefs.explained(r, graph)
            loss += offset + cost
            if far and history and loss > history[-1] and isinstance(r, Lists):
                if best_r.least == UNLISTED[0]:
                    reason = "plateau"
                    break
                # What lists leave out is not small any more beside what a step gains.
                r = Lists(best_r.parts, best_r.mass, UNLISTED[0])
                history.pop()
                continue
            history.append(loss)
            best_r = r
            if observe is not None and observe(loss, partial(graph.table, r)):
                reason = "stopped"
                break
            if len(history) > 5 and history[-2] - loss <= tol * abs(loss - offset):
                reason = "plateau"
                break
            r = graph.improved(r, G, pull, idle, held, far=far)
    except KeyboardInterrupt:
        reason = "interrupted"
    return (best_r.table(SMALLEST) if isinstance(best_r, Lists) else best_r), Descent(history, reason)


def refined(graph, r, *, max_iter, tol, **fixed):
    """:func:`refine` as a part of a search, which Ctrl-C ends; the assignments and their loss."""
    r, descent = refine(graph, r, max_iter=max_iter, tol=tol, far=True, **fixed)
    if descent.reason == "interrupted":
        raise KeyboardInterrupt
    return r, descent.loss


def soften(labels, n_clusters):
    """Assignments that leave every row a little doubt."""
    r = np.full((len(labels), n_clusters), DOUBT / max(n_clusters - 1, 1))
    r[np.arange(len(labels)), labels] = 1.0 - DOUBT if n_clusters > 1 else 1.0
    return r
