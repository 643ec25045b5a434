"""The definitions written out in float64 numpy, full matrices and all; what the package is held against."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.sparse import csr_array

from iconlearn.conditional import BlockConditional, Conditional
from iconlearn.distributed import ALONE
from iconlearn.divergences import KL
from iconlearn.engines import Dense
from iconlearn.loss import loss
from iconlearn.mappers import TableModule
from iconlearn.objective import Points, Problem

FLOAT64 = {"dtype": torch.float64, "device": "cpu"}
# Visits of which row sums need to know one thing: whether a row is a candidate of its own.
ALL, OTHERS = (SimpleNamespace(exclude_self=alone, group=ALONE) for alone in (False, True))


class Block:
    """A dense matrix behind the block protocol of p."""

    def __init__(self, matrix):
        self.matrix = matrix

    def __call__(self, rows=None, cols=None):
        rows = slice(None) if rows is None else rows
        cols = slice(None) if cols is None else cols
        return self.matrix[rows][:, cols]


def sparse_p(P, **parameters):
    return Conditional(csr_array(P), **parameters)


def block_p(P, *, mass=None, **parameters):
    empty = P.sum(axis=1) == 0
    return BlockConditional(Block(P), P.shape, mass=mass, empty=empty if empty.any() else None, **parameters)


def random_rows(n_rows, n_cols=None, *, density=1.0, self_pairs=True, seed=0):
    """A row-stochastic matrix; every row keeps at least one entry."""
    rng = np.random.default_rng(seed)
    n_cols = n_rows if n_cols is None else n_cols
    P = rng.random((n_rows, n_cols)) * (rng.random((n_rows, n_cols)) < density)
    P[np.arange(n_rows), (np.arange(n_rows) + 1) % n_cols] += 0.1
    if not self_pairs:
        np.fill_diagonal(P, 0)
    return P / P.sum(axis=1, keepdims=True)


def candidates(p):
    """1 where column j is a candidate of row i."""
    mask = np.ones(p.shape)
    if not p.self_pairs:
        np.fill_diagonal(mask, 0)
    return mask


def full_p(p):
    """p with its uniform share written out, as a full matrix."""
    mask = candidates(p)
    return (1 - p.uniform) * p.sparse().toarray() + p.uniform * mask / mask.sum(axis=1, keepdims=True)


def sqdist(U, V):
    return ((U[:, None] - V[None]) ** 2).sum(axis=2)


def softmax(Z):
    e = np.exp(Z - Z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def unit(Z):
    return Z / np.linalg.norm(Z, axis=1, keepdims=True)


def ball(Z):
    """The points of the Poincare ball at the ends of steps Z from the origin."""
    r = np.linalg.norm(Z, axis=1, keepdims=True)
    return np.tanh(r / 2) * Z / r


def hyperbolic(Y, Z):
    """Distances in the Poincare ball."""
    room = np.outer(1 - (Y**2).sum(axis=1), 1 - (Z**2).sum(axis=1))
    return np.arccosh(1 + 2 * sqdist(Y, Z) / room)


KERNELS = {
    "Gaussian": lambda q, U, V, w: np.exp(-sqdist(U, V) / (2 * q.sigma**2)),
    "Student": lambda q, U, V, w: (1 + sqdist(U, V) / q.dof) ** (-(q.dof + 1) / 2),
    "InversePower": lambda q, U, V, w: (sqdist(U, V) + q.eps) ** (-q.power / 2),
    "Hyperbolic": lambda q, U, V, w: 1 / (1 + (hyperbolic(ball(U), ball(V)) / q.gamma) ** 2),
    "Dot": lambda q, U, V, w: np.exp(U @ V.T / q.temperature),
    "Cosine": lambda q, U, V, w: np.exp(unit(U) @ unit(V).T / q.temperature),
    "Cluster": lambda q, U, V, w: cluster_kernel(softmax(U), softmax(V), w if q.degree_weighted else None),
}


def cluster_kernel(r, t, weights=None):
    """sum_c r_ic t_jc w_j / sum_k t_kc w_k."""
    weighted = t if weights is None else t * weights[:, None]
    return r @ (weighted / weighted.sum(axis=0)).T


def joint_q(q, U, V, mask, mass):
    """q over all pairs: rows weighted by mass, or normalised over everything at once."""
    k = KERNELS[type(q).__name__](q, U, V, mass) * mask
    m = mask / mask.sum(axis=1, keepdims=True)
    if q.normalize == "joint":
        return (1 - q.debias) * k / k.sum() + q.debias * m / len(k)
    if q.normalize == "doubly":
        return mass[:, None] * ((1 - q.debias) * doubly_stochastic(k) + q.debias * m)
    rows = k if q.normalize == "self" else k / k.sum(axis=1, keepdims=True)
    return mass[:, None] * ((1 - q.debias) * rows + q.debias * m)


def doubly_stochastic(k, tolerance=1e-14):
    """diag(a) K diag(a) with rows of sum one, by Sinkhorn's iteration in its symmetric form."""
    a = k.sum(axis=1) ** -0.5
    while np.abs(a * (k @ a) - 1).max() > tolerance:
        a = np.sqrt(a / (k @ a))
    return a[:, None] * k * a


def xlogy(x, y):
    with np.errstate(divide="ignore"):
        return np.where(x > 0, x * np.log(np.where(x > 0, y, 1.0)), 0.0)


# Sums over all pairs of two non-negative tables.
DIVERGENCES = {
    "KL": lambda p, q: (xlogy(p, p) - xlogy(p, q)).sum(),
    "ReverseKL": lambda p, q: (xlogy(q, q) - xlogy(q, p)).sum(),
    "JensenShannon": lambda p, q: (
        0.5 * (xlogy(p, p) + xlogy(q, q) - xlogy(p, (p + q) / 2) - xlogy(q, (p + q) / 2)).sum()
    ),
    "Hellinger": lambda p, q: 0.5 * ((np.sqrt(p) - np.sqrt(q)) ** 2).sum(),
    "TotalVariation": lambda p, q: 0.5 * np.abs(p - q).sum(),
}


def full_loss(problem):
    """The loss of a problem, summed over every candidate pair from full matrices."""
    U = problem.rows.at(None).detach().double().numpy()
    V = problem.columns.at(None).detach().double().numpy()
    mass = problem.p.row_mass
    P = mass[:, None] * full_p(problem.p)
    Q = joint_q(problem.q, U, V, candidates(problem.p), mass)
    return DIVERGENCES[type(problem.divergence).__name__](P, Q)


def places(n, width, *, seed=1, scale=1.0):
    return scale * np.random.default_rng(seed).normal(size=(n, width))


def table(Z):
    return Points(TableModule(torch.as_tensor(Z, dtype=torch.float64)), len(Z), width=Z.shape[1])


def make_problem(p, q, Z, *, columns=None, divergence=None, weight=1.0):
    """A problem over free places in float64, tied unless the places of the columns are given."""
    q.begin(dtype=torch.float64)
    if columns is None and q.self_pairs:
        p = p.with_self_pairs()
    rows = table(Z)
    other = rows if columns is None else table(columns)
    return Problem(p, q, divergence or KL(), rows, other, weight)


def parameters_of(problem):
    points = (problem.rows,) if problem.tied else (problem.rows, problem.columns)
    learned = [t for t in vars(problem.q).values() if isinstance(t, torch.nn.Parameter) and t.requires_grad]
    return [points_.mapper.places for points_ in points] + learned


def first_visit(problem, engine=None, seed=0):
    engine = engine or Dense()
    return next(iter(next(engine.visits(problem, rng=np.random.RandomState(seed), **FLOAT64))))


def evaluate(problem, engine=None, visit=None, pull=1.0):
    """Loss and gradients of everything learned, through the objective."""
    engine = engine or Dense()
    visit = visit or first_visit(problem, engine)
    value = loss(problem, engine, visit, pull)
    gradients = torch.autograd.grad(value, parameters_of(problem), allow_unused=True)
    return float(value.detach()), [g.numpy() for g in gradients if g is not None]


def assert_slopes(problem, engine=None, *, rtol=1e-5, atol=1e-8, step=1e-5, seed=5):
    """The gradients against central differences along random directions."""
    engine = engine or Dense()
    visit = first_visit(problem, engine)
    value, gradients = evaluate(problem, engine, visit)
    rng = np.random.default_rng(seed)
    for parameter, gradient in zip(parameters_of(problem), gradients, strict=True):
        for _ in range(3):
            direction = torch.as_tensor(rng.normal(size=gradient.shape))
            with torch.no_grad():
                parameter += step * direction
                up = float(loss(problem, engine, visit))
                parameter -= 2 * step * direction
                down = float(loss(problem, engine, visit))
                parameter += step * direction
            expected = (up - down) / (2 * step)
            np.testing.assert_allclose((gradient * direction.numpy()).sum(), expected, rtol=rtol, atol=atol)
    return value


def entropic_optimum(P, C):
    """Dual variables (lambda, gamma) by which P minimises <P, C>, from P alone, and how far they are from doing so.

    A symmetric doubly stochastic P of given entropies is the least where (gamma_i + gamma_j) log P_ij + 2 C_ij is
    lambda_i + lambda_j for some gamma >= 0: linear in both, and so a matter of least squares.
    """
    i, j = np.nonzero(P > 1e-3)
    each = np.arange(len(i))
    A = np.zeros((len(i), 2 * len(P)))
    for ends in (i, j):
        A[each, ends] += 1
        A[each, len(P) + ends] -= np.log(P[i, j])
    found = np.linalg.lstsq(A, 2 * C[i, j], rcond=None)[0]
    return found[: len(P)], found[len(P) :], np.abs(A @ found - 2 * C[i, j]).max()
