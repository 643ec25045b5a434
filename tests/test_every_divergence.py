"""Every divergence under every p and every kind of q: the short form equals the sum over all candidates."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from reference import assert_slopes, evaluate, first_visit, full_loss, full_p, make_problem, places
from sklearn.base import clone

from iconlearn import supervisory
from iconlearn.conditional import Conditional
from iconlearn.engines import Dense, MiniBatch, Partition
from iconlearn.learned import Cluster, Cosine, Gaussian, Student
from iconlearn.loss import loss
from iconlearn.registry import COMPONENTS, resolve
from iconlearn.supervisory import (
    KNN,
    Classes,
    Cooccurrence,
    Cut,
    Debias,
    Graph,
    Identity,
    Labels,
    Mix,
    MustLink,
    Paired,
    Precomputed,
    Spectral,
    SymmetricEntropic,
    Symmetrize,
    Views,
    Walk,
)
from iconlearn.supervisory import Gaussian as GaussianP
from iconlearn.supervisory import Student as StudentP

N = 13
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 3))
Y = np.arange(N) % 3
W = (rng.random((N, N)) < 0.4) * rng.random((N, N))
W[np.arange(N), (np.arange(N) + 1) % N] = 1.0
np.fill_diagonal(W, 0)

EVERY_P = {
    "knn": KNN(3),
    "gaussian": GaussianP(perplexity=2),
    "gaussian-all": GaussianP(perplexity=4, n_neighbors=None),
    "student": StudentP(perplexity=2, n_neighbors=6),
    "student-all": StudentP(n_neighbors=None),
    "graph": Graph(W, mass="degree"),
    "precomputed": Precomputed(),
    "identity": Identity(),
    "labels": Labels(),
    "labels-self": Labels(self_pairs=True),
    "must-link": MustLink([(0, 3), (3, 5)], labels=np.where(np.arange(N) < 7, -1, Y)),
    "classes": Classes(),
    "walk": Walk(KNN(3), length=2),
    "entropic": SymmetricEntropic(2.5),
    "symmetric": Symmetrize(KNN(3)),
    "symmetric-all": Symmetrize(GaussianP(perplexity=4, n_neighbors=None)),
    "mutual": Symmetrize(KNN(4), mode="mutual"),
    "mix": Mix([KNN(3), GaussianP(perplexity=2)]),
    "mix-all": Mix([KNN(3), StudentP(n_neighbors=None)], weights=[3, 1]),
    "gaussian-self": GaussianP(sigma=1.0, self_pairs=True),
    "paired": Paired(pairs=[[k, (k + 2) % N] for k in range(N)]),
    "views": Views(cross=True),
    "cooccurrence": Cooccurrence(subsample=0.05),
    "cut": Cut(Graph(W)),
    "spectral": Spectral(Graph(W), n_components=3),
    "nested": Symmetrize(Debias(Walk(KNN(2), length=2), weight=0.1)),
}
FULL_WITH_SELF = {"nested", "gaussian-self", "cut", "spectral"}
FULL_SUPPORT = {"gaussian-all", "student-all", "symmetric-all", "mix-all"} | FULL_WITH_SELF
EVERY_Q = {
    "row": Student(),
    "joint": Gaussian(normalize="joint"),
    "cosine": Cosine(0.5),
    "cluster": Cluster(),
}
DIVERGENCES = COMPONENTS["divergence"]


@cache
def fitted(name, uniform):
    p = EVERY_P[name]
    square = {"precomputed": W / W.sum(axis=1, keepdims=True), "cooccurrence": W}
    X_ = square.get(name, X)
    p = clone(p).fit(X_, Y).conditional_
    return p.with_uniform(uniform) if uniform else p


def problem_of(p_name, q_name, divergence, uniform, debias):
    p = fitted(p_name, uniform)
    q = clone(EVERY_Q[q_name]).set_params(debias=debias)
    columns = None if p.n_cols == N else places(p.n_cols, 3, seed=2)
    return make_problem(p, q, places(N, 3), columns=columns, divergence=DIVERGENCES[divergence]())


def has_full_support(name, uniform, q_name):
    """Kernels over all columns leave the row itself out, which the cluster kernel counts as a candidate."""
    return uniform > 0 or (name in FULL_SUPPORT and (q_name != "cluster" or name in FULL_WITH_SELF))


def test_every_registered_p_is_here():
    # See test_limits.py, and tests/supervisory/test_restore.py: its columns are targets, and their q a density.
    limits = {supervisory.WideGaussian, supervisory.Restore}
    wrappers = {Walk, Symmetrize, Mix, Cut, Spectral}
    assert {type(p) for p in EVERY_P.values()} >= {*COMPONENTS["p"].values(), *wrappers} - limits


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("p_name", EVERY_P)
def test_the_short_form_equals_the_full_sum(p_name, divergence):
    for q_name in EVERY_Q:
        for uniform in (0.0, 0.3):
            if divergence == "reverse_kl" and not has_full_support(p_name, uniform, q_name):
                continue
            for debias in (0.0, 0.2):
                problem = problem_of(p_name, q_name, divergence, uniform, debias)
                engine = Dense(block=7 * N)
                with torch.no_grad():
                    value = float(loss(problem, engine, first_visit(problem, engine)))
                case = f"{q_name}, share {uniform} of p, {debias} of q"
                np.testing.assert_allclose(value, full_loss(problem), rtol=1e-10, atol=1e-12, err_msg=case)


@pytest.mark.parametrize("divergence", DIVERGENCES)
@pytest.mark.parametrize("p_name", ["graph", "labels", "student-all"])
@pytest.mark.parametrize("q_name", EVERY_Q)
def test_gradients(p_name, q_name, divergence):
    assert_slopes(problem_of(p_name, q_name, divergence, 0.3, 0.2), atol=1e-7)


@pytest.mark.parametrize("engine", [Dense(), MiniBatch()], ids=["dense", "minibatch"])
@pytest.mark.parametrize("p_name", sorted(set(EVERY_P) - FULL_SUPPORT))
def test_reverse_kl_refuses_a_p_with_zeros(p_name, engine):
    problem = problem_of(p_name, "row", "reverse_kl", 0.0, 0.0)
    assert "debias" in engine.refuses(problem)
    assert engine.refuses(problem_of(p_name, "row", "reverse_kl", 0.1, 0.0)) is None
    assert engine.refuses(problem_of(p_name, "row", "kl", 0.0, 0.0)) is None


@pytest.mark.parametrize("p_name", sorted(FULL_SUPPORT))
def test_reverse_kl_takes_a_p_with_full_support(p_name):
    assert Dense().refuses(problem_of(p_name, "row", "reverse_kl", 0.0, 0.0)) is None


def test_reverse_kl_asks_for_the_row_itself_under_the_cluster_kernel():
    """The kernel over all columns is zero on the diagonal, where the cluster kernel is not."""
    assert "debias" in Dense().refuses(problem_of("gaussian-all", "cluster", "reverse_kl", 0.0, 0.0))


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_partition_takes_kl_alone(divergence):
    p = Conditional(fitted("knn", 0.1).edges, uniform=0.1)
    problem = make_problem(p, Cluster(), places(N, 3), divergence=DIVERGENCES[divergence]())
    reason = Partition().refuses(problem)
    assert reason is None if divergence == "kl" else "KL" in reason


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_zero_only_where_p_is_q(divergence):
    """A divergence of p from p itself is nought, and positive from anything else."""
    Z = places(N, 3)
    k = np.exp(-((Z[:, None] - Z) ** 2).sum(axis=2) / 2)
    np.fill_diagonal(k, 0)
    p = Precomputed().fit(k / k.sum(axis=1, keepdims=True)).conditional_.with_uniform(0.1)
    q = Gaussian(debias=0.1)
    assert evaluate(make_problem(p, q, Z, divergence=DIVERGENCES[divergence]()))[0] == pytest.approx(
        0, abs=1e-12
    )
    np.testing.assert_allclose(full_p(p).sum(axis=1), 1)
    assert evaluate(make_problem(p, q, 1.1 * Z, divergence=DIVERGENCES[divergence]()))[0] > 1e-5


# f(t) of each divergence, sum q f(p / q); those with 0 log 0 say what it is.
FUNCTIONS = {
    "kl": lambda t: torch.special.xlogy(t, t),
    "reverse_kl": lambda t: -torch.log(t),
    "jensen_shannon": lambda t: 0.5 * (torch.special.xlogy(t, t) - (t + 1) * torch.log((t + 1) / 2)),
    "hellinger": lambda t: 0.5 * (torch.sqrt(t) - 1) ** 2,
    "total_variation": lambda t: 0.5 * torch.abs(t - 1),
}


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("p_name", ["graph", "labels", "student-all"])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_a_divergence_given_as_a_function(p_name, uniform, name):
    given = resolve("divergence", FUNCTIONS[name])
    assert given.at_zero == pytest.approx(DIVERGENCES[name].at_zero)
    problem = problem_of(p_name, "row", name, uniform, 0.1)
    if Dense().refuses(problem):
        return
    value, (gradient,) = evaluate(problem)
    again, (slope,) = evaluate(replace(problem, divergence=given))
    assert again == pytest.approx(value, abs=1e-12)
    np.testing.assert_allclose(slope, gradient, atol=1e-12)


def test_a_function_stays_finite_where_q_vanishes():
    log_q = torch.tensor([-900.0, -100.0], dtype=torch.float64, requires_grad=True)
    p = torch.tensor([0.3, 0.0], dtype=torch.float64)
    for name, f in FUNCTIONS.items():
        if name != "reverse_kl":
            value = resolve("divergence", f)(p, log_q).sum()
            assert torch.isfinite(value) and torch.isfinite(torch.autograd.grad(value, log_q)[0]).all()
    assert float(
        resolve("divergence", FUNCTIONS["total_variation"])(p, log_q).sum().detach()
    ) == pytest.approx(0.15)


def test_chi_square():
    chi_square = resolve("divergence", lambda t: (t - 1) ** 2)
    problem = replace(problem_of("graph", "row", "kl", 0.3, 0.1), divergence=chi_square)
    p, mass = full_p(problem.p), problem.p.row_mass
    k = 1 / (1 + ((places(N, 3)[:, None] - places(N, 3)) ** 2).sum(axis=2)) * (1 - np.eye(N))
    q = 0.9 * k / k.sum(axis=1, keepdims=True) + 0.1 * (1 - np.eye(N)) / (N - 1)
    expected = mass @ (p**2 / np.where(q > 0, q, 1)).sum(axis=1) - 1
    assert evaluate(problem)[0] == pytest.approx(expected, abs=1e-10)
