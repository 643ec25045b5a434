"""Scores of clusterings and encoders that need no labels, for ``scoring=`` in a grid search.

    held_out_loss          minus the divergence of new rows' assignments from their neighbourhoods
    Stability              agreement between fits on parts of the rows
    LinearPredictability   kappa of a linear classifier that learns the clusters
    information_score      nats that an encoder tells about another view of new rows

Each is a callable (estimator, X, y=None) in which larger is better.  None of them is the truth: a loss rewards
clusters that follow the neighbours, stability rewards few clusters, a linear classifier favours convex ones, and
information is about all that views share, wanted or not.
"""

from __future__ import annotations

import itertools
import warnings

import numpy as np
import torch
from scipy.sparse import issparse
from scipy.special import entr, logsumexp
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MaxAbsScaler
from sklearn.utils import get_tags

from ._checks import check_choice, check_number
from ._randomness import random_source, torch_seeded
from ._torch_state import as_array
from .metrics._information import contrast
from .numerics.geometry import matrix

__all__ = ["LinearPredictability", "Stability", "held_out_loss", "information_score"]

# Seed of the views that every candidate is asked about.
SEED = 0


def held_out_loss(estimator, X, y=None) -> float:
    """Minus the mean divergence of the assignments of X from one fixed reference; ``estimator.score(X)``.

    The reference p and the uniform share are fixed, so that a candidate gains nothing by the p or the debias that
    it was fitted with.

    Parameters
    ----------
    estimator : fitted ICONClustering
    X : array-like or sparse matrix of shape (n, n_features)
        Rows that the estimator has not seen.
    y : ignored
    """
    return estimator.score(X)


def information_score(estimator, X, y=None) -> float:
    """Nats that the representation of new rows tells about what it was fitted to find: H(j) - H(p, q), from below.

    Of views, two are drawn of each row, the same for all candidates whose views are alike; of groups of features, a row
    has one of either; of any other p over rows, p is fitted to the new rows.  q is the kernel of the fit.

    Parameters
    ----------
    estimator : fitted ICONEmbedding
        With a mapper of features.
    X : array-like or sparse matrix of shape (n, n_features)
        Rows that the estimator has not seen.
    y : array-like of shape (n,) or None, default=None
        Classes, for a p that reads them.

    Returns
    -------
    float
        At most log n; negative where q does worse than chance.

    Raises
    ------
    ValueError
        Where there are no columns to find among the new rows: classes, words, the rows of a table.

    Notes
    -----
    It compares mappers, kernels and engines under one p on equally many rows.  A harder p has less to tell, so that it
    does not choose augmentations; and a kernel that is held to a high temperature cannot say all that its
    representation knows, of which :func:`iconlearn.metrics.information_between` finds more.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import recipes
    >>> from iconlearn.scorers import information_score
    >>> X, _ = load_iris(return_X_y=True)
    >>> fit = recipes.infonce(max_iter=5, random_state=0).fit(X[::2])
    >>> bool(0 < information_score(fit, X[1::2]) < np.log(75))
    True
    """
    p, q = estimator.p_, estimator.q_
    columns = getattr(p, "columns", "rows")
    if columns not in ("rows", "views", "features") or getattr(p, "pairwise", False) or q.shared_clusters:
        raise ValueError(
            f"information_score asks an encoder to find a row's own view, pair or neighbours among new rows, and "
            f"p={p!r} with q={q!r} has {columns} to find; use ICONEmbedding with views, pairs or neighbours"
        )
    conditional = None
    if getattr(p, "fresh", False):
        first, second = _two_views(p, X)
    else:
        first = second = X
        if columns == "rows":
            conditional = clone(p, safe=False).fit(X, y).conditional_
    U = _tensor(estimator.transform(first))
    V = _tensor((estimator.transform if columns == "rows" else estimator.transform_columns)(second))
    with torch.no_grad():
        U, V = q.place(q.outputs(U)), q.place(q.outputs(V), columns=True)
        log_k = q.log_kernel(matrix(q.scalar, U, V)).numpy()
    if conditional is None:
        return contrast(log_k)
    if not conditional.self_pairs:
        np.fill_diagonal(log_k, -np.inf)
    P, log_q = conditional.full(), log_k - logsumexp(log_k, axis=1, keepdims=True)
    surprise = -np.where(P > 0, P * log_q, 0.0).sum(axis=1)
    return float(entr(conditional.column_mass()).sum() - conditional.row_mass @ surprise)


def _two_views(p, X):
    """Two views of every row, drawn by a seed of their own."""
    rows = torch.as_tensor(np.array(X.toarray() if issparse(X) else X))
    rows = rows if rows.is_floating_point() else rows.float()
    at = torch.arange(len(rows))
    with torch_seeded(SEED), torch.no_grad():
        return p.view(rows, at).numpy(), p.view(rows, at + len(rows)).numpy()


def _tensor(places):
    return torch.as_tensor(places, dtype=torch.float64)


class Stability(BaseEstimator):
    """How far the clusters agree that several fits give to the same rows.

    Copies of the estimator are fitted to random parts of X, with seeds of their own; they and the estimator itself
    predict all of X.  The score is the mean over pairs of fits.

    Parameters
    ----------
    n_fits : int, default=3
        Copies that are fitted.
    share : float, default=0.7
        Share of the rows, in (0, 1], that each copy is fitted on.
    agreement : {"rand", "information"}, default="rand"
        "rand" is the adjusted Rand index: 1 for equal clusters, 0 by chance.  "information" is the mutual
        information, in nats: at most the entropy of the sizes, so a fit does not win by putting most rows into one
        cluster.  It compares candidates of one number of clusters, such as values of balance.
    random_state : int, RandomState or None, default=0

    References
    ----------
    Ben-Hur, Elisseeff and Guyon, "A stability based method for discovering structure in clustered data", PSB 2002.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn.scorers import Stability
    >>> X, _ = load_iris(return_X_y=True)
    >>> two, six = (Stability()(KMeans(k, random_state=0).fit(X), X) for k in (2, 6))
    >>> two > six
    True
    """

    def __init__(self, n_fits=3, *, share=0.7, agreement="rand", random_state=0):
        self.n_fits = n_fits
        self.share = share
        self.agreement = agreement
        self.random_state = random_state

    def __call__(self, estimator, X, y=None) -> float:
        from sklearn.metrics import adjusted_rand_score, mutual_info_score

        check_choice("agreement", self.agreement, ("rand", "information"))
        agreement = adjusted_rand_score if self.agreement == "rand" else mutual_info_score
        check_number("n_fits", self.n_fits, low=1, integer=True)
        check_number("share", self.share, low=0, high=1, closed="right")
        rng = random_source(self.random_state)
        X = as_array(X)
        labels = [estimator.predict(X)]
        n_rows = len(labels[0])
        for _ in range(self.n_fits):
            copy, seed = clone(estimator), int(rng.randint(2**31 - 1))
            if "random_state" in copy.get_params(deep=False):
                copy.set_params(random_state=seed)
            part = rng.permutation(n_rows)[: max(round(self.share * n_rows), 2)]
            labels.append(_predicted(copy, X, part))
        return float(np.mean([agreement(a, b) for a, b in itertools.combinations(labels, 2)]))


class LinearPredictability(BaseEstimator):
    """Cohen's kappa between clusters and what logistic regression predicts for held-out rows.

    Kappa takes off what guessing in the proportions of the clusters would reach, so that fewer clusters gain nothing
    by being fewer.  Rows that the estimator marks -1 are left out, and a single cluster scores 0.

    Parameters
    ----------
    n_splits : int, default=3
        Parts that are held out in turn.
    random_state : int, RandomState or None, default=0
        How rows are dealt to the parts.

    References
    ----------
    Cohen, "A coefficient of agreement for nominal scales", 1960.

    Examples
    --------
    >>> from sklearn.cluster import KMeans
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn.scorers import LinearPredictability
    >>> X, _ = load_iris(return_X_y=True)
    >>> three, six = (LinearPredictability()(KMeans(k, random_state=0).fit(X), X) for k in (3, 6))
    >>> three > six
    True
    """

    def __init__(self, n_splits=3, *, random_state=0):
        self.n_splits = n_splits
        self.random_state = random_state

    def __call__(self, estimator, X, y=None) -> float:
        from sklearn.metrics import cohen_kappa_score

        check_number("n_splits", self.n_splits, low=2, integer=True)
        X = as_array(X)
        labels = np.asarray(estimator.predict(X))
        sure = np.flatnonzero(labels >= 0)
        labels = labels[sure]
        if len(labels) < self.n_splits or len(np.unique(labels)) < 2:
            return 0.0
        model = make_pipeline(MaxAbsScaler(), LogisticRegression(max_iter=500))
        splits = KFold(self.n_splits, shuffle=True, random_state=random_source(self.random_state))
        with warnings.catch_warnings():
            # A classifier that has not quite converged predicts nearly as well.
            warnings.simplefilter("ignore")
            guessed = cross_val_predict(model, _rows(X, sure), labels, cv=_with_two_labels(splits, labels))
        return float(cohen_kappa_score(labels, guessed))


def _predicted(estimator, X, part):
    """Predictions for all rows of an estimator that was fitted on some; of pairs it is given the columns of those."""
    pairwise = isinstance(estimator, BaseEstimator) and get_tags(estimator).input_tags.pairwise
    estimator.fit(_rows(X, part, pairwise))
    return estimator.predict(_columns(X, part) if pairwise else X)


def _rows(X, which, pairwise=False):
    """Some rows of an array, a sparse matrix, a data frame or a list; of pairs, some of either side."""
    if hasattr(X, "iloc"):
        rows = X.iloc[which]
    elif hasattr(X, "shape"):
        rows = (X.tocsr() if issparse(X) else X)[which]
    else:
        rows = [X[i] for i in which]
    return _columns(rows, which) if pairwise else rows


def _columns(X, which):
    if hasattr(X, "iloc"):
        return X.iloc[:, which]
    return (X.tocsr() if issparse(X) else np.asarray(X))[:, which]


def _with_two_labels(splits, labels):
    """The splits; where a part to learn from has one cluster only, a row of another is lent to it."""
    for train, test in splits.split(labels):
        if len(np.unique(labels[train])) < 2:
            train = np.append(train, np.flatnonzero(labels != labels[train[0]])[:1])
        yield train, test
