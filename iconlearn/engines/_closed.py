"""Answers without gradients: principal directions by eigenvectors, k-means by Lloyd's steps.

Linear map W with orthonormal rows, q infinitely wide:

    L(W) = tr(W M W^T),     M = sum_ij m_i (p_ij - 1/c [j candidate of i]) (x_i - x_j)(x_i - x_j)^T

whose minimum is at the eigenvectors of the least eigenvalues of M; with p = identity, principal components.

Free assignments, reverse KL without entropy from a Gaussian of one width, the row itself included:

    L(r) = inertia(r) / (n sigma^2) + mean_i log Z_i

whose least value is taken by hard assignments: k-means.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse

from ..mappers import declares
from ..optim import History, Solution
from ._base import Engine

# What records call these steps.
PHASE = "closed"

BLOCK = 2**22
SMALLEST = 1e-12
# Below this share of the sum of squares an inertia by products has lost its digits to them.
LOST = 1e-3


class Closed(Engine):
    """Solves the two kinds of problem whose optimum (or best next step) is known; refuses all others."""

    solves = True

    def refuses(self, problem):
        if problem.q.shared_clusters:
            # Where p itself would be rounded to zero, its logarithm is a distance like any other.
            return self.refuses_form(problem) or _refuses_clusters(problem)
        return super().refuses(problem) or _refuses_directions(problem)

    def solve(self, objective, *, max_iter, tol, rng, callback=None, report=None) -> Solution:
        """Put the answer into the parameters of `objective`."""
        problems = objective.problems
        if problems[0].q.shared_clusters:
            constant = LogNormaliser(tuple((problem.weight, problem.p.block) for problem in problems))
            return _k_means(problems, max_iter, History(callback, report, constant))
        return _directions(problems, History(callback, report))


def _refuses_directions(problem):
    if problem.q.reduce != "mean" or problem.p.wide or problem.q.geometry != "sqdist":
        return "the closed engine supports q='wide_gaussian' with sphere=False and shared clusters only"
    if not declares(problem.rows.mapper, "orthonormal") or not problem.tied:
        return "the closed engine needs mappers.Linear(orthonormal=True) and a p whose columns are the rows"
    return None


def _refuses_clusters(problem):
    q, p = problem.q, problem.p
    if not problem.divergence.reverse or problem.divergence.entropy != 0:
        return "the closed engine solves clusters for divergences.ReverseKL(entropy=0) only"
    if problem.rows.inputs is not None or not problem.tied:
        return "the closed engine needs mapper='table' for clusters"
    if q.normalize != "self" or q.degree_weighted or q.debias > 0:
        return "the closed engine needs Cluster() without degrees or a share"
    if p.uniform > 0 or p.mass is not None or p.quadratic is None:
        return "the closed engine needs a Gaussian p of one sigma with self_pairs=True and no debias"
    return None


# --- directions ----------------------------------------------------------------------------------


def _directions(problems, history):
    mapper = problems[0].rows.mapper
    M = sum(problem.weight * scatter(problem) for problem in problems)
    values, vectors = np.linalg.eigh(M)
    n_outputs = mapper.free.shape[0]
    W = vectors[:, :n_outputs].T
    W = W * np.where(W[np.arange(n_outputs), np.abs(W).argmax(axis=1)] < 0, -1.0, 1.0)[:, None]
    with torch.no_grad():
        mapper.free.copy_(torch.as_tensor(W))
    with torch.no_grad():
        outputs = problems[0].rows.at().cpu().numpy()
    history.add(values[:n_outputs].sum(), PHASE, outputs=outputs.copy)
    return history.solution("plateau")  # nothing is left to do, whatever a callback returns


def scatter(problem):
    """M of one term, in double precision, by blocks of rows."""
    p, X = problem.p, _centred(problem.rows.inputs)
    n, mass = p.n_rows, p.row_mass
    c = p.n_candidates
    # sum_ij B_ij (x_i - x_j)(x_i - x_j)^T = X^T (diag(B 1) + diag(1^T B) - B - B^T) X
    ends, cross = np.zeros(n), np.zeros((X.shape[1], X.shape[1]))
    step = max(1, BLOCK // n)
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        B = _weights(p, rows, mass, c)
        ends[rows] += B.sum(axis=1)
        ends += B.sum(axis=0)
        cross += X[rows].T @ (B @ X)
    return X.T @ (ends[:, None] * X) - cross - cross.T


def _weights(p, rows, mass, c):
    """m_i (p_ij - 1 / c) for some rows, full; a pair of a row with itself has no distance to weigh."""
    return mass[rows, None] * (p.full(rows) - 1.0 / c)


def _centred(inputs):
    X = inputs.detach().cpu().numpy() if isinstance(inputs, torch.Tensor) else inputs
    X = X.toarray() if sparse.issparse(X) else X
    X = np.asarray(X, dtype=float)
    return X - X.mean(axis=0)


# --- k-means -------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class LogNormaliser:
    """sum_t weight_t mean_i log Z_i over the terms: the part of k-means' loss that needs all pairs.

    It does not depend on the labels, so the steps omit it, and it is computed when the loss is requested.

    Parameters
    ----------
    terms : tuple of (float, KernelBlock)
        Weights, and p of full rows.
    """

    terms: tuple

    def __call__(self) -> float:
        return sum(weight * float(block.normalisers[1].mean()) for weight, block in self.terms)


def _k_means(problems, max_iter, history):
    table = problems[0].rows.mapper.places
    # Several terms are one: their features side by side, each scaled by the root of its weight.
    points = []
    for problem in problems:
        features, precision = problem.p.quadratic
        features = features.toarray() if sparse.issparse(features) else np.asarray(features, dtype=float)
        points.append((features - features.mean(axis=0)) * np.sqrt(problem.weight * 2.0 * precision))
    labels = table.detach().argmax(1).cpu().numpy()
    X = points[0] if len(points) == 1 else np.hstack(points)
    n_clusters, present = table.shape[1], labels.copy()

    def report(inertia):
        return history.add(inertia / len(X), PHASE, outputs=lambda: np.eye(n_clusters)[present])

    labels, reason = lloyd(X, labels, n_clusters, max_iter, report, present)
    with torch.no_grad():
        table.fill_(np.log(SMALLEST))
        table[torch.arange(len(X)), torch.as_tensor(labels)] = 0.0
    return history.solution(reason)


def lloyd(X, labels, n_clusters, max_iter, report=lambda inertia: False, present=None):
    """Alternate between means and nearest means from the given labels, until no label changes.

    An empty cluster takes the row that lies furthest from its mean.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    labels : ndarray of int of shape (n,)
    n_clusters : int
    max_iter : int
    report : callable
        Called with the inertia of the labels at every step; a true answer ends the search.
    present : ndarray of int of shape (n,) or None
        Where these labels are written before it is called.

    Returns
    -------
    labels : ndarray of int
    reason : str

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 1982.
    """
    total = np.einsum("ij,ij->", X, X)
    for _ in range(max_iter):
        labels = _filled(labels, n_clusters, X)
        means = _means(X, labels, n_clusters)
        # |x - mean|^2 less |x|^2, by one product.
        gap = X @ (-2.0 * means.T)
        gap += np.einsum("ij,ij->i", means, means)
        inertia = total + np.take_along_axis(gap, labels[:, None], axis=1).sum()
        if inertia < LOST * total:
            inertia = np.square(X - means[labels]).sum()
        if present is not None:
            present[:] = labels
        if report(inertia):
            return labels, "callback"
        new = gap.argmin(axis=1)
        if (new == labels).all():
            return labels, "plateau"
        labels = new
    return labels, "max_iter"


def _means(X, labels, n_clusters):
    sizes = np.bincount(labels, minlength=n_clusters)
    n = len(X)
    member = sparse.csc_array((np.ones(n), labels, np.arange(n + 1)), shape=(n_clusters, n))
    return (member @ X) / np.maximum(sizes, 1)[:, None]


def _filled(labels, n_clusters, X):
    """The labels, with the row furthest from its mean in every empty cluster."""
    sizes = np.bincount(labels, minlength=n_clusters)
    if (sizes > 0).all():
        return labels
    labels = labels.copy()
    far = np.square(X - _means(X, labels, n_clusters)[labels]).sum(axis=1)
    for empty in np.flatnonzero(sizes == 0):
        # A cluster of one row has nothing to give.
        row = int(np.where(sizes[labels] > 1, far, -np.inf).argmax())
        sizes[labels[row]] -= 1
        labels[row], sizes[empty], far[row] = empty, 1, -np.inf
    return labels
