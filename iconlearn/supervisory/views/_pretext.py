"""Tasks made of the data: what was done to a row is its label.

p(c|view) = 1[task c made the view].  Position r among the views of n rows is the view of row r % n that task r // n
makes.
"""

from __future__ import annotations

import numpy as np
import torch

from ..._checks import check_choice, check_number, image_shape
from ..._randomness import random_source
from ...conditional import one_column
from ...views import Tiles, channel_shift, images_of
from .._base import Supervisory

TASKS = ("rotation", "patches", "jigsaw")

# Turns by multiples of ninety degrees, and places around the middle of three by three.
N_TURNS, N_PLACES = 4, 8
# Permutations among which those of a jigsaw are looked for, and how many tasks there are by default.
N_CANDIDATES, N_PERMUTATIONS = 5000, 12


class Pretext(Supervisory):
    """p(c|view) = 1[task c made the view]: the columns are tasks, of which every row is given all.

    With q="dot" the loss is the cross-entropy of a classifier of tasks.  Its last layer are the columns
    (``column_embedding_``), so that ``transform`` gives what lies below.

    Parameters
    ----------
    task : {"rotation", "patches", "jigsaw"} or callable
        "rotation": an image turned by 0, 90, 180 or 270 degrees.  "patches": the middle part of an image and one of
        the eight around it, side by side in a row of twice a part's size; which of them it was is the task.  The
        mapper reads such pairs; :class:`iconlearn.mappers.PatchPairs` does.  "jigsaw": the parts of an image in
        another order, one of `n_tasks` that have few places in common; the first is the order they are in.  A
        function takes a tensor of rows and the number of a task, and returns as many views.
    shape : tuple of int or None, default=None
        (height, width) or (channels, height, width) of the images that rows are; without use for a function.
    n_tasks : int or None, default=None
        How many orders "jigsaw" has (None: 12), or tasks a function knows.  "rotation" has 4 and "patches" 8.
    grid : int, default=3
        How many parts an image has down and across in "jigsaw"; "patches" has three.
    augment : callable or None, default=None
        A function of rows as for :class:`Views`, such as ``views.crop(shape)``, that they are seen through first: where
        edges tell the places of parts, as the blank ones of scanned letters do, it leaves them out.
    gap : int, default=0
        Pixels that are left out between neighbouring parts, so that lines which go on from one into the other do not
        give their places away.  Below 0 neighbours share so many pixels, which gives them away all the more.
    jitter : int, default=0
        Most pixels that a part is moved by, down or up and left or right, by its own draw; at most half of `gap`, so
        that parts do not overlap.
    shift : int, default=0
        Most pixels that the channels of every part are moved by against one another, as by
        :func:`iconlearn.views.channel_shift`, which hides how a lens refracts colours.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_tasks n_rows, n_tasks)
    permutations_ : ndarray of shape (n_tasks, grid²)
        Orders of a jigsaw: place t shows part ``permutations_[c, t]``.

    References
    ----------
    Gidaris, Singh and Komodakis, "Unsupervised representation learning by predicting image rotations", ICLR 2018;
    Doersch, Gupta and Efros, "Unsupervised visual representation learning by context prediction", ICCV 2015; Noroozi
    and Favaro, "Unsupervised learning of visual representations by solving jigsaw puzzles", ECCV 2016.
    """

    columns = "tasks"
    fresh = True

    def __init__(self, task, shape=None, *, n_tasks=None, grid=3, augment=None, gap=0, jitter=0, shift=0):
        self.task = task
        self.shape = shape
        self.n_tasks = n_tasks
        self.grid = grid
        self.augment = augment
        self.gap = gap
        self.jitter = jitter
        self.shift = shift

    @property
    def copies(self):
        """How many positions a row takes up among the rows of p: one for each task."""
        if self.task == "rotation":
            return N_TURNS
        if self.task == "patches":
            return N_PLACES
        if self.n_tasks is None and self.task == "jigsaw":
            return N_PERMUTATIONS
        return check_number("n_tasks", self.n_tasks, low=2, integer=True, hint="how many tasks there are")

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the task and, for a jigsaw, draw its orders; see :meth:`Supervisory.fit`."""
        if not callable(self.task):
            check_choice("task", self.task, TASKS)
        self._check_parameters()
        self._n_rows, self._tiles = X.shape[0], None
        if not callable(self.task):
            self._begin(X.shape[1], random_source(random_state))
        n, k = X.shape[0], self.copies
        self.conditional_ = one_column(np.repeat(np.arange(k), n), k)
        return self

    def view(self, X, rows):
        """Every row of X as its task shows it.

        Parameters
        ----------
        X : Tensor of shape (n, n_features)
        rows : Tensor of int64 of shape (n,)
            Positions among the views of the training rows: position r has task r // n_rows.

        Returns
        -------
        Tensor of shape (n, n_outputs)
        """
        return self.views(X, torch.div(rows.to(X.device), self._n_rows, rounding_mode="floor"))

    def views(self, X, tasks):
        """Every row of X as a task shows it, such as rows that were held out.

        Parameters
        ----------
        X : Tensor or array-like of shape (n, n_features)
        tasks : Tensor of int64 of shape (n,) or int
            The task of each row.

        Returns
        -------
        Tensor of shape (n, n_outputs)
        """
        X = torch.as_tensor(X)
        if self.augment is not None:
            X = self.augment(X)
        tasks = torch.as_tensor(tasks, device=X.device).expand(len(X))
        if callable(self.task):
            return self._made(X, tasks)
        images = images_of(X, self._shape, f"Pretext({self.task!r})")
        if self.task == "rotation":
            images = self._shifted(images)
            out = torch.empty_like(images)
            for k in range(N_TURNS):
                out[tasks == k] = torch.rot90(images[tasks == k], k, dims=(2, 3))
            return out.flatten(1)
        parts = self._tiles.cut(images, self.jitter)
        parts = self._shifted(parts.flatten(0, 1)).view_as(parts)
        each = torch.arange(len(X), device=X.device)
        if self.task == "patches":
            places = torch.tensor([0, 1, 2, 3, 5, 6, 7, 8], device=X.device)[tasks]
            return torch.cat([parts[:, 4].flatten(1), parts[each, places].flatten(1)], dim=1)
        orders = torch.as_tensor(self.permutations_, device=X.device)[tasks]
        return self._tiles.put(images, parts[each[:, None], orders]).flatten(1)

    def _made(self, X, tasks):
        """Views by the user's function, a task at a time."""
        out = None
        for k in tasks.unique().tolist():
            shown = tasks == k
            made = self.task(X[shown], k)
            if not isinstance(made, torch.Tensor) or len(made) != int(shown.sum()):
                got = tuple(made.shape) if isinstance(made, torch.Tensor) else type(made).__name__
                raise ValueError(
                    f"task={self.task!r} returned {got} for {int(shown.sum())} rows and task {k}; it must return a "
                    f"tensor with one view for every row"
                )
            made = made.to(X)
            if out is None:
                out = made.new_empty(len(X), *made.shape[1:])
            if made.shape[1:] != out.shape[1:]:
                raise ValueError(
                    f"task={self.task!r} returned views of shapes {tuple(out.shape[1:])} and {tuple(made.shape[1:])} "
                    f"for different tasks, which one mapper cannot read"
                )
            out[shown] = made
        return out

    def _shifted(self, images):
        """Images with their channels moved against one another."""
        if self.shift == 0:
            return images
        return channel_shift(tuple(images.shape[1:]), self.shift)(images.flatten(1)).view_as(images)

    def _check_parameters(self):
        """Refuse what has no effect on this task."""
        heeded = {
            "rotation": ("shift",), "patches": ("gap", "jitter", "shift"),
            "jigsaw": ("n_tasks", "grid", "gap", "jitter", "shift"),
        }.get("" if callable(self.task) else self.task, ("n_tasks",))  # fmt: skip
        defaults = {"n_tasks": None, "grid": 3, "gap": 0, "jitter": 0, "shift": 0}
        for name, default in defaults.items():
            if getattr(self, name) != default and name not in heeded:
                raise ValueError(
                    f"{name}={getattr(self, name)!r} means nothing to task={self.task!r}; leave it at {default!r}"
                )
        if not (self.augment is None or callable(self.augment)):
            raise TypeError(
                f"augment={self.augment!r} must be a function of rows, such as views.crop(shape), or None"
            )
        check_number("gap", self.gap, integer=True)
        for name in ("jitter", "shift"):
            check_number(name, getattr(self, name), low=0, integer=True)
        if self.jitter and 2 * self.jitter > self.gap:
            raise ValueError(
                f"jitter={self.jitter} lets neighbouring parts overlap, which gives their places away: gap={self.gap} "
                f"must be at least {2 * self.jitter}"
            )
        check_number("grid", self.grid, low=2, integer=True)

    def _begin(self, n_features, rng):
        """What is known before views are made: the shape, the parts, and the orders of a jigsaw."""
        if self.shape is None:
            raise ValueError(
                f"Pretext({self.task!r}) needs shape, (height, width) or (channels, height, width) of the images that "
                f"the {n_features} numbers of a row are"
            )
        self._shape = image_shape(self.shape)
        images_of(np.empty((1, n_features)), self._shape, f"Pretext({self.task!r})")
        channels, height, width = self._shape
        if self.shift and channels < 2:
            raise ValueError(
                f"shift={self.shift} moves channels against one another, and shape={self.shape!r} has one"
            )
        if self.task == "rotation":
            if height != width:
                raise ValueError(f"shape={self.shape!r}: a turn by 90 degrees needs images as high as wide")
            return
        self._tiles = Tiles(self._shape, 3 if self.task == "patches" else self.grid, self.gap)
        if self.task == "jigsaw":
            self.permutations_ = far_permutations(self.grid**2, self.copies, rng)


def far_permutations(n, count, rng):
    """Orders of n things, the first as they are, each of the others as far from the nearest as a draw of many allows.

    Returns
    -------
    ndarray of shape (count, n)

    Raises
    ------
    ValueError
        Where there are not so many.
    """
    candidates = np.unique(np.argsort(rng.random_sample((N_CANDIDATES, n)), axis=1), axis=0)
    rng.shuffle(candidates)
    chosen = [np.arange(n)]
    nearest = (candidates != chosen[0]).sum(axis=1)
    while len(chosen) < count:
        best = int(nearest.argmax())
        if nearest[best] == 0:
            raise ValueError(f"n_tasks={count}: {n} parts have {len(chosen)} orders only; take fewer tasks")
        chosen.append(candidates[best])
        nearest = np.minimum(nearest, (candidates != candidates[best]).sum(axis=1))
    return np.array(chosen)
