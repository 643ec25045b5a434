"""Whose answers may end an optimisation, and a warning where one did so before it led anywhere."""

from __future__ import annotations

from sklearn.exceptions import ConvergenceWarning

from .._warnings import warn
from ..distributed import ALONE
from ..optim import asks_to_stop

# A callback that ends a fit within so many iterations may have answered True without meaning it.
HARDLY_BEGUN = 10


class Watchers:
    """All who are shown the records of an optimisation, as one callback; any of them may end it.

    Parameters
    ----------
    given : list of callable
        Those of the user.
    own : list of callable
        Others.
    group : Group or Alone
        The processes that the fit goes over; what one of them wants is done by all.

    Attributes
    ----------
    stopper : callable or None
        That one of the user's whose answer ended the optimisation.
    """

    def __init__(self, given, own=(), group=ALONE):
        self.given, self.own, self.group, self.stopper, self.last = given, own, group, None, None

    def callback(self):
        """The callback of an optimisation; None where there is none, so that no records are made."""
        return self if self.group.total(len(self.given) + len(self.own)) else None

    def __call__(self, record):
        self.last = record
        stoppers = [watcher for watcher in self.given if asks_to_stop(watcher(record))]
        if stoppers:
            self.stopper = stoppers[0]
        stops = any([asks_to_stop(watcher(record)) for watcher in self.own]) or bool(stoppers)
        return bool(self.group.largest(stops))

    def warn_if_hardly_begun(self, n_iter):
        """Say so where a callback ended an optimisation of at most `n_iter` iterations before it led anywhere."""
        if self.stopper is None or self.last.iteration >= n_iter:
            return
        if self.last.iteration > HARDLY_BEGUN and self.last.phase != "early":
            return
        where = " (the attraction is still exaggerated)" if self.last.phase == "early" else ""
        warn(
            f"callback {self.stopper!r} returned True after iteration {self.last.iteration} of at most {n_iter}{where}"
            f", which stops the fit: the answer is little more than its start. If that is not wanted, return None; the "
            f"update method of tqdm returns True whenever it has redrawn its bar",
            ConvergenceWarning,
        )
