"""Divergences of arrays beside scipy, torch and the summands that fits use; entropies of fits."""

import numpy as np
import pytest
import scipy.stats
import torch
from torch.distributions import MultivariateNormal, kl_divergence

from iconlearn import divergences
from iconlearn.metrics import cross_entropy, divergence, entropy, gaussian_kl

RNG = np.random.default_rng(0)
P, Q = RNG.dirichlet(np.ones(6), 5), RNG.dirichlet(np.ones(6), 5)


@pytest.mark.parametrize("base", [None, 2, 10])
def test_entropies_are_those_of_scipy(base):
    np.testing.assert_allclose(entropy(P, base), scipy.stats.entropy(P, base=base, axis=1), rtol=1e-13)
    np.testing.assert_allclose(
        divergence(P, Q, base=base), scipy.stats.entropy(P, Q, base=base, axis=1), rtol=1e-12
    )
    both = entropy(P, base) + divergence(P, Q, base=base)
    np.testing.assert_allclose(cross_entropy(P, Q, base), both, rtol=1e-13)


def test_one_distribution_is_a_number_and_goes_beside_many():
    assert divergence(P[0], Q[0]) == pytest.approx(divergence(P, Q)[0]) and isinstance(
        divergence(P[0], Q[0]), float
    )
    np.testing.assert_allclose(divergence(P[0], Q), [divergence(P[0], q) for q in Q])
    assert entropy(np.full(8, 1 / 8), base=2) == 3.0 and entropy([1.0, 0.0]) == 0.0
    assert divergence(P, P).tolist() == [0.0] * 5


def test_what_is_impossible_is_an_infinite_surprise():
    assert divergence([0.5, 0.5], [1.0, 0.0]) == cross_entropy([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert divergence([1.0, 0.0], [0.5, 0.5], base=2) == 1.0


@pytest.mark.parametrize(
    ("kind", "of_fits"),
    [
        ("kl", divergences.KL()),
        ("reverse_kl", divergences.ReverseKL()),
        ("jensen_shannon", divergences.JensenShannon()),
        ("hellinger", divergences.Hellinger()),
        ("total_variation", divergences.TotalVariation()),
    ],
)
def test_the_kinds_are_those_of_fits(kind, of_fits):
    summed = of_fits(torch.as_tensor(P), torch.as_tensor(Q).log()).sum(1)
    np.testing.assert_allclose(divergence(P, Q, kind), summed, rtol=1e-12)


def test_jensen_shannon_is_the_square_of_the_distance_of_scipy():
    from scipy.spatial.distance import jensenshannon

    np.testing.assert_allclose(
        divergence(P, Q, "jensen_shannon", base=2), jensenshannon(P, Q, base=2, axis=1) ** 2
    )


def fitted(summand, p, x, mean):
    """Mean, width and divergence of the best Gaussian on a grid."""
    place = torch.tensor([mean, 0.0], dtype=torch.float64, requires_grad=True)
    steps = torch.optim.LBFGS([place], max_iter=200, tolerance_grad=1e-11, line_search_fn="strong_wolfe")

    def loss():
        steps.zero_grad()
        log_q = torch.log_softmax(-0.5 * ((x - place[0]) / place[1].exp()) ** 2, 0)
        value = summand(p, log_q).sum()
        value.backward()
        return value

    steps.step(loss)
    return float(place[0].detach()), float(place[1].detach().exp()), float(loss().detach())


def test_forward_kl_covers_modes_and_reverse_kl_seeks_one():
    x = torch.linspace(-20, 20, 2001, dtype=torch.float64)
    left, right = (torch.softmax(-0.5 * ((x - m) / 0.7) ** 2, 0) for m in (-3, 3))
    p = 0.6 * left + 0.4 * right
    mean = float((p * x).sum())
    spread = float((p * (x - mean) ** 2).sum()) ** 0.5
    for start in (-2.0, 2.0):
        assert fitted(divergences.KL(), p, x, start)[:2] == pytest.approx((mean, spread), abs=1e-5)
        share = 0.6 if start < 0 else 0.4
        found = fitted(divergences.ReverseKL(), p, x, start)
        assert found == pytest.approx((1.5 * start, 0.7, -np.log(share)), abs=1e-3)


def test_kl_is_no_metric():
    """Neither the same both ways, nor never shorter by a way round."""
    a, b, c = [0.9, 0.1], [0.5, 0.5], [0.1, 0.9]
    assert divergence(a, b) != pytest.approx(divergence(b, a), rel=0.1)
    assert divergence(a, c) > divergence(a, b) + divergence(b, c) + 0.5


@pytest.mark.parametrize("d", [1, 3])
def test_gaussians_beside_torch(d):
    A, B = RNG.normal(size=(2, d, d))
    S0, S1 = A @ A.T + np.eye(d), B @ B.T + np.eye(d)
    m0, m1 = RNG.normal(size=(2, d))
    first, second = (
        MultivariateNormal(torch.as_tensor(m), torch.as_tensor(S)) for m, S in ((m0, S0), (m1, S1))
    )
    truth = float(kl_divergence(first, second))
    assert gaussian_kl(m0, S0, m1, S1) == pytest.approx(truth, rel=1e-12)
    assert gaussian_kl(m0, S0, m1, S1, base=2) == pytest.approx(truth / np.log(2), rel=1e-12)
    assert gaussian_kl(m0, S0, m0, S0) == pytest.approx(0, abs=1e-12)


def test_variances_are_covariances_of_independent_coordinates():
    v0, v1 = RNG.uniform(0.5, 2, (2, 3))
    assert gaussian_kl(np.zeros(3), v0, np.ones(3), v1) == pytest.approx(
        gaussian_kl(np.zeros(3), np.diag(v0), np.ones(3), np.diag(v1))
    )
    assert gaussian_kl(np.zeros(3), 2.0, np.ones(3), 1.0) == pytest.approx(3 * gaussian_kl(0, 2.0, 1, 1.0))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: entropy([0.5, 0.6]), "P is off one by 0.1 .* divide by the sum"),
        (lambda: entropy([1.5, -0.5]), "P holds -0.5"),
        (lambda: entropy(1.0), "P has shape"),
        (lambda: entropy([np.nan, 1.0]), "P holds NaN"),
        (lambda: entropy([0.5, 0.5], base=1), "base=1"),
        (lambda: divergence([0.5, 0.5], [1.0]), "P has shape .* and Q"),
        (lambda: divergence(P, Q[:3]), "P has shape .* and Q"),
        (lambda: divergence(P, Q, "euclid"), "kind='euclid'"),
        (lambda: divergence(P, Q, "hellinger", base=2), "base=2 is without meaning"),
        (lambda: gaussian_kl([0, 0], 1, 0, 1), "mean0 has 2 dimensions and mean1 1"),
        (lambda: gaussian_kl(0, 0, 0, 1), "cov0 is not positive definite"),
        (lambda: gaussian_kl([0, 0], [[1, 0.5], [0, 1]], [0, 0], 1), "cov0 is not symmetric"),
        (lambda: gaussian_kl([0, 0], 1, [0, 0], [1, 1, 1]), "cov1 has 3 variances"),
        (lambda: gaussian_kl([0, 0], np.eye(3), [0, 0], 1), r"cov0 has shape \(3, 3\)"),
        (lambda: gaussian_kl(np.eye(2), 1, [0, 0], 1), "mean0 has shape"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_nothing_given_is_changed_or_kept():
    given = P.copy()
    given.flags.writeable = False
    divergence(given, Q), entropy(given), cross_entropy(given, Q)
    np.testing.assert_array_equal(given, P)
