"""Classes by what describes them: captions of images (zero rows), or one row of each."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import iconlearn
from iconlearn import ICONClassifier, ICONEmbedding, recipes, views
from iconlearn.engines import MiniBatch
from iconlearn.learned import Cosine
from iconlearn.supervisory import Labels

# The seven segments of each digit on a display: top, right above and below, bottom, left below and above, middle.
SEGMENTS = np.array(
    [list(map(int, code)) for code in (
        "1111110", "0110000", "1101101", "1111001", "0110011", "1011011", "1011111", "1110000", "1111111", "1111011"
    )],
    dtype=np.float32,
)  # fmt: skip
images, digits = load_digits(return_X_y=True)
X, X_NEW, Y, Y_NEW = train_test_split(
    (images / 16).astype(np.float32), digits, test_size=0.5, random_state=0, stratify=digits
)
HIDDEN = (3, 7)


def unit(Z):
    return Z / np.linalg.norm(Z, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def clip():
    seen = ~np.isin(Y, HIDDEN)
    model = recipes.clip(split=64, engine=MiniBatch(128), max_iter=60, random_state=0)
    return model.fit(np.hstack([X, SEGMENTS[Y]])[seen])


def test_classes_are_told_by_their_captions(clip):
    model = clip.classifier(SEGMENTS, range(10))
    cosines = unit(clip.transform(X_NEW)) @ unit(clip.transform_columns(SEGMENTS)).T
    np.testing.assert_array_equal(model.predict(X_NEW), cosines.argmax(axis=1))
    odds = np.exp(cosines / clip.q_.temperature_)
    np.testing.assert_allclose(model.predict_proba(X_NEW), odds / odds.sum(axis=1, keepdims=True), atol=1e-4)
    known = ~np.isin(Y_NEW, HIDDEN)
    assert model.score(X_NEW[known], Y_NEW[known]) > 0.95
    two = clip.classifier(SEGMENTS[list(HIDDEN)], HIDDEN)
    assert two.score(X_NEW[~known], Y_NEW[~known]) > 0.65
    # Beside classes that were seen the unseen ones are mostly taken for these.
    assert 0.1 < model.score(X_NEW[~known], Y_NEW[~known]) < 0.5


def test_several_descriptions_of_a_class_count_by_their_mean(clip):
    order = [9, 8, 8, 1]
    names = np.array([f"the digit {k}" for k in order])
    model = clip.classifier(SEGMENTS[order], names)
    assert model.classes_.tolist() == ["the digit 1", "the digit 8", "the digit 9"]
    places = unit(clip.transform_columns(SEGMENTS))
    np.testing.assert_allclose(model.prototypes_, places[[1, 8, 9]], atol=1e-6)
    mean = clip.classifier(SEGMENTS[[8, 0, 1]], [8, 8, 1]).prototypes_[1]
    np.testing.assert_allclose(mean, places[[8, 0]].mean(axis=0), atol=1e-6)
    assert str(model.predict(X_NEW[Y_NEW == 1])[0]) == "the digit 1"


def test_it_goes_on_with_rows_and_further_classes(clip):
    eight = [k for k in range(10) if k not in HIDDEN]
    model = clip.classifier(SEGMENTS[eight], eight)
    rows = np.concatenate([np.flatnonzero(c == Y)[:5] for c in HIDDEN])
    model.add_classes(X[rows], Y[rows])
    assert model.classes_.tolist() == list(range(10)) and model.score(X_NEW, Y_NEW) > 0.85
    # Further rows move the prototype of their class, to which the description counts as one row.
    ones = X[Y == 1]
    places = np.vstack([unit(clip.transform_columns(SEGMENTS[[1]])), unit(clip.transform(ones))])
    moved = model.partial_fit(ones, Y[Y == 1]).prototypes_
    np.testing.assert_allclose(moved[1], places.mean(axis=0), atol=1e-5)
    # What was made can be fitted anew.
    assert clip.classifier(SEGMENTS, range(10)).set_params(max_iter=3).fit(X, Y).score(X_NEW, Y_NEW) > 0.8


def test_it_is_a_fitted_estimator_like_others(clip, tmp_path):
    model = clip.classifier(SEGMENTS, range(10))
    weights = copy.deepcopy(clip.mapper_.state_dict())
    assert model.loss_ == clip.loss_ and model.n_features_in_ == 64 and model.mapper_ is not clip.mapper_
    iconlearn.save(model, tmp_path / "model.icon")
    for back in (iconlearn.load(tmp_path / "model.icon"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(back.predict_proba(X_NEW), model.predict_proba(X_NEW))
    model.set_params(max_iter=2).fit(X, Y)
    assert all(torch.equal(value, weights[name]) for name, value in clip.mapper_.state_dict().items())
    with pytest.raises(ValueError, match="X has 71 features"):
        clip.classifier(SEGMENTS, range(10)).predict(np.hstack([X_NEW, SEGMENTS[Y_NEW]]))
    with pytest.raises(ValueError, match="these are of descriptions"):
        clip.classifier(SEGMENTS, range(10)).explain(X_NEW)


def test_names_of_columns_are_those_of_the_rows():
    frame = pd.DataFrame(np.hstack([X, SEGMENTS[Y]])[:200], columns=[f"c{k}" for k in range(71)])
    clip = recipes.clip(split=64, n_components=4, max_iter=2, random_state=0).fit(frame)
    model = clip.classifier(frame.iloc[:20, 64:], Y[:20])
    assert model.feature_names_in_.tolist() == list(frame)[:64]
    assert len(model.predict(frame.iloc[:3, :64])) == 3


def test_descriptions_that_cannot_be_used_are_refused(clip):
    for call, message in (
        (
            lambda: clip.classifier(SEGMENTS, range(9)),
            r"classes has shape \(9,\), and there are 10 descriptions",
        ),
        (lambda: clip.classifier(SEGMENTS[:2], [1, 1]), "needs at least two classes"),
        (lambda: clip.classifier(SEGMENTS[:, :5], range(10)), "X has 5 features"),
        (
            lambda: ICONEmbedding(max_iter=2).fit(X[:60]).classifier(X[:2], [0, 1]),
            "maps new rows, and mapper='table'",
        ),
        (
            lambda: (
                ICONEmbedding(p="classes", q="dot", mapper="linear", max_iter=2).fit(X, Y).classifier(X, Y)
            ),
            "columns are not mapped from features",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def one_of_each(seed):
    rng = np.random.RandomState(seed)
    return np.array([rng.choice(np.flatnonzero(c == Y)) for c in range(10)])


def test_one_row_a_class_is_its_mean_where_nothing_is_left_to_learn():
    torch.manual_seed(0)
    encoder = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 8)).requires_grad_(False)
    rows = one_of_each(0)
    options = {"q": "cosine", "mapper": encoder, "n_components": 8, "random_state": 0}
    model = ICONClassifier(p="labels", **options).fit(X[rows], Y[rows])
    Z = [unit(encoder(torch.from_numpy(part)).numpy()) for part in (X_NEW, X[rows])]
    np.testing.assert_array_equal(model.predict(X_NEW), (Z[0] @ Z[1].T).argmax(axis=1))
    told = ICONClassifier(p=Labels(self_pairs=True), **options).fit(X[rows], Y[rows])
    np.testing.assert_array_equal(model.predict_proba(X_NEW), told.predict_proba(X_NEW))
    assert model.loss_ == told.loss_ and model.p_.self_pairs and model.p == "labels"
    # The same by the embedding that learned the encoder.
    fit = ICONEmbedding(8, p="views", q=Cosine(0.1), mapper=encoder, max_iter=1, random_state=0).fit(X)
    np.testing.assert_array_equal(fit.classifier(X[rows], Y[rows]).predict(X_NEW), model.predict(X_NEW))
    # With two rows of a class p is that of class mates, as ever.
    more = np.append(rows, np.flatnonzero(Y == 0)[:2])
    with pytest.warns(UserWarning, match="no other member"):
        assert not ICONClassifier(p="labels", **options).fit(X[more], Y[more]).p_.self_pairs
    for mapper in ("linear", nn.Linear(64, 8)):
        with pytest.raises(ValueError, match=r"every class in y has one row.*requires_grad_\(False\)"):
            ICONClassifier(p="labels", **{**options, "mapper": mapper}).fit(X[rows], Y[rows])


def test_one_row_says_more_on_an_encoder_than_in_pixels():
    shape = (8, 8)
    view = views.compose(views.turn(shape, 30), views.stretch(shape), views.move(shape, 0.8))
    options = {"n_components": 32, "engine": MiniBatch(256), "max_iter": 15, "random_state": 0}
    simclr = recipes.simclr(augment=view, **options).fit(X)

    def mean(encoder, n_components):
        found = []
        for seed in range(8):
            rows = one_of_each(seed)
            model = ICONClassifier(p="labels", q="cosine", mapper=encoder, n_components=n_components)
            found.append(model.fit(X[rows], Y[rows]).score(X_NEW, Y_NEW))
        return np.mean(found)

    learned, pixels = mean(simclr.mapper_.requires_grad_(False), 32), mean(nn.Identity(), 64)
    assert learned > pixels + 0.08
