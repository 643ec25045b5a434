"""p over lists of candidates: triples, like and unlike pairs, pairs that belong apart.

    Choices      p_l over the candidates of list l, one of the lists of row i
    Triplets     the list (positive, negative),  p = (1, 0)
    Pairs        the list (other row, null),     p = (1, 0) where the two are alike, else (0, 1)
    CannotLink   the list (other row, null),     p = (0, 1), from both ends

The kernel of the null candidate is 1; under shared clusters that of a row in all clusters at once.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_array

from ...conditional import ListConditional
from .._base import Supervisory, n_rows_of

# The number of the null candidate in a list.
NULL = -1
# How far from one the sum of a list's p may be.
MAX_OFF_ONE = 1e-6


class Choices(Supervisory):
    """p over a list of candidates, which are rows or the null candidate, for each of some rows.

    q is normalised over the list, so that a row is compared with its candidates alone: with
    ``q="cosine"`` this is InfoNCE with negatives that are given, with ``q="narrow_gaussian"`` a margin.

    Parameters
    ----------
    candidates : array-like of int of shape (n_lists, n_candidates), or sequence of sequences of int
        Row numbers; -1 is the null candidate, of which a list may have one.  Lists may differ in length, from two on.
    p : array-like of the shape of `candidates` or None, default=None
        Probability of each candidate; those of a list sum to one.  None: 1 on the first of each list.
    anchors : array-like of int of shape (n_lists,) or None, default=None
        The row that each list belongs to; a row may have several.  None: list l is that of row l.
    weights : array-like of float of shape (n_lists,) or None, default=None
        Weights of the lists, non-negative; None weighs all alike.

    Attributes
    ----------
    conditional_ : ListConditional

    Notes
    -----
    Lists are tied to the rows that they number: such an object cannot be cross-validated, and new rows have none, so
    that a mapper of features has to place them.

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018.
    """

    equal_rows_alike = False  # type: ignore[assignment]

    def __init__(self, candidates, p=None, *, anchors=None, weights=None):
        self.candidates = candidates
        self.p = p
        self.anchors = anchors
        self.weights = weights

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the lists; see :meth:`Supervisory.fit`.  X gives the number of rows only."""
        n_rows = n_rows_of(X)
        lists = _as_lists(self.candidates)
        p = (
            [np.eye(1, len(c))[0] for c in lists]
            if self.p is None
            else [np.asarray(c, dtype=float) for c in self.p]
        )
        if len(p) != len(lists) or any(len(a) != len(b) for a, b in zip(p, lists, strict=True)):
            raise ValueError(
                "p of Choices must have one number for each candidate, in lists as long as those of `candidates`"
            )
        anchors = np.arange(len(lists)) if self.anchors is None else np.asarray(self.anchors)
        if self.anchors is None and len(lists) != n_rows:
            raise ValueError(
                f"Choices has {len(lists)} lists of candidates for {n_rows} rows: give one for each row, or the row "
                f"of each list by anchors=[...]"
            )
        if anchors.shape != (len(lists),):
            raise ValueError(
                f"anchors has shape {anchors.shape}: give the row of each of the {len(lists)} lists"
            )
        weights = None if self.weights is None else _checked_weights(self.weights, len(lists))
        self.conditional_ = _conditional(type(self).__name__, n_rows, anchors, lists, p, weights)
        return self


class Triplets(Supervisory):
    """Given triples (anchor, positive, negative): the anchor is nearer to the positive.

    Under ``NarrowGaussian(margin, distance=...)`` the loss is the mean of
    ``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, under a kernel that of a logistic choice between
    the two (stochastic triplet embedding, with ``q="gaussian"`` or ``"student"``).

    Parameters
    ----------
    triples : array-like of int of shape (n_triples, 3)
        Row numbers.

    Attributes
    ----------
    conditional_ : ListConditional

    Notes
    -----
    As for :class:`Choices`.

    References
    ----------
    Weinberger and Saul, "Distance metric learning for large margin nearest neighbor classification", JMLR 2009;
    Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015; van der Maaten and Weinberger, "Stochastic triplet
    embedding", MLSP 2012.
    """

    equal_rows_alike = False  # type: ignore[assignment]

    def __init__(self, triples):
        self.triples = triples

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the triples; see :meth:`Supervisory.fit`.  X gives the number of rows only."""
        triples = _table("triples", self.triples, 3, "anchor, positive and negative")
        choice = np.tile([1.0, 0.0], (len(triples), 1))
        self.conditional_ = _conditional(
            "Triplets", n_rows_of(X), triples[:, 0], triples[:, 1:], choice, None
        )
        return self


class Pairs(Supervisory):
    """Pairs of rows that are known to be alike, and others that are known to be unlike.

    Each pair is a list of the other row and the null candidate, so that q(alike) = k / (1 + k), with k the kernel of
    the pair.  Under ``NarrowGaussian(margin, distance=...)`` it is the loss of Siamese networks with a hinge: an alike
    pair costs d + margin, an unlike one ``max(0, margin - d)``; under :class:`~iconlearn.learned.Dot` it is logistic
    regression on inner products.

    Parameters
    ----------
    pairs : array-like of int of shape (n_pairs, 2)
        Row numbers.
    alike : array-like of bool of shape (n_pairs,)
        Whether the two belong together (also 0 and 1, or the probability of it).

    Attributes
    ----------
    conditional_ : ListConditional

    Notes
    -----
    As for :class:`Choices`.  For clusterings there are :class:`MustLink` and :class:`CannotLink`.

    References
    ----------
    Bromley et al., "Signature verification using a 'Siamese' time delay neural network", NeurIPS 1993; Hadsell, Chopra
    and LeCun, "Dimensionality reduction by learning an invariant mapping", CVPR 2006.
    """

    equal_rows_alike = False  # type: ignore[assignment]

    def __init__(self, pairs, alike):
        self.pairs = pairs
        self.alike = alike

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the pairs; see :meth:`Supervisory.fit`.  X gives the number of rows only."""
        pairs = _table("pairs", self.pairs, 2, "the two rows of a pair")
        alike = np.asarray(self.alike, dtype=float)
        if alike.shape != (len(pairs),) or not ((alike >= 0) & (alike <= 1)).all():
            raise ValueError(
                f"alike has shape {alike.shape}, and there are {len(pairs)} pairs: give one True or False (or a "
                f"number from 0 to 1) for each"
            )
        lists = np.column_stack([pairs[:, 1], np.full(len(pairs), NULL)])
        choice = np.column_stack([alike, 1.0 - alike])
        self.conditional_ = _conditional("Pairs", n_rows_of(X), pairs[:, 0], lists, choice, None)
        return self


class CannotLink(Supervisory):
    """Pairs of rows that must not share a cluster.

    Meant for a further term beside a p that is read off the features::

        ICONClustering(terms=[Term(CannotLink([(3, 17), (4, 90)]), weight=0.5)])

    Of the list (other row, null) p is 1 on the null candidate.  Under the shared-cluster kernel q of the other row is
    S / (1 + S), with S = sum_c r_ic r_jc / s_c over sum_c r_ic / s_c, the probability that j is in the cluster of i: a
    broken link costs log 2, whatever the cluster's size, and a kept one nothing.

    Parameters
    ----------
    pairs : array-like of int of shape (n_pairs, 2)
        Row numbers; the order within a pair does not matter.

    Attributes
    ----------
    conditional_ : ListConditional

    Notes
    -----
    As for :class:`Choices`.  The loss is minimised by gradients then, not by the partition engine, which solves sums
    over edges only.

    References
    ----------
    Wagstaff, Cardie, Rogers and Schroedl, "Constrained k-means clustering with background knowledge", ICML 2001.
    """

    equal_rows_alike = False  # type: ignore[assignment]

    def __init__(self, pairs):
        self.pairs = pairs

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Check the pairs; see :meth:`Supervisory.fit`.  X gives the number of rows only."""
        pairs = _table("pairs", self.pairs, 2, "the two rows of a pair")
        alone = pairs[:, 0] == pairs[:, 1]
        if alone.any():
            at = int(np.argmax(alone))
            raise ValueError(
                f"pairs[{at}] parts row {pairs[at, 0]} from itself; leave such pairs out of CannotLink"
            )
        ends = np.vstack([pairs, pairs[:, ::-1]])
        lists = np.column_stack([ends[:, 1], np.full(len(ends), NULL)])
        choice = np.tile([0.0, 1.0], (len(ends), 1))
        self.conditional_ = _conditional("CannotLink", n_rows_of(X), ends[:, 0], lists, choice, None)
        return self


def _table(name, values, width, what):
    """Row numbers as an array of so many columns."""
    values = np.asarray(values)
    whole = np.issubdtype(values.dtype, np.integer)
    if values.ndim != 2 or values.shape[1] != width or not whole or not len(values):
        raise ValueError(
            f"{name} has shape {values.shape} and type {values.dtype}: it must hold row numbers, {what}, as an "
            f"array of shape (n_{name}, {width})"
        )
    return values


def _as_lists(candidates):
    """Lists of row numbers as arrays."""
    given = isinstance(candidates, np.ndarray | list | tuple)
    lists = [np.asarray(c) for c in candidates] if given else []
    if not lists:
        raise ValueError(
            "Choices has no candidates: give a list of row numbers for each row, such as [[3, 8], [0, 5], ...], the "
            "right one first"
        )
    for at, c in enumerate(lists):
        if c.ndim != 1 or len(c) < 2 or not np.issubdtype(c.dtype, np.integer):
            raise ValueError(
                f"candidates[{at}] = {c.tolist()!r:.80}: a list must hold two row numbers or more (-1 for the null "
                f"candidate), one to choose and one to leave"
            )
    return lists


def _checked_weights(weights, n_lists):
    weights = np.asarray(weights, dtype=float)
    if weights.shape != (n_lists,) or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise ValueError(
            f"weights has shape {weights.shape}: give a number of at least 0 for each of the {n_lists} lists, not all 0"
        )
    return weights


def _conditional(name, n_rows, anchors, lists, p, weights):
    """Lists in the order of their rows, with null candidates apart from columns."""
    sizes = np.array([len(c) for c in lists])
    of, flat, values = np.repeat(np.arange(len(sizes)), sizes), np.concatenate(lists), np.concatenate(p)
    numbers = np.concatenate([np.asarray(anchors), flat[flat != NULL]])
    if numbers.min() < 0 or numbers.max() >= n_rows:
        wrong = numbers[(numbers < 0) | (numbers >= n_rows)][0]
        raise ValueError(
            f"{name} names row {wrong}, but X has rows 0 to {n_rows - 1}; the lists belong to the rows that they "
            f"number and cannot be fitted on a part of them"
        )
    if not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(f"p of {name} has an entry that is negative or not finite; give probabilities")
    off = np.abs(np.bincount(of, values) - 1)
    if off.max() > MAX_OFF_ONE:
        at = int(off.argmax())
        raise ValueError(f"p[{at}] of {name} sums to {np.bincount(of, values)[at]:.6g}; it has to sum to one")
    key = of * (n_rows + 1) + flat
    if len(np.unique(key)) < len(key):
        order = np.sort(key)
        at = int(order[1:][order[1:] == order[:-1]][0] // (n_rows + 1))
        raise ValueError(
            f"list {at} of {name} is {np.asarray(lists[at]).tolist()!r:.80}: it names a candidate twice; leave one out"
        )
    null = np.full(len(sizes), np.nan)
    null[of[flat == NULL]] = values[flat == NULL]
    on = flat != NULL
    if (np.bincount(of[on], minlength=len(sizes)) == 0).any():
        raise ValueError(f"a list of {name} holds the null candidate alone; give a row besides")
    edges = csr_array(
        (values[on], flat[on], np.concatenate([[0], np.cumsum(np.bincount(of[on], minlength=len(sizes)))])),
        shape=(len(sizes), n_rows),
    )
    order = np.argsort(anchors, kind="stable")
    rows = np.asarray(anchors)[order].astype(np.int64)
    mass = np.bincount(rows, None if weights is None else weights[order], n_rows).astype(float)
    if weights is not None:
        weights = weights[order] / np.where(mass > 0, mass, 1.0)[rows]
    return ListConditional(
        edges[order], rows, n_rows, None if np.isnan(null).all() else null[order], weights, mass
    )
