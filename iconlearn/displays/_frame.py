"""A map as a data frame, for viewers of their own: embedding-atlas, jupyter-scatter, plotly."""

from __future__ import annotations

import numpy as np

from .._torch_state import as_array
from ..neighbors import knn
from ._places import checked_places


def map_frame(embedding, X=None, *, labels=None, n_neighbors=15, metric="euclidean", frame=None):
    """A map, labels and neighbours as a pandas data frame with one row for each point.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, 2) or (n_samples, 3)
        Places, such as those of ``ICONEmbedding().fit_transform(X)``.
    X : array-like or sparse matrix of shape (n_samples, n_features) or None, default=None
        The features among which neighbours are found; None: the frame has no neighbours.
    labels : array-like of shape (n_samples,) or None, default=None
        Clusters, classes or anything else with few values.
    n_neighbors : int, default=15
        How many neighbours of each point, itself not among them.
    metric : str or callable, default="euclidean"
        As for :func:`iconlearn.neighbors.knn`.
    frame : DataFrame or dict of columns or None, default=None
        Further columns, such as texts; copied.

    Returns
    -------
    pandas.DataFrame
        With the columns of `frame`, and ``x``, ``y`` (and ``z``); ``label``, a categorical, where there are `labels`;
        and ``neighbors`` where there is `X`: a dict of ``ids`` (row numbers, the nearest first) and ``distances``,
        which is the format of embedding-atlas.

    Raises
    ------
    ValueError
        If the parts have different numbers of rows, or `frame` has one of the columns already.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.displays import map_frame
    >>> X, y = load_iris(return_X_y=True)
    >>> Z = ICONEmbedding(max_iter=20, random_state=0).fit_transform(X)
    >>> list(map_frame(Z, X, labels=y))
    ['x', 'y', 'label', 'neighbors']
    """
    import pandas as pd

    Z = checked_places(embedding, labels, None)
    columns = {name: Z[:, k] for k, name in enumerate("xyz"[: Z.shape[1]])}
    if labels is not None:
        columns["label"] = pd.Categorical(np.ravel(as_array(labels)))
    if X is not None:
        if len(Z) != X.shape[0]:
            raise ValueError(
                f"X has {X.shape[0]} rows for {len(Z)} places: give the rows of the map, in its order"
            )
        distances, ids = knn(X, n_neighbors, metric=metric)
        columns["neighbors"] = [{"ids": i, "distances": d} for i, d in zip(ids.tolist(), distances.tolist())]
    if frame is None:
        return pd.DataFrame(columns)
    out = pd.DataFrame(frame).reset_index(drop=True)
    if len(out) != len(Z):
        raise ValueError(f"frame has {len(out)} rows for {len(Z)} places: give one for each")
    taken = sorted(set(columns) & set(out.columns))
    if taken:
        raise ValueError(
            f"frame has the column {taken[0]!r} already, which the map would replace; rename or drop it"
        )
    return out.assign(**columns)
