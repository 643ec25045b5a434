"""Neighbours among the rows of several processes.

    k-means of a sample  ->  cells, each owned by one process  ->  rows travel once, to the owner of their cell

An owner searches its rows among themselves and sends each to those other owners one of whose cells is about as near
as the nearest cell of all.  How near that has to be is read off a sample of rows whose neighbours among all are known.
An owner of many rows has them in finer cells of its own and answers from the nearest of these; how many that have to
be is read off the same sample.  Up to as many rows as one process searches exactly all owners are asked, and the answer
is exact.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.sparse import csr_array, issparse

from .._checks import check_squares
from .._randomness import random_source
from ..distributed import Shard
from ._distances import PairDistances, from_products
from ._exact import by_distance, prepared_for
from ._inverted_lists import CellSearch
from ._parameters import with_params
from ._products import nearest
from ._rows import PreparedRows, Space, UncentredRows, as_rows
from ._search import MAX_EXACT, choose_backend, knn, neighbor_graph, search_device

# Cells for each process, the most there may be, and rows of the sample from which they are found for each cell.
CELLS, MOST_CELLS, SAMPLE_PER_CELL, N_STEPS = 32, 512, 32, 3
# Share of a sample's neighbours that lie with the owners that are asked, and share of these that an owner finds in its
# cells; size of the sample.
RECALL, RECALL_OF_CELLS, N_SAMPLE = 0.998, 0.99, 1024
# Numbers of the rows that are asked for at a time, and of those that travel or whose places are found.
BLOCK, BLOCK_OF_PLACES = 2**22, 2**20


def graph_of_all(group, X, k, *, metric="euclidean", **options) -> csr_array:
    """:func:`neighbor_graph` among the rows of all processes.

    Parameters
    ----------
    group : Group or Alone
    X : ndarray or sparse matrix of shape (n, n_features)
        Rows of this process; for one process alone anything that :func:`neighbor_graph` takes.
    k : int
    metric, **options
        As for :func:`neighbor_graph`; `queries` are rows that this process asks all of them for, which answer exactly.

    Returns
    -------
    csr_array of shape (n, n_of_all)
        Row i of process r is column i + (rows of the processes before r).

    Raises
    ------
    ValueError
        Where rows would have to travel that are sparse, or have a metric other than the Euclidean one and cosine.
    """
    if group.size == 1:
        return neighbor_graph(X, k, metric=metric, **options)
    with group.together():
        X = _checked(X, with_params(metric, options.pop("metric_params", None)))
    queries = options.pop("queries", None)
    if queries is None:
        distances, indices = _searched(group, X, k, metric, **options)
    else:
        distances, indices = _queried(group, X, queries, k, metric, **options)
    indptr = np.arange(0, indices.size + 1, k)
    return csr_array((distances.ravel(), indices.ravel(), indptr), shape=(len(indices), group.total(len(X))))


def _checked(X, metric):
    if issparse(X) or not from_products(metric):
        what = "sparse X" if issparse(X) else f"metric={metric!r}"
        raise ValueError(
            f"neighbours are searched over several processes for dense X with a Euclidean or cosine metric, and not "
            f"for {what}; use metric='euclidean' and X.toarray(), or fit in one process"
        )
    X = as_rows(X)
    check_squares(X)
    if not np.isfinite(X).all():
        raise ValueError("X holds NaN or infinity, which are at no distance from anything")
    return X


def _searched(group, X, k, metric, *, backend="auto", n_jobs=None, random_state=None, device=None):
    shard = Shard(group, len(X))
    n_all, start = shard.n_all, shard.first
    rng = np.random.RandomState(group.from_first(int(random_source(random_state).randint(2**31 - 1))))
    space = _space_of_all(group, X, metric)
    centres = _centres(group, space.rows, X, n_all, rng)
    label = _labels(centres, space.rows, X)
    owners = _owners(centres, group.total(np.bincount(label, minlength=len(centres))), group.size)
    home = [np.flatnonzero(owners[label] == rank) for rank in range(group.size)]
    numbers = np.concatenate(group.exchanged([start + rows for rows in home]))
    held = _moved(group, X, home, len(numbers))
    options = {"metric": metric, "n_jobs": n_jobs, "device": device}
    ask = _Asked(held, numbers, k, options)
    found = ask.among_themselves(backend, int(rng.randint(2**31 - 1)))
    # How near each owner is, as a share of the distance to the nearest centre of all.
    far = _distances_of_owners(centres, owners, group.size, space.rows, held)
    limit = math.inf
    if n_all > MAX_EXACT:
        limit = _limit(group, ask, far, k, rng)
    asks = [np.flatnonzero(far[:, rank] <= limit) for rank in range(group.size)]
    asks[group.rank] = asks[group.rank][:0]
    step = max(1, BLOCK // (held.shape[1] * group.size))
    for first in range(0, group.largest(max(len(rows) for rows in asks)), step):
        part = [rows[first : first + step] for rows in asks]
        asked = group.exchanged([held[rows] for rows in part])
        ends = np.cumsum([len(rows) for rows in asked])[:-1]
        answers = [np.split(answer, ends) for answer in ask(np.concatenate(asked))]
        for rows, *answer in zip(part, *map(group.exchanged, answers), strict=True):
            found = _merged(found, rows, answer, k)
    return _returned(shard, found, numbers)


def _moved(group, X, home, n_held):
    """Rows of X at the ranks of their homes, those of one rank after the other's; a block of them travels at a time."""
    counts = np.array([len(rows) for rows in home])
    ends = np.cumsum(np.concatenate(group.exchanged(list(counts[:, None]))))
    held, at = np.empty((n_held, X.shape[1]), X.dtype), np.concatenate([[0], ends[:-1]])
    step = max(1, BLOCK_OF_PLACES // (X.shape[1] * group.size))
    for first in range(0, group.largest(int(counts.max())), step):
        for rank, part in enumerate(group.exchanged([X[rows[first : first + step]] for rows in home])):
            held[at[rank] : at[rank] + len(part)] = part
            at[rank] += len(part)
    return held


def _queried(group, X, queries, k, metric, *, prepared=None, n_jobs=None, device=None, **of_searches):
    numbers = group.starts(len(X)) + np.arange(len(X))
    ask = _Asked(X, numbers, k, {"metric": metric, "n_jobs": n_jobs, "device": device}, prepared)
    found = ask.none(len(queries))
    step = max(1, BLOCK // (X.shape[1] * group.size))
    for first in range(0, group.largest(len(queries)), step):
        rows = np.arange(first, min(first + step, len(queries)))
        answers = [ask(asked) for asked in group.exchanged([queries[rows]] * group.size)]
        for answer in zip(
            *(group.exchanged([answer[c] for answer in answers]) for c in range(2)), strict=True
        ):
            found = _merged(found, rows, answer, k)
    return found


class _Asked:
    """The rows that a process owns, and those of them that are nearest to others."""

    def __init__(self, held, numbers, k, options, prepared=None):
        self.held, self.numbers, self.k, self.options = held, numbers, k, options
        if prepared is None:
            uncentred = UncentredRows(held, options["metric"])
            prepared = uncentred if uncentred.serves else PreparedRows(held, options["metric"])
        self.prepared = prepared
        self.cells = None

    def __call__(self, queries):
        """Distances and numbers, shape (len(queries), k); infinite and -1 where there are fewer rows."""
        if self.cells is None or not len(queries):
            return self._named(*self.exactly(queries, self.k))
        found = self.cells.nearest_to(queries).cpu().numpy()
        pairs = PairDistances(queries, self.held, self.options["metric"])
        distances, at = by_distance(pairs.of_neighbors(np.arange(len(queries)), found), found)
        return self._named(distances[:, : self.k], at[:, : self.k])

    def exactly(self, queries, k):
        """Distances and positions among the rows of this process of at most k rows, by a look at all."""
        k = min(k, len(self.held))
        if not (k and len(queries)):
            return np.empty((len(queries), 0)), np.empty((len(queries), 0), np.int64)
        return knn(self.held, k, queries=queries, prepared=self.prepared, **self.options)

    def among_themselves(self, backend, seed):
        k = min(self.k, len(self.held) - 1)
        if k < 1:
            return self.none(len(self.held))
        options = {"metric": self.options["metric"], "device": self.options["device"]}
        if choose_backend(self.held, backend=backend, **options) == "ivf":
            prepared, ranked = prepared_for(
                self.held, options["metric"], search_device(self.held, options["device"]), self.prepared
            )
            self.cells = CellSearch(prepared, k, seed=seed, recall=RECALL_OF_CELLS)
            distances, at = ranked(np.arange(len(self.held)), self.cells.among_themselves(), k)
        else:
            distances, at = knn(self.held, k, backend=backend, random_state=seed, **self.options)
        return self._named(distances, at)

    def prepare_for(self, queries, at, counts):
        """Choose how many cells are searched, by rows of others of whose neighbours those that count lie here."""
        if self.cells is not None:
            self.cells.prepare_for(queries, at, counts)

    def none(self, n):
        return self._padded(np.empty((n, 0)), np.empty((n, 0), np.int64))

    def _named(self, distances, at):
        return self._padded(distances, self.numbers[at])

    def _padded(self, distances, numbers):
        lack = ((0, 0), (0, self.k - distances.shape[1]))
        return np.pad(distances, lack, constant_values=np.inf), np.pad(numbers, lack, constant_values=-1)


def _space_of_all(group, X, metric):
    """Where products of rows give their order; about the same centre for all processes."""
    some = group.gathered(np.array(X[: max(1, 4096 // group.size)]))
    return Space(some, metric)


def _centres(group, place, X, n_all, rng):
    """Centres of cells, by a few steps of k-means on a sample of all rows, as all processes know them."""
    n_cells = max(1, min(CELLS * group.size, MOST_CELLS, n_all // 8))
    wanted = SAMPLE_PER_CELL * n_cells
    own = np.random.RandomState((int(rng.randint(2**31 - 1)) + group.rank) % 2**31)
    rows = own.permutation(len(X))[: max(1, round(wanted * len(X) / n_all))]
    sample = torch.from_numpy(group.gathered(place(X[rows])))
    centres = sample[torch.from_numpy(rng.permutation(len(sample))[:n_cells])].clone()
    for _ in range(N_STEPS):
        label = nearest(centres, sample, 1)[0][:, 0]
        sizes = torch.bincount(label, minlength=len(centres))[:, None]
        means = torch.zeros_like(centres).index_add_(0, label, sample) / sizes.clamp(min=1)
        centres = torch.where(sizes > 0, means, centres)
    return group.from_first(centres)


def _labels(centres, place, X):
    step = max(1, BLOCK_OF_PLACES // X.shape[1])
    parts = [X[first : first + step] for first in range(0, len(X), step)]
    found = [nearest(centres, torch.from_numpy(place(part)), 1)[0][:, 0].numpy() for part in parts]
    return np.concatenate([*found, np.empty(0, np.int64)])


def _owners(centres, counts, n_ranks):
    """Which process owns each cell: neighbouring cells together, about as many rows for each.

    Cells are halved along the principal axis of their centres, again and again.
    """
    owners, centres = np.empty(len(counts), np.int64), centres.numpy().astype(float)

    def share(cells, first, n):
        if n == 1:
            owners[cells] = first
            return
        about = centres[cells] - centres[cells].mean(0)
        axis = np.linalg.svd(about, full_matrices=False)[2][0]
        cells = cells[np.argsort(about @ axis, kind="stable")]
        left = n // 2
        ends = counts[cells].cumsum()
        cut = 1 + int(np.argmin(np.abs(ends - ends[-1] * left / n)[:-1])) if len(cells) > 1 else len(cells)
        share(cells[:cut], first, left)
        if cut < len(cells):
            share(cells[cut:], first + left, n - left)

    share(np.arange(len(counts)), 0, n_ranks)
    return owners


def _distances_of_owners(centres, owners, n_ranks, place, X):
    """Distance to each owner's nearest centre over that to the nearest of all, shape (len(X), n_ranks)."""
    far, step = (
        np.full((len(X), n_ranks), np.inf, np.float32),
        max(1, BLOCK_OF_PLACES // max(X.shape[1], len(centres))),
    )
    for first in range(0, len(X), step):
        gaps = torch.cdist(torch.from_numpy(place(X[first : first + step])), centres).numpy()
        for rank in np.unique(owners):
            far[first : first + step, rank] = gaps[:, owners == rank].min(axis=1)
    with np.errstate(over="ignore"):  # of rows that are centres
        return far / np.maximum(far.min(axis=1, keepdims=True), np.finfo(np.float32).tiny)


def _limit(group, ask, far, k, rng):
    """Up to which share of the nearest distance owners are asked, so that most neighbours of a sample are found."""
    own = np.random.RandomState((int(rng.randint(2**31 - 1)) + group.rank) % 2**31)
    rows = own.permutation(len(ask.held))[: -(-N_SAMPLE // group.size)]
    sample, numbers = group.gathered(ask.held[rows]), group.gathered(ask.numbers[rows])
    first = group.starts(len(rows))
    distances, at = ask.exactly(sample, k + 1)
    distances = np.where(ask.numbers[at] == numbers[:, None], np.inf, distances)
    lack = ((0, 0), (0, k + 1 - distances.shape[1]))
    every = group.gathered(
        np.pad(distances, lack, constant_values=np.inf)[None]
    )  # shape (ranks, sample, k + 1)
    last = np.sort(every.transpose(1, 0, 2).reshape(len(sample), -1), axis=1)[:, k - 1]
    n_of_owner = (every <= last[:, None]).sum(axis=2).T  # of each owner's rows among the k nearest of all
    counts = (distances <= last[:, None]) & (distances > 0)
    counts[first : first + len(rows)] = False  # rows of this process, which it does not answer
    ask.prepare_for(sample, at, counts)
    shares = group.gathered(far[rows])
    order = np.argsort(shares, axis=None)
    covered = n_of_owner.ravel()[order].cumsum()
    return float(shares.ravel()[order][np.searchsorted(covered, RECALL * covered[-1])])


def _merged(found, rows, answer, k):
    """The k nearest of what was found and of an answer for some of the rows."""
    if len(rows):
        both = (np.hstack([old[rows], new]) for old, new in zip(found, answer, strict=True))
        for old, new in zip(found, by_distance(*both), strict=True):
            old[rows] = new[:, :k]
    return found


def _returned(shard, found, numbers):
    """What was found for the rows of this process by their owners."""
    group, back = shard.group, shard.owners(numbers)
    order = [np.flatnonzero(back == rank) for rank in range(group.size)]
    at = np.concatenate(group.exchanged([numbers[rows] for rows in order])) - shard.first
    answers = [np.concatenate(group.exchanged([part[rows] for rows in order])) for part in found]
    results = [np.empty_like(part) for part in answers]
    for result, part in zip(results, answers, strict=True):
        result[at] = part
    return results
