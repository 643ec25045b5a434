"""What a fit leaves behind while it runs, so that the same fit in another process goes on from there."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import numpy as np

from .._checks import check_number
from ._decode import Decoder
from ._encode import Encoder
from ._file import read, write

# In the order of a fit.
STAGES = ("begin", "supervision", "start", "optimisation")
# Parameters that say how a fit is run and not what comes of it.
MANNERS = ("callback", "n_jobs", "verbose")


class Checkpoint:
    """A callback that keeps each stage of a fit in a folder, for a fit that is killed.

    The same estimator, fitted to the same data with a checkpoint at the same place, goes on after the last stage
    that was kept: p with its neighbours, the start, and the state of the optimisation every so many iterations.
    A fit that comes to its end removes what it kept; one that is interrupted by Ctrl-C leaves it.

    Parameters
    ----------
    path : str or Path
        A folder, made if need be; its parent must exist.
    every : int, default=50
        Iterations between two states of the optimisation.  Where an engine solves the problem itself ("closed",
        "partition"), that stage begins anew, and so does a classifier with `early_stopping` or
        with rows that have no label.

    Notes
    -----
    One path serves one fit at a time.  Every file is whole or absent.  None holds code: a p that holds functions,
    such as a metric of one's own, is not kept but found again.

    Examples
    --------
    >>> import os, tempfile
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import Checkpoint, ICONEmbedding
    >>> X, _ = load_iris(return_X_y=True)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "map")
    ...     fit = ICONEmbedding(max_iter=40, callback=Checkpoint(path, every=10), random_state=0).fit(X)
    >>> fit.n_iter_
    40
    """

    def __init__(self, path, every=50):
        self.path = path
        self.every = every

    def __repr__(self):
        return f"Checkpoint({str(self.path)!r}, every={self.every})"

    def __call__(self, record):
        """Nothing: a fit calls :meth:`keeper` itself."""

    def keeper(self, estimator, X, y, sample_weight):
        """Who keeps and recalls the stages of this fit.

        Raises
        ------
        ValueError
            If the folder holds the stages of another fit.
        """
        check_number("every", self.every, low=1, integer=True)
        params = {k: v for k, v in estimator.get_params(deep=False).items() if k not in MANNERS}
        parts = [
            type(estimator).__name__,
            *map(str, params),
            *map(_digest, [*params.values(), X, y, sample_weight]),
        ]
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        return _Keeper(Path(self.path), key, {"X": X}, self.every)


class _Keeper:
    """The stages of one fit; see :class:`iconlearn.plan.NoCheckpoint`."""

    def __init__(self, folder, key, given, every):
        self.folder, self.key, self.given, self.every = folder, key, given, every
        self.last = 0

    def _file(self, stage):
        return self.folder / f"{stage}.npz"

    def recall(self, stage):
        if not self._file(stage).exists():
            return None
        document, arrays = read(self._file(stage))
        if document.get("key") != self.key:
            raise ValueError(
                f"{self.folder} holds the checkpoint of another fit, with other data or other parameters; remove it, "
                f"or give Checkpoint another path"
            )
        value = Decoder(document, arrays, self.given).value()
        if stage == "optimisation":
            self.last = value["loop"]["n_iter"]
        return value

    def keep(self, stage, make):
        self.folder.mkdir(exist_ok=True)
        encoder = Encoder(self.given)
        try:
            document = encoder.document(make())
        except TypeError:
            # Code cannot be kept; what it led to is found again.
            return
        write(self._file(stage), {**document, "key": self.key}, encoder.arrays)

    def due(self, iteration):
        if iteration - self.last < self.every:
            return False
        self.last = iteration
        return True

    def done(self, solution):
        if solution.reason == "interrupted":
            return
        for stage in reversed(STAGES):
            self._file(stage).unlink(missing_ok=True)
        with suppress(OSError):  # something else is in it
            self.folder.rmdir()


def _digest(value):
    """A digest of a value, the same in every process; code is identified by its name alone."""
    encoder = Encoder()
    try:
        document = encoder.document(value)
    except TypeError:
        return getattr(value, "__qualname__", type(value).__qualname__)
    digest = hashlib.sha256(json.dumps(document).encode())
    for array in encoder.arrays.values():
        digest.update(f"{array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data if array.size else b"")
    return digest.hexdigest()
