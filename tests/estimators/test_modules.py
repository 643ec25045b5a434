"""The answers of a fit as one torch module; tests/integration exports them to ONNX."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline

import iconlearn
from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, to_module
from iconlearn.supervisory import Paired

X, y = load_digits(return_X_y=True)
X = X.astype(np.float32) / 16
TRAIN, NEW = slice(0, 300), slice(300, 350)

FITS = {
    "linear map": ICONEmbedding(mapper="linear", max_iter=10, random_state=0),
    "directions": ICONEmbedding(3, mapper="mlp", q="cosine", max_iter=1, random_state=0),
    "code": iconlearn.recipes.autoencoder(n_components=3, max_iter=1, random_state=0),
    "one side": ICONEmbedding(4, mapper="linear", p=Paired(split=32), q="cosine", max_iter=3, random_state=0),
    "clusters": ICONClustering(10, mapper="linear", n_init=2, max_iter=5, random_state=0),
    "classes": ICONClassifier(calibrate=True, random_state=0),
    "weighted means": ICONClassifier(
        p="labels", q="student", class_weight={0: 5.0}, max_iter=5, random_state=0
    ),
    "two classes": ICONClassifier(mapper="mlp", max_iter=2, random_state=0),
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", FITS)
def test_it_gives_what_the_model_gives(name):
    labels = y % 2 if name == "two classes" else y
    model = FITS[name].fit(X[TRAIN], labels[TRAIN])
    expected = (model.transform if isinstance(model, ICONEmbedding) else model.predict_proba)(X[NEW])
    module = to_module(model)
    with torch.no_grad():
        got = module(torch.from_numpy(X[NEW]))
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-5, atol=1e-7)
        assert not module.training and got.dtype == next(model.mapper_.parameters()).dtype
        for weight in module.parameters():
            weight.zero_()
    unchanged = (model.transform if isinstance(model, ICONEmbedding) else model.predict_proba)(X[NEW])
    np.testing.assert_array_equal(unchanged, expected)


def test_what_has_no_module_is_refused():
    table = ICONEmbedding(max_iter=2).fit(X[:50])
    with pytest.raises(ValueError, match=r"mapper='table'.*to_module would leave out"):
        to_module(table)
    with pytest.raises(TypeError, match="Pipeline; to_module takes"):
        to_module(make_pipeline(table))
