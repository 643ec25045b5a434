"""Wrappers against dense matrix algebra; nesting, cloning and searching by name."""

import pickle

import numpy as np
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone

from iconlearn.conditional import Conditional
from iconlearn.supervisory import (
    KNN,
    Classes,
    Cut,
    Debias,
    Gaussian,
    Graph,
    Identity,
    Labels,
    Mix,
    Precomputed,
    Student,
    Symmetrize,
    Walk,
)

rng = np.random.default_rng(0)
X = rng.normal(size=(40, 3))
Y = rng.integers(0, 3, size=40)
NEW = X[:4] + 0.05


def rows_of(p):
    return p.sparse().toarray()


def full(p):
    """The rows with their uniform share written out."""
    candidates = np.ones(p.shape)
    if not p.self_pairs:
        np.fill_diagonal(candidates, 0)
    share = candidates / candidates.sum(axis=1, keepdims=True)
    return (1 - p.uniform) * rows_of(p) + p.uniform * share


def normalized(P):
    total = P.sum(axis=1, keepdims=True)
    return P / np.where(total > 0, total, 1)


@pytest.mark.parametrize("inner", [KNN(5), Gaussian(sigma=1.0), Identity(), Labels(), Classes()])
def test_debias(inner):
    p = Debias(inner, 0.3).fit(X, Y)
    plain = clone(inner).fit(X, Y).conditional_
    m = plain.n_cols - (not plain.self_pairs)
    candidates = np.ones(plain.shape)
    if not plain.self_pairs:
        np.fill_diagonal(candidates, 0)
    np.testing.assert_allclose(full(p.conditional_), 0.7 * rows_of(plain) + 0.3 * candidates / m)
    np.testing.assert_allclose(full(p.conditional_).sum(axis=1), 1)
    assert p.columns == inner.columns and p.requires_y == inner.requires_y
    twice = Debias(Debias(inner, 0.3), 0.5).fit(X, Y).conditional_
    assert twice.uniform == pytest.approx(0.65)


def test_debias_extends_with_the_same_share():
    p = Debias(KNN(5), 0.3).fit(X).extend(NEW)
    assert p.uniform == 0.3
    np.testing.assert_allclose(full(p), 0.7 * rows_of(KNN(5).fit(X).extend(NEW)) + 0.3 / 40)


@pytest.mark.parametrize("length", [1, 2, 4])
@pytest.mark.parametrize("inner", [KNN(4), Gaussian(5), Labels(self_pairs=True), Gaussian(sigma=1.0)])
def test_walk_is_a_sum_of_powers(length, inner):
    P = rows_of(clone(inner).fit(X, Y).conditional_)
    powers = [np.linalg.matrix_power(P, t) for t in range(1, length + 1)]
    keep = 1.0 if getattr(inner, "self_pairs", False) else 1 - np.eye(40)
    p = Walk(inner, length).fit(X, Y).conditional_
    np.testing.assert_allclose(rows_of(p), normalized(sum(powers) * keep), atol=1e-12)
    q = Walk(inner, length, mode="uniform").fit(X, Y).conditional_
    np.testing.assert_allclose(rows_of(q), normalized((sum(powers) > 0) * keep), atol=1e-12)
    assert not p.dense


def test_walk_of_new_rows():
    for mode in ("sum", "uniform"):
        p = Walk(KNN(4), 3, mode=mode).fit(X)
        P, first = rows_of(KNN(4).fit(X).conditional_), rows_of(KNN(4).fit(X).extend(NEW))
        total = first + first @ P + first @ P @ P
        expected = normalized(total if mode == "sum" else total > 0)
        np.testing.assert_allclose(rows_of(p.extend(NEW)), expected, atol=1e-12)
        np.testing.assert_array_equal(rows_of(p.extend(NEW[[2]]))[0], rows_of(p.extend(NEW))[2])


def test_walk_leaves_the_inner_p_alone_and_keeps_share_and_mass():
    A = rng.random((12, 12))
    p = Walk(Debias(Graph(mass="degree"), 0.2), 2).fit(A)
    inner = p.p_.conditional_
    assert p.conditional_.uniform == inner.uniform == 0.2
    np.testing.assert_allclose(p.conditional_.row_mass, inner.row_mass)
    np.testing.assert_allclose(rows_of(inner), rows_of(Graph().fit(A).conditional_))
    B = rows_of(Precomputed().fit(normalized(A)).conditional_)
    q = Walk(Precomputed(), 1).fit(normalized(A))
    np.testing.assert_allclose(rows_of(q.conditional_), B)


@pytest.mark.parametrize("length", [2, 3])
def test_walk_with_an_isolated_node(length):
    A = np.zeros((5, 5))
    A[0, 1] = A[1, 0] = A[1, 2] = A[2, 1] = 1
    A[3, 4] = 1
    with pytest.warns(UserWarning, match="1 of 5"):
        p = Walk(Graph(), length).fit(A).conditional_
    P = rows_of(p)
    np.testing.assert_allclose(P.sum(axis=1), [1, 1, 1, 1, 0])
    assert P[3, 4] == 1 and p.row_mass[4] == 0


@pytest.mark.parametrize(
    "inner", [KNN(5), Gaussian(6), Gaussian(sigma=0.8), Gaussian(6, n_neighbors=None), Labels()]
)
@pytest.mark.parametrize("mode", ["mean", "union", "mutual"])
def test_symmetrize(inner, mode):
    plain = clone(inner).fit(X, Y).conditional_
    P = rows_of(plain)
    p = Symmetrize(inner, mode).fit(X, Y).conditional_
    combine = {
        "mean": (P + P.T) / 2,
        "union": np.maximum(P, P.T),
        "mutual": np.minimum(P, P.T),
    }
    np.testing.assert_allclose(rows_of(p), normalized(combine[mode]), atol=1e-12)
    assert p.dense == plain.dense and p.self_pairs == plain.self_pairs
    np.testing.assert_allclose(rows_of(plain), P)
    if mode == "mean":
        joint = p.row_mass[:, None] * rows_of(p)
        np.testing.assert_allclose(joint, joint.T, atol=1e-14)
        np.testing.assert_allclose(joint, combine["mean"] / 40, atol=1e-12)
    else:
        assert p.mass is None
    if p.dense:
        rows, cols = np.array([3, 9]), np.array([9, 1, 30])
        np.testing.assert_allclose(p.block(rows, cols), rows_of(p)[np.ix_(rows, cols)], atol=1e-12)


def test_symmetrize_weighs_rows_by_their_mass():
    A = rng.random((15, 15))
    inner = Graph(mass="degree").fit(A).conditional_
    p = Symmetrize(Graph(mass="degree")).fit(A).conditional_
    joint = inner.row_mass[:, None] * rows_of(inner)
    np.testing.assert_allclose(p.row_mass[:, None] * rows_of(p), (joint + joint.T) / 2)


def test_symmetrize_keeps_share_and_inner_order():
    p = Symmetrize(Debias(Gaussian(5), 0.25)).fit(X)
    assert p.conditional_.uniform == 0.25
    np.testing.assert_allclose(rows_of(p.p_.conditional_), rows_of(Gaussian(5).fit(X).conditional_))
    np.testing.assert_allclose(rows_of(p.extend(NEW)), rows_of(Gaussian(5).fit(X).extend(NEW)))


def test_mutual_rows_may_be_empty():
    A = np.zeros((4, 4))
    A[0, 1] = A[1, 0] = A[2, 0] = A[3, 2] = 1
    p = Symmetrize(Graph(), "mutual").fit(A).conditional_
    np.testing.assert_allclose(p.row_mass, [0.5, 0.5, 0, 0])


@pytest.mark.parametrize(
    "parts",
    [
        [KNN(5), Gaussian(6)],
        [Debias(KNN(5), 0.4), Gaussian(6)],
        [KNN(5), Debias(Labels(), 0.2), Gaussian(sigma=1.0)],
        (Debias(Identity(), 0.1), Labels(self_pairs=True)),
    ],
)
@pytest.mark.parametrize("weighted", [False, True])
def test_mix(parts, weighted):
    weights = [3.0, 1.0, 2.0][: len(parts)] if weighted else None
    share = np.array(weights or [1] * len(parts)) / sum(weights or [1] * len(parts))
    p = Mix(parts, weights).fit(X, Y)
    expected = sum(w * full(clone(q).fit(X, Y).conditional_) for w, q in zip(share, parts))
    np.testing.assert_allclose(full(p.conditional_), expected, atol=1e-12)
    assert p.requires_y == any(q.requires_y for q in parts)
    if p.conditional_.dense:
        rows, cols = np.array([3, 9]), np.array([9, 1, 30])
        part = p.conditional_.block(rows, cols)
        np.testing.assert_allclose(part, rows_of(p.conditional_)[np.ix_(rows, cols)], atol=1e-12)


def test_mix_of_new_rows_and_masses():
    p = Mix([Debias(KNN(5), 0.4), Gaussian(6)], [1, 3]).fit(X)
    expected = 0.25 * full(Debias(KNN(5), 0.4).fit(X).extend(NEW)) + 0.75 * rows_of(
        Gaussian(6).fit(X).extend(NEW)
    )
    np.testing.assert_allclose(full(p.extend(NEW)), expected, atol=1e-12)
    lazy = Mix([KNN(5), Gaussian(sigma=1.0)]).fit(X).extend(NEW)
    assert lazy.dense
    np.testing.assert_allclose(rows_of(lazy).sum(axis=1), 1)
    A = rng.random((10, 10))
    q = Mix([Graph(mass="degree"), Graph()], [1, 3]).fit(A).conditional_
    expected = 0.25 * Graph(mass="degree").fit(A).conditional_.row_mass + 0.75 / 10
    np.testing.assert_allclose(q.row_mass, expected)


def test_mix_fills_rows_that_one_part_leaves_empty():
    y = np.r_[99, Y[1:]]
    with pytest.warns(UserWarning, match="1 of 40"):
        p = Mix([KNN(5), Labels()]).fit(X, y).conditional_
    np.testing.assert_allclose(rows_of(p)[0], rows_of(KNN(5).fit(X).conditional_)[0])
    np.testing.assert_allclose(rows_of(p).sum(axis=1), 1)
    assert p.row_mass[0] == pytest.approx(0.5 / 40)


def test_nested_parameters_and_clones():
    p = Debias(Walk(KNN(15), length=2), weight=0.4)
    assert repr(p) == "supervisory.Debias(p=Walk(p=KNN()), weight=0.4)"
    p.set_params(p__p__n_neighbors=5, p__length=3, weight=0.1)
    assert (p.p.p.n_neighbors, p.p.length, p.weight) == (5, 3, 0.1)
    q = clone(p).fit(X)
    assert q.p_ is not q.p and not hasattr(q.p, "conditional_") and q.p is not p.p
    again = pickle.loads(pickle.dumps(q))
    np.testing.assert_array_equal(rows_of(again.conditional_), rows_of(q.conditional_))
    np.testing.assert_array_equal(rows_of(again.extend(NEW)), rows_of(q.extend(NEW)))


@pytest.mark.parametrize("kind", [list, tuple])
def test_mix_parameters_by_name(kind):
    first = KNN(15)
    original = kind([first, Debias(Gaussian(), 0.2)])
    p = Mix(original, weights=[1, 2])
    assert p.get_params()["p1__p__perplexity"] == 30.0
    assert set(p.get_params(deep=False)) == {"ps", "weights"}
    p.set_params(p0__n_neighbors=5, p1__p__perplexity=6)
    assert p.ps[0].n_neighbors == 5 and p.ps[1].p.perplexity == 6
    p.set_params(p0=Student(), p0__dof=2.0)
    assert p.ps[0].dof == 2.0 and original[0] is first and isinstance(p.ps, kind)
    with pytest.raises(ValueError, match="Invalid parameter"):
        p.set_params(p2=KNN())
    q = clone(p)
    assert q.ps[0] is not p.ps[0] and q.ps[0].dof == 2.0
    pickle.loads(pickle.dumps(q.fit(X))).extend(NEW)


@pytest.mark.parametrize("wrap", [Debias, Walk, Symmetrize, lambda p: Mix([p, p])])
def test_wrappers_speak_for_what_they_wrap(wrap):
    assert wrap(Graph()).pairwise and not wrap(KNN()).pairwise
    assert wrap(Labels()).requires_y and not wrap(KNN()).requires_y
    assert wrap(Classes()).columns == "classes" and wrap(KNN()).columns == "rows"


@pytest.mark.parametrize("wrap", [Debias, Walk, Symmetrize, lambda p: Mix([p])])
def test_an_inner_p_without_rule_has_none_outside(wrap):
    p = wrap(Labels()).fit(X, Y)
    with pytest.raises(ValueError, match="Labels says nothing about new rows"):
        p.extend(NEW)


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (Debias(KNN(5), 1.0), ValueError, "weight=1.0 .* at least 0 and below 1"),
        (Debias(KNN(5), -0.1), ValueError, "weight=-0.1"),
        (Debias("knn"), TypeError, "p='knn' .* such as KNN"),
        (Debias(KNN), TypeError, "not a name or a class"),
        (Walk(KNN(5), 0), ValueError, "length=0 .* at least 1"),
        (Walk(KNN(5), 1.5), TypeError, "length=1.5 is not an integer"),
        (Walk(KNN(5), mode="sums"), ValueError, 'Did you mean "sum"'),
        (Walk(Classes()), ValueError, "40 rows and 3 columns"),
        (Symmetrize(Classes()), ValueError, "columns are the rows"),
        (Symmetrize(KNN(5), "max"), ValueError, "mode='max' is not known"),
        (Mix([]), ValueError, r"ps=\[\] must be a list"),
        (Mix(KNN(5)), ValueError, "must be a list"),
        (Mix([KNN(5), "knn"]), TypeError, "p='knn'"),
        (Mix([KNN(5), Identity()]), ValueError, "disagree about self pairs"),
        (Mix([KNN(5), Classes()]), ValueError, "different shapes"),
        (Mix([KNN(5), Graph()]), ValueError, "disagree about X"),
        (Mix([KNN(5)], [1, 2]), ValueError, "2 entries for 1 parts"),
        (Mix([KNN(5), KNN(6)], [1, -1]), ValueError, "at least 0"),
        (Mix([KNN(5), KNN(6)], [0, 0]), ValueError, "not all 0"),
    ],
)
def test_messages(p, error, message):
    with pytest.raises(error, match=message):
        p.fit(X, Y)


def test_any_object_with_the_protocol_can_be_wrapped():
    class Ring:
        def fit(self, X, y=None, *, random_state=None, n_jobs=None):
            n = len(X)
            self.conditional_ = Conditional(csr_array(np.roll(np.eye(n), 1, axis=1)), self_pairs=False)
            return self

        def extend(self, X_new, *, n_jobs=None):
            raise ValueError("no rule")

    ring = Ring()
    p = Walk(Debias(ring, 0.1), 2).fit(X)
    np.testing.assert_allclose(rows_of(p.conditional_)[0, :3], [0, 0.5, 0.5])
    assert not hasattr(ring, "conditional_") and p.columns == "rows" and not p.requires_y


@pytest.mark.parametrize(
    "p",
    [
        Symmetrize(KNN(2), "mutual"),
        Symmetrize(Gaussian(3, n_neighbors=3), "mutual"),
        Cut(Precomputed()),
        Debias(Symmetrize(KNN(2), "mutual"), 0.1),
    ],
)
def test_rows_that_a_wrapper_leaves_without_p_are_counted(p):
    if isinstance(p, Cut):
        data = np.eye(12)
        data[:4, :4] = 0.25
    else:
        data = X[:30]
    with pytest.warns(UserWarning, match=r"\d+ of \d+ rows have no .*: nothing pulls them") as caught:
        p.fit(data)
    lost = np.count_nonzero(~p.conditional_.supported())
    assert lost and any(str(w.message).startswith(f"{lost} of {len(data)}") for w in caught)


def test_a_wrapper_does_not_repeat_what_the_inner_p_has_said():
    A = np.zeros((5, 5))
    A[0, 1] = A[1, 0] = A[1, 2] = A[2, 1] = A[3, 1] = A[1, 3] = 1
    with pytest.warns(UserWarning) as caught:
        Symmetrize(Graph(), "mutual").fit(A)
    assert len(caught) == 1
