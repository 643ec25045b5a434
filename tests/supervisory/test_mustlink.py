"""Links between rows: their p, what they do to a clustering, and links that contradict each other."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import adjusted_rand_score

from iconlearn import ICONClustering, Term
from iconlearn.metrics import clustering_accuracy
from iconlearn.supervisory import KNN, MustLink

X, BLOB = make_blobs(160, centers=[[0, 0], [8, 0], [0, 8], [8, 8]], random_state=0)
ROWS = [np.flatnonzero(c == BLOB) for c in range(4)]


def test_a_row_has_its_links_alike():
    p = MustLink([(0, 1), (1, 2), (2, 1), (5, 0)]).fit(np.zeros((6, 1))).conditional_
    expected = np.zeros((6, 6))
    for i, j in [(0, 1), (1, 2), (5, 0)]:
        expected[i, j] = expected[j, i] = 1
    total = expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p.sparse().toarray(), expected / np.maximum(total, 1))
    np.testing.assert_allclose(p.row_mass, (total[:, 0] > 0) / 4)


@pytest.mark.parametrize("unknown", [-1, None, float("nan")])
def test_labels_link_rows_of_a_class_and_no_others(unknown):
    labels = np.array([0, 1, 0, 1, 0, unknown, unknown, 2], dtype=object)
    P = MustLink(labels=labels).fit(np.zeros((8, 1))).conditional_.sparse().toarray() > 0
    known = labels[:5].astype(int)
    np.testing.assert_array_equal(P[:5, :5], (known[:, None] == known) & ~np.eye(5, dtype=bool))
    assert not P[5:].any() and not P[:, 5:].any()


def test_links_of_labels_grow_with_the_rows():
    labels = np.zeros(5000, dtype=int)
    few, many = (MustLink(labels=labels, n_mates=k).fit(np.zeros((5000, 1))).conditional_ for k in (4, 20))
    assert few.sparse().nnz == 4 * 5000 and many.sparse().nnz == 20 * 5000


@pytest.mark.parametrize("mates", [[(0, 1), (2, 3)], [(0, 2), (1, 3)]])
@pytest.mark.parametrize("mapper", ["table", "linear"])
def test_links_decide_which_clouds_are_one_cluster(mates, mapper):
    """Four clouds and two clusters: four links say which clouds go together."""
    pairs = [(ROWS[a][k], ROWS[b][k]) for a, b in mates for k in range(4)]
    model = ICONClustering(2, terms=[Term(MustLink(pairs), weight=0.1)], mapper=mapper, random_state=0)
    together = np.zeros(4, dtype=int)
    together[list(mates[1])] = 1
    assert adjusted_rand_score(together[BLOB], model.fit_predict(X)) == 1


@pytest.mark.parametrize("divergence", ["kl", "jensen_shannon", "hellinger", "total_variation"])
def test_links_work_with_every_divergence(divergence):
    pairs = [(ROWS[a][k], ROWS[b][k]) for a, b in [(0, 3), (1, 2)] for k in range(4)]
    term = Term(MustLink(pairs), weight=0.1)
    labels = ICONClustering(2, terms=[term], divergence=divergence, max_iter=50, random_state=0).fit_predict(
        X
    )
    assert adjusted_rand_score(np.isin(BLOB, [1, 2]), labels) == 1


def test_few_labels_help_on_digits():
    X, y = load_digits(return_X_y=True)
    seen = np.where(np.random.RandomState(0).permutation(len(y)) < 100, y, -1)
    options = {"p": KNN(15), "n_init": 4, "random_state": 1}
    alone = ICONClustering(10, **options).fit_predict(X)
    helped = ICONClustering(10, terms=[Term("must_link", weight=0.1)], **options).fit(X, seen).labels_
    hidden = seen < 0
    assert (
        clustering_accuracy(y[hidden], helped[hidden]) > clustering_accuracy(y[hidden], alone[hidden]) + 0.02
    )


def test_a_link_that_contradicts_labels_is_named():
    labels = np.full(10, -1)
    labels[[2, 7]] = 0, 1
    with pytest.raises(ValueError, match="rows 2 and 7 are linked, directly or through others"):
        MustLink([(2, 5), (5, 7)], labels).fit(np.zeros((10, 1)))
    MustLink([(2, 5), (6, 7)], labels).fit(np.zeros((10, 1)))


@pytest.mark.parametrize(
    ("pairs", "labels", "message"),
    [
        ([(0, 1, 2)], None, "shape"),
        ([(0.0, 1.0)], None, "whole numbers"),
        ([(0, 10)], None, "name row 10, but X has rows 0 to 9"),
        ([(-1, 3)], None, "name row -1"),
        ([(4, 4)], None, "row 4 with itself"),
        (None, None, "needs links"),
        (None, [0, 1], "one label per row"),
        (None, [-1] * 9 + [3], "no link"),
    ],
)
def test_wrong_links_are_told(pairs, labels, message):
    with pytest.raises(ValueError, match=message):
        MustLink(pairs, labels).fit(np.zeros((10, 1)))
