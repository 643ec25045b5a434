"""One rule says how long Adam's steps are, and a learning rate that is told goes before it."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.learned import InversePower

X, y = make_blobs(60, n_features=4, centers=3, random_state=0)

FITS = {
    "table": (ICONEmbedding(q=InversePower(), max_iter=5, random_state=0), 0.1),
    "linear map": (ICONEmbedding(mapper="linear", optimizer="adam", max_iter=5, random_state=0), 0.01),
    "network": (ICONEmbedding(mapper="mlp", max_iter=3, random_state=0), 0.003),
    "linear head": (ICONClustering(3, mapper="linear", init="random", max_iter=3, random_state=0), 0.01),
    "deep head": (ICONClustering(3, mapper="mlp", init="random", max_iter=3, random_state=0), 0.001),
    "linear classifier": (ICONClassifier(optimizer="adam", max_iter=5, random_state=0), 0.01),
    "deep classifier": (ICONClassifier(mapper="mlp", max_iter=3, random_state=0), 0.003),
}


@pytest.mark.parametrize("name", FITS)
def test_the_rate_is_that_of_what_is_moved(name):
    estimator, rate = FITS[name]
    by_rule, told, other = (
        clone(estimator).set_params(learning_rate=choice).fit(X, y).loss_history_
        for choice in ("auto", rate, 0.5 * rate)
    )
    np.testing.assert_array_equal(by_rule, told)
    assert not np.array_equal(by_rule, other)
