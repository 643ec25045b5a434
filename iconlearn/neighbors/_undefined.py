"""Pairs of rows for which a metric has no distance."""

from __future__ import annotations

import numpy as np

from ._metrics import from_products

__all__ = ["check_defined"]


def check_defined(distances, metric, rows=None, columns=None, *, new_rows=False):
    """Refuse distances that are NaN, which no search can order and no kernel can weigh.

    Parameters
    ----------
    distances : ndarray of shape (m, k)
    metric : str or callable
    rows : ndarray of int of shape (m,) or None
        The number of each row; None is in order.
    columns : ndarray of int of shape (k,) or (m, k) or None
        What each distance is measured from; None is in order.
    new_rows : bool, default=False
        Whether the rows are queries rather than training rows.

    Raises
    ------
    ValueError
        Naming the row that has most of them, and one that it has no distance from.
    """
    if from_products(metric):
        return
    missing = np.isnan(distances)
    if not missing.any():
        return
    counts = missing.sum(axis=1)
    at = int(counts.argmax())
    to = int(missing[at].argmax())
    row = at if rows is None else int(rows[at])
    column = to if columns is None else int(columns[to] if columns.ndim == 1 else columns[at, to])
    which = f"{'new ' * new_rows}row {row} and {'training ' * new_rows}row {column}"
    raise ValueError(
        f"metric={metric!r} gives NaN for the distance of {which} (so it is for {np.count_nonzero(counts)} of "
        f"{len(counts)} rows): it is not defined there, as correlation is not for a row whose entries are all equal; "
        f"leave such rows out, or use a metric that is defined for them, such as metric='euclidean'"
    )
