"""Records that answer questions of the present model, and the tracker that asks them."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, Term, recipes
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine, Student
from iconlearn.metrics import InformationBound, InformationTracker, downstream_bound, mutual_information
from iconlearn.supervisory import KNN, Debias, Gaussian, Labels, Paired, Views

X, Y = load_digits(return_X_y=True)
X, Y = X[:600].astype(np.float32) / 16, Y[:600]
TRAIN, NEW = slice(0, 300), slice(300, 600)
NOISE = 0.1


def noisy(rows):
    return rows + NOISE * torch.randn_like(rows)


def other_views(seed=0):
    return X[NEW] + NOISE * np.random.default_rng(seed).normal(size=X[NEW].shape).astype(np.float32)


def encoder(**options):
    options = {"p": Views(noisy), "q": Cosine(0.1), "engine": MiniBatch(128), "max_iter": 3, **options}
    return ICONEmbedding(8, mapper="mlp", random_state=0, **options)


def asked(model, question, *data):
    """What the last record of a fit answers."""
    answers = []
    clone(model, safe=False).set_params(callback=lambda record: answers.append(question(record))).fit(*data)
    return answers[-1]


# -- what a record answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "data"),
    [
        (encoder(), (X[TRAIN],)),
        (ICONEmbedding(3, mapper="linear", optimizer="adam", max_iter=4, tol=0, random_state=0), (X[TRAIN],)),
        (ICONClassifier(mapper="mlp", max_iter=3, random_state=0), (X[TRAIN], Y[TRAIN])),
    ],
)
def test_the_present_model_maps_rows_that_the_fit_does_not_know(model, data):
    """It gives rows of the fit what they have at that moment, and nothing is changed by the question."""
    at_once = asked(model, lambda record: (record.transform(X[TRAIN]), record.outputs()), *data)
    np.testing.assert_allclose(*at_once, atol=1e-6)
    watched = (
        clone(model, safe=False)
        .set_params(callback=lambda record: record.transform(X[NEW]) is None)
        .fit(*data)
    )
    np.testing.assert_array_equal(watched.loss_history_, clone(model, safe=False).fit(*data).loss_history_)


def test_the_last_epoch_maps_new_rows_as_the_fit_does():
    seen = asked(encoder(), lambda record: record.transform(X[NEW]), X[TRAIN])
    assert seen.dtype == X.dtype
    np.testing.assert_allclose(seen, encoder().fit(X[TRAIN]).transform(X[NEW]), atol=1e-5)


def test_log_kernels_are_those_of_the_fit():
    views = other_views()
    fit = encoder().fit(X[TRAIN])
    found = asked(encoder(), lambda record: record.log_kernels(X[NEW], views), X[TRAIN])
    expected = fit.transform(X[NEW]) @ fit.transform(views).T / 0.1
    np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-3)


def test_columns_are_seen_through_their_own_mapper():
    model = ICONEmbedding(
        4, p=Paired(32), q=Cosine(0.2), mapper="mlp", engine=MiniBatch(100), optimizer="adam", max_iter=3,
        random_state=0,
    )  # fmt: skip
    fit = clone(model).fit(X[TRAIN])
    for rows, columns in ((X[NEW], X[NEW]), (X[NEW, :32], X[NEW, 32:])):
        found = asked(model, lambda r, rows=rows, columns=columns: r.log_kernels(rows, columns), X[TRAIN])
        expected = fit.transform(X[NEW]) @ fit.transform_columns(X[NEW]).T / 0.2
        np.testing.assert_allclose(found - found.mean(), expected - expected.mean(), atol=1e-3)


@pytest.mark.parametrize("p", [KNN(8), Debias(KNN(8), 0.2), Gaussian(10), Debias(Gaussian(10), 0.1)])
def test_entropies_of_a_whole_p(p):
    found = asked(ICONEmbedding(p=p, max_iter=2, random_state=0), lambda record: record.entropies(), X[TRAIN])
    P = clone(p).fit(X[TRAIN]).conditional_
    known = InformationBound.of(P)
    assert found.n_candidates == 299
    assert found.entropy == pytest.approx(known.entropy, rel=1e-9)
    assert found.column_entropy == pytest.approx(min(known.column_entropy, math.log(299)), rel=1e-9)


def test_entropies_of_batches_are_those_of_what_a_batch_sees():
    views = asked(encoder(), lambda record: record.entropies(), X[TRAIN])
    assert views.entropy == pytest.approx(0, abs=1e-12)
    assert views.column_entropy <= math.log(views.n_candidates) <= math.log(127)
    assert views.column_entropy > math.log(80)
    # All rows fit into one batch: as without batches.
    for p in (Gaussian(10), Debias(KNN(8), 0.2)):
        whole = ICONEmbedding(p=p, mapper="mlp", engine=MiniBatch(512), max_iter=2, random_state=0)
        dense = clone(whole).set_params(engine="dense")
        a, b = (asked(model, lambda record: record.entropies(), X[TRAIN]) for model in (whole, dense))
        np.testing.assert_allclose(a, b, rtol=1e-9)


def test_to_ask_does_not_change_the_batches_to_come():
    quiet = encoder().fit(X[TRAIN])
    asking = encoder(callback=lambda record: record.entropies() and None).fit(X[TRAIN])
    np.testing.assert_array_equal(quiet.loss_history_, asking.loss_history_)


@pytest.mark.parametrize(
    ("model", "question", "words"),
    [
        (
            ICONEmbedding(max_iter=2),
            lambda r: r.transform(X[NEW]),
            "a table has places for the rows of the fit alone",
        ),
        (
            encoder(),
            lambda r: r.transform(X[NEW, :5]),
            r"rows of shape \(300, 5\) were given, and the mapper reads",
        ),
        (
            ICONClustering(3, mapper="linear", n_init=1),
            lambda r: r.log_kernels(X, X),
            "assignments of all rows",
        ),
        (ICONEmbedding(terms=[Term(KNN(5))]), lambda r: r.entropies(), "further terms"),
        (ICONEmbedding(divergence="hellinger"), lambda r: r.entropies(), "no cross-entropy with Hellinger"),
    ],
)
def test_what_cannot_be_answered_is_said_and_leaves_the_estimator_as_it_was(model, question, words):
    model = clone(model, safe=False).set_params(callback=lambda record: question(record) is None)
    with pytest.raises(ValueError, match=words):
        model.fit(X[TRAIN], Y[TRAIN])
    assert not hasattr(model, "mapper_")


@pytest.mark.parametrize("question", ["transform", "log_kernels", "entropies", "outputs"])
def test_a_record_answers_while_its_iteration_lasts(question):
    records = []
    encoder(max_iter=1, callback=records.append).fit(X[TRAIN])
    with pytest.raises(RuntimeError, match=f"{question}\\(\\) .* iteration 1 is over"):
        getattr(records[0], question)(*[X[NEW]] * {"transform": 1, "log_kernels": 2}.get(question, 0))


# -- a bound that is read off the fit ----------------------------------------------------------------------------


def test_the_bound_needs_to_be_told_nothing():
    told = InformationBound.of(KNN(15).fit(X[TRAIN]).conditional_)
    itself = InformationBound()
    for bound in (told, itself):
        ICONEmbedding(p=KNN(15), q=Student(), max_iter=5, callback=bound, random_state=0).fit(X[TRAIN])
    assert itself.ceiling == pytest.approx(told.ceiling, rel=1e-9)
    np.testing.assert_allclose(itself.history, told.history, rtol=1e-9)
    views, told = InformationBound(), InformationBound(2 * 300 - 1)
    for bound in (views, told):
        encoder(engine=MiniBatch(1024), callback=bound).fit(X[TRAIN])
    np.testing.assert_allclose(views.history, told.history, rtol=1e-9)
    with pytest.raises(ValueError, match="go with n_candidates"):
        InformationBound(entropy=1.0)


# -- the tracker --------------------------------------------------------------------------------------------------


def tracked(tracker, **options):
    return encoder(callback=tracker, max_iter=6, **options).fit(X[TRAIN])


def test_what_it_follows_by_definitions():
    views = other_views()
    tracker = InformationTracker(X[NEW], views, Y[NEW], every=3)
    fit = tracked(tracker)
    assert [record.iteration for record in tracker.history] == [1, 3, 6]
    last = tracker.history[-1]
    log_k = fit.transform(X[NEW]) @ fit.transform(views).T / 0.1
    assert last.representation == pytest.approx(
        np.log(300) + np.mean(log_k.diagonal() - logsumexp(log_k, axis=1)), abs=1e-3
    )
    assert last.label == pytest.approx(mutual_information(fit.transform(X[NEW]), Y[NEW]), abs=0.02)
    assert tracker.label_view == pytest.approx(mutual_information(views, Y[NEW])) and tracker.views == np.log(
        300
    )
    assert last.bound == pytest.approx(
        downstream_bound(
            representation=last.representation, label_view=tracker.label_view, views=tracker.views
        ).bound
    )
    assert tracker.maximum == tracker.label_view
    frame = tracker.to_pandas()
    assert list(frame.index) == [1, 3, 6] and frame["bound"].iloc[-1] == last.bound
    folds = StratifiedKFold(3, shuffle=True, random_state=0)
    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    assert last.probe == pytest.approx(
        cross_val_score(probe, fit.transform(X[NEW]), Y[NEW], cv=folds).mean(), abs=0.04
    )


def test_information_rises_and_the_gap_closes_where_views_share_the_label_alone():
    """Class mates as views are independent given the label, where I(U; Y) itself is the bound."""
    rows, classes = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    train, new = np.split(rng.permutation(len(rows)), [898])
    rows, labels = (rows / 16).astype(np.float32), classes[new]
    mates = [
        rng.choice(np.flatnonzero((labels == c) & (np.arange(len(new)) != i))) for i, c in enumerate(labels)
    ]
    tracker = InformationTracker(
        rows[new], rows[new][mates], labels, every=3, assume="independent_given_label"
    )  # fmt: skip
    options = {"p": Labels(), "q": Cosine(0.2), "engine": MiniBatch(256), "max_iter": 9, "callback": tracker}
    ICONEmbedding(64, mapper="mlp", random_state=0, **options).fit(rows[train], classes[train])
    seen = tracker.to_pandas()
    assert (np.diff(seen["bound"]) > 0).all() and (seen["bound"] == seen["representation"]).all()
    assert (seen["bound"] <= seen["label"]).all() and (seen["accuracy_low"] <= seen["probe"]).all()
    gap = tracker.maximum - seen["bound"]
    assert gap.iloc[-1] < 0.36 and gap.iloc[0] > 0.7 and seen["accuracy_low"].iloc[-1] > 0.593
    assert tracker.views == pytest.approx(tracker.class_entropy)


def test_augmentations_may_say_nothing_of_the_label():
    """Views that share far more than the label leave the bound below nought, and the guess is all that is certain."""
    tracker = InformationTracker(X[NEW], other_views(), Y[NEW], every=6, probe=False)
    tracked(tracker, q=Cosine(0.5))
    assert (tracker.to_pandas()["bound"] < 0).all() and (tracker.to_pandas()["accuracy_low"] == 0.1).all()
    assert tracker.to_pandas()["probe"].isna().all() and tracker.history[-1].representation > 0.5


def test_without_labels_it_follows_the_views():
    given, views = X[NEW].copy(), other_views()
    tracker = InformationTracker(given, views, every=2, views=3.0, then=lambda record: record.iteration == 2)
    given[:] = 0  # a later change of what was given is not seen
    with pytest.warns(UserWarning, match="stops the fit"):
        tracked(tracker)
    assert len(tracker.history) == 2 and tracker.history[-1].representation > 0.1
    assert np.isnan(tracker.history[-1].bound) and tracker.maximum == tracker.views == 3.0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: InformationTracker(X, X[:9]), "inconsistent"),
        (lambda: InformationTracker(X, X, Y[:9]), "inconsistent"),
        (lambda: InformationTracker(X, X, np.zeros(600)), "one class"),
        (lambda: InformationTracker(X, X, every=0), "every=0"),
        (lambda: InformationTracker(X, X, assume="none"), "assume='none'"),
        (lambda: InformationTracker(X, X, views=-1), "views=-1"),
    ],
)
def test_wrong_input_is_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_recipes_take_it():
    tracker = InformationTracker(X[NEW], other_views(), every=2)
    recipes.simclr(augment=noisy, n_components=8, max_iter=2, callback=tracker, random_state=0).fit(X[TRAIN])
    assert len(tracker.history) == 2
