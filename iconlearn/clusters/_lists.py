"""Soft assignments of rows that have few clusters each."""

from __future__ import annotations

import numpy as np

# Numbers of a table that are looked at together.
BLOCK = 2**24


class Lists:
    """Soft assignments in CSR form; those that are not listed are next to nothing.

    Parameters
    ----------
    parts : tuple of (ndarray of uint64 of shape (n + 1,), ndarray of uint32, ndarray of float64)
        Where each row ends, clusters and assignments, as the compiled loops take them.
    mass : ndarray of float64 of shape (n_clusters,)
        Rows of each cluster.
    least : float
        What is not more is not listed.
    """

    def __init__(self, parts, mass, least):
        self.parts, self.mass, self.least = parts, mass, least
        self.shape = len(parts[0]) - 1, len(mass)

    @classmethod
    def of(cls, r, listed, least, size, idle=None):
        """Those in a table that are more than `listed`, but for rows that are idle.

        Parameters
        ----------
        r : ndarray of shape (n, n_clusters)
        listed : float
        least : float
            Lists of the steps that follow hold what is more than this.
        size : ndarray of shape (n,)
            How many rows each of these stands for.
        idle : ndarray of bool of shape (n,) or None
            Rows that have what the clusters have on average.

        Returns
        -------
        lists : Lists or None
            None where some other row has nothing.
        """
        counts, clusters, values, mass = [np.zeros(1, int)], [], [], np.zeros(r.shape[1])
        for rows in _blocks(*r.shape):
            which = r[rows] > listed
            if idle is not None:
                which[idle[rows]] = False
            row, column = np.nonzero(which)
            value, count = r[rows][which], which.sum(axis=1)
            value /= np.bincount(row, value, len(count))[row]
            counts.append(count)
            clusters.append(column.astype(np.uint32))
            values.append(value)
            mass += np.bincount(column, value * size[rows][row], len(mass))
        counts = np.concatenate(counts)
        if ((counts[1:] == 0) & (True if idle is None else ~idle)).any():
            return None
        ends = np.cumsum(counts).astype(np.uint64)
        return cls((ends, np.concatenate(clusters), np.concatenate(values)), mass, least)

    def table(self, smallest):
        """The assignments as a table; `smallest` where none is listed."""
        ends, clusters, values = self.parts
        counts, r = np.diff(ends.astype(np.int64)), np.full(self.shape, smallest)
        r[np.repeat(np.arange(len(counts)), counts), clusters] = values
        r[counts == 0] = self.mass / self.mass.sum()
        return r


def _blocks(n, n_clusters):
    step = max(1, BLOCK // n_clusters)
    return [slice(start, start + step) for start in range(0, n, step)]
