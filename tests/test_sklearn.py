"""scikit-learn's own checks, on the estimators as they are and on a few configurations.

No check is expected to fail.  The configurations are short fits: what is checked is the contract, and
tests/estimators checks the quality.  The oldest supported versions are tested by this file.
"""

from scikit_learn_checks import checked
from sklearn.utils.estimator_checks import parametrize_with_checks

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, NeighborsTransformer
from iconlearn.engines import MiniBatch
from iconlearn.supervisory import KNN

ESTIMATORS = [
    ICONEmbedding(),
    ICONEmbedding(engine=MiniBatch(16), mapper="mlp", max_iter=2),
    ICONClustering(),
    ICONClustering(mapper="linear", n_init=2, max_iter=5),
    ICONClassifier(),
    ICONClassifier(mapper="table", graph=KNN(10)),
    NeighborsTransformer(),
]


@parametrize_with_checks(ESTIMATORS)
def test_contract(estimator, check):
    checked(estimator, check)
