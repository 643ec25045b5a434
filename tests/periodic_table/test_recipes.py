"""Every recipe, fitted to data that scikit-learn ships and held against something that it does not share."""

import warnings
from unittest.mock import patch

import numpy as np
import pytest
import torch
from reference import (
    DIVERGENCES,
    ball,
    cluster_kernel,
    doubly_stochastic,
    entropic_optimum,
    hyperbolic,
    softmax,
    sqdist,
    unit,
)
from scipy.spatial.distance import squareform
from scipy.special import rel_entr
from scipy.stats import spearmanr
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.manifold._t_sne import _joint_probabilities_nn, _kl_divergence
from sklearn.manifold._utils import _binary_search_perplexity
from sklearn.metrics import adjusted_rand_score
from sklearn.neighbors import NearestNeighbors, kneighbors_graph
from torch.autograd.functional import jacobian
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.engines import Dense, MiniBatch
from iconlearn.loss import loss
from iconlearn.metrics import clustering_accuracy, neighbor_recall
from iconlearn.supervisory import KNN

TABLE = iconlearn.periodic_table()
X, Y = load_digits(return_X_y=True)
# Pixels are small integers, and two searches need not break a tie alike: a little noise leaves none.
X, Y = X[:160] / 16 + 1e-4 * np.random.default_rng(0).normal(size=(160, 64)), Y[:160]
N, SPLIT = len(X), 32
GRAPH = kneighbors_graph(X, 8).toarray()
GRAPH = np.maximum(GRAPH, GRAPH.T)
TOKENS = [line.lower().split() for line in (load_iris().DESCR + load_wine().DESCR).splitlines()]
OWN = np.eye(N, dtype=bool)

# Labels of a part of the rows.
FEW = np.where(np.arange(len(Y)) % 2 == 0, Y, -1)

# Row numbers beside the rows: triples, pairs and lists by the classes.
DRAWS = np.random.default_rng(5)
MATE = np.array([DRAWS.choice(np.flatnonzero((y == Y) & (np.arange(N) != i))) for i, y in enumerate(Y)])
OTHER = np.array([DRAWS.choice(np.flatnonzero(y != Y), 2, replace=False) for y in Y])
TRIPLES = np.column_stack([np.arange(N), MATE, OTHER[:, 0]])
ALIKE = np.arange(N) % 2 == 0
PAIRS = np.column_stack([np.arange(N), np.where(ALIKE, MATE, OTHER[:, 0])])
LISTS = {
    "triples": TRIPLES,
    "pairs": PAIRS,
    "alike": ALIKE,
    "candidates": np.column_stack([MATE, OTHER]),
    "apart": TRIPLES[:40, [0, 2]],
    "together": TRIPLES[:40, :2],
}
# Not sure of everything, so that there is something to learn from it.
TEACHER = LogisticRegression(C=0.01, max_iter=5000).fit(X, Y)

CHECKS = {}


def check(*keys):
    def register(function):
        CHECKS.update((key, function) for key in keys)
        return function

    return register


def data_of(entry):
    given = {
        "colour images": (X[:, :63], None),
        "graph": (GRAPH, None),
        "tokens": (TOKENS, None),
        "labelled": (X, Y),
        "few labels": (X, FEW),
    }
    return given.get(entry.data, (X, None))


def build(key, **parameters):
    entry = recipes.RECIPES[key]
    if entry.data == "halves":
        parameters.setdefault("split", SPLIT)
    parameters = {**{name: LISTS[name] for name in entry.parameters if name in LISTS}, **parameters}
    if "shape" in entry.parameters:
        parameters.setdefault("shape", (3, 3, 7) if entry.data == "colour images" else (8, 8))
    if "teacher" in entry.parameters:
        parameters.setdefault("teacher", TEACHER)
    if "step" in entry.parameters:
        parameters.setdefault("step", 8)
    if "n_clusters" in entry.parameters:
        parameters.setdefault("n_clusters", 10)
    return entry(random_state=0, **parameters)


def plan_of(key, **parameters):
    """What a fit would optimise, at its start, in double precision, which networks have on the CPU alone."""
    entry = recipes.RECIPES[key]
    model, (data, y) = build(key, **parameters), data_of(entry)
    if entry.mapper.endswith(("network", "encoder")):
        model.set_params(device="cpu")
    seen = []

    def stop(self, plan, *args, **kwargs):
        seen.append(plan)
        raise InterruptedError

    with (
        patch.object(ICONEmbedding, "_optimise", stop),
        patch.object(ICONClassifier, "_optimise", stop),
        patch.object(ICONClustering, "_improve", stop),
        pytest.raises(InterruptedError),
    ):
        model.fit(data, y)
    for problem in seen[0].objective.problems:
        problem.rows.mapper.double(), problem.columns.mapper.double()
    return seen[0]


def plain(tensor):
    return tensor.detach().double().cpu().numpy()


def whole(problem):
    """All rows as one batch, on the device of the mapper."""
    device = next(problem.rows.mapper.parameters()).device
    return next(next(MiniBatch(10**6).visits(problem, rng=np.random, dtype=torch.float64, device=device)))


def points(problem):
    """Outputs of the mappers, on the views that `value` sees as well."""
    torch.manual_seed(0)
    U = problem.rows.at(None)
    V = U if problem.tied else problem.columns.at(None)
    return plain(U), plain(V)


def value(problem, gradient=False, engine=None):
    visit = whole(problem)
    torch.manual_seed(0)
    total = loss(problem, engine or MiniBatch(), visit)
    if not gradient:
        return float(total.detach())
    return float(total.detach()), plain(torch.autograd.grad(total, problem.rows.mapper.places)[0])


def spread(plan):
    """Put a table somewhere that is not its tiny start."""
    places = np.random.default_rng(3).normal(size=plan.mapper.places.shape)
    with torch.no_grad():
        plan.mapper.places.copy_(torch.as_tensor(places))
    return plan.problem


def log_rows(log_k, own=False):
    log_k = np.where(OWN, -np.inf, log_k) if own else log_k
    return torch.log_softmax(torch.as_tensor(log_k), 1).numpy()


def kl(P, log_q):
    on = P > 0
    return float((P[on] * (np.log(P[on]) - log_q[on])).sum() / len(P))


def student(d, dof=1.0):
    return -0.5 * (dof + 1) * np.log1p(d / dof)


def calibrated(perplexity):
    """scikit-learn's own conditional probabilities over 3 * perplexity neighbours."""
    k = int(3 * perplexity)
    distances, index = NearestNeighbors(n_neighbors=k).fit(X).kneighbors()
    P = _binary_search_perplexity((distances**2).astype(np.float32), perplexity, 0)
    full = np.zeros((N, N))
    np.put_along_axis(full, index, P, axis=1)
    return full / full.sum(axis=1, keepdims=True)


def neighbours(k, data=X):
    return kneighbors_graph(data, k).toarray() / k


# --- maps ----------------------------------------------------------------------------------------


def by_torch(problem, P, kernel):
    """Value and slope of mean_i KL over full matrices, by torch's own derivative."""
    Z = problem.rows.mapper.places.detach().cpu().clone().requires_grad_()
    log_k = kernel((Z[:, None] - Z).square().sum(2)).masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf)
    on = torch.as_tensor(P > 0)
    log_q, p = torch.log_softmax(log_k, 1)[on], torch.as_tensor(P)[on]
    total = (p * (p.log() - log_q)).sum() / N
    return float(total.detach()), torch.autograd.grad(total, Z)[0].numpy()


def cauchy_rows(gamma):
    k = np.where(OWN, 0, 1 / (1 + sqdist(X, X) / gamma**2))
    return k / k.sum(axis=1, keepdims=True)


GAMMA = np.sqrt(X.var(axis=0).sum())
ROWS = {
    "sne": (lambda: calibrated(10), lambda d: -d, {"perplexity": 10}),
    "row_tsne": (lambda: calibrated(10), lambda d: -torch.log1p(d), {"perplexity": 10}),
    "sne_uniform": (lambda: neighbours(7), lambda d: -d, {"n_neighbors": 7}),
    "tsne_uniform": (
        lambda: neighbours(7),
        lambda d: -1.5 * torch.log1p(d / 2),
        {"n_neighbors": 7, "dof": 2.0},
    ),
    "dual_tsne": (lambda: cauchy_rows(GAMMA), lambda d: -d, {}),
    "doubly_tsne": (lambda: cauchy_rows(2.0), lambda d: -torch.log1p(d), {"gamma": 2.0}),
    "sne_graph": (lambda: GRAPH / GRAPH.sum(axis=1, keepdims=True), lambda d: -d, {}),
    "tsne_graph": (lambda: GRAPH / GRAPH.sum(axis=1, keepdims=True), lambda d: -torch.log1p(d), {}),
}


@check(*ROWS)
def directly_written(key):
    P, kernel, parameters = ROWS[key]
    problem = spread(plan_of(key, **parameters))
    theirs = by_torch(problem, P(), kernel)
    ours = value(problem, gradient=True)
    assert ours[0] == pytest.approx(theirs[0], rel=2e-4)  # scikit-learn calibrates in single precision
    np.testing.assert_allclose(ours[1], theirs[1], atol=2e-3 * np.abs(theirs[1]).max())


@check("tsne")
def sklearn_s_tsne(key):
    problem = spread(plan_of(key, perplexity=10))
    P = problem.p.row_mass[:, None] * problem.p.edges.toarray()
    graph = kneighbors_graph(X, 30, mode="distance")
    graph.data **= 2
    theirs = _joint_probabilities_nn(graph, 10, 0).toarray()
    np.testing.assert_allclose(P, theirs / theirs.sum(), atol=1e-4 * P.max())
    for dof in (1.0, 2.0):
        problem = spread(plan_of(key, perplexity=10, dof=dof))
        Z = plain(problem.rows.mapper.places)
        expected, slope = _kl_divergence(Z.ravel(), squareform(P, checks=False), dof, N, 2, skip_num_points=0)
        ours = value(problem, gradient=True)
        assert ours[0] == pytest.approx(expected, rel=1e-9)
        if dof == 1:  # for others its slope has the kernel where (1 + d / dof)^-1 belongs
            np.testing.assert_allclose(ours[1].ravel(), slope, atol=1e-10)
        else:
            np.testing.assert_allclose(ours[1], joint_slope(P, Z, dof), atol=1e-10)


def joint_slope(P, Z, dof):
    Z = torch.as_tensor(Z).requires_grad_()
    log_k = -0.5 * (dof + 1) * torch.log1p((Z[:, None] - Z).square().sum(2) / dof)
    log_q = log_k - torch.logsumexp(log_k.masked_fill(torch.as_tensor(OWN), -torch.inf).ravel(), 0)
    return torch.autograd.grad(-(torch.as_tensor(P) * log_q).sum(), Z)[0].numpy()


@check("snekhorn", "tsnekhorn")
def doubly_stochastic_at_a_perplexity(key):
    kernels = {"snekhorn": lambda d: -d, "tsnekhorn": student}
    problem = spread(plan_of(key, perplexity=20))
    P, Z = problem.p.full(), plain(problem.rows.mapper.places)
    _, gamma, off = entropic_optimum(P, sqdist(X, X))
    assert (gamma > 0).all() and off < 1e-4 * np.median(gamma)
    np.testing.assert_allclose(P.sum(axis=0), 1, atol=5e-6)
    # One digit is among the neighbours of so many that it cannot have fewer.
    more = -rel_entr(P, 1).sum(axis=1) - np.log(20)
    assert more.min() > -1e-4 and (more > 1e-4).sum() <= 1
    Q = doubly_stochastic(np.exp(np.where(OWN, -np.inf, kernels[key](sqdist(Z, Z)))))
    ours, slope = value(problem, gradient=True, engine=Dense())
    assert ours == pytest.approx(rel_entr(P, Q).sum() / N, rel=1e-9)
    pulled = 4 / N * (P - Q) / (1 if key == "snekhorn" else 1 + sqdist(Z, Z))
    np.testing.assert_allclose(slope, pulled.sum(axis=1)[:, None] * Z - pulled @ Z, atol=1e-6)


@check("cosne")
def in_the_ball(key):
    problem = spread(plan_of(key, perplexity=10, gamma=0.8))
    P, Z = problem.p.row_mass[:, None] * problem.p.edges.toarray(), plain(problem.rows.mapper.places)
    k = np.where(OWN, 0, 1 / (1 + (hyperbolic(ball(Z), ball(Z)) / 0.8) ** 2))
    ours, slope = value(problem, gradient=True, engine=Dense())
    assert ours == pytest.approx(rel_entr(P, k / k.sum()).sum(), rel=1e-9)
    step = 1e-5 * np.random.default_rng(0).normal(size=Z.shape)
    places = problem.rows.mapper.places
    with torch.no_grad():
        places.add_(torch.as_tensor(step).to(places))
    further = value(problem)
    with torch.no_grad():
        places.sub_(2 * torch.as_tensor(step).to(places))
    assert (further - value(problem)) / 2 == pytest.approx((slope * step).sum(), rel=1e-5)


@check("pca")
def sklearn_s_pca(key):
    model, theirs = build(key, n_components=4).fit(X), PCA(4).fit(X)
    W = model.mapper_.weight.detach().numpy()
    np.testing.assert_allclose(np.linalg.svd(W @ theirs.components_.T, compute_uv=False), 1, atol=1e-8)
    assert model.loss_ == pytest.approx(-2 * theirs.explained_variance_.sum() * (N - 1) / N, rel=1e-8)


@check("metric_mds")
def row_centred_stress(key):
    problem = spread(plan_of(key))
    D, d = sqdist(X, X), sqdist(*points(problem))
    gap = (D - D.mean(axis=1, keepdims=True)) - (d - d.mean(axis=1, keepdims=True))
    assert value(problem) == pytest.approx((gap**2).sum() / (2 * N**2), rel=1e-10)


@check("dreams")
def local_and_global(key):
    plan = plan_of(key, perplexity=10, global_weight=3.0)
    spread(plan)
    local, wide = plan.objective.problems
    P, Z = local.p.row_mass[:, None] * local.p.edges.toarray(), points(local)[0]
    expected, _ = _kl_divergence(Z.ravel(), squareform(P, checks=False), 1, N, 2, skip_num_points=0)
    assert value(local) == pytest.approx(expected, rel=1e-9)
    D, d, unit_ = sqdist(X, X), sqdist(Z, Z), 1.2**2 * N
    D *= unit_ * (N - 1) / N / D.mean()
    gap = (D - D.mean(axis=1, keepdims=True)) - (d - d.mean(axis=1, keepdims=True))
    assert wide.weight == 3 and value(wide) == pytest.approx((gap**2).sum() / (2 * N**2 * unit_**2), rel=1e-9)
    # Distances of all pairs keep more of their order, and fewer neighbours stay, the more the term weighs.
    kept, order = [], []
    pairs = np.random.default_rng(0).integers(N, size=(2, 4000))
    for weight in (1e-3, 1e4):
        Z = build(key, perplexity=10, global_weight=weight).fit(X).embedding_
        kept.append(neighbor_recall(X, Z, 5))
        order.append(spearmanr(*(((A[pairs[0]] - A[pairs[1]]) ** 2).sum(axis=1) for A in (X, Z)))[0])
    assert order[1] > order[0] + 0.05 and kept[1] < kept[0]


@check("density_tsne")
def local_and_local_radii(key):
    plan = plan_of(key, perplexity=10, n_neighbors=6, density_weight=2.0)
    spread(plan)
    local, radii = plan.objective.problems
    P, Z = local.p.row_mass[:, None] * local.p.edges.toarray(), plain(plan.mapper.places)
    expected, _ = _kl_divergence(Z.ravel(), squareform(P, checks=False), 1, N, 2, skip_num_points=0)
    assert value(local) == pytest.approx(expected, rel=1e-9)
    near = NearestNeighbors(n_neighbors=6).fit(X).kneighbors(return_distance=False)
    data, map_ = (((A[:, None] - A[near]) ** 2).sum(axis=2).mean(axis=1) for A in (X, Z))
    gap = np.log(data + 1e-4 * data.mean()) - np.log(map_ + 1e-4 * map_.mean())
    expected = gap.var() / 2 + np.log(2 * np.pi) / 2
    assert radii.weight == 2 and value(radii) == pytest.approx(expected, rel=1e-8)


# --- clusters ------------------------------------------------------------------------------------


def soft_inertia(r):
    means = (r.T @ X) / r.sum(axis=0)[:, None]
    return (r * sqdist(X, means)).sum()


@check("k_means")
def sklearn_s_k_means(key):
    start = np.random.default_rng(0).integers(10, size=N)
    means = np.array([X[start == c].mean(axis=0) for c in range(10)])
    theirs = KMeans(10, init=means, n_init=1, tol=0, algorithm="lloyd").fit(X)
    model = build(key, init=start).fit(X)
    assert adjusted_rand_score(model.labels_, theirs.labels_) == 1
    assert soft_inertia(np.eye(10)[model.labels_]) == pytest.approx(theirs.inertia_, rel=1e-10)


@check("probabilistic_k_means")
def soft_k_means(key):
    problem = plan_of(key).problem
    r, sigma2 = softmax(points(problem)[0]), X.var(axis=0).sum()
    log_z = np.log(np.exp(-sqdist(X, X) / (2 * sigma2)).sum(axis=1)).mean()
    assert value(problem) == pytest.approx(soft_inertia(r) / sigma2 / N + log_z, rel=1e-9)
    best = KMeans(10, n_init=10, random_state=0).fit(X).inertia_
    model = build(key, max_iter=300, n_init=5).fit(X)
    assert soft_inertia(model.probabilities_) <= 1.03 * best


def entropies(r):
    q = (r / r.sum(axis=0)) @ r.T
    return -(q * np.log(q)).sum()


@check("entropic_k_means")
def k_means_less_entropy(key):
    problem = plan_of(key, sigma=1.5).problem
    r = softmax(points(problem)[0])
    log_z = np.log(np.exp(-sqdist(X, X) / 4.5).sum(axis=1)).sum()
    assert N * value(problem) == pytest.approx(soft_inertia(r) / 2.25 - entropies(r) + log_z, rel=1e-9)


@check("t_k_means")
def robust_k_means(key):
    problem = plan_of(key, sigma=1.5, dof=3.0).problem
    r = softmax(points(problem)[0])
    cost = -student(sqdist(X, X) / 2.25, 3.0)
    q = (r / r.sum(axis=0)) @ r.T
    expected = (q * cost).sum() - entropies(r) + np.log(np.exp(-cost).sum(axis=1)).sum()
    assert N * value(problem) == pytest.approx(expected, rel=1e-9)


@check("spectral_clustering")
def sklearn_s_spectral_clustering(key):
    model = build(key, n_neighbors=8).fit(X)
    W = neighbours(8)
    theirs = SpectralClustering(10, affinity="precomputed", random_state=0, n_init=20).fit(W + W.T)
    W = W + W.T
    values = np.sort(np.linalg.eigvals(W / W.sum(axis=1, keepdims=True)).real)[::-1][:10]
    np.testing.assert_allclose(model.p_.eigenvalues_, values, atol=1e-9)
    assert adjusted_rand_score(model.labels_, theirs.labels_) > 0.9


@check("normalized_cuts")
def shi_and_malik(key):
    problem = plan_of(key, scale=30.0).problem
    r, d = softmax(points(problem)[0]), GRAPH.sum(axis=1)
    volume = d @ r
    cut = ((volume - np.einsum("ic,ij,jc->c", r, GRAPH, r)) / volume).sum()
    log_z = np.log(np.exp(30 * GRAPH / d).sum(axis=1)).sum()
    assert N * value(problem) == pytest.approx(30 * (cut - 10) + log_z, rel=1e-9)


def clusters_by_hand(problem, P, alpha_p=0.0, alpha_q=0.0, divergence="KL"):
    r = softmax(points(problem)[0])
    Q = (1 - alpha_q) * cluster_kernel(r, r) + alpha_q / N
    return DIVERGENCES[divergence](((1 - alpha_p) * P + alpha_p / N) / N, Q / N)


@check("dcd")
def dcd_from_full_matrices(key):
    problem = plan_of(key, n_neighbors=6).problem
    assert value(problem) == pytest.approx(clusters_by_hand(problem, neighbours(6)), rel=1e-9)
    assert clustering_accuracy(Y, build(key).fit(X).labels_) > 0.7


@check("pmi_clustering")
def pointwise_mutual_information(key):
    problem = plan_of(key).problem
    r = softmax(points(problem)[0])
    pmi = np.log(np.einsum("ic,jc,c->ij", r, r, 1 / r.mean(axis=0)))
    P = neighbours(3)
    assert value(problem) == pytest.approx(np.log(N) - (P * pmi).sum() / N - np.log(3), rel=1e-9)


@check("infonce_clustering")
def views_and_neighbours(key):
    plan = plan_of(key)
    views, graph = plan.objective.problems
    r = softmax(points(views)[0])
    Q = cluster_kernel(r, r)
    other = (np.arange(2 * N) + N) % (2 * N)
    assert value(views) == pytest.approx(-np.log(Q[np.arange(2 * N), other]).mean(), rel=1e-9)
    assert value(graph) == pytest.approx(clusters_by_hand(graph, neighbours(3)), rel=1e-9)


@check("debiased_infonce_clustering")
def debiased_on_both_sides(key):
    problem = plan_of(key, alpha=0.4).problem
    P = neighbours(3)
    walks = np.where(OWN, 0, P + P @ P)
    walks /= walks.sum(axis=1, keepdims=True)
    assert value(problem) == pytest.approx(clusters_by_hand(problem, walks, 0.4, 0.4), rel=1e-9)
    assert build(key, alpha=0.4, max_iter=20).fit(X).loss_ < np.log(N / 0.4)


@check("supervised_clustering")
def the_classes_themselves(key):
    model = build(key).fit(X, Y)
    assert clustering_accuracy(Y, model.labels_) == 1 and model.loss_ == pytest.approx(0, abs=1e-6)


# --- encoders ------------------------------------------------------------------------------------


def contrast(logits, target):
    return float(F.cross_entropy(torch.as_tensor(logits), torch.as_tensor(target)))


def other_views(log_k, k=2):
    n = len(log_k)
    log_k = np.where(np.eye(n, dtype=bool), -np.inf, log_k)
    return np.mean([contrast(log_k, (np.arange(n) + s * n // k) % n) for s in range(1, k)])


@check("infonce", "simclr", "t_simclr", "t_simcne")
def views_against_all(key):
    k = 3 if key == "infonce" else 2
    plan = plan_of(key, n_components=4, **({"n_views": 3, "temperature": 0.3} if key == "infonce" else {}))
    U = points(plan.problem)[0]
    kernels = {
        "infonce": lambda: unit(U) @ unit(U).T / 0.3,
        "simclr": lambda: unit(U) @ unit(U).T / 0.5,
        "t_simclr": lambda: student(sqdist(U, U), 2.0),
        "t_simcne": lambda: student(sqdist(U, U), 1.0),
    }
    assert value(plan.problem) + np.log(k - 1) == pytest.approx(other_views(kernels[key](), k), rel=1e-6)


@check("moco_v3")
def keys_of_a_teacher(key):
    plan = plan_of(key, n_components=4, momentum=0.9)
    teacher = plan.problem.columns.mapper
    with torch.no_grad():
        for parameter in plan.mapper.parameters():
            parameter.add_(0.01)
    before = [p.clone() for p in teacher.parameters()]
    teacher.step()
    for old, new, lead in zip(before, teacher.parameters(), plan.mapper.parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * lead)
    U, V = points(plan.problem)
    assert value(plan.problem) == pytest.approx(contrast(unit(U) @ unit(V).T / 0.2, np.arange(N)), rel=1e-6)


@check("byol")
def squared_errors_of_unit_vectors(key):
    plan = plan_of(key, n_components=4, momentum=0.9)
    problem, teacher, lead = plan.problem, plan.problem.columns.mapper, plan.mapper
    assert not any(parameter.requires_grad for parameter in teacher.parameters())
    assert [p.shape for p in teacher.parameters()] == [
        p.shape for part in (lead.encoder, lead.projector) for p in part.parameters()
    ]
    with torch.no_grad():
        for parameter in lead.parameters():
            parameter.add_(0.01)
    before = [p.clone() for p in teacher.parameters()]
    teacher.step()
    for old, new, follows in zip(before, teacher.parameters(), lead.target().parameters(), strict=True):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * follows)
    U, V = points(problem)
    error = 32 * F.mse_loss(torch.as_tensor(unit(U)), torch.as_tensor(unit(V)))
    assert value(problem) == pytest.approx(float(error) / 2 - 1 + float(problem.q.log_volume(32)), rel=1e-6)


@check("vicreg")
def invariance_and_variance(key):
    problem = plan_of(key, n_components=4).problem
    U = unit(points(problem)[0])
    n = len(U)
    invariance = ((U - np.roll(U, N, axis=0)) ** 2).sum(axis=1).mean()
    assert value(problem) == pytest.approx(invariance - 2 * U.var(axis=0, ddof=1).sum(), rel=1e-8)
    assert n == 2 * N


# --- restoration -----------------------------------------------------------------------------------


SEEN = {
    "inpainting": lambda images, mean: np.where(np.arange(8) < 4, images, mean),
    "super_resolution": lambda images, mean: np.kron(
        images.reshape(N, 1, 4, 2, 4, 2).mean(axis=(3, 5)), np.ones((2, 2))
    ),
    "colorization": lambda images, mean: np.repeat(
        np.tensordot(images, (0.299, 0.587, 0.114), (1, 0))[:, None], 3, axis=1
    ),
}


@check(*SEEN)
def squared_errors_from_whole_images(key):
    problem = plan_of(key).problem
    whole = data_of(recipes.RECIPES[key])[0]
    shape = (3, 3, 7) if key == "colorization" else (1, 8, 8)
    seen = SEEN[key](whole.reshape(N, *shape), whole.mean(axis=0).reshape(shape)).reshape(N, -1)
    with torch.no_grad():
        for parameter in problem.rows.mapper.parameters():
            parameter.add_(0.01)
        change = plain(problem.rows.mapper.change(torch.as_tensor(seen)))
    U, V = points(problem)
    np.testing.assert_allclose(U, seen + change, atol=1e-10)
    np.testing.assert_array_equal(V, whole)
    n = whole.shape[1]
    error = n * F.mse_loss(torch.as_tensor(U), torch.as_tensor(whole))
    assert value(problem) == pytest.approx(float(error) + n / 2 * np.log(np.pi), rel=1e-10)


def bernoulli_kl(rho, mean):
    return rel_entr(rho, mean) + rel_entr(1 - rho, 1 - mean)


COSTS = {
    "sparse_autoencoder": lambda m, data: 0.05 * bernoulli_kl(0.05, plain(m.read(data).mean(0))).sum(),
    "contractive_autoencoder": lambda m, data: 0.02 * np.mean(
        [float(jacobian(lambda x: m.read(x[None])[0], x).square().sum()) for x in data]
    ),
    "vae": lambda m, data: float(
        kl_divergence(Normal(m.encoder(data)[:, :4], (0.5 * m.encoder(data)[:, 4:]).exp()), Normal(0.0, 1.0))
        .sum(1).mean().detach()
    ),
}  # fmt: skip


@check(
    "autoencoder", "conv_autoencoder", "denoising_autoencoder", "sparse_autoencoder", "contractive_autoencoder", "vae"
)  # fmt: skip
def squared_errors_and_costs(key):
    plan = plan_of(key, n_components=4)
    problem, module = plan.problem, plan.mapper
    U, V = points(problem)
    np.testing.assert_array_equal(V, X)
    error = 64 * float(F.mse_loss(torch.as_tensor(U), torch.as_tensor(X)))
    # A learned width begins at one.
    expected = error / 2 + 32 * np.log(2 * np.pi) if key == "vae" else error + 32 * np.log(np.pi)
    assert value(problem) == pytest.approx(expected, rel=1e-10)
    if key == "denoising_autoencoder":
        torch.manual_seed(0)
        seen = torch.as_tensor(X) + 0.3 * torch.as_tensor(X.std(axis=0)) * torch.randn(
            N, 64, dtype=torch.float64
        )
        np.testing.assert_allclose(U, plain(module(seen)), atol=1e-10)
    assert module.costs == (key in COSTS)
    if key in COSTS:
        module.eval()(torch.as_tensor(X))
        assert float(module.cost().detach()) == pytest.approx(
            COSTS[key](module, torch.as_tensor(X)), rel=1e-10
        )
    if key == "conv_autoencoder":
        kinds = [type(part) for part in module.modules()]
        assert kinds.count(torch.nn.Conv2d) == kinds.count(torch.nn.ConvTranspose2d) == 2


def hardest(d, positive, margin):
    """Mean over positives of d - min over candidates, negatives `margin` nearer; d is inf where not allowed."""
    lifted = d - margin * ~positive
    mean = np.where(positive, d, 0).sum(axis=1) / np.maximum(positive.sum(axis=1), 1)
    return np.mean((mean - lifted.min(axis=1))[positive.any(axis=1)])


@check("triplet")
def hardest_negatives(key):
    problem = plan_of(key, n_components=4, margin=0.3).problem
    U = unit(points(problem)[0])
    n = len(U)
    d = np.where(np.eye(n, dtype=bool), np.inf, sqdist(U, U))
    other = (np.arange(n) + N) % n
    positive = d[np.arange(n), other]
    negative = d.copy()
    negative[np.arange(n), other] = np.inf
    assert value(problem) == pytest.approx(
        np.maximum(0, positive - negative.min(axis=1) + 0.3).mean(), rel=1e-8
    )


@check("lgsimclr")
def neighbours_of_companions(key):
    problem = plan_of(key, n_components=4).problem
    P = neighbours(5, unit(X[:, SPLIT:])).T
    has = P.sum(axis=1) > 0
    P = P[has] / P[has].sum(axis=1, keepdims=True)
    U = unit(points(problem)[0])
    assert value(problem) == pytest.approx(kl(P, log_rows(U @ U.T / 0.1, own=True)[has]), rel=1e-8)
    assert problem.rows.mapper[0].in_features == SPLIT


@check("x_sample")
def soft_targets(key):
    problem = plan_of(key, n_components=4, target_temperature=0.2).problem
    g, U = unit(X[:, SPLIT:]), unit(points(problem)[0])
    P = np.exp(log_rows(g @ g.T / 0.2, own=True))
    theirs = F.cross_entropy(
        torch.as_tensor(np.where(OWN, -1e9, U @ U.T / 0.1)), torch.as_tensor(P), reduction="mean"
    )
    assert value(problem) + problem.entropy() == pytest.approx(float(theirs), rel=1e-8)


@check("cmc", "clip", "t_clip", "average_margin_clip", "triplet_clip")
def both_directions(key):
    plan = plan_of(key, n_components=4)
    there, back = plan.objective.problems
    U, V = points(there)
    assert np.array_equal(points(back)[0], V) and np.array_equal(points(back)[1], U)
    own, d = np.arange(N), sqdist(unit(U), unit(V))
    if key == "t_clip":
        d = sqdist(U, V)
    temperature = {"cmc": 0.1, "clip": 0.07}.get(key)

    def one_way(d, U, V):
        if temperature:
            return contrast(unit(U) @ unit(V).T / temperature, own)
        if key == "t_clip":
            return contrast(student(d), own)
        if key == "average_margin_clip":
            return np.diagonal(d).mean() - d.mean()
        return hardest(d, OWN, 0.5)

    assert value(there) + value(back) == pytest.approx(one_way(d, U, V) + one_way(d.T, V, U), rel=1e-6)
    learned = [p for p in plan.objective.parameters if p.ndim == 0]
    assert len(learned) == (key == "clip")
    if key == "clip":
        # The slope of the learned log scale against a difference of the hand-written loss.
        plan.q.log_scale_ = torch.nn.Parameter(plan.q.log_scale_.detach().double())
        visit = whole(there)
        (slope,) = torch.autograd.grad(loss(there, MiniBatch(), visit), plan.q.log_scale_)
        logits = unit(U) @ unit(V).T / 0.07
        expected = (contrast(logits * np.exp(1e-5), own) - contrast(logits * np.exp(-1e-5), own)) / 2e-5
        assert float(slope) == pytest.approx(expected, rel=1e-4)


# --- labels --------------------------------------------------------------------------------------

MATES = (Y[:, None] == Y) & ~OWN


@check("supcon", "t_supcon")
def outer_supcon(key):
    problem = plan_of(key, n_components=4).problem
    U = points(problem)[0]
    log_k = unit(U) @ unit(U).T / 0.1 if key == "supcon" else student(sqdist(U, U))
    log_q = log_rows(log_k, own=True)
    theirs = -np.mean([log_q[i, MATES[i]].mean() for i in range(N)])
    assert value(problem) + np.log(MATES.sum(axis=1)).mean() == pytest.approx(theirs, rel=1e-6)


@check("average_margin_supcon", "triplet_supcon")
def margins_by_hand(key):
    problem = plan_of(key, n_components=4).problem
    U = unit(points(problem)[0])
    d = sqdist(U, U)
    if key == "triplet_supcon":
        expected = hardest(np.where(OWN, np.inf, d), MATES, 0.5)
    else:
        expected = np.mean([d[i, MATES[i]].mean() for i in range(N)]) - 2 * U.var(axis=0, ddof=1).sum()
    assert value(problem) == pytest.approx(expected, rel=1e-8)


@check("held_labels")
def clusters_that_keep_their_labels(key):
    model = build(key, n_neighbors=6, graph_weight=3.0).fit(X, FEW)
    r, p = model.label_distributions_, KNN(6).fit(X).conditional_.sparse().toarray()
    q = r @ (r / np.maximum(r.sum(axis=0), 1e-12)).T
    rows = (p * np.log(np.where(p > 0, p, 1) / np.maximum(q, 1e-300))).sum(axis=1)
    assert model.loss_ == pytest.approx(rows[FEW >= 0].mean() + 3.0 * rows.mean(), rel=1e-6)
    np.testing.assert_allclose(r[FEW >= 0], np.eye(r.shape[1])[FEW[FEW >= 0]], atol=1e-10)


@check("cross_entropy")
def logistic_regression(key):
    data, y = load_wine(return_X_y=True)
    data = (data - data.mean(axis=0)) / data.std(axis=0)
    for C in (0.1, 3.0):
        ours = build(key, C=C, tol=1e-8).fit(data, y)
        theirs = LogisticRegression(C=C, tol=1e-8, max_iter=5000).fit(data, y)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-4)
        np.testing.assert_allclose(ours.predict_proba(data), theirs.predict_proba(data), atol=1e-4)


@check("label_smoothing")
def torch_s_smoothing(key):
    plan = plan_of(key, alpha=0.2)
    logits = points(plan.problem)[0]
    criterion = torch.nn.CrossEntropyLoss(label_smoothing=0.2)
    expected = float(criterion(torch.as_tensor(logits), torch.as_tensor(Y)))
    assert value(plan.problem) + plan.problem.entropy() == pytest.approx(expected, rel=1e-10)


@check("harmonic")
def harmonic_by_definition(key):
    problem = plan_of(key, n=4.0, n_components=5).problem
    Z, W = points(problem)
    probability = sqdist(Z, W) ** -2.0
    probability /= probability.sum(axis=1, keepdims=True)
    assert value(problem) == pytest.approx(-np.log(probability[np.arange(N), Y]).mean(), rel=1e-8)
    # A Student-t of dof 3 whose width goes to nought tends to it.
    log_q = log_rows(student(sqdist(Z, W) * 1e10, 3.0))
    assert value(problem) == pytest.approx(-log_q[np.arange(N), Y].mean(), rel=1e-6)


@check("error_rate")
def share_of_mistakes(key):
    plan = plan_of(key, final_temperature=1e-5)
    plan.q.cool(1.0)
    wrong = points(plan.problem)[0].argmax(axis=1) != Y
    assert value(plan.problem) == pytest.approx(wrong.mean(), abs=2e-3)
    # With a fifth of the classes at random the fit cannot be perfect, and what it reports is what it gets wrong.
    noisy = np.where(np.random.default_rng(0).random(N) < 0.2, (Y + 1) % 10, Y)
    model = build(key, max_iter=400).fit(X[:, ::6], noisy)
    assert model.q_.temperature_ == pytest.approx(0.01)
    mistakes = 1 - model.score(X[:, ::6], noisy)
    assert model.loss_ == pytest.approx(mistakes, abs=1e-3)
    by_entropy = LogisticRegression(max_iter=5000).fit(X[:, ::6], noisy)
    # At the last temperature from the start there is hardly a slope to follow.
    at_once = build(key, max_iter=400, temperature=0.01).fit(X[:, ::6], noisy)
    assert 0 < mistakes < min(1 - by_entropy.score(X[:, ::6], noisy), at_once.loss_)


# --- tasks made of the data -----------------------------------------------------------------------


def by_all_tasks(plan, views):
    """torch's cross-entropy over the hand-made views, task after task."""
    problem = plan.problem
    with torch.no_grad():
        logits = plan.mapper(torch.as_tensor(np.concatenate(views))) @ problem.columns.mapper.places.T
    codes = torch.arange(len(views)).repeat_interleave(N)
    assert value(problem) == pytest.approx(float(F.cross_entropy(logits, codes)), rel=1e-9)


@check("rotation")
def turns_by_hand(key):
    images = X.reshape(-1, 8, 8)
    views = [np.rot90(images, k, axes=(1, 2)).reshape(N, -1) for k in range(4)]
    by_all_tasks(plan_of(key, n_components=5), views)


def parts_by_hand(images, corners, height, width):
    return [images[:, top : top + height, left : left + width].reshape(N, -1) for top, left in corners]


@check("relative_patch")
def parts_around_the_middle(key):
    # With a gap of two pixels the 64 numbers of a digit, seen as 8 by 8, have parts of one pixel at 0, 4 and 7.
    for gap, side, starts in ((0, 2, (0, 3, 6)), (2, 1, (0, 4, 7))):
        corners = [(top, left) for top in starts for left in starts]
        parts = parts_by_hand(X.reshape(-1, 8, 8), corners, side, side)
        views = [np.hstack([parts[4], part]) for k, part in enumerate(parts) if k != 4]
        plan = plan_of(key, n_components=9, gap=gap)
        by_all_tasks(plan, views)
        with torch.no_grad():
            codes = [plan.mapper.encoder(torch.as_tensor(part)) for part in parts]
            torch.testing.assert_close(plan.mapper(torch.as_tensor(X)), torch.cat(codes, 1))


@check("jigsaw")
def orders_by_hand(key):
    corners = [(top, left) for top in (0, 4) for left in (0, 4)]
    plan = plan_of(key, n_components=5, grid=2, n_tasks=6, gap=2)
    parts = parts_by_hand(X.reshape(-1, 8, 8), [(t + (t > 0), s + (s > 0)) for t, s in corners], 3, 3)
    views = []
    for order in plan.p.permutations_:
        made = np.zeros((N, 8, 8))
        for place, part in enumerate(order):
            top, left = corners[place]
            made[:, top + (top > 0) : top + (top > 0) + 3, left + (left > 0) : left + (left > 0) + 3] = parts[
                part
            ].reshape(N, 3, 3)
        views.append(made.reshape(N, -1))
    by_all_tasks(plan, views)


# --- what comes next -----------------------------------------------------------------------------


@check("cpc")
def steps_told_from_others(key):
    """Contexts are made by torch's GRU of the steps that have been seen, and of no others."""
    plan = plan_of(key, steps=2, hidden=5, encoder=(6, 7), first=3)
    rows, module = torch.as_tensor(X, device=plan.device), plan.mapper
    first, second = (module.encoder[k] for k in (0, 2))
    matrices = module.ahead.weight.reshape(2, 5, 7)
    for ahead, problem in enumerate(plan.objective.problems, start=1):
        contexts, later = [], []
        for t in range(3, 9 - ahead):
            codes = F.relu(second(F.relu(first(rows[:, : 8 * t].reshape(N, t, 8)))))
            contexts.append(module.gru(codes)[1][0])
            step = rows[:, 8 * (t + ahead - 1) : 8 * (t + ahead)]
            later.append(F.relu(second(F.relu(first(step)))) @ matrices[ahead - 1].T)
        logits = torch.cat(contexts) @ torch.cat(later).T
        cross = F.cross_entropy(logits, torch.arange(len(logits), device=plan.device))
        assert value(problem) == pytest.approx(float(cross), rel=1e-9)
        slopes = torch.autograd.grad(cross, first.weight, retain_graph=True)[0]
        found = torch.autograd.grad(loss(problem, MiniBatch(), whole(problem)), first.weight)[0]
        torch.testing.assert_close(found, slopes)


def contexts_by_hand(plan, offsets):
    """A network of unit vectors, one for each place of the context."""
    words = [w for line in TOKENS for w in line]
    words = sorted(set(words), key=lambda w: (-words.count(w), w))
    number, rows, codes = {w: k for k, w in enumerate(words)}, [], []
    for line in TOKENS:
        for t, word in enumerate(line):
            row = np.zeros((len(offsets), len(words)))
            for slot, d in enumerate(offsets):
                if 0 <= t + d < len(line):
                    row[slot, number[line[t + d]]] = 1
            if row.any():
                rows.append(row.ravel())
                codes.append(number[word])
    assert len(codes) == plan.problem.p.n_rows and len(offsets) * len(words) == plan.X.shape[1]
    rows, codes = (torch.as_tensor(np.array(a), device=plan.device) for a in (rows, codes))
    logits = plan.mapper(rows) @ plan.problem.columns.at(None).T
    cross = float(F.cross_entropy(logits, codes).detach())
    assert value(plan.problem) == pytest.approx(cross, rel=1e-8)


@check("next_token")
def tokens_before(key):
    contexts_by_hand(plan_of(key, window=3, n_components=8), (-3, -2, -1))


# --- a teacher -----------------------------------------------------------------------------------


@check("distillation")
def torch_s_kl_div(key):
    plan = plan_of(key, temperature=3.0, weight=0.7)
    (labels, imitation), logits = plan.objective.problems, torch.as_tensor(points(plan.problem)[0])
    assert value(labels) == pytest.approx(float(F.cross_entropy(logits, torch.as_tensor(Y))), rel=1e-9)
    theirs = torch.as_tensor(TEACHER.decision_function(X))

    def by_torch(T):
        student, teacher = (torch.log_softmax(z / T, 1) for z in (logits, theirs))
        return float(F.kl_div(student, teacher, reduction="batchmean", log_target=True)) * T**2

    assert imitation.weight * value(imitation) == pytest.approx(0.7 * by_torch(3.0), rel=1e-6)
    T = 1e3
    warm = plan_of(key, temperature=T, weight=1.0).objective.problems[1]
    gap = logits - theirs
    gap = gap - gap.mean(1, keepdim=True)
    limit = float(gap.square().sum(1).mean() / (2 * gap.shape[1]))
    assert warm.weight * value(warm) == pytest.approx(limit, rel=1e-2)


# --- words ---------------------------------------------------------------------------------------


def windows_with(key, discount):
    plan = plan_of(key, window=2, n_components=8, subsample=None, discount=discount)
    words = sorted(
        {t for line in TOKENS for t in line}, key=lambda w: (-sum(line.count(w) for line in TOKENS), w)
    )
    index, C = {w: i for i, w in enumerate(words)}, np.zeros((len(words), len(words)))
    for line in TOKENS:
        for a, word in enumerate(line):
            for b in range(max(0, a - 2), min(len(line), a + 3)):
                C[index[word], index[line[b]]] += (a != b) * (3 - abs(a - b)) / 2
    U, V = points(plan.problem)
    log_q = log_rows(U @ V.T)
    P, weight = C / np.maximum(C.sum(axis=0), 1e-9) ** discount, C.sum(axis=1) / C.sum()
    P /= np.maximum(
        P.sum(axis=1, keepdims=True), 1e-9
    )  # a word that stands alone in its lines has no company
    assert value(plan.problem) + plan.problem.entropy() == pytest.approx(
        -weight @ (P * log_q).sum(axis=1), rel=1e-8
    )


@check("masked_token")
def bags_by_hand(key):
    plan = plan_of(key, window=2, n_components=8)
    codes = plan.problem.p.edges.indices
    Z, V = points(plan.problem)
    cross = F.cross_entropy(torch.as_tensor(Z @ V.T), torch.as_tensor(codes), reduction="none").numpy()
    assert value(plan.problem) == pytest.approx(plan.problem.p.row_mass @ cross, rel=1e-8)
    if key == "masked_token":
        np.testing.assert_allclose(plan.problem.p.row_mass, 1 / len(codes))
        contexts_by_hand(plan_of(key, window=2, n_components=8, ordered=True), (-2, -1, 1, 2))


@check("skip_gram")
def words_against_one_another(key):
    for discount in (0.0, 0.75):
        windows_with(key, discount)
    outputs_with(key, discount=0.75)


@check("cbow")
def bags_and_other_outputs(key):
    bags_by_hand(key)
    outputs_with(key)


def outputs_with(key, **parameters):
    """A tree is the KL of its own product over the paths, and negative sampling torch's logistic loss."""
    same = {"window": 2, "n_components": 8, "subsample": None, **parameters}
    P, weight = (f(plan_of(key, **same).problem.p) for f in (lambda p: p.full(), lambda p: p.row_mass))
    plan = plan_of(key, output="tree", **same)
    U, V = points(plan.problem)
    log_q = plan.p.tree_.log_probabilities(U @ V.T)
    np.testing.assert_allclose(np.exp(log_q).sum(axis=1), 1, atol=1e-12)
    on = P > 0
    kl = np.where(on, P * (np.log(np.where(on, P, 1)) - log_q), 0).sum(axis=1)
    assert value(plan.problem) == pytest.approx(weight @ kl, rel=1e-9)
    plan = plan_of(key, output="negative", n_negatives=3, **same)
    if "discount" in parameters:
        P = plan_of(key, **{**same, "discount": 0.0}).problem.p.full()
    U, V = points(plan.problem)
    noise = (weight @ P) ** 0.75
    both = torch.as_tensor(P + 3 * noise / noise.sum())
    share = (torch.as_tensor(P) / both).nan_to_num()
    scores = torch.as_tensor(U @ V.T)
    each = F.binary_cross_entropy_with_logits(scores, share, both, reduction="none").sum(1).numpy()
    entropy = -(torch.special.xlogy(share, share) + torch.special.xlogy(1 - share, 1 - share))
    expected = weight @ (each - (both * entropy).sum(1).numpy())
    assert value(plan.problem) == pytest.approx(expected, rel=1e-9)


# --- lists of candidates -------------------------------------------------------------------------


def distances(U, pairs):
    U = torch.as_tensor(U)
    return (U[pairs[:, 0]] - U[pairs[:, 1]]).norm(dim=1)


@check("triplet_margin")
def triples_by_torch(key):
    problem = plan_of(key, margin=0.3, n_components=4).problem
    U = torch.as_tensor(points(problem)[0])
    expected = F.triplet_margin_loss(*(U[TRIPLES[:, k]] for k in range(3)), margin=0.3, eps=0)
    assert value(problem) == pytest.approx(float(expected), rel=1e-6)
    model = build(key, n_components=4, max_iter=60).fit(X)
    assert nearest_are_mates(model.embedding_) > nearest_are_mates(X) - 0.05
    assert value_of_triples(model.embedding_) > 0.97


def value_of_triples(U):
    """The share of triples whose positive is the nearer."""
    return float((distances(U, TRIPLES[:, :2]) < distances(U, TRIPLES[:, [0, 2]])).double().mean())


def nearest_are_mates(U):
    d = sqdist(U, U)
    np.fill_diagonal(d, np.inf)
    return np.mean(Y[d.argmin(axis=1)] == Y)


@check("siamese")
def pairs_by_torch(key):
    problem = plan_of(key, margin=0.3, n_components=4).problem
    d = distances(points(problem)[0], PAIRS)
    expected = F.hinge_embedding_loss(d, torch.as_tensor(np.where(ALIKE, 1.0, -1.0)), margin=0.3)
    assert value(problem) == pytest.approx(float(expected) + 0.3 * ALIKE.mean(), rel=1e-6)
    d = distances(build(key, n_components=4, max_iter=60).fit(X).embedding_, PAIRS).numpy()
    assert np.mean((d < 0.5) == ALIKE) > 0.95


@check("t_ste")
def triples_under_heavy_tails(key):
    problem = spread(plan_of(key, dof=2.0))
    log_k = [student(distances(points(problem)[0], TRIPLES[:, [0, k]]).numpy() ** 2, 2.0) for k in (1, 2)]
    assert value(problem) == pytest.approx(np.logaddexp(0, log_k[1] - log_k[0]).mean(), rel=1e-9)
    assert value_of_triples(build(key, max_iter=200).fit(X).embedding_) > 0.95


@check("given_negatives")
def cross_entropy_over_lists(key):
    problem = plan_of(key, n_components=4).problem
    U = unit(points(problem)[0])
    logits = np.einsum("id,ikd->ik", U, U[LISTS["candidates"]]) / 0.1
    assert value(problem) == pytest.approx(contrast(logits, np.zeros(N, dtype=int)), rel=1e-9)
    assert value_of_triples(build(key, n_components=4, max_iter=60).fit(X).embedding_) > 0.97


@check("constrained_clustering")
def links_of_both_kinds(key):
    graph, apart, together = plan_of(key, n_neighbors=6).objective.problems
    r = softmax(points(graph)[0])
    assert value(graph) == pytest.approx(clusters_by_hand(graph, neighbours(6)), rel=1e-9)
    Q, ends = cluster_kernel(r, r), np.r_[LISTS["apart"], LISTS["apart"][:, ::-1]]
    share = Q[ends[:, 0], ends[:, 1]] / (r / r.sum(axis=0)).sum(axis=1)[ends[:, 0]]
    assert value(apart) == pytest.approx(np.log1p(share).mean(), rel=1e-9)
    linked = together.p.full() > 0
    expected = -(np.log(Q) * together.p.full()).sum() / linked.any(axis=1).sum()
    expected -= np.log(linked.sum(axis=1)[linked.any(axis=1)]).mean()
    assert value(together) == pytest.approx(expected, rel=1e-9)
    labels = build(key).fit(X).labels_
    assert np.mean(labels[LISTS["apart"][:, 0]] != labels[LISTS["apart"][:, 1]]) > 0.95


# --- bounded divergences -------------------------------------------------------------------------

NAMES = {"tv": "TotalVariation", "jsd": "JensenShannon", "hellinger": "Hellinger"}


@check(*(f"{kind}_{short}" for kind in ("sne", "supcon", "clustering") for short in NAMES))
def written_out(key):
    kind, _, short = key.partition("_")
    if kind == "clustering":
        problem = plan_of(key, n_neighbors=6, alpha=0.2).problem
        expected = clusters_by_hand(problem, neighbours(6), 0.0, 0.2, NAMES[short])
        assert value(problem) == pytest.approx(expected, rel=1e-9)
        return
    if kind == "sne":
        problem, P = spread(plan_of(key, perplexity=10)), calibrated(10)
        U = points(problem)[0]
        Q = np.exp(log_rows(-sqdist(U, U), own=True))
    else:
        problem, P = plan_of(key, n_components=4).problem, MATES / MATES.sum(axis=1, keepdims=True)
        U = unit(points(problem)[0])
        Q = np.exp(log_rows(U @ U.T / 0.1, own=True))
    assert value(problem) == pytest.approx(DIVERGENCES[NAMES[short]](P / N, Q / N), rel=1e-4)


@check("supcon_jsd_distance")
def distances_and_no_directions(key):
    problem = plan_of(key, n_components=4, sigma=0.8).problem
    U = points(problem)[0]
    log_q = log_rows(-sqdist(U, U) / (2 * 0.8**2), own=True)
    P = MATES / MATES.sum(axis=1, keepdims=True)
    M = (P + np.exp(log_q)) / 2
    expected = (rel_entr(P, M).sum() + rel_entr(np.exp(log_q), M).sum()) / (2 * N)
    assert value(problem) == pytest.approx(expected, rel=1e-6)
    assert np.ptp(np.linalg.norm(U, axis=1)) > 1e-3


# --- all of them ---------------------------------------------------------------------------------


def test_every_recipe_has_a_check():
    assert set(CHECKS) == set(recipes.RECIPES) and len(TABLE) >= 40


@pytest.mark.parametrize("key", [entry.key for entry in TABLE])
def test_a_recipe_is_what_it_says(key):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        CHECKS[key](key)


# Fits whose start is their end, or that solve at once.
AT_ONCE = {"pca", "supervised_clustering"}


@pytest.mark.parametrize("key", [entry.key for entry in TABLE])
def test_a_recipe_fits_and_lowers_its_loss(key):
    entry = recipes.RECIPES[key]
    # A start of almost no extent has all radii in proportion already, and is left slowly.
    options = {} if key in AT_ONCE else {"max_iter": 120 if key == "density_tsne" else 25}
    if "n_components" in entry.parameters and (entry.data == "halves" or entry.mapper == "network"):
        options["n_components"] = 9 if key == "relative_patch" else 8
    model, (data, y) = build(key, **options), data_of(entry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(data, y)
    assert np.isfinite(model.loss_) and np.isfinite(model.loss_history_).all()
    for name in ("embedding_", "column_embedding_", "probabilities_", "prototypes_"):
        assert np.isfinite(getattr(model, name, 0.0)).all()
    if key not in AT_ONCE:
        lowered = model.loss_history_[0] - min(model.loss_history_)
        # A start that is already the end has nowhere to fall.
        assert lowered > 0 or (entry.estimator == "ICONClustering" and model.converged_)
    assert type(model).__name__ == entry.estimator


@pytest.mark.parametrize("dof", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("n_components", [1, 2, 3, 5])
def test_tsne_in_any_dimension_with_any_tails(n_components, dof):
    options = {"perplexity": 10, "n_components": n_components, "dof": dof}
    problem = spread(plan_of("tsne", **options))
    P, Z = problem.p.row_mass[:, None] * problem.p.edges.toarray(), points(problem)[0]
    expected, _ = _kl_divergence(
        Z.ravel(), squareform(P, checks=False), dof, N, n_components, skip_num_points=0
    )
    ours = value(problem, gradient=True)
    assert Z.shape == (N, n_components) and ours[0] == pytest.approx(expected, rel=1e-9)
    np.testing.assert_allclose(ours[1], joint_slope(P, Z, dof), atol=1e-10)
    model = build("tsne", max_iter=60, **options).fit(X)
    assert model.embedding_.shape == (N, n_components)
    assert model.loss_ < 0.8 * model.loss_history_[0]


# --- by other libraries --------------------------------------------------------------------------


def test_tsne_beside_opentsne():
    opentsne = pytest.importorskip("openTSNE", reason="openTSNE is not installed")
    theirs = opentsne.affinity.PerplexityBasedNN(X, perplexity=10, method="exact", random_state=0)
    problem = spread(plan_of("tsne", perplexity=10))
    P = problem.p.row_mass[:, None] * problem.p.edges.toarray()
    expected = theirs.P.toarray()
    np.testing.assert_allclose(P, expected / expected.sum(), atol=1e-3 * P.max())
    Z = points(problem)[0]
    embedding = opentsne.TSNEEmbedding(
        Z.copy(), theirs, negative_gradient_method="bh", theta=0.0, random_state=0, n_jobs=1
    )
    embedding.optimize(1, learning_rate=1e-12, inplace=True, momentum=0.0)
    assert value(problem) == pytest.approx(float(embedding.kl_divergence), rel=1e-3)


def test_skip_gram_beside_gensim():
    gensim_models = pytest.importorskip("gensim.models", reason="gensim is not installed")
    # Two topics whose words never meet: both models must tell them apart.
    rng = np.random.default_rng(0)
    topics = [[f"{name}{i}" for i in range(8)] for name in ("red", "blue")]
    lines = [list(map(str, rng.choice(topics[k % 2], 10))) for k in range(300)]
    ours = recipes.skip_gram(window=3, n_components=8, subsample=None, max_iter=200, random_state=0).fit(
        lines
    )
    theirs = gensim_models.Word2Vec(
        lines, vector_size=8, window=3, sg=1, negative=5, min_count=1, sample=0, epochs=20, seed=0, workers=1
    ).wv

    def within(vector):
        U = unit(np.array([vector(w) for words in topics for w in words]))
        same = np.arange(16)[:, None] // 8 == np.arange(16) // 8
        return (U @ U.T)[same].mean() - (U @ U.T)[~same].mean()

    place = {w: i for i, w in enumerate(ours.vocabulary_)}
    assert within(lambda w: theirs[w]) > 0.3
    assert within(lambda w: ours.embedding_[place[w]]) > 0.3
