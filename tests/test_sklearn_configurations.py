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
    ICONClustering(mapper="linear", n_init=1, max_iter=5),
    ICONClustering("auto", n_init=1, max_iter=5),
    ICONClustering(engine="dense", n_init=1, max_iter=5),
    ICONClassifier(q="gaussian", max_iter=30),
    ICONClassifier(q="student", max_iter=30),
    ICONClassifier(p="labels", q="cosine", max_iter=20),
    ICONClassifier(mapper="mlp", max_iter=30, learning_rate=0.01),
    ICONClassifier(debias=0.1, max_iter=200),
    ICONClassifier(mapper="table", graph=KNN(10)),
]


# How arrays are read, which are refused, and how rows are weighed does not depend on the configuration: all of it goes
# through estimators/_inputs.py before p, q, mapper or engine is asked for.
IN_THE_OTHER_FILE = {
    "check_class_weight_classifiers",
    "check_classifier_data_not_an_array",
    "check_complex_data",
    "check_dtype_object",
    "check_estimator_sparse_array",
    "check_estimator_sparse_matrix",
    "check_estimator_sparse_tag",
    "check_estimators_empty_data_messages",
    "check_estimators_nan_inf",
    "check_f_contiguous_array_estimator",
    "check_fit1d",
    "check_fit2d_predict1d",
    "check_n_features_in",
    "check_n_features_in_after_fitting",
    "check_pipeline_consistency",
    "check_positive_only_tag_during_fit",
    "check_sample_weights_list",
    "check_sample_weights_not_an_array",
    "check_sample_weights_pandas_series",
    "check_sample_weights_shape",
    "check_transformer_data_not_an_array",
}
# These come once more with arrays that cannot be written, which is the stricter form.
TWICE = {"check_classifiers_train", "check_clustering", "check_transformer_general"}


@parametrize_with_checks(ESTIMATORS)
def test_contract(estimator, check):
    name, options = check.func.__name__, check.keywords
    if name in IN_THE_OTHER_FILE:
        pytest.skip("the same for all configurations; test_sklearn.py has it")
    if name in TWICE and ("X_dtype" in options or not options.get("readonly_memmap")):
        pytest.skip("once with arrays that cannot be written; test_sklearn.py has all forms")
    checked(estimator, check)
