"""A doubly stochastic q: potentials, their slopes, the optimum, new rows, and who serves it."""

import numpy as np
import pytest
import torch
from reference import (
    assert_slopes,
    doubly_stochastic,
    evaluate,
    full_loss,
    make_problem,
    places,
    sparse_p,
    sqdist,
    xlogy,
)
from scipy.optimize import minimize
from sklearn.datasets import load_digits

import iconlearn
from iconlearn import ICONEmbedding
from iconlearn.displays import NeighborDistributionDisplay
from iconlearn.divergences import KL, JensenShannon, ReverseKL
from iconlearn.engines import Dense, Mesh, MiniBatch, Sampled, _potentials
from iconlearn.engines._potentials import potentials
from iconlearn.learned import Gaussian, Student
from iconlearn.supervisory import KNN, Paired, SymmetricEntropic

N = 24
X = load_digits().data[: N + 4] / 16
NEW, X = X[N:], X[:N]
OFF = ~np.eye(N, dtype=bool)


def kernel(Z):
    return OFF / (1 + sqdist(Z, Z))


def loss_of(z, P):
    Z = z.reshape(-1, 2)
    Q = doubly_stochastic(kernel(Z), 1e-12)
    pulled = (P - Q) / (1 + sqdist(Z, Z))
    slope = 2 * ((pulled + pulled.T).sum(axis=1)[:, None] * Z - (pulled + pulled.T) @ Z)
    return (xlogy(P, P) - xlogy(P, Q)).sum() / N, slope.ravel() / N


@pytest.fixture(scope="module")
def model():
    q, options = Student(normalize="doubly"), {"optimizer": "lbfgs", "tol": 1e-10, "max_iter": 3000}
    start = 3 * np.random.default_rng(0).normal(size=(N, 2))
    return ICONEmbedding(p=SymmetricEntropic(4), q=q, init=start, random_state=0, **options).fit(X)


@pytest.mark.parametrize("q", [Student(), Gaussian(0.5**0.5)])
def test_kept_or_by_blocks_from_any_start_the_rows_sum_to_one(q, monkeypatch):
    q = q.set_params(normalize="doubly")
    Z = torch.as_tensor(places(N, 2))
    kept = potentials(q, Z, True, 2**20)
    k = np.exp(q.log_kernel(torch.as_tensor(sqdist(Z.numpy(), Z.numpy()))).numpy()) * OFF
    a = kept.exp().numpy()
    np.testing.assert_allclose(a[:, None] * k * a, doubly_stochastic(k), atol=1e-10)
    monkeypatch.setattr(_potentials, "MAX_KEPT", 0)
    for start in (kept + 0.3, kept.new_full((N,), 1e3), kept.new_full((N,), -30.0), kept[:9]):
        torch.testing.assert_close(potentials(q, Z, True, 7 * N, start), kept, rtol=0, atol=1e-9)


@pytest.mark.parametrize("divergence", [KL, JensenShannon, ReverseKL])
def test_every_form_of_the_loss_equals_the_full_sum(divergence):
    P = np.where(OFF, np.random.default_rng(1).random((N, N)) ** 9, 0.0)
    for uniform, debias in ((0.0, 0.0), (0.3, 0.0), (0.3, 0.2)):
        q = Gaussian(normalize="doubly", debias=debias)
        p = sparse_p(P, self_pairs=False, mass=1 + np.arange(float(N)), uniform=uniform)
        problem = make_problem(p, q, places(N, 3), divergence=divergence())
        if divergence is not ReverseKL or uniform:
            assert evaluate(problem)[0] == pytest.approx(full_loss(problem), rel=1e-9)


def test_slopes_where_p_is_not_doubly_stochastic_and_rows_have_weights():
    P = sparse_p(
        np.where(OFF, np.random.default_rng(3).random((N, N)) > 0.8, 0.0),
        self_pairs=False,
        mass=1 + np.arange(float(N)),
    )
    assert_slopes(make_problem(P, Student(2.0, normalize="doubly"), places(N, 3)), Dense(block=100))


def test_the_optimum_is_that_of_a_directly_written_loss(model):
    P = model.p_.conditional_.edges.toarray()
    value, slope = loss_of(model.embedding_.ravel(), P)
    assert model.loss_ == pytest.approx(value, abs=1e-10)
    further = minimize(loss_of, model.embedding_.ravel(), (P,), jac=True, method="L-BFGS-B")
    assert value - further.fun < 1e-4 * value and np.abs(slope).max() < 1e-3
    # The last potentials are those of the places that were kept, and are what others read.
    f = model.q_.potentials_.numpy()
    Q = np.exp(f[:, None] + f) * kernel(model.embedding_)
    np.testing.assert_allclose(Q.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(
        NeighborDistributionDisplay.from_estimator(model, X, index=3).q, Q[3], atol=1e-9
    )


def test_new_rows_find_their_minimum_beside_given_potentials(model, tmp_path):
    placed, p = model.transform(NEW), model.p_.extend(NEW).edges.toarray()
    f, Z = model.q_.potentials_.numpy(), model.embedding_

    def divergence(z, p):
        log_q = f - np.log1p(((z - Z) ** 2).sum(axis=1))
        return (xlogy(p, p) - p * (log_q - np.logaddexp.reduce(log_q))).sum()

    for z, row in zip(placed, p, strict=True):
        assert divergence(z, row) - minimize(divergence, z, (row,)).fun < 1e-5
    iconlearn.save(model, tmp_path / "map.icon")
    np.testing.assert_array_equal(iconlearn.load(tmp_path / "map.icon").transform(NEW), placed)


def test_who_serves_it_and_what_the_others_say():
    q = Student(normalize="doubly")
    for engine in (MiniBatch(), Mesh(), Sampled()):
        with pytest.raises(ValueError, match=r"normalize='doubly'.*use engine='dense'"):
            ICONEmbedding(p=KNN(5), q=q, engine=engine).fit(X)
    with pytest.raises(
        ValueError, match=r"normalize='doubly' of Student.*columns that are no rows.*normalize='row'"
    ):
        ICONEmbedding(p=Paired(32), q=q, mapper="linear").fit(X)
