"""Saving and loading of fitted estimators."""

from __future__ import annotations

import numpy as np
import scipy
import sklearn
import torch

from .._torch_state import restored
from ._classes import CLASSES
from ._decode import Decoder, revived
from ._encode import Encoder
from ._file import read, write

# By the first line of a file; these names do not change, as those of all classes.
ESTIMATORS = {
    kind: CLASSES[f"estimators.{kind}"] for kind in ("ICONClassifier", "ICONClustering", "ICONEmbedding")
}
# Named tuples that files of version 0.1.0 hold as plain ones, by the attribute that they are.
ONCE_PLAIN = {"_path": CLASSES["estimators.MergePath"]}
# Where an estimator has its own and scikit-learn's callbacks.
CALLBACKS = ("callback", "_skl_callbacks")


def save(estimator, path):
    """Write an estimator, fitted or not, to one file that holds no code.

    The file is a zip of .npy arrays and JSON with checksums.  Weights of modules of the user's own are in it and
    their code is not (see :func:`load`).  Callbacks are not stored.  On any error, an existing file stays.

    Parameters
    ----------
    estimator : ICONEmbedding, ICONClustering or ICONClassifier
    path : str or Path
        Replaced if it exists; no ending is added.

    Raises
    ------
    TypeError
        If the estimator holds a function, such as a metric or a custom q, or an object of a class that is neither
        the package's nor registered with it; pickle can store those.

    Notes
    -----
    Whole pipelines go into files of skops, which ask for the classes to trust, or into a pickle.

    Examples
    --------
    >>> import tempfile, os
    >>> import iconlearn
    >>> from sklearn.datasets import load_iris
    >>> X, _ = load_iris(return_X_y=True)
    >>> clusters = iconlearn.ICONClustering(3, random_state=0).fit(X)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "clusters.npz")
    ...     iconlearn.save(clusters, path)
    ...     loaded = iconlearn.load(path)
    >>> bool((loaded.predict(X) == clusters.labels_).all())
    True
    """
    kind = next((kind for kind, cls in ESTIMATORS.items() if cls is type(estimator)), None)
    if kind is None:
        raise TypeError(
            f"only iconlearn's own estimators can be saved, not a {type(estimator).__name__}; pickle it instead"
        )
    encoder = Encoder()
    state = restored(estimator.__getstate__())
    kept = {name: value for name, value in state.items() if name not in CALLBACKS}
    state = encoder.mapping({**kept, "callback": None}, "")
    versions = {m.__name__: m.__version__ for m in (np, scipy, sklearn, torch)}
    document = {"estimator": kind, "state": state, "nodes": encoder.nodes, "versions": versions}
    write(path, document, encoder.arrays)


def load(path, mapper=None, column_mapper=None):
    """Read an estimator that :func:`save` wrote; nothing in the file is executed.

    Parameters
    ----------
    path : str or Path
    mapper, column_mapper : torch.nn.Module or None, default=None
        Where the estimator was fitted with a module of the user's own (other than a ``Sequential`` of ``Linear``
        and ``ReLU``): a module of the same layers, which is copied and given the weights.  `column_mapper` is
        asked for only where it was a module of its own.

    Returns
    -------
    ICONEmbedding, ICONClustering or ICONClassifier
        On the CPU, whatever device it was fitted on.

    Raises
    ------
    ValueError
        With the reason, if the file is truncated, altered, of a newer version, not one of iconlearn's, or of
        classes that this iconlearn does not know; or if a module is needed.
    """
    document, arrays = read(path)
    cls = ESTIMATORS.get(document["estimator"])
    if cls is None:
        raise ValueError(
            f"{path} cannot be loaded: it holds a {document['estimator']!r}, which is no estimator"
        )
    decoder = Decoder({**document, "root": None}, arrays, {"mapper": mapper, "column_mapper": column_mapper})
    try:
        state = decoder.mapping(document["state"])
    except ValueError as error:
        raise ValueError(f"{path} cannot be loaded: {error}") from error
    for name, made in ONCE_PLAIN.items():
        if type(state.get(name)) is tuple:
            state[name] = made(*state[name])
    return revived(cls, state)
