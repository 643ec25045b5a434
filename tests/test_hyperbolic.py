"""Maps in the Poincare ball: distances, places and what they mean, trees, new rows."""

from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from reference import ball, hyperbolic, places, xlogy
from scipy.optimize import minimize
from scipy.sparse.csgraph import shortest_path
from scipy.stats import spearmanr
from sklearn.datasets import load_digits, load_iris

import iconlearn
from iconlearn import ICONClassifier, ICONEmbedding, recipes
from iconlearn.displays import EmbeddingDisplay
from iconlearn.learned import Hyperbolic, Student
from iconlearn.metrics import hyperbolic_distances
from iconlearn.numerics.geometry import Edges, MatrixBlocks, matrix, pairs
from iconlearn.supervisory import KNN, Gaussian, Symmetrize

X = load_digits().data[:90] / 16


def points(Z, dtype=torch.float64):
    return Hyperbolic().place(torch.as_tensor(Z, dtype=dtype))


def distance(s):
    return 2 * np.arcsinh(np.sqrt(s.double().numpy()))


@pytest.mark.parametrize("width", [2, 5])
def test_scalars_of_pairs(width):
    Y, Z = places(4, width), places(6, width, seed=1)
    U, V = points(Y), points(Z)
    expected = hyperbolic(ball(Y), ball(Z))
    np.testing.assert_allclose(distance(matrix("hyperbolic", U, V)), expected, rtol=1e-12)
    np.testing.assert_allclose(hyperbolic_distances(ball(Y), ball(Z)), expected, rtol=1e-12)
    blocks = torch.cat([block for _, block in MatrixBlocks("hyperbolic", U, V, 3)])
    np.testing.assert_allclose(distance(blocks), expected, rtol=1e-12)
    i, j = torch.tensor([0, 0, 2, 3, 3]), torch.tensor([1, 5, 2, 2, 1])
    edges = Edges(i, j, (4, 6))
    np.testing.assert_allclose(distance(pairs("hyperbolic", U, V, edges)), expected[i, j], rtol=1e-12)
    ends = [torch.as_tensor(Y).requires_grad_(), torch.as_tensor(Z).requires_grad_()]
    assert torch.autograd.gradcheck(lambda Y, Z: matrix("hyperbolic", points(Y), points(Z)), ends)
    assert torch.autograd.gradcheck(lambda Y, Z: pairs("hyperbolic", points(Y), points(Z), edges), ends)


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-4)])
def test_near_the_boundary_distances_keep_their_digits(dtype, rtol):
    # In the ball itself these points are one, in either precision.
    for r, further, angle in (
        (18.0, 0.5, 0.0),
        (18.0, 0.0, 2.0**-26),
        (12.0, 2.0**-9, 2.0**-18),
        (1e-3, 1e-4, 0.5),
    ):
        Z = np.array([[r, 0.0], [(r + further) * np.cos(angle), (r + further) * np.sin(angle)]])
        Z = torch.as_tensor(Z, dtype=dtype).double().numpy()
        with localcontext() as context:
            context.prec = 60
            (a, b), (c, d) = ([Decimal(float(x)) for x in z] for z in Z)
            R, S = (a * a + b * b).sqrt(), (c * c + d * d).sqrt()
            cosh, sinh = (lambda x: (x.exp() + (-x).exp()) / 2), (lambda x: (x.exp() - (-x).exp()) / 2)
            argument = cosh(R) * cosh(S) - sinh(R) * sinh(S) * (a * c + b * d) / (R * S)
            expected = float((argument + (argument * argument - 1).sqrt()).ln())
        U = points(Z, dtype)
        assert distance(matrix("hyperbolic", U, U))[0, 1] == pytest.approx(expected, rel=rtol)


def test_places_at_the_origin_and_at_one_another_have_slopes():
    q, Z = Hyperbolic(0.5, normalize="joint"), torch.zeros(3, 2, dtype=torch.float64)
    Z[2] = torch.tensor([0.3, 0.4])
    Z.requires_grad_()
    s = matrix("hyperbolic", q.place(Z), q.place(Z))
    (slope,) = torch.autograd.grad(q.log_kernel(s)[0].sum(), Z)
    assert slope.isfinite().all() and float(q.slope(torch.zeros(1))) == pytest.approx(-4 / 0.25)
    shown = q.represent(Z.detach())
    np.testing.assert_allclose(shown[2].norm(), np.tanh(0.25))
    np.testing.assert_allclose(q.outputs(shown), Z.detach(), atol=1e-15)


def test_a_tree_lies_better_in_the_ball_than_in_the_plane():
    """40 nodes, three branches everywhere: the order of all distances along the tree, and the depth of every node."""
    parents = (np.arange(1, 40) - 1) // 3
    edges = np.zeros((40, 40))
    edges[np.arange(1, 40), parents] = 1
    D = shortest_path(edges, directed=False, unweighted=True)
    at, options = np.triu_indices(40, 1), {"random_state": 0, "max_iter": 100}
    p = Symmetrize(Gaussian(5, metric="precomputed", n_neighbors=None))
    plane = ICONEmbedding(p=p, q=Student(normalize="joint"), **options).fit(D).embedding_
    model = recipes.cosne(perplexity=5, gamma=2.0, metric="precomputed", **options).set_params(p=p).fit(D)
    in_ball = hyperbolic_distances(model.embedding_)
    of_plane = spearmanr(D[at], np.linalg.norm(plane[:, None] - plane, axis=2)[at])[0]
    of_ball = spearmanr(D[at], in_ball[at])[0]
    assert of_ball > 0.85 and of_ball > of_plane + 0.15
    assert spearmanr(D[0], np.linalg.norm(model.embedding_, axis=1))[0] > 0.6
    # The loss is that of the distances in the ball.
    P = model.p_.conditional_
    joint = P.row_mass[:, None] * P.full()
    k = 1 / (1 + (in_ball / 2) ** 2)
    np.fill_diagonal(k, 0)
    assert model.loss_ == pytest.approx((xlogy(joint, joint) - xlogy(joint, k / k.sum())).sum(), rel=1e-6)


def test_a_fit_of_rows_and_what_follows_it(tmp_path):
    rows, new = X[:80], X[80:]
    model = recipes.cosne(perplexity=10, random_state=0, max_iter=60).fit(rows)
    places_ = model.embedding_
    assert (np.linalg.norm(places_, axis=1) < 1).all() and model.loss_ < 0.5 * model.loss_history_[0]
    np.testing.assert_array_equal(model.transform(rows), places_)
    placed, p = model.transform(new), model._near(new).edges.toarray()

    def divergence(z, p):
        k = 1 / (1 + hyperbolic(ball(z[None]), places_)[0] ** 2)
        return (xlogy(p, p) - xlogy(p, k / k.sum())).sum()

    for z, row in zip(model.q_.outputs(torch.as_tensor(placed)).numpy(), p, strict=True):
        assert divergence(z, row) - minimize(divergence, z, (row,), method="Nelder-Mead").fun < 1e-4
    iconlearn.save(model, tmp_path / "ball.icon")
    np.testing.assert_array_equal(iconlearn.load(tmp_path / "ball.icon").transform(new), placed)
    every = np.concatenate([places_, placed])
    k = 1 / (1 + hyperbolic_distances(every) ** 2)
    np.fill_diagonal(k, 0)
    reference = KNN(15).fit(X).conditional_.with_uniform(0.05).full()
    q = 0.95 * k / k.sum(axis=1, keepdims=True) + 0.05 / 89
    assert model.score(X) == pytest.approx(
        -(xlogy(reference, reference) - xlogy(reference, q)).sum() / 90, rel=1e-6
    )
    grown = model.set_params(warm_start=True, max_iter=1).fit(X)
    P = grown.p_.conditional_
    P = P.row_mass[:, None] * P.full()
    start = (xlogy(P, P) - xlogy(P, k / k.sum())).sum()
    assert grown.loss_history_[0] == pytest.approx(start, rel=1e-6)
    assert EmbeddingDisplay.from_estimator(model, X).boundary_ is not None
    assert EmbeddingDisplay.from_predictions(places_).boundary_ is None


def test_a_term_keeps_the_distances_from_the_centre():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(60, 5))
    length = rng.uniform(0.1, 0.9, 60)
    rows *= (length / np.linalg.norm(rows, axis=1))[:, None]
    kept = []
    for weight in (0.0, 30.0):
        model = recipes.cosne(perplexity=8, norm_weight=weight, random_state=0, max_iter=60).fit(rows)
        kept.append(np.linalg.norm(model.embedding_, axis=1))
    assert np.abs(kept[1] - length).mean() < 0.05 < 0.15 < np.abs(kept[0] - length).mean()
    model.set_params(init=model.mapper_.places.detach().numpy(), max_iter=1).fit(rows)
    squares = (np.square(rows).sum(axis=1) - np.square(model.embedding_).sum(axis=1)) ** 2
    # The density of a square is a constant away.
    assert model.loss_parts_[0, 1] / 30 - 0.5 * np.log(np.pi) == pytest.approx(squares.mean(), abs=0.01)
    with pytest.raises(
        ValueError, match=r"the target of row \d+ .* is 4\.\d+, and .*BallRadius\(\).*scale X"
    ):
        recipes.cosne(perplexity=8, norm_weight=1.0).fit(
            rows / np.linalg.norm(rows, axis=1, keepdims=True) * 2.1
        )


@pytest.mark.parametrize("p", ["labels", "classes"])
def test_classes_in_the_ball(p):
    rows, y = load_iris(return_X_y=True)
    model = ICONClassifier(
        p=p, q="hyperbolic", mapper="mlp", n_components=2, max_iter=30, random_state=0
    ).fit(rows, y)
    apart = hyperbolic(model.transform(rows), ball(model.prototypes_))
    k = 1 / (1 + apart**2)
    np.testing.assert_allclose(model.predict_proba(rows), k / k.sum(axis=1, keepdims=True), atol=1e-6)
    assert model.score(rows, y) > 0.9
    place = model.transform(rows[:1]), model.transform(rows)
    near = 1 / (1 + hyperbolic(*place)[0] ** 2)
    found = model.explain(rows[:1], n_neighbors=3)
    np.testing.assert_allclose(found.shares[0], near[found.indices[0]] / near.sum(), rtol=1e-4)


def test_what_is_refused():
    with pytest.raises(ValueError, match=r"the mesh engine.*not learned.Hyperbolic\(\); use engine='dense'"):
        ICONEmbedding(q="hyperbolic", engine="mesh").fit(X)
    with pytest.raises(ValueError, match=r"gamma=0"):
        ICONEmbedding(q=Hyperbolic(0)).fit(X)
    with pytest.raises(ValueError, match=r"row 1 of Y has length 1.*shorter than 1; scale Y"):
        hyperbolic_distances([[0.0, 0.1], [0.6, 0.8]])
