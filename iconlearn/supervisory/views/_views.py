"""Two views of one row belong together: p(b|a) = 1 / (k - 1) for the other k - 1 views of a row.

Views are drawn afresh at every step, by ``view``, from torch's own generator (a fit seeds it).  Position r
among the views of n rows is view r // n of row r % n.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from ..._checks import check_choice, check_number
from ..._transfer import sent
from ...conditional import Conditional, one_column
from ...distributed import ALONE, current
from .._base import Supervisory

KINDS = ("noise", "mask", "mix")

# Numbers of X that are looked at at a time.
BLOCK = 2**20


class Views(Supervisory):
    """p(j|i) = 1 / (k - 1) over the other views of the row that view i shows.

    Parameters
    ----------
    augment : {"noise", "mask", "mix"} or callable, default="noise"
        How a view is made of a row.  "noise" adds Gaussian noise of `strength` standard deviations of each
        feature; "mask" puts the feature's mean in place of each entry with probability `strength`; "mix"
        moves a row towards another one of the batch by a share between 0 and `strength`.  A function takes
        a tensor of rows (n, n_features) and returns as many views, of any shape that the mapper reads; what
        it draws should come from torch's generator.
    strength : float, default=0.2
        See above; without effect on a function.
    n_views : int, default=2
        k, views per row and step.
    cross : bool, default=False
        Whether rows and columns are two sets of views, one of each row: the candidates of a view are then
        the other set alone, seen through the column mapper (MoCo v3's keys).  `n_views` is two.
    columns_augment : {"noise", "mask", "mix"}, callable or None, default=None
        How the views that are columns are made, with `cross`; None is as those of the rows.

    Attributes
    ----------
    conditional_ : Conditional of shape (k n_rows, k n_rows), or (n_rows, n_rows) with `cross`

    References
    ----------
    Chen et al., "A simple framework for contrastive learning of visual representations", ICML 2020; Chen,
    Xie and He, "An empirical study of training self-supervised vision transformers", ICCV 2021.
    """

    def __init__(self, augment="noise", *, strength=0.2, n_views=2, cross=False, columns_augment=None):
        self.augment = augment
        self.strength = strength
        self.n_views = n_views
        self.cross = cross
        self.columns_augment = columns_augment

    fresh = True
    across = "rows"

    # For what was stored before there was such a parameter.
    columns_augment: object = None
    _later = ("columns_augment",)

    @property
    def columns(self):
        return "views" if self.cross else "rows"

    @property
    def copies(self):
        """How many positions a row takes up among the rows of p."""
        return 1 if self.cross else self.n_views

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Keep the scale of the features; see :meth:`Supervisory.fit`."""
        if self.columns_augment is not None and not self.cross:
            raise ValueError(
                f"columns_augment={self.columns_augment!r} without cross=True: rows are the columns then, and have "
                f"views of one kind; use augment, or cross=True"
            )
        for name in ("augment", "columns_augment"):
            how = getattr(self, name)
            if callable(how) or (how is None and name != "augment"):
                continue
            check_choice(name, how, KINDS)
            highest = np.inf if how == "noise" else 1
            check_number("strength", self.strength, low=0, high=highest, hint="0.1 to 0.5 are usual")
        k = check_number("n_views", self.n_views, low=2, integer=True)
        if self.cross and k != 2:
            raise ValueError(
                f"n_views={k} with cross=True: rows and columns are one view each, so it must be 2"
            )
        group = current()
        n = group.total(X.shape[0])
        self._mean, self._spread = moments(X, group)
        if self.cross:
            self.conditional_ = one_column(np.arange(n), n)
            return self
        views = np.arange(k * n).reshape(k, n)
        i = np.repeat(views.ravel(), k - 1)
        j = np.concatenate([np.delete(views, a, axis=0).T.ravel() for a in range(k)])
        weights = np.full(len(i), 1.0 / (k - 1))
        edges = csr_array((weights, (i, j)), shape=(k * n, k * n))
        self.conditional_ = Conditional(edges, self_pairs=False)
        return self

    def view(self, X, rows=None):
        """One fresh view of every row of X.

        Parameters
        ----------
        X : Tensor of shape (n, n_features)
            The rows that are visited, repeated where several of their views are.
        rows : Tensor of int64 of shape (n,) or None
            Their positions among the views; a subclass may make one kind of view for each.
        """
        return self._seen("augment", self.augment, X)

    def columns_view(self, X, rows=None):
        """As :meth:`view`, for the columns."""
        if self.columns_augment is None:
            return self.view(X, rows)
        return self._seen("columns_augment", self.columns_augment, X)

    def _seen(self, name, how, X):
        if callable(how):
            return view_by(how, name, X, "view")
        mean, spread = sent([(self._mean, X.dtype), (self._spread, X.dtype)], X.device)
        if how != "mix":
            return corrupted(X, how, self.strength, mean, spread)
        share = self.strength * torch.rand(len(X), 1, dtype=X.dtype, device=X.device)
        other = X[torch.randperm(len(X), device=X.device)]
        return X + share * (other - X)


def view_by(function, name, X, what):
    """What a user's function (the parameter `name`) makes of a tensor X: a view, or a row, for each of its rows."""
    out = function(X)
    if not isinstance(out, torch.Tensor) or len(out) != len(X):
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"{name}={function!r} returned {got} for rows of shape {tuple(X.shape)}; it must return a tensor with one "
            f"{what} for every row"
        )
    # A view in another precision (of numpy's making, say) is read in that of the rows.
    return out.to(X) if out.is_floating_point() else out


def corrupted(X, kind, strength, mean, spread):
    """Rows with "noise", in units of the features' `spread`, or under a "mask", by their `mean`."""
    if kind == "noise":
        return X + strength * spread * torch.randn_like(X)
    return torch.where(torch.rand_like(X) < strength, mean, X)


def moments(X, group=ALONE):
    """Mean and standard deviation of every feature; a block of rows at a time, since X may lie in a file.

    With a group they are those of the rows of all processes.
    """
    if issparse(X):
        share = X.shape[0] / group.total(X.shape[0])
        mean = group.total(share * np.asarray(X.mean(axis=0)).ravel())
        square = group.total(share * np.asarray(X.multiply(X).mean(axis=0)).ravel())
        return mean, np.sqrt(np.maximum(square - mean**2, 0))
    step = max(1, BLOCK // X.shape[1])
    parts = [X[start : start + step] for start in range(0, len(X), step)]
    n = group.total(len(X))
    mean = group.total(sum(part.sum(axis=0, dtype=float) for part in parts)) / n
    square = group.total(sum(np.square(part - mean).sum(axis=0) for part in parts)) / n
    return mean, np.sqrt(square)
