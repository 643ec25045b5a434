"""KNN, Graph and Precomputed against scikit-learn's graphs and the matrices given."""

import pickle
from contextlib import nullcontext
from itertools import pairwise

import numpy as np
import pytest
from scipy.sparse import csr_array, csr_matrix
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.neighbors import KNeighborsTransformer, kneighbors_graph

from iconlearn.neighbors import knn
from iconlearn.supervisory import (
    KNN,
    Gaussian,
    Graph,
    Mix,
    Precomputed,
    Student,
    Symmetrize,
    Walk,
    mutual_weight_by_default,
)


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(50, 3))


@pytest.fixture
def A():
    rng = np.random.default_rng(1)
    return rng.random((30, 30)) * (rng.random((30, 30)) < 0.3)


def rows_of(p):
    return p.sparse().toarray()


@pytest.mark.parametrize("counts", ["equal", "different", "some without"])
def test_neighbours_are_sorted_by_column_and_what_was_given_is_not(X, counts):
    D = cdist(X, X)
    graph = KNeighborsTransformer(n_neighbors=8, mode="distance").fit_transform(X)
    if counts != "equal":
        graph.data[::3] = 0.0
        graph.eliminate_zeros()
    if counts == "some without":
        graph.data[graph.indptr[4] : graph.indptr[5]] = 0.0
        graph.eliminate_zeros()
    before = graph.copy()
    warns = pytest.warns(UserWarning) if counts == "some without" else nullcontext()
    with warns:
        p = KNN(4, metric="precomputed").fit(graph)
    edges = p.conditional_.sparse()
    assert all((np.diff(edges.indices[a:b]) > 0).all() for a, b in pairwise(edges.indptr))
    expected = np.zeros(D.shape)
    for i, row in enumerate(before.toarray()):
        near = [j for j in np.argsort(np.where(row > 0, row, np.inf)) if row[j] > 0 and j != i][:4]
        expected[i, near] = 1 / max(len(near), 1)
    np.testing.assert_allclose(edges.toarray(), expected)
    np.testing.assert_array_equal(graph.indices, before.indices)
    np.testing.assert_array_equal(graph.data, before.data)


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("form", [np.array, csr_array])
def test_knn(X, metric, form):
    if form is csr_array and metric == "manhattan":
        X = X[:20]
    p = KNN(6, metric=metric).fit(form(X))
    expected = kneighbors_graph(X, 6, metric=metric).toarray() / 6
    np.testing.assert_allclose(rows_of(p.conditional_), expected)
    assert not p.conditional_.self_pairs
    new = X[:4] + 0.05
    batch = p.extend(form(new))
    order = np.argsort(cdist(new, X, metric.replace("manhattan", "cityblock")))[:, :6]
    expected = np.zeros(batch.shape)
    np.put_along_axis(expected, order, 1 / 6, axis=1)
    np.testing.assert_allclose(rows_of(batch), expected)
    assert batch.self_pairs
    for i in range(4):
        np.testing.assert_array_equal(rows_of(p.extend(form(new[[i]])))[0], rows_of(batch)[i])


def test_knn_is_reciprocal_as_if_the_new_row_had_been_there(X):
    new = X[:6] + 0.05
    p = KNN(4).fit(X)
    for i, row in enumerate(rows_of(p.reciprocal(new))):
        together = rows_of(KNN(4).fit(np.vstack([X, new[i : i + 1]])).conditional_)
        expected = together[-1, :-1] + together[:-1, -1]
        np.testing.assert_allclose(row, expected / expected.sum(), atol=1e-12)


def test_a_row_with_few_stored_neighbours_has_room_for_a_new_one():
    # Rows 0 and 1 know of each other only; row 2 has as many neighbours as it may, both nearer than the new row.
    D = csr_array(([1.0, 1.0, 1.0, 1.5, 1.0, 1.5], ([0, 1, 2, 2, 3, 4], [1, 0, 3, 4, 2, 2])), shape=(5, 5))
    p = KNN(2, metric="precomputed").fit(D)
    row = rows_of(p.reciprocal(csr_array([[0.5, 0.0, 2.0, 0.0, 0.0]])))[0]
    np.testing.assert_allclose(row, np.array([0.5 + 0.5, 0, 0.5, 0, 0]) / 1.5)


def test_a_p_that_knows_one_side_only_answers_with_it(A):
    p = Graph(mass="degree").fit(A)
    np.testing.assert_array_equal(rows_of(p.reciprocal(A[:3])), rows_of(p.extend(A[:3])))


def test_both_sides_need_a_fit(X):
    with pytest.raises(NotFittedError):
        KNN().reciprocal(X)


def test_knn_extends_a_training_row_to_itself(X):
    P = rows_of(KNN(4).fit(X).extend(X[[9]]))
    assert P[0, 9] == 0.25


def test_knn_with_duplicates_and_n_2():
    P = rows_of(KNN(3).fit(np.zeros((9, 2))).conditional_)
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert not P.diagonal().any() and (P > 0).sum() == 27
    np.testing.assert_allclose(rows_of(KNN(1).fit([[0.0], [1.0]]).conditional_), [[0, 1], [1, 0]])


def test_knn_is_clamped_with_one_warning(X):
    with pytest.warns(
        UserWarning, match="n_neighbors=15 is more than a third of the 4 other rows.* 3 are"
    ) as caught:
        p = KNN().fit(X[:5]).conditional_
    assert len(caught) == 1
    np.testing.assert_array_equal((rows_of(p) > 0).sum(axis=1), 3)


@pytest.mark.parametrize("n", [3, 4, 6, 11, 20, 45, 46])
def test_a_number_above_a_third_of_the_other_rows_is_lowered(X, n):
    most = max(min(n - 1, 3), (n - 1) // 3)
    kept = KNN(most).fit(X[:n]).conditional_
    with pytest.warns(UserWarning, match=f"third of the {n - 1} other rows.* {most} are used"):
        lowered = KNN(most + 1).fit(X[:n]).conditional_
    np.testing.assert_array_equal(rows_of(lowered), rows_of(kept))
    np.testing.assert_array_equal((rows_of(kept) > 0).sum(axis=1), most)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (4, 3), (17, 3), (45, 8), (75, 14), (76, 15), (80, 15)])
@pytest.mark.filterwarnings("error")
def test_auto_is_a_fifth_of_the_other_rows_without_a_word(n, k):
    rows = np.random.default_rng(0).normal(size=(n, 3))
    np.testing.assert_array_equal((rows_of(KNN("auto").fit(rows).conditional_) > 0).sum(axis=1), k)


def groups(sizes, distance, seed=0):
    rng = np.random.default_rng(seed)
    centres = distance * np.arange(len(sizes))[:, None] * np.ones(3)
    return np.repeat(centres, sizes, axis=0) + rng.normal(size=(sum(sizes), 3)), np.repeat(
        np.arange(len(sizes)), sizes
    )


@pytest.mark.parametrize("per", [6, 9, 12])
def test_neighbours_beyond_a_gap_weigh_less(per):
    """A group with fewer mates than neighbours keeps nearly all of its weight inside; others are as ever."""
    Z, group = groups([60, per], 200.0)
    few, plain = KNN(20, far_weight=0.01).fit(Z), KNN(20).fit(Z)
    P, same = rows_of(few.conditional_), group[:, None] == group
    mates = per - 1
    np.testing.assert_allclose(P[60:, 60:].sum(axis=1), mates / (mates + 0.01 * (20 - mates)))
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert ((P > 0) == (rows_of(plain.conditional_) > 0)).all() and not P[:60, 60:].any()
    np.testing.assert_array_equal(P[:60], rows_of(plain.conditional_)[:60])
    for told in (few.extend(Z[60:] + 0.01), few.reciprocal(Z[60:] + 0.01)):
        assert (rows_of(told) * same[60:]).sum(axis=1).min() > 0.95


def test_weights_of_a_new_row_are_those_of_both_sides():
    """Against a directly written sum, one new row at a time."""
    Z, _ = groups([30, 7], 90.0)
    k, far = 10, 0.1
    p = KNN(k, far_weight=far).fit(Z)

    def weights(distances):
        order = np.sort(distances)[:k]
        start = next((j for j in range(3, k) if order[j] > 3.0 * order[j - 1]), k)
        border = 3.0 * order[start - 1] if start < k else np.inf
        return np.where(distances > order[-1], 0.0, np.where(distances > border, far, 1.0))

    between = cdist(Z, Z)
    np.fill_diagonal(between, np.inf)
    for new in (Z[3] + 0.2, Z[-1] + 0.2):
        there = np.linalg.norm(Z - new, axis=1)
        ours = weights(there) / weights(there).sum()
        theirs = np.zeros(len(Z))
        for j, own in enumerate(between):
            seen = weights(np.append(own, there[j]))
            theirs[j] = seen[-1] / seen.sum()
        expected = (ours + theirs) / (ours + theirs).sum()
        np.testing.assert_allclose(rows_of(p.reciprocal(new[None]))[0], expected, atol=1e-12)


@pytest.mark.parametrize("far", [1.0, 0.1])
@pytest.mark.parametrize("heavy", [0.4, 2.5, 8.0])
def test_mutual_neighbours_weigh_more(far, heavy):
    """Or less; against directly written sums, both sides of a new row beside weights that others had before."""
    Z, _ = groups([30, 7], 90.0)
    k = 10
    p, plain = KNN(k, far_weight=far, mutual_weight=heavy).fit(Z), KNN(k, far_weight=far).fit(Z)
    between = cdist(Z, Z)
    np.fill_diagonal(between, np.inf)
    near = between <= np.sort(between, axis=1)[:, [k - 1]]
    assert 40 < (near & near.T).sum() < near.sum() - 40
    shares = rows_of(plain.conditional_)
    W = shares / shares.max(axis=1, keepdims=True) * np.where(near.T, heavy, 1.0)
    np.testing.assert_allclose(rows_of(p.conditional_), W / W.sum(axis=1, keepdims=True))

    # In either group, and between them: nearer to the rows of the small one than most of their neighbours, and far.
    for new in (Z[3] + 0.2, Z[-1] + 0.2, Z[3] + 54.0):
        there = np.linalg.norm(Z - new, axis=1)
        order, reached = np.argsort(there)[:k], there < np.sort(between, axis=1)[:, k - 1]
        ours = np.zeros(len(Z))
        ours[order] = rows_of(plain.extend(new[None]))[0][order] * np.where(reached[order], heavy, 1.0)
        np.testing.assert_allclose(rows_of(p.extend(new[None]))[0], ours / ours.sum())
        theirs = np.zeros(len(Z))
        for j in np.flatnonzero(reached):
            kept = np.sort(np.argsort(between[j])[: k - 1])
            # Rows of one group are within ten of each other.
            own = (heavy if j in order else 1.0) * (far if there[j] > 50.0 else 1.0)
            theirs[j] = own / (own + W[j, kept].sum())
        expected = ours / ours.sum() + theirs
        np.testing.assert_allclose(rows_of(p.reciprocal(new[None]))[0], expected / expected.sum())


def test_mutual_neighbours_beyond_a_gap_weigh_the_product():
    Z, _ = groups([6, 6, 30], 90.0)
    P = rows_of(KNN(10, far_weight=0.1, mutual_weight=2.5).fit(Z).conditional_)
    near, far = P > 0, cdist(Z, Z) > 50.0
    W = near * np.where(far, 0.1, 1.0) * np.where(near.T, 2.5, 1.0)
    assert (near & near.T & far).any() and (near & ~near.T & far).any()
    np.testing.assert_allclose(P, W / W.sum(axis=1, keepdims=True))


def test_mutual_neighbours_whose_distances_differ_by_rounding(X):
    """As those found from either end do."""
    expected = rows_of(KNN(6, mutual_weight=2.0).fit(X).conditional_)
    distances, indices = knn(X, 6)
    rng = np.random.default_rng(0)
    for error in (1e-9, 2e-7):
        apart = np.sort(distances * (1 + error * rng.choice([-1, 1], distances.shape)), axis=1)
        given = KNN(6, mutual_weight=2.0, neighbors=(indices, apart)).fit(X)
        np.testing.assert_allclose(rows_of(given.conditional_), expected)


def test_mutual_neighbours_of_given_distances_to_fewer_than_k(X):
    """All that are given count, and a new row takes the place of none of them."""
    few = KNeighborsTransformer(mode="distance", n_neighbors=4).fit_transform(X)
    p = KNN(6, metric="precomputed", mutual_weight=2.0).fit(few)
    np.testing.assert_allclose(rows_of(p.conditional_)[rows_of(p.conditional_) > 0], 1 / 4)
    new = cdist(X[:3] + 0.01, X)
    order = np.argsort(new, axis=1)[:, :6]
    ours = np.zeros_like(new)
    np.put_along_axis(ours, order, 1 / 6, axis=1)
    # No training row is full, so the new one is a neighbour of all that are looked at: four times as many as its own.
    seen = np.argsort(np.argsort(new, axis=1), axis=1) < 4 * 6
    own = np.where(ours > 0, 2.0, 1.0)
    expected = ours + np.where(seen, own / (4 * 2.0 + own), 0.0)
    np.testing.assert_allclose(rows_of(p.reciprocal(new)), expected / expected.sum(axis=1, keepdims=True))


def test_mutual_neighbours_of_rows_that_are_equal_or_few():
    twice = KNN(3, mutual_weight=2.0).fit(np.repeat(np.arange(4.0), 5)[:, None]).conditional_
    np.testing.assert_allclose(twice.sparse().data, 1 / 3)
    assert KNN(mutual_weight=2.0).fit(np.arange(3.0)[:, None]).extend(np.ones((1, 1))).shape == (1, 3)


@pytest.mark.parametrize("weight", ["far_weight", "mutual_weight"])
@pytest.mark.parametrize("value", [0.0, -1.5, "much"])
def test_weights_are_checked(X, weight, value):
    with pytest.raises((TypeError, ValueError), match=f"{weight}="):
        KNN(**{weight: value}).fit(X)


def test_knn_of_precomputed_distances(X):
    expected = rows_of(KNN(6).fit(X).conditional_)
    p = KNN(6, metric="precomputed")
    assert p.pairwise
    np.testing.assert_allclose(rows_of(p.fit(cdist(X, X)).conditional_), expected)
    graph = KNeighborsTransformer(mode="distance", n_neighbors=9).fit_transform(X)
    np.testing.assert_allclose(rows_of(p.fit(graph).conditional_), expected)
    few = KNeighborsTransformer(mode="distance", n_neighbors=4).fit_transform(X)
    np.testing.assert_allclose(rows_of(p.fit(few).conditional_), rows_of(KNN(4).fit(X).conditional_))


def test_knn_messages(X):
    with pytest.raises(ValueError, match=r"n_neighbors=0 .* at least 1"):
        KNN(0).fit(X)
    with pytest.raises(TypeError, match="n_neighbors=True"):
        KNN(True).fit(X)
    with pytest.raises(ValueError, match='Did you mean "cosine"'):
        KNN(metric="cosin").fit(X)
    with pytest.raises(NotFittedError):
        KNN().extend(X)


@pytest.mark.parametrize("form", [np.array, csr_array, csr_matrix])
def test_graph(A, form):
    off = A - np.diag(A.diagonal())
    expected = off / off.sum(axis=1, keepdims=True)
    source = form(A)
    p = Graph().fit(source)
    np.testing.assert_allclose(rows_of(p.conditional_), expected)
    assert p.pairwise and not p.conditional_.self_pairs and p.conditional_.mass is None
    beside = Graph(form(A))
    assert not beside.pairwise
    np.testing.assert_allclose(rows_of(beside.fit(np.zeros((30, 2))).conditional_), expected)
    new = p.extend(form(A[:3]))
    np.testing.assert_allclose(rows_of(new), A[:3] / A[:3].sum(axis=1, keepdims=True))
    assert new.self_pairs
    np.testing.assert_array_equal(np.asarray(source.todense() if form is not np.array else source), A)
    with pytest.raises(ValueError, match="edges from new rows"):
        beside.extend(np.zeros((1, 2)))
    np.testing.assert_allclose(rows_of(clone(beside).fit(np.zeros((30, 2))).conditional_), expected)


@pytest.mark.parametrize("p", [Graph(), KNN(3, metric="precomputed"), Precomputed("distance", perplexity=3)])
def test_entries_of_one_place_are_summed_and_left_alone(A, p):
    """What is given beside X is read as scipy means it, and may be read-only."""
    A = csr_array(A)
    halves = csr_array((np.repeat(A.data / 2, 2), np.repeat(A.indices, 2), 2 * A.indptr), shape=A.shape)
    for part in (halves.data, halves.indices, halves.indptr):
        part.flags.writeable = False
    expected = rows_of(p.fit(A).conditional_)
    np.testing.assert_array_equal(rows_of(p.fit(halves).conditional_), expected)
    np.testing.assert_array_equal(rows_of(p.extend(halves)), rows_of(p.extend(A)))
    assert halves.nnz == 2 * A.nnz


def test_graph_mass_by_degree(A):
    off = A - np.diag(A.diagonal())
    p = Graph(mass="degree").fit(A).conditional_
    np.testing.assert_allclose(p.row_mass, off.sum(axis=1) / off.sum())
    np.testing.assert_allclose(Graph().fit(A).conditional_.row_mass, 1 / 30)


def test_isolated_nodes_are_counted(A):
    A[[2, 5]] = 0
    A[2, 2] = 1.0
    for mass in ("uniform", "degree"):
        with pytest.warns(UserWarning, match="2 of 30 rows have no edge") as caught:
            p = Graph(mass=mass).fit(A).conditional_
        assert len(caught) == 1
        assert list(np.flatnonzero(p.row_mass == 0)) == [2, 5]
    with pytest.raises(ValueError, match="no row has any edge"):
        Graph().fit(np.eye(4))
    fitted = Graph().fit(A + 0.1)
    with pytest.warns(UserWarning, match="1 of 1 new rows"):
        assert fitted.extend(np.zeros((1, 30))).row_mass.sum() == 0


def test_graph_messages(A):
    with pytest.raises(ValueError, match=r"has 30 rows but X has 7.*cannot be cross-validated"):
        Graph(A).fit(np.zeros((7, 2)))
    with pytest.raises(ValueError, match=r"shape \(30, 4\): it must be square"):
        Graph(A[:, :4]).fit(np.zeros((30, 2)))
    with pytest.raises(ValueError, match=r"negative entry \(-1\)"):
        Graph().fit(np.array([[0, -1.0], [1, 0]]))
    with pytest.raises(ValueError, match="NaN"):
        Graph().fit(np.array([[0, np.nan], [1, 0]]))
    with pytest.raises(ValueError, match=r"mass='degrees'.*Did you mean \"degree\""):
        Graph(mass="degrees").fit(A)


@pytest.mark.parametrize("form", [np.array, csr_array])
def test_probabilities(A, form):
    P = (A + 0.01) / (A + 0.01).sum(axis=1, keepdims=True)
    p = Precomputed().fit(form(P))
    np.testing.assert_allclose(rows_of(p.conditional_), P)
    assert p.pairwise and p.conditional_.self_pairs
    Q = P - np.diag(P.diagonal())
    Q /= Q.sum(axis=1, keepdims=True)
    p.fit(form(Q))
    assert not p.conditional_.self_pairs
    np.testing.assert_allclose(rows_of(p.extend(form(P[:2]))), P[:2])


def test_probability_messages(A):
    with pytest.raises(ValueError, match=r"sums to .*Graph\(\).*kind=\"distance\""):
        Precomputed().fit(A)
    P = np.full((4, 4), 0.25)
    Precomputed().fit(P + 1e-8)
    P[2, 1] += 1e-3
    with pytest.raises(ValueError, match=r"row 2 .* off one by 0.001"):
        Precomputed().fit(P)
    with pytest.raises(ValueError, match="negative"):
        Precomputed().fit(np.array([[1.5, -0.5], [0.5, 0.5]]))
    with pytest.raises(ValueError, match='Did you mean "distance"'):
        Precomputed("distances").fit(P)


def test_distances(X):
    expected = Gaussian(8).fit(X)
    p = Precomputed("distance", perplexity=8).fit(cdist(X, X))
    np.testing.assert_allclose(rows_of(p.conditional_), rows_of(expected.conditional_), atol=1e-9)
    new = X[:3] + 0.1
    np.testing.assert_allclose(rows_of(p.extend(cdist(new, X))), rows_of(expected.extend(new)), atol=1e-9)
    np.testing.assert_allclose(
        rows_of(pickle.loads(pickle.dumps(p)).extend(cdist(new[:1], X))),
        rows_of(expected.extend(new))[:1],
        atol=1e-9,
    )


def test_sparse_distances_use_all_stored_neighbours(X):
    graph = KNeighborsTransformer(mode="distance", n_neighbors=40).fit_transform(X)
    p = Precomputed("distance", perplexity=8).fit(graph)
    expected = Gaussian(8, n_neighbors=40).fit(X)
    np.testing.assert_allclose(rows_of(p.conditional_), rows_of(expected.conditional_), atol=1e-7)
    assert not p.conditional_.self_pairs


def test_sparse_distances_keep_duplicates():
    X = np.repeat(np.random.default_rng(0).normal(size=(10, 2)), 2, axis=0)
    graph = KNeighborsTransformer(mode="distance", n_neighbors=6).fit_transform(X)
    P = rows_of(Precomputed("distance", perplexity=2).fit(graph).conditional_)
    twin = np.arange(20) ^ 1
    assert (P[np.arange(20), twin] == P.max(axis=1)).all()


def test_perplexity_of_distances_matters_and_is_lowered(X):
    D = cdist(X, X)
    a, b = (rows_of(Precomputed("distance", perplexity=v).fit(D).conditional_) for v in (5, 8))
    assert np.abs(a - b).max() > 1e-3
    with pytest.warns(UserWarning, match="perplexity=30 .* lowered to 3"):
        Precomputed("distance").fit(D[:10, :10])


def cosine_distances(n=120, dtype=float):
    U = np.random.default_rng(0).normal(size=(n, 8)).astype(dtype)
    U /= np.linalg.norm(U, axis=1, keepdims=True)
    return 1 - U @ U.T


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sparse", [False, True])
def test_rounding_below_nought_is_nought(sparse, dtype):
    D = cosine_distances(dtype=dtype)
    assert D.min() < 0
    expected = np.maximum(D, 0)
    for p in (
        KNN(8, metric="precomputed"),
        Gaussian(5, metric="precomputed"),
        Precomputed("distance"),
        Graph(),
    ):
        before = D.copy()
        given = csr_array(D) if sparse else D
        found, plain = clone(p).fit(given), clone(p).fit(csr_array(expected) if sparse else expected)
        np.testing.assert_allclose(
            found.conditional_.sparse().toarray(), plain.conditional_.sparse().toarray(), atol=1e-6
        )
        found.extend(given[:3])
        np.testing.assert_array_equal(D, before)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_row_with_itself_may_hold_anything_but_not_in_probabilities(sparse):
    D = cosine_distances()
    np.fill_diagonal(D, -7.0)
    given = csr_array(D) if sparse else D
    np.testing.assert_array_equal(
        KNN(8, metric="precomputed").fit(given).conditional_.sparse().toarray(),
        KNN(8, metric="precomputed").fit(np.maximum(D, 0)).conditional_.sparse().toarray(),
    )
    with pytest.raises(ValueError, match="negative entry"):
        Precomputed().fit(given)
    D[2, 5] = -0.1
    with pytest.raises(ValueError, match=r"negative entry \(-0.1\).*rounding errors of up to"):
        KNN(8, metric="precomputed").fit(csr_array(D) if sparse else D)


@pytest.mark.parametrize(
    "p",
    [
        Gaussian(10, n_neighbors=30),
        Student(10, n_neighbors=30),
        Symmetrize(Gaussian(10, n_neighbors=30)),
        Walk(Gaussian(10, n_neighbors=30), 3),
        Mix([Gaussian(10, n_neighbors=30), KNN(5)]),
    ],
)
def test_groups_of_equal_rows_are_not_tied_by_rounding(p):
    """Three groups of twenty equal rows: a weight of 1e-21 to another group is no link."""
    X = np.repeat([[100.0, 100.0], [0.0, 0.0], [50.0, 50.0]], 20, axis=0)
    edges = p.fit(X).conditional_.sparse()
    assert connected_components(edges)[0] == 3
    new = p.extend(X[::20]).sparse()
    assert [set(row // 20) for row in np.split(new.indices, new.indptr[1:-1])] == [{0}, {1}, {2}]


def test_edges_of_a_given_graph_that_no_sum_notices_are_none():
    A = np.kron(np.eye(2), np.ones((4, 4)))
    A[0, 7] = A[7, 0] = 1e-21
    for p in (Graph(), Graph(mass="degree"), Symmetrize(Graph())):
        assert connected_components(p.fit(A).conditional_.sparse())[0] == 2


def test_mutual_neighbors_of_many_rows_weigh_more_by_default():
    assert [mutual_weight_by_default(n) for n in (2, 59_999, 60_000, 10**7)] == [1.0, 1.0, 2.0, 2.0]
