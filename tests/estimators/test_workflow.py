"""The estimators at work: searches, pipelines, pickles, processes, tensors, callbacks, and what a fit leaves alone."""

import itertools
import multiprocessing
import pickle
import warnings

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine
from iconlearn.optim import Record
from iconlearn.supervisory import KNN, Debias, Gaussian, Student, Walk

X, y = make_blobs(90, n_features=4, centers=3, random_state=0)
X_new = X[:12] + np.random.RandomState(1).normal(size=(12, 4))

QUICK = {
    "embedding": ICONEmbedding(max_iter=40, random_state=0),
    "head": ICONEmbedding(mapper="linear", max_iter=60, random_state=0),
    "clustering": ICONClustering(3, n_init=2, max_iter=20, random_state=0),
    "classifier": ICONClassifier(max_iter=50, random_state=0),
}
each = pytest.mark.parametrize("name", QUICK)


def quick(name, **params):
    return clone(QUICK[name]).set_params(**params)


def answer(estimator, rows):
    """The continuous answer of an estimator for rows."""
    return getattr(estimator, "predict_proba", estimator.transform)(rows)


# -- searches and pipelines ------------------------------------------------------------------------------


@each
def test_search_over_a_parameter_of_a_named_p(name):
    estimator = quick(name) if name != "classifier" else quick(name, p="gaussian", q="cosine")
    estimator.set_params(p="gaussian")
    search = GridSearchCV(estimator, {"p__perplexity": [3, 9]}, cv=2, error_score="raise").fit(X, y)
    assert search.best_estimator_.p_.get_params()["perplexity"] in (3, 9)
    assert len(set(search.cv_results_["mean_test_score"])) == 2 or name == "classifier"
    assert estimator.p == "gaussian"


@each
def test_search_over_debias_and_over_objects(name):
    grid = [
        {"p": ["gaussian"], "p__perplexity": [3, 6], "debias": [0.0, 0.1]},
        {"p": [Student()], "p__dof": [1.0, 2.0]},
        {"p": [Debias(Walk(KNN(3)), 0.2)], "p__p__p__n_neighbors": [4, 5], "p__weight": [0.1]},
    ]
    estimator = quick(name, q="cosine") if name == "classifier" else quick(name)
    search = GridSearchCV(estimator, grid, cv=2, error_score="raise").fit(X, y)
    assert len(search.cv_results_["params"]) == 8
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()


def test_nested_parameters_go_through_wrappers():
    estimator = ICONEmbedding(p=Debias(KNN(3))).set_params(p__p__n_neighbors=7, p__weight=0.3, q__dof=2.0)
    assert estimator.p.p.n_neighbors == 7
    assert estimator.p.weight == 0.3
    assert estimator.q.dof == 2.0
    assert estimator.get_params()["p__p__n_neighbors"] == 7
    fitted = estimator.set_params(max_iter=5).fit(X)
    assert_array_equal(np.diff(fitted.p_.conditional_.edges.indptr), 7)


@each
def test_nested_parameters_of_a_name_are_those_of_the_object(name):
    by_name = quick(name, p="gaussian", p__perplexity=4.0, q="cluster" if name == "clustering" else "cosine")
    by_object = quick(name, p=Gaussian(4.0), q="cluster" if name == "clustering" else Cosine())
    assert_array_equal(answer(by_name.fit(X, y), X_new), answer(by_object.fit(X, y), X_new))


@each
def test_pipeline_of_scaler_and_pca(name):
    pipeline = make_pipeline(StandardScaler(), PCA(3), quick(name)).fit(X, y)
    Z = PCA(3).fit_transform(StandardScaler().fit_transform(X))
    assert_allclose(answer(pipeline, X), answer(quick(name).fit(Z, y), Z), rtol=1e-6, atol=1e-9)


def test_an_embedding_is_a_step_before_a_classifier():
    pipeline = make_pipeline(StandardScaler(), quick("embedding"), ICONClassifier())
    assert cross_val_score(pipeline, X, y, cv=3).min() > 0.8


@each
def test_clone_keeps_parameters_and_forgets_the_fit(name):
    fitted = quick(name, p=Gaussian(5.0)).fit(X, y)
    copy = clone(fitted)
    assert not hasattr(copy, "loss_")
    assert copy.p is not fitted.p
    assert str(copy) == str(fitted)
    assert_array_equal(answer(copy.fit(X, y), X_new), answer(fitted, X_new))


def test_the_score_does_not_simply_prefer_the_largest_debias():
    digits = load_digits(n_class=5).data[:300]
    shares = [0.01, 0.4, 0.8]
    estimator = ICONClustering(5, n_init=1, random_state=0)
    search = GridSearchCV(estimator, {"debias": shares}, cv=2, error_score="raise").fit(digits)
    scores = search.cv_results_["mean_test_score"]
    losses = [clone(estimator).set_params(debias=share).fit(digits).loss_ for share in shares]
    assert np.diff(losses).max() < 0  # the loss itself would always choose the largest
    assert search.best_params_["debias"] < 0.8
    assert np.diff(scores).min() < 0


# -- saving ----------------------------------------------------------------------------------------------


class Net(nn.Module):
    """A user's module; at the top of the file, as pickle demands."""

    def __init__(self, n_inputs=4, n_outputs=2):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(n_inputs, 8), nn.Tanh(), nn.Linear(8, n_outputs))

    def forward(self, rows):
        return self.layers(rows)


SAVED = {
    **QUICK,
    "walk": ICONEmbedding(p=Debias(Walk(KNN(5)), 0.1), max_iter=20, random_state=0),
    "all columns": ICONEmbedding(p=Gaussian(5.0, n_neighbors=None), max_iter=20, random_state=0),
    "labels": ICONClassifier(p="labels", q="cosine", max_iter=20, random_state=0),
    "temperature": ICONClassifier(q=Cosine(learnable=True), max_iter=20, random_state=0),
    "network": ICONEmbedding(mapper="mlp", max_iter=3, random_state=0),
    "module": ICONEmbedding(mapper=Net(), max_iter=3, random_state=0),
    "terms": ICONEmbedding(terms=[Term("labels")], max_iter=10, random_state=0),
}


@pytest.mark.parametrize("name", SAVED)
def test_a_pickle_answers_as_the_original(name, tmp_path):
    fitted = clone(SAVED[name]).fit(X, y)
    joblib.dump(fitted, tmp_path / "fitted.joblib")
    for loaded in (pickle.loads(pickle.dumps(fitted)), joblib.load(tmp_path / "fitted.joblib")):
        assert_array_equal(answer(loaded, X_new), answer(fitted, X_new))
        assert_array_equal(answer(loaded, X), answer(fitted, X))


def test_a_learned_temperature_is_learned_and_saved():
    fitted = clone(SAVED["temperature"]).fit(X, y)
    assert fitted.q_.temperature_ != Cosine().temperature
    assert pickle.loads(pickle.dumps(fitted)).q_.temperature_ == fitted.q_.temperature_
    assert not hasattr(fitted.q, "log_scale_")


# -- processes -------------------------------------------------------------------------------------------


def fitted_answer(estimator, rows, labels):
    return answer(estimator.fit(rows, labels), rows)


@pytest.mark.skipif(not hasattr(__import__("os"), "fork"), reason="this system has no fork")
@pytest.mark.cpu(reason="torch: a forked child cannot use CUDA once its parent has")
@each
def test_a_fit_works_in_a_forked_process(name):
    here = fitted_answer(quick(name), X, y)  # torch's threads are awake before the fork
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer Pythons warn of forking with threads
        with multiprocessing.get_context("fork").Pool(1) as pool:
            there = pool.apply_async(fitted_answer, (quick(name), X, y)).get(timeout=120)
    assert_allclose(there, here, rtol=1e-6, atol=1e-9)


@pytest.mark.cpu(reason="new processes have no pretended device, and the fits here would be on it")
def test_fits_work_in_loky_workers():
    jobs = [joblib.delayed(fitted_answer)(quick(name), X, y) for name in QUICK]
    there = joblib.Parallel(n_jobs=2, backend="loky", timeout=240)(jobs)
    for name, result in zip(QUICK, there, strict=True):
        assert_allclose(result, fitted_answer(quick(name), X, y), rtol=1e-6, atol=1e-9)


# -- containers ------------------------------------------------------------------------------------------


@each
def test_data_frames_in_and_out(name):
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = quick(name).set_output(transform="pandas").fit(frame, y)
    assert list(estimator.feature_names_in_) == list("abcd")
    out = estimator.transform(frame)
    prefix = type(estimator).__name__.lower()
    assert list(out.columns) == [f"{prefix}{i}" for i in range(out.shape[1])]
    assert list(out.columns) == list(estimator.get_feature_names_out())
    assert_allclose(out.to_numpy(), quick(name).fit(X, y).transform(X))
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame[list("dcba")])


@each
@pytest.mark.parametrize(
    "container", [sparse.csr_array, sparse.csr_matrix, sparse.csc_array, sparse.coo_array]
)
def test_sparse_rows_give_what_dense_rows_give(name, container):
    dense = np.where(np.abs(X) > 3, X, 0.0) + np.eye(90)[:, :4]
    a, b = quick(name).fit(dense, y), quick(name).fit(container(dense), y)
    assert_allclose(b.loss_, a.loss_, rtol=1e-4)
    assert_allclose(answer(b, container(X_new)), answer(b, X_new), rtol=1e-6, atol=1e-9)
    if name != "embedding":  # whose long way to the minimum amplifies rounding
        assert_allclose(answer(b, X_new), answer(a, X_new), rtol=1e-3, atol=1e-4)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_tensors_in_tensors_out(name, dtype):
    rows, labels = torch.tensor(X, dtype=dtype), torch.tensor(y)
    estimator = quick(name).fit(rows, labels)
    array = quick(name).fit(rows.numpy(), y)
    methods = ["transform", "predict", "predict_proba", "predict_log_proba", "decision_function"]
    for method in (m for m in methods if hasattr(estimator, m)):
        out = getattr(estimator, method)(rows)
        assert isinstance(out, torch.Tensor), method
        assert_array_equal(out.numpy(), getattr(array, method)(rows.numpy()))
        assert out.dtype == (torch.int64 if method == "predict" else dtype)
    assert isinstance(quick(name).fit_transform(rows, labels), torch.Tensor)
    assert isinstance(array.transform(rows.numpy()), np.ndarray)


@each
def test_a_format_that_numpy_has_not_is_read_in_single_precision(name):
    rows = torch.tensor(X, dtype=torch.bfloat16)
    estimator, single = quick(name).fit(rows, y), quick(name).fit(rows.float(), y)
    out = estimator.transform(rows)
    assert out.dtype == torch.float32
    assert_array_equal(out, single.transform(rows.float()))
    if name == "embedding":
        places = out[:3].bfloat16()
        assert_array_equal(estimator.inverse_transform(places), estimator.inverse_transform(places.float()))


def test_a_tensor_with_gradients_is_read_only():
    rows = torch.tensor(X, requires_grad=True)
    assert isinstance(quick("clustering").fit_predict(rows), torch.Tensor)
    assert rows.grad is None


@each
def test_float32_stays_float32(name):
    estimator = quick(name).fit(X.astype(np.float32), y)
    assert answer(estimator, X_new.astype(np.float32)).dtype == np.float32
    assert answer(estimator, X_new).dtype == np.float64


@pytest.mark.parametrize(
    "labels", [np.array(["red", "green", "blue"])[y], y == 1, y - 7, y.astype(float), list(y)]
)
def test_any_kind_of_label(labels):
    fitted = quick("classifier").fit(X, labels)
    assert_array_equal(fitted.classes_, np.unique(labels))
    assert fitted.predict(X).dtype == np.asarray(labels).dtype
    assert fitted.score(X, labels) > 0.9


@each
def test_labels_may_be_words_in_a_term(name):
    words = np.array(["red", "green", "blue"])[y]
    codes = np.unique(words, return_inverse=True)[1]
    term = Term("labels", q="cluster" if name == "clustering" else "cosine")
    a, b = (quick(name, terms=[term], engine="dense").fit(X, labels) for labels in (words, codes))
    assert_array_equal(answer(a, X_new), answer(b, X_new))


# -- a user's own module ---------------------------------------------------------------------------------


def weights(module):
    return torch.cat([w.detach().flatten() for w in module.parameters()]).clone()


@pytest.mark.parametrize("name", ["head", "clustering", "classifier"])
def test_a_module_is_copied(name):
    n_outputs = 2 if name == "head" else 3
    module = Net(4, n_outputs)
    before = weights(module)
    estimator = quick(name, mapper=module).fit(X, y)
    assert_array_equal(weights(module), before)
    assert estimator.mapper is module
    assert estimator.mapper_ is not module
    assert not torch.equal(weights(estimator.mapper_), before)
    again = clone(estimator).fit(X, y)
    assert_array_equal(weights(again.mapper_), weights(estimator.mapper_))


def test_a_fold_does_not_leak_into_the_next():
    estimator = quick("classifier", mapper=Net(4, 3))
    both = cross_val_score(estimator, X, y, cv=[(np.arange(45), np.arange(45, 90))] * 2)
    assert both[0] == both[1]


@pytest.mark.parametrize("name", ["head", "clustering", "classifier"])
def test_a_factory_is_called_with_the_widths(name):
    calls = []

    def factory(n_inputs, n_outputs):
        calls.append((n_inputs, n_outputs))
        return nn.Linear(n_inputs, n_outputs)

    a = quick(name).set_params(mapper=factory).fit(X, y)
    assert calls == [(4, 2 if name == "head" else 3)]
    b = quick(name).set_params(mapper=factory).fit(X, y)
    assert_array_equal(weights(a.mapper_), weights(b.mapper_))


def test_dropout_follows_the_seed_and_is_off_afterwards():
    module = nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.5), nn.Linear(16, 3))
    a, b = (quick("classifier", mapper=module).fit(X, y) for _ in range(2))
    assert_array_equal(answer(a, X_new), answer(b, X_new))
    assert_array_equal(answer(a, X_new), answer(a, X_new))
    c = quick("classifier", mapper=module, random_state=1).fit(X, y)
    assert not np.array_equal(answer(a, X_new), answer(c, X_new))


def test_a_frozen_module_still_gives_a_loss():
    module = Net()
    module.requires_grad_(False)
    estimator = quick("head", mapper=module).fit(X)
    assert np.isfinite(estimator.loss_)
    assert_allclose(estimator.embedding_, module(torch.tensor(X, dtype=torch.float32)).numpy(), rtol=1e-5)


# -- callbacks, interrupts, progress ---------------------------------------------------------------------

LOOPS = {
    **QUICK,
    "clustering head": ICONClustering(3, mapper="linear", n_init=2, max_iter=20, random_state=0),
    "minibatch": ICONEmbedding(engine="minibatch", max_iter=20, random_state=0),
    "lbfgs": ICONEmbedding(optimizer="lbfgs", max_iter=50, random_state=0),
}
loops = pytest.mark.parametrize("name", LOOPS)


@loops
def test_a_callback_hears_of_every_iteration(name):
    records = []
    estimator = clone(LOOPS[name]).set_params(callback=records.append).fit(X, y)
    assert all(isinstance(record, Record) for record in records)
    own = [record for record in records if record.phase != "start"]
    assert_allclose([record.loss for record in own], estimator.loss_history_)
    assert own[-1].iteration == estimator.n_iter_
    assert all(a.iteration < b.iteration and a.seconds <= b.seconds for a, b in itertools.pairwise(own))
    assert all(record.best_loss <= record.loss for record in own)


@loops
def test_a_callback_stops_the_fit(name):
    seen = []

    def stop(record):
        seen.append(record)
        return record.phase != "start" and record.iteration >= 3

    estimator = clone(LOOPS[name]).set_params(callback=stop).fit(X, y)
    assert estimator.n_iter_ == seen[-1].iteration
    assert 3 <= estimator.n_iter_ <= 10  # up to ten steps of L-BFGS are told at once
    assert not estimator.converged_
    assert np.isfinite(answer(estimator, X_new)).all()


@loops
@pytest.mark.parametrize("at", [1, 4])
def test_an_interrupt_keeps_the_best_state_and_is_raised_again(name, at):
    calls = []

    def interrupt(record):
        calls.append(record)
        if len(calls) == at:
            raise KeyboardInterrupt

    estimator = clone(LOOPS[name]).set_params(callback=interrupt)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X, y)
    assert len(calls) == at
    assert not estimator.converged_
    assert np.isfinite(estimator.loss_)
    assert np.isfinite(answer(estimator, X_new)).all()
    assert len(answer(estimator, X)) == 90


def test_an_interrupt_stops_a_search():
    def interrupt(record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        GridSearchCV(quick("classifier", callback=interrupt), {"C": [1, 2]}, cv=2).fit(X, y)


@each
def test_an_error_in_a_callback_is_the_users(name):
    def fail(record):
        raise ZeroDivisionError("mine")

    estimator = quick(name, callback=fail)
    before = dict(vars(estimator))
    with pytest.raises(ZeroDivisionError, match="mine"):
        estimator.fit(X, y)
    assert vars(estimator) == before


@loops
def test_verbose_prints_stages_and_iterations(name, capsys):
    estimator = clone(LOOPS[name])
    estimator.fit(X, y)
    assert capsys.readouterr().out == ""
    estimator.set_params(verbose=1).fit(X, y)
    some = capsys.readouterr().out.splitlines()
    estimator.set_params(verbose=2).fit(X, y)
    many = capsys.readouterr().out.splitlines()
    assert all(line.startswith(f"[{type(estimator).__name__}] ") for line in many)
    assert f"ended ({'plateau' if estimator.converged_ else 'max_iter'})" in some[-1]
    assert any("loss" in line and "left" in line for line in many)
    assert len(many) >= len(some)
    assert len(many) >= len(estimator.loss_history_)


# -- repeatability, and what a fit leaves alone ----------------------------------------------------------


@loops
def test_the_same_seed_gives_the_same_bits(name):
    a, b = (answer(clone(LOOPS[name]).fit(X, y), X_new) for _ in range(2))
    assert_array_equal(a, b)
    estimator = clone(LOOPS[name]).fit(X, y)
    assert_array_equal(answer(estimator, X_new), a)
    assert_array_equal(answer(estimator.fit(X, y), X_new), a)


def test_a_random_state_object_is_drawn_from():
    draw = np.random.RandomState(0)
    a = quick("embedding", init="random").set_params(random_state=draw).fit(X)
    b = quick("embedding", init="random").set_params(random_state=draw).fit(X)
    assert not np.array_equal(a.embedding_, b.embedding_)


@loops
def test_a_fit_leaves_the_global_state_alone(name):
    def state():
        kind, keys, *rest = np.random.get_state()
        return (
            kind, keys.tolist(), rest, torch.get_rng_state().tolist(), torch.get_default_dtype(),
            torch.get_num_threads(), list(warnings.filters), torch.is_grad_enabled(), dict(np.geterr()),
            torch.are_deterministic_algorithms_enabled(),
        )  # fmt: skip

    estimator = clone(LOOPS[name]).set_params(random_state=0)
    before = state()
    estimator.fit(X, y)
    answer(estimator, X_new)
    if hasattr(estimator, "score"):
        estimator.score(X, y)
    assert state() == before


def test_a_factory_leaves_the_global_state_alone():
    before = torch.get_rng_state()
    quick("head", mapper=nn.Linear).fit(X)
    assert torch.equal(torch.get_rng_state(), before)


@each
def test_a_default_dtype_of_the_user_changes_nothing(name):
    expected = answer(quick(name).fit(X, y), X_new)
    torch.set_default_dtype(torch.float64)
    try:
        assert_array_equal(answer(quick(name).fit(X, y), X_new), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@loops
def test_questions_do_not_change_the_estimator(name):
    estimator = clone(LOOPS[name]).fit(X, y)
    before = pickle.dumps(estimator)
    answer(estimator, X_new)
    estimator.score(X_new, y[:12])
    assert pickle.dumps(estimator) == before


# -- warm starts -----------------------------------------------------------------------------------------


@loops
def test_a_warm_start_goes_on_from_the_last_fit(name):
    estimator = clone(LOOPS[name]).set_params(warm_start=True).fit(X, y)
    last = estimator.loss_
    estimator.set_params(max_iter=10).fit(X, y)
    assert estimator.loss_history_[0] <= last + 0.02 * abs(last) + 1e-6
    assert estimator.loss_ <= last + 0.02 * abs(last) + 1e-6


@loops
def test_a_warm_start_of_another_shape_is_a_cold_start(name):
    warm = clone(LOOPS[name]).set_params(warm_start=True).fit(X, y).fit(X[:60, :3], y[:60])
    cold = clone(LOOPS[name]).fit(X[:60, :3], y[:60])
    assert_array_equal(answer(warm, X_new[:, :3]), answer(cold, X_new[:, :3]))


# -- terms -----------------------------------------------------------------------------------------------


TERMS = {
    "embedding": Term("labels", weight=0.5),
    "head": Term("labels", q="gaussian", divergence="hellinger"),
    "clustering": Term("labels", q="cluster"),
    "classifier": Term("knn", q="cluster", weight=0.1),
}


@each
@pytest.mark.parametrize("engine", ["dense", MiniBatch(32)])
def test_terms_add_up(name, engine):
    term = TERMS[name]
    if name == "clustering":
        term = Term(KNN(3), weight=0.5)
    estimator = quick(name, terms=[term], engine=engine).fit(X, y)
    assert estimator.loss_parts_.shape == (len(estimator.loss_history_), 2)
    if name == "classifier":
        estimator.set_params(C=None).fit(X, y)
    assert_allclose(estimator.loss_parts_.sum(1), estimator.loss_history_, rtol=1e-5)
    assert (estimator.loss_parts_ >= -1e-6).all()


def test_a_label_term_pulls_the_classes_together():
    rows = np.random.RandomState(0).normal(size=(90, 4))

    def within(estimator):
        Z = estimator.embedding_
        means = np.stack([Z[y == c].mean(0) for c in range(3)])
        return ((Z - means[y]) ** 2).sum() / ((Z - Z.mean(0)) ** 2).sum()

    plain = quick("embedding", max_iter=200).fit(rows)
    pulled = quick("embedding", max_iter=200, terms=[Term("labels")]).fit(rows, y)
    assert within(pulled) < 0.5 * within(plain)


# -- new rows --------------------------------------------------------------------------------------------

PLACED = {
    **LOOPS,
    "gaussian": ICONEmbedding(q="gaussian", max_iter=60, random_state=0),
    "cosine": ICONEmbedding(q="cosine", max_iter=60, random_state=0),
    "student": ICONEmbedding(p="student", max_iter=60, random_state=0),
    "hellinger": ICONEmbedding(divergence="hellinger", max_iter=60, random_state=0),
    "debiased": ICONClustering(3, p="gaussian", debias=0.1, n_init=2, random_state=0),
    "prototypes": ICONClassifier(q="student", max_iter=30, random_state=0),
}
placed = pytest.mark.parametrize("name", PLACED)


@placed
def test_a_new_row_does_not_depend_on_the_others(name):
    estimator = clone(PLACED[name]).fit(X, y)
    together = answer(estimator, X_new)
    alone = np.vstack([answer(estimator, row[None]) for row in X_new])
    assert_allclose(alone, together, rtol=1e-7, atol=1e-12)
    with_far_rows = answer(estimator, np.vstack([X_new, 1e3 * X_new]))[:12]
    assert_allclose(with_far_rows, together, rtol=1e-7, atol=1e-12)


@placed
def test_training_rows_are_where_the_fit_put_them(name):
    rows, labels = np.vstack([X, X[:20], X[:5]]), np.concatenate([y, y[:20], y[:5]])
    estimator = clone(PLACED[name])
    Z = estimator.fit_transform(rows, labels)
    assert_allclose(estimator.transform(rows), Z, rtol=1e-7, atol=1e-12)
    assert_allclose(Z[90:110], Z[:20], rtol=1e-7)
    assert_allclose(Z[110:], Z[:5], rtol=1e-7)


def test_predictions_for_training_rows_are_the_labels():
    for name in ("clustering", "clustering head", "debiased"):
        estimator = clone(PLACED[name])
        labels = estimator.fit_predict(X)
        assert_array_equal(estimator.labels_, labels)
        assert_array_equal(estimator.predict(X), labels)
        assert_allclose(estimator.predict_proba(X).sum(1), 1)
        assert_array_equal(estimator.predict_proba(X).argmax(1), labels)
        assert_array_equal(estimator.probabilities_, estimator.predict_proba(X))


@placed
def test_a_row_near_a_training_row_lands_near_it(name):
    estimator = clone(PLACED[name]).fit(X, y)
    Z, near = estimator.transform(X), estimator.transform(X + 1e-3)
    spread = np.sqrt(((Z - Z.mean(0)) ** 2).sum(1).mean())
    gap = np.sqrt(((near - Z) ** 2).sum(1))
    assert np.median(gap) < 0.15 * spread


def test_new_rows_of_a_p_over_many_pairs_are_placed_by_blocks(monkeypatch):
    from iconlearn import conditional

    estimator = quick("embedding", p=Gaussian(5.0, n_neighbors=None)).fit(X)
    clusters = quick("clustering", p=Gaussian(5.0, n_neighbors=None)).fit(X)
    expected = estimator.transform(X_new), clusters.predict_proba(X_new)
    monkeypatch.setattr(conditional, "MAX_MATERIALISED", 100)
    monkeypatch.setattr("iconlearn.out_of_sample._placed.BLOCK", 200)
    assert_allclose(estimator.transform(X_new), expected[0], rtol=1e-7)
    assert_allclose(clusters.predict_proba(X_new), expected[1], rtol=1e-7)


# -- a GPU -----------------------------------------------------------------------------------------------


@pytest.mark.gpu
@loops
def test_cuda_ends_where_the_cpu_ends(name):
    # From its 43rd step on the map falls into one of two minima by its last digits, on the CPU alone too.
    n_iter = 40 if name == "embedding" else 200
    cpu = clone(LOOPS[name]).set_params(device="cpu", max_iter=n_iter).fit(X, y)
    gpu = clone(LOOPS[name]).set_params(device="cuda", max_iter=n_iter).fit(X, y)
    assert gpu.loss_ == pytest.approx(cpu.loss_, rel=0.01)
    loaded = pickle.loads(pickle.dumps(gpu))
    assert not any(w.is_cuda for w in loaded.mapper_.parameters())
    assert_allclose(answer(loaded, X_new), answer(gpu, X_new))
