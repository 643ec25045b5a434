"""Maps, clusters and labels of AnnData objects, by the conventions of scverse.

Each function reads one representation of the cells (features, or the neighbour graph that scanpy has left), fits one of
the three estimators and writes what it finds into the object, beside the parameters.  The package anndata is not
imported: it is whatever made the object.  New cells need the fitted model: fit an estimator to ``adata.obsm[...]``.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array, issparse

from ._checks import suggest
from .estimators import ICONClassifier, ICONClustering, ICONEmbedding

__all__ = ["annotate", "cluster", "embed"]

# What an AnnData has, and is asked for here.
PARTS = ("X", "copy", "layers", "obs", "obsm", "obsp", "uns")


def embed(
    adata,
    n_components=2,
    *,
    use_rep=None,
    layer=None,
    neighbors_key=None,
    key_added=None,
    copy=False,
    random_state=0,
    **parameters,
):
    """A map of the cells, by :class:`iconlearn.ICONEmbedding`.

    Parameters
    ----------
    adata : AnnData
        Of n_obs cells.
    n_components : int, default=2
        Dimensions of the map.
    use_rep : str or None, default=None
        Which features: a key of ``adata.obsm``, or "X".  None is "X_pca" where there is one, else X.
    layer : str or None, default=None
        A key of ``adata.layers``, whose values are the features instead.
    neighbors_key : str or None, default=None
        The neighbour graph instead of features: the key of ``adata.uns`` under which ``scanpy.pp.neighbors`` has
        described it, "neighbors" by default there.  p is then ``"graph"``.
    key_added : str or None, default=None
        The key of the map in ``adata.obsm`` and of the parameters in ``adata.uns``; None is "X_icon" and "icon".
    copy : bool, default=False
        Whether to leave `adata` as it is, and return a copy with the results.
    random_state : int, RandomState or None, default=0
        As for the estimator.
    **parameters
        Further parameters of :class:`iconlearn.ICONEmbedding`, such as ``p=Gaussian(30)``.

    Returns
    -------
    AnnData or None
        The copy, if one was asked for.  Fields that are set: ``obsm["X_icon"]``, an array of shape
        (n_obs, n_components), and ``uns["icon"]``, a dict of ``params`` and ``loss``.

    Raises
    ------
    TypeError
        If `adata` is no AnnData.
    ValueError
        For a key that is not there, or several sources of features at once.

    Examples
    --------
    >>> import iconlearn.anndata
    >>> import scanpy  # doctest: +SKIP
    >>> adata = scanpy.datasets.pbmc68k_reduced()  # doctest: +SKIP
    >>> iconlearn.anndata.embed(adata)  # doctest: +SKIP
    >>> scanpy.pl.embedding(adata, "X_icon", color="bulk_labels")  # doctest: +SKIP
    """
    X, read = _rows_of(adata, use_rep, layer, neighbors_key)
    of_graph = _graph_as("p", neighbors_key, parameters)
    given = {"n_components": n_components, "random_state": random_state, **parameters}
    model = ICONEmbedding(**given, **of_graph).fit(X)
    target = adata.copy() if copy else adata
    target.obsm[key_added or "X_icon"] = model.embedding_.copy()
    target.uns[key_added or "icon"] = _record(model, {**read, **given})
    return target if copy else None


def cluster(
    adata,
    n_clusters=8,
    *,
    use_rep=None,
    layer=None,
    neighbors_key=None,
    key_added="icon_cluster",
    copy=False,
    random_state=0,
    **parameters,
):
    """Clusters of the cells, by :class:`iconlearn.ICONClustering`.

    Parameters
    ----------
    adata : AnnData
        Of n_obs cells.
    n_clusters : int or "auto", default=8
        As for the estimator.
    use_rep, layer, neighbors_key, copy, random_state
        As for :func:`embed`.
    key_added : str, default="icon_cluster"
        The key in ``adata.obs`` and ``adata.uns``, and the beginning of that in ``adata.obsm``.
    **parameters
        Further parameters of :class:`iconlearn.ICONClustering`, such as ``min_confidence=0.5``.

    Returns
    -------
    AnnData or None
        The copy, if one was asked for.  Fields that are set: ``obs["icon_cluster"]``, a categorical of the strings
        "0", "1", ... (missing where `min_confidence` is not reached); ``obsm["icon_cluster_probabilities"]``, an array
        of shape (n_obs, n_found_clusters); and ``uns["icon_cluster"]``, a dict of ``params`` and ``loss``.

    Raises
    ------
    TypeError, ValueError
        As for :func:`embed`.
    """
    import pandas as pd

    X, read = _rows_of(adata, use_rep, layer, neighbors_key)
    of_graph = _graph_as("p", neighbors_key, parameters)
    given = {"n_clusters": n_clusters, "random_state": random_state, **parameters}
    model = ICONClustering(**given, **of_graph).fit(X)
    target = adata.copy() if copy else adata
    # Codes of -1 are missing values to pandas, as they are doubtful rows here.
    names = [str(number) for number in range(model.n_clusters_)]
    target.obs[key_added] = pd.Categorical.from_codes(model.labels_, categories=names)
    target.obsm[f"{key_added}_probabilities"] = model.probabilities_.copy()
    target.uns[key_added] = _record(model, {**read, **given})
    return target if copy else None


def annotate(
    adata,
    labels,
    *,
    unlabeled=None,
    use_rep=None,
    layer=None,
    neighbors_key=None,
    key_added="icon_label",
    copy=False,
    random_state=0,
    **parameters,
):
    """Labels of all cells from those of a few, by :class:`iconlearn.ICONClassifier`.

    Parameters
    ----------
    adata : AnnData
        Of n_obs cells.
    labels : str
        The key of the labels in ``adata.obs``; cells without one have a missing value there.
    unlabeled : str or None, default=None
        A value that marks cells without a label besides, such as "Unknown".
    use_rep, layer, neighbors_key, copy, random_state
        As for :func:`embed`.
    key_added : str, default="icon_label"
        The key in ``adata.obs`` and ``adata.uns``, and the beginning of those of probabilities.
    **parameters
        Further parameters of :class:`iconlearn.ICONClassifier`, such as ``graph=KNN(10)``.

    Returns
    -------
    AnnData or None
        The copy, if one was asked for.  Fields that are set: ``obs["icon_label"]``, a categorical of strings;
        ``obs["icon_label_confidence"]``, the probability of that label; ``obsm["icon_label_probabilities"]``, an
        array of shape (n_obs, n_labels) in the order of the categories; and ``uns["icon_label"]``, a dict of
        ``params`` and ``loss``.

    Raises
    ------
    TypeError
        If `adata` is no AnnData.
    ValueError
        For a key that is not there, several sources of features at once, or labels of all cells or of none.
    """
    import pandas as pd

    X, read = _rows_of(adata, use_rep, layer, neighbors_key)
    column = adata.obs[_known_key("labels", labels, adata.obs, "adata.obs")]
    missing = np.array(pd.isna(column))
    y = np.array([None if absent else str(value) for absent, value in zip(missing, column)], dtype=object)
    if unlabeled is not None:
        y[y == str(unlabeled)] = None
    known = np.array([label is not None for label in y])
    if known.all() or not known.any():
        raise ValueError(
            f"labels={labels!r}: {'every' if known.all() else 'no'} cell has a label there; annotate needs some cells "
            f"with and some without one, which have a missing value or what unlabeled={unlabeled!r} names"
        )
    of_graph = _graph_as("graph", neighbors_key, parameters)
    given = {"random_state": random_state, **parameters}
    model = ICONClassifier(unlabeled=np.nan, **given, **of_graph).fit(X, y)
    names = _in_order(column, model.classes_)
    probabilities = model.label_distributions_[:, np.searchsorted(model.classes_, names)]
    target = adata.copy() if copy else adata
    target.obs[key_added] = pd.Categorical(model.transduction_, categories=names)
    target.obs[f"{key_added}_confidence"] = probabilities.max(axis=1)
    target.obsm[f"{key_added}_probabilities"] = probabilities
    marker = {} if unlabeled is None else {"unlabeled": unlabeled}
    target.uns[key_added] = _record(model, {**read, "labels": labels, **marker, **given})
    return target if copy else None


# -- what is read --------------------------------------------------------------------------------------------


def _rows_of(adata, use_rep, layer, neighbors_key):
    """The features of the cells or their graph, and how it was chosen, as a dict."""
    missing = [name for name in PARTS if not hasattr(adata, name)]
    if missing:
        raise TypeError(
            f"adata is a {type(adata).__name__}, which has no {missing[0]}; give an AnnData, or fit an estimator to "
            f"a table of features"
        )
    chosen = {"use_rep": use_rep, "layer": layer, "neighbors_key": neighbors_key}
    chosen = {name: key for name, key in chosen.items() if key is not None}
    if len(chosen) > 1:
        raise ValueError(
            f"{' and '.join(f'{name}={key!r}' for name, key in chosen.items())} name several representations of the "
            f"cells; give one of them"
        )
    if layer is not None:
        X = adata.layers[_known_key("layer", layer, adata.layers, "adata.layers")]
    elif neighbors_key is not None:
        X = _graph_of(adata, neighbors_key)
    else:
        chosen["use_rep"] = use_rep = use_rep or ("X_pca" if "X_pca" in adata.obsm else "X")
        if use_rep == "X":
            X = adata.X
        else:
            X = adata.obsm[_known_key("use_rep", use_rep, adata.obsm, "adata.obsm")]
    return (X if issparse(X) else np.asarray(X)), chosen


def _graph_of(adata, neighbors_key):
    """The weights of scanpy's neighbour graph."""
    about = adata.uns[_known_key("neighbors_key", neighbors_key, adata.uns, "adata.uns")]
    if not isinstance(about, Mapping):
        raise ValueError(
            f"neighbors_key={neighbors_key!r}: adata.uns[{neighbors_key!r}] describes no neighbour graph; name what "
            f"scanpy.pp.neighbors(adata, key_added=...) has written"
        )
    key = about.get("connectivities_key", "connectivities")  # files of old versions do not name it
    return csr_array(adata.obsp[_known_key("the graph", key, adata.obsp, "adata.obsp")])


def _graph_as(slot, neighbors_key, parameters):
    """The parameter that reads a neighbour graph, where there is one."""
    if neighbors_key is None:
        return {}
    if slot in parameters:
        raise ValueError(
            f"{slot}={parameters[slot]!r:.60} cannot be given beside neighbors_key={neighbors_key!r}, whose graph it "
            f"would replace; leave one of them out"
        )
    return {slot: "graph"}


def _known_key(name, key, mapping, where):
    if key not in mapping:
        known = list(mapping)
        raise ValueError(f"{name}={key!r} is not in {where}, which has {known!r:.200}.{suggest(key, known)}")
    return key


def _in_order(column, classes):
    """The labels in use, in the order of the categories of a categorical column, which may have colours."""
    given = list(map(str, column.cat.categories)) if column.dtype.name == "category" else []
    found = set(classes)
    return [name for name in given if name in found] or list(classes)


def _record(model, given):
    """Parameters as values that files of AnnData hold, and the loss."""
    params = {
        name: value if isinstance(value, bool | int | float | str) else repr(value)
        for name, value in given.items()
        if value is not None
    }
    return {"params": params, "loss": float(model.loss_)}
