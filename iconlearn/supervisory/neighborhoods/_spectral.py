"""Graphs as spectral methods read them: cuts weighted by degree, and places from eigenvectors.

With W a symmetric graph, d its row sums, and every row a candidate of every row, itself included,

    Cut       p(j|i) ∝ exp(scale W_ij / d_j)
    Spectral  p(j|i) ∝ exp(-|u_i - u_j|^2 / (2 sigma^2)),     W u = lambda d u, the leading eigenvectors
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from ..._checks import check_number
from ...conditional import BlockConditional, along_entries
from ...numerics.graphs import walk_eigenvectors
from .._base import search_options
from .._wrapper import Wrapper
from ._kernel import Gaussian


class Cut(Wrapper):
    """p(j|i) ∝ exp(scale * W_ij / d_j) over all rows j, the row itself included.

    With ``Cluster(degree_weighted=True)`` and the reverse KL divergence this is the normalised cut, less a
    bonus for the entropy of q that fades as `scale` grows.

    Parameters
    ----------
    p : Supervisory
        The graph: W is its weights, made symmetric; for example ``Graph(mass="degree")`` or ``KNN(10)``.
    scale : float, default=1.0
        Positive factor in the exponent.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    degree_ : ndarray of shape (n_rows,)
        d, the row sums of W; W sums to one.
    conditional_ : BlockConditional
        Its ``column_weights`` are the degrees.  Rows without any edge carry no mass.

    References
    ----------
    Shi and Malik, "Normalized cuts and image segmentation", PAMI 2000; Alshammari et al., "I-Con: a unifying
    framework for representation learning", ICLR 2025, theorem 14.
    """

    def __init__(self, p, scale=1.0):
        self.p = p
        self.scale = scale

    from_features = keeps_share = False

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p and weigh its edges; see :meth:`Supervisory.fit`."""
        scale = check_number("scale", self.scale, low=0, closed="neither")
        self.p_ = self.fitted(self.p, X, y, random_state, n_jobs, device)
        W, self.degree_ = symmetric_weights(self)
        block = CutBlock.of(W, self.degree_, scale)
        empty = self.degree_ <= 0
        self.conditional_ = BlockConditional(
            block, W.shape, empty=empty if empty.any() else None, column_weights=self.degree_
        )
        self.warn_lost("any edge to another row", "use a p with more neighbours")
        return self

    def _extend(self, X_new, n_jobs, device):
        # A new row's weights have no common scale with W; as a row of the walk it has the mean degree.
        near = self.p_.extend(X_new, **search_options(self.p_, n_jobs, device)).sparse()
        walk = sparse.csr_array(near * self.degree_.mean())
        block = CutBlock.of(walk, self.degree_, self.scale)
        return BlockConditional(block, walk.shape, column_weights=self.degree_)


class Spectral(Wrapper):
    """A Gaussian over the leading eigenvectors of the random walk on a graph.

    Parameters
    ----------
    p : Supervisory
        The graph, made symmetric.
    n_components : int or "auto", default=8
        Number of eigenvectors, the constant one included; as many as clusters are usual, which is what "auto" stands
        for in an estimator.
    sigma : float or "scale", default="scale"
        Bandwidth among the eigenvectors, as for :class:`Gaussian`.

    Attributes
    ----------
    p_ : Supervisory
        The fitted inner p.
    eigenvalues_ : ndarray of shape (n_components,)
        Of the walk, largest first; one minus those of the normalised Laplacian.
    eigenvectors_ : ndarray of shape (n_rows, n_components)
    conditional_ : BlockConditional
        A row is among its own candidates.

    Notes
    -----
    A new row takes the place ``sum_j p(j|new) u_j / eigenvalue`` of its neighbours in the inner p.

    References
    ----------
    Ng, Jordan and Weiss, "On spectral clustering", NeurIPS 2001; von Luxburg, "A tutorial on spectral
    clustering", 2007; Alshammari et al., "I-Con", ICLR 2025, corollary 4.
    """

    def __init__(self, p, n_components=8, *, sigma="scale"):
        self.p = p
        self.n_components = n_components
        self.sigma = sigma

    from_features = keeps_share = False

    def for_outputs(self, n_outputs):
        """See :meth:`Supervisory.for_outputs`: an eigenvector for every output."""
        if self.n_components == "auto":
            self.n_components = n_outputs
        return super().for_outputs(n_outputs)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None, device=None):
        """Fit the inner p and find the eigenvectors; see :meth:`Supervisory.fit`."""
        self.p_ = self.fitted(self.p, X, y, random_state, n_jobs, device)
        W, degree = symmetric_weights(self)
        if self.n_components == "auto" or self.n_components is None:
            raise ValueError(
                f"n_components={self.n_components!r} is the number of outputs of an estimator, and none is known "
                f"here (n_clusters='auto' is counted from p itself); give a number"
            )
        k = check_number("n_components", self.n_components, low=1, integer=True)
        if k > W.shape[0]:
            raise ValueError(f"n_components={k} is more than the {W.shape[0]} rows; ask for at most as many")
        self.eigenvalues_, self.eigenvectors_ = walk_eigenvectors(W, degree, k, random_state)
        # A scale of its own for every eigenvector would change their distances; one for all does not.
        self._gaussian = Gaussian(sigma=self.sigma, self_pairs=True).fit(self.eigenvectors_)
        self.conditional_ = self._gaussian.conditional_
        return self

    def _extend(self, X_new, n_jobs, device):
        steps = self.p_.extend(X_new, **search_options(self.p_, n_jobs, device)).sparse()
        places = (steps @ self.eigenvectors_) / np.where(self.eigenvalues_ > 1e-6, self.eigenvalues_, np.inf)
        return self._gaussian.extend(places, n_jobs=n_jobs, device=device)


@dataclass(frozen=True, eq=False)
class CutBlock:
    """Rows of exp(scale W_ij / d_j), normalised, on demand.

    Parameters
    ----------
    exponent : csr_array
        scale * W_ij / d_j.
    log_total : ndarray of shape (n_rows,)
        Logarithm of each row's sum.
    graph : csr_array
        W, scaled so that a row weighs one on average; for starts.
    """

    exponent: sparse.csr_array
    log_total: np.ndarray
    graph: sparse.csr_array

    @classmethod
    def of(cls, W, degree, scale):
        exponent = sparse.csr_array(W, copy=True)
        safe = np.where(degree > 0, degree, 1.0)
        exponent.data = scale * exponent.data / safe[exponent.indices]
        # Every candidate off the edges weighs exp(0) = 1.
        high = np.maximum(exponent.max(axis=1).toarray().ravel(), 0.0)
        rows = along_entries(np.arange(exponent.shape[0]), exponent)
        on = np.bincount(rows, np.exp(exponent.data - high[rows]), minlength=exponent.shape[0])
        off = exponent.shape[1] - np.diff(exponent.indptr)
        return cls(exponent, high + np.log(on + off * np.exp(-high)), W * W.shape[0])

    def __call__(self, rows=None, cols=None) -> np.ndarray:
        return np.exp(self.log(rows, cols))

    def log(self, rows=None, cols=None) -> np.ndarray:
        """Logarithms of the rows."""
        part = self.exponent if rows is None else self.exponent[rows]
        part = (part if cols is None else part[:, cols]).toarray()
        total = self.log_total if rows is None else self.log_total[rows]
        return part - total[:, None]


def symmetric_weights(wrapper):
    """W = (M + M^T) / 2 with M_ij = mass_i p(j|i) off the diagonal, p the inner one, and its row sums."""
    conditional = wrapper.p_.conditional_
    joint = sparse.diags(conditional.row_mass) @ conditional.sparse()
    W = sparse.csr_array((joint + joint.T) * 0.5)
    W.setdiag(0.0)
    W.eliminate_zeros()
    if not W.nnz:
        raise ValueError(
            f"{type(wrapper).__name__} needs a graph, and {wrapper.p!r:.200} has no edge between two rows; use a p "
            f"such as KNN(15)"
        )
    return W, np.asarray(W.sum(axis=1)).ravel()
