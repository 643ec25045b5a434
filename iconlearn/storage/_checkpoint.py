"""What a fit leaves behind while it runs, so that the same fit in another process goes on from there."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
from scipy import sparse

from .._checks import check_number
from ..distributed import current
from ._decode import Decoder
from ._encode import Encoder
from ._file import read, write

# In the order of a fit.
STAGES = ("begin", "supervision", "start", "optimisation")
# Numbers of the rows that are looked at at a time.
ROW_BLOCK = 2**20
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
    such as a metric of one's own, is not kept but found again.  Of a fit under :func:`iconlearn.distributed.shards`
    the first process has the files, and any number of processes goes on with the same rows in the same order.

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
        group = current()
        params = {k: v for k, v in estimator.get_params(deep=False).items() if k not in MANNERS}
        common = [type(estimator).__name__, *map(str, params), *map(_digest, params.values())]
        data = (X, y, sample_weight)

        def former():
            """The key of files from before fits went over several processes."""
            return _key([*common, *map(_digest, data)]) if group.size == 1 else None

        key = _key([*common, *(_digest_of_rows(group, value) for value in data)])
        return _Keeper(Path(self.path), key, former, {"X": X}, self.every)


class _Keeper:
    """The stages of one fit; see :class:`iconlearn.plan.NoCheckpoint`."""

    def __init__(self, folder, key, former, given, every):
        self.folder, self.key, self.former, self.given, self.every = folder, key, former, given, every
        self.last = 0

    def _file(self, stage):
        return self.folder / f"{stage}.npz"

    def recall(self, stage):
        if not self._file(stage).exists():
            return None
        document, arrays = read(self._file(stage))
        if document.get("key") != self.key and document.get("key") != self.former():
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


def _key(parts):
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _digest_of_rows(group, rows):
    """A digest of the rows of all processes, the same however they are spread over these."""
    if rows is None:
        return "None"
    n, first = rows.shape[0], group.starts(rows.shape[0])
    step = max(1, ROW_BLOCK // max(math.prod(rows.shape[1:]), 1))
    total = np.zeros(1, dtype=np.int64)
    for start in range(0, n, step):
        part = _row_digests(rows[start : start + step])
        total += part @ (2 * np.arange(first + start, first + start + len(part)) + 1)
    kind = "text" if rows.dtype.kind in "OUS" else rows.dtype
    return f"{kind} {group.total(n)} {rows.shape[1:]} {group.total(total)[0]}"


def _row_digests(rows):
    """A number for each row; sums and products of integers drop what overflows, in every order alike."""
    if sparse.issparse(rows):
        rows = sparse.csr_array(rows)
        bits = np.frombuffer(np.asarray(rows.data, dtype=float).tobytes(), dtype=np.int64)
        entries = _mixed(bits * (2 * rows.indices.astype(np.int64) + 1))
        found = sparse.csr_array((entries, rows.indices, rows.indptr), rows.shape) @ np.ones(
            rows.shape[1], np.int64
        )
    elif rows.dtype.kind in "OUS":
        return np.array([zlib.crc32(repr(value).encode()) for value in rows.tolist()], dtype=np.int64)
    else:
        flat = np.ascontiguousarray(rows).reshape(len(rows), -1).view(np.uint8)
        wide = np.zeros((len(flat), -(-flat.shape[1] // 8) * 8), dtype=np.uint8)
        wide[:, : flat.shape[1]] = flat
        bits = _mixed(wide.view(np.int64))
        found = bits @ (2 * np.arange(bits.shape[1]) + 1)
    return _mixed(found)


def _mixed(bits):
    """Integers whose every bit depends on all of theirs, nearly."""
    bits = bits * np.int64(0x1E3779B97F4A7C15)
    return bits ^ (bits >> 29)


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
