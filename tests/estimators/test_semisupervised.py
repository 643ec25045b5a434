"""Few labels: what is held, what the loss is, what the answers are, and what is refused."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import coo_array, csr_array
from scipy.special import xlogy
from sklearn.datasets import load_digits, make_blobs, make_moons
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score
from sklearn.neighbors import kneighbors_graph
from sklearn.pipeline import make_pipeline
from sklearn.semi_supervised import LabelSpreading

from iconlearn import ICONClassifier, ICONEmbedding, Term, load, recipes, save
from iconlearn.clusters import PairWeights, _search, _transduction, assign
from iconlearn.engines import Dense, Partition, _partition
from iconlearn.learned import Cluster, Dot
from iconlearn.loss import loss
from iconlearn.mappers import MLP
from iconlearn.objective import Points, Problem
from iconlearn.supervisory import KNN, Classes, Debias, Gaussian, Graph

X, y = make_blobs(150, n_features=4, centers=3, cluster_std=2.5, random_state=1)
SOME = np.where(np.arange(len(y)) % 10 == 0, y, -1)


def classifier(**params):
    return ICONClassifier(**{"unlabeled": -1, "random_state": 0} | params)


def moons():
    rows, labels = make_moons(300, noise=0.05, random_state=0)
    few = np.full(300, -1)
    for c in (0, 1):
        few[np.flatnonzero(labels == c)[:2]] = c
    return rows, labels, few


def directly(model, weight=None, graph_weight=10.0):
    """The loss of a fitted table, written out over all pairs in double precision."""
    P, r = model.graph_.conditional_.sparse().toarray(), model.label_distributions_
    q = (r / np.maximum(r.sum(axis=0), 1e-12)) @ r.T
    rows = (xlogy(P, P) - P * np.log(np.maximum(q, 1e-300))).sum(axis=1)
    weight = np.ones(len(rows)) if weight is None else weight
    labelled = weight * (SOME >= 0)
    return (labelled @ rows) / labelled.sum() + graph_weight * (weight @ rows) / weight.sum()


@pytest.mark.parametrize("graph_weight", [0.5, 10.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loss_is_a_label_term_and_a_graph_term(graph_weight, weighted):
    weight = np.random.default_rng(0).random(len(y)) + 0.1 if weighted else None
    model = classifier(graph_weight=graph_weight).fit(X, SOME, sample_weight=weight)
    assert model.loss_ == pytest.approx(directly(model, weight, graph_weight), abs=1e-7)
    assert (np.diff(model.loss_history_) <= 1e-12).all() and len(model.loss_history_) > 3


@pytest.mark.parametrize("weighted", [False, True])
def test_p_q_and_the_mapper_are_those_of_the_loss(weighted):
    """Nothing else than fitted attributes is needed to find the loss again."""
    weight = np.random.default_rng(0).random(len(y)) + 0.1 if weighted else np.ones(len(y))
    model = classifier(debias=0.2).fit(X, SOME, sample_weight=weight)
    p = model.p_.conditional_.with_self_pairs()
    points = Points(model.mapper_, len(y))
    terms = [
        Problem(p.with_mass(mass), model.q_, model.divergence_, points, points, share)
        for mass, share in ((weight, model.graph_weight), (weight * (SOME >= 0), 1.0))
    ]
    with torch.no_grad():
        every = sum(term.weight * loss(term, Dense(), visit_all(term)) for term in terms)
    assert model.loss_ == pytest.approx(float(every), abs=1e-7)
    assert model.p_ is model.graph_ and type(model.q_) is Cluster and type(model.engine_) is Partition
    with torch.no_grad():
        r = model.q_.represent(model.mapper_()).numpy()
    assert_allclose(r, model.label_distributions_, atol=1e-10)


def visit_all(problem):
    return next(Dense().visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]


def test_with_a_mapper_p_and_q_are_those_that_it_learned_by():
    model = classifier(mapper="linear").fit(X, SOME)
    assert type(model.p_) is Classes and type(model.q_) is Dot and model.graph_ is not model.p_
    assert_array_equal(
        model.p_.conditional_.sparse().argmax(axis=1), model.label_distributions_.argmax(axis=1)
    )


def test_a_graph_of_all_pairs_is_solved_too():
    model = classifier(graph=Gaussian(5, n_neighbors=None), engine=Partition()).fit(X, SOME)
    assert model.loss_ == pytest.approx(directly(model), abs=1e-7)


def test_labelled_rows_are_held():
    wrong = SOME.copy()
    wrong[0] = (y[0] + 1) % 3  # in the midst of another class, and still what was said
    model = classifier().fit(X, wrong)
    held = wrong >= 0
    assert_array_equal(model.transduction_[held], wrong[held])
    assert_allclose(model.label_distributions_[held], np.eye(3)[wrong[held]], atol=1e-10)
    assert_allclose(model.label_distributions_.sum(axis=1), 1, atol=1e-12)


def test_debias_holds_labels_less_firmly():
    model = classifier(debias=0.3).fit(X, SOME)
    assert_allclose(model.label_distributions_[0, SOME[0]], 0.8, atol=1e-9)


def test_two_labels_a_class_follow_the_moons():
    rows, labels, few = moons()
    model = classifier().fit(rows, few)
    assert np.mean(model.transduction_ == labels) == 1.0
    new, of_new = make_moons(200, noise=0.05, random_state=1)
    assert model.score(new, of_new) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("per_class", [1, 5])
def test_digits_beside_label_spreading(per_class):
    rows, labels = load_digits(return_X_y=True)
    rows, rng = rows / 16, np.random.RandomState(0)
    few = np.full(len(labels), -1)
    for c in range(10):
        few[rng.choice(np.flatnonzero(labels == c), per_class, replace=False)] = c
    rest = few < 0
    model = classifier().fit(rows, few)
    peer = LabelSpreading(kernel="knn").fit(rows, few)
    ours, theirs = (np.mean(m.transduction_[rest] == labels[rest]) for m in (model, peer))
    assert ours > 0.92 and ours > theirs + 0.01


def test_rows_that_were_seen_have_the_class_found_in_fit():
    model = classifier().fit(X, SOME)
    assert_array_equal(model.predict(X), model.transduction_)
    assert_allclose(model.predict_proba(X), model.label_distributions_, atol=1e-10)
    assert_allclose(np.exp(model.predict_log_proba(X)), model.predict_proba(X), atol=1e-10)
    assert_array_equal(model.decision_function(X).argmax(axis=1), model.predict(X).astype(int))
    assert_allclose(model.transform(X), model.predict_proba(X))
    assert not hasattr(model, "coef_")


def test_new_rows_do_not_depend_on_one_another():
    model = classifier().fit(X[:100], SOME[:100])
    together = model.predict_proba(X[100:])
    assert_allclose(together.sum(axis=1), 1)
    assert_allclose(model.predict_proba(X[120:121]), together[20:21], atol=1e-9)
    assert model.score(X[100:], y[100:]) > 0.8


def test_new_rows_count_as_neighbours_of_the_rows_that_they_are_near():
    model = classifier().fit(X[:100], SOME[:100])
    r, new = model.label_distributions_, X[100:130]
    W = model.graph_.reciprocal(new).sparse().toarray()
    assert not np.array_equal(W > 0, model.graph_.extend(new).sparse().toarray() > 0)
    best = model.predict_proba(new)
    right = r / r.sum(axis=0)

    def loss(t):
        return -(W * np.log(np.maximum(t @ right.T, 1e-300))).sum(axis=1)

    # No other assignment of a row explains what it is tied to any better.
    for other in np.vstack([np.eye(3), np.full(3, 1 / 3)]):
        assert (loss(best) <= loss(0.9 * best + 0.1 * other) + 1e-9).all()


def with_an_island(n=6):
    """A few rows far away, more of them than there are neighbours, and without a label."""
    rng = np.random.default_rng(0)
    rows = np.vstack([X, 1e3 + rng.normal(size=(n, 4))])
    return rows, np.append(SOME, np.full(n, -1))


def test_a_part_without_labels_has_the_prior():
    rows, labels = with_an_island()
    model = classifier(graph=KNN(4)).fit(rows, labels)
    prior = model.label_distributions_[:150].mean(axis=0)
    assert_allclose(model.label_distributions_[150:], np.tile(prior, (6, 1)), atol=1e-9)
    assert_allclose(model.predict_proba(rows[150:] + 0.01), np.tile(prior, (6, 1)), atol=1e-9)
    given = classifier(graph=KNN(4), class_prior=[0.5, 0.3, 0.2]).fit(rows, labels)
    assert_allclose(given.label_distributions_[150:], np.tile([0.5, 0.3, 0.2], (6, 1)), atol=1e-9)
    # and the rest is as if the part were not there
    alone = classifier(graph=KNN(4)).fit(X, SOME)
    assert np.mean(alone.transduction_ == model.transduction_[:150]) > 0.98


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("prior", [None, [0.5, 0.3, 0.2]])
def test_rows_that_no_label_reaches_have_no_part_in_the_loss(prior, weighted):
    """It is the divergence of the others, however many there are that it says nothing of."""
    rows, labels = with_an_island(60)
    weight = np.random.default_rng(0).random(len(rows)) + 0.1 if weighted else np.ones(len(rows))
    far = classifier(graph=KNN(4), class_prior=prior).fit(rows, labels, sample_weight=weight)
    alone = classifier(graph=KNN(4), class_prior=prior).fit(X, SOME, sample_weight=weight[:150])
    assert far.loss_ > 0
    assert far.loss_ == pytest.approx(alone.loss_, rel=1e-9)
    assert_allclose(far.label_distributions_[:150], alone.label_distributions_, atol=1e-6)
    assert_allclose(far.predict_proba(X[:20] + 0.01), alone.predict_proba(X[:20] + 0.01), atol=1e-6)


def test_rows_without_edges_have_the_prior():
    A = KNN(5).fit(X).conditional_.sparse().tolil()
    A[:, 3] = 0
    A[3] = 0
    with pytest.warns(UserWarning, match="1 of 150 rows have no edge"):
        model = classifier(graph=Graph(csr_array(A)), mapper="table").fit(X, SOME)
    others = np.arange(150) != 3
    assert_allclose(model.label_distributions_[3], model.label_distributions_[others].mean(axis=0), atol=1e-9)


def test_rows_that_no_label_reaches_teach_a_mapper_nothing():
    """Most rows have no edge; they have the prior, whose largest class is not theirs."""
    rng = np.random.default_rng(0)
    on = rng.random(150) < 0.4
    edges = kneighbors_graph(X[on], 5)
    A = np.zeros((150, 150))
    A[np.ix_(on, on)] = edges.maximum(edges.T).toarray()
    labels = np.where(on & (np.arange(150) % 3 == 0), y, -1)
    with pytest.warns(UserWarning, match="rows have no edge"):
        model = classifier(graph=Graph(A), mapper="linear").fit(X, labels)
    alone = classifier(graph=Graph(A[np.ix_(on, on)]), mapper="linear").fit(X[on], labels[on])
    # The table of the others is the same, and so is what the mapper learns.
    assert_allclose(model.label_distributions_[on], alone.label_distributions_, atol=1e-4)
    assert_allclose(model.coef_, alone.coef_, atol=1e-3)


def test_given_proportions_are_kept():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(200, 2))  # no clusters at all: proportions are whatever they are told to be
    labels = np.full(200, -1)
    labels[:2] = 0, 1
    shares = [
        np.mean(classifier(class_prior=prior).fit(rows, labels).label_distributions_[:, 0])
        for prior in ([0.2, 0.8], "balanced", [0.8, 0.2])
    ]
    assert shares[0] < 0.4 < shares[1] < 0.6 < shares[2]


def test_a_mapper_learns_from_unlabelled_rows_and_answers_new_ones():
    rows, _, few = moons()
    new, of_new = make_moons(200, noise=0.05, random_state=1)
    deep = {"mapper": MLP((32,)), "max_iter": 150, "learning_rate": 0.02}
    model = classifier(**deep).fit(rows, few)
    plain = ICONClassifier(**deep, random_state=0)
    plain.fit(rows[few >= 0], few[few >= 0])
    assert model.score(new, of_new) > 0.97 > plain.score(new, of_new)
    linear = classifier(mapper="linear").fit(X, SOME)
    assert linear.coef_.shape == (3, 4)
    assert {"supervision", "optimisation", "transduction"} <= set(linear.timings_)
    assert linear.score(X, y) > 0.85
    assert_array_equal(linear.transduction_[SOME >= 0], SOME[SOME >= 0])


@pytest.mark.parametrize("stage", [1, 2, 3, 6])
def test_a_callback_that_stops_ends_all_turns(stage):
    """Table and mapper take turns; of the stages only the first is not the last, since new rows need a mapper."""
    begun = []

    def stop(record):
        if record.iteration == 1:
            begun.append(record.phase)
        return len(begun) >= stage and record.iteration >= 2

    model = classifier(mapper="linear", callback=stop).fit(X, SOME)
    assert len(begun) == max(stage, 2) and not model.converged_
    assert model.label_distributions_.shape == (150, 3)
    assert model.predict(X[:5] + 0.01).shape == (5,)
    whole = classifier(mapper="linear", callback=begun.append).fit(X, SOME)
    assert whole.converged_


def two_communities():
    """A graph of two groups, features that tell a little, and two labelled nodes."""
    rng = np.random.default_rng(0)
    group = np.repeat([0, 1], 60)
    chance = np.where(group[:, None] == group, 0.1, 0.01)
    A = np.triu(rng.random((120, 120)) < chance, 1)
    features = group[:, None] + rng.normal(size=(120, 3))
    labels = np.full(120, -1)
    labels[[0, 1, 60, 61]] = 0, 0, 1, 1
    return coo_array((A | A.T).astype(float)), features, group, labels


def test_a_graph_beside_features():
    A, features, group, labels = two_communities()
    model = classifier(graph=Graph(A)).fit(features, labels)
    assert model.coef_.shape == (1, 3)  # features are read too, and so new rows have an answer
    assert np.mean(model.transduction_ == group) > 0.9
    assert_array_equal(model.predict(features), model.transduction_)
    assert model.predict_proba(features[:2] + 0.1).shape == (2, 2)
    matrix = classifier(graph=A.toarray()).fit(features, labels)
    assert_array_equal(matrix.transduction_, model.transduction_)
    # The features have a say: without theirs, nodes are where the graph alone puts them.
    alone = classifier(graph=Graph(A), mapper="table").fit(features, labels)
    assert not np.allclose(alone.label_distributions_, model.label_distributions_, atol=1e-3)
    with pytest.raises(ValueError, match="nothing about new rows"):
        alone.predict(features + 0.1)
    with pytest.raises(ValueError, match="one row per row of X"):
        classifier(graph=Graph(A)).fit(features[:100], labels[:100])


def test_a_graph_as_X():
    A, _, group, labels = two_communities()
    A = A.toarray()
    model = classifier(graph="graph").fit(A, labels)
    assert np.mean(model.transduction_ == group) > 0.9
    assert model.predict(A[:3]).shape == (3,)
    assert model.__sklearn_tags__().input_tags.pairwise
    assert not classifier().__sklearn_tags__().input_tags.pairwise


@pytest.mark.parametrize("kind", [np.asarray, csr_array])
@pytest.mark.parametrize("prior", [None, [0.2, 0.3, 0.5]])
def test_a_row_of_a_graph_without_edges_says_nothing(kind, prior):
    """A labelled row without edges is equal to unlabelled ones, and they do not have its class."""
    lone = np.r_[0:20, 60:75]
    A = kneighbors_graph(X, 5).toarray()
    A = np.maximum(A, A.T)
    A[lone], A[:, lone] = 0, 0
    labels = np.where(np.arange(150) % 3 == 0, y, -1)
    labels[lone] = -1
    labels[0] = y[0]
    with pytest.warns(UserWarning, match="35 of 150 rows have no edge"):
        model = classifier(graph="graph", class_prior=prior).fit(kind(A), labels)
    assert_allclose(
        model.predict_proba(kind(A[lone])), model.label_distributions_[np.full(35, 60)], atol=1e-12
    )
    if prior is not None:
        assert_allclose(model.predict_proba(kind(A[[60]])), [prior], atol=1e-12)
    assert_array_equal((model.predict(kind(A)) != model.transduction_)[1:], False)
    assert model.transduction_[0] == y[0]


def test_equal_rows_of_a_graph_have_their_mean():
    """Two nodes with the same neighbours, one of which is labelled wrongly."""
    A, _, _, labels = two_communities()
    A = A.toarray()
    A[:, 5] = A[:, 0]
    A[5] = A[0]
    A[[0, 5, 5, 0], [5, 0, 5, 0]] = 0
    labels[0] = 1
    model = classifier(graph="graph").fit(A, labels)
    r = model.label_distributions_
    assert np.abs(r[0] - r[5]).max() > 0.5
    assert_allclose(model.predict_proba(A[[0, 5]]), np.tile((r[0] + r[5]) / 2, (2, 1)), atol=1e-12)


def test_new_rows_near_nothing_that_is_known_have_the_given_prior():
    rows, labels = with_an_island()
    model = classifier(graph=KNN(4), class_prior=[0.5, 0.3, 0.2]).fit(rows, labels)
    assert_allclose(model.predict_proba(rows[150:] + 0.01), np.tile([0.5, 0.3, 0.2], (6, 1)), atol=1e-9)


def test_a_prior_goes_by_the_names_of_the_classes():
    names = np.where(SOME < 0, "?", np.array(["ant", "bee", "cat"])[SOME])
    by_order = classifier(unlabeled="?", class_prior=[0.2, 0.3, 0.5]).fit(X, names)
    by_name = classifier(unlabeled="?", class_prior={"cat": 0.5, "ant": 0.2, "bee": 0.3}).fit(X, names)
    assert_array_equal(by_name.label_distributions_, by_order.label_distributions_)
    for wrong in ({"ant": 0.5, "bee": 0.5}, {"ant": 0.2, "bee": 0.3, "cat": 0.4, "dog": 0.1}):
        with pytest.raises(ValueError, match="must name every class of y and no other"):
            classifier(unlabeled="?", class_prior=wrong).fit(X, names)


def test_nothing_unlabelled_is_the_plain_classifier():
    plain = ICONClassifier(unlabeled=None, random_state=0).fit(X, y)
    for marker in (None, "auto", -1, "?", np.nan):
        model = classifier(unlabeled=marker, graph="gaussian", graph_weight=3.0).fit(X, y)
        assert_array_equal(model.coef_, plain.coef_)
        assert not hasattr(model, "transduction_")


def test_a_fit_with_all_labels_forgets_the_table():
    model = classifier().fit(X, SOME).fit(X, y)
    assert hasattr(model, "coef_") and not hasattr(model, "transduction_") and not hasattr(model, "graph_")
    assert_array_equal(model.predict(X), ICONClassifier(random_state=0).fit(X, y).predict(X))
    assert not hasattr(model.fit(X, SOME), "coef_")


def test_a_table_with_all_labels_answers_by_neighbours():
    model = ICONClassifier(mapper="table", random_state=0).fit(X[:100], y[:100])
    assert_array_equal(model.predict(X[:100]), y[:100])
    assert model.score(X[100:], y[100:]) > 0.85


# -- classes of different sizes ---------------------------------------------------------------------


def apart(sizes, distance, n_labels, seed=0):
    """Blobs in the corners of a square, or along a line for two, and labels of the first rows of each."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]])[: len(sizes)] * distance
    rows, labels = make_blobs(sizes, centers=corners, cluster_std=1.0, random_state=seed, shuffle=False)
    given = np.full(len(labels), -1)
    for c in range(len(sizes)):
        given[np.flatnonzero(labels == c)[:n_labels]] = c
    return rows, labels, given


@pytest.mark.parametrize(
    "options", [{}, {"mapper": "linear"}, {"class_prior": "true"}, {"graph_weight": 1.0}], ids=str
)
@pytest.mark.parametrize(
    ("sizes", "distance", "n_labels"), [((200, 20), 30, 10), ((300, 60), 30, 1), ((300, 60, 20), 10, 3)]
)
def test_a_small_class_takes_no_rows_that_lie_far_away(sizes, distance, n_labels, options):
    rows, labels, given = apart(sizes, distance, n_labels)
    if "class_prior" in options:
        options = {"class_prior": np.array(sizes) / sum(sizes)}
    model = classifier(**options).fit(rows, given)
    assert_array_equal(model.transduction_, labels)
    assert_array_equal(model.predict(rows + 1e-3), labels)
    assert model.label_distributions_[np.arange(len(labels)), labels].min() > 0.9


def test_shares_of_random_labels_are_those_of_classes_that_overlap():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [800, 200])
    rows = rng.normal(size=(1000, 2)) + 1.5 * labels[:, None]
    given = np.where(rng.random(1000) < 0.15, labels, -1)
    with pytest.warns(UserWarning, match=r"class 1 has 16% of the 152 labels and 29% of the rows.*'labels'"):
        unknown = classifier().fit(rows, given)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        known = classifier(class_prior="labels").fit(rows, given)
    shares = (np.bincount(given[given >= 0]) + 1) / ((given >= 0).sum() + 2)
    by_hand = classifier(class_prior=shares).fit(rows, given)
    assert_array_equal(known.label_distributions_, by_hand.label_distributions_)
    assert np.mean(known.transduction_ == labels) > np.mean(unknown.transduction_ == labels) + 0.05
    # As many labels of each class are no random draw, and say nothing of its size.
    evenly = np.full(1000, -1)
    evenly[:50], evenly[800:850] = 0, 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        classifier().fit(rows, evenly)
        classifier().fit(rows + 10.0 * labels[:, None], evenly)


@pytest.mark.parametrize(("sizes", "distance"), [((300, 60), 30), ((500, 40), 8)])
def test_a_recipe_of_labels_finds_classes_of_different_sizes(sizes, distance):
    rows, labels, given = apart(sizes, distance, 1)
    assert_array_equal(recipes.held_labels(random_state=0).fit(rows, given).transduction_, labels)


def test_classes_that_touch_keep_the_pull_towards_equal_sizes():
    """Under a weak pull a class of few labels would be its labelled rows and hardly any others."""
    rows, _, given = apart((150, 150), 2.5, 1)
    model = classifier().fit(rows, given)
    assert model.q_.balance_ == 1.0 and np.bincount(model.transduction_).min() > 75


def test_the_loss_new_rows_files_and_a_warm_start_have_the_balance_of_the_fit(tmp_path):
    rows, _, given = apart((200, 20), 30, 5)
    model = classifier(warm_start=True).fit(rows, given)
    assert model.q_.balance_ == 0.1
    P, r = model.graph_.conditional_.sparse().toarray(), model.label_distributions_
    size = r.sum(axis=0)
    q = (r * (size / len(r)) ** 0.9 / size) @ r.T
    each = (xlogy(P, P) - P * np.log(np.maximum(q, 1e-300))).sum(axis=1)
    assert model.loss_ == pytest.approx(each[given >= 0].mean() + 10 * each.mean(), abs=1e-6)
    between = np.array([[12.0, 0.0], [18.0, 0.0]])
    found = assign(model.graph_.reciprocal(between), r, balance=0.1)
    assert_allclose(model.predict_proba(between), found, atol=1e-6)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model")
    assert_array_equal(again.predict_proba(between), model.predict_proba(between))
    before = model.label_distributions_
    assert model.fit(rows, given).q_.balance_ == 0.1
    assert_allclose(model.label_distributions_, before, atol=1e-3)


# -- the marker ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind", [np.array, list, pd.Series, lambda y: y.astype(float), lambda y: y.astype(object)]
)
def test_minus_one_is_a_class_and_a_warning_says_what_naming_it_would_do(kind):
    """Targets coded -1, 0, 1: every class is learnt, predicted and counted in the score."""
    target = y - 1
    with pytest.warns(UserWarning, match=r"y is -1 in 50 of 150 rows.*a class.*\(unlabeled=-1\)") as seen:
        model = ICONClassifier().fit(X, kind(target))
    assert len(seen) == 1 and list(model.classes_) == [-1, 0, 1]
    plain = ICONClassifier().fit(X, target + 1)
    assert_array_equal(model.predict(X), plain.predict(X) - 1)
    assert model.score(X, kind(target)) == np.mean(model.predict(X) == target)


@pytest.mark.parametrize("labels", [np.where(y == 0, -1, 1), y, np.where(y == 0, "-1", "a")], ids=str)
def test_nothing_is_said_where_minus_one_cannot_have_been_meant_as_a_marker(labels):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(ICONClassifier().fit(X, labels).classes_) == len(set(labels.tolist()))


def test_a_marker_that_y_does_not_hold_is_reported():
    names = np.array(["?", "ant", "bee", "cat"])[SOME + 1]
    with pytest.warns(UserWarning, match=r"unlabeled='missing' occurs nowhere in y.*'\?'.*spelt"):
        ICONClassifier(unlabeled="missing", max_iter=5).fit(X, names)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        ICONClassifier(unlabeled=-1, max_iter=100).fit(X, y)  # -1 is a convention, and y may be complete


def test_auto_reads_minus_one_beside_two_classes_as_unlabelled_and_counts():
    with pytest.warns(UserWarning, match="-1 in 135 of 150 rows, which are taken as unlabelled") as seen:
        model = classifier(unlabeled="auto").fit(X, SOME)
    assert len(seen) == 1 and list(model.classes_) == [0, 1, 2]
    two = classifier(unlabeled="auto").fit(X, np.where(y == 0, -1, 1))  # -1 and 1 are two classes
    assert list(two.classes_) == [-1, 1]


NAMES = np.array(["ant", "bee", "cat"])
MARKED = {
    "strings": (np.where(SOME < 0, "?", NAMES[SOME]), "?"),
    "objects": (np.where(SOME < 0, -1, NAMES[SOME].astype(object)), -1),
    "list": ([NAMES[c] if c >= 0 else -1 for c in SOME], "auto"),
    "categorical": (pd.Series(pd.Categorical.from_codes(SOME, NAMES)), np.nan),
    "missing": (pd.Series(np.where(SOME < 0, None, NAMES[SOME].astype(object))), None or np.nan),
    "floats": (np.where(SOME < 0, np.nan, SOME), np.nan),
    "integers of pandas": (pd.Series(SOME).where(SOME >= 0).astype("Int64"), np.nan),
}


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.filterwarnings("ignore:y is -1")
def test_labels_and_markers_of_every_kind(kind):
    labels, marker = MARKED[kind]
    model = classifier(unlabeled=marker).fit(X, labels)
    expected = classifier().fit(X, SOME)
    assert len(model.classes_) == 3
    names = NAMES if kind not in ("floats", "integers of pandas") else np.arange(3)
    assert_array_equal(model.transduction_, names[expected.transduction_])


GAPS = {
    "floats": np.where(SOME < 0, np.nan, SOME),
    "objects": np.where(SOME < 0, None, NAMES[SOME].astype(object)),
    "list": [None if c < 0 else int(c) for c in SOME],
    "categorical": pd.Series(pd.Categorical.from_codes(SOME, NAMES)),
    "integers of pandas": pd.Series(SOME).where(SOME >= 0).astype("Int64"),
    "strings of pandas": pd.Series(np.where(SOME < 0, None, NAMES[SOME].astype(object)), dtype="string"),
}


@pytest.mark.parametrize("kind", GAPS)
@pytest.mark.parametrize("marker", [None, -1, "?"])
def test_labels_that_are_missing_without_a_marker_are_refused_by_count(kind, marker):
    with pytest.raises(
        ValueError, match=r"y holds 135 missing labels \(the first in row 1\).*float\('nan'\)"
    ):
        classifier(unlabeled=marker).fit(X, GAPS[kind])


def test_booleans():
    labels = np.array([None if c < 0 else bool(c == 1) for c in SOME], dtype=object)
    model = classifier(unlabeled=np.nan).fit(X, labels)
    assert model.classes_.dtype == bool and model.transduction_.dtype == bool


@pytest.mark.parametrize("kind", MARKED)
@pytest.mark.filterwarnings("ignore:y is -1")
def test_the_score_is_that_of_the_rows_with_a_label(kind):
    labels, marker = MARKED[kind]
    model = classifier(unlabeled=marker, mapper="linear", C=1e-3).fit(X, labels)
    told = SOME >= 0
    names = NAMES if kind not in ("floats", "integers of pandas") else np.arange(3)
    right = model.predict(X) == names[y]
    weight = np.arange(150.0)
    assert model.score(X, labels) == pytest.approx(right[told].mean())
    assert model.score(X, labels, weight) == pytest.approx(np.average(right[told], weights=weight[told]))
    assert model.score(X, names[y], weight) == pytest.approx(np.average(right, weights=weight))


def test_the_score_needs_a_label_and_knows_the_marker_of_the_fit():
    with pytest.warns(UserWarning, match="taken as unlabelled"):
        found = classifier(unlabeled="auto").fit(X, SOME)
    assert found.score(X, SOME) == 1.0  # labelled rows are held
    with pytest.raises(ValueError, match="all 150 rows are unlabelled"):
        found.score(X, np.full(150, -1))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        found.score(X, SOME[:100])
    a_class = ICONClassifier(unlabeled=None, max_iter=20).fit(X, SOME)
    assert a_class.score(X, SOME) == np.mean(a_class.predict(X) == SOME)
    two = ICONClassifier().fit(X, np.where(y == 0, -1, 1))
    assert two.score(X, np.full(150, -1)) == np.mean(two.predict(X) == -1)


@pytest.mark.parametrize(("marker", "cv"), [(-1, 3), (np.nan, KFold(3, shuffle=True, random_state=0))])
def test_a_search_and_a_pipeline_take_the_marker(marker, cv):
    labels = np.where(np.arange(150) % 3 == 0, y, marker)
    steps = make_pipeline(ICONEmbedding(max_iter=5, random_state=0), classifier(unlabeled=marker))
    search = GridSearchCV(steps, {"iconclassifier__graph_weight": [1, 10]}, cv=cv, error_score="raise").fit(
        X, labels
    )
    assert search.score(X, labels) > 0.9
    assert (
        search.cv_results_["mean_test_score"].min() > 0.6
    )  # where counted among all rows it is at most a third


# -- weights, starts, searches ---------------------------------------------------------------------


def test_a_label_of_weight_zero_is_no_label():
    wrong, weight = SOME.copy(), np.ones(150)
    wrong[1], weight[1] = (y[1] + 1) % 3, 0.0
    model = classifier().fit(X, wrong, sample_weight=weight)
    assert model.transduction_[1] == y[1]
    with pytest.raises(ValueError, match="class 2 has no row of positive sample_weight"):
        classifier().fit(X, SOME, sample_weight=np.where(SOME == 2, 0.0, 1.0))


def test_a_warm_start_begins_where_the_last_fit_ended():
    model = classifier(warm_start=True).fit(X, SOME)
    first = model.loss_
    model.fit(X, SOME)
    assert model.loss_history_[0] == pytest.approx(first, rel=1e-3)
    assert classifier().fit(X, SOME).loss_history_[0] > first


def test_the_graph_by_default_is_a_gaussian_of_perplexity_ten():
    P = classifier().fit(X, SOME).graph_.conditional_.sparse()
    assert_allclose(P.toarray(), Gaussian(10.0).fit(X).conditional_.sparse().toarray())
    assert np.diff(P.indptr).max() == 30
    with pytest.raises(ValueError, match="graph='auto'; name it first"):
        classifier().set_params(graph__perplexity=5)


@pytest.mark.parametrize("stray", [0, 2])
def test_walks_tell_which_cluster_is_which_class_where_labels_cannot(stray, monkeypatch):
    # Eight cliques of ten; classes 0 and 2 have their only labels in the first, but one of them has ties to the third.
    block = np.repeat(np.arange(8), 10)
    A = (block[:, None] == block).astype(float)
    A[1, 20:24] = A[20:24, 1] = 1.0
    known = np.full(80, -1)
    known[::10] = np.arange(8)
    known[[0, 1, 20]] = [2 - stray, stray, -1]
    clusters = np.eye(8)[block]
    monkeypatch.setattr(_transduction, "search", lambda *told, **how: clusters)
    graph = PairWeights(csr_array(A), np.zeros(80), 0.0)
    n_labels = (known >= 0).astype(int)
    walks = _transduction._walks(graph, known, n_labels, np.eye(8))
    starts = list(_transduction._starts(graph, known, n_labels, walks, None, None, 0.0))[2:]
    assert any(start[25].argmax() == stray and start[5].argmax() == 2 - stray for start in starts)


def test_parameters_of_the_graph_are_searched_by_name():
    model = classifier(graph="knn").set_params(graph__n_neighbors=7)
    assert model.fit(X, SOME).graph_.n_neighbors == 7
    scores = cross_val_score(classifier(graph=Debias(KNN(7), 0.1), unlabeled=None), X, y, cv=3)
    assert scores.min() > 0.7


# -- what is refused -------------------------------------------------------------------------------

ONLY = np.where(SOME == 0, 0, -1)
REFUSED = {
    "no label": (np.full(150, -1), {}, "all 150 rows are unlabelled"),
    "one class": (ONLY, {}, "one class only, .*0.*, besides the marker"),
    "length": (SOME[:100], {}, "inconsistent numbers of samples"),
    "mixed": (np.where(SOME == 0, "a", SOME.astype(object)), {}, "labels of mixed type"),
    "weight of the graph": (SOME, {"graph_weight": 0.0}, "graph_weight"),
    "prior": (SOME, {"class_prior": [0.5, 0.5]}, "class_prior=.*3 classes"),
    "sum of the prior": (SOME, {"class_prior": [0.5, 0.5, 0.5]}, "sum to one"),
    "name of the prior": (SOME, {"class_prior": "equal"}, "class_prior='equal'"),
    "graph over classes": (SOME, {"graph": "classes"}, "does not say which rows are near which"),
    "unknown graph": (SOME, {"graph": "knm"}, "knm"),
    "table and q": (SOME, {"mapper": "table", "q": "gaussian"}, "mapper='table' cannot be used"),
    "table and divergence": (SOME, {"mapper": "table", "divergence": "hellinger"}, "is not KL"),
    "table and terms": (SOME, {"mapper": "table", "terms": [Term("labels")]}, "further terms"),
    "an engine that cannot": (
        SOME,
        {"engine": Partition(max_exact=10, n_off=0), "graph": Debias(KNN(5), 0.1)},
        "n_off=0",
    ),
    "table and engine": (SOME, {"mapper": "table", "engine": "dense"}, "engine='dense' cannot solve"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_is_said(case):
    labels, params, message = REFUSED[case]
    model = classifier(**params)
    with pytest.raises(ValueError, match=message):
        model.fit(X, labels)
    assert not hasattr(model, "classes_")


def test_one_row_of_a_class_is_enough_and_the_input_is_left_alone():
    labels = np.where(SOME == 2, -1, SOME)
    labels[np.flatnonzero(y == 2)[0]] = 2
    before = labels.copy(), X.copy()
    assert classifier().fit(X, labels).score(X, y) > 0.85
    assert_array_equal(labels, before[0])
    assert_array_equal(X, before[1])


def test_weights_count_among_the_neighbours_of_new_rows():
    X, y = make_blobs(200, centers=2, cluster_std=3.0, random_state=0)
    shares = []
    for weight in (0.1, 1.0, 10.0):
        fit = ICONClassifier(mapper="table", class_weight={0: weight}, random_state=0).fit(X, y)
        shares.append(fit.predict_proba(X + 0.01)[:, 0].mean())
    assert shares[0] < shares[1] - 0.02 < shares[2] - 0.04


@pytest.mark.parametrize("name", ["early_stopping", "calibrate"])
def test_nothing_is_held_out_where_labels_are_held_fast(name):
    some = np.where(np.arange(len(y)) % 4 == 0, y, -1)
    with pytest.raises(ValueError, match=f"{name}=True holds labelled rows out"):
        ICONClassifier(unlabeled=-1, **{name: True}).fit(X, some)


def test_a_table_of_classes_takes_no_further_rows():
    table = ICONClassifier(mapper="table", random_state=0).fit(X, y)
    assert not hasattr(table, "partial_fit") and not hasattr(table, "add_classes")
    with pytest.raises(ValueError, match="this fit has a table"):
        table.explain(X[:2])


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_the_loss_of_a_graph_with_a_share_is_over_all_pairs(share, monkeypatch):
    monkeypatch.setattr(_partition, "N_GROUPS", 15)
    p = Debias(KNN(8), share)
    model = classifier(graph=p, engine=Partition(max_exact=20)).fit(X, SOME)
    r = model.label_distributions_
    P = p.fit(X).conditional_.with_self_pairs().full()
    divergence = (P * np.log(np.maximum(P, 1e-300) / (r @ (r / r.sum(axis=0)).T))).sum(axis=1)
    expected = divergence[SOME >= 0].mean() + 10.0 * divergence.mean()
    assert model.loss_history_[-1] == pytest.approx(model.loss_, rel=1e-12)
    assert model.loss_ == pytest.approx(expected, rel=1e-6)


def test_labels_walk_once_for_both_balances(monkeypatch):
    taken, walked = [], _transduction._walked
    monkeypatch.setattr(_transduction, "_walked", lambda *told: taken.append(told[2]) or walked(*told))
    classifier().fit(X, SOME)
    assert taken == list(_transduction.KEEP)


def test_a_search_ends_where_its_first_clusters_disagree_with_the_labels(monkeypatch):
    """It would be no start of the classes, and crossings and rounds are most of what it costs."""
    crossed, cross = [], _search.cross
    monkeypatch.setattr(_search, "cross", lambda *told, **how: crossed.append(1) or cross(*told, **how))
    classifier().fit(X, SOME)
    assert len(crossed) == 1
    others = np.where(SOME >= 0, np.arange(len(y)) // 10 % 3, -1)
    model = classifier().fit(X, others)
    assert len(crossed) == 1 and (model.transduction_[SOME >= 0] == others[SOME >= 0]).all()
