"""mlflow's models of scikit-learn, in its default format; `make test-integration` has it."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from iconlearn import ICONClassifier, ICONEmbedding, slim

pytest.importorskip("skops", reason="skops is not installed")
mlflow = pytest.importorskip("mlflow.sklearn", reason="mlflow is not installed")

X, y = load_digits(return_X_y=True)


def untrusted(model):
    import skops.io

    return skops.io.get_untrusted_types(data=skops.io.dumps(model))


def test_models_come_back_whole_and_slim(tmp_path):
    pipe = make_pipeline(
        StandardScaler(), ICONEmbedding(5, mapper="linear", random_state=0), ICONClassifier()
    )
    pipe.fit(X[:600], y[:600])
    sizes = []
    for name, model in (("whole", pipe), ("slim", slim(pipe))):
        mlflow.save_model(model, tmp_path / name, skops_trusted_types=untrusted(model))
        loaded = mlflow.load_model(tmp_path / name)
        np.testing.assert_array_equal(loaded.predict(X[600:700]), pipe.predict(X[600:700]))
        sizes.append(sum(path.stat().st_size for path in (tmp_path / name).iterdir()))
    assert sizes[1] < sizes[0] / 2
