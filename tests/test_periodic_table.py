"""The identities and limits that tie the named methods together, through the package's own p and q."""

import numpy as np
import pytest
import torch
from reference import block_p, evaluate, make_problem, places, random_rows, softmax, sparse_p, sqdist
from scipy.spatial.distance import cdist

from iconlearn.divergences import ReverseKL, TotalVariation
from iconlearn.learned import Cluster, Cosine, Dot, Gaussian, InversePower, Student
from iconlearn.supervisory import Classes, Debias, Identity
from iconlearn.supervisory import Gaussian as GaussianP

N, M = 60, 5
rng = np.random.default_rng(0)
X = rng.normal(size=(N, 4)) + 2 * rng.integers(0, 3, size=(N, 1))
LOGITS = rng.normal(size=(N, M))
R = softmax(LOGITS)
SIZE = R.sum(axis=0)
D = sqdist(X, X)
W = rng.random((N, N))
W = np.where(W > 0.8, W, 0) + np.where(W > 0.8, W, 0).T
DEGREE = W.sum(axis=1)
Z = places(N, 2, seed=2)
PARTNER = (np.arange(N) + 1) % N


def kernel_matrix(q, logits, mass=None):
    """q(j|i) of the cluster kernel, by the package's own places and kernel."""
    q.begin(dtype=torch.float64)
    mass = None if mass is None else torch.as_tensor(mass)
    logits = torch.as_tensor(logits)
    s = q.place(logits, mass=mass) @ q.place(logits, columns=True, mass=mass).T
    return torch.exp(q.log_kernel(s)).numpy()


def hard(labels):
    return np.where(labels[:, None] == np.arange(M), 0.0, -800.0)


def entropies(Q):
    return -np.where(Q > 0, Q * np.log(np.where(Q > 0, Q, 1)), 0).sum(axis=1)


def inertia(r):
    means = r.T @ X / r.sum(axis=0)[:, None]
    return (r * cdist(X, means, "sqeuclidean")).sum()


def gaussian_rows(sigma):
    """The Gaussian of the data with the row itself among the candidates, and log Z_i."""
    k = np.exp(-D / (2 * sigma**2))
    return block_p(k / k.sum(axis=1, keepdims=True)), np.log(k.sum(axis=1))


def cross_entropy(problem):
    return evaluate(problem)[0] + problem.entropy()


def variance(Z):
    return ((Z - Z.mean(axis=0)) ** 2).sum() / len(Z)


# --- identities ----------------------------------------------------------------------------------


def test_rows_of_the_cluster_kernel_sum_to_one():
    for Q in (kernel_matrix(Cluster(), LOGITS), kernel_matrix(Cluster(degree_weighted=True), LOGITS, DEGREE)):
        np.testing.assert_allclose(Q.sum(axis=1), 1, atol=1e-14)
    np.testing.assert_allclose(Q, (R / (DEGREE @ R)) @ (R * DEGREE[:, None]).T, rtol=1e-12)


def test_spread_within_the_kernel_is_twice_the_inertia():
    Q = kernel_matrix(Cluster(), LOGITS)
    assert (D * Q).sum() == pytest.approx(2 * inertia(R), rel=1e-12)
    assert -((X @ X.T) * Q).sum() == pytest.approx(inertia(R) - (X**2).sum(), rel=1e-12)


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_reverse_kl_from_a_gaussian_is_k_means_with_an_entropy_bonus(sigma):
    p, log_z = gaussian_rows(sigma)
    value, _ = evaluate(make_problem(p, Cluster(), LOGITS, divergence=ReverseKL()))
    bonus = entropies(kernel_matrix(Cluster(), LOGITS)).sum()
    assert N * value == pytest.approx(inertia(R) / sigma**2 - bonus + log_z.sum(), rel=1e-10)


def test_hard_k_means_in_the_limit_of_small_sigma():
    labels = np.arange(N) % M
    expected, gaps = inertia(np.eye(M)[labels]), []
    for sigma in (0.3, 0.1, 0.03):
        # The data kernel underflows, so its logarithms enter by the identity's two parts.
        k = -D / (2 * sigma**2)
        log_z = np.log(np.exp(k - k.max(axis=1, keepdims=True)).sum(axis=1)) + k.max(axis=1)
        log_g = torch.as_tensor(k - log_z[:, None])
        log_q = torch.log(torch.as_tensor(kernel_matrix(Cluster(), hard(labels))))
        on = torch.as_tensor(labels[:, None] == labels)
        value = float((log_q.exp() * (log_q - log_g))[on].sum())
        gaps.append(abs(sigma**2 * value - expected))
        assert gaps[-1] <= sigma**2 * N * np.log(N) + 1e-9
    assert gaps[0] > 4 * gaps[1] > 16 * gaps[2]


def test_hard_clusters_have_the_entropy_of_their_sizes():
    labels = np.arange(N) % M % 3
    sizes = np.bincount(labels)
    total = entropies(kernel_matrix(Cluster(), hard(labels))).sum()
    assert total == pytest.approx((sizes * np.log(sizes)).sum(), rel=1e-12)


def test_degree_weighted_kernel_is_normalised_cuts():
    Q = kernel_matrix(Cluster(degree_weighted=True), LOGITS, DEGREE)
    g = softmax(W / DEGREE)
    log_z = np.log(np.exp(W / DEGREE).sum(axis=1))
    divergence = ReverseKL()(torch.as_tensor(g), torch.log(torch.as_tensor(Q)))
    volume = DEGREE @ R
    cut = ((volume - np.einsum("ic,ij,jc->c", R, W, R)) / volume).sum()
    assert float(divergence.sum()) == pytest.approx(cut - M - entropies(Q).sum() + log_z.sum(), rel=1e-10)


def test_the_cluster_kernel_is_pointwise_mutual_information():
    Q = kernel_matrix(Cluster(), LOGITS)
    pmi = np.log(np.einsum("ic,jc,c->ij", R, R, N / SIZE))
    np.testing.assert_allclose(-np.log(Q), np.log(N) - pmi, atol=1e-12)
    p = sparse_p(np.eye(N)[PARTNER])
    assert cross_entropy(make_problem(p, Cluster(), LOGITS)) == pytest.approx(
        np.log(N) - pmi[np.arange(N), PARTNER].mean(), abs=1e-12
    )


@pytest.mark.parametrize("q", [Gaussian(), Cosine(0.3), Gaussian(normalize="joint")])
@pytest.mark.parametrize("alpha", [0.1, 0.6])
def test_debiasing_p_mixes_two_cross_entropies(q, alpha):
    P = random_rows(N, density=0.2, self_pairs=False)
    plain = sparse_p(P, self_pairs=False)
    even = sparse_p((1 - np.eye(N)) / (N - 1), self_pairs=False)
    mixed, target, spread = (
        cross_entropy(make_problem(p, q, Z)) for p in (plain.with_uniform(alpha), plain, even)
    )
    assert mixed == pytest.approx((1 - alpha) * target + alpha * spread, abs=1e-10)


def test_debiased_classes_are_label_smoothing():
    y = np.arange(N) % 4
    prototypes = places(4, 2, seed=5)
    p = Debias(Classes(), 0.1).fit(X, y).conditional_
    ours = cross_entropy(make_problem(p, Dot(), Z, columns=prototypes))
    theirs = torch.nn.functional.cross_entropy(
        torch.as_tensor(Z @ prototypes.T), torch.as_tensor(y), label_smoothing=0.1
    )
    assert ours == pytest.approx(float(theirs), abs=1e-12)


def test_a_debiased_q_bounds_the_loss():
    p = sparse_p(np.eye(N)[PARTNER])
    apart = hard(np.arange(N) % M)
    assert cross_entropy(make_problem(p, Cluster(debias=0.2), apart)) == pytest.approx(np.log(N / 0.2))
    assert cross_entropy(make_problem(p, Cluster(), apart)) > 100


def test_supervised_clusters_end_at_nought():
    labels = np.arange(N) % M
    same = (labels[:, None] == labels).astype(float)
    p = block_p(same / same.sum(axis=1, keepdims=True))
    assert evaluate(make_problem(p, Cluster(), hard(labels)))[0] == pytest.approx(0, abs=1e-12)


# --- limits --------------------------------------------------------------------------------------


def test_pca_is_the_limit_of_a_wide_gaussian_at_the_identity():
    p = Identity().fit(X).conditional_
    value = 1e6 * (cross_entropy(make_problem(p, Gaussian(1e3), Z)) - np.log(N))
    assert value == pytest.approx(-variance(Z), rel=1e-5)


def test_vicreg_is_the_limit_at_positive_pairs():
    """With exp(-d / sigma^2), that is the package's kernel of width sigma / sqrt 2."""
    p = sparse_p(np.eye(N)[PARTNER], self_pairs=False)
    q = Gaussian(1e3 / 2**0.5)
    value = 1e6 * (cross_entropy(make_problem(p, q, Z)) - np.log(N - 1))
    pull = ((Z - Z[PARTNER]) ** 2).sum(axis=1).mean()
    assert value == pytest.approx(pull - 2 * variance(Z) * N / (N - 1), rel=1e-4, abs=1e-4)


def test_average_margin_is_the_limit_across_modalities():
    other = places(N, 2, seed=6)
    match = rng.permutation(N)
    problem = make_problem(sparse_p(np.eye(N)[match]), Gaussian(1e3 / 2**0.5), Z, columns=other)
    value = 1e6 * (cross_entropy(problem) - np.log(N))
    d = sqdist(Z, other)
    assert value == pytest.approx(d[np.arange(N), match].mean() - d.mean(), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("sigma", [30.0, 60.0])
def test_metric_scaling_is_the_limit_of_two_wide_gaussians(sigma):
    p, _ = gaussian_rows(sigma)
    value = sigma**4 * evaluate(make_problem(p, Gaussian(sigma), Z))[0]
    d = sqdist(Z, Z)
    gap = (D - D.mean(axis=1, keepdims=True)) - (d - d.mean(axis=1, keepdims=True))
    # The loss is a mean over rows, so 1 / n more than the sum of the identity.
    assert value == pytest.approx((gap**2).sum() / (8 * N) / N, rel=60 / sigma**2)


def test_triplet_is_the_limit_of_a_narrow_gaussian():
    p = sparse_p(np.eye(N)[PARTNER], self_pairs=False)
    sigma = 0.01
    value = sigma**2 * cross_entropy(make_problem(p, Gaussian(sigma / 2**0.5), Z))
    d = sqdist(Z, Z)
    nearest = np.where(np.eye(N), np.inf, d).min(axis=1)
    assert value == pytest.approx((d[np.arange(N), PARTNER] - nearest).mean(), abs=sigma**2 * np.log(N))


def test_total_variation_of_a_cold_softmax_is_the_error_rate():
    y = np.arange(N) % 4
    prototypes = places(4, 2, seed=5)
    problem = make_problem(
        Classes().fit(X, y).conditional_, Dot(1e-5), Z, columns=prototypes, divergence=TotalVariation()
    )
    assert evaluate(problem)[0] == pytest.approx(((Z @ prototypes.T).argmax(axis=1) != y).mean(), abs=1e-9)


def test_a_harmonic_loss_is_a_student_of_no_width():
    """(1 + d / dof / sigma^2)^-n tends to d^-n once sigma is small; dof = 2 n - 1."""
    y = np.arange(N) % 4
    prototypes = places(4, 2, seed=5)
    p = Classes().fit(X, y).conditional_
    harmonic = evaluate(make_problem(p, InversePower(4.0), Z, columns=prototypes))[0]
    student = evaluate(make_problem(p, Student(3.0), 1e5 * Z, columns=1e5 * prototypes))[0]
    assert harmonic == pytest.approx(student, rel=1e-6)


def test_a_cosine_is_a_gaussian_on_the_sphere():
    p = GaussianP(perplexity=5).fit(X).conditional_
    on_sphere = Z / np.linalg.norm(Z, axis=1, keepdims=True)
    cosine = evaluate(make_problem(p, Cosine(0.3), Z))[0]
    gaussian = evaluate(make_problem(p, Gaussian(0.3**0.5), on_sphere))[0]
    assert cosine == pytest.approx(gaussian, abs=1e-12)


def test_a_student_of_many_degrees_is_a_gaussian():
    p = GaussianP(perplexity=5).fit(X).conditional_
    values = [evaluate(make_problem(p, q, Z))[0] for q in (Student(1e7), Gaussian())]
    assert values[0] == pytest.approx(values[1], rel=1e-5)
