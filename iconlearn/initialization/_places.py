"""Starts for an embedding: principal axes, Laplacian eigenvectors of p, or noise.

Every start is centred and scaled so that its first coordinate has a given standard deviation; coordinates
that the data cannot supply are filled with noise a hundred times smaller.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.linalg import ArpackError

from .._torch_state import as_array
from ..distributed import ALONE
from ..mappers import declares
from ..neighbors import on_device
from ..numerics.graphs import parts_of_graph, vectors_of_graph

SPREAD = 1.0
# Of the distance of the parts of a graph: rows of one part must not start at one place.
PART_NOISE = 0.01

# Up to so many columns the axes are eigenvectors of the covariance, and with so few sparse rows of their products;
# beyond, scikit-learn finds them.
MAX_COVARIANCE = 1000
BLOCK_SIZE = 2**22
# Up to here, and down to its inverse, entries have squares in single precision.
MODERATE = 1e10


def initial_places(init, X, edges, n_components, rng, *, scale=SPREAD, device="cpu", group=ALONE):
    """A start of shape (n, n_components).

    Parameters
    ----------
    init : {"pca", "spectral", "random"} or array of shape (n, n_components)
        An array is used as it is.
    X : ndarray or sparse matrix of shape (n, n_features) or None
        Features; None where there are none, in which case "pca" means "spectral".
    edges : callable
        Returns p as a sparse matrix; called for "spectral" only.
    n_components : int
    rng : RandomState
    scale : float
        Standard deviation of the first coordinate.
    device : torch.device or str, default="cpu"
        Where principal axes of dense X, and places along them, are found, in double precision.
    group : Group or Alone
        The processes that have rows; "spectral" knows those of one alone.

    Raises
    ------
    ValueError
        If `init` is an unknown name or an array of the wrong shape.
    """
    if not isinstance(init, str):
        return _given(init, X if X is not None else edges(), n_components)
    if init == "pca" and X is not None:
        places = _principal(X, n_components, rng, torch.device(device if group.size == 1 else "cpu"), group)
    elif init in ("pca", "spectral"):
        places = _spectral(edges(), n_components, rng)
    elif init == "random":
        n = X.shape[0] if X is not None else edges().shape[0]
        places = _noise(rng, n, n_components, group)
    else:
        raise ValueError(f"init={init!r} is not known; use 'pca', 'spectral', 'random' or an array")
    return _scaled(places, n_components, rng, scale, group)


def principal_axes(X, n_components, rng, group=ALONE):
    """Leading principal axes of X as rows, shape (n_components or fewer, n_features).

    X is an array, a sparse matrix, or a tensor on another device than the CPU; up to 1000 features the axes are those
    of the rows of all processes of the group, and beyond of the first one's.
    """
    most = min(n_components, X.shape[1], group.total(X.shape[0]))
    seed = int(rng.randint(2**31 - 1))
    if isinstance(X, torch.Tensor):
        return _leading(_covariance_there(X), most)
    if X.shape[1] <= MAX_COVARIANCE:
        return _leading(_covariance(X, group), most)
    most = min(most, group.smallest(X.shape[0]))
    return group.from_first(_sparse_axes(X, most, seed) if sparse.issparse(X) else _wide_axes(X, most, seed))


def _wide_axes(X, n_components, seed):
    from sklearn.decomposition import PCA

    with np.errstate(invalid="ignore"):  # equal rows have no variance to take shares of
        return PCA(n_components, random_state=seed).fit(X).components_


@torch.no_grad()
def start_at_axes(mapper, X, n_components, rng, group=ALONE):
    """Start a linear mapper at the principal axes, scaled so that its first output has unit variance."""
    if not declares(mapper, "linear"):
        return
    orthonormal = declares(mapper, "orthonormal")
    target = mapper.free if orthonormal else mapper.weight
    axes = principal_axes(_there(X, target.device) if group.size == 1 else X, n_components, rng, group)
    share = X.shape[0] / group.total(X.shape[0])
    centre = group.total(share * np.asarray(X.mean(axis=0)).ravel())
    along = np.asarray(X @ axes[0]).ravel()
    along = along - group.total(share * along.mean())
    spread = np.sqrt(group.total(share * np.square(along).mean()))
    scale = 1.0 if orthonormal or spread == 0 else 1.0 / spread
    target[: len(axes)] = torch.as_tensor(axes * scale).to(target)
    if getattr(mapper, "bias", None) is not None:
        mapper.bias.copy_(-(target @ torch.as_tensor(centre).to(target)))


def _sparse_axes(X, n_components, seed):
    """Axes of many columns, by products between few rows or by Lanczos' method among many."""
    from sklearn.decomposition import PCA, TruncatedSVD

    X = sparse.csr_array(X, dtype=float)
    X = X * _to_one(abs(X).max())
    if X.shape[0] <= MAX_COVARIANCE:
        # Lanczos' method starts anew, and at random, where rows are equal; products of rows need no luck.
        products = (X @ X.T).toarray()
        products -= products.mean(axis=0)
        products -= products.mean(axis=1, keepdims=True)
        values, vectors = eigh(0.5 * (products + products.T))
        kept = np.flatnonzero(values > 1e-12 * abs(values).max())[::-1][:n_components]
        if not kept.size:  # no axis is better than another
            return np.eye(n_components, X.shape[1])
        axes = (X.T @ vectors[:, kept]).T
        return _upward(axes / np.linalg.norm(axes, axis=1, keepdims=True))
    try:
        return PCA(n_components, svd_solver="arpack", random_state=seed).fit(X).components_
    except ArpackError:  # rows that are all alike
        with np.errstate(invalid="ignore"):
            return TruncatedSVD(n_components, random_state=seed).fit(X).components_


def _to_one(peak):
    """A factor after which squares neither overflow nor vanish; a power of two takes no digits."""
    return 2.0 ** -np.clip(np.frexp(peak)[1], -120, 120)


def _covariance(X, group):
    """Scatter matrix about the mean but for its scale, summed in double precision over blocks of rows."""
    centre = _mean(X, group).astype(X.dtype)
    most, least = X.max(axis=0), X.min(axis=0)
    if sparse.issparse(X):
        X, most, least = sparse.csr_array(X), most.toarray().ravel(), least.toarray().ravel()
    scale = X.dtype.type(_to_one(group.largest(float(np.max([most - centre, centre - least])))))
    scatter = np.zeros((X.shape[1], X.shape[1]))
    step = max(1, BLOCK_SIZE // X.shape[1])
    for start in range(0, X.shape[0], step):
        block = X[start : start + step]
        block = ((block.toarray() if sparse.issparse(block) else block) - centre) * scale
        scatter += block.T @ block
    return group.total(scatter)


def _mean(X, group):
    """Mean of the rows of all processes, in double precision."""
    share = X.shape[0] / group.total(X.shape[0])
    return group.total(np.asarray(X.mean(axis=0, dtype=float)).ravel() * share)


def _noise(rng, n, n_columns, group):
    """Normal numbers for the rows of this process, as they would be if one had all rows."""
    first = group.starts(n)
    return rng.standard_normal((group.total(n), n_columns))[first : first + n]


def _there(X, device):
    """X as a tensor on the device, where axes are found there; else as it is."""
    able = device.type != "cpu" and not sparse.issparse(X) and X.shape[1] <= MAX_COVARIANCE
    return on_device(X, device) if able else X


def _covariance_there(X):
    """:func:`_covariance` of a tensor, whose products are in double precision as well."""
    centre = X.mean(0, dtype=torch.float64)
    scale = _to_one(float(torch.maximum(X.amax(0) - centre, centre - X.amin(0)).max()))
    scatter = centre.new_zeros(X.shape[1], X.shape[1])
    for block in X.split(max(1, BLOCK_SIZE // X.shape[1])):
        block = (block.double() - centre) * scale
        scatter += block.T @ block
    return scatter.cpu().numpy()


def _leading(scatter, n_axes):
    """Its leading eigenvectors as rows."""
    n = len(scatter)
    _, vectors = eigh(scatter, subset_by_index=[n - n_axes, n - 1])
    return _upward(vectors.T[::-1])


def _upward(axes):
    """Axes with the largest entry of each positive."""
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    return np.where(largest < 0, -axes, axes)


def _given(init, X, n_components):
    places = np.array(as_array(init), dtype=float)
    if places.shape != (X.shape[0], n_components):
        raise ValueError(
            f"init has shape {places.shape}; an array must have shape (n_samples, n_components) = "
            f"{(X.shape[0], n_components)}"
        )
    if not np.isfinite(places).all():
        raise ValueError("init contains NaN or infinity; every start must be finite")
    if len(places) > 1 and (places == places[0]).all():
        raise ValueError(
            "init puts all rows at one place, where the loss has no slope and nothing parts them; give places that "
            "differ, or init='random'"
        )
    return places


def _principal(X, n_components, rng, device, group):
    X = _there(X, device)
    # Extreme scales are normalised to one first: the squares of 1e200 are not finite, those of 1e-200 vanish.
    peak = group.largest(max(float(X.max()), -float(X.min())))
    if peak > 0 and np.isfinite(peak) and not 1 / MODERATE < peak < MODERATE:
        X = X / peak
    axes = principal_axes(X, n_components, rng, group)
    if isinstance(X, torch.Tensor):
        to = torch.from_numpy(np.ascontiguousarray(axes.T)).to(device)
        places = torch.cat([block.double() @ to for block in X.split(max(1, BLOCK_SIZE // X.shape[1]))])
        return (places - places.mean(0)).cpu().numpy()
    places = _along(X, axes)
    return places - _mean(places, group)


def _along(X, axes):
    """Rows along axes, in double precision; of dense rows in single precision no such copy is made."""
    if sparse.issparse(X) or X.dtype == axes.dtype:
        return np.asarray(X @ axes.T, dtype=float)
    step = max(1, BLOCK_SIZE // X.shape[1])
    return np.concatenate([X[first : first + step] @ axes.T for first in range(0, len(X), step)], dtype=float)


def _spectral(edges, n_components, rng):
    """Eigenvectors of the random walk on the symmetrised graph, the first one left out."""
    n = edges.shape[0]
    vectors = vectors_of_graph(edges, min(n_components + 1, n), rng, tol=1e-4)
    if vectors is None:
        return rng.standard_normal((n, n_components))
    places = vectors[:, 1:]
    if parts_of_graph(edges).max(initial=0) > 0:
        # The first vectors separate the parts of the graph from each other, and not the rows of a part.
        places = places + PART_NOISE * places.std() * rng.standard_normal(places.shape)
    return places


def _deviation(values, group):
    """Standard deviation over the rows of all processes."""
    if group.size == 1:
        return values.std(axis=0)
    found = np.sqrt(_mean((values - _mean(values, group)) ** 2, group))
    return found if values.ndim > 1 else found[0]


def _scaled(places, n_components, rng, scale, group):
    n = len(places)
    lead = _deviation(places[:, 0], group) if places.shape[1] else 0.0
    places = places / lead * scale if lead > 0 and np.isfinite(lead) else np.zeros_like(places)
    out = np.zeros((n, n_components))
    out[:, : places.shape[1]] = places
    flat = _deviation(out, group) <= 1e-12 * scale
    out[:, flat] = _noise(rng, n, flat.sum(), group) * scale * (0.01 if lead > 0 else 1.0)
    return out
