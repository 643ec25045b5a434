"""Arrays, lists and datasets of images are rows where a component reads images, with channels first or last."""

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from torch import nn
from torch.utils.data import Dataset

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding, load, recipes, save, views
from iconlearn.engines import MiniBatch
from iconlearn.mappers import ConvAutoencoder, Headed, Projected
from iconlearn.supervisory import Views

pytestmark = pytest.mark.filterwarnings("ignore:max_iter=.*:sklearn.exceptions.ConvergenceWarning")

GREY, Y = load_digits(return_X_y=True)
GREY, Y = (GREY[:40] / 16).astype(np.float32).reshape(-1, 1, 8, 8), Y[:40]
# Channels that differ, and sides that differ from each other and from the number of channels.
COLOUR = np.concatenate([GREY, GREY**2, 1 - GREY], axis=1)[:, :, :6]
FLAT = COLOUR.reshape(40, -1)


def reading(n_outputs):
    """A network of images, the same one whenever it is made."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(24, n_outputs))


def unflattened(n_outputs):
    return nn.Sequential(nn.Unflatten(1, (3, 6, 8)), reading(n_outputs))


class Own(nn.Module):
    """A module of another class, whose convolution is somewhere inside."""

    def __init__(self):
        super().__init__()
        self.inner = reading(3)

    def forward(self, images):
        return self.inner(images)


class Items(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        if i >= len(self.images):
            raise IndexError(i)
        return self.images[i], 0


LAST = np.ascontiguousarray(np.moveaxis(COLOUR, 1, -1))
FORMS = {
    "channels first": COLOUR,
    "channels last": LAST,
    "a view": np.asfortranarray(LAST)[::1],
    "tensor": torch.from_numpy(LAST),
    "list": list(COLOUR),
    "dataset": Items(COLOUR),
    "dataset, channels last": Items(LAST),
}
QUICK = {"max_iter": 1, "random_state": 0, "engine": MiniBatch(20)}
ESTIMATORS = {
    "classifier": lambda m: ICONClassifier(mapper=m, **QUICK),
    "embedding": lambda m: ICONEmbedding(3, mapper=m, p="knn", **QUICK),
    "clustering": lambda m: ICONClustering(3, mapper=m, n_init=1, **QUICK),
}


def said(model, X):
    return np.asarray(model.predict_proba(X) if hasattr(model, "predict_proba") else model.transform(X))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_form_is_the_flat_rows(name):
    y = Y % 3
    expected = ESTIMATORS[name](unflattened(3)).fit(FLAT, y)
    some = FORMS if name == "classifier" else {"channels last": LAST}
    for form, X in some.items():
        model = ESTIMATORS[name](reading(3)).fit(X, y)
        assert model.n_features_in_ == 144 and model.image_shape_ == (3, 6, 8), form
        for new in (COLOUR[:5] + 1, LAST[:5] + 1, FLAT[:5] + 1):
            assert_array_equal(said(model, new), said(expected, FLAT[:5] + 1), err_msg=form)
    assert_array_equal(said(ESTIMATORS[name](Own()).fit(COLOUR, y), COLOUR), said(expected, FLAT))
    # The module itself was neither changed nor kept.
    assert isinstance(ESTIMATORS[name](reading(3)).mapper[0], nn.Conv2d)


@pytest.mark.parametrize(
    "estimator",
    [
        recipes.conv_autoencoder(shape=(3, 6, 8), max_iter=1),
        recipes.rotation(shape=(1, 8, 8), max_iter=2),
        recipes.relative_patch(shape=(1, 8, 8), n_components=9, max_iter=2),
        recipes.inpainting(shape=(3, 6, 8), max_iter=2, n_components=144),
        recipes.simclr(max_iter=2).set_params(
            p=Views(views.compose(views.crop((3, 6, 8)), views.cutout((3, 6, 8), 0.3)))
        ),
        ICONEmbedding(4, p=Views(views.move((3, 6, 8))), mapper=Projected(reading(4), (8, 3)), **QUICK),
        ICONClassifier(mapper=Headed(reading(5)), **QUICK),
    ],
    ids=lambda e: f"{type(e.p).__name__} {type(e.mapper).__name__}",
)
def test_whatever_reads_images_takes_them(estimator):
    X = GREY if "(1, 8, 8)" in repr(estimator.p) or "(1, 8, 8)" in repr(estimator.mapper) else COLOUR
    flat = X.reshape(40, -1)
    model = clone(estimator).set_params(random_state=0).fit(np.moveaxis(X, 1, -1), Y)
    assert model.image_shape_ == X.shape[1:]
    if not isinstance(
        getattr(estimator.mapper, "body", getattr(estimator.mapper, "encoder", None)), nn.Module
    ):
        expected = clone(estimator).set_params(random_state=0).fit(flat, Y)
        assert_array_equal(said(model, X), said(expected, flat))
        if X.shape[1] == 1:  # grey images may lack the channel
            assert_array_equal(said(model, X[:, 0]), said(expected, flat))
    assert_array_equal(said(model, X), said(model, flat))


def test_tools_of_scikit_learn(tmp_path):
    y = Y % 3
    model = ICONClassifier(mapper=reading(3), **QUICK)
    scores = cross_val_score(model, LAST, y, cv=3)
    assert_array_equal(scores, cross_val_score(ICONClassifier(mapper=unflattened(3), **QUICK), FLAT, y, cv=3))
    search = GridSearchCV(make_pipeline(model), {"iconclassifier__C": [0.1, 10.0]}, cv=2).fit(COLOUR, y)
    assert search.predict(LAST[:4]).shape == (4,)
    model.fit(LAST, y).partial_fit(LAST[:20], y[:20])
    assert len(model.add_classes(COLOUR[:4], np.full(4, 7)).classes_) == 4 if model._moments else True
    model = ICONClassifier(mapper=reading(3), **QUICK).fit(LAST, y)
    save(model, tmp_path / "model")
    again = load(tmp_path / "model", mapper=reading(3))
    assert_array_equal(again.predict_proba(LAST), model.predict_proba(COLOUR))
    # A later fit to flat rows of another kind knows nothing of these images.
    model.set_params(mapper="linear").fit(FLAT[:, :7], y)
    assert not hasattr(model, "image_shape_")
    with pytest.raises(ValueError, match=r"X\.reshape"):
        model.predict(COLOUR)


@pytest.mark.parametrize(
    "estimator, X, match",
    [
        (ICONEmbedding(), COLOUR, r"shape \(40, 3, 6, 8\).*X.reshape\(len\(X\), -1\)"),
        (ICONEmbedding(mapper="mlp"), COLOUR, r"X.reshape"),
        (ICONClassifier(mapper=nn.Linear(8, 3)), COLOUR, r"X.reshape"),
        (ICONClassifier(mapper=lambda a, b: nn.Linear(a, b)), COLOUR, r"X.reshape"),
        (ICONClassifier(mapper=reading(3)), GREY, r"images of shape \(1, 8, 8\).*3 channels"),
        (ICONClassifier(mapper=unflattened(3)), COLOUR[:, :, :5], r"\(3, 5, 8\).*reads images of shape \(3, 6, 8\)"),
        (ICONEmbedding(mapper=ConvAutoencoder((4, 8)), p="restore"), GREY, r"reads images of shape \(1, 4, 8\)"),
        (ICONClassifier(mapper=reading(3)), COLOUR[..., None], r"3 channels and 2 further sides"),
        (ICONClassifier(mapper=reading(3)), FLAT, r"begins with torch.nn.Unflatten"),
    ],
)  # fmt: skip
def test_what_is_no_such_image_is_told(estimator, X, match):
    with pytest.raises(ValueError, match=match):
        estimator.fit(X, Y % 3)
    assert not hasattr(estimator, "image_shape_")
