"""The two ends of the bandwidth: values and slopes by definition, and the way there."""

import numpy as np
import pytest
import torch
from reference import (
    assert_slopes,
    block_p,
    evaluate,
    full_p,
    make_problem,
    places,
    random_rows,
    sparse_p,
    sqdist,
    table,
    unit,
)
from scipy.optimize import minimize
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA

from iconlearn import ICONClassifier, ICONEmbedding
from iconlearn.divergences import KL, Hellinger, ReverseKL
from iconlearn.engines import Dense, MiniBatch, choose
from iconlearn.learned import Gaussian, NarrowGaussian, WideGaussian
from iconlearn.mappers import Linear
from iconlearn.objective import Problem
from iconlearn.supervisory import KNN, Debias, Mix, Symmetrize, Walk
from iconlearn.supervisory import WideGaussian as WideP

N = 13
P = random_rows(N, density=0.3, self_pairs=False)
Z = places(N, 3)
LIMITS = [
    WideGaussian(),
    WideGaussian(sphere=False),
    NarrowGaussian(),
    NarrowGaussian(0.7),
    NarrowGaussian(0.7, sphere=False),
]


def by_definition(p, q, Z, columns=None):
    """The limit's loss from full matrices."""
    columns = Z if columns is None else columns
    U, V = (unit(Z), unit(columns)) if q.sphere else (Z, columns)
    d, full, mass = sqdist(U, V), full_p(p), p.row_mass
    candidate = np.ones(d.shape, dtype=bool)
    if not p.self_pairs:
        np.fill_diagonal(candidate, False)
    pull = (full * d).sum(axis=1)
    if q.reduce == "mean":
        return mass @ (pull - d.mean(axis=1, where=candidate))
    lifted = d - q.margin * (p.sparse().toarray() == 0)
    return mass @ (pull - np.where(candidate, lifted, np.inf).min(axis=1))


@pytest.mark.parametrize("q", LIMITS, ids=str)
@pytest.mark.parametrize("make_p", [sparse_p, block_p])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_values_are_those_of_the_definition(q, make_p, uniform):
    p = make_p(P, mass=np.arange(1.0, N + 1), self_pairs=False, uniform=uniform)
    problem = make_problem(p, clone(q), Z)
    for engine in (Dense(), Dense(block=7), MiniBatch(64)):
        assert evaluate(problem, engine)[0] == pytest.approx(by_definition(p, q, Z), abs=1e-12)


@pytest.mark.parametrize("q", LIMITS, ids=str)
@pytest.mark.parametrize("make_p", [sparse_p, block_p])
def test_slopes(q, make_p):
    p = make_p(P, self_pairs=False).with_uniform(0.2 if q.margin == 0 else 0.0)
    assert_slopes(make_problem(p, clone(q), Z))
    batch = evaluate(make_problem(p, clone(q), Z), MiniBatch(64))
    dense = evaluate(make_problem(p, clone(q), Z), Dense(block=5))
    np.testing.assert_allclose(batch[1][0], dense[1][0], atol=1e-14)
    assert np.abs(dense[1][0]).max() > 1e-3


@pytest.mark.parametrize("q", LIMITS, ids=str)
def test_two_point_sets(q):
    other, p = places(7, 3, seed=9), sparse_p(random_rows(N, 7, density=0.3))
    problem = make_problem(p, clone(q), Z, columns=other)
    assert evaluate(problem)[0] == pytest.approx(by_definition(p, q, Z, other), abs=1e-12)
    assert_slopes(problem)


@pytest.mark.parametrize("sphere", [True, False])
def test_a_wide_gaussian_is_on_the_way(sphere):
    p, q = sparse_p(P, self_pairs=False), WideGaussian(sphere=sphere)
    limit, slope = evaluate(make_problem(p, q, Z))
    on = unit(Z) if sphere else Z
    gaps, slopes = [], []
    for sigma in (10.0, 100.0):
        problem = make_problem(p, Gaussian(sigma / 2**0.5), on)
        value, (gradient,) = evaluate(problem)
        gaps.append(abs(sigma**2 * (value + problem.entropy() - np.log(N - 1)) - limit))
        slopes.append(np.abs(sigma**2 * gradient - slope[0]).max())
    # The gap falls with the square of the width.
    assert gaps[1] < 2e-3 and gaps[0] > 50 * gaps[1]
    if not sphere:
        assert slopes[1] < 1e-3 and slopes[0] > 50 * slopes[1]


def test_a_narrow_gaussian_is_on_the_way():
    p = sparse_p(P, self_pairs=False)
    limit, slope = evaluate(make_problem(p, NarrowGaussian(sphere=False), Z))
    for sigma in (0.3, 0.03):
        problem = make_problem(p, Gaussian(sigma / 2**0.5), Z)
        value, (gradient,) = evaluate(problem)
        assert 0 <= sigma**2 * (value + problem.entropy()) - limit <= sigma**2 * np.log(N - 1)
    np.testing.assert_allclose(sigma**2 * gradient, slope[0], atol=1e-8)


def test_two_candidates_are_the_triplet_loss():
    """Anchor, positive, negative, against torch's own on squared distances."""
    anchors, positives, negatives = (torch.as_tensor(places(N, 3, seed=s)) for s in (1, 2, 3))
    for margin in (1e-6, 0.5, 2.0):
        theirs = torch.nn.functional.triplet_margin_with_distance_loss(
            anchors,
            positives,
            negatives,
            distance_function=lambda a, b: (a - b).square().sum(1),
            margin=margin,
        )
        ours = [
            evaluate(
                make_problem(
                    sparse_p(np.array([[1.0, 0.0]])),
                    NarrowGaussian(margin, sphere=False),
                    a[None].numpy(),
                    columns=torch.stack([b, c]).numpy(),
                )
            )[0]
            for a, b, c in zip(anchors, positives, negatives, strict=True)
        ]
        assert np.mean(ours) == pytest.approx(float(theirs), abs=1e-12)


def test_identity_with_orthonormal_axes_is_principal_components():
    X = load_digits().data[:300]
    model = ICONEmbedding(
        2, p="identity", q=WideGaussian(sphere=False), mapper=Linear(orthonormal=True), tol=0
    )
    model.set_params(init="random", random_state=0, max_iter=300).fit(X)
    pca = PCA(2).fit(X)
    assert model.loss_ == pytest.approx(-2 * pca.explained_variance_.sum() * (len(X) - 1) / len(X), rel=1e-5)
    W = model.mapper_.weight.detach().numpy()
    cosines = np.linalg.svd(W @ pca.components_.T, compute_uv=False)
    assert cosines.min() > 1 - 1e-5


# --- metric scaling ------------------------------------------------------------------------------


def stress(D, d):
    gap = (D - D.mean(axis=1, keepdims=True)) - (d - d.mean(axis=1, keepdims=True))
    return (gap**2).sum() / (2 * len(D)) / len(D)


def wide_problem(X, places_):
    p, points = WideP().fit(X).conditional_, table(places_)
    q = WideGaussian(sphere=False)
    q.begin(dtype=torch.float64)
    return Problem(p, q, KL(), points, points)


def test_metric_scaling_by_definition_and_from_two_wide_gaussians():
    X = load_iris().data[::6]
    start = places(len(X), 2)
    problem = wide_problem(X, start)
    value, (gradient,) = evaluate(problem)
    assert value == pytest.approx(stress(sqdist(X, X), sqdist(start, start)), rel=1e-12)
    assert_slopes(problem)
    np.testing.assert_allclose(evaluate(problem, MiniBatch(64))[1][0], gradient, atol=1e-12)
    np.testing.assert_allclose(evaluate(problem, Dense(block=30))[1][0], gradient, atol=1e-12)
    for sigma, near in ((30.0, 0.05), (300.0, 5e-4)):
        k = np.exp(-sqdist(X, X) / sigma**2)
        finite = make_problem(block_p(k / k.sum(axis=1, keepdims=True)), Gaussian(sigma / 2**0.5), start)
        wide, (slope,) = evaluate(finite)
        assert sigma**4 * wide == pytest.approx(value, rel=near)
        np.testing.assert_allclose(sigma**4 * slope, gradient, atol=near * np.abs(gradient).max())


@pytest.mark.parametrize("metric", ["euclidean", "precomputed"])
def test_metric_scaling_finds_the_minimum(metric):
    X = load_iris().data[::5]
    D = sqdist(X, X)
    model = ICONEmbedding(
        2, p=WideP(metric=metric), q=WideGaussian(sphere=False), optimizer="lbfgs", tol=1e-9
    )
    model.set_params(random_state=0).fit(X if metric == "euclidean" else np.sqrt(D))

    def loss(flat):
        z = torch.tensor(flat.reshape(-1, 2), requires_grad=True)
        d = (z[:, None] - z).square().sum(2)
        gap = torch.as_tensor(D - D.mean(1, keepdims=True)) - (d - d.mean(1, keepdim=True))
        value = gap.square().sum() / (2 * len(D) ** 2)
        value.backward()
        return value.item(), z.grad.numpy().ravel()

    best = minimize(
        loss, PCA(2).fit_transform(X).ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 2000}
    )
    assert model.loss_ == pytest.approx(best.fun, rel=1e-4)
    np.testing.assert_allclose(
        sqdist(*[model.embedding_.astype(float)] * 2),
        sqdist(*[best.x.reshape(-1, 2)] * 2),
        atol=0.05 * D.max(),
    )


def test_metric_scaling_places_new_rows():
    X = load_iris().data
    model = ICONEmbedding(
        2, p="wide_gaussian", q=WideGaussian(sphere=False), optimizer="lbfgs", random_state=0
    )
    model.fit(X[::2])
    placed = model.transform(X[1::2])
    old, new = sqdist(X[1::2], X[::2]), sqdist(placed, model.embedding_)
    assert np.corrcoef(old.ravel(), new.ravel())[0, 1] > 0.99
    np.testing.assert_allclose(model.transform(X[1:2])[0], placed[0], rtol=1e-6)


def test_a_share_flattens_a_wide_p():
    X = load_iris().data[::10]
    plain, mixed = WideP().fit(X).conditional_, Debias(WideP(), 0.3).fit(X).conditional_
    np.testing.assert_allclose(mixed.entries().p, 0.7 * plain.entries().p)
    part = plain.entries(np.arange(3), np.arange(5))
    np.testing.assert_allclose(part.p.sum(axis=1), 0, atol=1e-12)


# --- what is refused -----------------------------------------------------------------------------


def refused(p, q, divergence=None):
    with pytest.raises(ValueError) as error:
        choose([make_problem(p, q, Z, divergence=divergence)])
    return str(error.value)


def test_refusals_say_what_to_do():
    p = sparse_p(P, self_pairs=False)
    assert "sphere=True" in refused(p, WideGaussian(sphere=False))
    assert "sphere=True" in refused(p, NarrowGaussian(sphere=False))
    assert "divergence='kl'" in refused(p, WideGaussian(), Hellinger())
    assert "divergence='kl'" in refused(p.with_uniform(0.1), NarrowGaussian(), ReverseKL())
    wide = WideP().fit(Z).conditional_
    assert "q='wide_gaussian'" in refused(wide, Gaussian())
    assert "q='wide_gaussian'" in refused(wide, NarrowGaussian())
    for engine in (Dense(), MiniBatch()):
        assert engine.refuses(make_problem(p, NarrowGaussian(0.5, sphere=False), Z)) is None


def test_a_module_may_say_that_it_is_bounded():
    class Squashed(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = torch.nn.Linear(4, 2)

        def forward(self, X):
            return torch.tanh(self.linear(X))

    X, y = load_iris(return_X_y=True)
    model = ICONEmbedding(
        2, p="labels", q=WideGaussian(sphere=False), mapper=Squashed(), max_iter=20, random_state=0
    )
    with pytest.raises(ValueError, match="bounded = True"):
        model.fit(X, y)
    Squashed.bounded = True
    model.fit(X, y)
    assert np.abs(model.embedding_).max() <= 1 and model.loss_ < model.loss_history_[0]


@pytest.mark.parametrize(
    ("q", "error", "words"),
    [
        (NarrowGaussian(-1.0), ValueError, "margin"),
        (NarrowGaussian("wide"), TypeError, "margin"),
        (WideGaussian(sphere="yes"), TypeError, "sphere"),
    ],
)
def test_wrong_parameters_are_named(q, error, words):
    with pytest.raises(error, match=words):
        q.begin()


@pytest.mark.parametrize("wrap", [Walk, Symmetrize, lambda p: Mix([p, KNN(3)])])
def test_wrappers_that_need_probabilities_refuse_a_wide_p(wrap):
    with pytest.raises(ValueError, match="finite bandwidth"):
        wrap(WideP()).fit(Z)


def test_estimators_take_the_limits():
    X, y = load_iris(return_X_y=True)
    for q in ("wide_gaussian", "narrow_gaussian"):
        model = ICONEmbedding(2, p="labels", q=q, max_iter=100, random_state=0).fit(X, y)
        assert model.loss_ < model.loss_history_[0]
        np.testing.assert_allclose(np.linalg.norm(model.embedding_, axis=1), 1, rtol=1e-5)
        assert np.isfinite(model.score(X))
    classifier = ICONClassifier(q=NarrowGaussian(0.5), mapper="linear", C=None, random_state=0).fit(X, y)
    assert classifier.score(X, y) > 0.9


X = np.random.default_rng(4).normal(size=(40, 5))


def test_a_spread_is_another_unit():
    """Scaled data, and a loss that is counted in units of the spread; new rows by the same factor."""
    made = WideP(spread=7.0).fit(X)
    D = sqdist(X, X)
    off = ~np.eye(len(X), dtype=bool)
    factor = 49 / D[off].mean()
    plain = WideP().fit(np.sqrt(factor) * X).conditional_
    np.testing.assert_allclose(made.conditional_.entries().p, plain.entries().p, atol=1e-9 * factor * D.max())
    new, theirs = (
        made.extend(X[:3] + 0.1),
        WideP().fit(np.sqrt(factor) * X).extend(np.sqrt(factor) * (X[:3] + 0.1)),
    )
    np.testing.assert_allclose(new.entries().p, theirs.entries().p, atol=1e-9 * factor * D.max())
    assert new.unit == made.conditional_.unit == 49 and made.spread_ == 7
    places_ = places(len(X), 2)
    values = [
        evaluate(make_problem(p, WideGaussian(sphere=False), places_))[0] for p in (made.conditional_, plain)
    ]
    assert values[0] == pytest.approx(values[1] / 49**2, rel=1e-9)
    assert WideP(spread="map").fit(X).spread_ == pytest.approx(1.2 * len(X) ** 0.5)
    assert "spread" not in WideP().__getstate__() and not hasattr(WideP().fit(X), "spread_")


@pytest.mark.parametrize(("spread", "data"), [(-1.0, None), ("wide", None), (1.0, np.zeros((5, 2)))])
def test_a_spread_that_cannot_be_is_refused(spread, data):
    with pytest.raises((ValueError, TypeError), match="spread"):
        WideP(spread=spread).fit(X if data is None else data)


def test_new_rows_beside_a_map_of_a_spread():
    """Where the squares of their own row are least, found by scipy from the definition."""
    q = WideGaussian(sphere=False)
    model = ICONEmbedding(2, p=WideP(spread=7.0), q=q, optimizer="lbfgs", random_state=0).fit(X)
    D = sqdist(X, X)
    factor = 49 / D[~np.eye(len(X), dtype=bool)].mean()
    new, Z = X[:4] + 0.1, model.embedding_
    for row, place in zip(new, model.transform(new), strict=True):
        asked = factor * sqdist(row[None], X)[0]

        def off(z, asked=asked):
            d = sqdist(z[None], Z)[0]
            return ((asked - asked.mean() - d + d.mean()) ** 2).mean()

        best = min((minimize(off, start) for start in Z[::8]), key=lambda found: found.fun)
        assert off(place) <= best.fun * (1 + 1e-6)
