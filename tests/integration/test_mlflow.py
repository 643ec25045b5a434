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


@pytest.mark.parametrize("make_small", [False, True], ids=["whole", "slim"])
def test_a_model_comes_back(make_small, tmp_path):
    pipe = make_pipeline(
        StandardScaler(), ICONEmbedding(5, mapper="linear", random_state=0), ICONClassifier()
    )
    pipe.fit(X[:300], y[:300])
    model = slim(pipe) if make_small else pipe
    mlflow.save_model(model, tmp_path / "model", skops_trusted_types=untrusted(model))
    loaded = mlflow.load_model(tmp_path / "model")
    np.testing.assert_array_equal(loaded.predict(X[300:400]), pipe.predict(X[300:400]))
    size = sum(path.stat().st_size for path in (tmp_path / "model").iterdir())
    assert (size < 120_000) == make_small
