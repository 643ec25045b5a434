"""Which fits say that max_iter ended them: those that look for an optimum."""

import warnings

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.exceptions import ConvergenceWarning

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, recipes
from iconlearn.engines import MiniBatch

X, y = load_iris(return_X_y=True)
X, y = X[::2], y[::2]
SOME = np.where(np.arange(len(y)) % 3 == 0, y, -1)
MESSAGE = "iterations ended the fit before it had converged"

ENDED = {
    "logistic regression": ICONClassifier(max_iter=2),
    "full-batch network": ICONClassifier(mapper="mlp", engine="dense", max_iter=2),
    "clusters": ICONClustering(3, max_iter=1),
    "k-means": recipes.k_means(n_clusters=3).set_params(init="random", n_init=1, max_iter=1),
    "head": ICONClustering(3, mapper="linear", max_iter=2),
    "projection": ICONEmbedding(mapper="linear", max_iter=2),
    "map by L-BFGS": ICONEmbedding(optimizer="lbfgs", max_iter=2),
    "few labels": ICONClassifier(unlabeled=-1, max_iter=1),
}
COUNTED = {
    "map": ICONEmbedding(),
    "short map": ICONEmbedding(max_iter=5),
    "map by Adam": ICONEmbedding(optimizer="adam", max_iter=5),
    "batches": ICONEmbedding(mapper="mlp", engine=MiniBatch(32), max_iter=2),
    "network": ICONClassifier(mapper="mlp", max_iter=3),
    "stream of clusters": ICONClustering(3, mapper="linear", engine=MiniBatch(32), max_iter=3),
}
BY_DEFAULT = {
    "classes": ICONClassifier(),
    "clusters": ICONClustering(3),
    "head": ICONClustering(3, mapper="linear"),
    "few labels": ICONClassifier(unlabeled=-1),
    "few labels, linear": ICONClassifier(unlabeled=-1, mapper="linear"),
    "k-means": recipes.k_means(n_clusters=3),
    "principal components": recipes.pca(n_components=2),
}


def fit(model, name):
    return model.set_params(random_state=0).fit(X, SOME if name.startswith("few") else y)


@pytest.mark.parametrize("name", ENDED)
def test_a_search_that_max_iter_ends_says_so(name):
    with pytest.warns(ConvergenceWarning, match=MESSAGE) as caught:
        model = fit(ENDED[name], name)
    assert (model.stop_reason_, model.converged_) == ("max_iter", False)
    assert sum(MESSAGE in str(warning.message) for warning in caught) == 1


@pytest.mark.parametrize("name", [*COUNTED, *BY_DEFAULT])
def test_steps_that_are_counted_say_nothing(name):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit({**BY_DEFAULT, **COUNTED}[name], name)
    assert not [str(warning.message) for warning in caught if MESSAGE in str(warning.message)]


def test_batches_of_a_stream_say_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ICONClassifier(random_state=0).partial_fit(X, y, classes=[0, 1, 2]).partial_fit(X, y)
        ICONClustering(3, mapper="linear", random_state=0).fit(X).partial_fit(X)
