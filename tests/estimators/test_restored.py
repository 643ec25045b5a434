"""What autoencoders, restorers and BYOL reach on the digits, half of them held out."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from iconlearn import recipes
from iconlearn.mappers import Projected

X, Y = load_digits(return_X_y=True)
TRAIN, TEST, Y_TRAIN, Y_TEST = train_test_split(
    (X / 16).astype(np.float32), Y, test_size=899, random_state=0, stratify=Y
)


def fitted(key, max_iter=150, data=TRAIN, **parameters):
    return recipes.RECIPES[key](max_iter=max_iter, tol=0, random_state=0, **parameters).fit(data)


def error(model):
    return ((TEST - model.inverse_transform(model.transform(TEST))) ** 2).sum(axis=1).mean()


def probe(model):
    """Held-out accuracy of a logistic regression on what the model shows."""
    linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
    return linear.fit(model.transform(TRAIN), Y_TRAIN).score(model.transform(TEST), Y_TEST)


def test_a_narrow_code_restores_more_than_principal_components():
    plain = fitted("autoencoder")
    assert error(plain) <= 1.10 < 1.5 < error(PCA(8).fit(TRAIN))


def test_sparse_codes_know_the_digits():
    model = fitted("sparse_autoencoder")
    assert probe(model) >= 0.965 and model.transform(TEST).mean() <= 0.07


@pytest.mark.slow
def test_a_variational_code_is_spread_as_its_prior():
    model = fitted("vae", sigma=0.05**0.5)
    deviations = model.transform(TEST).std(axis=0)
    assert error(model) <= 1.40 and 0.7 < np.median(deviations) < 1.1
    drawn = model.sample(300, random_state=0)
    # Samples are about as far from the nearest digit as digits that were held out are.
    near = [
        np.sqrt(((rows[:, None] - TRAIN) ** 2).sum(axis=2).min(axis=1)).mean() for rows in (drawn, TEST[:300])
    ]
    assert near[0] < 1.3 * near[1]


@pytest.mark.slow
def test_noise_leaves_codes_that_know_the_digits():
    assert probe(fitted("denoising_autoencoder")) >= 0.90


@pytest.mark.slow
def test_a_contractive_code_is_small_and_knows_the_digits():
    model, plain = fitted("contractive_autoencoder"), fitted("autoencoder", n_components=32)
    mean, of_plain = (np.abs(m.transform(TEST)).mean() for m in (model, plain))
    assert mean <= 0.5 * of_plain and probe(model) >= 0.95


def r_squared(wanted, given, where=slice(None)):
    wanted, given = wanted[:, where], given[:, where]
    return 1 - ((wanted - given) ** 2).sum() / ((wanted - wanted.mean(axis=0)) ** 2).sum()


def restored(model, train, test, where=slice(None)):
    """R^2 of what is restored of held-out images, of a ridge regression, and of what is seen of them."""
    seen = [model.p_.view(torch.as_tensor(rows)).numpy() for rows in (train, test)]
    by_ridge = Ridge(1.0).fit(seen[0], train).predict(seen[1])
    return [r_squared(test, given, where) for given in (model.transform(seen[1]), by_ridge, seen[1])]


def test_the_right_half_of_a_digit_from_the_left():
    model = fitted("inpainting", 60, shape=(8, 8))
    ours, ridge, _ = restored(model, TRAIN, TEST, np.arange(64) % 8 >= 4)
    assert ours >= 0.38 and ours > ridge + 0.1


def test_eight_by_eight_pixels_from_four_by_four():
    model = fitted("super_resolution", 60, shape=(8, 8))
    ours, ridge, seen = restored(model, TRAIN, TEST)
    assert ours > ridge + 0.05 > seen


@pytest.mark.slow
def test_colours_of_a_photograph():
    pytest.importorskip("PIL", reason="scikit-learn opens its photographs by Pillow")
    from sklearn.datasets import load_sample_image

    image = load_sample_image("flower.jpg")[:424] / 255
    blocks = image.reshape(53, 8, 80, 8, 3).transpose(0, 2, 4, 1, 3).reshape(4240, 192).astype(np.float32)
    order = np.random.RandomState(0).permutation(4240)
    train, test = blocks[order[:2000]], blocks[order[2000:4000]]
    model = fitted("colorization", 40, train, shape=(3, 8, 8))
    grey = [model.p_.view(torch.as_tensor(rows)).numpy() for rows in (train, test)]
    by_ridge = Ridge(1.0).fit(grey[0], train).predict(grey[1])
    ours, ridge = (
        r_squared(test - grey[1], given - grey[1]) for given in (model.transform(grey[1]), by_ridge)
    )
    assert ours >= 0.60 and ours > ridge + 0.05


def moved(rows):
    """Digits that are turned, scaled and moved a little."""
    n = len(rows)
    turn, scale = 0.26 * (2 * torch.rand(n) - 1), 1 + 0.1 * (2 * torch.rand(n) - 1)
    shift = 0.25 * (2 * torch.rand(n, 2) - 1)
    c, s = scale * torch.cos(turn), scale * torch.sin(turn)
    plane = torch.stack([torch.stack([c, -s, shift[:, 0]], 1), torch.stack([s, c, shift[:, 1]], 1)], 1)
    images = rows.view(n, 1, 8, 8)
    grid = nn.functional.affine_grid(plane.to(rows), images.shape, align_corners=False)
    return nn.functional.grid_sample(images, grid, align_corners=False).flatten(1)


def convolutions(n_inputs, n_outputs):
    layers = [nn.Unflatten(1, (1, 8, 8))]
    for before, after in ((1, 24), (24, 48)):
        layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(192, n_outputs))


@pytest.mark.slow
def test_byol_learns_features_without_negatives_and_does_not_collapse():
    model = recipes.byol(augment=moved, max_iter=25, tol=0, random_state=0)
    model.set_params(mapper=Projected(convolutions, predictor=(128,))).fit(TRAIN)
    assert probe(model) >= 0.945
    accuracies = []
    for seed in range(3):
        few = np.random.RandomState(seed).permutation(len(TRAIN))
        few = np.concatenate([few[Y_TRAIN[few] == c][:5] for c in range(10)])
        linear = make_pipeline(StandardScaler(), LogisticRegression(max_iter=3000))
        linear.fit(model.transform(TRAIN[few]), Y_TRAIN[few])
        accuracies.append(linear.score(model.transform(TEST), Y_TEST))
    assert np.mean(accuracies) >= 0.84
    with torch.no_grad():
        outputs = nn.functional.normalize(model.mapper_(torch.as_tensor(TEST)), dim=1)
    assert float((outputs - outputs.mean(0)).square().sum(1).mean().sqrt()) > 0.6
