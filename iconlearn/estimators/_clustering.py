"""ICONClustering: soft assignments whose shared-cluster neighbourhoods q match p."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np
import torch
from scipy.sparse import csr_array
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._validation import check_choice, check_number
from ..conditional import MAX_MATERIALISED, Conditional
from ..divergences import KL
from ..engines import Dense, Partition, assign, refined
from ..learned import Dot
from ..mappers import TableModule
from ..neighbors import KnownRows
from ..optim import Phase, Solution
from ..problem import Objective, Points, Problem
from ..registry import resolve
from ._base import ICONBase
from ._io import (
    all_or_nothing,
    like_input,
    mean_of_equal_rows,
    searching_as_told,
    validated,
    validated_new,
)
from ._joining import joined, within
from ._keeping import Forgetful
from ._observed import observed, with_callbacks
from ._placement import blocks_of_rows
from ._planning import same_shapes
from ._running import present_loss
from ._scoring import reference_score
from ._starts import k_means, partitions, rank, searched, soften

__all__ = ["ICONClustering"]

N_INIT = 12
# Steps that refine the best starts, and lessons of a head (full batch, or epochs).
N_REFINE = 150
N_LESSONS = 200
N_LESSONS_EPOCHS = 5


class ICONClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, ICONBase):
    """Cluster rows so that sharing a cluster (q) means being near (p).

    Minimises ``mean_i D(p(.|i) || q(.|i))`` with ``q(j|i) = sum_c r_ic r_jc / sum_k r_kc`` over soft
    assignments r: a free table, or the softmax of a linear or deep head.

    Parameters
    ----------
    n_clusters : int, default=8
        Number of clusters.
    p : str, object or matrix, default="knn"
        Supervisory distribution, as for :class:`ICONEmbedding`.
    q : str or object, default="cluster"
        A shared-cluster kernel: "cluster" or :class:`iconlearn.learned.Cluster`.
    divergence : str, object or callable, default="kl"
        As for :class:`ICONEmbedding`.
    mapper : str, object, torch module or callable, default="table"
        "table" gives every row free assignments; "linear", "mlp", a module or a factory is a head on the
        features whose softmax assigns.
    debias : float, default=0.0
        Uniform share of both p and q, in [0, 1).  A q that has a share of its own keeps it.
    engine : str or object, default="auto"
        "partition" (majorise-minimise on a table), "dense" (exact), "minibatch", or the first that fits.
    init : {"agglomerate", "kmeans", "k-means++", "spectral", "random"} or array of shape (n_samples,), \
            default="agglomerate"
        Starts: micro-clusters merged by the loss; k-means; the nearest of far-apart rows; k-means among the
        eigenvectors of p; random labels; or given labels 0, ..., n_clusters - 1.
    n_init : int or "auto", default="auto"
        Number of starts, ranked by the loss; "auto" is 12.  With "agglomerate" the first four are merges at
        different resolutions, and each further one splits and merges clusters of the best so far.
    max_iter : int or "auto", default="auto"
        Most iterations (epochs for the mini-batch engine); "auto" is 300, or 30 epochs.
    tol : float, default=1e-6
        Stop when the loss improves by less than this share of it.
    learning_rate : float or "auto", default="auto"
        Step size where gradients are used; "auto" is 0.1 for a table, 0.01 for a linear head
        and 0.001 for a deep one.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        Method where gradients are used; "auto" is Adam.
    warm_start : bool, default=False
        Start from the last fit's assignments where the shapes allow.
    terms, device, random_state, n_jobs, verbose, callback
        As for :class:`ICONEmbedding`.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        Cluster of each training row, numbered 0, ..., ``n_clusters_ - 1`` without gaps.
    n_clusters_ : int
        Clusters that have rows; a warning tells when they are fewer than asked for.
    probabilities_ : ndarray of shape (n_samples, n_found_clusters)
        Soft assignments of the training rows.
    p_, q_, divergence_, mapper_, engine_, loss_, loss_history_, loss_phases_, loss_parts_, n_iter_, converged_
        As for :class:`ICONEmbedding`.
    timings_, neighbors_backend_
        As for :class:`ICONEmbedding`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; Yang and Oja,
    "Clustering by low-rank doubly stochastic matrix decomposition", ICML 2012.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONClustering
    >>> X, _ = load_iris(return_X_y=True)
    >>> labels = ICONClustering(3, p="gaussian", debias=0.1, random_state=0).fit_predict(X)
    >>> labels.shape
    (150,)
    """

    def __init__(
        self,
        n_clusters=8,
        *,
        p="knn",
        q="cluster",
        divergence="kl",
        mapper="table",
        debias=0.0,
        engine="auto",
        init="agglomerate",
        n_init="auto",
        max_iter="auto",
        tol=1e-6,
        learning_rate="auto",
        optimizer="auto",
        warm_start=False,
        terms=None,
        device="auto",
        random_state=None,
        n_jobs=None,
        verbose=0,
        callback=None,
    ):
        self.n_clusters = n_clusters
        self.p = p
        self.q = q
        self.divergence = divergence
        self.mapper = mapper
        self.debias = debias
        self.engine = engine
        self.init = init
        self.n_init = n_init
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.warm_start = warm_start
        self.terms = terms
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callback = callback

    @with_callbacks
    def fit(self, X, y=None):
        """Find the clusters of X.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
            Square (n_samples, n_samples) where p is precomputed or a graph.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them.

        Returns
        -------
        self
        """
        with observed(self, X, y), all_or_nothing(self):
            solution = self._fit(X, y)
        if solution.reason == "interrupted":
            raise KeyboardInterrupt
        return self

    def fit_predict(self, X, y=None):
        """Fit and return ``labels_``; see :meth:`fit`."""
        return like_input(self.fit(X, y).labels_, X)

    def fit_transform(self, X, y=None):
        """Fit and return the soft assignments; see :meth:`fit`."""
        self.fit(X, y)
        return like_input(self.probabilities_, X)

    def predict(self, X):
        """Most probable cluster of each row; see :meth:`predict_proba`."""
        return like_input(self._probabilities(X)[0].argmax(axis=1), X)

    def predict_proba(self, X):
        """Soft assignments of new rows, shape ``(n_new, n_clusters_)``.

        A head maps them.  With a table each row takes the assignments that best explain its own p over the
        training rows; a row equal to a training row has that row's.  No row depends on the others.
        """
        probabilities, rows = self._probabilities(X)
        return like_input(probabilities.astype(rows.dtype, copy=False), X)

    def transform(self, X):
        """Soft assignments, as :meth:`predict_proba`."""
        return self.predict_proba(X)

    def score(self, X, y=None):
        """Minus the mean divergence of the assignments of X from one fixed reference.

        The reference p is uniform over 15 neighbours among the rows of X, and q has a fixed uniform share,
        whatever p and debias were fitted, so that candidates of a search can be compared.
        """
        probabilities, rows = self._probabilities(X)
        if self._pairwise:
            raise ValueError("score needs features; with a precomputed or graph p compare loss_ instead")
        log_r = torch.from_numpy(np.log(np.maximum(probabilities, 1e-12)))
        return reference_score(rows, log_r, self.q_, self.n_jobs)

    @property
    def _n_features_out(self):
        return self.n_clusters_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # scikit-learn reads these of whatever has predict_proba and takes sparse matrices.
        tags.classifier_tags = ClassifierTags()
        return tags

    # -- inside ------------------------------------------------------------------------------------

    def _fit(self, X, y):
        self._check_numbers()
        check_number("n_clusters", self.n_clusters, low=1, integer=True)
        n_init = N_INIT if self.n_init == "auto" else check_number("n_init", self.n_init, low=1, integer=True)
        if isinstance(self.init, str):
            check_choice("init", self.init, ("agglomerate", "kmeans", "k-means++", "spectral", "random"))
        X, y = validated(self, X, y, pairwise=self._pairwise)
        known = KnownRows(X)
        n_clusters = self._possible(X, known)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        plan = self._plan(X, y, n_clusters, q=self._shared_q(), table_dtype=torch.float64, start=old)
        lesson = None
        if old is None or not same_shapes(old, plan.mapper):
            lesson = self._started(plan, lambda: self._start(plan, n_clusters, n_init))
        if lesson is not None and lesson.reason == "interrupted":
            solution = replace(lesson, loss=present_loss(plan))
        else:
            solution = self._search(plan)
        self._keep(plan, solution)
        self._finish(plan, known)
        plan.keeper.done(solution)
        return solution

    def _possible(self, X, known):
        """The number of clusters that the rows allow."""
        if self.n_clusters > X.shape[0]:
            raise ValueError(
                f"n_clusters={self.n_clusters} is more than n_samples={X.shape[0]}; ask for at most as many "
                f"clusters as rows"
            )
        if self._pairwise:
            return self.n_clusters
        return min(self.n_clusters, int(known.groups().max()) + 1)

    def _shared_q(self):
        """The cluster kernel, with the share that debias gives it."""
        q = clone(resolve("q", self.q), safe=False)
        if not getattr(q, "shared_clusters", False):
            raise ValueError(
                f"q={self.q!r} is no shared-cluster kernel; ICONClustering needs q='cluster' (use ICONEmbedding "
                f"for kernels on coordinates)"
            )
        if self.debias > 0 and q.debias == 0:
            q.set_params(debias=self.debias)
        return q

    def _start(self, plan, n_clusters, n_init):
        """Put the best start into the table, or teach it to the head; the lesson's solution, if any."""
        init = (
            self.init
            if isinstance(self.init, str)
            else _checked_labels(self.init, plan.X.shape[0], n_clusters)
        )
        X = None if self._pairwise else plan.X
        terms = [
            problem
            for problem in plan.objective.problems
            if problem.q.shared_clusters and problem.tied and not problem.fresh
        ]
        if plan.problem.divergence.reverse and terms and terms[0] is plan.problem:
            return self._tried(plan, init, n_init, X, n_clusters)
        if not terms or any(problem.p.dense and problem.n_pairs > MAX_MATERIALISED for problem in terms):
            # Such a p cannot be held as a graph, or there is none: k-means is the start, and there is nothing to rank.
            labels = init if not isinstance(init, str) else k_means(X, n_clusters, plan.rng)
            r = soften(labels, n_clusters)
        else:
            r = self._best_start(plan, [_as_graph(problem) for problem in terms], init, n_init, X, n_clusters)
        if plan.parametric:
            return self._teach(plan, r)
        with torch.no_grad():
            plan.mapper.places.copy_(torch.as_tensor(np.log(np.maximum(r, 1e-12))))
        return None

    def _best_start(self, plan, terms, init, n_init, X, n_clusters):
        # A uniform share is sampled while starts are compared; the fit itself may sum it exactly.
        graph = Partition(max_exact=0).graph(terms, plan.rng)
        if isinstance(init, str) and init == "agglomerate":
            support = Partition(max_exact=graph.n).graph(terms, plan.rng)
            starts = [searched(graph, support, n_clusters, n_init, plan.rng, self.tol)]
        else:
            tried = partitions(init, n_init, X, terms[0].p.sparse(), n_clusters, plan.rng)
            starts = rank(graph, tried, n_clusters)
        ended = [refined(graph, r, max_iter=N_REFINE, tol=max(self.tol, 1e-7)) for r in starts]
        return min(ended, key=lambda found: found[1])[0]

    def _tried(self, plan, init, n_init, X, n_clusters):
        """The start of the lowest loss itself: forward KL says nothing about the reverse one.

        An engine that solves is let run from every start; otherwise the loss is taken where they are.
        """
        block = getattr(plan.problem.p, "block", None)
        points, edges = getattr(block, "quadratic", None), getattr(block, "graph", None)
        X = X if points is None else points[0]
        if edges is None and (X is None or (isinstance(init, str) and init in ("agglomerate", "spectral"))):
            edges = plan.problem.p.sparse()
        best, least = None, np.inf
        for labels in partitions(init, n_init, X, edges, n_clusters, plan.rng):
            r = soften(labels, n_clusters)
            if plan.parametric:
                return self._teach(plan, r)
            places = torch.as_tensor(np.log(np.maximum(r, 1e-12)))
            with torch.no_grad():
                plan.mapper.places.copy_(places)
            if plan.engine.solves:
                loss = plan.engine.solve(plan.objective, max_iter=N_REFINE, tol=self.tol, rng=plan.rng).loss
            else:
                loss = present_loss(plan)
            if loss < least:
                best, least = places, loss
        with torch.no_grad():
            plan.mapper.places.copy_(best)
        return None

    def _teach(self, plan, r):
        """Fit the head to given assignments by cross-entropy, the same loss with classes for columns."""
        n_clusters = r.shape[1]
        q = Dot()
        q.begin(dtype=plan.dtype, device=plan.device)
        basis = (
            TableModule(torch.eye(n_clusters)).to(device=plan.device, dtype=plan.dtype).requires_grad_(False)
        )
        target = Conditional(csr_array(r))
        problem = Problem(target, q, KL(), plan.rows, Points(basis, n_clusters))
        engine = plan.engine if plan.engine.stochastic else Dense()
        lesson = replace(plan, objective=Objective((problem,)), engine=engine, keeper=Forgetful())
        n_iter = N_LESSONS_EPOCHS if engine.stochastic else N_LESSONS
        return self._optimise(
            lesson, "adam", [Phase(n_iter, self._rate(plan), name="start")], patience=n_iter
        )

    def _rate(self, plan):
        if self.learning_rate != "auto":
            return self.learning_rate
        if not plan.parametric:
            return 0.1
        return 0.01 if hasattr(plan.mapper, "weight") else 0.001

    def _search(self, plan) -> Solution:
        """Improve the start by the engine's own solver or by the loop."""
        stochastic = plan.engine.stochastic
        n_iter = (30 if stochastic else 300) if self.max_iter == "auto" else self.max_iter
        method = "adam" if self.optimizer == "auto" else self.optimizer
        return self._optimise(
            plan, method, [Phase(n_iter, self._rate(plan))], patience=5 if stochastic else 20
        )

    def _finish(self, plan, known):
        """Labels without gaps, and what new rows need."""
        self._X, self._known = plan.X, known
        if plan.parametric:
            r = self.q_.represent(self._mapped(plan.X)).double().numpy()
        else:
            r = self.q_.represent(plan.mapper.places.detach()).double().numpy()
            r = mean_of_equal_rows(self._known, r, self._pairwise)
        used, self.labels_ = np.unique(r.argmax(axis=1), return_inverse=True)
        self._used, self.n_clusters_ = used, len(used)
        self._assignments = _among(r, used)
        # A head needs no rule for new rows.
        joins = self.divergence_.reverse and not plan.parametric and plan.problem.tied
        self._within = within(plan.problem.p, self._assignments) if joins else None
        self.probabilities_ = self._assignments.astype(plan.X.dtype)
        if self.n_clusters_ < self.n_clusters:
            warnings.warn(
                f"found {self.n_clusters_} clusters where n_clusters={self.n_clusters} were asked for: the others "
                f"ended without rows; ask for fewer, or try another p or another debias",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _probabilities(self, X):
        """Assignments of new rows in double precision, and the rows as checked."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._parametric:
            return _among(self.q_.represent(self._mapped(rows)).double().numpy(), self._used), rows
        match = self._known.find(rows)
        probabilities, known = np.empty((rows.shape[0], self.n_clusters_)), match >= 0
        probabilities[known] = self._assignments[match[known]]
        if not known.all():
            probabilities[~known] = self._assigned(rows[~known])
        return probabilities, rows

    def _assigned(self, rows):
        """Assignments of rows that are not among the training rows."""
        with searching_as_told(self):
            p = self.p_.extend(rows, n_jobs=self.n_jobs)
        if self.divergence_.reverse:
            weights = self.p_.conditional_.column_weights if self.q_.degree_weighted else None
            return joined(p, self._assignments, self._within, self.divergence_.entropy, weights)
        return np.concatenate([assign(part, self._assignments) for _, part in blocks_of_rows(p, p.n_cols)])


def _as_graph(problem):
    """The same term with p as a sparse matrix and KL, for the search of a start."""
    p = problem.p
    if p.dense:
        p = Conditional(p.sparse(), p.uniform, p.mass, p.self_pairs)
    return replace(problem, p=p, divergence=KL())


def _among(r, used):
    """Assignments among the clusters in use."""
    r = r[:, used]
    return r / r.sum(axis=1, keepdims=True)


def _checked_labels(init, n_rows, n_clusters):
    labels = column_or_1d(init)
    whole = np.issubdtype(labels.dtype, np.integer)
    if not whole or len(labels) != n_rows or labels.min() < 0 or labels.max() >= n_clusters:
        raise ValueError(
            f"init must be a name or n_samples={n_rows} integers from 0 to n_clusters - 1 = {n_clusters - 1}, "
            f"got {len(labels)} values of type {labels.dtype}"
        )
    return labels
