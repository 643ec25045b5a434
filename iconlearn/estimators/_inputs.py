"""What goes in and what comes out: arrays, tensors, sparse matrices and torch Datasets, and fits that fail cleanly."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from numbers import Number

import numpy as np
import torch
import torch.utils.data
from scipy import sparse
from sklearn.utils import check_array
from sklearn.utils.validation import validate_data

from .._checks import canonical, check_squares, unchanging
from .._device import FORKED, has_cuda
from .._label_markers import as_labels, filled, is_missing, missing, of_one_type, refuse_mixed
from .._torch_state import as_array
from ..distributed import check_alike, current
from ..supervisory import as_matrix, declared, finite_pairs, is_neighbor_lists, is_network, neighbor_matrix
from ._images import frame_of

# Numbers that are held in memory; more of them go to a temporary file, off which batches are read.
MAX_IN_MEMORY = 5 * 10**7

# Rows from which a step without a network is quicker on a device, where it is some hundred launches of microseconds.
MANY_ROWS = 5000


def plain(X):
    """What numpy can read: the rows of a dataset, a tensor as an array, else X as it is; masked entries are missing."""
    if is_dataset(X):
        return rows_of(X)
    if isinstance(X, torch.Tensor):
        return as_array(X) if X.layout == torch.strided else _of_sparse_tensor(X)
    if np.ma.isMaskedArray(X):
        return _with_missing(X)
    if hasattr(X, "__array_namespace__") and not isinstance(X, np.ndarray) and not sparse.issparse(X):
        return _of_another_library(X)
    return X


def validated(estimator, X, y=None, *, pairwise=False, read_y=True, ensure_min_samples=2, **options):
    """Check training data: finite, two-dimensional, at least so many rows; float32 stays float32.  Returns X, y.

    X is read-only and its numbers are not the caller's, since a fitted model keeps it.
    Where no p reads y it may hold anything: labels of another task, say.  Labels that are missing are left to
    whatever reads y: they may be its marker.
    """
    group = current()
    with group.together():
        X, y = _validated(estimator, X, y, pairwise, read_y, ensure_min_samples, options)
    kind = "a sparse matrix" if sparse.issparse(X) else "rows"
    check_alike(group, "X", f"{kind} of {X.shape[1]} features in {X.dtype}")
    return X, y


def _validated(estimator, X, y, pairwise, read_y, ensure_min_samples, options):
    """As :func:`validated`, of this process alone."""
    y = plain(y) if read_y else None
    gaps = None
    if y is not None:
        options["y"], gaps = _without_gaps(y)
    vars(estimator).pop("image_shape_", None)
    given, image_shape = _rows_as_given(X, pairwise, estimator)
    if image_shape is not None:
        estimator.image_shape_ = image_shape
    with _numbers_alone(given), finite_pairs(given) if pairwise else nullcontext():
        out = validate_data(
            estimator, given, accept_sparse="csr", dtype=_precisions(given), order="C",
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
    if not pairwise:
        check_squares(X)
    if isinstance(X, np.ndarray) and X.base is None and X is not given:
        X.flags.writeable = False  # it was made in here
    return unchanging(X), y


def _without_gaps(y):
    """Labels with another row's label where any are missing, and the labels as they are; None if all are there."""
    labels = as_labels(y)
    gaps = missing(labels) if labels.ndim == 1 else np.zeros(0, dtype=bool)
    if not gaps.any():
        return (labels.reshape(np.asarray(y).shape) if labels.ndim == 1 else y), None
    return filled(labels, gaps), labels


def validated_new(estimator, X):
    """Check new rows against what the estimator was fitted on."""
    given, _ = _rows_as_given(X, is_network(X), estimator)
    with _numbers_alone(given), finite_pairs(given) if declared(estimator.p_, "pairwise") else nullcontext():
        rows = validate_data(
            estimator, given, accept_sparse="csr", dtype=_precisions(given), order="C", reset=False
        )  # fmt: skip
    if not declared(estimator.p_, "pairwise"):
        check_squares(rows, smallest=0.0)
    return canonical(rows)


def validated_group(estimator, X, group):
    """Check new rows that show one group of the features alone, as a query of one modality does.

    Parameters
    ----------
    group : slice or None
        Of the features of the fit; None: all.

    Returns
    -------
    ndarray, csr_array or None
        None where X does not have just those columns.
    """
    if group is None or getattr(X, "shape", (0, 0))[1:] != (group.stop - group.start,):
        return None
    names = getattr(estimator, "feature_names_in_", None)
    columns = getattr(X, "columns", None)
    if names is not None and columns is not None and list(columns) != list(names[group]):
        raise ValueError(
            f"the columns of X are {list(columns)!r:.200}, and this side was fitted on {list(names[group])!r:.200}: "
            f"give those, in that order"
        )
    given = plain(X)
    with _numbers_alone(given):
        rows = check_array(given, accept_sparse="csr", dtype=_precisions(given), order="C")
    return canonical(rows)


def _rows_as_given(X, pairwise, estimator):
    """X as scikit-learn can check it, and the shape of its images, None where it has none.

    Raises
    ------
    TypeError, ValueError
        For what holds rows, but in a form that no table is; they say how to get one.
    """
    if is_network(X) and not pairwise:
        raise TypeError(
            f"X is a graph of networkx, and p={estimator.p!r} reads features; use p='graph' with it, or give features"
        )
    if isinstance(X, torch.utils.data.DataLoader):
        raise TypeError(
            "X is a DataLoader, which gives batches; give its dataset, X.dataset, and let "
            "engine=iconlearn.engines.MiniBatch(batch_size) draw the batches"
        )
    if type(X).__module__.partition(".")[0] == "anndata":
        raise TypeError(
            "X is an AnnData; give features such as X.obsm['X_pca'] or X.X, or X.obsp['connectivities'] with p='graph'"
        )
    if _is_of_polars(X) and hasattr(X, "collect"):
        raise TypeError("X is a LazyFrame, whose rows are not read yet; give X.collect()")
    if isinstance(X, Mapping) and not sparse.issparse(X):
        raise TypeError(f"X is a {type(X).__name__}; give a table of rows, such as pandas.DataFrame(X)")
    if isinstance(X, Iterator):
        raise TypeError(f"X is a {type(X).__name__}, whose rows can be read once; give list(X)")
    frame = None
    if isinstance(X, list | tuple):
        frame = None if pairwise else _frame_of_list(X, estimator)
        if frame is None:
            _refuse_parts(X, pairwise)
        else:
            X = np.stack([as_array(image) for image in X])
        if pairwise and is_neighbor_lists(X):
            return neighbor_matrix(X, len(X[0])), None
    if is_dataset(X):
        return _rows_of_items(X, estimator)
    X = plain(X)
    if pairwise:
        X = as_matrix(X)
    sides = tuple(getattr(X, "shape", ()))[1:]
    if len(sides) > 1 and not pairwise:
        frame = frame or frame_of(estimator, sides)
    if frame is not None:
        return frame.flat(X), frame.shape
    if len(sides) > 1:
        _refuse_images(tuple(X.shape))
    return X, None


def _frame_of_list(X, estimator):
    """The frame of a list of images of one shape, of which the estimator reads; None for other lists."""
    sides = {tuple(part.shape) if hasattr(part, "shape") else () for part in X}
    if len(sides) != 1 or len(*sides) < 2:
        return None
    try:
        return frame_of(estimator, *sides)
    except ValueError:
        return None  # tables, perhaps, of which the refusal of lists knows more


def _rows_of_items(dataset, estimator):
    """The items of a dataset as rows, and the shape of the images that they are."""
    frame = None

    def laid(item):
        nonlocal frame
        if frame is None and item.ndim > 1:
            frame = frame_of(estimator, item.shape)
        return item if frame is None else frame.flat(item[None])

    return rows_of(dataset, laid), None if frame is None else frame.shape


def _precisions(X):
    """The types that X may keep; scikit-learn does not see where all columns of a polars frame are single.

    Integers of one or two bytes, truth values and halves are exact in single precision, at half the memory of double.
    """
    single = _is_of_polars(X) and {str(dtype) for dtype in getattr(X, "dtypes", ())} == {"Float32"}
    dtype = getattr(X, "dtype", None)
    single |= isinstance(dtype, np.dtype) and dtype.kind in "biuf" and dtype.itemsize <= 2
    return np.float32 if single else (np.float64, np.float32)


def _is_of_polars(X):
    return type(X).__module__.partition(".")[0] == "polars"


def _refuse_parts(X, pairwise):
    """Refuse a list or tuple of several tables, or of images."""
    shapes = [tuple(part.shape) if hasattr(part, "shape") else None for part in X[:10]]
    if not shapes or None in shapes or (pairwise and is_neighbor_lists(X)):
        if X and isinstance(X[0], list | tuple) and X[0] and len(getattr(X[0][0], "shape", ())) > 0:
            raise ValueError(
                f"row 0 of X is a {type(X[0]).__name__} of {len(X[0])} arrays; give one flat row for each: what "
                f"belongs together beside each other, numpy.hstack, with p=iconlearn.supervisory.Paired(split=...)"
            )
        return
    tables = len(X) == len(shapes) and len(X) > 1 and all(len(s) > 0 and s[0] == shapes[0][0] for s in shapes)
    if tables and [len(s) for s in shapes] == [2, 1]:
        raise ValueError(
            f"X is a {type(X).__name__} of a table and a column; give X and y as two arguments, fit(X, y)"
        )
    if (
        tables
        and all(len(s) == 2 for s in shapes)
        and (isinstance(X, tuple) or len({s[1] for s in shapes}) > 1)
    ):
        widths = [s[1] for s in shapes]
        cuts = [sum(widths[: i + 1]) for i in range(len(widths) - 1)]
        raise ValueError(
            f"X is a {type(X).__name__} of {len(X)} tables of {' and '.join(map(str, widths))} columns; give them side "
            f"by side, numpy.hstack(X), with p=iconlearn.supervisory.Paired(split={cuts if cuts[1:] else cuts[0]}). "
            f"New rows of one of them alone go to transform, those of the other to transform_columns"
        )
    if all(len(s) == 2 for s in shapes) and len({s[0] for s in shapes}) > 1:
        raise ValueError(
            f"X is a {type(X).__name__} of tables of {', '.join(str(s[0]) for s in shapes)} rows; what belongs "
            f"together are as many rows, side by side: numpy.hstack, with p=iconlearn.supervisory.Paired(split=...)"
        )
    if all(len(s) > 1 for s in shapes):
        _refuse_images((len(X), *shapes[0]))


def _refuse_images(shape):
    raise ValueError(
        f"X has shape {shape}, and a row must be flat: Found array with dim {len(shape)}, while dim <= 2 is required. "
        f"Give X.reshape(len(X), -1), or what reads images: a module with convolutions, a mapper, views or a p with a "
        f"shape, or a module that begins with torch.nn.Unflatten(1, {shape[1:]})"
    )


def _with_missing(X):
    """A masked array as one without a mask, its masked entries NaN (or None where X holds no floats)."""
    mask = np.ma.getmaskarray(X)
    if not mask.any():
        return X.data
    filled = X.data.copy() if X.dtype.kind == "f" else X.data.astype(object)
    filled[mask] = np.nan if X.dtype.kind == "f" else None
    return filled


def _of_sparse_tensor(X):
    """A sparse tensor as a sparse matrix."""
    X = X.detach().cpu().to_sparse_coo().coalesce()
    return sparse.coo_matrix((as_array(X.values()), as_array(X.indices())), shape=tuple(X.shape)).tocsr()


def _of_another_library(X):
    """An array of another library of the array API."""
    for read in (np.asarray, np.from_dlpack):
        try:
            array = read(X)
        except (TypeError, ValueError, BufferError, RuntimeError, AttributeError):
            continue
        if array.dtype.kind != "O":
            return array
    raise TypeError(
        f"X is an array of {type(X).__module__}, which numpy cannot read; give it on the CPU as a numpy "
        f"array, as by X.get()"
    )


@contextmanager
def _numbers_alone(X):
    """Say which entry is at fault where numbers cannot be made of X."""
    try:
        yield
    except (TypeError, ValueError) as error:
        at = _first_without_number(X)
        if at is None and str(error).startswith("Input X contains"):
            at = _first_not_finite(X)
            if at is not None:
                row, column, n_rows = at
                what = str(error).split(".\n")[0].split("\n")[0].rstrip(".")
                raise ValueError(
                    f"{what}, in {n_rows} of {X.shape[0]} rows, first in row {row}, column {column!r}; leave such rows "
                    f"out, or fill them in, as by sklearn.impute.SimpleImputer in a pipeline"
                ) from error
        if at is None:
            raise
        row, column, value = at
        if is_missing(value):
            raise ValueError(
                f"X holds a missing value ({value!r}) in row {row}, column {column!r}; leave such rows out, or fill "
                f"them in, as by sklearn.impute.SimpleImputer"
            ) from error
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(
            f"X holds {value!r:.60} in row {row}, column {column!r}, which is no number ({error}); leave the column "
            f"out, or turn it into numbers, as by sklearn.preprocessing.OneHotEncoder"
        ) from error


def _first_without_number(X):
    """Row, column and value of the first entry that is no number; None where there is none, or X is no table."""
    if sparse.issparse(X) or (isinstance(X, np.ndarray) and X.dtype.kind in "biufc"):
        return None
    names = list(getattr(X, "columns", ()))
    try:
        entries = np.asarray(X, dtype=object)
    except (TypeError, ValueError):
        return None
    if entries.ndim != 2:
        return None
    for column in range(entries.shape[1]):
        for row, value in enumerate(entries[:, column].tolist()):
            if not isinstance(value, Number):
                return row, names[column] if names else column, value
    return None


def _first_not_finite(X):
    """Row and column of the first entry that is no finite number, and how many rows have one; None if unknown."""
    names = list(getattr(X, "columns", ()))
    try:
        wrong = sparse.coo_array(X) if sparse.issparse(X) else ~np.isfinite(np.asarray(X, dtype=float))
    except (TypeError, ValueError):
        return None
    if sparse.issparse(wrong):
        found = ~np.isfinite(wrong.data)
        rows, columns = wrong.row[found], wrong.col[found]
    else:
        rows, columns = np.nonzero(wrong) if wrong.ndim == 2 else ((), ())
    if len(rows) == 0:
        return None
    first = np.lexsort((columns, rows))[0]
    row, column = int(rows[first]), int(columns[first])
    return row, names[column] if names else column, np.unique(rows).size


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
            f"y holds {absent.sum()} missing labels (the first in row {int(absent.argmax())}), and NaN, None and NA "
            f"are no classes; give every row a class, or say unlabeled=float('nan'), which stands for NaN, None and "
            f"NA, if rows without one are to get theirs from their neighbours"
        )
    if labels.dtype.kind == "O":
        refuse_mixed(labels)
        labels = labels if not len(labels) or isinstance(labels[0], str) else of_one_type(labels)
    return labels.reshape(np.asarray(y).shape)


def like_input(result, X):
    """`result` as a tensor beside `X` if that is one, else as it is."""
    return torch.as_tensor(result, device=X.device) if isinstance(X, torch.Tensor) else result


def choose_device(device, n_rows=math.inf) -> torch.device:
    """The device meant by a parameter; "auto" is CUDA where there is one, unless a table has few rows.

    Parameters
    ----------
    device : str or torch.device
    n_rows : float, default=inf
        Rows whose places or assignments are free, or mapped by one layer; infinite where a network maps them.
    """
    if device == "auto":
        return torch.device("cuda" if n_rows >= MANY_ROWS and has_cuda() else "cpu")
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device={device!r} is not a torch device; use 'auto', 'cpu' or 'cuda'") from error
    if chosen.type not in ("cpu", "cuda"):
        why = "which has no double precision" if chosen.type == "mps" else "which it was not written for"
        raise ValueError(
            f"device={device!r} is not supported: iconlearn computes on 'cpu' and 'cuda', and not on {chosen.type!r}, "
            f"{why}; use device='cpu'"
        )
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={device!r} was asked for, but torch sees no CUDA device; use device='auto'")
    if chosen.type == "cuda" and not has_cuda():
        raise RuntimeError(f"device={device!r} was asked for: {FORKED}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device={device!r} was asked for, but torch sees {torch.cuda.device_count()} CUDA devices, counted from "
            f"0; use device='cuda:0'"
        )
    return chosen


@contextmanager
def all_or_nothing(estimator):
    """Leave the estimator's attributes as they were if anything goes wrong inside, which other processes learn of."""
    before = dict(vars(estimator))
    try:
        with current().task():
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


def rows_of(dataset, laid=None) -> np.ndarray:
    """The items of a map-style dataset as rows of an array, that of ``dataset[i]`` in row i.

    An item is a tensor, an array or anything else that numpy makes numbers of, such as a PIL image; of a tuple
    or list, as of an image and its label, the first part is taken.  Integers of up to 16 bits and half precision
    become single precision, 32 bits and more double, unless they are single already.  An item is put in
    order by ``laid(item)``, if that is given.

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
    first = _flat(dataset[0], 0, laid)
    rows = _room((n, len(first)), np.result_type(first, np.float32))
    rows[0] = first
    for i in range(1, n):
        item = _flat(dataset[i], i, laid)
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


def _flat(item, i, laid):
    """The numbers of an item, in a row."""
    part = item[0] if isinstance(item, tuple | list) and len(item) else item
    part = np.asarray(as_array(part))
    if part.dtype.kind not in "biuf":
        raise TypeError(
            f"item {i} of X is a {type(item).__name__} that holds no numbers; an item must be a tensor, an array or "
            f"an image, or a tuple that begins with one"
        )
    return (part if laid is None else laid(part)).ravel()
