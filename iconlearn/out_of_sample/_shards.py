"""New rows beside a table whose rows lie in several processes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..distributed import current


def check_together(size, what):
    """The processes of a fit, if it is asked by all of them together.

    Parameters
    ----------
    size : int
        Their number.
    what : str
        What is asked.

    Raises
    ------
    ValueError
    """
    group = current()
    if group.size != size:
        raise ValueError(
            f"this model was fitted over {size} processes, each of which has some of its training rows, and {what} "
            f"asks all of them: call it in all {size} within iconlearn.distributed.shards(), and not in {group.size}"
        )
    return group


class ShardRows:
    """Places of rows that all processes ask for together, each for rows of its own.

    Parameters
    ----------
    size : int
        Number of processes.
    known : KnownRows
        The training rows of this one.
    outputs : ndarray of shape (n, n_outputs)
        What users are shown of them.
    near : callable
        ``near(X)`` is p of new rows over the training rows of all processes.
    make_placer : callable
        ``make_placer(places)`` places rows beside all of those.
    places : ndarray of shape (n, n_outputs)
        Of the training rows of this process.
    """

    def __init__(self, size, known, outputs, near, make_placer, places):
        self.size, self.known, self.stored = size, known, outputs
        self.near, self.make_placer, self.places = near, make_placer, places

    def outputs(self, X):
        """Places of the rows of X."""
        group = check_together(self.size, "transform")
        if group.smallest(bool(self.known.same_as(X))):
            return self.stored.astype(float)
        out = self._seen(group, X)
        p, placer = self.near(X), self.make_placer(group.gathered(self.places))
        new = np.isnan(out[:, 0])
        if new.any():
            out[new] = placer(replace(p, edges=p.edges[new]))
        return out

    def _seen(self, group, X):
        """Places of rows that equal a training row of any process; NaN for others."""
        answers = []
        for rows in group.exchanged([np.array(X)] * group.size):
            match = self.known.find(rows)
            answers.append(np.where(match[:, None] >= 0, self.stored[match].astype(float), np.nan))
        out = np.full((X.shape[0], self.stored.shape[1]), np.nan)
        for answer in group.exchanged(answers):
            out = np.where(np.isnan(out), answer, out)
        return out
