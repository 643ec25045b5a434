"""When a minimisation is through: rules that read the history of the loss and say what to do next.

A loss that is known exactly is judged by its best value.  One that is an estimate (of a batch, or over views
drawn anew) is judged by means: the lowest of many noisy values is a matter of luck, and soon no later one
beats it, however well the search goes on.
"""

from __future__ import annotations

import math
from enum import Enum

import numpy as np

# So many times at most the steps are cut where the loss no longer falls.
MAX_CUTS = 5


class Verdict(Enum):
    """The decision of a rule after an iteration."""

    GO_ON = "go on"
    SHORTEN = "shorten the steps"
    STOP = "stop"


class Plateau:
    """The best loss has not improved by ``tol * |loss|`` within `patience` iterations.

    While the loss hovers well above its best, the steps are too long, and that is not yet the end.

    Parameters
    ----------
    tol : float
        See above.
    patience : int, default=50
        Iterations that a plateau must last.

    Attributes
    ----------
    ranks : bool
        Whether losses of two states say which one is better, so that the best state is worth keeping.
    """

    ranks = True

    def __init__(self, tol, patience=50):
        self.tol, self.patience = tol, patience
        self.restart()

    def restart(self):
        """Judge another phase."""
        self.best_at_mark, self.mark, self.cuts = math.inf, 0, 0

    def least(self, done):
        """Iterations after `done` ones until a verdict other than to go on is possible."""
        return self.patience - (done - self.mark)

    def __call__(self, done, value, best):
        """The verdict after `done` iterations of this phase, the last loss and the best one."""
        if done - self.mark < self.patience:
            return Verdict.GO_ON
        stalled = self.best_at_mark - best <= self.tol * abs(best)
        self.best_at_mark, self.mark = best, done
        if not stalled:
            return Verdict.GO_ON
        if value - best <= 10 * self.tol * abs(best) or self.cuts == MAX_CUTS:
            return Verdict.STOP
        self.cuts += 1
        return Verdict.SHORTEN


class EstimatedPlateau:
    """The loss surely falls by less than noise hides, over the last quarter of what was done so far.

    The drop is that of the mean from the third quarter to the last one.  A plateau is a drop that even with two
    standard errors added stays below half a standard deviation of the losses about their mean (or below
    ``tol * |loss|``, where the noise is negligible).  To be that sure takes some 130 epochs of pure
    noise; the window grows with the search, so that a slow fall is not missed.  On a plateau the steps are
    shortened, since their length too keeps the loss up; once that lowers it no more, the search is through.

    Parameters
    ----------
    tol : float
        See above.
    patience : int, default=5
        Shortest quarter, in epochs.
    """

    ranks = False

    def __init__(self, tol, patience=5):
        self.tol, self.patience = tol, patience
        self.restart()

    def restart(self):
        """Judge another phase."""
        self.values, self.before, self.cuts = [], None, 0

    def __call__(self, done, value, best):
        """The verdict after another epoch; see :class:`Plateau`."""
        self.values.append(value)
        n = len(self.values)
        if n < 4 * self.patience or n % self.patience:
            return Verdict.GO_ON
        quarter = n // 4
        third, last = _Level(self.values[-2 * quarter : -quarter]), _Level(self.values[-quarter:])
        if not self._level(third, last, 2.0):
            return Verdict.GO_ON
        if self.cuts == MAX_CUTS or (self.before is not None and self._level(_Level(self.before), last, 0.0)):
            return Verdict.STOP
        self.before, self.values = self.values[-quarter:], []
        self.cuts += 1
        return Verdict.SHORTEN

    def _level(self, earlier, later, errors):
        """Whether the drop of the mean, with so many standard errors, is less than noise hides."""
        drop = max(earlier.mean - later.mean, 0.0) + errors * math.hypot(earlier.error, later.error)
        return drop <= max(
            self.tol * abs(later.mean), 0.5 * math.hypot(earlier.spread, later.spread) / 2**0.5
        )


class _Level:
    """Mean and standard deviation of some losses, and the standard error of the mean."""

    def __init__(self, values):
        self.mean, self.spread = float(np.mean(values)), float(np.std(values, ddof=min(1, len(values) - 1)))
        self.error = self.spread / math.sqrt(len(values))
