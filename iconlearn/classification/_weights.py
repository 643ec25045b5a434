"""How much each row counts: its own weight times that of its class."""

from __future__ import annotations

import numpy as np
from sklearn.utils.validation import _check_sample_weight

from .._torch_state import as_array
from ..distributed import current


def row_weights(class_weight, sample_weight, X, classes, codes, labelled=slice(None)):
    """Weights of the rows, or None where all are alike.

    Parameters
    ----------
    class_weight : dict, "balanced" or None
        As in scikit-learn: weights by class; "balanced" is n_rows / (n_classes * rows of the class), rows
        counted by their own weight.
    sample_weight : array-like of shape (n_rows,) or None
    X : array
        Gives the number of rows, those of this process.
    classes : ndarray of shape (n_classes,)
    codes : ndarray of int of shape (n_rows,)
    labelled : slice or ndarray of bool of shape (n_rows,), default=all
        Rows whose codes mean anything; the others belong to no class.

    Raises
    ------
    ValueError
        For weights that are negative, not finite or all zero, and for unknown classes.
    """
    weight = None
    if sample_weight is not None:
        sample_weight = as_array(sample_weight)
        if not current().largest(bool(np.asarray(sample_weight).any())):
            raise ValueError("sample_weight is zero for every row; at least one weight must be positive")
        # A copy: torch warns of arrays that cannot be written, such as those of pandas.
        weight = np.array(_check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True))
    if class_weight is None:
        return weight
    rows = np.ones(len(codes)) if weight is None else weight.copy()
    known = codes[labelled]
    rows[labelled] *= _by_class(class_weight, classes, known, None if weight is None else weight[labelled])[
        known
    ]
    return rows


def log_odds(class_weight, classes):
    """What weights of classes add to log similarities to class means, which know of no frequencies.

    A class that weighs twice as much is met twice as often.  None where all classes are alike, as they are for
    means of "balanced" classes.
    """
    if not isinstance(class_weight, dict):
        return None
    with np.errstate(divide="ignore"):
        return np.log(_by_class(class_weight, classes, None, None))


def _by_class(class_weight, classes, codes, weight):
    if isinstance(class_weight, dict):
        unknown = [c for c in class_weight if c not in set(classes.tolist())]
        if unknown:
            raise ValueError(
                f"class_weight names the class {unknown[0]!r}, and y has only {_few(classes)}; leave it out"
            )
        bad = [(c, w) for c, w in class_weight.items() if not (np.isreal(w) and np.isfinite(w) and w >= 0)]
        if bad:
            raise ValueError(
                f"class_weight[{bad[0][0]!r}]={bad[0][1]!r} is out of range: it must be a number of at least 0"
            )
        given = np.array([class_weight.get(c, 1.0) for c in classes.tolist()], dtype=float)
        if not given.any():
            raise ValueError("class_weight is zero for every class; at least one weight must be positive")
        return given
    if not (isinstance(class_weight, str) and class_weight == "balanced"):
        raise ValueError(f"class_weight={class_weight!r} is not known: it must be None, 'balanced' or a dict")
    mass = current().total(np.bincount(codes, weights=weight, minlength=len(classes)).astype(float))
    return np.divide(mass.sum(), len(classes) * mass, out=np.zeros_like(mass), where=mass > 0)


def _few(classes):
    shown = ", ".join(repr(c) for c in classes[:5].tolist())
    return shown if len(classes) <= 5 else f"{shown} and {len(classes) - 5} more"
