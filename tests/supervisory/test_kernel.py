"""Gaussian and Student against t-SNE's affinities and dense formulas; edge cases and messages."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.spatial.distance import cdist
from sklearn.base import clone
from sklearn.manifold._t_sne import _joint_probabilities_nn
from sklearn.neighbors import KNeighborsTransformer, kneighbors_graph

from iconlearn.supervisory import Gaussian, Student, Symmetrize, WideGaussian


@pytest.fixture
def X():
    return np.random.default_rng(0).normal(size=(80, 4))


def rows_of(p):
    """p as a dense matrix."""
    return p.sparse().toarray()


def probabilities_of(p):
    return p.entries(np.arange(p.n_rows)).p


def dense_gaussian(D, sigma):
    np.fill_diagonal(D, np.inf)
    W = np.exp(-(D**2) / (2 * np.broadcast_to(sigma, len(D))[:, None] ** 2))
    return W / W.sum(axis=1, keepdims=True)


def dense_student(D, sigma, dof):
    np.fill_diagonal(D, np.inf)
    W = (1 + D**2 / (dof * np.broadcast_to(sigma, len(D))[:, None] ** 2)) ** (-(dof + 1) / 2)
    return W / W.sum(axis=1, keepdims=True)


def entropy(P):
    return -np.sum(P * np.log(np.where(P > 0, P, 1)), axis=1)


def test_symmetrized_gaussian_is_the_joint_p_of_tsne(X):
    p = Symmetrize(Gaussian(10)).fit(X).conditional_
    joint = p.row_mass[:, None] * rows_of(p)
    distances = kneighbors_graph(X, 30, mode="distance")
    distances.data **= 2
    distances.sort_indices()
    expected = _joint_probabilities_nn(distances, 10, 0).toarray()
    np.testing.assert_allclose(joint, expected, atol=2e-7)


def test_calibrated_rows(X):
    for p in (Gaussian(12), Gaussian(12, n_neighbors=None), Student(40, dof=10)):
        p.fit(X)
        P = rows_of(p.conditional_)
        np.testing.assert_allclose(P.sum(axis=1), 1)
        np.testing.assert_allclose(entropy(P), np.log(p.perplexity), atol=1e-6)
        assert p.sigma_.shape == (80,) and p.perplexity_ == p.perplexity
        assert not p.conditional_.self_pairs and not P.diagonal().any()
    assert not Gaussian(12).fit(X).conditional_.dense
    assert Gaussian(12, n_neighbors=None).fit(X).conditional_.dense


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
@pytest.mark.parametrize("n_neighbors", ["auto", None])
def test_given_bandwidth(X, metric, n_neighbors):
    D = cdist(X, X, metric.replace("manhattan", "cityblock"))
    p = Gaussian(sigma=0.7, n_neighbors=n_neighbors, metric=metric).fit(X)
    np.testing.assert_allclose(rows_of(p.conditional_), dense_gaussian(D, 0.7), atol=1e-12)
    p = Student(sigma=0.7, dof=2.0, n_neighbors=n_neighbors, metric=metric).fit(X)
    np.testing.assert_allclose(rows_of(p.conditional_), dense_student(D, 0.7, 2.0), atol=1e-12)
    np.testing.assert_array_equal(p.sigma_, 0.7)
    assert p.conditional_.dense and p.perplexity_ is None


def test_finite_neighbors_with_a_given_bandwidth(X):
    P = rows_of(Gaussian(sigma=0.7, n_neighbors=9).fit(X).conditional_)
    full = dense_gaussian(cdist(X, X), 0.7)
    mask = kneighbors_graph(X, 9).toarray()
    expected = full * mask / (full * mask).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(P, expected, atol=1e-12)


def test_calibration_over_all_columns_equals_the_formula(X):
    for p in (Gaussian(9, n_neighbors=None), Gaussian(9, n_neighbors=79)):
        p.fit(X)
        expected = dense_gaussian(cdist(X, X), p.sigma_)
        np.testing.assert_allclose(rows_of(p.conditional_), expected, atol=1e-12)
    p = Student(20, dof=0.5, n_neighbors=None).fit(X)
    expected = dense_student(cdist(X, X), p.sigma_, 0.5)
    np.testing.assert_allclose(rows_of(p.conditional_), expected, atol=1e-12)


def test_blocks_are_parts_of_the_whole(X):
    block = Gaussian(9, n_neighbors=None).fit(X).conditional_.block
    rows, cols = np.array([3, 70, 5]), np.array([5, 6, 3, 11])
    whole = block(None, None)
    np.testing.assert_allclose(block(rows, cols), whole[np.ix_(rows, cols)], atol=1e-14)
    np.testing.assert_allclose(block(None, cols), whole[:, cols], atol=1e-14)
    np.testing.assert_allclose(block(rows, None), whole[rows], atol=1e-14)


VARIANTS = [
    Gaussian(9),
    Gaussian(9, n_neighbors=None),
    Gaussian(sigma=0.8),
    Gaussian(sigma=0.8, n_neighbors=12),
    Gaussian(9, metric="cosine"),
    Student(),
    Student(15, dof=2.0),
]


@pytest.mark.parametrize("p", VARIANTS, ids=repr)
@pytest.mark.parametrize("form", [np.array, csr_array], ids=["dense", "sparse"])
def test_extend(X, p, form):
    X = np.where(np.abs(X) > 0.2, X, 0)
    new = np.vstack([X[:4] + 0.1, X[7]])
    p = clone(p).fit(form(X))
    extended = p.extend(form(new))
    P = rows_of(extended)
    assert extended.shape == (5, 80) and extended.self_pairs
    np.testing.assert_allclose(P.sum(axis=1), 1)
    for i in range(5):
        np.testing.assert_allclose(rows_of(p.extend(form(new[[i]])))[0], P[i], atol=1e-12, rtol=1e-9)
    assert P[4].argmax() == 7
    again = pickle.loads(pickle.dumps(p)).extend(form(new))
    np.testing.assert_array_equal(rows_of(again), P)


@pytest.mark.parametrize("p", VARIANTS, ids=repr)
def test_sparse_equals_dense_and_inputs_stay(X, p):
    # The first column stays full: rows with a single entry would tie in their cosine.
    X[:, 1:] = np.where(np.abs(X[:, 1:]) > 0.2, X[:, 1:], 0)
    X.setflags(write=False)
    S = csr_array(X)
    before = S.copy()
    dense, sparse = clone(p).fit(X).conditional_, clone(p).fit(S).conditional_
    np.testing.assert_allclose(rows_of(dense), rows_of(sparse), atol=1e-9)
    assert (before != S).nnz == 0
    q = clone(p).fit(X.astype(np.float32)).conditional_
    np.testing.assert_allclose(rows_of(q), rows_of(dense), atol=1e-5)


@pytest.mark.parametrize(
    ("p", "kernel"),
    [
        (Gaussian(3, n_neighbors=7), lambda d, s: np.exp(-(d**2) / (2 * s**2))),
        (Student(dof=2.0, sigma=0.5, n_neighbors=7), lambda d, s: (1 + d**2 / (2 * s**2)) ** -1.5),
    ],
)
def test_reciprocal_rows_follow_the_formula(X, p, kernel):
    new, p = X[:5] + 0.1, p.fit(X)
    d, own = cdist(new, X), cdist(X, X)
    np.fill_diagonal(own, np.inf)
    near = np.sort(own, axis=1)[:, :7]
    total = kernel(near, p.sigma_[:, None]).sum(axis=1)
    # A new row nearer than a row's nearest counts as that one.
    weight = kernel(np.maximum(d, near[:, 0]), p.sigma_)
    # A training row counts a new one in if it is nearer than its seventh, and is itself not too far to be asked.
    asked = d <= np.sort(d, axis=1)[:, 27:28]
    theirs = np.where((d < near[:, -1]) & asked, weight / (total + weight), 0.0)
    expected = rows_of(p.extend(new)) + theirs
    assert ((theirs > 0) & (rows_of(p.extend(new)) == 0)).any()
    expected /= expected.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(rows_of(p.reciprocal(new)), expected, atol=1e-9)


def test_over_all_columns_both_sides_are_the_rows_own(X):
    p = Gaussian(sigma=0.8).fit(X)
    np.testing.assert_array_equal(rows_of(p.reciprocal(X[:3] + 0.1)), rows_of(p.extend(X[:3] + 0.1)))


def test_extended_rows_follow_the_formula(X):
    new = X[:3] + 0.2
    D = cdist(new, X)
    W = np.exp(-(D**2) / (2 * 0.8**2))
    np.testing.assert_allclose(
        rows_of(Gaussian(sigma=0.8).fit(X).extend(new)),
        W / W.sum(axis=1, keepdims=True),
        atol=1e-12,
    )
    P = rows_of(Gaussian(9).fit(X).extend(new))
    np.testing.assert_allclose(entropy(P), np.log(9), atol=1e-6)
    assert ((P > 0).sum(axis=1) <= 27).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
@pytest.mark.parametrize("p", [Gaussian(9), Gaussian(9, n_neighbors=None), Student(15)], ids=repr)
def test_calibrated_p_does_not_depend_on_the_scale(X, scale, p):
    expected = rows_of(clone(p).fit(X).conditional_)
    np.testing.assert_allclose(rows_of(clone(p).fit(X * scale).conditional_), expected, atol=1e-6)


@pytest.mark.parametrize("p", [Gaussian(5), Gaussian(5, n_neighbors=None), Student(5), Student()], ids=repr)
@pytest.mark.parametrize(
    "X",
    [
        np.zeros((30, 2)),
        np.repeat(np.eye(3), 10, axis=0),
        np.repeat(np.random.default_rng(0).normal(size=(15, 3)), 2, axis=0),
        np.column_stack([np.ones(30), np.arange(30.0)]),
        np.concatenate([np.zeros(15), np.full(15, 1e20)])[:, None] + np.arange(30)[:, None],
    ],
    ids=["constant", "triples", "pairs", "constant column", "two far groups"],
)
def test_degenerate_data(X, p):
    p = clone(p).fit(X)
    P = rows_of(p.conditional_)
    assert np.isfinite(P).all() and np.isfinite(p.sigma_).all()
    np.testing.assert_allclose(P.sum(axis=1), 1)
    assert not P.diagonal().any()
    np.testing.assert_allclose(rows_of(p.extend(X[:2])).sum(axis=1), 1)


def test_all_zero_distances_give_uniform_rows():
    P = rows_of(Gaussian(3, n_neighbors=9).fit(np.zeros((20, 2))).conditional_)
    assert ((P > 0).sum(axis=1) == 9).all()
    np.testing.assert_allclose(P[P > 0], 1 / 9)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_perplexity_is_lowered_for_tiny_data(n):
    X = np.random.default_rng(0).normal(size=(n, 2))
    lowered = max(1, (n - 1) / 3)
    with pytest.warns(UserWarning, match=f"perplexity=30 .* lowered to {lowered:g}") as caught:
        p = Gaussian().fit(X)
    assert len(caught) == 1
    assert p.perplexity_ == pytest.approx(lowered)
    np.testing.assert_allclose(rows_of(p.conditional_).sum(axis=1), 1)
    with pytest.warns(UserWarning, match="not below the number of neighbours, 1;"):
        assert Student(2, n_neighbors=1).fit(X).perplexity_ == 1


def test_parameters_have_an_effect(X):
    def P(p):
        return rows_of(p.fit(X).conditional_)

    base = P(Gaussian(9))
    for other in (
        Gaussian(8),
        Gaussian(sigma=0.5),
        Gaussian(9, n_neighbors=12),
        Gaussian(9, metric="cosine"),
    ):
        assert np.abs(P(other) - base).max() > 1e-3
    base = P(Student())
    for other in (
        Student(9),
        Student(dof=4.0),
        Student(sigma=2.0),
        Student(n_neighbors=5),
        Student(metric="cosine"),
    ):
        assert np.abs(P(other) - base).max() > 1e-3


def test_sigma_overrides_perplexity_and_the_reverse_for_student(X):
    a = Gaussian(5, sigma=0.5).fit(X).conditional_
    b = Gaussian(sigma=0.5).fit(X).conditional_
    np.testing.assert_array_equal(rows_of(a), rows_of(b))
    a = Student(9, sigma=0.1).fit(X).conditional_
    b = Student(9, sigma=5.0).fit(X).conditional_
    np.testing.assert_array_equal(rows_of(a), rows_of(b))


@pytest.mark.parametrize("n_neighbors", ["auto", None, 20])
def test_precomputed_distances(X, n_neighbors):
    D = cdist(X, X)
    for make in (
        lambda m: Gaussian(9, n_neighbors=n_neighbors, metric=m),
        lambda m: Student(sigma=0.8, n_neighbors=n_neighbors, metric=m),
    ):
        p, q = make("precomputed").fit(D), make("euclidean").fit(X)
        assert p.pairwise and not q.pairwise
        np.testing.assert_allclose(rows_of(p.conditional_), rows_of(q.conditional_), atol=1e-9)
        new = X[:3] + 0.1
        np.testing.assert_allclose(rows_of(p.extend(cdist(new, X))), rows_of(q.extend(new)), atol=1e-9)


def test_precomputed_sparse_distances(X):
    transformer = KNeighborsTransformer(mode="distance", n_neighbors=27).fit(X)
    expected = Gaussian(9, n_neighbors=27).fit(X)
    fitted = Gaussian(9, metric="precomputed").fit(transformer.fit_transform(X))
    np.testing.assert_allclose(rows_of(fitted.conditional_), rows_of(expected.conditional_), atol=1e-7)
    new = X[:3] + 0.1
    np.testing.assert_allclose(
        rows_of(fitted.extend(transformer.transform(new))), rows_of(expected.extend(new)), atol=1e-7
    )


def test_rows_without_stored_neighbours_are_counted(X):
    D = np.zeros((4, 4))
    D[0, 1] = D[1, 0] = 1.0
    with pytest.warns(UserWarning, match="2 of 4 rows"):
        p = Gaussian(1, metric="precomputed").fit(csr_array(D)).conditional_
    np.testing.assert_allclose(p.row_mass, [0.5, 0.5, 0, 0])
    with pytest.raises(ValueError, match="no row has any neighbour"):
        Gaussian(1, metric="precomputed").fit(csr_array((4, 4)))


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (Gaussian(0.5), ValueError, r"perplexity=0.5 .* at least 1 \(typical values are 5 to 50\)"),
        (Gaussian(np.nan), ValueError, "perplexity=nan"),
        (Gaussian("many"), TypeError, "perplexity='many' is not a number"),
        (Gaussian(sigma=0), ValueError, "sigma=0 .* above 0"),
        (Gaussian(sigma=np.inf), ValueError, "sigma=inf"),
        (Gaussian(n_neighbors=0), ValueError, "n_neighbors=0 .* at least 1"),
        (Gaussian(n_neighbors=2.5), TypeError, "n_neighbors=2.5 is not an integer"),
        (Gaussian(n_neighbors="all"), ValueError, "n_neighbors='all' .* \"auto\" or None"),
        (Gaussian(metric="euclidian"), ValueError, 'Did you mean "euclidean"'),
        (Student(dof=0), ValueError, "dof=0 .* above 0"),
        (Student(sigma=-1.0), ValueError, "sigma=-1.0"),
        (Student(sigma=None), TypeError, "sigma=None"),
        (Student(0.1), ValueError, "perplexity=0.1"),
    ],
)
def test_messages(X, p, error, message):
    with pytest.raises(error, match=message):
        p.fit(X)


@pytest.mark.parametrize("p", [Gaussian(sigma="scale"), Student(sigma="scale")])
def test_no_scale_of_constant_data(p):
    for X in (np.ones((5, 2)), csr_array(np.ones((5, 2)))):
        with pytest.raises(
            ValueError, match=r"sigma='scale' .* rows of X are all equal; give sigma as a number"
        ):
            p.fit(X)
    with pytest.raises(ValueError, match=r"sigma='scale' .* distances are all zero"):
        p.set_params(metric="precomputed").fit(np.zeros((5, 5)))


@pytest.mark.parametrize(
    "p", [Gaussian(5), Gaussian(sigma=1.0), Gaussian(5, n_neighbors=None), Student(), WideGaussian()]
)
def test_distances_that_are_not_defined_are_refused(X, p):
    """Among neighbours and over all columns, in training and for new rows."""
    p.set_params(metric="correlation")
    with pytest.raises(ValueError, match="gives NaN for the distance of row 80 and row"):
        probabilities_of(p.fit(np.vstack([X, np.ones((1, 4))])).conditional_)
    p.fit(X)
    with pytest.raises(ValueError, match="gives NaN for the distance of new row 1 and training row"):
        probabilities_of(p.extend(np.vstack([X[:1], np.ones((1, 4))])))


def test_bad_input(X):
    with pytest.raises(ValueError, match="minimum of 2 is required"):
        Gaussian().fit(X[:1])
    with pytest.raises(ValueError, match="NaN"):
        Gaussian().fit(np.full((3, 2), np.nan))
    with pytest.raises(ValueError, match="X has 3 columns, but p was fitted on 4"):
        Gaussian(5).fit(X).extend(X[:, :3])
    with pytest.raises(ValueError, match="must be square"):
        Gaussian(metric="precomputed").fit(np.abs(X))
    with pytest.raises(ValueError, match="negative entry"):
        Gaussian(metric="precomputed").fit(X[:4])
    with pytest.raises(ValueError, match="one per training row, 80"):
        Gaussian(5, metric="precomputed").fit(cdist(X, X)).extend(np.ones((2, 4)))


def test_n_neighbors_beyond_the_data_is_lowered_once(X):
    with pytest.warns(UserWarning, match="n_neighbors=500 is more than the 79") as caught:
        p = Gaussian(5, n_neighbors=500).fit(X)
    assert len(caught) == 1 and p.conditional_.edges.nnz <= 80 * 79


def test_refit_is_the_same_and_params_are_stored_as_given(X):
    perplexity = 9
    p = Gaussian(perplexity)
    assert p.get_params() == {
        "perplexity": 9,
        "sigma": None,
        "n_neighbors": "auto",
        "metric": "euclidean",
        "search": "auto",
        "self_pairs": False,
        "metric_params": None,
        "neighbors": None,
    }
    first = rows_of(p.fit(X).conditional_)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(rows_of(p.fit(X).conditional_), first)
    assert p.perplexity is perplexity
    p.set_params(perplexity=4)
    assert np.abs(rows_of(p.fit(X).conditional_) - first).max() > 1e-3


def test_the_scale_of_sparse_distances_is_that_of_the_stored_ones(X):
    few = kneighbors_graph(X, 10, mode="distance")
    expected = np.sqrt(0.5 * np.mean(few.data**2))
    for p in (Gaussian(sigma="scale", metric="precomputed"), Student(sigma="scale", metric="precomputed")):
        np.testing.assert_allclose(p.fit(few).sigma_, expected)


@pytest.mark.parametrize("offset", [0.0, 1e4, 1e8])
def test_the_scale_of_sparse_rows_far_from_nought(X, offset):
    expected = np.sqrt(X.var(axis=0).sum())
    found = Gaussian(sigma="scale").fit(csr_array(X + offset)).sigma_
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_distances_that_are_not_stored_are_not_nought_in_the_wide_limit(X):
    D = cdist(X, X)
    with pytest.raises(ValueError, match="not zero but unknown; give a dense matrix, complete it"):
        WideGaussian(metric="precomputed").fit(kneighbors_graph(X, 10, mode="distance"))
    dense = WideGaussian(metric="precomputed").fit(D)
    stored = WideGaussian(metric="precomputed").fit(csr_array(D))
    np.testing.assert_allclose(stored.conditional_.entries().p, dense.conditional_.entries().p)
    with pytest.raises(ValueError, match="not zero but unknown"):
        dense.extend(csr_array(D[:3] * (D[:3] < np.median(D))))
    assert stored.extend(csr_array(D[:3] + 0.1)).shape == (3, 80)
    features = np.where(X > 0, X, 0)
    np.testing.assert_allclose(
        WideGaussian().fit(csr_array(features)).conditional_.block(),
        WideGaussian().fit(features).conditional_.block(),
        atol=1e-9,
    )


@pytest.mark.parametrize("n_neighbors", [None, 70])
def test_a_perplexity_out_of_reach_is_told(n_neighbors):
    X = np.random.default_rng(0).normal(size=(100, 5))
    with pytest.warns(UserWarning, match="perplexity=5 is out of reach for 100 of 100 rows") as caught:
        p = Student(perplexity=5, n_neighbors=n_neighbors).fit(X)
    median = np.median(np.exp(entropy(rows_of(p.conditional_))))
    assert len(caught) == 1 and f"they have {median:.3g}" in str(caught[0].message)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Student(perplexity=5, dof=30, n_neighbors=n_neighbors).fit(X)
        Gaussian(perplexity=5, n_neighbors=n_neighbors).fit(np.repeat(X[:10], 10, axis=0))
