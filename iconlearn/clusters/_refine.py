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
# What lists leave out: where an optimum is asked for, and in a search.  A cluster that comes to a row begins there with
# as much, and so boundaries move faster where it is more.
LEAST, LEAST_OF_SEARCH = 1e-8, 3e-4
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


class _Steps:
    """Majorise-minimise steps of a graph's assignments.

    Parameters
    ----------
    graph : PairWeights
    r : ndarray of shape (n, n_clusters)
        Where they begin; :attr:`begun` is the same with the shares of the clusters for rows that nothing pulls.
    held : ndarray of bool or None
    beliefs : Beliefs or None
        As of :func:`refine`.
    least, doubt : float
        What lists leave out, and less than what a start leaves to other clusters.
    """

    def __init__(self, graph, r, held, beliefs, least, doubt=0.0):
        self.graph, self.held, self.beliefs, self.left_out = graph, held, beliefs, (least, doubt)
        idle = graph.idle() if held is None and beliefs is None else np.zeros(graph.n, dtype=bool)
        self.idle = idle if idle.any() and not idle.all() else None
        self.begun = r if self.idle is None else graph.spread(r, self.idle)
        self.may_list = beliefs is None or beliefs.opinions is None

    def listed(self, r):
        """The assignments, as lists where these take less time."""
        if self.may_list and isinstance(r, np.ndarray):
            return self.graph.in_lists(r, *self.left_out, self.idle)
        return r

    def explained(self, r, *, valued=True):
        """What the next step is made of, and the loss of `r`, which is None where it is not `valued`."""
        G, loss = self.graph.explained(r, valued)
        pull, cost = (None, 0.0) if self.beliefs is None else self.beliefs.explained(r, self.graph)
        return (G, pull), loss + cost if valued else None

    def improved(self, r, found, *, far):
        """The next assignments; `far` ones are beyond the minimum of the bound."""
        return self.graph.improved(r, *found, self.idle, self.held, far=far)


def refine(graph, r, *, max_iter, tol, offset=0.0, held=None, beliefs=None, observe=None, far=False):
    """Majorise-minimise from the assignments `r`, down to a local optimum.

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

    Returns
    -------
    r : ndarray
    descent : Descent
    """
    steps = _Steps(graph, r, held, beliefs, LEAST)
    history, reason, best = [], "max_iter", steps.begun
    r = best
    try:
        while len(history) < max_iter:
            r = steps.listed(r)
            found, loss = steps.explained(r)
            loss += offset
            if far and history and loss > history[-1]:
                r, far = best, False
                history.pop()
                continue
            history.append(loss)
            best = r
            if observe is not None and observe(loss, partial(graph.table, r)):
                reason = "stopped"
                break
            if len(history) > 5 and history[-2] - loss <= tol * abs(loss - offset):
                if not far:
                    reason = "plateau"
                    break
                far = False  # what steps to the minimum would end at once swings about it by longer ones
            r = steps.improved(r, found, far=far)
    except KeyboardInterrupt:
        reason = "interrupted"
    return _table(best), Descent(history, reason)


def refined(graph, r, *, max_iter, tol, held=None, beliefs=None, bar=math.inf):
    """Assignments near a local optimum, as a search compares them, and their loss.

    Every step goes beyond the minimum of the bound, so that two thirds as many lead to about the same loss; lists are
    shorter, and the loss of tables is seldom found.

    Parameters
    ----------
    graph, r, held, beliefs
        As of :func:`refine`.
    max_iter : int
        Steps to the minimum of the bound, which fewer take the place of.
    tol : float
        Stop when a step of lists, or SELDOM steps of tables, improve the loss by less than ``tol * |loss|``.
    bar : float, default=inf
        Stop where the loss would stay above this even if it went on falling as fast.
    """
    doubt = MORE_THAN_DOUBT * DOUBT / max(r.shape[1] - 1, 1)
    steps = _Steps(graph, r, held, beliefs, LEAST_OF_SEARCH, doubt)
    left, last, best = 1 + math.ceil((max_iter - 1) / STEPS_OF_ONE), math.inf, steps.begun
    r, n_steps = best, 0
    while left:
        r = steps.listed(r)
        every = 1 if isinstance(r, Lists) else SELDOM
        valued = (n_steps + 1) % every == 0 or left == 1
        found, loss = steps.explained(r, valued=valued)
        if valued and loss > last:
            if not (isinstance(best, Lists) and best.least > LEAST):
                break
            # What lists leave out is not small any more beside what a step gains.
            r, last = Lists(best.parts, best.mass, LEAST), math.inf
            continue
        n_steps, left = n_steps + 1, left - 1
        if valued:
            gain, last, best = last - loss, loss, r
            # What the steps that are left might gain, too; of the first look there is none to compare with.
            likely = loss - left / every * gain if gain < math.inf else -math.inf
            if (n_steps > 5 and gain <= tol * abs(loss)) or likely > bar:
                break
        r = steps.improved(r, found, far=True)
    return _table(best), last


def _table(r):
    return r.table(SMALLEST) if isinstance(r, Lists) else r


def soften(labels, n_clusters):
    """Assignments that leave every row a little doubt."""
    r = np.full((len(labels), n_clusters), DOUBT / max(n_clusters - 1, 1))
    r[np.arange(len(labels)), labels] = 1.0 - DOUBT if n_clusters > 1 else 1.0
    return r
