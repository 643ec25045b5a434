"""Rows that are known to belong together: two sets of features of the same things, pairs of rows, labels of some rows.

p(j|i) = 1[j shows what i shows]                     Paired: rows and columns are two groups of features (split)
p(j|i) = 1[(i, j) is a pair] / number of pairs of i  Paired: rows and columns are the same rows (pairs)
p(j|i) = 1 / number of links of i                    MustLink, for every row j that is linked with i
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ..._checks import check_number
from ..._label_markers import column_of, marked, missing, of_one_type
from ..._torch_state import as_array
from ...conditional import Conditional, normalize_rows, one_column
from ...distributed import current
from ...numerics.graphs import parts_of_graph
from .._base import Supervisory, n_rows_of, warn_empty


class Paired(Supervisory):
    """p(j|i) of given pairs: across two groups of features, or between rows.

    Parameters
    ----------
    split : int, sequence of int or None, default=None
        Where the columns of X are cut into groups of features: ``split=216`` makes two, 0 to 215 and the
        rest; ``split=[216, 292]`` three.  Row i of one group pairs with row i of another.  In a
        :class:`iconlearn.Term` without `pairs` None takes the split of the estimator's own p.
    pairs : array-like of int of shape (n_pairs, 2) or None, default=None
        Instead of groups: rows of X that belong together, in both directions.  Rows without a pair carry no
        mass.
    ends : tuple of two int, default=(0, 1)
        Which group the rows of p are taken from, and which the columns; ``(1, 0)`` is the other direction.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_rows, n_rows)

    References
    ----------
    Tian, Krishnan and Isola, "Contrastive multiview coding", ECCV 2020; Radford et al., "Learning
    transferable visual models from natural language supervision", ICML 2021.
    """

    def __init__(self, split=None, *, pairs=None, ends=(0, 1)):
        self.split = split
        self.pairs = pairs
        self.ends = ends

    @property
    def columns(self):
        return "rows" if self.pairs is not None else "features"

    @property
    def across(self):
        return "rows" if self.pairs is None else None

    def features(self, n_features):
        """The groups of columns of X that the rows and the columns of p are read off, as two slices."""
        if self.pairs is not None:
            return None
        if self.split is None:
            raise ValueError(
                "Paired needs split, the number of columns of X that show the first view (for example "
                "Paired(split=216)), or pairs, an array of row numbers of shape (n_pairs, 2)"
            )
        cuts = np.atleast_1d(as_array(self.split))
        whole = np.issubdtype(cuts.dtype, np.integer) and cuts.ndim == 1
        edges = np.concatenate([[0], cuts, [n_features]]) if whole else np.zeros(2)
        if not whole or (np.diff(edges) <= 0).any():
            raise ValueError(
                f"split={self.split!r} does not cut {n_features} columns into groups: it must be whole numbers, "
                f"increasing, between 1 and {n_features - 1}"
            )
        n_groups = len(edges) - 1
        ends = tuple(self.ends) if isinstance(self.ends, tuple | list) else ()
        if len(ends) != 2 or ends[0] == ends[1] or any(e not in range(n_groups) for e in ends):
            raise ValueError(f"ends={self.ends!r} must be two different groups out of 0 to {n_groups - 1}")
        return tuple(slice(int(edges[e]), int(edges[e + 1])) for e in ends)

    def beside(self, main):
        """See :meth:`Supervisory.beside`: one split for both directions."""
        if self.split is None and self.pairs is None:
            parameters = main.get_params() if hasattr(main, "get_params") else {}
            splits = [value for name, value in parameters.items() if name.rpartition("__")[2] == "split"]
            self.split = next((value for value in splits if value is not None), None)
        return self

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the pairs; see :meth:`Supervisory.fit`."""
        if self.pairs is not None and self.split is not None:
            raise ValueError("Paired takes split or pairs, not both")
        n = X.shape[0]
        if self.pairs is None:
            n = current().total(n)
            self.features(X.shape[1])
            self.conditional_ = one_column(np.arange(n), n)
            return self
        edges = _linked(_checked_pairs(self.pairs, n), n)
        warn_empty(np.diff(edges.indptr) > 0, "any pair", "give pairs of two different rows")
        self.conditional_ = Conditional(edges, self_pairs=False)
        return self


class MustLink(Supervisory):
    """p(j|i) uniform over the rows that must share a cluster with row i.

    Meant for a further term beside a p that is read off the features::

        ICONClustering(terms=[Term(MustLink([(3, 17), (4, 90)]), weight=0.1)])

    Rows without links carry no mass.  With a weight of the term equal to the share of linked rows a link counts like
    a row's whole neighbourhood; with much more the linked rows gain by leaving their neighbours for a small cluster
    of their own, since q is larger in small clusters.

    Parameters
    ----------
    pairs : array-like of int of shape (n_pairs, 2) or None, default=None
        Positions of rows that belong together; the order within a pair does not matter.
    labels : array-like of shape (n_rows,) or None, default=None
        Classes of some rows; `unlabeled`, or what is missing (None, NaN), for the others.  Without `pairs` and
        `labels` the y of ``fit`` takes their place; otherwise y is not looked at.
    n_mates : int, default=10
        Rows of the same label that each labelled row is linked with, so that the links grow with the rows.
    unlabeled : object or None, default=-1
        The marker of rows without a label, as for :class:`Labels`; None where -1 is a class.  Here it has a default,
        since links are of some rows by nature: labels of all are p="labels".

    Attributes
    ----------
    conditional_ : Conditional

    Notes
    -----
    Pairs and labels are tied to the rows that they number: such an object cannot be cross-validated.  Links that
    no clustering with these labels can keep are refused.

    References
    ----------
    Wagstaff, Cardie, Rogers and Schroedl, "Constrained k-means clustering with background knowledge", ICML 2001.
    """

    def __init__(self, pairs=None, labels=None, *, n_mates=10, unlabeled=-1):
        self.pairs = pairs
        self.labels = labels
        self.n_mates = n_mates
        self.unlabeled = unlabeled

    @property
    def requires_y(self) -> bool:  # type: ignore[override]
        return self.pairs is None and self.labels is None

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Collect the links; see :meth:`Supervisory.fit`.  X gives the number of rows only."""
        n_rows = n_rows_of(X)
        n_mates = check_number("n_mates", self.n_mates, low=1, integer=True)
        if self.requires_y and y is None:
            raise ValueError(
                "MustLink needs links: give pairs, or labels, or the y of fit with -1 for rows without a label"
            )
        labels = y if self.requires_y else self.labels
        codes = np.full(n_rows, -1) if labels is None else _codes(labels, n_rows, self.unlabeled)
        pairs = np.empty((0, 2), dtype=int) if self.pairs is None else _checked_pairs(self.pairs, n_rows)
        _refuse_contradictions(pairs, codes, np.asarray(labels, dtype=object))
        ends = np.vstack([pairs, _mates(codes, n_mates)])
        if not len(ends):
            raise ValueError("MustLink has no link: no pair is given, and no label belongs to two rows")
        self.conditional_ = Conditional(_linked(ends, n_rows), self_pairs=False)
        return self


def _linked(pairs, n_rows):
    """Every row evenly over those that it is in a pair with."""
    links = csr_array((np.ones(len(pairs)), pairs.T), shape=(n_rows, n_rows))
    links = links + links.T
    links.data[:] = 1.0
    return normalize_rows(links)


def _codes(labels, n_rows, unlabeled):
    """Numbers of the classes, -1 for rows without a label."""
    shape = np.shape(labels)
    if shape not in ((n_rows,), (n_rows, 1)):
        raise ValueError(f"labels have shape {shape}, but X has {n_rows} rows: give one label per row")
    labels = column_of(labels, n_rows)
    lone = marked(labels, unlabeled) | missing(labels)
    codes = np.full(n_rows, -1)
    codes[~lone] = np.unique(of_one_type(labels[~lone]), return_inverse=True)[1]
    return codes


def _refuse_contradictions(pairs, codes, labels):
    """Two labels among rows that links hold together cannot both be kept."""
    n_rows = len(codes)
    graph = csr_array((np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(n_rows, n_rows))
    part = parts_of_graph(graph)
    known = np.flatnonzero(codes >= 0)
    first = {}
    for row in known:
        other = first.setdefault(part[row], row)
        if codes[row] != codes[other]:
            raise ValueError(
                f"must-links contradict the labels: rows {other} and {row} are linked, directly or through others, "
                f"but have the labels {labels[other]!r} and {labels[row]!r}; remove a link or a label"
            )


def _mates(codes, n_mates):
    """Links of every labelled row with the next ones of its class, around the class."""
    ends = [np.empty((0, 2), dtype=int)]
    for code in range(codes.max(initial=-1) + 1):
        rows = np.flatnonzero(codes == code)
        for step in range(1, min((n_mates + 1) // 2, len(rows) // 2) + 1):
            ends.append(np.column_stack([rows, np.roll(rows, -step)]))
    return np.vstack(ends)


def _checked_pairs(pairs, n_rows):
    """The pairs as two columns of row numbers; pairs belong to the rows that they number."""
    pairs = np.asarray(as_array(pairs))
    if pairs.ndim != 2 or pairs.shape[1] != 2 or not np.issubdtype(pairs.dtype, np.integer):
        raise ValueError(
            f"pairs has shape {pairs.shape} and type {pairs.dtype}: it must hold whole numbers, shape (n_pairs, 2)"
        )
    outside, alone = (pairs < 0) | (pairs >= n_rows), pairs[:, 0] == pairs[:, 1]
    if outside.any():
        at, side = np.argwhere(outside)[0]
        raise ValueError(
            f"pairs[{at}] = {pairs[at].tolist()} is out of range: the pairs name row {pairs[at, side]}, but X has rows "
            f"0 to {n_rows - 1}; pairs belong to the rows that they number and cannot be fitted on a part of them"
        )
    if alone.any():
        at = int(np.argmax(alone))
        raise ValueError(f"pairs[{at}] pairs row {pairs[at, 0]} with itself; leave such pairs out")
    return pairs
