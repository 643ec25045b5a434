"""Which rows of y have a label: one rule for all that reads labels of some rows."""

from __future__ import annotations

from numbers import Number

import numpy as np

__all__ = ["column_of", "is_missing", "marked", "marks_some", "missing", "of_one_type", "refuse_mixed"]


def column_of(y, n_rows) -> np.ndarray:
    """Labels as an array of shape (n_rows,), of objects where its list holds several types.

    Raises
    ------
    ValueError
        If there are not as many as rows.
    """
    mixed = isinstance(y, list | tuple) or str(getattr(y, "dtype", "")) in ("category", "string", "boolean")
    labels = np.asarray(y, dtype=object) if mixed else np.asarray(y)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels.ravel()
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


def marked(labels, marker) -> np.ndarray:
    """Which labels are the marker of rows without one.

    Parameters
    ----------
    labels : ndarray of shape (n,)
    marker : object
        None marks nothing; NaN (or pandas' own NA) marks all that is missing, None and NaN alike.

    Returns
    -------
    ndarray of bool of shape (n,)
    """
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


def marks_some(labels, marker=-1) -> int:
    """How many labels are the marker where at least two other classes stand beside it; 0 elsewhere.

    With one other class the marker is a class: -1 and 1 are two.
    """
    where = marked(labels, marker)
    others = {label for label in labels[~where].tolist() if not is_missing(label)}
    return int(np.count_nonzero(where)) if len(others) > 1 else 0


def _same(label, marker):
    """Whether a label is the marker; a text is no number, and what is missing is neither."""
    return (
        not is_missing(label) and isinstance(label, str) == isinstance(marker, str) and bool(label == marker)
    )
