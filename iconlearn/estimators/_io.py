"""What goes in and what comes out: arrays, tensors and sparse matrices, and fits that fail cleanly."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import torch
from scipy import sparse
from sklearn.utils.validation import validate_data

from .._canonical import canonical
from ..neighbors import searching_on
from ._datasets import as_array, is_dataset, rows_of

__all__ = [
    "all_or_nothing",
    "choose_device",
    "dense_tensor",
    "in_a_file",
    "like_input",
    "mean_of_equal_rows",
    "plain",
    "plain_labels",
    "searching_as_told",
    "validated",
    "validated_new",
]


def plain(X):
    """What numpy can read: the rows of a dataset, a tensor on the CPU, else X as it is."""
    if is_dataset(X):
        return rows_of(X)
    return as_array(X) if isinstance(X, torch.Tensor) else X


def validated(estimator, X, y=None, *, pairwise=False, read_y=True, ensure_min_samples=2, **options):
    """Check training data: finite, two-dimensional, at least so many rows; float32 stays float32.  Returns X, y.

    Where no p reads y it may hold anything: labels that are missing, or of another task.
    """
    y = plain(y) if read_y else None
    if y is not None:
        options["y"] = y
    out = validate_data(
        estimator, plain(X), accept_sparse="csr", dtype=(np.float64, np.float32), order="C",
        ensure_min_samples=ensure_min_samples, copy=False, reset=True, **options,
    )  # fmt: skip
    X, y = out if y is not None else (out, None)
    X = canonical(X)
    if pairwise and X.shape[0] != X.shape[1]:
        raise ValueError(
            f"X has shape {X.shape}, but p={estimator.p!r} expects a square matrix of rows against rows; "
            f"pass a square X, or a p that reads features such as p='gaussian'"
        )
    return X, y


def validated_new(estimator, X):
    """Check new rows against what the estimator was fitted on."""
    rows = validate_data(
        estimator, plain(X), accept_sparse="csr", dtype=(np.float64, np.float32), order="C", reset=False
    )  # fmt: skip
    return canonical(rows)


def plain_labels(y):
    """Labels as an array that sorts: categories as their values, and no two kinds at once.

    Raises
    ------
    ValueError
        For missing labels, and for numbers beside strings.
    """
    y = plain(y)
    if not hasattr(y, "dtype") and isinstance(y, list | tuple):
        y = np.array(y, dtype=object) if len({str if isinstance(v, str) else None for v in y}) > 1 else y
    y = np.asarray(y)
    if y.dtype.kind != "O" or y.ndim != 1:
        return y
    missing = np.array([v is None or v != v for v in y], dtype=bool)
    if missing.any():
        raise ValueError(
            f"y holds {missing.sum()} missing labels (the first in row {int(missing.argmax())}); give every row a "
            f"class, or say unlabeled=float('nan') if rows without one are to get theirs from their neighbours"
        )
    text = np.array([isinstance(v, str) for v in y], dtype=bool)
    if text.any() and not text.all():
        raise ValueError(
            f"y holds labels of mixed type, such as {y[text][0]!r} and {y[~text][0]!r}; use strings or numbers "
            f"throughout"
        )
    return y if text.all() else np.array(y.tolist())


def dense_tensor(X):
    """Rows as a tensor of their own."""
    return torch.tensor(X.toarray() if sparse.issparse(X) else X)


def like_input(result, X):
    """`result` as a tensor beside `X` if that is one, else as it is."""
    return torch.as_tensor(result, device=X.device) if isinstance(X, torch.Tensor) else result


def in_a_file(X) -> bool:
    """Whether an array is (a view of) a numpy.memmap."""
    while X is not None and not isinstance(X, np.memmap):
        X = getattr(X, "base", None)
    return X is not None


def choose_device(device) -> torch.device:
    """The device meant by a parameter; "auto" is CUDA where there is one."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a torch device; use 'auto', 'cpu' or 'cuda'") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but torch sees no CUDA device; use device='auto'")
    return chosen


def mean_of_equal_rows(known, values, pairwise):
    """Give equal rows the mean of their values; rows of a pairwise X are no features to compare.

    `known` are the rows as :class:`iconlearn.neighbors.KnownRows`.
    """
    if pairwise:
        return values
    groups = known.groups()
    if groups.max() == len(groups) - 1:
        return values
    sums = np.zeros((groups.max() + 1, values.shape[1]))
    np.add.at(sums, groups, values)
    return (sums / np.bincount(groups)[:, None])[groups]


@contextmanager
def all_or_nothing(estimator):
    """Leave the estimator's attributes as they were if anything goes wrong inside."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def searching_as_told(estimator):
    """Neighbours of new rows are searched on the CPU where the estimator was told so, else where torch can.

    A model that was fitted on a GPU answers on a machine that has none.
    """
    return searching_on(torch.device("cpu") if str(estimator.device) == "cpu" else None)
