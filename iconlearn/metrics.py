"""Figures of merit: clustering accuracy, calibration, neighbours kept, the t-SNE divergence of any map, information.

accuracy = max over matchings of clusters to classes of the share of rows that agree
recall   = mean_i |N_k(x_i) and N_k(z_i)| / k
I(i; j) >= H(j) - H(p, q),         I(U; Z) >= I(Y; Z) - max(0, I(X; Y) - I(U; Y))
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import coo_array
from scipy.special import digamma, entr, xlogy
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from ._checks import check_number
from ._label_markers import as_labels, missing, of_one_type
from .neighbors import distance_block, knn

__all__ = [
    "DownstreamBound",
    "InformationBound",
    "clustering_accuracy",
    "downstream_bound",
    "expected_calibration_error",
    "joint_kl",
    "mutual_information",
    "neighbor_recall",
]


def clustering_accuracy(y_true, labels) -> float:
    """Share of rows that agree under the best one-to-one matching of clusters to classes.

    Parameters
    ----------
    y_true : array-like of shape (n,)
        Classes.
    labels : array-like of shape (n,)
        Clusters; any names, and their number may differ from that of the classes.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If there are no rows, or labels are missing.

    References
    ----------
    Kuhn, "The Hungarian method for the assignment problem", 1955.

    Examples
    --------
    >>> from iconlearn.metrics import clustering_accuracy
    >>> clustering_accuracy([0, 0, 1, 1], [1, 1, 0, 2])
    0.75
    """
    y_true, labels = _all_there("y_true", y_true), _all_there("labels", labels)
    check_consistent_length(y_true, labels)
    classes, i = np.unique(y_true, return_inverse=True)
    clusters, j = np.unique(labels, return_inverse=True)
    counts = np.zeros((len(clusters), len(classes)), dtype=np.int64)
    np.add.at(counts, (j, i), 1)
    rows, cols = linear_sum_assignment(counts, maximize=True)
    return float(counts[rows, cols].sum() / len(i))


def _all_there(name, labels):
    """Labels as an array, none of them missing."""
    labels = of_one_type(column_or_1d(as_labels(labels)))
    if not len(labels):
        raise ValueError(f"{name} is empty: an accuracy needs at least one row")
    gaps = missing(labels)
    if gaps.any():
        raise ValueError(
            f"{name} has no label in {gaps.sum()} rows (the first is row {int(gaps.argmax())}); leave out rows whose "
            f"label is missing"
        )
    return labels


def expected_calibration_error(y_true, probabilities, *, classes=None, n_bins=15) -> float:
    """How far confidence is from accuracy: ``sum_b (n_b / n) |accuracy_b - confidence_b|``.

    Rows are put into bins of equal width by the probability of their predicted class.

    Parameters
    ----------
    y_true : array-like of shape (n,)
    probabilities : array-like of shape (n, n_classes)
        Rows sum to one.
    classes : array-like of shape (n_classes,) or None, default=None
        The class of each column, as in ``classes_``; None: the sorted classes of `y_true`.
    n_bins : int, default=15

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If the columns are not as many as the classes, or rows do not sum to one.

    References
    ----------
    Naeini, Cooper and Hauskrecht, "Obtaining well calibrated probabilities using Bayesian binning", AAAI
    2015; Guo et al., "On calibration of modern neural networks", ICML 2017.

    Examples
    --------
    >>> from iconlearn.metrics import expected_calibration_error
    >>> sure_and_wrong_once_in_two = [[0.9, 0.1], [0.9, 0.1]]
    >>> round(expected_calibration_error([0, 1], sure_and_wrong_once_in_two), 3)
    0.4
    """
    y_true, P = column_or_1d(y_true), check_array(probabilities, input_name="probabilities")
    check_consistent_length(y_true, P)
    check_number("n_bins", n_bins, low=1, integer=True)
    classes = np.unique(y_true) if classes is None else np.asarray(classes)
    if P.shape[1] != len(classes):
        raise ValueError(
            f"probabilities have {P.shape[1]} columns, and there are {len(classes)} classes; give classes="
        )
    if not np.allclose(P.sum(axis=1), 1, atol=1e-3):
        raise ValueError("the rows of probabilities do not sum to one; give those of predict_proba")
    confidence = P.max(axis=1)
    right = classes[P.argmax(axis=1)] == y_true
    bins = np.minimum((confidence * n_bins).astype(int), n_bins - 1)
    return float(np.abs(np.bincount(bins, weights=right - confidence)).sum() / len(y_true))


def neighbor_recall(X, Z, n_neighbors=15, *, metric="euclidean") -> float:
    """Mean share of each row's `n_neighbors` nearest rows in X that are among its nearest in Z.

    Parameters
    ----------
    X : ndarray or sparse matrix of shape (n, n_features)
    Z : ndarray of shape (n, n_components)
    n_neighbors : int, default=15
    metric : str, default="euclidean"
        Metric in X; Z is always Euclidean.

    Returns
    -------
    float in [0, 1]

    Raises
    ------
    ValueError
        If X or Z holds NaN or infinity, or has too few rows for so many neighbours.
    """
    X, Z = _checked_rows(X, "X"), _checked_rows(Z, "Z", accept_sparse=False)
    check_consistent_length(X, Z)
    check_number("n_neighbors", n_neighbors, low=1, integer=True)
    if n_neighbors > X.shape[0] - 1:
        raise ValueError(
            f"n_neighbors={n_neighbors} is more than the {X.shape[0] - 1} other rows; give at most as many"
        )
    _, before = knn(X, n_neighbors, metric=metric)
    _, after = knn(Z, n_neighbors)
    kept = sum(np.intersect1d(a, b, assume_unique=True).size for a, b in zip(before, after, strict=True))
    return float(kept / before.size)


def _checked_rows(rows, name, accept_sparse="csr"):
    """Places or features, of which one number a row may come as a vector."""
    if not hasattr(rows, "ndim"):
        rows = np.asarray(rows)
    rows = rows[:, None] if rows.ndim == 1 and accept_sparse is False else rows
    dtype = np.float64 if accept_sparse is False else [np.float64, np.float32]
    return check_array(rows, accept_sparse=accept_sparse, dtype=dtype, input_name=name)


def joint_kl(P, Z) -> float:
    """KL(P || Q) of t-SNE: Q from the Cauchy kernel on Z, normalised over all pairs.

    Parameters
    ----------
    P : ndarray or sparse matrix of shape (n, n)
        Joint probabilities: non-negative, symmetric, no diagonal; scaled here to sum to one.
    Z : ndarray of shape (n, n_components)

    Returns
    -------
    float
        In nats, evaluated in double precision over all pairs.

    Raises
    ------
    ValueError
        If P is none such, or Z holds NaN or infinity.

    References
    ----------
    van der Maaten and Hinton, "Visualizing data using t-SNE", JMLR 2008.
    """
    P, Z = _checked_joint(P), _checked_rows(Z, "Z", accept_sparse=False)
    if P.shape[0] != len(Z):
        raise ValueError(f"P has {P.shape[0]} rows and Z has {len(Z)}: they must be as many")
    p = P.data / P.data.sum()
    total, step = 0.0, max(1, 2**22 // len(Z))
    for start in range(0, len(Z), step):
        block = sum((Z[start : start + step, c, None] - Z[:, c]) ** 2 for c in range(Z.shape[1]))
        total += (1.0 / (1.0 + block)).sum()
    total -= len(Z)
    sqdist = ((Z[P.row] - Z[P.col]) ** 2).sum(axis=1)
    on = p > 0
    return float((p[on] * np.log(p[on] * total * (1.0 + sqdist[on]))).sum())


def _checked_joint(P):
    P = coo_array(check_array(P, accept_sparse=True, dtype=np.float64, input_name="P"))
    if P.shape[0] != P.shape[1]:
        raise ValueError(f"P has shape {P.shape}: it must be square, one row and one column per place")
    largest = P.data.max(initial=0.0)
    if P.data.min(initial=0.0) < 0 or largest <= 0:
        raise ValueError(
            "P must be at least 0, and above 0 for some pairs: joint probabilities of pairs of rows"
        )
    if abs(P - P.T).max() > 1e-6 * largest:
        raise ValueError("P is not symmetric, as joint probabilities of pairs are; give (P + P.T) / 2")
    if P.diagonal().max() > 0:
        raise ValueError("P has entries on its diagonal, and a row is no pair with itself; set them to 0")
    return P


class InformationBound:
    """A callback that turns the loss of each iteration into a bound on mutual information.

    I(i; j) = H(j) - H(j|i) is at least ``H(j) - H(p, q)``, i drawn by the weights of the rows, j by p.  A KL fit's
    loss is H(p, q) - H(p), H(p) the mean entropy of the rows of p, so the bound is ``H(j) - H(p) - loss``.

    **Assumption.** H(j) is at most log N, N the number of candidates, and only where every column is as often
    a neighbour as any other is it log N: for views, given pairs and a doubly stochastic p, but not for neighbours,
    which have hubs.  Without `column_entropy` that is taken for granted; :meth:`of` reads it off a fitted p instead.

    Parameters
    ----------
    n_candidates : int
        N: the columns that q is normalised over (those of a batch, where there are batches).
    entropy : float, default=0.0
        H(p), in nats: log k for k equal neighbours, 0 for one.
    column_entropy : float or None, default=None
        H(j), in nats, at most log N.  None: log N, see the assumption.
    then : callable or None, default=None
        A further callback; what it returns is handed on, so that its True stops the fit.

    Attributes
    ----------
    ceiling : float
        H(j) - H(p), where the bound ends if q is p: the information itself.
    history : list of float
        The bound at every iteration.

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018;
    Alshammari et al., "I-Con", ICLR 2025, appendix E.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> from iconlearn.supervisory import KNN
    >>> X = load_iris().data
    >>> bound = InformationBound.of(KNN(15).fit(X).conditional_)
    >>> model = ICONEmbedding(p="knn", max_iter=20, callback=bound).fit(X)
    >>> len(bound.history), bool(bound.history[-1] <= bound.ceiling <= np.log(150) - np.log(15))
    (20, True)
    """

    def __init__(self, n_candidates, *, entropy=0.0, column_entropy=None, then=None):
        n = check_number("n_candidates", n_candidates, low=2, integer=True)
        high, hint = math.log(n) * (1 + 1e-12), "in nats, at most log N"
        entropy = check_number("entropy", entropy, low=0, high=high, hint=hint)
        if column_entropy is not None:
            column_entropy = check_number("column_entropy", column_entropy, low=0, high=high, hint=hint)
        self.n_candidates, self.entropy, self.column_entropy, self.then = n, entropy, column_entropy, then
        self.ceiling = (math.log(n) if column_entropy is None else column_entropy) - entropy
        self.history = []

    @classmethod
    def of(cls, conditional, *, then=None):
        """The bound of a fitted p, with the entropies that it has.

        Parameters
        ----------
        conditional : Conditional or BlockConditional
            ``conditional_`` of a fitted p, all of whose rows and columns every iteration visits.
        then : callable or None, default=None
            As for the class.

        Returns
        -------
        InformationBound

        Raises
        ------
        ValueError
            Where rows have lists of candidates of their own: their loss bounds no information between rows and columns.
        """
        if conditional.listed:
            raise ValueError(
                "rows of this p have lists of candidates of their own, and the loss over lists bounds no information "
                "between rows and all columns; use a p over all columns, such as Paired() or Views()"
            )
        entropy, column = 0.0, np.zeros(conditional.n_cols)
        step = max(1, 2**22 // conditional.n_cols)
        for start in range(0, conditional.n_rows, step):
            rows = np.arange(start, min(start + step, conditional.n_rows))
            p, mass = conditional.full(rows), conditional.row_mass[rows]
            entropy += float(mass @ entr(p).sum(axis=1))
            column += mass @ p
        return cls(conditional.n_cols, entropy=entropy, column_entropy=float(entr(column).sum()), then=then)

    def __call__(self, record):
        self.history.append(self.ceiling - record.loss)
        return None if self.then is None else self.then(record)


def mutual_information(Z, y, *, n_neighbors=3) -> float:
    """I(Z; Y) between a representation and classes, in nats.

    Parameters
    ----------
    Z : array-like of shape (n,) or (n, n_components)
        One-dimensional: clusters or other discrete values, for which the counts decide.  Two-dimensional:
        places in a continuous space, for which distances to the nearest rows of the same class decide.
    y : array-like of shape (n,)
        Classes.
    n_neighbors : int, default=3
        Neighbours within the class, for places.  More vary less and are more biased.

    Returns
    -------
    float
        Not below 0.  For clusters this is the plug-in estimate, too high by about (a - 1)(b - 1) / 2n for a
        clusters and b classes.

    Notes
    -----
    For places: digamma(n) - <digamma(n_c)> + <digamma(k)> - <digamma(m)>, n_c the size of a row's class and m
    the number of rows of any class that are as near as its k-th class mate.  Class mates that are as near as the
    k-th count as well, as where places are rounded or equal.  Rows that are alone in their class are left out.

    References
    ----------
    Ross, "Mutual information between discrete and continuous data sets", PLoS ONE 2014.
    """
    y = column_or_1d(y)
    check_consistent_length(Z, y)
    Z = np.asarray(Z)
    classes, codes = np.unique(y, return_inverse=True)
    if Z.ndim == 1:
        clusters, other = np.unique(Z, return_inverse=True)
        joint = np.zeros((len(clusters), len(classes)))
        np.add.at(joint, (other, codes), 1.0 / len(y))
        product = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0)
        return max(0.0, float(xlogy(joint, joint / np.where(joint > 0, product, 1.0)).sum()))
    Z = check_array(Z, dtype=np.float64, input_name="Z")
    k = check_number("n_neighbors", n_neighbors, low=1, integer=True)
    sizes = np.bincount(codes)[codes]
    Z, codes, sizes = Z[sizes > 1], codes[sizes > 1], sizes[sizes > 1]
    if not len(Z):
        raise ValueError(
            "every class has one row only; mutual_information needs classes of at least two rows"
        )
    n, total, step = len(Z), 0.0, max(1, 2**22 // len(Z))
    for start in range(0, n, step):
        rows = np.arange(start, min(start + step, n))
        d = distance_block(Z[rows], Z)
        d[np.arange(len(rows)), rows] = np.inf
        near = np.minimum(k, sizes[rows] - 1)
        mates = np.sort(np.where(codes[rows, None] == codes, d, np.inf), axis=1)
        radius = mates[np.arange(len(rows)), near - 1]
        m = (d <= radius[:, None]).sum(axis=1)
        # More than k class mates within the radius lie as far off as the k-th.
        near = (mates <= radius[:, None]).sum(axis=1)
        total += (digamma(near) - digamma(sizes[rows]) - digamma(m)).sum()
    return max(0.0, float(digamma(n) + total / n))


class DownstreamBound(NamedTuple):
    """What two estimates of information guarantee for a third.

    Attributes
    ----------
    bound : float
        I(U; Z) is at least this; negative where nothing is guaranteed.
    vacuous : bool
        Whether it is at or below 0, which information is anyway.
    reason : str
        A sentence that says which.
    """

    bound: float
    vacuous: bool
    reason: str

    def __repr__(self):
        return f"<{self.reason}>"


def downstream_bound(*, label_view, views, representation) -> DownstreamBound:
    """I(U; Z) >= I(Y; Z) - max(0, I(X; Y) - I(U; Y)), for a label U, views X and Y, and Z made of X.

    **Assumption.** Y is made of X without a look at the label, or X and Y are independent given the label.  Without
    either it is no bound: where X shows one thing, and Y besides shows the label that X does not, it promises what
    no representation of X can have.

    Parameters
    ----------
    label_view : float
        I(U; Y): what a view tells about the label.
    views : float
        I(X; Y): what the views share.  Views that are independent given the label share no more than
        I(U; Y); augmentations of one row share much more.
    representation : float
        I(Y; Z): what the representation tells about the other view, for example the bound log N - H(p, q) of
        :class:`InformationBound`.

    Returns
    -------
    DownstreamBound

    Notes
    -----
    From I(U; Z) >= I(U; Y) - I(U; Y | Z) and I(U; Y | Z) <= I(X; Y | Z) + I(U; Y | X).  Where Y is made of X
    without a look at the label, I(U; Y | X) is 0 and I(U; Y) <= I(X; Y): the bound is
    I(U; Y) - I(X; Y) + I(Y; Z).  Where X and Y are independent given the label, I(U; Y | X) is
    I(U; Y) - I(X; Y) >= 0 and must be taken off again: what is left is I(Y; Z), not more.  A representation
    that is the same for all rows shows that the longer formula fails there.

    Examples
    --------
    >>> downstream_bound(label_view=2.0, views=2.1, representation=1.9)
    <the representation tells at least 1.8 nats of the label, if one view is made of the other or they are \
independent given the label>
    >>> downstream_bound(label_view=2.0, views=7.0, representation=4.0).vacuous
    True
    """
    label_view, views, representation = (
        check_number(name, value, low=0, hint="an amount of information, in nats")
        for name, value in (("label_view", label_view), ("views", views), ("representation", representation))
    )
    bound = representation - max(0.0, views - label_view)
    if bound > 0:
        return DownstreamBound(
            bound,
            False,
            f"the representation tells at least {bound:.3g} nats of the label, if one view is made of the other or "
            f"they are independent given the label",
        )
    return DownstreamBound(
        bound,
        True,
        f"vacuous: the bound is {bound:.3g}, and information is never below 0; the views share {views:.3g} nats, of "
        f"which the representation keeps {representation:.3g}, so it may have lost all {label_view:.3g} of the label",
    )
