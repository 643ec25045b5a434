"""What goes in and what comes out: arrays, tensors, sparse matrices and torch Datasets, and fits that fail cleanly."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager

import numpy as np
import torch
import torch.utils.data
from sklearn.utils.validation import validate_data

from .._checks import canonical, in_a_file, unchanging
from .._label_markers import as_labels, missing, of_one_type

__all__ = [
    "MAX_IN_MEMORY",
    "all_or_nothing",
    "choose_device",
    "in_a_file",
    "like_input",
    "plain",
    "plain_labels",
    "rows_of",
    "search_device",
    "validated",
    "validated_new",
]

# Numbers that are held in memory; more of them go to a temporary file, off which batches are read.
MAX_IN_MEMORY = 5 * 10**7


def plain(X):
    """What numpy can read: the rows of a dataset, a tensor on the CPU, else X as it is."""
    if is_dataset(X):
        return rows_of(X)
    return as_array(X) if isinstance(X, torch.Tensor) else X


def validated(estimator, X, y=None, *, pairwise=False, read_y=True, ensure_min_samples=2, **options):
    """Check training data: finite, two-dimensional, at least so many rows; float32 stays float32.  Returns X, y.

    X is read-only and its numbers are not the caller's, since a fitted model keeps it.
    Where no p reads y it may hold anything: labels of another task, say.  Labels that are missing are left to
    whoever reads y: they may be its marker.
    """
    if isinstance(X, list | tuple) and len(X) > 1 and all(getattr(part, "ndim", 0) == 2 for part in X):
        raise ValueError(
            f"X is a {type(X).__name__} of {len(X)} matrices, of shapes {', '.join(str(part.shape) for part in X)}; "
            f"several kinds of features of the same rows are one matrix: stack them with np.hstack([A, B]), and "
            f"give split=A.shape[1]"
        )
    y = plain(y) if read_y else None
    gaps = None
    if y is not None:
        options["y"], gaps = _without_gaps(y)
    given = plain(X)
    out = validate_data(
        estimator, given, accept_sparse="csr", dtype=(np.float64, np.float32), order="C",
        ensure_min_samples=ensure_min_samples, copy=False, reset=True, **options,
    )  # fmt: skip
    X, y = out if y is not None else (out, None)
    if gaps is not None:
        y = gaps
    X = canonical(X)
    if pairwise and X.shape[0] != X.shape[1]:
        raise ValueError(
            f"X has shape {X.shape}, but p={estimator.p!r} expects a square matrix of rows against rows; "
            f"pass a square X, or a p that reads features such as p='gaussian'"
        )
    if isinstance(X, np.ndarray) and X.base is None and X is not given:
        X.flags.writeable = False  # it was made in here
    return unchanging(X), y


def _without_gaps(y):
    """Labels with another row's label where any are missing, and the labels as they are; None if all are there."""
    labels = as_labels(y)
    gaps = missing(labels) if labels.ndim == 1 else np.zeros(0, dtype=bool)
    if not gaps.any():
        return (labels.reshape(np.asarray(y).shape) if labels.ndim == 1 else y), None
    filled = labels.copy()
    filled[gaps] = 0 if gaps.all() else labels[~gaps][0]
    return of_one_type(filled), labels


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
    labels = as_labels(y)
    if labels.ndim != 1:
        return np.asarray(y)  # of which the checks of y complain
    absent = missing(labels)
    if absent.any():
        raise ValueError(
            f"y holds {absent.sum()} missing labels (the first in row {int(absent.argmax())}); give every row a "
            f"class, or say unlabeled=float('nan'), which stands for NaN, None and NA, if rows without one are to get "
            f"theirs from their neighbours"
        )
    if labels.dtype.kind == "O":
        text = np.array([isinstance(label, str) for label in labels], dtype=bool)
        if text.any() and not text.all():
            raise ValueError(
                f"y holds labels of mixed type, such as {labels[text][0]!r} and {labels[~text][0]!r}; use strings or "
                f"numbers throughout"
            )
        labels = labels if text.all() else of_one_type(labels)
    return labels.reshape(np.asarray(y).shape)


def like_input(result, X):
    """`result` as a tensor beside `X` if that is one, else as it is."""
    return torch.as_tensor(result, device=X.device) if isinstance(X, torch.Tensor) else result


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


def search_device(estimator):
    """Where neighbours of new rows are searched: on the CPU where the estimator is, else (None) where torch can.

    A model that was fitted on a GPU answers on a machine that has none.
    """
    return torch.device("cpu") if str(estimator.device) == "cpu" else None


def is_dataset(X) -> bool:
    return isinstance(X, torch.utils.data.Dataset)


def as_array(tensor) -> np.ndarray:
    """A tensor as an array; formats that numpy has not, such as bfloat16, in single precision."""
    tensor = tensor.detach().cpu()
    known = not tensor.is_floating_point() or tensor.dtype in (torch.float16, torch.float32, torch.float64)
    return (tensor if known else tensor.float()).numpy()


def rows_of(dataset) -> np.ndarray:
    """The items of a map-style dataset as rows of an array, that of ``dataset[i]`` in row i.

    An item is a tensor, an array or anything else that numpy makes numbers of, such as a PIL image; of a tuple
    or list, as of an image and its label, the first part is taken.  Integers of up to 16 bits and half precision
    become single precision, 32 bits and more double, unless they are single already.

    Returns
    -------
    ndarray of shape (n_items, size of an item)
        A ``numpy.memmap`` of a file without a name, gone when the array is, where it has more than
        ``MAX_IN_MEMORY`` entries.

    Raises
    ------
    TypeError
        For a dataset that can only be iterated over, or an item that holds no numbers.
    ValueError
        For a dataset without items, or items of different sizes.
    """
    if isinstance(dataset, torch.utils.data.IterableDataset) or not hasattr(dataset, "__len__"):
        raise TypeError(
            f"X is a {type(dataset).__name__}, whose items have no numbers and no known count; give a map-style "
            f"Dataset (one with __len__ and __getitem__), an array or a tensor"
        )
    n = len(dataset)
    if n == 0:
        raise ValueError(f"X is a {type(dataset).__name__} without items; a fit needs rows")
    first = _flat(dataset[0], 0)
    rows = _room((n, len(first)), np.result_type(first, np.float32))
    rows[0] = first
    for i in range(1, n):
        item = _flat(dataset[i], i)
        if len(item) != len(first):
            raise ValueError(
                f"item {i} of X has {len(item)} numbers and item 0 has {len(first)}: items must be of one size; "
                f"crop, resize or pad them in the dataset"
            )
        rows[i] = item
    return rows


def _room(shape, dtype):
    if shape[0] * shape[1] <= MAX_IN_MEMORY:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, dtype=dtype, mode="w+", shape=shape)


def _flat(item, i):
    """The numbers of an item, in a row."""
    part = item[0] if isinstance(item, tuple | list) and len(item) else item
    part = as_array(part) if isinstance(part, torch.Tensor) else np.asarray(part)
    if part.dtype.kind not in "biuf":
        raise TypeError(
            f"item {i} of X is a {type(item).__name__} that holds no numbers; an item must be a tensor, an array or "
            f"an image, or a tuple that begins with one"
        )
    return part.ravel()
