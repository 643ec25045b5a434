"""Neighbours that were found elsewhere, as (indices, distances)."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.neighbors import NearestNeighbors

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.neighbors import knn
from iconlearn.registry import resolve
from iconlearn.supervisory import KNN, Gaussian, Student

X, y = make_blobs(80, n_features=4, centers=3, random_state=0)
NEW = X[:5] + 0.05
K = 12
WITHOUT = NearestNeighbors(n_neighbors=K).fit(X).kneighbors()
WITH = NearestNeighbors(n_neighbors=K + 1).fit(X).kneighbors(X)
FORMS = {
    "distances first": WITHOUT,
    "indices first": WITHOUT[::-1],
    "with the rows themselves": WITH,
    "umap's, with an index": (WITH[1], WITH[0], object()),
    "a list": list(WITHOUT),
    "in any order": tuple(part[:, ::-1] for part in WITHOUT),
    "our own": knn(X, K),
    "single": (WITHOUT[0].astype(np.float32).astype(float), WITHOUT[1].astype(np.int32)),
}


def rows_of(p):
    return p.sparse().toarray()


@pytest.mark.filterwarnings("ignore:perplexity=4 is out of reach")
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("p", [KNN(K), KNN(5), Gaussian(4), Student(4), Gaussian(sigma=2.0, n_neighbors=6)])
def test_they_stand_for_a_search(form, p):
    found = clone(p).fit(X)
    given = clone(p).set_params(neighbors=FORMS[form]).fit(X)
    np.testing.assert_allclose(rows_of(given.conditional_), rows_of(found.conditional_), rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(rows_of(given.extend(NEW)), rows_of(found.extend(NEW)), rtol=1e-5)
    np.testing.assert_allclose(
        rows_of(given.reciprocal(NEW)), rows_of(found.reciprocal(NEW)), rtol=1e-4, atol=1e-7
    )
    assert given.neighbors_backend_ == "precomputed"


@pytest.mark.parametrize("form", FORMS)
def test_as_p_of_an_estimator(form):
    expected = ICONEmbedding(p=KNN(K), max_iter=10, random_state=0).fit(X)
    got = ICONEmbedding(p=FORMS[form], max_iter=10, random_state=0).fit(X)
    np.testing.assert_array_equal(got.embedding_, expected.embedding_)
    np.testing.assert_array_equal(got.transform(NEW), expected.transform(NEW))


def test_as_p_of_the_others(tmp_path):
    clusters = ICONClustering(3, p=WITHOUT, random_state=0).fit(X)
    np.testing.assert_array_equal(
        clusters.labels_, ICONClustering(3, p=KNN(K), random_state=0).fit(X).labels_
    )
    few = np.where(np.arange(80) % 4, -2, y)
    classifier = ICONClassifier(unlabeled=-2, graph=WITHOUT, random_state=0).fit(X, few)
    expected = ICONClassifier(unlabeled=-2, graph=KNN(K), random_state=0).fit(X, few)
    np.testing.assert_array_equal(classifier.predict(X), expected.predict(X))
    iconlearn.save(clusters, tmp_path / "clusters")
    np.testing.assert_array_equal(iconlearn.load(tmp_path / "clusters").predict(NEW), clusters.predict(NEW))


def test_as_X_where_p_reads_distances():
    p = KNN(5, metric="precomputed")
    expected = ICONEmbedding(p=KNN(5), init="random", max_iter=5, random_state=0).fit(X)
    got = ICONEmbedding(p=p, init="random", max_iter=5, random_state=0).fit(WITHOUT)
    np.testing.assert_array_equal(rows_of(got.p_.conditional_), rows_of(expected.p_.conditional_))


def test_rows_without_some_neighbours():
    indices, distances = WITHOUT[1].copy(), WITHOUT[0].copy()
    indices[3, 4:] = -1
    distances[5, 6:] = np.inf
    p = KNN(K, neighbors=(indices, distances)).fit(X)
    counts = np.diff(p.conditional_.sparse().indptr)
    assert (counts[3], counts[5], counts[0]) == (4, 6, K)


def test_equal_rows_stay_neighbours():
    twice = np.vstack([X[:40], X[:40]])
    indices, distances = NearestNeighbors(n_neighbors=4).fit(twice).kneighbors()[::-1]
    assert (distances[:, 0] == 0).all()
    mask = np.zeros((80, 80), dtype=bool)
    np.put_along_axis(mask, indices, True, axis=1)
    got = rows_of(KNN(4, neighbors=(indices, distances)).fit(twice).conditional_)
    np.testing.assert_array_equal(got > 0, mask)


def changed(at, value, part=1):
    parts = [WITHOUT[0].copy(), WITHOUT[1].copy()]
    parts[part][at] = value
    return tuple(parts)


@pytest.mark.parametrize(
    "neighbors, match",
    [
        (tuple(part[:60] for part in WITHOUT), "those of 60 rows, and X has 80"),
        (changed((2, 3), 80), "neighbour 3 of row 2 is row 80.*below 80"),
        (changed((2, 3), -0.5, part=0), "neighbour 3 of row 2.*distance -0.5"),
        (changed((2, 3), np.nan, part=0), "neighbour 3 of row 2.*nan"),
        (changed((7, 0), WITHOUT[1][7, 1]), "row 7 lists a neighbour twice"),
        ((WITHOUT[0], WITHOUT[1][:, :4]), "two arrays of one shape"),
        ("nearest", "two arrays of one shape"),
    ],
)
def test_what_cannot_be_neighbours_is_refused(neighbors, match):
    with pytest.raises(ValueError, match=match):
        KNN(5, neighbors=neighbors).fit(X)


def test_neighbours_beside_distances_are_refused():
    with pytest.raises(ValueError, match="one of both"):
        KNN(5, metric="precomputed", neighbors=WITHOUT).fit(np.ones((80, 80)) - np.eye(80))


def test_nothing_is_read_twice_or_changed():
    before = [part.copy() for part in WITHOUT]
    p = resolve("p", WITHOUT)
    p.fit(X)
    for part, old in zip(WITHOUT, before, strict=True):
        np.testing.assert_array_equal(part, old)
