"""All rows on a device: their places in the space of products, and exact distances of pairs, in double precision.

What :mod:`._rows` and :mod:`._distances` do on the CPU, for a search of the rows among themselves on a GPU, where
only the answer leaves the device.  Distances of new rows are not measured here: a sum's order, so its last digit, may
follow the size of the batch on a GPU.
"""

from __future__ import annotations

import numpy as np
import torch

from ._rows import Space

# Numbers of one block in double precision, 128 MiB.
BLOCK_SIZE = 2**24
# Numbers that are copied to a device at once.
COPIED = 2**20


def on_device(X, device):
    """A dense X as a tensor on another device than its own, in single precision if it has that, else in double."""
    dtype = np.dtype(np.float32 if X.dtype == np.float32 else np.float64)
    there = torch.empty(X.shape, dtype=torch.float32 if dtype == np.float32 else torch.float64, device=device)
    step = max(1, COPIED // max(1, X.shape[1]))
    for start in range(0, len(X), step):
        at = slice(start, start + step)
        # A copy, since torch takes no array that is read-only.
        there[at] = torch.from_numpy(np.array(X[at], dtype=dtype, order="C"))
    return there


class DeviceRows:
    """Rows on a device, prepared as by :class:`.PreparedRows`.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
    metric : {"euclidean", "l2", "cosine"}
    device : torch.device

    Attributes
    ----------
    points : Tensor of float32 of shape (n, n_dims)
        Places in the space in which squared Euclidean distances rank as the metric does; see :class:`.Space`.
    halves : Tensor of float32 of shape (n,)
        Half the squared length of every point.
    """

    def __init__(self, X, metric, device):
        self.X = on_device(X, device)
        self.cosine = metric == "cosine"
        if self.cosine:
            self._measure()
        else:
            self._centre()
        self.points = self._in_space(torch.float32)
        self.halves = self.points.square().sum(1) / 2

    def _centre(self):
        centre = self.X.mean(0, dtype=torch.float64)
        self.centre = torch.where(centre.isfinite(), centre, 0.0)
        peak = float(torch.maximum(self.X.amax(0) - self.centre, self.centre - self.X.amin(0)).max())
        self.scale = peak if peak > 0 else 1.0

    def _measure(self):
        """Lengths by which rows become unit rows: first the largest entry, so that squares are finite."""
        peaks = self.X.abs().amax(1, keepdim=True).double()
        self.void = peaks[:, 0] == 0
        self.peaks, self.lengths_of_scaled = torch.where(peaks > 0, peaks, 1.0), torch.ones_like(peaks)
        for at in self._blocks():
            lengths = (self.X[at].double() / self.peaks[at]).square().sum(1, keepdim=True).sqrt()
            self.lengths_of_scaled[at] = torch.where(lengths > 0, lengths, 1.0)

    @property
    def lengths(self) -> np.ndarray:
        """Squared length of every point, float64 of shape (n,)."""
        return 2 * self.halves.cpu().numpy().astype(float)

    def doubles(self):
        """Places in the space in double precision, shape (n, n_dims)."""
        return self._in_space(torch.float64)

    def places(self, X):
        """Other rows in the space, in double precision, shape (len(X), n_dims)."""
        if self.cosine:
            return torch.from_numpy(Space(X, "cosine").rows(X)).to(self.X.device)
        return (on_device(X, self.X.device).double() - self.centre) / self.scale

    def squared(self, distances):
        """Squared distances in this space from distances in the metric."""
        return 2 * distances if self.cosine else (distances / self.scale) ** 2

    def ranked(self, rows, found, k):
        """The k nearest of each row's candidates.

        Parameters
        ----------
        rows : ndarray of int64 of shape (m,)
        found : Tensor of int64 of shape (m, k or more)
            Candidates, on the device.
        k : int

        Returns
        -------
        distances : ndarray of float64 of shape (m, k)
        indices : ndarray of int64 of shape (m, k)
            By (distance, index).
        """
        rows = torch.from_numpy(rows).to(found.device)
        # A stable sort by distance leaves ties in the order of their indices.
        found = found.sort(dim=1).values
        distances = torch.empty(found.shape, dtype=torch.float64, device=found.device)
        step = max(1, BLOCK_SIZE // (found.shape[1] * self.X.shape[1]))
        for start in range(0, len(rows), step):
            i, j = rows[start : start + step], found[start : start + step]
            gaps = self._exact(j).sub_(self._exact(i)[:, None])
            squared = gaps.square_().sum(2)
            if self.cosine:
                distances[start : start + step] = torch.where(
                    self.void[i][:, None] | self.void[j], 1.0, squared / 2
                )
            else:
                distances[start : start + step] = squared.sqrt_()
        distances, order = distances.sort(dim=1, stable=True)
        indices = found.gather(1, order[:, :k])
        return distances[:, :k].contiguous().cpu().numpy(), indices.cpu().numpy()

    def _exact(self, at):
        """Some rows in double precision, as their distances are measured."""
        rows = self.X[at].double()
        return rows / self.peaks[at] / self.lengths_of_scaled[at] if self.cosine else rows

    def _in_space(self, dtype):
        n, width = len(self.X), self.X.shape[1] + self.cosine
        places = torch.empty((n, width), dtype=dtype, device=self.X.device)
        for at in self._blocks():
            if self.cosine:
                # Off the sphere in a direction of their own, rows of zeros are equally far from all others.
                places[at] = torch.column_stack([self._exact(at), self.void[at]]).to(dtype)
            else:
                places[at] = ((self._exact(at) - self.centre) / self.scale).to(dtype)
        return places

    def _blocks(self):
        step = max(1, BLOCK_SIZE // max(1, self.X.shape[1]))
        return [slice(start, start + step) for start in range(0, len(self.X), step)]
