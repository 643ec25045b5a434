"""Bad input: an error that names argument, value and mend, or a finite result; and a failed fit leaves no trace."""

import copy
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.neighbors import knn
from iconlearn.supervisory import KNN, Gaussian, Graph, Precomputed

X, y = make_blobs(40, n_features=3, centers=3, random_state=0)

QUICK = {
    "embedding": ICONEmbedding(max_iter=20, random_state=0),
    "head": ICONEmbedding(mapper="linear", max_iter=5, random_state=0),
    "clustering": ICONClustering(3, n_init=2, max_iter=10, random_state=0),
    "classifier": ICONClassifier(max_iter=20, random_state=0),
}
each = pytest.mark.parametrize("name", QUICK)


def quick(name, **params):
    return clone(QUICK[name]).set_params(**params)


def outputs(estimator, rows):
    """All that an estimator says about rows."""
    methods = ("transform", "predict_proba", "predict_log_proba", "decision_function")
    return [getattr(estimator, m)(rows) for m in methods if hasattr(estimator, m)]


def assert_finite(estimator, rows):
    for out in outputs(estimator, rows):
        assert len(out) == rows.shape[0]
        assert np.isfinite(out).all()
    assert np.isfinite(estimator.loss_)


def assert_untouched_by(estimator, error, match, fit):
    """`fit` raises as told, and leaves every attribute as it was."""
    before = dict(vars(estimator))
    values = {k: copy.deepcopy(v) for k, v in before.items() if isinstance(v, np.ndarray)}
    with warnings.catch_warnings(), pytest.raises(error, match=match):
        warnings.simplefilter("ignore")
        fit(estimator)
    after = vars(estimator)
    assert after.keys() == before.keys()
    assert all(after[k] is before[k] for k in before)
    for k, value in values.items():
        assert_array_equal(after[k], value)


def spoiled(value):
    Z = X.copy()
    Z[3, 1] = value
    return Z


# -- X ---------------------------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    "bad, match",
    [
        (spoiled(np.nan), "contains NaN, in 1 of 40 rows, first in row 3, column 1; .*SimpleImputer"),
        (spoiled(np.inf), "contains infinity.*, in 1 of 40 rows, first in row 3, column 1;"),
        (X.astype(complex), "Complex data not supported"),
        (X[:0], r"0 sample\(s\)"),
        (X[:1], r"1 sample\(s\)"),
        (X[:, :0], r"0 feature\(s\)"),
        (X[0], "Expected 2D array"),
        (X[None], "dim 3"),
        (sparse.csr_array(spoiled(np.nan)), "contains NaN, in 1 of 40 rows, first in row 3, column 1;"),
        (np.array([["a", "b"]] * 40), "convert"),
    ],
)
@pytest.mark.parametrize("fitted", [False, True])
def test_bad_X_is_told_and_leaves_no_trace(name, bad, match, fitted):
    estimator = quick(name)
    if fitted:
        estimator.fit(X, y)
    labels = np.arange(len(bad) if not sparse.issparse(bad) else bad.shape[0]) % 2
    assert_untouched_by(estimator, ValueError, match, lambda e: e.fit(bad, labels))


@each
@pytest.mark.parametrize(
    "bad, match", [(spoiled(np.nan), "NaN"), (X[:, :2], "2 features"), (X[:0], "0 sample")]
)
def test_bad_new_rows_are_told(name, bad, match):
    estimator = quick(name).fit(X, y)
    for method in ("transform", "predict", "predict_proba", "score"):
        if hasattr(estimator, method):
            arguments = (bad, y[: len(bad)]) if method == "score" else (bad,)
            with pytest.raises(ValueError, match=match):
                getattr(estimator, method)(*arguments)


DEGENERATE = {
    "one column": X[:, :1],
    "constant": np.ones((20, 3)),
    "constant columns": np.c_[X, np.zeros((40, 2))],
    "zeros": np.zeros((20, 3)),
    "duplicates": np.repeat(X[:10], 3, axis=0),
    "two rows": X[:2],
    "three rows": X[:3],
    "fewer rows than neighbours": X[:6],
    "more columns than rows": np.random.RandomState(0).normal(size=(6, 30)),
    "large": X * 1e6,
    "small": X * 1e-6,
    "float32": X.astype(np.float32),
    "integers": np.round(X).astype(int),
    "sparse zeros": sparse.csr_array((20, 3)),
    "an outlier": np.vstack([X, [[1e4, 1e4, 1e4]]]),
}


@each
@pytest.mark.parametrize("case", DEGENERATE)
@pytest.mark.filterwarnings("ignore")
def test_degenerate_rows_give_finite_results(name, case):
    rows = DEGENERATE[case]
    estimator = quick(name)
    if name == "clustering":
        estimator.set_params(n_clusters=2)
    estimator.fit(rows, np.arange(rows.shape[0]) % 2)
    assert_finite(estimator, rows)
    assert_finite(estimator, rows[:1] + (0.5 if isinstance(rows, np.ndarray) else 0 * rows[:1]))


@each
@pytest.mark.parametrize("q", ["gaussian", "cosine", "inverse_power", "dot"])
@pytest.mark.filterwarnings("ignore")
def test_every_q_survives_duplicates(name, q):
    if name == "clustering":
        pytest.skip("a clustering has one q")
    rows = np.repeat(X[:8], 4, axis=0)
    assert_finite(quick(name, q=q).fit(rows, np.arange(32) % 2), rows)


@each
def test_read_only_rows_work_and_nothing_is_changed(name):
    rows, labels = X.copy(), y.copy()
    rows.flags.writeable = labels.flags.writeable = False
    estimator = quick(name).fit(rows, labels)
    outputs(estimator, rows)
    writeable, given = X.copy(), y.copy()
    outputs(quick(name).fit(writeable, given), writeable)
    assert_array_equal(writeable, X)
    assert_array_equal(given, y)


@each
def test_sparse_rows_are_not_changed(name):
    rows = sparse.csr_array(np.where(np.abs(X) > 2, X, 0))
    before = rows.copy()
    outputs(quick(name).fit(rows, y), rows)
    for part in ("data", "indices", "indptr"):
        assert_array_equal(getattr(rows, part), getattr(before, part))


def untidy(A):
    """A dense matrix as a sparse one of read-only arrays: columns in falling order, every entry as two halves."""
    mirrored = sparse.csr_array(A[:, ::-1])
    columns = np.repeat(A.shape[1] - 1 - mirrored.indices, 2)
    rows = sparse.csr_array((np.repeat(mirrored.data / 2, 2), columns, 2 * mirrored.indptr), shape=A.shape)
    for part in (rows.data, rows.indices, rows.indptr):
        part.flags.writeable = False
    return rows


@each
def test_sparse_rows_that_are_not_tidy_are_read_as_scipy_means_them(name):
    tidy = sparse.csr_array(np.where(np.abs(X) > 2, X, 0))
    rows = untidy(tidy.toarray())
    assert not rows.has_sorted_indices and not rows.has_canonical_format
    before = [part.copy() for part in (rows.data, rows.indices, rows.indptr)]
    found, expected = outputs(quick(name).fit(rows, y), rows), outputs(quick(name).fit(tidy, y), tidy)
    for a, b in zip(found, expected, strict=True):
        assert_array_equal(a, b)
    for part, was in zip((rows.data, rows.indices, rows.indptr), before, strict=True):
        assert_array_equal(part, was)


# -- names, numbers, slots -------------------------------------------------------------------------------


@each
@pytest.mark.parametrize(
    "slot, wrong, near",
    [
        ("p", "gausian", "gaussian"),
        ("q", "clutser", "cluster"),
        ("divergence", "kll", "kl"),
        ("mapper", "lineer", "linear"),
        ("engine", "dence", "dense"),
        ("optimizer", "adm", "adam"),
        ("init", "randon", "random"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, slot, wrong, near):
    estimator = quick(name)
    if slot not in estimator.get_params():
        pytest.skip("no such parameter")
    estimator.set_params(**{slot: wrong})
    repr(estimator)
    assert_untouched_by(
        estimator, ValueError, f"{slot}='{wrong}'.*Did you mean \"{near}\"", lambda e: e.fit(X, y)
    )


@each
@pytest.mark.parametrize("slot", ["p", "q", "divergence", "mapper", "engine"])
def test_an_object_that_cannot_serve_is_refused(name, slot):
    with pytest.raises(TypeError, match=f"{slot}=.*cannot be used"):
        quick(name, **{slot: 3.5}).fit(X, y)


@pytest.mark.parametrize("form", [pd.DataFrame, torch.tensor, np.ndarray.tolist])
def test_a_table_or_a_list_that_is_no_matrix_is_told_in_a_line(form):
    A = form(np.ones((40, 40)))
    for estimator in (quick("clustering", p=A), ICONClassifier(graph=A, mapper="table")):
        with pytest.raises(
            TypeError, match=r"of (shape \(40, 40\)|length 40) cannot be used as p .* np.asarray"
        ) as told:
            estimator.fit(X, y)
        assert len(str(told.value)) < 250


@each
@pytest.mark.parametrize(
    "params, error",
    [
        ({"max_iter": 0}, ValueError),
        ({"max_iter": 2.5}, TypeError),
        ({"tol": -1.0}, ValueError),
        ({"tol": np.nan}, ValueError),
        ({"debias": 1.0}, ValueError),
        ({"debias": -0.1}, ValueError),
        ({"debias": "much"}, TypeError),
        ({"learning_rate": 0.0}, ValueError),
        ({"n_components": 0}, ValueError),
        ({"n_components": 2.0}, TypeError),
        ({"n_clusters": 0}, ValueError),
        ({"n_clusters": True}, TypeError),
        ({"n_init": 0}, ValueError),
        ({"C": 0.0}, ValueError),
        ({"early_exaggeration": 0}, ValueError),
        ({"random_state": "seed"}, ValueError),
        ({"device": "abacus"}, ValueError),
        ({"callback": 3}, TypeError),
        ({"terms": Term("knn")}, TypeError),
        ({"terms": ["knn"]}, TypeError),
    ],
)
def test_a_value_out_of_range_is_named(name, params, error):
    estimator = quick(name)
    (key,) = params
    if key not in estimator.get_params():
        pytest.skip("no such parameter")
    if (name, key) == ("classifier", "n_components"):
        estimator.set_params(q="gaussian")  # with logits it has no say
    estimator.set_params(**params)
    word = "seed" if key == "random_state" else key
    assert_untouched_by(estimator, error, word, lambda e: e.fit(X, y))


@each
def test_a_term_of_no_weight_is_refused(name):
    with pytest.raises(ValueError, match="weight of a term"):
        quick(name, terms=[Term("knn", weight=0.0)]).fit(X, y)


@each
@pytest.mark.parametrize(
    "params, match",
    [
        ({"engine": "auto", "engine__block": 3}, "engine='auto'.*engine='"),
        ({"p": np.eye(3), "p__perplexity": 3}, "ndarray"),
        ({"mapper": torch.nn.Linear(3, 2), "mapper__hidden": 3}, "Linear"),
        ({"mapper": "mlp", "mapper__hiden": 3}, "hiden.*hidden"),
        ({"p": "gausian", "p__perplexity": 3}, "gaussian"),
    ],
)
def test_nested_parameters_of_nothing_are_refused(name, params, match):
    with pytest.raises(ValueError, match=match):
        clone(QUICK[name]).set_params(**params)


def test_a_wrong_device_is_named():
    with pytest.raises(ValueError, match=r"device='abacus' is not a torch device.*'cpu'"):
        quick("embedding", device="abacus").fit(X)
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device='cuda'.*device='auto'"):
            quick("embedding", device="cuda").fit(X)


@pytest.mark.parametrize(
    "init, match",
    [
        (np.zeros((3, 2)), r"init has shape \(3, 2\).*\(40, 2\)"),
        (np.full((40, 2), np.nan), "init contains NaN"),
    ],
)
def test_a_wrong_start_of_an_embedding_is_named(init, match):
    assert_untouched_by(quick("embedding", init=init), ValueError, match, lambda e: e.fit(X))


@pytest.mark.parametrize("init", [np.zeros(3, int), np.full(40, 7), np.full(40, -1), np.zeros(40)])
def test_wrong_start_labels_of_a_clustering_are_named(init):
    assert_untouched_by(quick("clustering", init=init), ValueError, "init must be", lambda e: e.fit(X))


# -- p ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("perplexity", [0.5, -3, np.nan, np.inf])
def test_a_perplexity_below_one_is_refused(perplexity):
    estimator = quick("embedding", p=Gaussian(perplexity))
    assert_untouched_by(estimator, ValueError, "perplexity=", lambda e: e.fit(X))


def test_a_perplexity_above_the_rows_is_lowered():
    with pytest.warns(UserWarning, match="perplexity=100.*lowered"):
        assert_finite(quick("embedding", p=Gaussian(100)).fit(X), X)


def test_more_neighbours_than_rows_are_lowered():
    with pytest.warns(UserWarning, match="n_neighbors=100.*39"):
        assert_finite(quick("clustering", p=KNN(100)).fit(X), X)


def stochastic_matrix():
    P = np.abs(np.subtract.outer(np.arange(40), np.arange(40))).astype(float)
    return P / P.sum(1, keepdims=True)


@pytest.mark.parametrize("name", ["embedding", "clustering"])
@pytest.mark.parametrize(
    "change, match",
    [
        (lambda P: P * 0.9, "sums to 0.9.*sum to one"),
        (lambda P: P - 0.001, "negative"),
        (lambda P: P[:, :30], r"square"),
        (lambda P: P[:30], r"square"),
    ],
)
def test_a_given_p_is_checked(name, change, match):
    estimator = quick(name, p="precomputed")
    assert_untouched_by(estimator, ValueError, match, lambda e: e.fit(change(stochastic_matrix())))


@pytest.mark.parametrize("name", ["embedding", "clustering"])
@pytest.mark.filterwarnings("ignore")
def test_a_given_p_is_accepted_and_new_rows_are_rows_of_p(name):
    P = stochastic_matrix()
    estimator = quick(name, p="precomputed").fit(P)
    assert_finite(estimator, P)
    with pytest.raises(ValueError, match="39"):
        estimator.transform(P[:3, :39])
    with pytest.raises(ValueError, match="score needs features"):
        estimator.score(P)


@pytest.mark.parametrize("name", ["head", "classifier"])
@pytest.mark.parametrize("p", ["precomputed", "graph", KNN(5, metric="precomputed")])
def test_a_mapper_of_features_refuses_a_matrix_of_pairs(name, p):
    with pytest.raises(ValueError, match=r"mapper='(linear|auto)' maps features.*mapper='table'"):
        quick(name, p=p).fit(stochastic_matrix(), y)


def ring(n=40):
    steps = np.arange(n)
    return sparse.csr_array((np.ones(n), (steps, (steps + 1) % n)), shape=(n, n))


@pytest.mark.parametrize("name", ["embedding", "clustering", "head"])
def test_a_graph_beside_features_must_have_their_rows(name):
    with pytest.raises(ValueError, match="30 rows but X has 40"):
        quick(name, p=Graph(ring(30))).fit(X)
    assert np.isfinite(quick(name, p=ring()).fit(X).loss_)


def test_a_term_must_have_the_rows_of_the_estimator():
    with pytest.raises(ValueError, match="30 rows but X has 40"):
        quick("embedding", terms=[Term(ring(30))]).fit(X)


@pytest.mark.parametrize("name", ["embedding", "clustering"])
def test_isolated_nodes_are_warned_of_and_placed(name):
    A = ring().toarray()
    A[:, 5] = A[5] = A[:, 17] = A[17] = 0.0
    with pytest.warns(UserWarning, match="rows have no edge"):
        estimator = quick(name, p="graph").fit(A)
    assert_finite(estimator, A)


@pytest.mark.parametrize("name", ["embedding", "clustering"])
def test_a_graph_without_edges_is_refused(name):
    with pytest.raises(ValueError, match="no row has any edge"):
        quick(name, p="graph").fit(np.zeros((10, 10)))


@pytest.mark.parametrize("name", ["embedding", "clustering"])
def test_a_p_of_labels_needs_them(name):
    with pytest.raises(ValueError, match="needs y"):
        quick(name, p="labels").fit(X)


@pytest.mark.parametrize("name", ["embedding", "clustering"])
def test_labels_are_looked_at_where_a_p_needs_them(name):
    """A pipeline hands the same y to every step: missing labels, or several columns, are not the business of all."""
    missing = np.where(y == 0, np.nan, y)
    expected = outputs(quick(name).fit(X), X)
    for labels in (missing, np.column_stack([y, y]), np.array(["?", *y[1:]], dtype=object)):
        for found, out in zip(outputs(quick(name).fit(X, labels), X), expected, strict=True):
            assert_array_equal(found, out)
    for params in ({"p": "labels"}, {"terms": [Term("labels", weight=0.1)]}):
        with pytest.raises(ValueError, match="Input y contains NaN"):
            quick(name, **params).fit(X, missing)


@pytest.mark.parametrize("divergence", ["reverse_kl"])
def test_a_divergence_that_is_infinite_names_the_mend(divergence):
    estimator = quick("embedding", p="knn", divergence=divergence)
    assert_untouched_by(estimator, ValueError, "debias > 0", lambda e: e.fit(X))
    assert np.isfinite(estimator.set_params(debias=0.1).fit(X).loss_)


# -- clusters and classes --------------------------------------------------------------------------------


def test_more_clusters_than_rows_are_refused():
    with pytest.raises(ValueError, match="n_clusters=41 is more than n_samples=40"):
        quick("clustering", n_clusters=41).fit(X)


@pytest.mark.parametrize("mapper", ["table", "linear"])
@pytest.mark.filterwarnings("ignore:n_neighbors")
def test_more_clusters_than_distinct_rows_warn(mapper):
    rows = np.repeat(X[:3], 5, axis=0)
    with pytest.warns(UserWarning, match="n_clusters=6"):
        estimator = quick("clustering", n_clusters=6, mapper=mapper, p=KNN(4)).fit(rows)
    assert estimator.n_clusters_ <= 3
    assert set(estimator.labels_) == set(range(estimator.n_clusters_))
    assert_finite(estimator, rows)


def test_one_cluster_is_all_rows():
    estimator = quick("clustering", n_clusters=1).fit(X)
    assert_array_equal(estimator.labels_, np.zeros(40))
    assert_array_equal(estimator.predict_proba(X + 1), np.ones((40, 1)))


@pytest.mark.parametrize("q", ["student", "gaussian", "dot"])
def test_a_clustering_needs_the_cluster_kernel(q):
    with pytest.raises(ValueError, match=f"q='{q}' is no shared-cluster kernel.*q='cluster'"):
        quick("clustering", q=q).fit(X)


@pytest.mark.parametrize(
    "labels, match",
    [
        (np.zeros(40), "one class"),
        (None, "requires y to be passed, but the target y is None"),
        (y[:30], "inconsistent numbers of samples"),
        (np.linspace(0, 1, 40), "Unknown label type|continuous"),
        (np.eye(40)[:, :3].astype(int), "1d array|multilabel|should be a 1d"),
        (np.where(np.arange(40) < 3, np.nan, y), "NaN"),
    ],
)
def test_wrong_classes_are_told(labels, match):
    assert_untouched_by(quick("classifier").fit(X, y), ValueError, match, lambda e: e.fit(X, labels))


@pytest.mark.parametrize(
    "weight, match",
    [
        (np.zeros(40), "zero"),
        (np.where(np.arange(40) == 4, -1.0, 1.0), "[Nn]egative"),
        (np.ones(39), "sample_weight"),
        (np.full(40, np.nan), "NaN"),
    ],
)
def test_wrong_weights_are_told(weight, match):
    estimator = quick("classifier").fit(X, y)
    assert_untouched_by(estimator, ValueError, match, lambda e: e.fit(X, y, sample_weight=weight))


@pytest.mark.parametrize("p", ["classes", "labels"])
def test_a_class_without_weight_stays_finite(p):
    estimator = quick("classifier", p=p).fit(X, y, sample_weight=(y != 1).astype(float))
    assert_finite(estimator, X)


# -- the user's own module -------------------------------------------------------------------------------


class Flawed(torch.nn.Module):
    """A linear map of 3 features whose flaw sets in after some calls."""

    def __init__(self, flaw, after=0):
        super().__init__()
        self.linear = torch.nn.Linear(3, 3)
        self.flaw, self.after, self.calls = flaw, after, 0

    def forward(self, rows):
        self.calls += 1
        Z = self.linear(rows)
        return Z if self.calls <= self.after else self.flaw(Z)


FLAWS = {
    "too many outputs": (lambda Z: torch.cat([Z, Z], 1), "returned 6 outputs a row, and 3 are needed"),
    "no rows": (lambda Z: Z.sum(0), r"returned \(3,\).*\(n_rows, n_outputs\)"),
    "a list": (lambda Z: [Z], "returned list"),
    "NaN": (lambda Z: Z * torch.nan, "returned NaN"),
}


def with_module(name, module):
    params = {"n_components": 3} if "n_components" in QUICK[name].get_params() else {}
    return quick(name, mapper=module, **params)


@each
@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flawed_module_is_told_before_the_work_starts(name, flaw):
    function, match = FLAWS[flaw]
    estimator = with_module(name, Flawed(function))
    assert_untouched_by(estimator, ValueError, match, lambda e: e.fit(X.astype(np.float32), y))


class TurnsBad(torch.nn.Module):
    """Finite at first and whenever it is not training; NaN from the fourth call of training on."""

    def __init__(self):
        super().__init__()
        self.linear, self.calls = torch.nn.Linear(3, 3), 0

    def forward(self, rows):
        self.calls += self.training
        return self.linear(rows) * (torch.nan if self.training and self.calls > 3 else 1.0)


@pytest.mark.parametrize("name", ["head", "classifier"])
@pytest.mark.parametrize("optimizer", ["adam", "momentum", "lbfgs"])
def test_nan_that_comes_later_keeps_the_last_good_state(name, optimizer):
    torch.manual_seed(0)
    estimator = with_module(name, TurnsBad()).set_params(optimizer=optimizer)
    with pytest.warns(UserWarning, match="not finite after .* iterations"):
        estimator.fit(X, y)
    assert_finite(estimator, X)


def test_nan_that_comes_between_lesson_and_search_is_told():
    estimator = with_module("clustering", TurnsBad())
    with pytest.warns(UserWarning, match="not finite after"), pytest.raises(ValueError, match="the mapper"):
        estimator.fit(X)
    assert not hasattr(estimator, "labels_")


@each
def test_nan_that_comes_at_the_very_end_is_told(name):
    n_training_calls = 1000
    estimator = with_module(name, Flawed(FLAWS["NaN"][0], after=n_training_calls))
    estimator.fit(X, y)
    estimator.mapper_.calls = n_training_calls
    with pytest.raises(ValueError, match="mapper returned NaN or infinity for a row"):
        estimator.transform(X)


@each
def test_a_factory_must_make_modules(name):
    with pytest.raises(TypeError, match="a mapper factory takes"):
        quick(name, mapper=lambda n_inputs, n_outputs: "no module").fit(X, y)


def test_orthonormal_rows_cannot_outnumber_the_features():
    estimator = quick("head", n_components=5).set_params(mapper__orthonormal=True)
    with pytest.raises(ValueError, match="from 3 features to n_components=5"):
        estimator.fit(X)


def test_distances_are_read_as_distances():
    D = np.linalg.norm(X[:, None] - X[None], axis=2)
    assert_finite(quick("embedding", p=Precomputed("distance", perplexity=5)).fit(D), D)


@pytest.fixture
def torch_warns_always():
    torch.set_warn_always(True)  # once a process otherwise
    yield
    torch.set_warn_always(False)


def read_only(values, dtype=float):
    array = np.array(values, dtype=dtype)
    array.flags.writeable = False
    return array


@pytest.mark.usefixtures("torch_warns_always")
@pytest.mark.filterwarnings("error:The given NumPy array is not writable")
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_arrays_that_cannot_be_written_raise_no_warning_of_torch(dtype):
    """Columns of pandas 3 and memory maps cannot be written, and nothing is."""
    rng = np.random.RandomState(0)
    rows, new = read_only(X, dtype), read_only(rng.normal(size=(9, 3)), dtype)
    labels, weight = read_only(y, int), read_only(rng.uniform(1, 2, size=40))
    for options in (
        {},
        {"p": "labels", "q": "cosine"},
        {"mapper": "mlp"},
        {"early_stopping": True, "calibrate": True},
        {"class_weight": {0: 2.0}, "engine": "minibatch"},
    ):
        model = quick("classifier", max_iter=3, **options).fit(rows, labels, sample_weight=weight)
        model.predict_proba(new), model.score(rows, labels, weight), model.explain(new)
        if "calibrate" not in options:
            model.partial_fit(rows, labels, sample_weight=weight)
    quick("classifier").fit(rows, labels).add_classes(new, read_only([7] * 9, int))
    few = read_only(np.where(np.arange(40) < 20, y, -1), int)
    for mapper in ("auto", "linear"):
        quick("classifier", unlabeled=-1, mapper=mapper).fit(rows, few, sample_weight=weight).predict(new)
    for mapper in ("table", "linear"):
        quick("clustering", mapper=mapper, max_iter=3).fit(rows).predict(new)
        quick("embedding", mapper=mapper, max_iter=3).fit(rows).transform(new)
    quick("clustering", init=labels).fit(rows)
    quick("embedding", init=read_only(rng.normal(size=(40, 2)))).fit(rows)


@each
@pytest.mark.parametrize("scale", [1e160, 1e-160])
def test_numbers_without_squares(name, scale):
    match = (
        f"largest number of X is .*squares of such numbers are {'infinite' if scale > 1 else 'zero'}.*scale X"
    )
    for rows in (X * scale, sparse.csr_array(X * scale)):
        assert_untouched_by(quick(name), ValueError, match, lambda e, rows=rows: e.fit(rows, y))
        with pytest.raises(ValueError, match=match):
            knn(rows, 3)
    fitted = quick(name).fit(X * scale**0.9, y)
    assert_finite(fitted, X * scale**0.9)
    if scale > 1:
        with pytest.raises(ValueError, match=match):
            fitted.transform(X * scale)
    # Distances are compared, and never squared by a search.
    if name == "embedding":
        D = np.abs(X[:, :1] - X[:, 0]) * scale
        assert_finite(quick(name, p=KNN(5, metric="precomputed")).fit(D), D)


@each
def test_seeds_and_starts_that_are_none(name):
    for seed in (-1, "one", np.random.default_rng(0), 2**32):
        with pytest.raises(ValueError, match=r"random_state=.* is no seed.*2\*\*32 - 1"):
            quick(name, random_state=seed, **({"calibrate": True} if name == "classifier" else {})).fit(X, y)
    if name == "embedding":
        with pytest.raises(ValueError, match="init puts all rows at one place"):
            quick(name, init=np.full((40, 2), 3.0)).fit(X)


def test_sparse_tensors_are_sparse_matrices():
    rows = np.where(X > 0, X, 0)
    expected = quick("embedding").fit(sparse.csr_array(rows)).embedding_
    for tensor in (torch.tensor(rows).to_sparse(), torch.tensor(rows).to_sparse_csr()):
        assert_array_equal(quick("embedding").fit(tensor).embedding_, expected)
