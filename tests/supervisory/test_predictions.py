"""What a teacher says as p: probabilities of a classifier or of an array, softened, learned with labels and without."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from scipy.special import log_softmax, softmax
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

import iconlearn
from iconlearn import ICONClassifier, ICONEmbedding, Term, recipes
from iconlearn.mappers import MLP
from iconlearn.supervisory import Debias, Predictions

X, Y = load_iris(return_X_y=True)
NAMES = load_iris().target_names[Y]
TEACHER = LogisticRegression(max_iter=1000).fit(X, Y)


def rows(p):
    return p.conditional_.sparse().toarray()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_it_is_the_softmax_of_the_teachers_logits_over_the_temperature(temperature):
    expected = softmax(TEACHER.decision_function(X) / temperature, axis=1)
    for teacher in (TEACHER, TEACHER.predict_proba(X), TEACHER.predict_proba(X).tolist()):
        np.testing.assert_allclose(rows(Predictions(teacher, temperature).fit(X)), expected, atol=1e-12)
    new = Predictions(TEACHER, temperature).fit(X).extend(X[:7] + 0.1)
    expected = softmax(TEACHER.decision_function(X[:7] + 0.1) / temperature, axis=1)
    np.testing.assert_allclose(new.sparse().toarray(), expected, atol=1e-12)


@pytest.mark.filterwarnings("error")
def test_teachers_of_every_kind_are_asked():
    frame = load_iris(as_frame=True).data
    for teacher in (
        ICONClassifier(random_state=0).fit(X, Y),
        make_pipeline(StandardScaler(), LogisticRegression()).fit(X, Y),
        LogisticRegression(max_iter=1000).fit(frame, Y),  # which knows its columns by their names
        KNeighborsClassifier(3).fit(X, Y),  # certain of most rows
    ):
        rows_as_given = frame if hasattr(teacher, "feature_names_in_") else X
        np.testing.assert_allclose(
            rows(Predictions(teacher).fit(X)), teacher.predict_proba(rows_as_given), atol=1e-7
        )


def test_a_student_needs_no_labels_and_takes_the_names_of_the_classes():
    teacher = LogisticRegression(max_iter=1000).fit(X, NAMES)
    student = ICONClassifier(p=Predictions(teacher), C=None, tol=1e-9, random_state=0).fit(X)
    np.testing.assert_array_equal(student.classes_, teacher.classes_)
    # A student of the same kind becomes its teacher.
    np.testing.assert_allclose(student.predict_proba(X), teacher.predict_proba(X), atol=1e-4)
    assert student.loss_ < 1e-8
    of_array = ICONClassifier(p=Predictions(teacher.predict_proba(X)), C=None, tol=1e-9).fit(X)
    np.testing.assert_array_equal(of_array.classes_, range(3))
    np.testing.assert_allclose(of_array.coef_, student.coef_, atol=1e-6)
    with_names = ICONClassifier(p=Predictions(teacher.predict_proba(X)), C=None, tol=1e-9).fit(X, NAMES)
    np.testing.assert_array_equal(with_names.classes_, teacher.classes_)


def test_classes_that_the_teacher_names_for_no_row_are_kept():
    student = ICONClassifier(p=Predictions(TEACHER), random_state=0).fit(X[:100])
    np.testing.assert_array_equal(student.classes_, range(3))
    assert student.predict_proba(X[:5]).shape == (5, 3)
    stopped = ICONClassifier(p=Predictions(TEACHER), calibrate=True, early_stopping=True, random_state=0).fit(
        X
    )
    assert stopped.score(X, Y) > 0.9
    smoothed = ICONClassifier(p=Predictions(TEACHER), debias=0.2, random_state=0).fit(X)
    assert smoothed.predict_proba(X).max() < student.predict_proba(X).max()
    assert ICONClassifier(p=Debias(Predictions(TEACHER), 0.2)).fit(X).score(X, Y) > 0.9


def test_one_student_of_several_teachers_and_a_model_near_its_former_self():
    one, two = (LogisticRegression(max_iter=1000).fit(X[:, k : k + 2], Y) for k in (0, 2))
    first, second = one.predict_proba(X[:, :2]), two.predict_proba(X[:, 2:])
    both = ICONClassifier(p=Predictions(first), terms=[Term(Predictions(second))], C=None).fit(X, Y)
    assert both.loss_parts_.shape[1] == 2 and both.loss_parts_[-1].sum() < both.loss_parts_[0].sum()
    # A policy: the nearer to the last one, the heavier the term.
    former = ICONClassifier(random_state=0).fit(X, Y)
    flipped = (Y + 1) % 3

    def gone(weight):
        held = ICONClassifier(terms=[Term(Predictions(former), weight=weight)], random_state=0).fit(
            X, flipped
        )
        return np.abs(held.predict_proba(X) - former.predict_proba(X)).mean()

    assert gone(100.0) < gone(1.0) < gone(0.01)


def test_a_clone_knows_what_the_teacher_knows_and_keeps_nothing_of_the_users():
    p = Predictions(TEACHER, 2.0)
    copied = clone(p)
    assert copied.temperature == 2.0 and copied.teacher is not TEACHER
    np.testing.assert_array_equal(rows(copied.fit(X)), rows(p.fit(X)))
    assert "teacher__C" not in p.get_params() and p.get_params(deep=True) == p.get_params(deep=False)
    before = copy.deepcopy(vars(TEACHER))
    model = ICONClassifier(p=p, random_state=0).fit(X)
    assert str(vars(TEACHER)) == str(before) and model.p_.teacher is not TEACHER
    given = TEACHER.predict_proba(X)
    p_ = ICONClassifier(p=Predictions(given)).fit(X).p_
    assert not np.shares_memory(p_.teacher, given)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict_proba(X), model.predict_proba(X))


def test_what_a_file_can_hold(tmp_path):
    teacher = ICONClassifier(random_state=0).fit(X, Y)
    for given in (teacher, teacher.predict_proba(X)):
        model = ICONClassifier(p=Predictions(given), random_state=0).fit(X)
        iconlearn.save(model, tmp_path / "student.icon")
        back = iconlearn.load(tmp_path / "student.icon")
        np.testing.assert_array_equal(back.predict_proba(X), model.predict_proba(X))
        np.testing.assert_array_equal(rows(back.p_), rows(model.p_))
    with pytest.raises(TypeError, match="teacher is LogisticRegression"):
        iconlearn.save(ICONClassifier(p=Predictions(TEACHER)).fit(X), tmp_path / "student.icon")


def test_a_map_beside_classes_and_what_a_teacher_says_of_a_table():
    model = ICONEmbedding(2, p=Predictions(TEACHER), q="gaussian", mapper="linear", random_state=0).fit(X)
    assert model.column_embedding_.shape == (3, 2) and model.loss_ < model.loss_history_[0]


def test_bad_teachers_are_refused_in_a_sentence():
    P = TEACHER.predict_proba(X)
    two = LogisticRegression(max_iter=1000).fit(X[:100], Y[:100])
    for teacher, message, y in (
        (LogisticRegression(), "no fitted classifier", None),
        (SVC().fit(X, Y), "fitted classifier with predict_proba, or an array", None),
        ("knn", "fitted classifier with predict_proba, or an array", None),
        (P[0], "fitted classifier with predict_proba, or an array", None),
        (P[:70], "probabilities of 70 rows, and X has 150", None),
        (log_softmax(P, axis=1), "must hold probabilities.*least entry of -", None),
        (np.exp(P), "must hold probabilities, and its rows sum to", None),
        (np.where(P < 0.1, np.nan, P), "NaN", None),
        (two, "knows the classes 0, 1, and y has 0, 1, 2", Y),
        (TEACHER, "knows the classes 0, 1, 2, and y has 'setosa', 'versicolor', 'virginica'", NAMES),
        (P[:, :2] / P[:, :2].sum(axis=1, keepdims=True), "2 columns, and y has 3 classes", Y),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            ICONClassifier(p=Predictions(teacher)).fit(X, y)
    with pytest.raises(ValueError, match="temperature=0"):
        ICONClassifier(p=Predictions(TEACHER, 0)).fit(X)
    with pytest.raises(ValueError, match="knows the classes 0, 1, and y has 0, 1, 2"):
        recipes.distillation(teacher=two).fit(X, Y)
    with pytest.raises(TypeError, match=r"distillation\(\) needs teacher: a fitted classifier"):
        recipes.distillation()
    with pytest.raises(ValueError, match="give the classifier itself"):
        Predictions(P).fit(X).extend(X[:3])
    with pytest.raises(ValueError, match="requires y to be passed"):
        ICONClassifier().fit(X)


DIGITS = load_digits(return_X_y=True)


def test_a_student_without_labels_is_as_good_as_one_with_all_of_them():
    """A network of twelve hidden units, half of the digits, and what a forest of the same half says of them."""
    X, y = DIGITS
    X_train, X_new, y_train, y_new = train_test_split(X / 16, y, test_size=0.5, random_state=0, stratify=y)
    teacher = RandomForestClassifier(300, random_state=0).fit(X_train, y_train)
    options = {"mapper": MLP(12), "max_iter": 25, "C": None, "random_state": 0}
    taught = ICONClassifier(p=Predictions(teacher), **options).fit(X_train)
    labelled = ICONClassifier(**options).fit(X_train, y_train)
    assert taught.score(X_new, y_new) > labelled.score(X_new, y_new) - 0.01
    two = np.concatenate([np.flatnonzero(y_train == c)[:2] for c in range(10)])
    few = ICONClassifier(**options).fit(X_train[two], y_train[two])
    assert few.score(X_new, y_new) < taught.score(X_new, y_new) - 0.3


def test_a_frame_of_pandas_is_a_table_of_probabilities():
    P = pd.DataFrame(TEACHER.predict_proba(X), columns=NAMES[[0, 50, 100]])
    np.testing.assert_allclose(rows(Predictions(P).fit(X)), P.to_numpy())
