"""Local radii as targets: the density of the data in a map, against formulas over full matrices."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors, kneighbors_graph

from iconlearn import ICONEmbedding, Term, recipes
from iconlearn.engines import Dense, Mesh, MiniBatch
from iconlearn.learned import Gaussian
from iconlearn.mappers import MLP
from iconlearn.metrics import neighbor_recall
from iconlearn.supervisory import Debias, LocalRadius

X = np.random.default_rng(0).normal(size=(60, 5)) * np.repeat([0.2, 1.0, 3.0], 20)[:, None]
Z = torch.from_numpy(np.random.default_rng(1).normal(size=(60, 2)))
DENSITY = Gaussian(normalize="space")


def log_radii(A, near):
    squares = ((A[:, None] - A[near]) ** 2).sum(axis=2).mean(axis=1)
    return np.log(squares + 1e-4 * squares.mean())


def nearest(A, k):
    return NearestNeighbors(n_neighbors=k).fit(A).kneighbors(return_distance=False)


def test_targets_and_readings_of_all_rows_and_of_some():
    p, near = LocalRadius(4).fit(X), nearest(X, 4)
    expected = log_radii(X, near)
    np.testing.assert_allclose(p.log_radii_, expected - expected.mean(), atol=1e-9)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), np.eye(60))
    read, of_map = p.reading("cpu"), log_radii(Z.numpy(), near)
    got = read(lambda rows: Z if rows is None else Z[rows])[:, 0].numpy()
    np.testing.assert_allclose(got, of_map - of_map.mean(), atol=1e-9)
    # Of some rows the mean, and the share that is added, are those of these rows.
    rows = torch.tensor([7, 2, 59, 31])
    got = read(lambda rows: Z if rows is None else Z[rows], rows)[:, 0].numpy()
    squares = ((Z[rows][:, None] - Z[near[rows]]) ** 2).sum(2).mean(1)
    of_some = torch.log(squares + 1e-4 * squares.mean()).numpy()
    np.testing.assert_allclose(got, of_some - of_some.mean() + p.log_radii_[rows].mean(), atol=1e-9)
    assert torch.autograd.gradcheck(lambda A: read(lambda rows: A), Z.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda A: read(lambda i: A[i], rows), Z.clone().requires_grad_())


def test_neighbours_that_are_given_and_rows_without_any():
    given = kneighbors_graph(X, 4, mode="distance")
    p = LocalRadius(4, metric="precomputed").fit(given)
    np.testing.assert_allclose(p.log_radii_, LocalRadius(4).fit(X).log_radii_, atol=1e-9)
    found = LocalRadius(4, neighbors=NearestNeighbors(n_neighbors=4).fit(X).kneighbors()).fit(X)
    np.testing.assert_allclose(found.log_radii_, p.log_radii_, atol=1e-9)
    given = given.tolil()
    given[5] = 0
    with pytest.warns(UserWarning, match="1 of 60 rows have no neighbour"):
        p = LocalRadius(4, metric="precomputed").fit(given.tocsr())
    assert p.conditional_.sparse().nnz == 59 and np.isfinite(p.log_radii_).all()
    read = p.reading("cpu")(lambda rows: Z)[:, 0].numpy()
    near = nearest(X, 4)
    squares = np.delete(((Z[:, None] - Z[near]) ** 2).sum(2).mean(1).numpy(), 5)
    expected = np.log(squares + 1e-4 * squares.mean())
    np.testing.assert_allclose(np.delete(read, 5), expected - expected.mean(), atol=1e-9)
    with pytest.raises(ValueError, match="all neighbours are at distance zero"):
        LocalRadius(3).fit(np.zeros((20, 2)))


def test_a_map_keeps_densities_at_little_cost_in_neighbours():
    kept, recall = np.zeros((2, 5)), np.zeros((2, 5))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        centres = np.repeat(12 * rng.normal(size=(5, 10)), 60, axis=0)
        data = centres + np.repeat(np.geomspace(0.3, 4, 5), 60)[:, None] * rng.normal(size=(300, 10))
        for k, recipe in enumerate((recipes.tsne, recipes.density_tsne)):
            places = recipe(random_state=0).fit(data).embedding_
            kept[k, seed] = np.corrcoef(*(log_radii(A, nearest(A, 15)) for A in (data, places)))[0, 1]
            recall[k, seed] = neighbor_recall(data, places)
    assert (kept[1] > kept[0] + 0.3).all()
    # What it costs varies by a hundredth between data, and with the rounding of a device.
    assert recall[1].mean() > recall[0].mean() - 0.02, recall


def test_engines_and_mappers_of_features():
    options = {"p": "gaussian", "terms": [Term(LocalRadius(5), DENSITY)], "max_iter": 9, "random_state": 0}
    dense, mesh = (ICONEmbedding(engine=e, **options).fit(X) for e in (Dense(), Mesh()))
    # Later on small differences between their sums have grown.
    np.testing.assert_allclose(mesh.loss_parts_[:3, 1], dense.loss_parts_[:3, 1], rtol=1e-3)
    # A term of radii waits for the end of exaggeration, so that the first steps are those of the map without it.
    dense.set_params(max_iter=60).fit(X)
    without = ICONEmbedding(p="gaussian", engine=Dense(), max_iter=60, random_state=0).fit(X)
    early = dense.loss_phases_ == "early"
    np.testing.assert_allclose(dense.loss_parts_[early, 0], without.loss_history_[early], rtol=1e-9)
    first = np.flatnonzero(~early)[0] + 1
    assert early.any() and dense.loss_parts_[first, 0] != without.loss_history_[first]
    # Of batches as of all rows the loss that is kept is that of all; here the term is nearly all of it.
    near, target = nearest(X, 5), LocalRadius(5).fit(X).log_radii_
    options["terms"] = [Term(LocalRadius(5), DENSITY, weight=1e6)]
    for engine in (MiniBatch(20), Dense()):
        model = ICONEmbedding(mapper=MLP(8), engine=engine, **options).fit(X)
        of_map = log_radii(model.transform(X), near)
        expected = (of_map - target).var() / 2 + np.log(2 * np.pi) / 2
        assert model.loss_ / 1e6 == pytest.approx(expected, rel=1e-5)
        assert min(model.loss_history_[1:]) < model.loss_history_[0]


def test_radii_do_not_say_where_rows_are():
    for p in (LocalRadius(5), Debias(LocalRadius(5), 0.1)):
        with pytest.raises(ValueError, match="give it as a further term"):
            ICONEmbedding(p=p).fit(X)
