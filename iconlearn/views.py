"""Views of images: functions of rows for :class:`iconlearn.supervisory.Views`.

A row holds an image flat, in the order of ``numpy.ravel``; `shape` is (height, width) or (channels, height, width).
Every call draws anew for every row, from torch's own generator, which a fit seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch.nn import functional as F

from ._checks import check_number, image_shape

__all__ = ["ImageView", "channel_shift", "compose", "crop", "cutout", "move", "stretch", "turn"]


@dataclass(frozen=True)
class ImageView:
    """A function from rows to as many views; made by the functions of this module.

    Parameters
    ----------
    kind : str
        Name of the function that made it.
    shape : tuple of int
        (channels, height, width).
    options : dict
        Its numbers.
    """

    kind: str
    shape: tuple
    options: dict

    def __call__(self, rows):
        """Views of flat images.

        Parameters
        ----------
        rows : Tensor of shape (n, channels * height * width)

        Returns
        -------
        Tensor of shape (n, channels * height * width)

        Raises
        ------
        ValueError
            If rows are of another size.
        """
        images = images_of(rows, self.shape, f"views.{self.kind}")
        if self.kind in FRAMES:
            return _sampled(images, self.frame(images), self.kind == "crop")
        return PIXELS[self.kind](images, **self.options).flatten(1)

    def frame(self, images):
        """Where the points of a view lie in the image: affine maps of shape (n, 2, 3); None without one."""
        return FRAMES[self.kind](images, **self.options) if self.kind in FRAMES else None

    def __repr__(self):
        options = "".join(f", {name}={value!r}" for name, value in self.options.items())
        return f"views.{self.kind}({self.shape!r}{options})"


@dataclass(frozen=True)
class Composition:
    """Views one after the other; see :func:`compose`."""

    parts: tuple

    def __call__(self, rows):
        """Views of flat images, as of :class:`ImageView`."""
        pending = []
        for part in self.parts:
            if isinstance(part, ImageView) and part.kind in FRAMES:
                pending.append(part)
                continue
            rows, pending = part(_sampled_once(rows, pending)), []
        return _sampled_once(rows, pending)

    def __repr__(self):
        return f"views.compose({', '.join(map(repr, self.parts))})"


def crop(shape, area=(0.5, 1.0)):
    """A part of the image, of its proportions, enlarged to its size.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width).
    area : tuple of two float, default=(0.5, 1.0)
        Between which shares of the image, in (0, 1], that of the part is drawn.

    Returns
    -------
    ImageView

    Examples
    --------
    >>> from iconlearn import recipes, views
    >>> model = recipes.simclr(augment=views.crop((8, 8)))
    """
    low, high = _between("area", area, 0, 1)
    if low == 0:
        raise ValueError(f"area={area!r}: a part of no area shows nothing; begin above 0")
    return ImageView("crop", image_shape(shape), {"area": (low, high)})


def move(shape, pixels=1.0):
    """The image moved by up to `pixels` (a float) down or up and left or right; what comes in is zero.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width).
    pixels : float, default=1.0

    Returns
    -------
    ImageView
    """
    return ImageView("move", image_shape(shape), {"pixels": check_number("pixels", pixels, low=0)})


def turn(shape, degrees=20.0):
    """The image turned about its centre; what comes in is zero.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width).
    degrees : float or tuple of two float, default=20.0
        The largest angle to either side; or the bounds of the angle, counter-clockwise as in ``numpy.rot90``.

    Returns
    -------
    ImageView
    """
    if not isinstance(degrees, tuple | list):
        degrees = check_number("degrees", degrees, low=0)
        degrees = (-degrees, degrees)
    return ImageView("turn", image_shape(shape), {"degrees": _between("degrees", degrees, -360, 360)})


def stretch(shape, share=0.15):
    """The image enlarged or shrunk about its centre by a factor between 1 - `share` and 1 + `share`.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width).
    share : float, default=0.15
        In [0, 1).

    Returns
    -------
    ImageView
    """
    share = check_number("share", share, low=0, high=1, closed="left")
    return ImageView("stretch", image_shape(shape), {"share": share})


def cutout(shape, size=0.5, fill=0.0):
    """The image with a hole; what of the hole lies beyond the edge is lost, so that some are smaller.

    Parameters
    ----------
    shape : tuple of int
        (height, width) or (channels, height, width).
    size : float, default=0.5
        Share of each side, in (0, 1], that the hole takes; a pixel at least.
    fill : float, default=0.0
        What is seen in it.

    Returns
    -------
    ImageView

    References
    ----------
    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout", 2017.
    """
    size = check_number("size", size, low=0, high=1, closed="right")
    return ImageView("cutout", image_shape(shape), {"size": size, "fill": check_number("fill", fill)})


def channel_shift(shape, pixels=1):
    """Every channel of an image moved by a draw of its own; edges are repeated.

    A lens refracts colours differently, and their shift tells where in a picture a part of it was.  A network that is
    asked for places reads this and nothing else, unless the shift is hidden.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    pixels : int, default=1
        Most whole pixels, in all directions.

    Returns
    -------
    ImageView

    References
    ----------
    Doersch, Gupta and Efros, "Unsupervised visual representation learning by context prediction", ICCV 2015; Noroozi
    and Favaro, "Unsupervised learning of visual representations by solving jigsaw puzzles", ECCV 2016.
    """
    shape = image_shape(shape)
    if shape[0] < 2:
        raise ValueError(
            f"shape={shape!r} has one channel, and channel_shift moves channels against one another"
        )
    pixels = check_number("pixels", pixels, low=0, integer=True)
    return ImageView("channel_shift", shape, {"pixels": pixels})


def compose(*parts):
    """Views one after the other.

    Neighbouring crops, moves, turns and stretches become one map of the plane, so that pixels are interpolated once.

    Parameters
    ----------
    *parts : callable
        Of this module, or any functions from rows to as many views.

    Returns
    -------
    callable
    """
    for part in parts:
        if not callable(part):
            raise TypeError(
                f"compose takes functions of rows, such as views.turn((8, 8)), and got {part!r:.200}"
            )
    if not parts:
        raise TypeError("compose needs at least one view")
    return Composition(parts)


class Tiles:
    """An image cut into parts of one size, on a grid that reaches from edge to edge.

    Parameters
    ----------
    shape : tuple of int
        (channels, height, width).
    grid : int
        Parts down and across.
    gap : int
        Pixels between neighbours, at least; below 0 they overlap.

    Attributes
    ----------
    size : tuple of int
        (height, width) of a part.
    """

    def __init__(self, shape, grid, gap):
        self.size = tuple((side - (grid - 1) * gap) // grid for side in shape[1:])
        if min(self.size) < 1 or self.size[0] > shape[1] or self.size[1] > shape[2]:
            raise ValueError(
                f"shape={shape!r} has no room for {grid} by {grid} parts with gap={gap} between them"
            )
        down, across = (
            np.round(np.arange(grid) * (side - part) / (grid - 1)).astype(int)
            for side, part in zip(shape[1:], self.size, strict=True)
        )
        self.corners = np.array([(top, left) for top in down for left in across])

    def cut(self, images, jitter=0):
        """Parts of images, shape (n, grid², channels, height, width), each moved by its own draw of `jitter` pixels."""
        n, _, *sides = images.shape
        corners = torch.as_tensor(self.corners, device=images.device).expand(n, -1, -1)
        if jitter:
            corners = corners + torch.randint(-jitter, jitter + 1, corners.shape, device=images.device)
        at = []
        for axis, (side, part) in enumerate(zip(sides, self.size, strict=True)):
            start = corners[:, :, axis].clamp(0, side - part)
            at.append(start[:, :, None] + torch.arange(part, device=images.device))
        rows, columns = at
        each = torch.arange(n, device=images.device)[:, None, None, None]
        # Of shape (n, grid², height, width, channels), since the channels are taken whole between two indices.
        return images[each, :, rows[..., None], columns[:, :, None, :]].permute(0, 1, 4, 2, 3)

    def put(self, images, parts):
        """Images of the size of `images` with these parts at the places of the grid, and zero between them."""
        out = torch.zeros_like(images)
        height, width = self.size
        for place, (top, left) in enumerate(self.corners):
            out[:, :, top : top + height, left : left + width] = parts[:, place]
        return out


def images_of(rows, shape, what):
    """Rows as images; `what` reads them, for the message where they are of another size."""
    if rows.ndim != 2 or rows.shape[1] != prod(shape):
        raise ValueError(
            f"{what} reads images of shape {shape}, {prod(shape)} numbers a row, and rows have shape "
            f"{tuple(rows.shape)}; give shape=(channels, height, width) of the images"
        )
    return rows.reshape(-1, *shape)


def _between(name, bounds, least, most):
    if not isinstance(bounds, tuple | list) or len(bounds) != 2:
        raise TypeError(f"{name}={bounds!r} must be two numbers, the least and the most")
    low, high = (check_number(name, bound, low=least, high=most) for bound in bounds)
    if low > high:
        raise ValueError(f"{name}={bounds!r}: the first number must not be above the second")
    return low, high


def _uniform(images, low, high, *size):
    draws = torch.rand(len(images), *size, dtype=images.dtype, device=images.device)
    return low + (high - low) * draws


# -- maps of the plane: x to the right, y down, both from -1 to 1 -------------------------------------------------


def _affine(images, matrix, offset):
    """Maps (n, 2, 3) of a matrix, given by its four entries, and an offset (n, 2), each a tensor or a number."""
    frame = images.new_zeros(len(images), 2, 3)
    for place, entry in zip(((0, 0), (0, 1), (1, 0), (1, 1)), matrix, strict=True):
        frame[:, place[0], place[1]] = entry
    frame[:, :, 2] = offset
    return frame


def _crop(images, area):
    side = _uniform(images, *area).sqrt()
    centre = (1 - side)[:, None] * _uniform(images, -1, 1, 2)
    return _affine(images, (side, 0, 0, side), centre)


def _move(images, pixels):
    height, width = images.shape[2:]
    sides = images.new_tensor([width, height])
    return _affine(images, (1, 0, 0, 1), -2 * _uniform(images, -pixels, pixels, 2) / sides)


def _turn(images, degrees):
    height, width = images.shape[2:]
    angle = torch.deg2rad(_uniform(images, *degrees))
    cos, sin = angle.cos(), angle.sin()
    return _affine(images, (cos, -sin * (height / width), sin * (width / height), cos), 0.0)


def _stretch(images, share):
    shrunk = 1 / _uniform(images, 1 - share, 1 + share)
    return _affine(images, (shrunk, 0, 0, shrunk), 0.0)


def _sampled(images, frames, inside):
    """Images seen through maps of the plane, flat; `inside`: no map leads out of them."""
    grid = F.affine_grid(frames, list(images.shape), align_corners=False)
    padding = "border" if inside else "zeros"
    return F.grid_sample(images, grid, padding_mode=padding, align_corners=False).flatten(1)


def _sampled_once(rows, parts):
    """Rows seen through several maps of the plane, one after the other."""
    if not parts:
        return rows
    images = images_of(rows, parts[0].shape, repr(parts[0]))
    if any(part.shape != parts[0].shape for part in parts):
        raise ValueError(
            f"{', '.join(map(repr, parts))} are of images of different shapes, and cannot be composed"
        )
    frames = parts[0].frame(images)
    for part in parts[1:]:
        following = part.frame(images)
        offset = frames[:, :, :2] @ following[:, :, 2:] + frames[:, :, 2:]
        frames = torch.cat([frames[:, :, :2] @ following[:, :, :2], offset], dim=2)
    return _sampled(images, frames, all(part.kind == "crop" for part in parts))


# -- pixels where they are --------------------------------------------------------------------------------------


def _cutout(images, size, fill):
    hidden = torch.ones((), dtype=torch.bool, device=images.device)
    for axis, side in enumerate(images.shape[2:]):
        hole = max(1, round(size * side))
        start = torch.randint(side, (len(images), 1), device=images.device) - hole // 2
        at = torch.arange(side, device=images.device)
        within = (at >= start) & (at < start + hole)
        hidden = hidden & (within[:, None, :, None] if axis == 0 else within[:, None, None, :])
    return images.masked_fill(hidden, fill)


def _channel_shift(images, pixels):
    n, channels, height, width = images.shape
    at = []
    for side in (height, width):
        shift = torch.randint(-pixels, pixels + 1, (n, channels, 1), device=images.device)
        at.append((torch.arange(side, device=images.device) - shift).clamp(0, side - 1))
    rows, columns = at
    each = torch.arange(n, device=images.device)[:, None, None, None]
    channel = torch.arange(channels, device=images.device)[:, None, None]
    return images[each, channel, rows[..., None], columns[:, :, None, :]]


FRAMES = {"crop": _crop, "move": _move, "turn": _turn, "stretch": _stretch}
PIXELS = {"cutout": _cutout, "channel_shift": _channel_shift}
