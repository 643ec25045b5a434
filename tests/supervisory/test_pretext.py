"""Tasks made of the data: the views that they show, what gives them away, and what is refused."""

import pickle

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn

import iconlearn
from iconlearn import ICONClassifier, ICONEmbedding, Term, recipes, views
from iconlearn.engines import MiniBatch
from iconlearn.mappers import MLP, PatchPairs
from iconlearn.supervisory import Pretext, Views

SHAPE = (2, 9, 9)
X = np.random.default_rng(0).random((6, 162))
ROWS = torch.as_tensor(X)
DIGITS = load_digits(return_X_y=True)[0].astype(np.float32)[:400] / 16


def fitted(task, **parameters):
    return Pretext(task, SHAPE, **parameters).fit(X, random_state=0)


def test_position_r_shows_row_r_by_the_task_r_over_n():
    p = fitted("rotation")
    rows = torch.tensor([0, 7, 14, 23])
    expected = [np.rot90(X[r % 6].reshape(SHAPE), r // 6, axes=(1, 2)).ravel() for r in rows.tolist()]
    np.testing.assert_array_equal(p.view(ROWS[rows % 6], rows), expected)
    np.testing.assert_array_equal(p.conditional_.sparse().toarray(), np.repeat(np.eye(4), 6, axis=0))
    for k in range(4):
        turned = np.rot90(X.reshape(6, *SHAPE), k, axes=(2, 3)).reshape(6, -1)
        np.testing.assert_array_equal(p.views(X, k), turned)


def test_parts_keep_their_gap_and_jitter_within_it():
    for gap, jitter in ((0, 0), (1, 0), (3, 1)):
        p, side = fitted("patches", gap=gap, jitter=jitter), (9 - 2 * gap) // 3
        image = torch.arange(162.0)[None].expand(400, -1)  # every pixel says where it is
        seen = p.views(image, 4).reshape(400, 2, 2, side, side).numpy() % 81
        tops, lefts = seen[:, :, 0, 0, 0] // 9, seen[:, :, 0, 0, 0] % 9
        middle = round((9 - side) / 2)
        right = 9 - side
        assert set(tops[:, 0] - middle) == set(lefts[:, 0] - middle) == set(range(-jitter, jitter + 1))
        assert set(lefts[:, 1]) == set(range(right - jitter, right + 1)), "parts stay in the image"
        assert (lefts[:, 1] - lefts[:, 0] >= side + gap - 2 * jitter).all()


def test_channels_of_every_part_move_by_themselves():
    p = fitted("patches", shift=1)
    image = torch.arange(162.0)[None].expand(300, -1)
    seen = p.views(image, 0).reshape(300, 2, 2, -1).numpy()
    same = [np.array_equal(seen[k, 0, 0] + 81, seen[k, 0, 1]) for k in range(300)]
    assert 0 < np.mean(same) < 0.3, "one part in nine has both channels where they were"
    shifted = fitted("rotation", shift=2).views(image, 0).numpy()
    assert len(np.unique(shifted, axis=0)) > 100


def test_orders_of_a_jigsaw_are_far_from_one_another_and_follow_the_seed():
    p = Pretext("jigsaw", SHAPE, n_tasks=12).fit(X, random_state=1)
    orders = p.permutations_
    assert orders.shape == (12, 9) and (np.sort(orders, axis=1) == np.arange(9)).all()
    np.testing.assert_array_equal(orders[0], np.arange(9))
    apart = (orders[:, None] != orders).sum(axis=2) + 9 * np.eye(12, dtype=int)
    assert apart.min() >= 7
    np.testing.assert_array_equal(p.views(X, 0), X)
    again = Pretext("jigsaw", SHAPE, n_tasks=12).fit(X, random_state=1).permutations_
    other = Pretext("jigsaw", SHAPE, n_tasks=12).fit(X, random_state=2).permutations_
    assert np.array_equal(again, orders) and not np.array_equal(other, orders)
    two = Pretext("jigsaw", SHAPE, n_tasks=24, grid=2).fit(X)
    assert len(np.unique(two.permutations_, axis=0)) == 24


def test_a_jigsaw_puts_parts_where_its_order_says():
    p = fitted("jigsaw", grid=3)
    images = X.reshape(6, *SHAPE)
    for task, order in enumerate(p.permutations_):
        made = np.zeros_like(images)
        for place, part in enumerate(order):
            (r, c), (s, d) = np.divmod(place, 3), np.divmod(part, 3)
            made[:, :, 3 * r : 3 * r + 3, 3 * c : 3 * c + 3] = images[
                :, :, 3 * s : 3 * s + 3, 3 * d : 3 * d + 3
            ]
        np.testing.assert_array_equal(p.views(X, task), made.reshape(6, -1))


def reversed_or_not(rows, task):
    return rows.flip(1) if task else rows


def test_a_task_of_ones_own():
    p = Pretext(reversed_or_not, n_tasks=2).fit(X)
    np.testing.assert_array_equal(p.view(ROWS[[1, 2]], torch.tensor([1, 8])), [X[1], X[2, ::-1]])
    signal = np.cumsum(np.random.default_rng(0).exponential(size=(300, 12)), axis=1).astype(np.float32)
    model = ICONEmbedding(
        4, p=p, q="dot", mapper="linear", engine=MiniBatch(64), max_iter=20, random_state=0
    ).fit(signal - signal.mean(axis=1, keepdims=True))
    assert model.loss_ < 0.1, "rising and falling are told apart"
    for wrong, message in (
        (lambda rows, task: rows[:1], r"returned \(1, 162\) for 6 rows and task 0"),
        (lambda rows, task: rows[:, task:], r"views of shapes \(162,\) and \(161,\)"),
        (lambda rows, task: rows.numpy(), "returned ndarray"),
    ):
        with pytest.raises(ValueError, match=message):
            Pretext(wrong, n_tasks=2).fit(X).view(ROWS.repeat(2, 1), torch.arange(12))


def test_what_rows_are_seen_through_first_comes_first():
    p = fitted("rotation", augment=torch.neg)
    np.testing.assert_array_equal(p.views(X, 2), -fitted("rotation").views(X, 2))
    same = fitted("jigsaw", augment=views.crop(SHAPE, (0.3, 0.5)))
    torch.manual_seed(0)
    one = same.views(X, 0)
    torch.manual_seed(0)
    np.testing.assert_array_equal(one, views.crop(SHAPE, (0.3, 0.5))(ROWS))


def test_pairs_and_whole_images_are_read_by_one_encoder():
    encoder = nn.Sequential(nn.Linear(18, 5), nn.ReLU(), nn.Linear(5, 2))
    spec = PatchPairs(SHAPE, encoder=encoder, hidden=7)
    module = spec.build(162, 18, 6, torch.Generator().manual_seed(0)).double()
    pair = fitted("patches").views(X, 3)
    codes = module.encoder(pair.reshape(12, 18)).reshape(6, 4)
    torch.testing.assert_close(module(pair), module.head(codes))
    whole = module(ROWS).reshape(6, 9, 2)
    torch.testing.assert_close(whole[:, 4], codes[:, :2])
    assert module.encoder is not encoder
    with pytest.raises(ValueError, match="n_components=10 must be a multiple of 9"):
        recipes.relative_patch(shape=SHAPE, n_components=10).fit(X)
    with pytest.raises(ValueError, match="rows have 162 numbers"):
        ICONEmbedding(9, p=Pretext("patches", SHAPE), q="dot", mapper=PatchPairs((8, 8))).fit(X)
    with pytest.raises(ValueError, match="the mapper cannot read the views"):
        ICONEmbedding(9, p=Pretext("patches", SHAPE), q="dot", mapper="mlp").fit(X)


@pytest.mark.parametrize("key", ["rotation", "relative_patch", "jigsaw"])
def test_models_of_tasks_are_stored(key, tmp_path):
    model = recipes.RECIPES[key](shape=(8, 8), max_iter=2, random_state=0).fit(DIGITS[:60])
    iconlearn.save(model, tmp_path / "model.icon")
    for back in (iconlearn.load(tmp_path / "model.icon"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(back.transform(DIGITS[:60]), model.embedding_)
        np.testing.assert_array_equal(back.p_.views(DIGITS[:3], 1), model.p_.views(DIGITS[:3], 1))
    clone(model.p_).fit(DIGITS[:60])


def right(model, X):
    """Share of the views of held-out rows whose task is found."""
    found = []
    for task in range(model.p_.copies):
        with torch.no_grad():
            Z = model.mapper_(model.p_.views(X, task)).numpy()
        found.append((Z @ model.column_embedding_.T).argmax(axis=1) == task)
    return np.mean(found)


def convolution(n_inputs, n_outputs):
    return nn.Sequential(
        nn.Unflatten(1, (1, 8, 8)), nn.Conv2d(1, 24, 3, padding=1), nn.ReLU(),
        nn.Conv2d(24, 48, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(48 * 16, n_outputs),
    )  # fmt: skip


def test_tasks_are_learned_from_half_of_the_digits():
    images, digits = load_digits(return_X_y=True)
    split = train_test_split((images / 16).astype(np.float32), test_size=0.5, random_state=0, stratify=digits)
    train, new = split
    options = {"shape": (8, 8), "random_state": 0}
    rotation = recipes.rotation(mapper=convolution, max_iter=8, **options).fit(train)
    assert right(rotation, new) > 0.88
    apart = recipes.relative_patch(max_iter=12, **options).fit(train)
    shared = recipes.relative_patch(max_iter=12, gap=-1, **options).fit(train)
    # Two by two pixels say less of their place than parts that share pixels with the middle.
    assert 0.4 < right(apart, new) < 0.65 < right(shared, new)
    # Three by three pixels, side by side, say enough.
    wide, of_new = (
        np.pad(A.reshape(-1, 8, 8), ((0, 0), (0, 1), (0, 1))).reshape(-1, 81) for A in (train, new)
    )
    options["shape"] = (9, 9)
    assert right(recipes.relative_patch(max_iter=6, **options).fit(wide), of_new) > 0.65
    options["shape"] = (8, 8)
    # The blank border gives the order of a jigsaw away at once; a crop leaves it out.
    border = recipes.jigsaw(max_iter=3, **options).fit(train)
    without = recipes.jigsaw(max_iter=3, augment=views.crop((8, 8), (0.2, 0.4)), **options).fit(train)
    assert right(border, new) > 0.98 and right(without, new) < 0.92


def refracted(n, seed):
    """Noise in two channels, the second moved outwards by a pixel in all parts but the middle one, as by a lens."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=(n, 17, 17)), (0, 0.7, 0.7))
    images = np.repeat(noise[:, None, 1:16, 1:16] / noise.std(), 2, axis=1)
    for row in range(3):
        for column in range(3):
            top, left = 5 * row + 2 - row, 5 * column + 2 - column
            part = noise[:, top : top + 5, left : left + 5] / noise.std()
            images[:, 1, 5 * row : 5 * row + 5, 5 * column : 5 * column + 5] = part
    return images.reshape(n, -1).astype(np.float32)


def of_a_part(n_inputs, n_outputs):
    return nn.Sequential(
        nn.Unflatten(1, (2, 5, 5)), nn.Conv2d(2, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 1), nn.ReLU(),
        nn.AvgPool2d(3), nn.Flatten(), nn.Linear(32, n_outputs),
    )  # fmt: skip


def test_a_lens_gives_places_away_unless_channels_are_shifted():
    """There is nothing in the pictures but noise, so that only the lens can tell where a part was."""
    shape, train, new = (2, 15, 15), refracted(700, 0), refracted(300, 1)
    mapper = PatchPairs(shape, encoder=of_a_part)
    options = {"shape": shape, "mapper": mapper, "max_iter": 10, "random_state": 0}
    assert right(recipes.relative_patch(**options).fit(train), new) > 0.9
    assert right(recipes.relative_patch(shift=2, **options).fit(train), new) < 0.2


def test_a_task_beside_another_p():
    terms = [Term(Pretext("rotation", (8, 8)), q="dot", weight=0.5)]
    model = ICONEmbedding(8, p=Views(), q="cosine", mapper=MLP(16), terms=terms, max_iter=5, random_state=0)
    parts = model.fit(DIGITS[:100]).loss_parts_
    assert parts.shape[1] == 2 and parts[-1, 1] < parts[0, 1]


def test_what_is_no_task_is_refused_in_a_sentence():
    for make, message in (
        (lambda: Pretext("rotate", SHAPE), "task='rotate' is not known.*Did you mean"),
        (lambda: Pretext("rotation"), r"needs shape, \(height, width\)"),
        (lambda: Pretext("rotation", (8, 8)), r"reads images of shape \(1, 8, 8\), 64 numbers"),
        (lambda: Pretext("rotation", (18, 9)), "as high as wide"),
        (lambda: Pretext("rotation", SHAPE, gap=1), "gap=1 means nothing to task='rotation'"),
        (lambda: Pretext("patches", SHAPE, grid=4), "grid=4 means nothing to task='patches'"),
        (lambda: Pretext("patches", SHAPE, gap=1, jitter=1), "jitter=1 lets neighbouring parts overlap"),
        (lambda: Pretext("patches", SHAPE, gap=4), "no room for 3 by 3 parts with gap=4"),
        (lambda: Pretext("patches", SHAPE, gap=-12), "no room for 3 by 3 parts with gap=-12"),
        (lambda: Pretext("jigsaw", SHAPE, grid=10), "no room for 10 by 10"),
        (lambda: Pretext("jigsaw", SHAPE, n_tasks=25, grid=2), "n_tasks=25: 4 parts have 24 orders only"),
        (lambda: Pretext("jigsaw", SHAPE, augment="crop"), "augment='crop' must be a function"),
        (lambda: Pretext("rotation", (18, 9), shift=1), "shift=1 moves channels"),
        (lambda: Pretext(reversed_or_not), "n_tasks=None is not an integer.*how many tasks"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make().fit(X)
    for key in ("rotation", "relative_patch", "jigsaw"):
        with pytest.raises(TypeError, match=rf"{key}\(\) needs shape: \(height, width\)"):
            recipes.RECIPES[key]()
    with pytest.raises(ValueError, match="relates rows to tasks"):
        ICONClassifier(p=Pretext("rotation", (8, 8)), mapper="mlp").fit(DIGITS[:20], np.arange(20) % 2)
