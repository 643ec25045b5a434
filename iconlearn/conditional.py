"""Conditional distributions p(.|i): what should be near what.

    p(j|i) = (1 - uniform) * e_ij + uniform / m_i        for every candidate j of row i

``e`` is the support (every row sums to one), ``uniform`` the share that is spread evenly over the
m_i candidates of a row, and ``mass`` the weight of each row in the objective.  Two classes hold the
same story: :class:`Conditional` keeps the support as sparse edges, :class:`BlockConditional`
evaluates full rows when they are asked for and never stores more than a block of them.
A :class:`ListConditional` has lists of candidates instead, any number for a row, each with a p of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import csr_array, issparse
from scipy.special import entr

from .distributed import Halo, Shard, current

__all__ = [
    "BlockConditional",
    "Conditional",
    "Entries",
    "ListConditional",
    "Lists",
    "ShardConditional",
    "WideConditional",
    "along_entries",
    "check_conditional",
    "conditional_of",
    "normalize_rows",
    "one_column",
]

# A sparse copy of a block-wise p is n_rows * n_cols numbers; beyond this it is refused, not
# attempted.
MAX_MATERIALISED = 2 * 10**7

# Numbers of p that are looked at at a time.
BLOCK = 2**22

# Rows, and numbers in them, that are looked at for zeros.
MAX_SAMPLED_ROWS = 64
MAX_SAMPLED = 2**22

# Entries whose logarithms are taken at once, so that they stay in the cache.
ENTROPY_BLOCK = 2**16

# How far from one the sum of a row may be; single precision over many entries is within it.
MAX_OFF_ONE = 1e-3


class Entries(NamedTuple):
    """The part of p of one visit.

    Attributes
    ----------
    i, j : ndarray of int64 or None
        Positions of the support pairs within the visited rows and columns, sorted by row.  None
        when `p` is a full block.
    p : ndarray of float64
        Probabilities of the support pairs, or the full block of shape (rows, columns).
    mass : ndarray of shape (rows,)
        Weight of each visited row; sums to one, and is zero for rows without any support in the
        visit.
    floor : float
        Probability of every candidate off the support (zero for a full block, which has none).
    """

    i: np.ndarray | None
    j: np.ndarray | None
    p: np.ndarray
    mass: np.ndarray
    floor: float


class _Rows:
    """What all forms share: shape, candidates, masses and debiasing."""

    if TYPE_CHECKING:  # attributes of each form
        uniform: float
        mass: np.ndarray | None
        self_pairs: bool

        @property
        def shape(self) -> tuple[int, int]: ...

        def supported(self) -> np.ndarray: ...

        def entries(self, rows=None, cols=None) -> Entries: ...

    # Whether the rows are deviations from a uniform p to first order, the limit of a wide kernel.
    wide = False
    # Whether columns are rows of other processes, too.
    sharded = False
    # Whether a row has lists of candidates of its own instead of all columns.
    listed = False
    # (points, b) where - log e_ij is b |x_i - x_j|^2 plus a constant of the row; the sparse weights that full rows
    # were made of.  A block may have either.
    quadratic: Any = None
    graph: Any = None
    # How many equal rows each stands for, of mean one; None where each is one.
    copies: np.ndarray | None = None
    # What rows alone give, where both sides are summed.
    own: csr_array | None = None

    @property
    def n_rows(self) -> int:
        return self.shape[0]

    @property
    def n_cols(self) -> int:
        return self.shape[1]

    @property
    def n_all(self) -> int:
        """Rows of all processes."""
        return self.n_rows

    @property
    def n_pairs(self) -> int:
        """Number of pairs of a row and a candidate."""
        return self.n_rows * self.n_cols

    @property
    def n_candidates(self) -> int:
        """Number of columns over which a row's uniform share is spread."""
        return self.n_cols - (not self.self_pairs)

    @cached_property
    def row_mass(self) -> np.ndarray:
        """Weights of the rows, summing to one; rows without support weigh nothing."""
        mass = np.ones(self.n_rows) if self.mass is None else np.asarray(self.mass, dtype=np.float64)
        mass = np.where(self.supported(), mass, 0.0)
        total = mass.sum()
        return mass / total if total > 0 else mass

    def full(self, rows=None) -> np.ndarray:
        """p of some rows over all columns, the uniform share included.

        Parameters
        ----------
        rows : ndarray of int or None
            None for all.

        Returns
        -------
        ndarray of shape (len(rows), n_cols)
            Rows without any support hold the uniform share alone.
        """
        e = self.entries(rows)
        if e.i is None:
            return e.p
        out = np.full((len(e.mass), self.n_cols), e.floor)
        if not self.self_pairs:
            row_ids = np.arange(self.n_rows) if rows is None else np.asarray(rows)
            out[np.arange(len(row_ids)), row_ids] = 0.0
        out[e.i, e.j] = e.p
        return out

    def log(self, rows=None) -> np.ndarray:
        """Logarithms of :meth:`full`, that of the least positive number where p is zero or underflows."""
        return np.log(np.maximum(self.full(rows), np.finfo(float).tiny))

    def mean_entropy(self) -> float:
        """Mean entropy of the rows, weighted by their masses, in nats."""
        total, mass, copies = 0.0, self.row_mass, self.copies
        step = max(1, BLOCK * self.n_rows // max(self._n_numbers(), 1))
        for start in range(0, self.n_rows, step):
            rows = np.arange(start, min(start + step, self.n_rows))
            e = self.entries(rows)
            weight = mass[rows]
            row_weight = weight[e.i] if e.i is not None else weight[:, None]
            if copies is not None:
                row_weight = row_weight * copies[e.j]
            total += (row_weight * entr(e.p)).sum()
            if e.i is not None and e.floor > 0:
                on = np.bincount(e.i, None if copies is None else copies[e.j], minlength=len(rows))
                total += (weight * (self.n_candidates - on)).sum() * entr(e.floor)
        return float(total)

    def column_mass(self) -> np.ndarray:
        """How often each column is drawn, ``sum_i mass_i p(j|i)``; sums to one."""
        total, step = np.zeros(self.n_cols), max(1, BLOCK // self.n_cols)
        for start in range(0, self.n_rows, step):
            rows = np.arange(start, min(start + step, self.n_rows))
            total += self.row_mass[rows] @ self.full(rows)
        return total

    def _n_numbers(self) -> int:
        """Numbers that all rows are made of."""
        return self.n_rows * self.n_cols

    def with_uniform(self, weight: float):
        """Mix in a uniform share: (1 - weight) * p + weight / candidates; shares compose."""
        form: Any = self
        return replace(form, uniform=self.uniform + (1.0 - self.uniform) * weight)

    def with_mass(self, mass):
        """The same rows with other weights."""
        return replace(self, mass=mass)

    def with_edges(self):
        """The same rows with their support as edges; itself where it is sparse."""
        return Conditional(self.sparse(), self.uniform, self.mass, self.self_pairs) if self.dense else self

    def with_self_pairs(self):
        """The same support over one candidate more: the row itself."""
        return replace(self, self_pairs=True)


@dataclass(frozen=True, eq=False)
class Conditional(_Rows):
    """p with sparse support.

    Parameters
    ----------
    edges : csr_array of shape (n_rows, n_cols)
        Non-negative; each row sums to one or is empty.  An empty row carries no mass.
    uniform : float, default=0.0
        Share in [0, 1) that is spread evenly over the candidates.
    mass : ndarray of shape (n_rows,) or None, default=None
        Weights of the rows (any positive scale); None weighs all rows alike.
    self_pairs : bool, default=True
        Whether column i is a candidate of row i.  False only where rows and columns are the same
        points.
    column_weights : ndarray of shape (n_cols,) or None, default=None
        What a degree-weighted q weighs the columns by; None: the weights of the rows.
    copies : ndarray of shape (n_cols,) or None, default=None
        How many equal rows each stands for, of mean one; see :meth:`of_copies`.  `edges` hold what p gives to all
        copies of a column, :meth:`entries` what it gives to one.
    own : csr_array of shape (n_rows, n_cols) or None, default=None
        What rows alone give to columns, where `edges` sum what both give each other (``Supervisory.reciprocal``) and
        that is known from the same search.
    """

    edges: csr_array
    uniform: float = 0.0
    mass: np.ndarray | None = None
    self_pairs: bool = True
    column_weights: np.ndarray | None = None
    copies: np.ndarray | None = None
    own: csr_array | None = None

    dense = False

    @property
    def shape(self) -> tuple[int, int]:
        return self.edges.shape

    def column_mass(self) -> np.ndarray:
        """How often each column is drawn, ``sum_i mass_i p(j|i)``; sums to one."""
        mass = self.row_mass
        share = self.uniform / self.n_candidates * (mass.sum() - (0.0 if self.self_pairs else mass))
        return (1.0 - self.uniform) * (mass @ self.edges) + share

    def _n_numbers(self) -> int:
        return self.edges.nnz

    def supported(self) -> np.ndarray:
        """Which rows have any support."""
        return np.diff(self.edges.indptr) > 0

    def has_full_support(self) -> bool:
        """Whether p is positive at every candidate."""
        return self.uniform > 0

    def entries(self, rows=None, cols=None) -> Entries:
        """Support, masses and floor for the visited rows and columns.

        Restricting the columns renormalises every row over the columns that remain (the usual
        mini-batch practice), so each row that keeps any support still sums to one.
        """
        edges = self.edges if rows is None else self.edges[rows]
        candidates = self.n_candidates
        if cols is not None:
            edges = edges[:, cols]
            candidates = len(cols) - (not self.self_pairs)
            edges = normalize_rows(edges)
        edges.sort_indices()
        counts = np.diff(edges.indptr)
        i = along_entries(np.arange(edges.shape[0]), edges)
        floor = self.uniform / max(candidates, 1)
        each = 1.0 if self.copies is None else self.copies_of(cols)[edges.indices]
        p = (1.0 - self.uniform) * edges.data / each + floor
        mass = self.row_mass if rows is None else self.row_mass[rows]
        return Entries(i, edges.indices.astype(np.int64), p, _to_one(np.where(counts > 0, mass, 0.0)), floor)

    def mean_entropy(self) -> float:
        if self.copies is not None:
            return super().mean_entropy()
        mass, counts, data = self.row_mass, np.diff(self.edges.indptr), self.edges.data
        total = entr(floor := self.uniform / max(self.n_candidates, 1)) * (
            mass @ (self.n_candidates - counts)
        )
        # Equal weights, as of neighbours that count alike, have one logarithm.
        if data.size and data.min() == data.max():
            return float(total + entr((1.0 - self.uniform) * data[0] + floor) * (mass @ counts))
        step = max(1, ENTROPY_BLOCK * self.n_rows // max(data.size, 1))
        for start in range(0, self.n_rows, step):
            rows = slice(start, start + step)
            first, last = self.edges.indptr[start], self.edges.indptr[min(start + step, self.n_rows)]
            p = (1.0 - self.uniform) * data[first:last] + floor
            total += entr(p) @ np.repeat(mass[rows], counts[rows])
        return float(total)

    def sparse(self) -> csr_array:
        """The support as a csr_array (the uniform share is not part of it)."""
        return self.edges

    def transposed(self, weights) -> csr_array:
        """Weights of pairs of rows, a csr_array, the other way."""
        return csr_array(weights.T)

    def of_copies(self, number):
        """p where every row, which is a column as well, stands for a number of equal ones.

        The copies of a row say what it said, and p gives each copy of a column what it gave to that column.

        Parameters
        ----------
        number : ndarray of shape (n_rows,)
            Positive, of any scale.
        """
        copies = number / number.mean()
        edges = self.edges.copy()
        edges.data *= copies[edges.indices]
        # A mass that p gives is what the rows' neighbours weigh, and these are more now.
        mass = copies if self.mass is None else copies * self.mass * edges.sum(axis=1)
        return replace(self, edges=normalize_rows(edges), mass=mass, copies=copies)

    def copies_of(self, cols):
        """The numbers of copies among some of the columns, of mean one there."""
        return self.copies if cols is None else self.copies[cols] / self.copies[cols].mean()


@dataclass(frozen=True, eq=False)
class ShardConditional(Conditional):
    """p of the rows of one process over the rows of all, in :func:`iconlearn.distributed.shards`.

    Row i is column ``start + i``.  Masses sum to one over the rows of all processes, and so does the mean entropy;
    processes make such a p together.

    Parameters
    ----------
    start : int, default=0
        Rows of the processes before this one.

    Attributes
    ----------
    share : float
        What the rows of this process weigh of all.
    entropy : float
        Mean entropy of all rows.
    """

    start: int = 0
    share: float = field(default=1.0, init=False)
    entropy: float = field(default=0.0, init=False)

    sharded = True

    def __post_init__(self):
        group = current()
        own = float(np.where(self.supported(), 1.0 if self.mass is None else self.mass, 0.0).sum())
        total = group.total(own)
        vars(self)["share"] = own / total if total > 0 else 0.0
        vars(self)["entropy"] = group.total(super().mean_entropy())

    @property
    def row_mass(self) -> np.ndarray:  # type: ignore[override]
        return super().row_mass * self.share

    @property
    def n_all(self) -> int:
        return self.n_cols

    def mean_entropy(self) -> float:
        return self.entropy

    def entries(self, rows=None, cols=None) -> Entries:
        if rows is not None or cols is not None:
            raise ValueError(
                "this p is spread over several processes, and batches see the rows of one; use engine='mesh'"
            )
        found = super().entries()
        return found._replace(mass=np.where(self.supported(), self.row_mass, 0.0))

    def both_ways(self, weights, device=None):
        """Weights of pairs of rows and the same the other way, added up.

        Parameters
        ----------
        weights : csr_array of shape (n_rows, n_all)
        device : torch.device or None
            As for :class:`iconlearn.distributed.Halo`.

        Returns
        -------
        edges : csr_array of shape (n_rows, n_rows + n_of_others)
            Columns are the rows of this process, and behind them those of others with which these have edges.
        halo : Halo
            Gives values of such columns.
        """
        both = csr_array(weights + self.transposed(weights))
        halo = Halo(Shard(current(), self.n_rows), both.indices, device)
        return csr_array(
            (both.data, halo.at(both.indices), both.indptr), shape=(self.n_rows, halo.size)
        ), halo

    def transposed(self, weights) -> csr_array:
        shard = Shard(current(), self.n_rows)
        owner = shard.owners(weights.indices)
        pairs = np.column_stack(
            [weights.indices, along_entries(shard.first + np.arange(self.n_rows), weights)]
        )
        to = [np.flatnonzero(owner == rank) for rank in range(shard.group.size)]
        i, j = np.concatenate(shard.group.exchanged([pairs[some] for some in to])).T
        values = np.concatenate(shard.group.exchanged([weights.data[some] for some in to]))
        return csr_array((values, (i - shard.first, j)), shape=self.shape)

    def of_copies(self, number):
        raise ValueError(
            "sample_weight is not known to fits over several processes; leave it out, or fit in one process"
        )


def conditional_of(group, edges) -> Conditional:
    """p of rows over rows, from edges over the rows of all processes.

    Parameters
    ----------
    group : Group or Alone
    edges : csr_array of shape (n, n_of_all)

    Returns
    -------
    Conditional
    """
    if group.size == 1:
        return Conditional(edges, self_pairs=False)
    return ShardConditional(edges, self_pairs=False, start=group.starts(edges.shape[0]))


@dataclass(frozen=True, eq=False)
class BlockConditional(_Rows):
    """p over all columns, evaluated by blocks of rows.

    Parameters
    ----------
    block : callable
        ``block(rows, cols)`` returns the probabilities (before the uniform share) as an array of
        shape (len(rows), n_cols or len(cols)); either argument may be None for "all".  Entries of
        pairs that are no candidates are zero.  It must be picklable: a small object that holds what
        it needs.  It may have ``log(rows, cols)``, logarithms that do not underflow; ``quadratic``, (points, b)
        where - log p(j|i) is ``b |x_i - x_j|^2`` plus a constant of the row; ``graph``, the sparse weights that the
        rows were made of; and ``draw(rows, rng)`` with ``expected(n_rows)``, a neighbour of each row drawn from
        p, and how many neighbours a row has among so many rows on average.
    shape : tuple of int
        (n_rows, n_cols).
    uniform, mass, self_pairs
        As for :class:`Conditional`.
    empty : ndarray of bool of shape (n_rows,) or None
        Rows without any support.
    column_weights
        As for :class:`Conditional`.
    """

    block: Callable
    shape: tuple[int, int]
    uniform: float = 0.0
    mass: np.ndarray | None = None
    self_pairs: bool = True
    empty: np.ndarray | None = None
    column_weights: np.ndarray | None = None

    dense = True

    def supported(self) -> np.ndarray:
        """Which rows have any support."""
        return np.ones(self.n_rows, dtype=bool) if self.empty is None else ~self.empty

    def has_full_support(self) -> bool:
        """Whether p is positive at every candidate, as far as a sample of the rows shows."""
        if self.uniform > 0:
            return True
        rows = np.flatnonzero(self.supported())
        most = min(MAX_SAMPLED_ROWS, max(1, MAX_SAMPLED // self.n_cols))
        rows = rows[:: -(-len(rows) // most)] if len(rows) else rows
        zeros = np.count_nonzero(self.entries(rows).p == 0, axis=1)
        return bool((zeros == self.n_cols - self.n_candidates).all())

    def entries(self, rows=None, cols=None) -> Entries:
        """The full block for the visited rows and columns, uniform share included."""
        p = np.asarray(self.block(rows, cols), dtype=float)
        total = p.sum(axis=1, keepdims=True)
        if cols is not None:
            p = np.divide(p, total, out=np.zeros_like(p), where=total > 0)
        supported = total[:, 0] > 0
        candidates = (self.n_cols if cols is None else len(cols)) - (not self.self_pairs)
        p = (1.0 - self.uniform) * p + self.uniform / max(candidates, 1)
        if not self.self_pairs:
            row_ids = np.arange(self.n_rows) if rows is None else np.asarray(rows)
            col_ids = np.arange(self.n_cols) if cols is None else np.asarray(cols)
            p[row_ids[:, None] == col_ids] = 0.0
        mass = self.row_mass if rows is None else self.row_mass[rows]
        return Entries(None, None, p, _to_one(np.where(supported, mass, 0.0)), 0.0)

    def log(self, rows=None) -> np.ndarray:
        """Logarithms of :meth:`full`; those that the block itself gives do not underflow."""
        log = getattr(self.block, "log", None)
        return super().log(rows) if log is None or self.uniform > 0 else log(rows, None)

    @property
    def quadratic(self):
        return getattr(self.block, "quadratic", None)

    @property
    def graph(self):
        return getattr(self.block, "graph", None)

    def sparse(self) -> csr_array:
        """The support as a csr_array, where that is small enough to hold.

        Raises
        ------
        ValueError
            If the matrix would have more than 2e7 entries.
        """
        size = self.n_rows * self.n_cols
        if size > MAX_MATERIALISED:
            raise ValueError(
                f"this operation needs p as a sparse matrix, but p covers all {self.n_rows} x "
                f"{self.n_cols} "
                f"pairs; give the inner p a finite n_neighbors (for example n_neighbors=50)"
            )
        return csr_array(np.asarray(self.block(None, None), dtype=float))


@dataclass(frozen=True, eq=False)
class WideConditional(BlockConditional):
    """p in the limit of a wide kernel, p(j|i) = (1 + t a_ij) / m_i as t goes to zero, by its a_ij.

    ``block`` returns squared distances D and a_ij = -(D_ij - mean_k D_ik), the mean over the candidates.
    A uniform share u scales a by 1 - u.

    Parameters
    ----------
    unit : float, default=1.0
        What squared distances, of the data and of the places, are counted in by the loss.
    """

    unit: float = 1.0

    wide = True

    def has_full_support(self) -> bool:
        """Whether p is positive at every candidate: near uniform, it is."""
        return True

    def full(self, rows=None) -> np.ndarray:
        """There is none: the limit has deviations from a uniform p, which :meth:`entries` gives."""
        raise ValueError(
            "a p in the limit of an infinite bandwidth has no probabilities; use a p of finite bandwidth such as "
            "Gaussian(sigma=10)"
        )

    def mean_entropy(self) -> float:
        """That of a uniform p, which the limit is all but."""
        return float(np.log(self.n_candidates))

    def entries(self, rows=None, cols=None) -> Entries:
        """The deviations a_ij of the visited rows, centred over the visited candidates."""
        D = np.array(self.block(rows, cols), dtype=float)
        row_ids = np.arange(self.n_rows) if rows is None else np.asarray(rows)
        col_ids = np.arange(self.n_cols) if cols is None else np.asarray(cols)
        candidate = np.ones(D.shape, dtype=bool) if self.self_pairs else row_ids[:, None] != col_ids
        mean = D.sum(axis=1, where=candidate, keepdims=True) / np.maximum(
            candidate.sum(axis=1, keepdims=True), 1
        )
        a = np.where(candidate, (self.uniform - 1.0) * (D - mean), 0.0)
        return Entries(None, None, a, _to_one(self.row_mass[row_ids]), 0.0)

    def sparse(self) -> csr_array:
        """A stand-in for starts, max D - D in every row: near is what falls off least.

        Raises
        ------
        ValueError
            If the matrix would have more than 2e7 entries.
        """
        D = super().sparse().toarray()
        return normalize_rows(D.max() - D)


class Lists(NamedTuple):
    """The lists of some rows.

    Attributes
    ----------
    rows : ndarray of int64 of shape (n_lists,)
        Which of the rows asked for each list belongs to.
    i, j : ndarray of int64
        List and column of every candidate that is a column, sorted by list.
    null : ndarray of int64
        The lists that have the null candidate.
    p : ndarray of float64
        Probability of each candidate, and then of each null candidate.
    weight : ndarray of shape (n_lists,)
        Weights of the lists; those of the lists of a row sum to its mass times what they weigh in it.
    """

    rows: np.ndarray
    i: np.ndarray
    j: np.ndarray
    null: np.ndarray
    p: np.ndarray
    weight: np.ndarray


@dataclass(frozen=True, eq=False)
class ListConditional(_Rows):
    """p over lists of candidates, each the list of one row.

        L = sum_i mass_i sum_{l of i} weight_l D( p_l || q_l ),      q_l(j) = k(u_i, v_j) / sum_{k in l} k(u_i, v_k)

    A list may hold the null candidate, whose log kernel is ``log_null`` of q, 0 for all but shared clusters: beside it
    alone q is k / (1 + k), and the divergence one of Bernoulli distributions.

    Parameters
    ----------
    edges : csr_array of shape (n_lists, n_cols)
        p of the candidates of each list.  What is stored is a candidate, explicit zeros among them.
    rows : ndarray of int of shape (n_lists,)
        The row that each list belongs to, in rising order.
    n_rows : int
    null : ndarray of shape (n_lists,) or None, default=None
        p of the null candidate; NaN where a list has none, as all have where it is None.
    weights : ndarray of shape (n_lists,) or None, default=None
        How much each list counts in its row; None: all lists of a row alike, and to one.
    mass : ndarray of shape (n_rows,) or None, default=None
        As for :class:`Conditional`.  Rows without a list weigh nothing.
    """

    edges: csr_array
    rows: np.ndarray
    n_rows: int = 0
    null: np.ndarray | None = None
    weights: np.ndarray | None = None
    mass: np.ndarray | None = None

    dense = False
    listed = True
    # A share is spread over each list, and part of it.
    uniform = 0.0
    self_pairs = True
    column_weights = None

    @property
    def shape(self) -> tuple[int, int]:
        return self.n_rows, self.edges.shape[1]

    @property
    def n_pairs(self) -> int:
        """Number of pairs of a row and a candidate, null candidates included."""
        return self.edges.nnz + int(np.count_nonzero(self._has_null))

    @property
    def _has_null(self):
        return np.zeros(len(self.rows), dtype=bool) if self.null is None else ~np.isnan(self.null)

    @cached_property
    def _starts(self):
        """Where the lists of each row begin, and where those of the last end."""
        return np.searchsorted(self.rows, np.arange(self.n_rows + 1))

    @property
    def _weights(self):
        if self.weights is not None:
            return self.weights
        return 1.0 / np.diff(self._starts)[self.rows]

    def supported(self) -> np.ndarray:
        """Which rows have any list."""
        return np.diff(self._starts) > 0

    def has_full_support(self) -> bool:
        """Whether p is positive at every candidate of every list."""
        null = [] if self.null is None else self.null[self._has_null]
        return bool((self.edges.data > 0).all() and np.all(np.asarray(null) > 0))

    def lists(self, rows=None) -> Lists:
        """The lists of some rows, or of all; the masses of these rows sum to one.

        Parameters
        ----------
        rows : ndarray of int or None
        """
        chosen, own = self._of(rows)
        edges, null = self.edges[chosen], np.full(len(chosen), np.nan)
        if self.null is not None:
            null = self.null[chosen]
        mass = _to_one(self.row_mass if rows is None else self.row_mass[rows])
        with_null = np.flatnonzero(~np.isnan(null))
        return Lists(
            own,
            np.repeat(np.arange(len(chosen)), np.diff(edges.indptr)),
            edges.indices.astype(np.int64),
            with_null,
            np.concatenate([edges.data, null[with_null]]),
            mass[own] * self._weights[chosen],
        )

    def mean_entropy(self) -> float:
        """Mean entropy of the lists, weighted as in the loss, in nats."""
        lists = self.lists()
        return float(lists.weight[np.concatenate([lists.i, lists.null])] @ entr(lists.p))

    def columns_of(self, rows) -> np.ndarray:
        """All columns that are candidates in any list of some rows, sorted."""
        return np.unique(self.edges[self._of(rows)[0]].indices)

    def _of(self, rows):
        """Positions of the lists of some rows, and which of these rows each belongs to."""
        if rows is None:
            return np.arange(len(self.rows)), self.rows
        first, counts = self._starts[rows], np.diff(self._starts)[rows]
        own = np.repeat(np.arange(len(counts)), counts)
        return np.arange(len(own)) + np.repeat(first - np.cumsum(counts) + counts, counts), own

    @cached_property
    def pooled(self) -> Conditional:
        """What the lists of a row say together, null candidates aside: for starts and pictures, not for the loss."""
        to_rows = csr_array(
            (self._weights, (self.rows, np.arange(len(self.rows)))), shape=(self.n_rows, len(self.rows))
        )
        return Conditional(normalize_rows(to_rows @ self.edges), mass=self.mass)

    def entries(self, rows=None, cols=None) -> Entries:
        """Those of :attr:`pooled`."""
        return self.pooled.entries(rows, cols)

    def sparse(self) -> csr_array:
        """The edges of :attr:`pooled`."""
        return self.pooled.edges

    def with_uniform(self, weight: float):
        """Mix a uniform p over the candidates into every list: (1 - weight) * p + weight / candidates."""
        sizes = np.diff(self.edges.indptr) + self._has_null
        share = weight / np.maximum(sizes, 1)
        edges = self.edges.copy()
        edges.data = (1.0 - weight) * edges.data + np.repeat(share, np.diff(edges.indptr))
        null = None if self.null is None else (1.0 - weight) * self.null + share
        return replace(self, edges=edges, null=null)

    def with_self_pairs(self):
        """Itself: what a candidate is, its lists say."""
        return self


def check_conditional(value, what, p):
    """Check that a value is a p over rows, each of which is a distribution or empty.

    Parameters
    ----------
    value : object
    what : str
        What of p it is, for messages.
    p : object
        Put into words where there is a message only, which takes longer than the check.

    Raises
    ------
    TypeError
        For a matrix or anything else without the methods of :class:`Conditional`.
    ValueError
        For negative entries, NaN, and rows that do not sum to one.
    """
    if isinstance(value, np.ndarray | list | tuple) or issparse(value) or value is None:
        kind = f"a {type(value).__name__}"
        raise TypeError(
            f"{what} of p={p!r:.200} is {kind if value is not None else None}: it has to be an "
            f"iconlearn.conditional.Conditional, as Conditional(normalize_rows(A), self_pairs=False) is for "
            f"non-negative weights A of pairs of rows"
        )
    if not isinstance(value, Conditional | ListConditional):
        return
    edges = value.edges
    if not isinstance(edges, csr_array):
        raise TypeError(
            f"{what} of p={p!r:.200} has edges of type {type(edges).__name__}: they have to be a "
            f"scipy.sparse.csr_array, which iconlearn.conditional.normalize_rows makes"
        )
    least = edges.data.min(initial=0.0)
    if not least >= 0 or not np.isfinite(edges.data).all():
        raise ValueError(
            f"{what} of p={p!r:.200} has an entry of {least:g}, or one that is not finite: probabilities are at least 0"
        )
    total = np.asarray(edges.sum(axis=1)).ravel()
    if isinstance(value, ListConditional) and value.null is not None:
        total = total + np.nan_to_num(value.null)
    off = np.where(np.diff(edges.indptr) > 0, np.abs(total - 1), 0.0)
    worst = int(np.argmax(off))
    if off[worst] > MAX_OFF_ONE:
        raise ValueError(
            f"row {worst} of {what} of p={p!r:.200} sums to {total[worst]:.6g}: every row has to sum to one, or be "
            f"empty; use iconlearn.conditional.normalize_rows"
        )


def normalize_rows(matrix) -> csr_array:
    """Divide each row of a non-negative sparse matrix by its sum; empty rows stay empty.

    Entries below the rounding error of their row's sum are dropped: no sum notices them, but what asks which rows
    hang together would take them for a link like any other.
    """
    matrix = csr_array(matrix, dtype=float, copy=True)
    matrix.eliminate_zeros()
    total = np.asarray(matrix.sum(axis=1)).ravel()
    matrix.data /= along_entries(np.where(total > 0, total, 1.0), matrix)
    negligible = matrix.data < np.finfo(float).eps
    if negligible.any():
        matrix.data[negligible] = 0.0
        matrix.eliminate_zeros()
    return matrix


def one_column(columns, n_cols) -> Conditional:
    """p = 1 at one column of each row; at none where that is -1."""
    on = columns >= 0
    pointers = np.append(0, np.cumsum(on))
    return Conditional(csr_array((np.ones(pointers[-1]), columns[on], pointers), shape=(len(on), n_cols)))


def along_entries(values, matrix):
    """For every stored entry of a csr_array the value of its row."""
    counts = np.diff(matrix.indptr)
    if len(counts) and (counts == counts[0]).all():
        return np.repeat(values, counts[0])  # several times as fast as by single counts
    return np.repeat(values, counts)


def _to_one(mass: np.ndarray) -> np.ndarray:
    total = mass.sum()
    return mass / total if total > 0 else mass
