"""A warning points at the line of the user that led to it."""

import warnings

import numpy as np
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.supervisory import KNN, Gaussian

X = np.random.default_rng(0).normal(size=(20, 3))
MARKED = np.r_[0, 1, np.full(18, -1)]


def places(work):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        work()
    assert caught
    return {warning.filename for warning in caught}


def test_it_is_the_users_line():
    few = ICONEmbedding(p=KNN(50), max_iter=2)
    assert places(lambda: few.fit(X)) == {__file__}
    assert places(lambda: few.fit_transform(X)) == {__file__}
    assert places(lambda: KNN(50).fit(X)) == {__file__}
    assert places(lambda: ICONClustering(2, p=Gaussian(perplexity=50), n_init=1).fit(X)) == {__file__}
    assert places(lambda: ICONClassifier().fit(X, MARKED)) == {__file__}


def test_through_scikit_learn_too():
    few = ICONEmbedding(p=KNN(50), max_iter=2)
    assert places(lambda: make_pipeline(StandardScaler(), few).fit(X)) == {__file__}
    search = GridSearchCV(few, {"debias": [0.0]}, cv=2)
    assert places(lambda: search.fit(X)) == {__file__}
