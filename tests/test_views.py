"""Views of images, each against a picture that is made by hand, and what hides a lens from a linear model."""

import pickle
from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy import ndimage
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.linear_model import LinearRegression
from torch.nn import functional as F

import iconlearn
from iconlearn import ICONEmbedding, recipes, views
from iconlearn.supervisory import Views

SHAPE = (3, 6, 8)
IMAGES = np.random.default_rng(0).random((5, *SHAPE))
ROWS = torch.as_tensor(IMAGES).flatten(1)
ALL = {
    "crop": views.crop(SHAPE),
    "move": views.move(SHAPE),
    "turn": views.turn(SHAPE),
    "stretch": views.stretch(SHAPE),
    "cutout": views.cutout(SHAPE),
    "channel_shift": views.channel_shift(SHAPE),
    "compose": views.compose(views.turn(SHAPE), views.cutout(SHAPE), torch.neg),
}


def seen(view, rows=ROWS):
    return view(rows).reshape(len(rows), *SHAPE).numpy()


def drawing(*values):
    """torch.rand with these values instead of draws, one for each call."""
    values = iter(values)
    return patch.object(
        torch, "rand", lambda *size, **options: torch.tensor(next(values), **options).expand(*size)
    )


def test_a_turn_is_that_of_rot90():
    for k in range(-3, 4):
        image = np.random.default_rng(1).random((2, 7, 7))
        row = torch.as_tensor(image).reshape(1, -1)
        ours = views.turn((2, 7, 7), (90 * k, 90 * k))(row).reshape(2, 7, 7)
        np.testing.assert_allclose(ours, np.rot90(image, k, axes=(1, 2)), atol=1e-12)
    # Half a turn keeps the sides of any image; between them scipy's spline of the first order says it.
    np.testing.assert_allclose(seen(views.turn(SHAPE, (180, 180))), IMAGES[..., ::-1, ::-1], atol=1e-12)
    smooth = ndimage.gaussian_filter(np.pad(np.ones((20, 10)), 10), 2)
    theirs = ndimage.rotate(smooth, 30, reshape=False, order=1)
    ours = views.turn(smooth.shape, (30, 30))(torch.as_tensor(smooth).reshape(1, -1)).reshape(smooth.shape)
    np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_a_turn_is_within_its_bounds():
    point = torch.zeros(400, 21, 21)
    point[:, 10, 18] = 1.0
    ours = views.turn((21, 21), 30)(point.flatten(1)).reshape(-1, 21, 21)
    at = torch.stack([(ours.sum(k) * torch.arange(-10.0, 11)).sum(1) / ours.sum((1, 2)) for k in (1, 2)])
    angles = torch.rad2deg(torch.atan2(-at[1], at[0]))
    assert 28 < angles.max() < 32 and -32 < angles.min() < -28 and abs(angles.mean()) < 3


def test_a_move_is_a_shift_with_nothing_coming_in():
    with drawing([[1.0, 0.0]]):  # two to the right and two up
        ours = seen(views.move(SHAPE, 2))
    expected = np.zeros_like(IMAGES)
    expected[..., :-2, 2:] = IMAGES[..., 2:, :-2]
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    np.testing.assert_allclose(seen(views.move(SHAPE, 0)), IMAGES, atol=1e-12)


def test_a_stretch_is_scipys_zoom_about_the_centre():
    with drawing([1.0]):
        ours = seen(views.stretch(SHAPE, 0.5))
    for image, own in zip(IMAGES[0], ours[0], strict=True):
        centre = (np.array(image.shape) - 1) / 2
        theirs = ndimage.affine_transform(image, np.eye(2) / 1.5, centre - centre / 1.5, order=1)
        np.testing.assert_allclose(own, theirs, atol=1e-12)


def test_a_crop_is_its_part_enlarged():
    with drawing(0.0, [[0.0, 1.0]]):  # a quarter of the image, at its lower left
        ours = seen(views.crop(SHAPE, (0.25, 0.25)))
    # torch enlarges the whole image, of which the part is a quarter.
    whole = F.interpolate(torch.as_tensor(IMAGES), scale_factor=2, mode="bilinear", align_corners=False)
    np.testing.assert_allclose(ours, whole[..., 6:, :8], atol=1e-12)
    np.testing.assert_allclose(seen(views.crop(SHAPE, (1, 1))), IMAGES, atol=1e-12)


def test_a_hole_is_of_its_size_and_loses_what_lies_beyond_the_edge():
    ours = seen(views.cutout(SHAPE, 0.5, fill=-1.0), ROWS.repeat(200, 1))
    hole = ours == -1
    assert (hole == hole[:, :1]).all(), "in all channels alike"
    assert (ours[~hole] == np.tile(IMAGES, (200, 1, 1, 1))[~hole]).all()
    tall, wide = hole[:, 0].any(axis=2).sum(axis=1), hole[:, 0].any(axis=1).sum(axis=1)
    assert (hole[:, 0].sum(axis=(1, 2)) == tall * wide).all()
    assert set(tall) == {2, 3} and set(wide) == {2, 3, 4}
    assert seen(views.cutout(SHAPE, 0.01)).size - np.count_nonzero(seen(views.cutout(SHAPE, 0.01))) == 5 * 3


def test_channels_move_by_themselves_and_repeat_their_edges():
    rows = ROWS[:1].repeat(600, 1)
    ours = seen(views.channel_shift(SHAPE, 1), rows)
    padded = np.pad(IMAGES[0], ((0, 0), (1, 1), (1, 1)), mode="edge")
    found = []
    for channel in range(3):
        shifted = {
            (dy, dx): padded[channel, 1 - dy : 7 - dy, 1 - dx : 9 - dx]
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        }
        found.append([next(k for k, v in shifted.items() if np.array_equal(v, o[channel])) for o in ours])
    assert [len(set(f)) for f in found] == [9, 9, 9] and found[0] != found[1]


def test_a_linear_model_cannot_read_one_shifted_channel_off_another():
    noise = np.random.default_rng(0).normal(size=(4000, 1, 9, 9))
    images = np.concatenate(
        [noise, np.roll(noise, 1, axis=3)], axis=1
    )  # the second channel is refracted by a pixel
    shifted = (
        views.channel_shift((2, 9, 9), 2)(torch.as_tensor(images).flatten(1)).reshape(images.shape).numpy()
    )

    def read(images):
        """R² of the second channel's middle by the whole first one, on images that were held out."""
        first, middle = images[:, 0].reshape(len(images), -1), images[:, 1, 4, 4]
        return LinearRegression().fit(first[:3000], middle[:3000]).score(first[3000:], middle[3000:])

    assert read(images) > 0.999 and read(shifted) < 0.1


def test_maps_of_the_plane_are_composed_before_pixels_are_read():
    there, back = views.turn(SHAPE, (37, 37)), views.turn(SHAPE, (-37, -37))
    np.testing.assert_allclose(seen(views.compose(there, back)), IMAGES, atol=1e-12)
    assert np.abs(seen(lambda rows: back(there(rows))) - IMAGES).max() > 0.1
    with drawing(0.0, [[0.5, 1.0]]):  # turned first, and then moved
        ours = seen(views.compose(views.turn(SHAPE, (180, 180)), views.move(SHAPE, 1)))
    expected = np.zeros_like(IMAGES)
    expected[..., 1:, :] = IMAGES[..., ::-1, ::-1][..., :-1, :]
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    # What is no map of the plane comes in its place.
    np.testing.assert_allclose(seen(views.compose(there, torch.neg, back)), seen(lambda r: back(-there(r))))


@pytest.mark.parametrize("name", ALL)
def test_views_are_drawn_for_every_row_and_follow_the_seed(name):
    torch.manual_seed(3)
    rows, view = ROWS[:1].repeat(40, 1).float(), ALL[name]
    before = rows.clone()
    torch.manual_seed(0)
    first = view(rows)
    assert first.shape == rows.shape and first.dtype == rows.dtype and torch.equal(rows, before)
    assert len(np.unique(first.numpy().round(4), axis=0)) > 10, "one draw for all rows"
    torch.manual_seed(0)
    assert torch.equal(view(rows), first)


@pytest.mark.parametrize("name", ALL)
def test_views_are_values(name, tmp_path):
    view = ALL[name]
    assert pickle.loads(pickle.dumps(view)) == view and f"views.{name}(" in repr(view)
    assert clone(Views(view)).augment == view
    if name != "compose":
        X = IMAGES.repeat(4, axis=0).reshape(20, -1).astype(np.float32)
        model = ICONEmbedding(2, p=Views(view), q="cosine", mapper="linear", max_iter=2, random_state=0).fit(
            X
        )
        iconlearn.save(model, tmp_path / "model.icon")
        assert iconlearn.load(tmp_path / "model.icon").p_.augment == view


def test_what_is_no_view_is_refused():
    for make, message in (
        (lambda: views.crop(64), "shape=64 is no shape of images: it must be"),
        (lambda: views.crop((8, 0)), r"shape=\(8, 0\) is no shape of images"),
        (lambda: views.crop((8, 8), (0, 1)), "area=.*begin above 0"),
        (lambda: views.crop((8, 8), 0.5), "area=0.5 must be two numbers"),
        (lambda: views.turn((8, 8), (30, 10)), "degrees=.*must not be above"),
        (lambda: views.channel_shift((8, 8)), "one channel"),
        (lambda: views.stretch((8, 8), 1.0), "share=1.0 is out of range"),
        (lambda: views.compose("turn"), "got 'turn'"),
        (lambda: views.compose(), "at least one"),
        (lambda: views.move((4, 4))(ROWS), r"views.move reads images of shape \(1, 4, 4\), 16 numbers"),
        (lambda: views.compose(views.move(SHAPE), views.move((144,) * 2))(ROWS), "different shapes"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            make()
    with pytest.raises(ValueError, match=r"views.crop reads images of shape \(1, 4, 4\)"):
        recipes.simclr(augment=views.crop((4, 4)), max_iter=1).fit(load_digits().data)
