"""Checks of arguments, with messages that name argument, value and remedy; matrices in the form that fits need."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
from scipy.sparse import issparse

# Between the sizes whose squares, and sums of them, double precision holds with all their digits.
SMALLEST, LARGEST = 1e-150, 1e150


def suggest(name, known: Iterable[str]) -> str:
    """A sentence such as ' Did you mean "gaussian"?', or '' when nothing known is near."""
    near = difflib.get_close_matches(str(name).lower(), list(known), n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def check_choice(name: str, value, known: Iterable):
    """Return `value` if it is one of `known`, else raise ValueError with the nearest one."""
    known = list(known)
    if not any(value is k or (isinstance(value, str) and value == k) for k in known):
        options = ", ".join(repr(k) for k in known)
        hint = suggest(value, [k for k in known if isinstance(k, str)])
        raise ValueError(f"{name}={value!r} is not known: it must be one of {options}.{hint}")
    return value


def check_number(name: str, value, *, low=-math.inf, high=math.inf, closed="both", integer=False, hint=""):
    """Return `value` if it is a finite number within its bounds.

    Parameters
    ----------
    name : str
        The argument's name, for the message.
    value : object
    low, high : float
        Bounds.
    closed : {"both", "left", "right", "neither"}
        Which of the bounds are allowed values.
    integer : bool
        Whether `value` has to be an integer.
    hint : str
        Appended in parentheses, for example "typical values are 5 to 50".

    Raises
    ------
    TypeError
        If `value` is not a real number (or not an integer where one is asked for).
    ValueError
        If it is not finite or out of range.
    """
    kind = "an integer" if integer else "a number"
    bounds = []
    if low > -math.inf:
        bounds.append(f"at least {low:g}" if closed in ("both", "left") else f"above {low:g}")
    if high < math.inf:
        bounds.append(f"at most {high:g}" if closed in ("both", "right") else f"below {high:g}")
    demand = f"it must be {' and '.join(bounds) or 'finite'}" + (f" ({hint})" if hint else "")
    if isinstance(value, bool) or not isinstance(value, Integral if integer else Real):
        raise TypeError(f"{name}={value!r} is not {kind}: {demand}")
    above = value >= low if closed in ("both", "left") else value > low
    below = value <= high if closed in ("both", "right") else value < high
    if not (math.isfinite(value) and above and below):
        raise ValueError(f"{name}={value!r} is out of range: {demand}")
    number: Any = value
    return int(number) if integer else float(number)


def check_squares(X, *, smallest=SMALLEST):
    """Refuse features whose squares, of which distances are made, overflow or (all of them) vanish.

    Parameters
    ----------
    X : ndarray or sparse matrix
        Finite.
    smallest : float
        What the largest number must reach where it is not zero.

    Raises
    ------
    ValueError
    """
    numbers = X.data if issparse(X) else X
    size = max(float(numbers.max()), -float(numbers.min())) if numbers.size else 0.0
    if not (size == 0 or smallest <= size <= LARGEST):
        gone = "zero" if size < 1 else "infinite"
        raise ValueError(
            f"the largest number of X is {size:.2g}, and squares of such numbers are {gone} in double precision: scale "
            f"X, as by X / {size:.0e} or sklearn.preprocessing.StandardScaler"
        )


def image_shape(shape, n_features=None):
    """(channels, height, width) of images that are rows (of so many features, if given), from that or (height, width).

    Raises
    ------
    TypeError
        If `shape` is no tuple of two or three integers.
    ValueError
        If a side is below one, or the product is not `n_features`.
    """
    known = isinstance(shape, tuple | list) and len(shape) in (2, 3)
    if not known or not all(isinstance(side, Integral) and not isinstance(side, bool) for side in shape):
        raise TypeError(
            f"shape={shape!r} is no shape of images: it must be (height, width) or (channels, height, width)"
        )
    if min(shape) < 1:
        raise ValueError(f"shape={tuple(shape)} is no shape of images: every side must be at least 1")
    if n_features is not None and math.prod(shape) != n_features:
        raise ValueError(
            f"shape={tuple(shape)} holds {math.prod(shape)} numbers, and a row has {n_features} features: it must be "
            f"(height, width) or (channels, height, width) of the images that rows are"
        )
    return tuple(int(side) for side in ((1, *shape) if len(shape) == 2 else shape))


def count_steps(n_features, step):
    """How many steps of `step` numbers each a row of `n_features` numbers has.

    Raises
    ------
    TypeError
        If `step` is no integer.
    ValueError
        If it is below one, or the row is no multiple of it.
    """
    check_number("step", step, low=1, integer=True)
    if n_features % step:
        raise ValueError(
            f"step={step} does not divide the {n_features} numbers of a row: a sequence holds its steps one after the "
            f"other, each of as many numbers; fill up or cut the rows, or give the numbers of one step"
        )
    return n_features // step


def canonical(X):
    """A sparse X with sorted columns and one entry for each place, as a copy where it was not so; dense X as it is.

    scipy sums duplicates and sorts columns in place when it needs to (in ``max()``, for one), which would change what
    the user owns, and fails where that is read-only.
    """
    if not issparse(X) or X.has_canonical_format:
        return X
    X = X.copy()
    X.sum_duplicates()
    return X


def unchanging(X):
    """X as numbers that do not change, for what outlives a call: itself where it is read-only, else a read-only copy.

    An array in a file stays there.
    """
    if in_a_file(X) or not any(map(_writeable, _parts(X))):
        return X
    # In the same order, since sums over it follow the order in memory.
    X = X.copy() if issparse(X) else X.copy(order="K")
    for part in _parts(X):
        part.flags.writeable = False
    return X


def in_a_file(X) -> bool:
    """Whether an array is (a view of) a numpy.memmap."""
    while X is not None and not isinstance(X, np.memmap):
        X = getattr(X, "base", None)
    return X is not None


def _parts(X):
    return (X.data, X.indices, X.indptr) if issparse(X) else (X,)


def _writeable(array):
    """Whether the numbers of an array can be changed, be it by way of another that it is a view of."""
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return array is not None
