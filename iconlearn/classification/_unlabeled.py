"""Rows of a classifier's y that have no label: taken out for what checks y, left out of a score, and refused."""

from __future__ import annotations

import numpy as np

from .._label_markers import as_labels, filled, is_auto, marked, of_one_type, warn_of_minus_one
from .._warnings import warn


def without_marker(y, marker):
    """The labels with the marker taken out, and where it was.

    Parameters
    ----------
    y : array-like of shape (n,)
    marker : None, "auto" or object
        As for :func:`iconlearn._label_markers.marked`.

    Returns
    -------
    y : ndarray or as it was
        Unlabelled rows hold a label of another row, so that checks of y meet labels only.
    unlabelled : ndarray of bool of shape (n,) or None
        None where nothing is marked.

    Raises
    ------
    ValueError
        If the marker leaves fewer than two classes.
    """
    labels = as_labels(y)
    if labels.ndim != 1:
        return y, None  # of which the checks of y complain
    warn_of_minus_one(
        labels, marker, "ICONClassifier", "takes these rows for unlabelled and finds their classes"
    )
    unlabelled = marked(labels, marker)
    if not unlabelled.any():
        # -1 and what is missing are conventions, and y may be complete; a text is the marker of this y alone.
        if isinstance(marker, str) and not is_auto(marker):
            kinds = list(dict.fromkeys(labels.tolist()))
            more = ", ..." if len(kinds) > 5 else ""
            warn(
                f"unlabeled={marker!r} occurs nowhere in y, so every row counts as labelled, with the classes "
                f"{', '.join(map(repr, kinds[:5]))}{more}; is the marker spelt as in y?"
            )
        return y, None
    if unlabelled.all():
        raise ValueError(
            f"all {len(labels)} rows are unlabelled (y is {marker!r} throughout): label at least one row of every "
            f"class, or use ICONClustering, which needs no labels"
        )
    others = labels[~unlabelled]
    if len(set(others.tolist())) == 1:
        raise ValueError(
            f"y holds one class only, {others.tolist()[0]!r}, besides the marker unlabeled={marker!r}; a classifier "
            f"needs labelled rows of at least two classes"
        )
    if is_auto(marker):
        warn(
            f"y is -1 in {np.count_nonzero(unlabelled)} of {len(labels)} rows, which are taken as unlabelled; "
            f"unlabeled=-1 says so without this warning, and unlabeled=None makes -1 a class"
        )
    return filled(labels, unlabelled).reshape(np.asarray(y).shape), unlabelled


def labelled_rows(y, marker):
    """The labels of those rows that have one, and which they are; all labels and None where all have.

    Parameters
    ----------
    y : array-like of shape (n,)
    marker : None or object
        As for :func:`without_marker`, but no "auto".

    Raises
    ------
    ValueError
        If no row has a label.
    """
    labels = as_labels(y)
    unlabelled = marked(labels, marker) if labels.ndim == 1 else np.zeros(0, dtype=bool)
    if not unlabelled.any():
        return (of_one_type(labels) if labels.ndim == 1 else y), None
    if unlabelled.all():
        raise ValueError(
            f"all {len(labels)} rows are unlabelled (y is {marker!r} throughout), and a score needs labels to compare "
            f"predictions with; give rows whose class is known"
        )
    return of_one_type(labels[~unlabelled]), ~unlabelled
