"""The symmetric entropic affinity: against a solver of its dual by other means, and what it promises of its rows."""

import warnings

import numpy as np
import pytest
import torch
from reference import entropic_optimum
from scipy.optimize import minimize
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.datasets import load_digits

from iconlearn.supervisory import Gaussian, SymmetricEntropic, Symmetrize

RNG = np.random.default_rng(0)
CLOUD = RNG.normal(size=(40, 3))
FAR = np.r_[RNG.normal(size=(90, 4)), 15 * RNG.normal(size=(30, 4))]
EQUAL = np.r_[np.zeros((40, 4)), FAR[:80]]


def entropies(P):
    return -(P * np.log(np.where(P > 0, P, 1))).sum(axis=1)


def by_scipy(X, perplexity, floor):
    """P where scipy's L-BFGS over (lambda, gamma >= floor), with torch's slopes, leaves the dual."""
    C = torch.as_tensor(cdist(X, X) ** 2)
    n, off = len(X), ~torch.eye(len(X), dtype=torch.bool)
    target = np.log(perplexity) + 1

    def P_of(z):
        lam, gamma = z[:n], z[n:]
        spans = gamma[:, None] + gamma
        return off * torch.exp((lam[:, None] + lam - 2 * C) / spans), spans

    def loss(z):
        z = torch.as_tensor(z).requires_grad_()
        P, spans = P_of(z)
        value = 0.5 * (P * spans).sum() - z[:n].sum() - target * z[n:].sum()
        return value.item(), torch.autograd.grad(value, z)[0].numpy()

    start = np.r_[np.zeros(n), np.full(n, float(C.mean()))]
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 1e-16, "gtol": 1e-10, "maxcor": 50}
    found = minimize(loss, start, jac=True, bounds=[(None, None)] * n + [(floor, None)] * n, options=options)
    return P_of(torch.as_tensor(found.x))[0].numpy()


@pytest.mark.parametrize("perplexity", [9, 13])
def test_it_solves_the_dual(perplexity):
    p = SymmetricEntropic(perplexity).fit(CLOUD)
    np.testing.assert_allclose(p.conditional_.full(), by_scipy(CLOUD, perplexity, p.gamma_.min()), atol=2e-5)


@pytest.mark.parametrize(
    ("X", "perplexity"), [(CLOUD, 2), (FAR, 30), (FAR, 8), (EQUAL, 12), (load_digits().data[:400], 30)]
)
def test_rows_and_columns_sum_to_one_at_the_asked_entropy(X, perplexity):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        p = SymmetricEntropic(perplexity).fit(X)
    P = p.conditional_.full()
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(P.sum(axis=0), 1, atol=5e-6)
    np.testing.assert_allclose(P, P.T, atol=2e-6)
    assert (np.diagonal(P) == 0).all() and p.perplexity_ == perplexity
    short = np.log(perplexity) - entropies(P)
    assert short.max() < 1e-4
    # Above it are rows alone whose gamma is as small as it may be.
    least = p.gamma_ <= 1.0001 * p.gamma_.min()
    assert (np.abs(short[~least]) < 1e-4).all() and least.mean() < 0.6
    if perplexity >= 30:
        assert (np.abs(short) < 1e-4).mean() > 0.9
    S = p.gamma_[:, None] + p.gamma_
    logs = (p.lambda_[:, None] + p.lambda_ - 2 * cdist(X, X) ** 2) / S
    np.fill_diagonal(logs, -np.inf)
    expected = np.exp(logs)
    np.testing.assert_allclose(P, expected, atol=5e-6)


@pytest.mark.parametrize(("X", "perplexity"), [(FAR, 30), (load_digits().data[:120] / 16, 20)])
def test_its_conditions_are_those_of_an_optimum(X, perplexity):
    p = SymmetricEntropic(perplexity).fit(X)
    C = cdist(X, X) ** 2
    lam, gamma, off = entropic_optimum(p.conditional_.full(), C)
    assert (gamma > 0).all() and off < 1e-5 * C.max()
    np.testing.assert_allclose(gamma, p.gamma_, rtol=1e-3)
    np.testing.assert_allclose(lam, p.lambda_, atol=1e-3 * np.abs(lam).max())


def test_it_costs_least_of_what_keeps_both():
    """Against t-SNE's p, which has other sums, and against mixtures with the uniform p, which keep them."""
    P, C = SymmetricEntropic(10).fit(CLOUD).conditional_.full(), cdist(CLOUD, CLOUD) ** 2
    narrow = SymmetricEntropic(5).fit(CLOUD).conditional_.full()
    uniform = (1 - np.eye(40)) / 39
    for share in np.linspace(0, 1, 21):
        mixed = (1 - share) * narrow + share * uniform
        if (entropies(mixed) >= np.log(10)).all():
            assert (mixed * C).sum() > (P * C).sum()
    joint = Symmetrize(Gaussian(10)).fit(CLOUD).conditional_
    assert np.ptp(joint.row_mass) * 40 > 0.2 and SymmetricEntropic(10).fit(CLOUD).conditional_.mass is None


def test_new_rows_have_the_same_sums_and_entropies_each_by_itself():
    p = SymmetricEntropic(10).fit(FAR)
    new = np.r_[RNG.normal(size=(20, 4)), 15 * RNG.normal(size=(5, 4)), 1e4 * np.ones((1, 4))]
    found = p.extend(new)
    P = found.full()
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-12)
    assert (entropies(P)[:25] > np.log(10) - 1e-4).all() and np.isfinite(P).all()
    alone = np.vstack([p.extend(row[None]).full() for row in new])
    np.testing.assert_allclose(P, alone, atol=1e-12)


def test_distances_features_and_units():
    plain = SymmetricEntropic(8).fit(FAR)
    D, new = cdist(FAR, FAR), FAR[:5] + 0.1
    given = SymmetricEntropic(8, metric="precomputed").fit(D)
    np.testing.assert_allclose(given.conditional_.full(), plain.conditional_.full(), atol=1e-6)
    np.testing.assert_allclose(given.extend(cdist(new, FAR)).full(), plain.extend(new).full(), atol=1e-6)
    for factor in (1e-120, 1e120):
        scaled = SymmetricEntropic(8).fit(factor * FAR).conditional_.full()
        np.testing.assert_allclose(scaled, plain.conditional_.full(), atol=1e-6)
    np.testing.assert_allclose(
        SymmetricEntropic(8).fit(csr_array(FAR)).conditional_.full(), plain.conditional_.full(), atol=1e-6
    )
    blocks = SymmetricEntropic(8, metric="manhattan").fit(FAR).conditional_.full()
    assert np.abs(blocks - plain.conditional_.full()).max() > 1e-3


@pytest.mark.parametrize("X", [np.zeros((9, 2)), CLOUD[:2], CLOUD[:3], CLOUD[:4], CLOUD[:7]])
def test_few_or_equal_rows(X):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = SymmetricEntropic().fit(X)
    P = p.conditional_.full()
    np.testing.assert_allclose(P.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(P, P.T, atol=1e-4)
    assert np.isfinite(p.extend(X[:2]).full()).all()


def without_a_pair():
    """Distances of rows from themselves are stored, those of one pair are not."""
    D = csr_array(cdist(CLOUD, CLOUD) + np.eye(len(CLOUD)))
    D.data[(D.tocoo().row + D.tocoo().col == 1)] = 0.0
    D.eliminate_zeros()
    return D


@pytest.mark.parametrize(
    ("p", "X", "message"),
    [
        (SymmetricEntropic(1.5), CLOUD, "perplexity=1.5"),
        (SymmetricEntropic(), np.zeros((5000, 1)), "5000 rows.*Symmetrize"),
        (SymmetricEntropic(metric="precomputed"), np.triu(cdist(CLOUD, CLOUD)), "the same both ways"),
        (SymmetricEntropic(metric="precomputed"), csr_array(np.diag(np.ones(39), 1)), "not zero but unknown"),
        (SymmetricEntropic(metric="precomputed"), without_a_pair(), "not zero but unknown"),
    ],
)
def test_messages(p, X, message):
    with pytest.raises(ValueError, match=message):
        clone(p).set_params(**({} if p.perplexity < 2 else {"perplexity": 5})).fit(X)


def test_a_perplexity_of_too_many_rows_is_lowered():
    with pytest.warns(UserWarning, match="lowered to 13"):
        p = SymmetricEntropic(30).fit(CLOUD)
    assert p.perplexity_ == 13
