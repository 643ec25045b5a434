"""The one loss against the named losses, each written out directly in float64."""

import numpy as np
import pytest
import torch
from reference import (
    DIVERGENCES,
    assert_slopes,
    block_p,
    evaluate,
    first_visit,
    make_problem,
    parameters_of,
    places,
    random_rows,
    softmax,
    sparse_p,
    sqdist,
    table,
    unit,
)
from scipy.spatial.distance import squareform
from sklearn.manifold import TSNE
from sklearn.manifold._t_sne import _joint_probabilities_nn, _kl_divergence

from iconlearn.divergences import KL, Hellinger, JensenShannon, ReverseKL, TotalVariation
from iconlearn.engines import Dense
from iconlearn.learned import Cluster, Cosine, Dot, Gaussian, InversePower, Student
from iconlearn.loss import exaggerate, loss
from iconlearn.neighbors import neighbor_graph
from iconlearn.objective import Objective, Problem
from iconlearn.supervisory import KNN, Classes, Labels, Symmetrize
from iconlearn.supervisory import Gaussian as GaussianP

DENSE = Dense()
N = 14
X = places(N, 3, seed=3)
Y = np.arange(N) % 4
Z = places(N, 2, seed=4)
OFF = ~np.eye(N, dtype=bool)


def exact(problem, expected, **tolerances):
    """The value to nine digits, the gradient against differences."""
    assert assert_slopes(problem, **tolerances) == pytest.approx(expected, abs=1e-9)


def kl(P, Q):
    on = P > 0
    return (P[on] * np.log(P[on] / Q[on])).sum()


def rows(kernel):
    return kernel / kernel.sum(axis=1, keepdims=True)


def test_sne():
    p = GaussianP(perplexity=4, n_neighbors=None).fit(X).conditional_
    k = np.exp(-sqdist(Z, Z)) * OFF
    exact(make_problem(p, Gaussian(0.5**0.5), Z), kl(p.sparse().toarray(), rows(k)) / N)


@pytest.mark.parametrize("inner", [KNN(3), GaussianP(perplexity=4), GaussianP(sigma=1.0)])
def test_joint_tsne_is_the_divergence_of_the_joint_distributions(inner):
    p = Symmetrize(inner).fit(X).conditional_
    joint_p = p.row_mass[:, None] * p.sparse().toarray()
    np.testing.assert_allclose(joint_p, joint_p.T, atol=1e-15)
    k = OFF / (1 + sqdist(Z, Z))
    exact(make_problem(p, Student(normalize="joint"), Z), kl(joint_p, k / k.sum()))


def test_joint_kl_equals_that_of_scikit_learn_at_its_own_map():
    X = places(60, 5, seed=0)
    X[:30] += 3
    places_ = TSNE(perplexity=8, method="exact", random_state=0, max_iter=300).fit_transform(X).astype(float)
    distances = neighbor_graph(X, 59)
    distances.data **= 2
    joint_p = _joint_probabilities_nn(distances.astype(np.float32), 8, 0).toarray().astype(float)
    theirs, slope = _kl_divergence(places_.ravel(), squareform(joint_p, checks=False), 1, 60, 2)

    given = sparse_p(rows(joint_p), mass=joint_p.sum(axis=1), self_pairs=False)
    value, (gradient,) = evaluate(make_problem(given, Student(normalize="joint"), places_))
    assert value == pytest.approx(theirs, abs=1e-9)
    np.testing.assert_allclose(gradient.ravel(), slope, atol=1e-9)

    ours = Symmetrize(GaussianP(perplexity=8, n_neighbors=59)).fit(X).conditional_
    calibrated = ours.row_mass[:, None] * ours.sparse().toarray()
    np.testing.assert_allclose(calibrated, joint_p, atol=2e-7)
    value, _ = evaluate(make_problem(ours, Student(normalize="joint"), places_))
    assert value == pytest.approx(theirs, rel=1e-4)


def test_cross_entropy():
    p = Classes().fit(X, Y).conditional_
    prototypes = places(4, 2, seed=6)
    expected = -np.log(softmax(Z @ prototypes.T)[np.arange(N), Y]).mean()
    exact(make_problem(p, Dot(), Z, columns=prototypes), expected)


def test_harmonic_loss():
    p = Classes().fit(X, Y).conditional_
    prototypes = places(4, 2, seed=6)
    k = sqdist(Z, prototypes) ** -1.5
    exact(make_problem(p, InversePower(3.0), Z, columns=prototypes), -np.log(rows(k)[np.arange(N), Y]).mean())


@pytest.mark.parametrize("learnable", [False, True])
def test_one_way_clip(learnable):
    images, texts = places(6, 3, seed=7), places(9, 3, seed=8)
    match = np.array([4, 0, 8, 2, 3, 7])
    p = sparse_p(np.eye(9)[match])
    q = Cosine(0.2, learnable=learnable)
    problem = make_problem(p, q, images, columns=texts)
    expected = -np.log(softmax(unit(images) @ unit(texts).T / 0.2)[np.arange(6), match]).mean()
    exact(problem, expected)
    assert len(parameters_of(problem)) == 2 + learnable


def test_skip_gram_with_a_context_table():
    counts = random_rows(N, density=0.3, seed=9)
    contexts = places(N, 2, seed=10)
    expected = kl(counts, softmax(Z @ contexts.T)) / N
    exact(make_problem(sparse_p(counts), Dot(), Z, columns=contexts), expected)


LOGITS = places(N, 3, seed=11)
R = softmax(LOGITS)
GRAPH = random_rows(N, density=0.3, seed=12)
DEGREE = np.random.default_rng(13).random(N) + 0.2


def test_cluster_kernel():
    exact(make_problem(sparse_p(GRAPH), Cluster(), LOGITS), kl(GRAPH, (R / R.sum(0)) @ R.T) / N)


def test_degree_weighted_cluster_kernel():
    p = sparse_p(GRAPH, mass=DEGREE)
    weight = DEGREE / DEGREE.sum()
    Q = (R / (weight @ R)) @ (R * weight[:, None]).T
    exact(
        make_problem(p, Cluster(degree_weighted=True), LOGITS),
        kl(weight[:, None] * GRAPH, weight[:, None] * Q),
    )


@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_debiased_cluster_kernel(uniform):
    P = (1 - uniform) * GRAPH + uniform / N
    Q = 0.8 * (R / R.sum(0)) @ R.T + 0.2 / N
    exact(make_problem(sparse_p(GRAPH, uniform=uniform), Cluster(debias=0.2), LOGITS), kl(P, Q) / N)


def test_supervised_contrastive():
    p = Labels().fit(X, Y).conditional_
    similarity = unit(Z) @ unit(Z).T / 0.5
    log_q = similarity - np.log((np.exp(similarity) * OFF).sum(axis=1, keepdims=True))
    mates = (Y[:, None] == Y) & OFF
    l_out = -(mates * log_q).sum(axis=1) / mates.sum(axis=1)
    problem = make_problem(p, Cosine(0.5), Z)
    exact(problem, l_out.mean() - problem.entropy())


DIVERGENCE_CLASSES = (KL, ReverseKL, JensenShannon, Hellinger, TotalVariation)


@pytest.mark.parametrize("divergence", DIVERGENCE_CLASSES)
@pytest.mark.parametrize("form", [sparse_p, block_p])
def test_joint_normaliser_with_unequal_masses(divergence, form):
    uniform = 0.2 if divergence is ReverseKL else 0.0
    P = random_rows(N, density=0.4, self_pairs=False, seed=14)
    p = form(P, mass=DEGREE, uniform=uniform, self_pairs=False)
    joint_p = (DEGREE / DEGREE.sum())[:, None] * ((1 - uniform) * P + uniform * OFF / (N - 1))
    k = OFF * np.exp(-sqdist(Z, Z) / 2)
    problem = make_problem(p, Gaussian(normalize="joint"), Z, divergence=divergence())
    exact(problem, DIVERGENCES[divergence.__name__](joint_p, k / k.sum()))


@pytest.mark.parametrize("divergence", [KL, JensenShannon, Hellinger, TotalVariation])
@pytest.mark.parametrize("form", [sparse_p, block_p])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("debias", [0.0, 0.2])
@pytest.mark.parametrize("normalize", ["row", "joint"])
def test_a_row_without_support(form, normalize, uniform, debias, divergence):
    """A joint q pays for the pairs of a row that p leaves empty; a row-wise q does not see that row."""
    P = random_rows(N, density=0.4, self_pairs=False, seed=15)
    P[3] = 0
    p = form(P, uniform=uniform, self_pairs=False)
    k = OFF / (1 + sqdist(Z, Z))
    k = k / k.sum() if normalize == "joint" else p.row_mass[:, None] * rows(k)
    anchor = np.full(N, 1 / N) if normalize == "joint" else p.row_mass
    joint_q = (1 - debias) * k + debias * anchor[:, None] * OFF / (N - 1)
    joint_p = p.row_mass[:, None] * ((1 - uniform) * P + uniform * OFF / (N - 1))
    problem = make_problem(p, Student(normalize=normalize, debias=debias), Z, divergence=divergence())
    exact(problem, DIVERGENCES[divergence.__name__](joint_p, joint_q))


@pytest.mark.parametrize("q", [Student(normalize="joint"), Student(), Gaussian(debias=0.1)])
def test_exaggeration_scales_the_attraction_alone(q):
    p = Symmetrize(KNN(3)).fit(X).conditional_
    problem = make_problem(p, q, Z)
    visit = first_visit(problem)
    plain, (gradient,) = evaluate(problem, visit=visit)
    pulled, (steeper,) = evaluate(problem, visit=visit, pull=4.0)
    twice, (steepest,) = evaluate(problem, visit=visit, pull=7.0)
    assert pulled == pytest.approx(plain, abs=1e-12) and twice == pytest.approx(plain, abs=1e-12)
    np.testing.assert_allclose(steepest - gradient, 2 * (steeper - gradient), atol=1e-12)
    if q.debias == 0:
        S = p.row_mass[:, None] * p.sparse().toarray()
        pull = 2 * (S + S.T) / (1 + sqdist(Z, Z))
        attraction = (pull[:, :, None] * (Z[:, None] - Z)).sum(axis=1)
        np.testing.assert_allclose(steeper - gradient, 3 * attraction, atol=1e-12)


def test_exaggerate_keeps_the_value():
    s = torch.tensor([0.3, -2.0e8], requires_grad=True)
    out = exaggerate(s, 12.0)
    np.testing.assert_array_equal(out.detach(), s.detach())
    np.testing.assert_allclose(torch.autograd.grad(-out.sum(), s)[0], -12.0)


@pytest.mark.parametrize("divergence", [KL(), TotalVariation(), JensenShannon(), Hellinger()])
@pytest.mark.parametrize("sparse", [False, True])
def test_exaggeration_never_pushes_pairs_apart(divergence, sparse):
    """Of the gradient in log k before q is normalised the negative part is multiplied, and no other."""
    p = GaussianP(sigma=0.3, n_neighbors=None).fit(X).conditional_
    P = p.full() * OFF
    if sparse:
        P = np.where(np.sort(P, axis=1)[:, [-4]] < P, P, 0.0)
        P = P / P.sum(axis=1, keepdims=True)
        p = sparse_p(P, self_pairs=False)
    q = Gaussian()
    problem = make_problem(p, q, Z, divergence=divergence)
    visit = first_visit(problem)
    plain, (gradient,) = evaluate(problem, visit=visit)
    pulled, (steeper,) = evaluate(problem, visit=visit, pull=4.0)
    assert pulled == pytest.approx(plain, abs=1e-12)
    log_k = torch.as_tensor(-sqdist(Z, Z) / 2)
    log_norm = torch.logsumexp(log_k.masked_fill(torch.as_tensor(OFF == 0), -torch.inf), 1, keepdim=True)
    log_q = (log_k - log_norm).requires_grad_()
    on = torch.as_tensor(P > 0)
    summands = divergence(torch.as_tensor(P), log_q)
    if sparse:
        summands = (
            summands - divergence.at_zero * log_q.exp()
        )  # what q has elsewhere costs f(0) of what is left
    slope = torch.autograd.grad((summands * on).sum() / len(Z), log_q)[0].numpy()
    attracting = np.minimum(slope, 0.0)
    both = attracting + attracting.T
    more = -3 * (both[:, :, None] * (np.asarray(Z)[:, None] - np.asarray(Z))).sum(axis=1)
    np.testing.assert_allclose(steeper - gradient, more, atol=1e-10)


def test_full_rows_of_p_and_sparse_ones_give_one_loss():
    p = GaussianP(perplexity=4, n_neighbors=None).fit(X).conditional_
    for q in (Student(), Student(normalize="joint"), Cosine(debias=0.1)):
        full = evaluate(make_problem(p, q, Z))
        sparse = evaluate(make_problem(sparse_p(p.sparse().toarray(), self_pairs=False), q, Z))
        assert full[0] == pytest.approx(sparse[0], abs=1e-12)
        np.testing.assert_allclose(full[1][0], sparse[1][0], atol=1e-12)


def test_terms_share_their_parameters_once():
    """Two directions of CLIP share both tables and the temperature."""
    q = Cosine(0.3, learnable=True)
    q.begin(dtype=torch.float64)
    images, texts = table(places(5, 3)), table(places(5, 3, seed=2))
    p = sparse_p(np.eye(5))
    there = Problem(p, q, KL(), images, texts, 0.5)
    back = Problem(p, q, KL(), texts, images, 0.5)
    objective = Objective((there, back))
    assert [id(t) for t in objective.parameters] == [
        id(t) for t in (images.mapper.places, texts.mapper.places, q.log_scale_)
    ]
    total = sum(
        term.weight * float(loss(term, DENSE, first_visit(term)).detach()) for term in objective.problems
    )
    S = unit(images.at().detach().numpy()) @ unit(texts.at().detach().numpy()).T / 0.3
    expected = -0.5 * np.log(np.diag(softmax(S))).mean() - 0.5 * np.log(np.diag(softmax(S.T))).mean()
    assert total == pytest.approx(expected, abs=1e-9)


def test_a_frozen_mapper_is_not_learned():
    rows_, columns = table(Z), table(places(4, 2))
    columns.mapper.requires_grad_(False)
    problem = Problem(Classes().fit(X, Y).conditional_, Dot(), KL(), rows_, columns)
    assert [t.shape for t in Objective((problem,)).parameters] == [(N, 2)]
