"""Words as they come: lists of sentences, a column of a table, or arrays of objects."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ...conditional import normalize_rows


def sentences_of(X):
    """X as a list of lists of words; None if it is something else, such as a matrix or whole texts.

    Parameters
    ----------
    X : object
        Sentences may be lists, tuples, one-dimensional arrays or Series of strings, and X itself a list, a tuple,
        an array or a Series of them, or a two-dimensional array of strings.

    Raises
    ------
    ValueError
        If some rows are sentences, and others are no sequences at all.
    """
    X = _plain(X)
    if not (isinstance(X, list | tuple) or (_is_array_of_objects(X) and X.ndim in (1, 2))):
        return None
    rows = [_words(row) for row in X]
    if not any(row and all(isinstance(word, str) for word in row) for row in rows):
        return None
    if None in rows:
        at = rows.index(None)
        raise ValueError(
            f"row {at} of X is {list(X)[at]!r:.40} and no list of words, as other rows are; give every sentence as a "
            f"list, and [] where there is none"
        )
    return rows


def bags_of(sentences, vocabulary):
    """The share that each word of a vocabulary has in each sentence; other words are left out.

    Parameters
    ----------
    sentences : list of list of str
    vocabulary : sequence of str

    Returns
    -------
    csr_array of shape (n_sentences, n_words)
        Rows sum to one, or are empty.
    """
    number = {str(word): k for k, word in enumerate(vocabulary)}
    found = [[number[str(word)] for word in row if str(word) in number] for row in sentences]
    pointers = np.concatenate([[0], np.cumsum([len(row) for row in found])]).astype(np.int64)
    codes = np.array([code for row in found for code in row], dtype=np.int64)
    counts = csr_array((np.ones(len(codes)), codes, pointers), shape=(len(found), len(number)))
    counts.sum_duplicates()
    return normalize_rows(counts)


def is_tokens(X) -> bool:
    """Whether X is a list of lists of words."""
    return sentences_of(X) is not None


def holds_words(X) -> bool:
    """Whether any row of X is a string: a word, or a whole text."""
    X = _plain(X)
    rows = X if isinstance(X, list | tuple) or (_is_array_of_objects(X) and X.ndim == 1) else ()
    return any(isinstance(row, str) for row in rows)


def _plain(X):
    """A Series of polars as a list; anything else as it is."""
    kind = type(X)
    return X.to_list() if (kind.__module__.partition(".")[0], kind.__name__) == ("polars", "Series") else X


def _words(row):
    """A sentence as a list, None if it is none."""
    if isinstance(row, list | tuple):
        return list(row)
    # An array of nothing is one of floats.
    flat = getattr(row, "shape", None) == (0,) or (_is_array_of_objects(row) and row.ndim == 1)
    return list(row) if flat else None


def _is_array_of_objects(X):
    """Whether X is an array or a Series of objects or strings; a sparse matrix, a tensor or numbers are not."""
    return hasattr(X, "ndim") and getattr(getattr(X, "dtype", None), "kind", None) in ("O", "U")
