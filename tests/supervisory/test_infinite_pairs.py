"""Infinite distances: who has no neighbour there is told how to leave the pair out, and what that gives."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.metrics import pairwise_distances

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.neighbors import knn
from iconlearn.supervisory import KNN, Gaussian, Precomputed, Student, WideGaussian

rng = np.random.default_rng(0)
X = np.r_[rng.normal(size=(20, 3)), rng.normal(size=(20, 3)) + 10]
X[1] = X[0]  # a distance of zero is one
DISTANCES = pairwise_distances(X)
CUT = np.where(DISTANCES > 6, np.inf, DISTANCES)
LABELS = np.where(np.arange(40) % 5, -1, np.repeat([0, 1], 20))
SIDES = [
    KNN(5, metric="precomputed"),
    Gaussian(5, metric="precomputed"),
    Gaussian(sigma=1.0, metric="precomputed"),
    Student(metric="precomputed"),
    Precomputed("distance", perplexity=5),
    WideGaussian(metric="precomputed"),
]


def models(p):
    yield ICONEmbedding(p=p, max_iter=3), None
    yield ICONEmbedding(p=KNN(3, metric="precomputed"), terms=[Term(p)], max_iter=3), None
    yield ICONClustering(2, p=p), None
    yield ICONClassifier(mapper="table", unlabeled=-1, graph=p), LABELS


@pytest.mark.parametrize("p", SIDES, ids=repr)
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_array, np.ndarray.tolist])
def test_infinite_entries_are_named_with_what_to_do(p, form):
    given = form(CUT)
    with pytest.raises(
        ValueError, match=r"contains infinity, in row 0, column \d+: pairs that are no neighbours"
    ):
        p.fit(given)
    for model, y in models(p):
        with pytest.raises(ValueError, match="in row 0, column 20: pairs that are no neighbours"):
            model.fit(given, y)


def test_new_rows_too():
    model = ICONEmbedding(p=SIDES[0], max_iter=3).fit(DISTANCES)
    with pytest.raises(ValueError, match="row 1, column 20"):
        model.transform(np.r_[DISTANCES[:1], CUT[:1]])


def test_what_is_said_works():
    D = CUT
    i, j = np.nonzero(np.isfinite(D))
    left_out = sparse.csr_array((D[i, j], (i, j)), shape=D.shape)
    D = sparse.csr_array(CUT)
    D = D.tocoo()
    on = np.isfinite(D.data)
    also = sparse.csr_array((D.data[on], (D.row[on], D.col[on])), shape=D.shape)
    for p in SIDES[:-1]:
        for given in (left_out, also):
            edges = p.fit(given).conditional_.sparse().toarray()
            assert (edges[~np.isfinite(CUT)] == 0).all() and np.allclose(edges.sum(axis=1), 1)
        assert p.fit(left_out).conditional_.sparse()[0, 1] > 0  # no distance at all, and the nearest
    labels = ICONClustering(2, p=SIDES[0], random_state=0).fit(left_out).labels_
    assert len(set(labels[:20])) == 1 and labels[0] != labels[20]


def test_searches_of_given_distances():
    with pytest.raises(ValueError, match="fewer than k=25 neighbours at a finite distance"):
        knn(CUT, 25, metric="precomputed")
