"""Which rows have no label: the marker in y, and what is refused."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import column_or_1d

from .._label_markers import marked, of_one_type
from .._warnings import warn

__all__ = ["is_auto", "labelled_rows", "without_marker"]


def without_marker(y, marker):
    """The labels with the marker taken out, and where it was.

    Parameters
    ----------
    y : array-like of shape (n,)
    marker : "auto", None or object
        "auto" is -1 where at least two other classes exist; None marks nothing; NaN marks all that is missing.

    Returns
    -------
    y : ndarray of shape (n,) or as it was
        Unlabelled rows hold a label of another row, so that whatever checks y sees labels only.
    unlabelled : ndarray of bool of shape (n,) or None
        None where nothing is marked.

    Raises
    ------
    ValueError
        If a marker that was named leaves fewer than two classes.
    """
    named = not is_auto(marker)
    labels, unlabelled = _where_marked(y, marker if named else -1)
    if unlabelled is None:
        return y, None
    others = labels[~unlabelled]
    n_classes = len(set(others.tolist()))
    if not named and 0 < n_classes < 2:
        return y, None  # -1 and 1 are two classes
    if n_classes == 0:
        raise ValueError(
            f"all {len(labels)} rows are unlabelled (y is {marker if named else -1!r} throughout): label at "
            f"least one row of every class, or use ICONClustering, which needs no labels"
        )
    if n_classes == 1:
        raise ValueError(
            f"y holds one class only, {others.tolist()[0]!r}, besides the marker unlabeled={marker!r}; a classifier "
            f"needs labelled rows of at least two classes"
        )
    if not named:
        warn(
            f"y is -1 in {np.count_nonzero(unlabelled)} of {len(labels)} rows, which are taken as unlabelled; "
            f"unlabeled=-1 says so without this warning, and unlabeled=None makes -1 a class",
        )
    filled = np.array(labels)
    filled[unlabelled] = others[0]
    return of_one_type(filled), unlabelled


def labelled_rows(y, marker):
    """The labels of those rows that have one, and which they are; y as it was and None where all have.

    Parameters
    ----------
    y : array-like of shape (n,)
    marker : None or object
        As for :func:`without_marker`, but named.

    Raises
    ------
    ValueError
        If no row has a label.
    """
    labels, unlabelled = _where_marked(y, marker)
    if unlabelled is None:
        return y, None
    if unlabelled.all():
        raise ValueError(
            f"all {len(labels)} rows are unlabelled (y is {marker!r} throughout), and a score needs labels to compare "
            f"predictions with; give rows whose class is known"
        )
    return of_one_type(labels[~unlabelled]), ~unlabelled


def is_auto(marker) -> bool:
    """Whether the marker is left to y."""
    return isinstance(marker, str) and marker == "auto"


def _where_marked(y, marker):
    """The labels as an array, and where they are the marker; None where they nowhere are."""
    if marker is None or getattr(y, "ndim", 1) == 0:
        return y, None
    labels = np.asarray(y, dtype=object) if _of_any_type(y) else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = column_or_1d(labels, warn=True)
    if labels.ndim != 1 or not len(labels):
        return y, None
    unlabelled = marked(labels, marker)
    return labels, unlabelled if unlabelled.any() else None


def _of_any_type(y):
    """Whether numpy would turn labels and marker into one type (lists, and pandas' own types)."""
    return isinstance(y, list | tuple) or hasattr(y, "cat") or str(getattr(y, "dtype", "")) == "category"
