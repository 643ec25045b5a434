"""Arrays of another library than numpy, with and without scikit-learn's dispatch; `make test-integration` has one."""

import numpy as np
import pytest
import sklearn
from sklearn.datasets import load_iris

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding

strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("dispatch", [False, True])
def test_arrays_of_the_array_api_are_taken_and_answered_in_numpy(dispatch, monkeypatch):
    monkeypatch.setenv("SCIPY_ARRAY_API", "1")
    monkeypatch.setattr("scipy._lib._array_api.SCIPY_ARRAY_API", "1", raising=False)
    X, y = load_iris(return_X_y=True)
    models = (
        ICONEmbedding(max_iter=10, random_state=0),
        ICONClustering(3, n_init=1, random_state=0),
        ICONClassifier(max_iter=10),
    )
    for model in models:
        ask = "transform" if isinstance(model, ICONEmbedding) else "predict"
        expected = getattr(model.fit(X, y), ask)(X), model.score(X, y)
        with sklearn.config_context(array_api_dispatch=dispatch):
            model.fit(strict.asarray(X), strict.asarray(y))
            answers = getattr(model, ask)(strict.asarray(X))
            score = model.score(strict.asarray(X), strict.asarray(y))
        assert isinstance(answers, np.ndarray) and score == expected[1]
        np.testing.assert_array_equal(answers, expected[0])
