"""Mappers in ONNX, answered by onnxruntime; `make test-integration` has both."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, to_module

onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
pytest.importorskip("onnxscript", reason="onnxscript is not installed")

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32) / 16


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(
    ("model", "answer"),
    [
        (ICONEmbedding(mapper="linear", max_iter=20, random_state=0), "transform"),
        (ICONEmbedding(5, mapper="mlp", q="cosine", max_iter=2, random_state=0), "transform"),
        (ICONClustering(10, mapper="linear", n_init=2, max_iter=5, random_state=0), "predict_proba"),
        (ICONClassifier(mapper="mlp", max_iter=5, random_state=0), "predict_proba"),
        (ICONClassifier(p="labels", q="gaussian", max_iter=5, random_state=0), "predict_proba"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{type(value).__name__}-{value.mapper}-{value.q}",
)
def test_onnxruntime_gives_what_the_model_gives(model, answer, tmp_path):
    model.fit(X[:400], y[:400])
    path = tmp_path / "model.onnx"
    torch.onnx.export(
        to_module(model), (torch.from_numpy(X[:2]),), path, input_names=["X"], output_names=["answers"],
        dynamic_shapes=({0: torch.export.Dim("rows")},), dynamo=True,
    )  # fmt: skip
    session = onnxruntime.InferenceSession(path)
    for rows in (X[400:450], X[:1]):
        (got,) = session.run(None, {"X": rows})
        np.testing.assert_allclose(got, getattr(model, answer)(rows), rtol=1e-4, atol=1e-6)
