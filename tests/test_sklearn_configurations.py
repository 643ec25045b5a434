"""scikit-learn's own checks on further configurations of each estimator."""

import pytest
from scikit_learn_checks import checked
from sklearn.utils.estimator_checks import parametrize_with_checks

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding
from iconlearn.supervisory import KNN, Debias, Gaussian, Walk

ESTIMATORS = [
    ICONEmbedding(p="knn", max_iter=5),
    ICONEmbedding(p="student", max_iter=5),
    ICONEmbedding(p=Debias(Walk(KNN(5)), 0.1), max_iter=5),
    ICONEmbedding(mapper="linear", max_iter=10),
    ICONEmbedding(q="cosine", max_iter=5),
    ICONEmbedding(q="gaussian", divergence="jensen_shannon", max_iter=5),
    ICONEmbedding(engine="minibatch", max_iter=5),
    ICONClustering(p="gaussian", debias=0.1, n_init=2, max_iter=10),
    ICONClustering(p=Gaussian(5.0, n_neighbors=None), init="kmeans", n_init=1, max_iter=5),
    ICONClustering(mapper="linear", n_init=2, max_iter=5),
    ICONClustering("auto", n_init=2, max_iter=5),
    ICONClustering(engine="dense", n_init=2, max_iter=5),
    ICONClassifier(q="gaussian", max_iter=30),
    ICONClassifier(q="cosine", max_iter=30),
    ICONClassifier(q="student", max_iter=30),
    ICONClassifier(p="labels", q="cosine", max_iter=20),
    ICONClassifier(mapper="mlp", max_iter=30, learning_rate=0.01),
    ICONClassifier(debias=0.1, max_iter=200),
    ICONClassifier(mapper="table", graph=KNN(10)),
]


@parametrize_with_checks(ESTIMATORS)
def test_contract(estimator, check):
    if check.func.__name__ == "check_estimator_sparse_matrix":
        pytest.skip("sparse arrays take the same way; test_sklearn.py has both")
    checked(estimator, check)
