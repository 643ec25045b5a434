"""Clusters and probabilities beside the classes of rows.

accuracy = max over matchings of clusters to classes of the share of rows that agree
calibration error = sum_b (n_b / n) |accuracy_b - confidence_b|
"""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._checks import check_number
from .._label_markers import as_labels, missing, of_one_type
from .._torch_state import as_array


def clustering_accuracy(y_true, labels) -> float:
    """Share of rows that agree under the best one-to-one matching of clusters to classes.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Classes.
    labels : array-like of shape (n,)
        Clusters; any names, and their number may differ from that of the classes.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If there are no rows, or labels are missing.

    References
    ----------
    Kuhn, "The Hungarian method for the assignment problem", 1955.

    Examples
    --------
    >>> from iconlearn.metrics import clustering_accuracy
    >>> clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 2])
    0.75
    """
    y_true, labels = _all_there("y_true", y_true), _all_there("labels", labels)
    check_consistent_length(y_true, labels)
    classes, i = np.unique(y_true, return_inverse=True)
    clusters, j = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(clusters), len(classes)), dtype=np.int64)
    np.add.at(counts, (j, i), 1)
    rows, cols = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, cols].sum() / len(i))


def _all_there(name, labels):
    """Labels as an array, none of them missing."""
    labels = of_one_type(column_or_1d(as_labels(labels)))
    if not len(labels):
        raise ValueError(f"{name} is empty: an accuracy needs at least one row")
    gaps = missing(labels)
    if gaps.any():
        raise ValueError(
            f"{name} has no label in {gaps.sum()} rows (the first is row {int(gaps.argmax())}); leave out rows whose "
            f"label is missing"
        )
    return labels


def expected_calibration_error(y_true, probabilities, *, classes=None, n_bins=15) -> float:
    """How far confidence is from accuracy: ``sum_b (n_b / n) |accuracy_b - confidence_b|``.

    Rows are put into bins of equal width by the probability of their predicted class.

    Parameters
    ----------
    y_true : array-like of shape (n,)
    probabilities : array-like of shape (n, n_classes)
        Rows sum to one.
    classes : array-like of shape (n_classes,) or None, default=None
        The class of each column, as in ``classes_``; None: the sorted classes of `y_true`.
    n_bins : int, default=15

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If the columns are not as many as the classes, or rows do not sum to one.

    References
    ----------
    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015; Guo et al., "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> from iconlearn.metrics import expected_calibration_error
    >>> sure_and_wrong_once_in_two = [[0.9, 0.1], [0.9, 0.1]]
    >>> round(expected_calibration_error([0, 1], sure_and_wrong_once_in_two), 3)
    0.4
    """
    y_true = column_or_1d(as_array(y_true))
    P = check_array(as_array(probabilities), input_name="probabilities")
    check_consistent_length(y_true, P)
    check_number("n_bins", n_bins, low=1, integer=True)
    classes = np.unique(y_true) if classes is None else np.asarray(as_array(classes))
    if P.shape[1] != len(classes):
        raise ValueError(
            f"probabilities have {P.shape[1]} columns, and there are {len(classes)} classes; give classes="
        )
    if not np.allclose(P.sum(axis=1), 1, atol=1e-3):
        raise ValueError("the rows of probabilities do not sum to one; give those of predict_proba")
    confidence = P.max(axis=1)
    right = classes[P.argmax(axis=1)] == y_true
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum() / len(y_true))
