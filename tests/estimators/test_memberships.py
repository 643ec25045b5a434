"""New rows among clusters."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.datasets import load_digits
from sklearn.metrics import pairwise_distances

from iconlearn import ICONClustering
from iconlearn.supervisory import KNN

X = load_digits().data[:400] / 16
K = 8


@pytest.fixture(scope="module")
def model():
    return ICONClustering(10, p=KNN(K), random_state=0).fit(X[:320])


def sides(row):
    """How a new row and each of its 4 k nearest chose each other, had the new row been there in the fit."""
    old = X[:320]
    to_row = np.linalg.norm(old - row, axis=1)
    among = pairwise_distances(old) + np.diag(np.full(len(old), np.inf))
    ours = np.zeros(len(old))
    ours[np.argsort(to_row)[:K]] = 1 / K
    theirs = to_row < np.sort(among, axis=1)[:, K - 1]
    theirs[np.argsort(to_row)[4 * K :]] = False
    return ours + theirs / K


def objective(weight, model, t):
    """Of the mean loss, what depends on the assignments t of one more row."""
    r = model.probabilities_
    return -weight @ np.log(np.maximum(r / r.sum(axis=0) @ t, 1e-300))


def test_new_rows_take_the_assignments_that_explain_both_sides_best(model):
    found, one_sided = model.predict_proba(X[320:]), 0
    for row, t in zip(X[320:], found, strict=True):
        weight = sides(row)

        def of_logits(z, weight=weight):
            return objective(weight, model, np.exp(z - np.logaddexp.reduce(z)))

        best = min(
            minimize(of_logits, np.log(np.maximum(start, 1e-6))).fun for start in (np.full(10, 0.1), t)
        )
        assert objective(weight, model, t) < best + 1e-6
        one_sided += np.array_equal(weight > 0, np.isin(np.arange(320), np.argsort(weight)[-K:]))
    assert one_sided < 60  # else nothing is said about the other side


def test_a_p_of_one_side_is_enough(model):
    class OneSided(KNN):
        _reciprocal = KNN._extend

    other = ICONClustering(10, p=OneSided(K), random_state=0).fit(X[:320])
    new = X[320:]
    assert (other.predict(new) == model.predict(new)).mean() > 0.9
    assert not np.array_equal(other.predict_proba(new), model.predict_proba(new))
