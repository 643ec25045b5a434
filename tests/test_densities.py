"""q as a density on the whole space: squared errors, likelihoods and cosines, against formulas that others wrote."""

import math

import mpmath
import numpy as np
import pytest
import torch
from reference import assert_slopes, evaluate, make_problem, places, random_rows, sparse_p, unit
from scipy import stats
from scipy.integrate import nquad
from sklearn.datasets import load_iris
from torch.nn import functional as F

from iconlearn import ICONEmbedding
from iconlearn.divergences import FDivergence, Hellinger, JensenShannon, ReverseKL, TotalVariation
from iconlearn.engines import Dense, Mesh, MiniBatch, Sampled, choose
from iconlearn.learned import Cosine, Dot, Gaussian, InversePower, Student
from iconlearn.mappers import Linear

N = 7
OWN = np.eye(N)


def of_targets(q, Z, targets, P=OWN, **options):
    return make_problem(sparse_p(P), q, Z, columns=targets, **options)


@pytest.mark.parametrize("d", [1, 3, 64])
@pytest.mark.parametrize("sigma", [0.5**0.5, 2.0])
@pytest.mark.parametrize("learnable", [False, True])
def test_a_gaussian_is_the_squared_error_and_a_likelihood(d, sigma, learnable):
    Z, T = places(N, d), places(N, d, seed=2)
    q = Gaussian(sigma, learnable=learnable, normalize="space")
    value, _ = evaluate(of_targets(q, Z, T))
    mse = float(F.mse_loss(torch.as_tensor(Z), torch.as_tensor(T)))
    expected = mse * d / (2 * sigma**2) + 0.5 * d * math.log(2 * math.pi * sigma**2)
    assert value == pytest.approx(expected, rel=1e-12)
    assert value == pytest.approx(-stats.norm(Z, sigma).logpdf(T).sum(axis=1).mean(), rel=1e-12)


def test_a_p_that_is_spread_is_the_mean_over_it():
    P, Z, T = random_rows(N, 5, density=0.6), places(N, 3), places(5, 3, seed=4)
    value, _ = evaluate(of_targets(Gaussian(0.7, normalize="space"), Z, T, P))
    log_q = stats.norm(Z[:, None], 0.7).logpdf(T[None]).sum(axis=2)
    on = P > 0
    assert value == pytest.approx((P[on] * (np.log(P[on]) - log_q[on])).sum() / N, rel=1e-12)


@pytest.mark.parametrize(("dof", "d"), [(1.0, 1), (3.0, 2), (70.0, 64)])
def test_a_student_is_the_multivariate_t(dof, d):
    Z, T = places(N, d), places(N, d, seed=2)
    value, _ = evaluate(of_targets(Student(dof, normalize="space"), Z, T))
    # (1 + r^2 / dof)^(-(dof + 1) / 2) is a t of dof + 1 - d degrees of freedom whose scale makes up for the difference.
    free = dof + 1 - d
    t = stats.multivariate_t(shape=dof / free * np.eye(d), df=free)
    assert value == pytest.approx(-np.mean([t.logpdf(x) for x in T - Z]), rel=1e-10)


@pytest.mark.parametrize(
    ("temperature", "d"), [(1.0, 2), (0.1, 3), (0.01, 8), (1.0, 128), (1.0, 4096), (30.0, 512)]
)
def test_a_cosine_is_the_density_of_von_mises_and_fisher(temperature, d):
    Z, T = places(N, d), places(N, d, seed=2)
    value, _ = evaluate(of_targets(Cosine(temperature, normalize="space"), Z, T))
    kappa, order = mpmath.mpf(1) / mpmath.mpf(temperature), mpmath.mpf(d) / 2 - 1
    log_volume = d / 2 * mpmath.log(2 * mpmath.pi) + mpmath.log(mpmath.besseli(order, kappa) / kappa**order)
    cosines = (unit(Z) * unit(T)).sum(axis=1)
    assert value == pytest.approx(float(log_volume) - cosines.mean() / temperature, rel=1e-9)


def test_a_cosine_at_temperature_one_is_half_the_squared_error_of_unit_vectors():
    Z, T = places(N, 16), places(N, 16, seed=2)
    q = Cosine(1.0, normalize="space")
    problem = of_targets(q, Z, T)
    value, (slope, _) = evaluate(problem)
    U = torch.as_tensor(Z).requires_grad_()
    mse = 16 * F.mse_loss(F.normalize(U, dim=1), F.normalize(torch.as_tensor(T), dim=1))
    assert value == pytest.approx(float(mse.detach()) / 2 - 1 + float(q.log_volume(16).detach()), rel=1e-12)
    np.testing.assert_allclose(slope, torch.autograd.grad(mse / 2, U)[0], atol=1e-14)


@pytest.mark.parametrize("q", [Gaussian(0.8, normalize="space"), Student(4.5, normalize="space")])
def test_a_density_has_one_under_it(q):
    q.begin(dtype=torch.float64)
    at = np.array([0.3, -0.2])

    def density(x, y):
        s = torch.tensor((x - at[0]) ** 2 + (y - at[1]) ** 2, dtype=torch.float64)
        return math.exp(float(q.log_kernel(s)) - q.log_volume(2))

    total, _ = nquad(density, [(-np.inf, np.inf)] * 2, opts={"epsabs": 1e-5, "epsrel": 1e-5})
    assert total == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    "q",
    [
        Gaussian(0.7, normalize="space"),
        Gaussian(0.7, learnable=True, normalize="space"),
        Student(6.0, normalize="space"),
        Cosine(0.3, normalize="space"),
        Cosine(0.3, learnable=True, normalize="space"),
    ],
    ids=["gaussian", "learned width", "student", "cosine", "learned temperature"],
)
def test_slopes_of_places_and_of_what_is_learned(q):
    Z, T = places(N, 4), places(5, 4, seed=3)
    problem = of_targets(q, Z, T, random_rows(N, 5, density=0.5))
    assert_slopes(problem)
    assert len(evaluate(problem)[1]) == 2 + bool(getattr(q, "learnable", False))


def test_the_learned_width_of_a_gaussian_is_that_of_the_errors():
    X = load_iris().data
    q = Gaussian(3.0, learnable=True, normalize="space")
    q.begin(dtype=torch.float64)
    errors = X - X.mean(axis=0)
    best = torch.optim.LBFGS(
        [q.log_precision_], max_iter=100, tolerance_change=0, line_search_fn="strong_wolfe"
    )

    def closure():
        best.zero_grad()
        U, V = (
            q.place(torch.as_tensor(errors)),
            q.place(torch.zeros(150, 4, dtype=torch.float64), columns=True),
        )
        total = -q.log_kernel((U - V).square().sum(1)).mean() + q.log_volume(4)
        total.backward()
        return total

    best.step(closure)
    assert q.sigma_ == pytest.approx(np.sqrt((errors**2).mean()), rel=1e-6)
    with torch.no_grad():
        q.log_precision_.fill_(99.0)
    assert q.sigma_ == pytest.approx(0.03)


def test_a_learned_width_counts_in_sums_over_rows_too():
    P, Z = random_rows(N, self_pairs=False), places(N, 2)
    p = sparse_p(P, self_pairs=False)
    values = [evaluate(make_problem(p, q, Z))[0] for q in (Gaussian(0.6), Gaussian(0.6, learnable=True))]
    assert values[1] == pytest.approx(values[0], rel=1e-12)
    assert_slopes(make_problem(p, Gaussian(0.6, learnable=True), Z))


@pytest.mark.parametrize(
    "divergence",
    [Hellinger(), JensenShannon(), TotalVariation(), ReverseKL(), FDivergence(lambda t: (t - 1) ** 2)],
    ids=lambda d: type(d).__name__,
)
def test_only_kl_makes_a_likelihood(divergence):
    P = np.full((N, N), 1 / N)
    problem = of_targets(Gaussian(normalize="space"), places(N, 2), places(N, 2), P, divergence=divergence)
    for engine in (Dense(), MiniBatch(), Mesh(), Sampled()):
        assert engine.refuses(problem) is not None
    with pytest.raises(ValueError, match=r"density over the whole space.*divergence='kl'"):
        choose([problem])


def test_what_has_no_density_is_refused_in_a_sentence():
    X = load_iris().data
    for q in (Dot(normalize="space"), InversePower(normalize="space")):
        with pytest.raises(ValueError, match=r"normalize='space'.*use one of 'row', 'joint'"):
            ICONEmbedding(q=q).fit(X)
    with pytest.raises(ValueError, match=r"debias=0.1 of Gaussian with normalize='space'.*leave debias at 0"):
        ICONEmbedding(q=Gaussian(normalize="space", debias=0.1)).fit(X)
    with pytest.raises(ValueError, match=r"dof=1.0 of Student.*2 dimensions.*dof > 1"):
        ICONEmbedding(q=Student(normalize="space")).fit(X)


def test_linear_projections_that_keep_neighbours_near():
    """With neighbours for p and an orthonormal map nothing can shrink: the least variance between neighbours."""
    X = load_iris().data - load_iris().data.mean(axis=0)
    model = ICONEmbedding(
        2,
        p="knn",
        q=Gaussian(0.5**0.5, normalize="space"),
        mapper=Linear(orthonormal=True),
        random_state=0,
        tol=1e-12,
    ).fit(X)
    P = model.p_.conditional_.sparse().toarray()
    i, j = np.nonzero(P)
    scatter = (P[i, j, None, None] * (X[i] - X[j])[:, :, None] * (X[i] - X[j])[:, None, :]).sum(axis=0) / len(
        X
    )
    least = np.linalg.eigvalsh(scatter)[:2].sum()
    entropy = -(P[i, j] * np.log(P[i, j])).sum() / len(X)
    assert model.loss_ == pytest.approx(least + math.log(math.pi) - entropy, abs=1e-6)
