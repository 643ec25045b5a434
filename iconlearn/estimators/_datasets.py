"""The rows of a torch Dataset: each item is read once and flattened, in memory or, where they are many, in a file."""

from __future__ import annotations

import tempfile

import numpy as np
import torch
import torch.utils.data

__all__ = ["MAX_IN_MEMORY", "as_array", "is_dataset", "rows_of"]

# Numbers that are held in memory; more of them go to a temporary file, off which batches are read.
MAX_IN_MEMORY = 5 * 10**7


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
