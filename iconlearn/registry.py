"""The one table of component names, and the only reader of it.

``resolve(slot, value)`` turns what a user wrote (a name, an object, a function, a module, a matrix) into the
component that a fit uses.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import sparse

from . import divergences, engines, learned, mappers, supervisory
from ._checks import suggest

__all__ = ["COMPONENTS", "resolve"]

COMPONENTS: dict[str, dict[str, Callable]] = {
    "p": {
        "gaussian": supervisory.Gaussian,
        "student": supervisory.Student,
        "symmetric_entropic": supervisory.SymmetricEntropic,
        "wide_gaussian": supervisory.WideGaussian,
        "knn": supervisory.KNN,
        "graph": supervisory.Graph,
        "precomputed": supervisory.Precomputed,
        "cooccurrence": supervisory.Cooccurrence,
        "paired": supervisory.Paired,
        "views": supervisory.Views,
        "identity": supervisory.Identity,
        "restore": supervisory.Restore,
        "labels": supervisory.Labels,
        "must_link": supervisory.MustLink,
        "classes": supervisory.Classes,
    },
    "q": {
        "gaussian": learned.Gaussian,
        "student": learned.Student,
        "inverse_power": learned.InversePower,
        "hyperbolic": learned.Hyperbolic,
        "dot": learned.Dot,
        "cosine": learned.Cosine,
        "cluster": learned.Cluster,
        "wide_gaussian": learned.WideGaussian,
        "narrow_gaussian": learned.NarrowGaussian,
    },
    "divergence": {
        "kl": divergences.KL,
        "reverse_kl": divergences.ReverseKL,
        "jensen_shannon": divergences.JensenShannon,
        "hellinger": divergences.Hellinger,
        "total_variation": divergences.TotalVariation,
    },
    "mapper": {
        "table": mappers.Table,
        "linear": mappers.Linear,
        "mlp": mappers.MLP,
        "ema": mappers.EMA,
        "autoencoder": mappers.Autoencoder,
    },
    "engine": {
        "closed": engines.Closed,
        "dense": engines.Dense,
        "mesh": engines.Mesh,
        "minibatch": engines.MiniBatch,
        "sampled": engines.Sampled,
        "partition": engines.Partition,
    },
}

# The methods by which an object shows that it can serve in a slot.
PROTOCOLS = {
    "p": ("fit", "extend"),
    "q": ("begin", "place", "log_kernel"),
    "divergence": ("at_zero", "__call__"),
    "mapper": ("build",),
    "engine": ("refuses", "visits", "log_sums"),
}


def resolve(slot: str, value):
    """The component meant by `value` in `slot`; objects pass through untouched.

    Parameters
    ----------
    slot : {"p", "q", "divergence", "mapper", "engine"}
    value : str or object
        A registered name; an object with the protocol of the slot; a class of such objects; for `p` also a
        square matrix of weights, a networkx graph, a list of edges as an array, or the neighbours of each row as
        (indices, distances); for `mapper` a torch module or a function that makes one; for `q` a
        function from scalars of pairs to log kernels; for `divergence` the convex f of an f-divergence.

    Raises
    ------
    ValueError
        If the name is unknown; the message names the nearest known one.
    TypeError
        If the object cannot serve in the slot.
    """
    if isinstance(value, str):
        return _by_name(slot, value)()
    if isinstance(value, type) and value in COMPONENTS[slot].values():
        return value()
    if slot == "mapper" and isinstance(value, torch.nn.Module):
        return mappers.given(value)
    if slot == "p" and (
        isinstance(value, np.ndarray) or sparse.issparse(value) or supervisory.is_network(value)
    ):
        return supervisory.Graph(value)
    if slot == "p" and supervisory.is_neighbor_lists(value):
        return supervisory.KNN(supervisory.n_listed(value), neighbors=value)
    if not isinstance(value, type) and all(hasattr(value, name) for name in PROTOCOLS[slot]):
        return value
    if slot == "mapper" and callable(value):
        return mappers.given(value)
    if slot == "q" and callable(value):
        return learned.Custom(value)
    if slot == "divergence" and callable(value):
        return divergences.FDivergence(value)
    if slot == "p" and (isinstance(value, list | tuple) or hasattr(value, "__array__")):
        size = f"shape {tuple(value.shape)}" if hasattr(value, "shape") else f"length {len(value)}"
        raise TypeError(
            f"a {type(value).__name__} of {size} cannot be used as p (or graph): a matrix of weights has to be a numpy "
            f"array or a sparse matrix, so give np.asarray(...) of it, or iconlearn.supervisory.Graph(...)"
        )
    if isinstance(value, type) and all(hasattr(value, name) for name in PROTOCOLS[slot]):
        raise TypeError(
            f"{slot}={value.__name__} is a class; give an object of it, {slot}={value.__name__}()"
        )
    if slot == "p" and callable(value):
        raise TypeError(
            f"p={value!r:.200} is a function, and no rule says what it is called with: give the matrix of weights that "
            f"it makes of the rows, p=f(X), or an object with fit() and extend(), as in doc/extending.md"
        )
    raise TypeError(
        f"{slot}={value!r:.200} cannot be used: give one of {_known(slot)}, or an object with "
        f"{', '.join(name + '()' for name in PROTOCOLS[slot])}"
    )


def _by_name(slot, name):
    try:
        return COMPONENTS[slot][name]
    except KeyError:
        methods = (
            " Methods by their names, such as t-SNE and UMAP, are in iconlearn.recipes."
            if slot in "pq"
            else ""
        )
        raise ValueError(
            f"{slot}={name!r} is not known; use one of {_known(slot)}.{suggest(name, COMPONENTS[slot])}{methods}"
        ) from None


def _known(slot):
    return ", ".join(map(repr, COMPONENTS[slot]))
