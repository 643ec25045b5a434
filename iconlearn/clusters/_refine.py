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
# A search looks at the loss of tables once in so many steps.
SELDOM = 4


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


def refine(
    graph, r, *, max_iter, tol, offset=0.0, held=None, beliefs=None, observe=None, far=False, rough=False, bar=math.inf
):  # fmt: skip
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
        Whether steps go beyond the minimum of the bound for as long as the loss falls by them.
    rough : bool, default=False
        Whether it is a part of a search: two thirds as many steps, of those that go further, lead to about the same
        loss, lists are shorter, and the loss of tables is seldom found.
    bar : float, default=inf
        A part of a search ends early where its loss would stay above this even if it went on falling as fast.

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
    least, doubt = UNLISTED[rough], MORE_THAN_DOUBT * DOUBT / max(r.shape[1] - 1, 1) if rough else 0.0
    if rough:
        max_iter = 1 + math.ceil((max_iter - 1) / STEPS_OF_ONE)
    history, reason, best_r, n_steps = [], "max_iter", r, 0
    try:
        while n_steps < max_iter:
            n_steps += 1
            if listed and isinstance(r, np.ndarray):
                r = graph.in_lists(r, least, doubt, idle)
            every = SELDOM if rough and not isinstance(r, Lists) else 1
            looked = n_steps % every == 0 or n_steps == max_iter
            G, loss = graph.explained(r) if looked else graph.explained(r, valued=False)
            pull, cost = (None, 0.0) if beliefs is None else beliefs.explained(r, graph)
            if not looked:
                r = graph.improved(r, G, pull, idle, held, far=far)
                continue
            loss += offset + cost
            if far and history and loss > history[-1]:
                if isinstance(best_r, Lists) and best_r.least > UNLISTED[0]:
                    # What lists leave out is not small any more beside what a step gains.
                    r = Lists(best_r.parts, best_r.mass, UNLISTED[0])
                    history.clear()
                elif rough:
                    reason = "plateau"
                    break
                else:
                    r, far = best_r, False
                    history.pop()
                n_steps -= 1
                continue
            history.append(loss)
            best_r = r
            if observe is not None and observe(loss, partial(graph.table, r)):
                reason = "stopped"
                break
            if n_steps > 5 and len(history) > 1 and history[-2] - loss <= tol * abs(loss - offset):
                if rough or not far:
                    reason = "plateau"
                    break
                far = False  # what steps to the minimum would end at once swings about it by longer ones
            if rough and len(history) > 1:
                left = (max_iter - n_steps) / every
                if loss - left * (history[-2] - loss) > bar:
                    break
            r = graph.improved(r, G, pull, idle, held, far=far)
    except KeyboardInterrupt:
        reason = "interrupted"
    return (best_r.table(SMALLEST) if isinstance(best_r, Lists) else best_r), Descent(history, reason)


def refined(graph, r, *, max_iter, tol, **fixed):
    """:func:`refine` as a part of a search, which Ctrl-C ends; the assignments and their loss."""
    r, descent = refine(graph, r, max_iter=max_iter, tol=tol, far=True, rough=True, **fixed)
    if descent.reason == "interrupted":
        raise KeyboardInterrupt
    return r, descent.loss


def soften(labels, n_clusters):
    """Assignments that leave every row a little doubt."""
    r = np.full((len(labels), n_clusters), DOUBT / max(n_clusters - 1, 1))
    r[np.arange(len(labels)), labels] = 1.0 - DOUBT if n_clusters > 1 else 1.0
    return r
