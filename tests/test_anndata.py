"""Maps, clusters and labels in an object with the parts of an AnnData; tests/integration has the package itself."""

import copy

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits

from iconlearn import ICONClustering, ICONEmbedding
from iconlearn.anndata import annotate, cluster, embed
from iconlearn.supervisory import KNN


class Cells:
    """What the functions ask of an AnnData."""

    def __init__(self, X, obs):
        self.X, self.obs = X, obs
        self.obsm, self.obsp, self.layers, self.uns = {}, {}, {}, {}

    def copy(self):
        return copy.deepcopy(self)


@pytest.fixture
def digits():
    return load_digits().data[:160], load_digits().target[:160]


@pytest.fixture
def cells(digits):
    X, y = digits
    cells = Cells(csr_matrix(X), pd.DataFrame({"digit": y}, index=[f"cell{i}" for i in range(len(X))]))
    cells.obsm["X_pca"] = X[:, 8:40].copy()
    cells.layers["counts"] = X
    graph = ICONEmbedding(p="knn", max_iter=1).fit(X).p_.conditional_.edges
    cells.obsp["connectivities"] = graph + graph.T
    cells.uns["neighbors"] = {"connectivities_key": "connectivities", "params": {"n_neighbors": 15}}
    return cells


def test_a_map_in_its_place(cells, digits):
    assert embed(cells, max_iter=20) is None
    expected = ICONEmbedding(max_iter=20, random_state=0).fit(cells.obsm["X_pca"])
    np.testing.assert_array_equal(cells.obsm["X_icon"], expected.embedding_)
    assert cells.uns["icon"]["params"] == {
        "use_rep": "X_pca", "n_components": 2, "random_state": 0, "max_iter": 20
    }  # fmt: skip
    assert cells.uns["icon"]["loss"] == pytest.approx(expected.loss_)
    embed(cells, 3, use_rep="X", p=KNN(7), key_added="X_three", max_iter=20, random_state=None)
    assert cells.obsm["X_three"].shape == (160, 3)
    params = cells.uns["X_three"]["params"]
    assert (
        params["p"] == "supervisory.KNN(n_neighbors=7)"
        and params["use_rep"] == "X"
        and "random_state" not in params
    )


@pytest.mark.parametrize("source", [{"use_rep": "X"}, {"layer": "counts"}, {"neighbors_key": "neighbors"}])
def test_a_copy_leaves_the_object_as_it_is(cells, digits, source):
    out = embed(cells, copy=True, max_iter=20, **source)
    assert "X_icon" not in cells.obsm and "icon" not in cells.uns
    if "neighbors_key" in source:
        expected = ICONEmbedding(p="graph", max_iter=20, random_state=0).fit(cells.obsp["connectivities"])
    else:
        expected = ICONEmbedding(max_iter=20, random_state=0).fit(digits[0] if "layer" in source else cells.X)
    np.testing.assert_array_equal(out.obsm["X_icon"], expected.embedding_)


def test_clusters_are_categories_and_doubtful_cells_are_missing(cells):
    parameters = {"n_init": 2, "min_confidence": 0.9}
    cluster(cells, 11, **parameters)
    expected = ICONClustering(11, random_state=0, **parameters).fit(cells.obsm["X_pca"])
    column = cells.obs["icon_cluster"]
    assert list(column.cat.categories) == [str(k) for k in range(11)]
    assert 0 < column.isna().sum() < 80
    np.testing.assert_array_equal(column.isna(), expected.labels_ == -1)
    np.testing.assert_array_equal(column.dropna().astype(int), expected.labels_[expected.labels_ >= 0])
    np.testing.assert_array_equal(cells.obsm["icon_cluster_probabilities"], expected.probabilities_)
    assert cells.uns["icon_cluster"]["params"]["min_confidence"] == 0.9
    cells.uns["neighbors"] = {}  # as old versions of scanpy have written it
    cluster(cells, 10, neighbors_key="neighbors", key_added="of_graph", n_init=2)
    assert cells.obs["of_graph"].nunique() == 10


@pytest.mark.parametrize(
    ("source", "as_category"),
    [({}, False), ({"neighbors_key": "neighbors"}, True)],
    ids=["features", "graph"],
)
def test_labels_of_few_cells_reach_all(cells, digits, source, as_category):
    y = digits[1]
    names = np.array([f"digit {k}" for k in y], dtype=object)
    few = np.where(np.arange(len(y)) < 80, names, None)
    few[70:80] = "Unknown"
    order = [f"digit {k}" for k in range(9, -1, -1)]
    cells.obs["few"] = pd.Categorical(few, categories=[*order, "Unknown"]) if as_category else few
    annotate(cells, "few", unlabeled="Unknown", **source)
    column, shares = cells.obs["icon_label"], cells.obsm["icon_label_probabilities"]
    assert list(column.cat.categories) == (order if as_category else order[::-1])
    assert (column[70:] == names[70:]).mean() > 0.8
    np.testing.assert_array_equal(column.cat.codes, shares.argmax(axis=1))
    np.testing.assert_array_equal(cells.obs["icon_label_confidence"], shares.max(axis=1))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda cells: embed(np.ones((3, 2))), TypeError, "ndarray, which has no X;"),
        (lambda cells: embed(cells, use_rep="X_pcs"), ValueError, "use_rep='X_pcs'.*Did you mean \"X_pca\""),
        (lambda cells: embed(cells, layer="count"), ValueError, "layer='count' is not in adata.layers"),
        (lambda cells: cluster(cells, neighbors_key="icon"), ValueError, "is not in adata.uns"),
        (
            lambda cells: embed(cells, use_rep="X", layer="counts"),
            ValueError,
            "use_rep='X' and layer='counts'",
        ),
        (
            lambda cells: embed(cells, neighbors_key="neighbors", p="knn"),
            ValueError,
            "p='knn' cannot be given beside neighbors_key",
        ),
        (lambda cells: annotate(cells, "digit"), ValueError, "every cell has a label"),
        (lambda cells: annotate(cells, "digits"), ValueError, "labels='digits' is not in adata.obs"),
        (lambda cells: embed(cells, perplexity=5), TypeError, "perplexity"),
    ],
)
def test_errors_name_the_argument_and_change_nothing(cells, call, error, message):
    before = [set(part) for part in (cells.obsm, cells.obs, cells.uns)]
    with pytest.raises(error, match=message):
        call(cells)
    assert [set(part) for part in (cells.obsm, cells.obs, cells.uns)] == before
