"""What comes next in a sequence: p(s|t) = 1[s = t + ahead, in the same sequence].

X holds sequences of T steps of d numbers each, flat.  The rows of p are moments, at which a sequence has been seen up
to step t, and its columns are single steps.  Position r among the moments of n sequences is that of sequence r % n
after first + r // n steps, and column r the step that comes `ahead` steps later.
"""

from __future__ import annotations

import numpy as np
import torch

from ..._checks import check_number, count_steps
from ...conditional import one_column
from .._base import Supervisory


class Ahead(Supervisory):
    """p(s|t) = 1[s = t + ahead]: what a sequence has shown up to a moment belongs to a step that comes later.

    With q="dot" and :class:`iconlearn.mappers.Recurrent` it makes contrastive predictive coding: the step that follows
    is distinguished from those that follow other moments, of the same sequence and of others, by c_t . W z_s.  Each
    further distance is a term, ``Term(Ahead(step, ahead=2))``.

    Parameters
    ----------
    step : int
        d, the numbers of one step: of a row of pixels, or of a frame of sound.
    ahead : int, default=1
        How many steps later the step comes.
    first : int, default=2
        How many steps have been seen at the first moment.
    whole : bool, default=False
        Whether a batch is made of whole sequences, so that one pass of a recurrent mapper serves all moments of each.
        It is several times less work.  More of what a step is contrasted with then belongs to the same sequence, which
        favours what changes along a sequence over what tells sequences apart.

    Attributes
    ----------
    n_moments_ : int
        Moments of a sequence, T - first - ahead + 1.
    conditional_ : Conditional of shape (n_moments n_rows, n_moments n_rows)

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018.
    """

    columns = "views"
    # A moment is seen by a view of its sequence.
    fresh = True

    # For what was stored before there was such a parameter.
    whole = False

    def __init__(self, step, ahead=1, first=2, *, whole=False):
        self.step = step
        self.ahead = ahead
        self.first = first
        self.whole = whole

    @property
    def copies(self):
        """How many positions a row takes up among the rows of p: one for each moment; known after ``fit``."""
        return vars(self).get("n_moments_", 1)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Count steps and moments; see :meth:`Supervisory.fit`.

        Raises
        ------
        ValueError
            If the numbers of a row are no multiple of `step`, or have too few steps.
        """
        n_steps = count_steps(X.shape[1], self.step)
        check_number("ahead", self.ahead, low=1, integer=True)
        check_number("first", self.first, low=1, integer=True)
        if not isinstance(self.whole, bool):
            raise TypeError(f"whole={self.whole!r} of Ahead must be True or False")
        if self.first + self.ahead > n_steps:
            raise ValueError(
                f"first={self.first} and ahead={self.ahead} need sequences of at least {self.first + self.ahead} "
                f"steps, and the {X.shape[1]} numbers of a row are {n_steps} of step={self.step}; lower first or ahead"
            )
        self.n_moments_, self._n_rows = n_steps - self.first - self.ahead + 1, X.shape[0]
        n = self.n_moments_ * X.shape[0]
        self.conditional_ = one_column(np.arange(n), n)
        return self

    def view(self, X, rows):
        """Sequences as they are seen at their moments.

        Parameters
        ----------
        X : Tensor of shape (n, T d)
        rows : Tensor of int64 of shape (n,)
            Positions among the moments.

        Returns
        -------
        Tensor of shape (n, 1 + T d)
            How many steps have been seen, and the steps, all later ones zero.
        """
        seen = self._seen(X, rows)
        at = torch.arange(X.shape[1], device=X.device)
        return torch.cat([seen[:, None].to(X.dtype), X * (at < self.step * seen[:, None])], dim=1)

    def columns_view(self, X, rows):
        """The steps that come later.

        Parameters
        ----------
        X : Tensor of shape (n, T d)
        rows : Tensor of int64 of shape (n,)

        Returns
        -------
        Tensor of shape (n, 1 + d)
            `ahead`, and the numbers of the step.
        """
        place = (self._seen(X, rows) + self.ahead - 1)[:, None]
        steps = X.unflatten(1, (-1, self.step)).take_along_dim(place[:, :, None], dim=1)[:, 0]
        return torch.cat([torch.full_like(place, self.ahead, dtype=X.dtype), steps], dim=1)

    @property
    def moments(self):
        """See :class:`Supervisory`; None unless batches are made of whole sequences."""
        return self._moments if self.whole else None

    def _moments(self, rows):
        later = torch.div(rows, self._n_rows, rounding_mode="floor")
        return rows - later * self._n_rows, self.first + later

    def _seen(self, X, rows):
        return self._moments(rows.to(X.device))[1]
