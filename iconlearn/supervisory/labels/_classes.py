"""Pairs that are known without any distance: the row itself, its class mates, its class.

Identity  p(j|i) = 1[j = i]        Labels  p(j|i) ∝ 1[y_j = y_i]        Classes  p(c|i) = 1[y_i = c]
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..._label_markers import column_of, marked, missing, of_one_type, warn_of_minus_one
from ...conditional import BlockConditional, one_column
from ...distributed import current
from .._base import Supervisory, n_rows_of, warn_empty


class Identity(Supervisory):
    """p(j|i) = 1[j = i]: every row has itself as its only neighbour (PCA).

    Attributes
    ----------
    conditional_ : Conditional
    """

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """See :meth:`Supervisory.fit`; only the number of rows matters."""
        n_rows = n_rows_of(X)
        self.conditional_ = one_column(np.arange(n_rows), n_rows)
        return self


class Labels(Supervisory):
    """p(j|i) = 1[y_j = y_i, j != i] / (size of the class - 1): uniform over the class mates.

    Parameters
    ----------
    self_pairs : bool, default=False
        Whether a row counts among its own class mates (supervised clustering needs it).
    unlabeled : object or None, default=None
        The marker of rows without a label, such as -1 or NaN (for all that is missing).  They have no p and carry no
        mass, but stay candidates of the others.  None: every value of y is a class.  "auto" is -1 where there are
        at least two other classes.

    Attributes
    ----------
    conditional_ : BlockConditional
        Its ``block`` holds one class code per row, so storage is O(n_rows).  The only row of its
        class is empty without `self_pairs`, and carries no mass.
    classes_ : ndarray of shape (n_classes,)

    References
    ----------
    Khosla et al., "Supervised contrastive learning", NeurIPS 2020.
    """

    requires_y = True
    across = "rows"

    def __init__(self, *, self_pairs=False, unlabeled=None):
        self.self_pairs = self_pairs
        self.unlabeled = unlabeled

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """See :meth:`Supervisory.fit`; X gives the number of rows only."""
        if not isinstance(self.self_pairs, (bool, np.bool_)):
            raise TypeError(f"self_pairs={self.self_pairs!r} must be True or False")
        self.classes_, codes = _encode(y, n_rows_of(X), type(self).__name__, self.unlabeled)
        codes = current().gathered(codes)
        lone = codes < 0
        # Rows without a label are of a class of their own each.
        codes[lone] = len(self.classes_) + np.arange(lone.sum())
        sizes = np.bincount(codes, minlength=len(self.classes_))
        block = LabelBlock(codes, sizes, bool(self.self_pairs))
        alone = np.zeros_like(lone) if self.self_pairs else (sizes < 2)[codes] & ~lone
        if alone.any():
            warn_empty(
                ~alone[~lone], "any other member in their class", "give y with at least two rows of one class"
            )
        n_rows, empty = len(codes), lone | alone
        empty = empty if empty.any() else None
        self.conditional_ = BlockConditional(
            block, (n_rows, n_rows), self_pairs=bool(self.self_pairs), empty=empty
        )
        return self


class Classes(Supervisory):
    """p(c|i) = 1[y_i = c]: the columns are the classes (cross-entropy).

    Parameters
    ----------
    unlabeled : object or None, default=None
        As for :class:`Labels`.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_rows, n_classes)
    classes_ : ndarray of shape (n_classes,)
    """

    columns = "classes"
    requires_y = True
    across = "own"

    def __init__(self, *, unlabeled=None):
        self.unlabeled = unlabeled

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """See :meth:`Supervisory.fit`; X gives the number of rows only."""
        self.classes_, codes = _encode(y, n_rows_of(X), type(self).__name__, self.unlabeled)
        self.conditional_ = one_column(codes, len(self.classes_))
        return self


@dataclass(frozen=True, eq=False)
class LabelBlock:
    """Uniform over the members of a class, on demand.

    Parameters
    ----------
    codes : ndarray of int of shape (n_rows,)
    sizes : ndarray of int of shape (n_classes,)
    self_pairs : bool
    """

    codes: np.ndarray
    sizes: np.ndarray
    self_pairs: bool

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        row_ids = np.arange(len(self.codes)) if rows is None else np.asarray(rows)
        col_ids = np.arange(len(self.codes)) if cols is None else np.asarray(cols)
        mates = self.codes[row_ids][:, None] == self.codes[col_ids]
        if not self.self_pairs:
            mates &= row_ids[:, None] != col_ids
        n_mates = self.sizes[self.codes[row_ids]] - (not self.self_pairs)
        return mates / np.maximum(n_mates, 1)[:, None]

    def expected(self, n_rows):
        """How many class mates a row finds on average among `n_rows` rows drawn at random."""
        n_mates = self.sizes[self.codes] - (not self.self_pairs)
        return n_rows * n_mates.mean() / len(self.codes)

    def draw(self, rows, rng):
        """One class mate for every row that has any, drawn evenly."""
        order = np.argsort(self.codes, kind="stable")
        place = np.empty(len(order), dtype=np.int64)
        place[order] = np.arange(len(order))
        first = np.cumsum(self.sizes) - self.sizes
        rows = np.asarray(rows)
        n_mates = self.sizes[self.codes[rows]] - (not self.self_pairs)
        rows, n_mates = rows[n_mates > 0], n_mates[n_mates > 0]
        ahead = (rng.random_sample(len(rows)) * n_mates).astype(np.int64)
        start = first[self.codes[rows]]
        # Counted onwards from the row itself, around the class, so that the row is the last to be met.
        step = place[rows] - start + ahead + (not self.self_pairs)
        return order[start + step % self.sizes[self.codes[rows]]]


def _encode(y, n_rows, name, unlabeled):
    """Sorted classes of all processes and one code per row of this one, -1 for rows without a label."""
    group = current()
    with group.together():
        classes, codes = _encoded(y, n_rows, name, unlabeled)
    every = group.objects(classes)
    if len(every) == 1:
        return classes, codes
    known = np.unique(np.concatenate(every))
    return known, np.where(codes < 0, -1, np.searchsorted(known, classes)[codes])


def _encoded(y, n_rows, name, unlabeled):
    """As :func:`_encode`, of this process alone."""
    if y is None:
        raise ValueError(f"{name} needs y, the class of every row: call fit(X, y)")
    labels = column_of(y, n_rows)
    lone = marked(labels, unlabeled)
    if lone.all():
        raise ValueError(
            f"{name} has no label to go by: y is {unlabeled!r}, the marker of rows without one, throughout"
        )
    warn_of_minus_one(labels, unlabeled, name, "leaves these rows without a label")
    gaps = missing(labels) & ~lone
    if gaps.any():
        raise ValueError(
            f"Input y contains NaN, None or another mark of what is missing in {gaps.sum()} rows (the first is row "
            f"{int(gaps.argmax())}); give every row a class, or say {name}(unlabeled=float('nan')) to leave them "
            f"without one"
        )
    codes = np.full(n_rows, -1)
    try:
        classes, codes[~lone] = np.unique(of_one_type(labels[~lone]), return_inverse=True)
    except TypeError as error:
        raise ValueError(
            "the classes in y cannot be sorted: they are of mixed types; use strings or numbers throughout"
        ) from error
    return classes, codes
