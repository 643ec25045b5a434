"""Which rows of y have a label: one rule for all that reads labels of some rows.

A marker is a value of y that stands for "no label".  There is no default marker: -1 is a class unless the user
names it, and where it may have been meant as a marker, :func:`warn_of_minus_one` explains what naming it would do.
"""

from __future__ import annotations

from numbers import Number

import numpy as np

from ._torch_state import as_array
from ._warnings import warn


def as_labels(y) -> np.ndarray:
    """Labels as an array, of objects where they are of several types; a single column as one axis.

    Numpy would turn the labels and the marker of a list, or of pandas' own types, into one type.
    """
    y = as_array(y)
    if isinstance(y, list | tuple):
        mixed = len({isinstance(label, str) for label in y}) > 1
    else:
        mixed = str(getattr(y, "dtype", "")) in ("category", "string", "boolean")
    labels = np.asarray(y, dtype=object) if mixed else np.asarray(y)
    return labels.ravel() if labels.ndim == 2 and labels.shape[1] == 1 else labels


def column_of(y, n_rows) -> np.ndarray:
    """Labels as an array of shape (n_rows,), of one type where they are all numbers or all strings.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    """
    labels = as_labels(y)
    if labels.ndim != 1:
        raise ValueError(f"y has shape {labels.shape}: it must hold one class per row, shape ({n_rows},)")
    if len(labels) != n_rows:
        raise ValueError(f"y has {len(labels)} entries but X has {n_rows} rows: they must be as many")
    return of_one_type(labels)


def of_one_type(labels) -> np.ndarray:
    """An array of objects as one of numbers or of strings, where they are all that."""
    if labels.dtype.kind != "O" or not len(labels):
        return labels
    alike = len({"text" if isinstance(label, str) else "number" for label in labels.tolist()}) == 1
    return np.array(labels.tolist()) if alike and not missing(labels).any() else labels


def filled(labels, where) -> np.ndarray:
    """The labels, with another row's label under a mask, so that checks of labels meet labels only."""
    out = labels.copy()
    out[where] = 0 if where.all() else labels[~where][0]
    return of_one_type(out)


def refuse_mixed(labels, name="y"):
    """Raise where an array of objects holds texts beside numbers, what is missing aside.

    Raises
    ------
    ValueError
        With one label of either type.
    """
    labels = labels[~missing(labels)]
    text = np.array([isinstance(label, str) for label in labels], dtype=bool)
    if text.any() and not text.all():
        raise ValueError(
            f"{name} holds labels of mixed type, such as {labels[text][0]!r} and {labels[~text][0]!r}; use strings or "
            f"numbers throughout"
        )


def is_auto(marker) -> bool:
    """Whether the marker is left to y."""
    return isinstance(marker, str) and marker == "auto"


def marked(labels, marker) -> np.ndarray:
    """Which labels are the marker of rows without one.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    marker : object
        None marks nothing; NaN (or pandas' own NA) marks all that is missing, None and NaN alike; "auto" is -1
        where there are at least two other classes, and marks nothing elsewhere.

    Returns
    -------
    ndarray of bool of shape (n,)
    """
    if is_auto(marker):
        marker = -1 if _minus_one_beside_classes(labels) else None
    if marker is None:
        return np.zeros(len(labels), dtype=bool)
    if is_missing(marker):
        return missing(labels)
    if labels.dtype.kind in "OUS":
        return np.array([_same(label, marker) for label in labels.tolist()], dtype=bool)
    if isinstance(marker, str):
        return np.zeros(len(labels), dtype=bool)
    return np.asarray(labels == marker, dtype=bool)


def missing(labels) -> np.ndarray:
    """Which labels are None, NaN, or pandas' own marks of what is missing."""
    if labels.dtype.kind == "f":
        return np.isnan(labels)
    if labels.dtype.kind != "O":
        return np.zeros(len(labels), dtype=bool)
    return np.array([is_missing(label) for label in labels.tolist()], dtype=bool)


def is_missing(value) -> bool:
    """Whether a value is None, NaN, or one of pandas' own marks of what is missing."""
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, Number) and bool(value != value)


def warn_of_minus_one(labels, marker, name, otherwise) -> None:
    """Say that -1 is taken for a class, where no marker was named and there are at least two other classes.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    marker : object
    name : str
        Who reads the labels.
    otherwise : str
        What it does with rows without a label.
    """
    count = _minus_one_beside_classes(labels) if marker is None else 0
    if count:
        warn(
            f"y is -1 in {count} of {len(labels)} rows, and {name}() takes -1 for a class like any other; "
            f"{name}(unlabeled=-1) {otherwise}"
        )


def _minus_one_beside_classes(labels) -> int:
    """How many labels are -1 where there are at least two other classes; with one other it is a class."""
    where = marked(labels, -1)
    others = {label for label in labels[~where].tolist() if not is_missing(label)}
    return int(np.count_nonzero(where)) if len(others) > 1 else 0


def _same(label, marker):
    """Whether a label is the marker; a text is no number, and what is missing is neither."""
    return (
        not is_missing(label) and isinstance(label, str) == isinstance(marker, str) and bool(label == marker)
    )
