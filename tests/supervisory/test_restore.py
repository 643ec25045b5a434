"""Restore: targets and what is missing in the rows, against hand-made ones; a linear denoiser is the Wiener filter."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.decomposition import PCA
from torch.nn import functional as F

from iconlearn import ICONEmbedding
from iconlearn.engines import MiniBatch
from iconlearn.learned import Gaussian
from iconlearn.mappers import Autoencoder
from iconlearn.supervisory import Debias, Restore

X = load_digits().data[:60] / 16
T = torch.as_tensor(X)
SQUARED = Gaussian(0.5**0.5, normalize="space")


def restoring(p, n_components=64, mapper="linear", **parameters):
    return ICONEmbedding(
        n_components, p=p, q=SQUARED, mapper=mapper, **{"max_iter": 2, "random_state": 0, **parameters}
    )


def halves(rows):
    return rows[:, :32] * 2


def seen(corrupt, strength=0.3, shape=None, data=T):
    p = Restore(corrupt=corrupt, strength=strength, shape=shape).fit(data.numpy())
    torch.manual_seed(0)
    return p.view(data)


# --- targets -------------------------------------------------------------------------------------------


def test_every_row_belongs_to_its_own_target():
    p = Restore().fit(X)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), np.eye(60))
    assert p.targets_of(X) is X and not p.fresh and p.columns == "targets"
    sparse = csr_array(X)
    assert p.targets_of(sparse) is sparse


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("input", X),
        (40, X[:, 40:]),
        (halves, X[:, :32] * 2),
        (PCA(5).fit(X), PCA(5).fit(X).transform(X)),
    ],
    ids=["input", "companions", "function", "transformer"],
)
def test_the_loss_is_the_squared_error_from_the_targets(target, expected):
    n = expected.shape[1]
    model = restoring(Restore(target), n).fit(X)
    shown = X if target != 40 else X[:, :40]
    error = n * F.mse_loss(torch.as_tensor(model.transform(shown)), torch.as_tensor(expected))
    assert model.loss_ == pytest.approx(float(error) + n / 2 * np.log(np.pi), rel=1e-6)
    coded = restoring(Restore(target), 3, Autoencoder((6,))).fit(X)
    assert coded.transform(shown).shape == (60, 3) and coded.inverse_transform(coded.embedding_).shape == (
        60,
        n,
    )


def test_companions_are_not_read():
    model = restoring(Restore(40), 3, Autoencoder((6,))).fit(X)
    changed = X.copy()
    changed[:, 40:] = 7
    np.testing.assert_array_equal(model.transform(changed), model.embedding_)
    assert model.mapper_.encoder[0].in_features == 40


def test_a_transformer_stays_fitted_and_is_not_shared():
    teacher = PCA(5).fit(X)
    p = Restore(teacher)
    copied = clone(clone(p))
    assert copied.target is not teacher and copied.get_params()["strength"] == 0.2
    np.testing.assert_array_equal(copied.targets_of(X), teacher.transform(X))
    model = restoring(p, 5).fit(X)
    before = model.p_.targets_of(X)
    teacher.components_ *= 2
    np.testing.assert_array_equal(model.p_.targets_of(X), before)


@pytest.mark.parametrize("batch", [7, 60])
def test_batches_bring_each_row_its_own_target(batch):
    seen_batches = []

    class Near(torch.nn.Linear):
        def forward(self, rows):
            seen_batches.append(len(rows))
            return super().forward(rows)

    torch.manual_seed(0)
    model = restoring(
        Restore(), 64, Near(64, 64).double(), engine=MiniBatch(batch), learning_rate=1e-12, max_iter=1
    )
    model.fit(X)
    error = 64 * F.mse_loss(torch.as_tensor(model.embedding_), T) + 32 * np.log(np.pi)
    assert model.loss_history_[0] == pytest.approx(float(error), rel=1e-6)
    assert batch in seen_batches


@pytest.mark.cpu(reason="networks are in single precision on a device")
def test_a_share_spread_over_all_targets():
    model = restoring(Debias(Restore(), 0.25), 3, Autoencoder((6,))).fit(X)
    with torch.no_grad():
        restored = model.mapper_(T).numpy()
    squares = ((restored[:, None] - X[None]) ** 2).sum(axis=2)
    P = 0.75 * np.eye(60) + 0.25 / 60
    expected = (P * (np.log(P) + squares + 32 * np.log(np.pi))).sum() / 60
    assert model.loss_ == pytest.approx(expected, rel=1e-9)


# --- what is missing -----------------------------------------------------------------------------------


def test_noise_and_masks_are_those_of_their_definition():
    torch.manual_seed(0)
    expected = T + 0.3 * torch.as_tensor(X.std(axis=0)) * torch.randn_like(T)
    torch.testing.assert_close(seen("noise"), expected)
    masked = seen("mask").numpy()
    hidden = masked != X
    mean = np.broadcast_to(X.mean(axis=0), X.shape)
    np.testing.assert_allclose(masked[hidden], mean[hidden])
    varying = X.std(axis=0) > 0
    assert hidden[:, varying].mean() == pytest.approx(0.3, abs=0.03)


def test_hidden_parts_of_images():
    images = torch.arange(2.0 * 3 * 4 * 6).reshape(2, -1)
    mean = images.mean(0).reshape(3, 4, 6)
    right = seen("right", 0.5, (3, 4, 6), images).reshape(2, 3, 4, 6)
    torch.testing.assert_close(right[..., :3], images.reshape(2, 3, 4, 6)[..., :3])
    torch.testing.assert_close(right[..., 3:], mean[None, ..., 3:].expand(2, -1, -1, -1))
    small = seen("small", 2, (3, 4, 6), images).reshape(2, 3, 4, 6)
    by_hand = images.reshape(2, 3, 2, 2, 3, 2).mean((3, 5))
    torch.testing.assert_close(small, torch.as_tensor(np.kron(by_hand.numpy(), np.ones((2, 2), np.float32))))
    grey = seen("grey", 0.2, (3, 4, 6), images).reshape(2, 3, 4, 6)
    r, g, b = images.reshape(2, 3, 4, 6).unbind(1)
    for channel in grey.unbind(1):
        torch.testing.assert_close(channel, 0.299 * r + 0.587 * g + 0.114 * b)


@pytest.mark.parametrize(("corrupt", "strength"), [("right", 0.5), ("small", 2), ("small", 3), ("grey", 0.2)])
def test_a_part_that_is_missing_is_missing_the_second_time(corrupt, strength):
    images = torch.rand(5, 3 * 4 * 6, dtype=torch.float64)
    p = Restore(corrupt=corrupt, strength=strength, shape=(3, 4, 6)).fit(images.numpy())
    once = p.view(images)
    assert not torch.equal(once, images)
    torch.testing.assert_close(p.view(once), once)


@pytest.mark.parametrize(("shape", "sides"), [(None, (1, 32)), ((8, 8), (4, 4)), ((4, 4, 4), (2, 2))])
def test_blocks_are_rectangles_anywhere(shape, sides):
    data = torch.rand(400, 64, dtype=torch.float64)
    hidden = (seen("block", 0.5, shape, data) != data).numpy()
    full = (1, 1, 64) if shape is None else (1, *shape) if len(shape) == 2 else shape
    hidden = hidden.reshape(400, *full)
    assert (hidden == hidden[:, :1]).all(), "the same in all channels"
    rows, columns = hidden[:, 0].any(axis=2).sum(axis=1), hidden[:, 0].any(axis=1).sum(axis=1)
    assert (rows == sides[0]).all() and (columns == sides[1]).all()
    assert (hidden[:, 0].sum(axis=(1, 2)) == sides[0] * sides[1]).all()
    assert hidden[:, 0].any(axis=0).all(), "every place is hidden at times"


def test_a_function_makes_the_view():
    out = Restore(corrupt=lambda rows: rows * 2).fit(X).view(T)
    torch.testing.assert_close(out, 2 * T)
    assert restoring(Restore(corrupt=lambda rows: rows * 0), 64).fit(X).loss_is_estimate_


# --- a linear denoiser is known in closed form ---------------------------------------------------------


def test_a_linear_denoiser_is_the_wiener_filter():
    data = load_iris().data
    data = data - data.mean(axis=0)
    deviations = np.diag(0.5 * data.std(axis=0)) ** 2
    C = np.cov(data.T, bias=True)
    wiener = C @ np.linalg.inv(C + deviations)
    # Forty draws of the noise a step.
    steps = {"max_iter": 500, "tol": 0, "learning_rate": 0.01, "engine": MiniBatch(6000)}
    model = restoring(Restore(corrupt="noise", strength=0.5), 4, **steps).fit(np.tile(data, (40, 1)))
    W = model.mapper_.weight.detach().numpy()
    np.testing.assert_allclose(W, wiener, atol=0.01)
    least = np.trace(C - wiener @ C)
    error = np.trace((np.eye(4) - W) @ C @ (np.eye(4) - W).T + W @ deviations @ W.T)
    assert least <= error < 1.001 * least


# --- refusals ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("p", "error", "message"),
    [
        (Restore("inputs"), ValueError, "target='inputs' is not known"),
        (Restore(0.5), TypeError, r"target=0.5 is no target.*a function of a tensor of rows"),
        (Restore(64), ValueError, "target=64 is out of range"),
        (
            Restore(lambda rows: rows[:2]),
            ValueError,
            r"returned shape \(2, 64\)|one row of numbers for every row",
        ),
        (Restore(lambda rows: rows.numpy()), TypeError, "takes a tensor of rows and returns one"),
        (Restore(lambda rows: rows * np.nan), ValueError, "no finite number"),
        (Restore(corrupt="blur"), ValueError, "corrupt='blur' is not known"),
        (
            Restore(corrupt="right"),
            ValueError,
            r"corrupt='right' is about images.*give shape=\(height, width\)",
        ),
        (Restore(corrupt="right", shape=(8, 9)), ValueError, r"shape=\(8, 9\) holds 72 numbers.*has 64"),
        (
            Restore(corrupt="grey", shape=(8, 8)),
            ValueError,
            r"three colours.*has 1; give shape=\(3, height, width\)",
        ),
        (Restore(corrupt="small", shape=(8, 8), strength=2.5), ValueError, "strength=2.5.*whole number"),
        (Restore(corrupt="small", shape=(8, 8), strength=9), ValueError, "strength=9 is out of range"),
        (Restore(corrupt="mask", strength=1.5), ValueError, "strength=1.5 is out of range"),
        (
            Restore(corrupt=lambda rows: rows[:1]),
            ValueError,
            "must return a tensor with one row for every row",
        ),
    ],
)
def test_what_cannot_be_restored_is_said(p, error, message):
    with pytest.raises(error, match=message):
        restoring(p, 3, Autoencoder((6,))).fit(X)


def test_new_rows_have_no_p():
    with pytest.raises(ValueError, match="says nothing about new rows"):
        Restore().fit(X).extend(X[:2])
