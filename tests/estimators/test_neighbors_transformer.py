"""NeighborsTransformer beside scikit-learn's KNeighborsTransformer, and what takes its graphs."""

import pickle

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array, csr_matrix, issparse
from sklearn import config_context
from sklearn.cluster import DBSCAN
from sklearn.datasets import load_digits
from sklearn.manifold import TSNE, Isomap
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer, sort_graph_by_row_values
from sklearn.pipeline import make_pipeline

from iconlearn import ICONClustering, ICONEmbedding, NeighborsTransformer
from iconlearn.supervisory import KNN, Gaussian


@pytest.fixture(scope="module")
def X():
    return load_digits().data[:400]


@pytest.fixture(scope="module")
def X_new():
    return load_digits().data[400:430]


@pytest.mark.parametrize("mode", ["distance", "connectivity"])
@pytest.mark.parametrize(
    "metric", [{"metric": "euclidean"}, {"metric": "minkowski", "metric_params": {"p": 3}}], ids=str
)
@pytest.mark.parametrize("form", [np.asarray, csr_matrix])
def test_the_graph_is_that_of_scikit_learn(X, X_new, mode, metric, form):
    if metric["metric"] == "minkowski" and form is csr_matrix:
        pytest.skip("scikit-learn has no Minkowski distance of sparse rows")
    # Without ties, which the two libraries order differently.
    X = X * np.random.default_rng(0).uniform(0.9, 1.1, X.shape)
    ours = NeighborsTransformer(7, mode=mode, **metric)
    # By a tree: by products scikit-learn gives a row a distance of 1e-6 to itself.
    theirs = KNeighborsTransformer(n_neighbors=7, mode=mode, algorithm="kd_tree", **metric)
    for got, expected in (
        (ours.fit_transform(form(X)), theirs.fit_transform(X)),
        (ours.transform(form(X_new)), theirs.transform(X_new)),
    ):
        assert got.shape == expected.shape and got.nnz == expected.nnz
        assert got.indices.dtype == got.indptr.dtype == np.int32
        np.testing.assert_allclose(got.toarray(), expected.toarray(), atol=1e-9)
        if mode == "distance":
            assert (np.diff(got.data.reshape(len(got.indptr) - 1, -1)) >= 0).all()
    assert ours.backend_ == "exact" and ours.n_samples_fit_ == len(X)
    assert list(ours.get_feature_names_out()[:2]) == ["neighborstransformer0", "neighborstransformer1"]


def test_a_row_is_its_own_first_neighbour_also_among_copies(X):
    copies = np.repeat(X[:40], 5, axis=0)
    graph = NeighborsTransformer(3).fit_transform(copies)
    assert graph.nnz == 200 * 4
    np.testing.assert_array_equal(graph.indices.reshape(200, 4)[:, 0], np.arange(200))
    assert (graph.data == 0).all()


def test_of_inverted_lists_fit_transform_and_transform_agree():
    X = np.random.default_rng(0).normal(size=(900, 4))
    transformer = NeighborsTransformer(6, backend="ivf")
    graph = transformer.fit_transform(X)
    again = transformer.transform(X)
    assert (graph != again).nnz == 0 and transformer.backend_ == "ivf"
    exact = NeighborsTransformer(6).fit_transform(X)
    assert (graph.multiply(exact) > 0).nnz > 0.9 * 900 * 6
    assert (pickle.loads(pickle.dumps(transformer)).transform(X) != graph).nnz == 0


def test_precomputed_distances_dense_and_sparse(X, X_new):
    expected = NeighborsTransformer(5)
    graph = expected.fit_transform(X)
    D = np.sqrt(((X[:, None] - X) ** 2).sum(-1))
    D_new = np.sqrt(((X_new[:, None] - X) ** 2).sum(-1))
    dense = NeighborsTransformer(5, metric="precomputed")
    np.testing.assert_allclose(dense.fit_transform(D).toarray(), graph.toarray(), atol=1e-12)
    np.testing.assert_allclose(
        dense.transform(D_new).toarray(), expected.transform(X_new).toarray(), atol=1e-12
    )
    more = NeighborsTransformer(20).fit_transform(X)
    sparse = NeighborsTransformer(5, metric="precomputed").fit_transform(more)
    np.testing.assert_allclose(sparse.toarray(), graph.toarray(), atol=1e-12)


def test_estimators_with_precomputed_distances_take_it(X, X_new):
    y = load_digits().target[:400]
    graph = NeighborsTransformer(20).fit_transform(X)
    assert sort_graph_by_row_values(graph, warn_when_not_sorted=True) is graph
    near = NeighborsTransformer(20).fit(X)
    np.testing.assert_array_equal(
        make_pipeline(NeighborsTransformer(20), DBSCAN(eps=22, metric="precomputed")).fit_predict(X),
        make_pipeline(
            KNeighborsTransformer(n_neighbors=20), DBSCAN(eps=22, metric="precomputed")
        ).fit_predict(X),
    )
    classifier = KNeighborsClassifier(5, metric="precomputed").fit(graph, y)
    np.testing.assert_array_equal(
        classifier.predict(near.transform(X_new)), KNeighborsClassifier(5).fit(X, y).predict(X_new)
    )
    assert make_pipeline(
        NeighborsTransformer(30), Isomap(n_neighbors=30, metric="precomputed")
    ).fit_transform(X).shape == (400, 2)
    tsne = TSNE(metric="precomputed", init="random", perplexity=6, max_iter=250, random_state=0)
    assert tsne.fit_transform(graph).shape == (400, 2)
    own = ICONEmbedding(p=KNN(15, metric="precomputed"), max_iter=5, random_state=0, init="random")
    direct = ICONEmbedding(p=KNN(15), max_iter=5, random_state=0, init="random")
    np.testing.assert_allclose(own.fit_transform(graph), direct.fit_transform(X), atol=1e-4)
    clusters = make_pipeline(
        NeighborsTransformer(40),
        ICONClustering(10, p=Gaussian(8, metric="precomputed"), n_init=2, random_state=0),
    )
    assert len(set(clusters.fit_predict(X))) == 10


def test_forms_of_input_and_output(X):
    expected = NeighborsTransformer(4).fit_transform(X)
    single = NeighborsTransformer(4).fit_transform(torch.from_numpy(X.astype(np.float32)))
    assert isinstance(single, csr_matrix) and single.dtype == np.float64
    np.testing.assert_allclose(single.toarray(), expected.toarray(), atol=1e-5)
    given = X.copy()
    transformer = NeighborsTransformer(4).fit(given)
    given[:] = 0
    assert (transformer.transform(X) != expected).nnz == 0
    try:
        with config_context(sparse_interface="sparray"):
            assert isinstance(transformer.transform(X), csr_array)
    except TypeError:
        pass  # scikit-learn before 1.9 has no such choice
    assert issparse(transformer.set_output(transform="default").transform(X[:3]))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"n_neighbors": 400},
            r"n_neighbors=400 with mode='distance' needs at least 401 rows.*n_samples=400",
        ),
        ({"n_neighbors": 0}, "n_neighbors"),
        ({"mode": "distances"}, 'Did you mean "distance"'),
        ({"metric": "euclid"}, "euclid"),
        ({"backend": "ivf", "metric": "manhattan"}, "backend='ivf' searches dense rows"),
        ({"metric": "precomputed"}, r"shape \(400, 64\).*square"),
    ],
    ids=str,
)
def test_bad_parameters_leave_a_fit_as_it_was(X, parameters, message):
    transformer = NeighborsTransformer(5).fit(X[:50])
    before = transformer.transform(X[:3])
    transformer.set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        transformer.fit(X)
    transformer.set_params(**NeighborsTransformer().get_params())
    assert transformer.n_samples_fit_ == 50 and (transformer.transform(X[:3]) != before).nnz == 0
