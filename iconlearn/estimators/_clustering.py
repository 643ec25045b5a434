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
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted, column_or_1d

from .._validation import check_choice, check_number
from ..conditional import MAX_MATERIALISED, Conditional
from ..divergences import KL
from ..engines import Dense, Partition, assign, refined, soften
from ..learned import Dot
from ..mappers import TableModule
from ..neighbors import KnownRows
from ..optim import Phase, Solution
from ..problem import Objective, Points, Problem
from ..registry import resolve
from ._base import ICONBase
from ._heads import assignments, labels_of, part_of
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
from ._merge_path import merge_path
from ._observed import observed, with_callbacks
from ._placement import blocks_of_rows
from ._planning import same_shapes
from ._progress import timed
from ._running import present_loss
from ._scoring import reference_score
from ._starts import k_means, partitions, rank, searched

__all__ = ["ICONClustering"]

N_INIT = 12
# Seconds that the search of starts takes for each row, about; micro-clusters do not grow in number for ever.
SECONDS_PER_ROW, MANY_ROWS = 7e-4, 10_000
# Steps that refine the best starts, and lessons of a head (steps; fewest and most epochs of batches).
N_REFINE = 150
N_LESSONS = 200
N_LESSONS_EPOCHS = 5, 40
# Passes over each batch that comes after the first, and what is remembered of the clusters' sizes.
N_PASSES, REMEMBERED = 10, 0.9


def _may_stream(estimator):
    """Whether the mapper reads features, so that batches of rows can follow one another."""
    if not estimator._resolved("mapper").parametric:
        raise AttributeError(
            f"mapper={estimator.mapper!r} gives every row assignments of its own and cannot learn from batches; use "
            f"mapper='linear', 'mlp' or a module for partial_fit"
        )
    return True


class ICONClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, ICONBase):
    """Cluster rows so that sharing a cluster (q) means being near (p).

    Minimises ``mean_i D(p(.|i) || q(.|i))`` with ``q(j|i) = sum_c r_ic r_jc / sum_k r_kc`` over soft
    assignments r: a free table, or the softmax of a linear or deep head.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of clusters.  "auto" counts the groups that stand out in p, by the eigengap and the stability
        of its merges (see `merge_path_`): at least 2, at most 150 and a tenth of the rows (or 10).  It is a
        suggestion, and not the truth.
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
        Number of starts, ranked by the loss; "auto" is 12.  With "agglomerate" the first eight are merges at
        different resolutions, which are crossed with each other, and each further one splits and merges clusters
        of the best so far.
    max_iter : int or "auto", default="auto"
        Most iterations (epochs for the mini-batch engine); "auto" is 300, or 30 epochs.
    tol : float, default=1e-6
        Stop when the loss improves by less than this share of it.
    learning_rate : float or "auto", default="auto"
        Step size where gradients are used; "auto" is 0.1 for a table, 0.01 for a linear head
        and 0.001 for a deep one.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        Method where gradients are used; "auto" is Adam.
    min_confidence : float, default=0.0
        Rows whose largest probability is below it lie between clusters: `labels_` and `predict` mark them -1.
        The clusters themselves do not depend on it.
    warm_start : bool, default=False
        Start from the last fit's assignments where the shapes allow.
    terms, device, random_state, n_jobs, verbose, callback
        As for :class:`ICONEmbedding`.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        Cluster of each training row, numbered 0, ..., ``n_clusters_ - 1`` without gaps, or -1 for rows that
        `min_confidence` finds doubtful.
    n_clusters_ : int
        Clusters that have rows; a warning tells when they are fewer than asked for.
    merge_path_ : MergePath
        For every number of clusters the loss, gain, relative gap, eigengap and stability of merging
        micro-clusters of p until one is left: a named tuple of arrays, which
        :class:`iconlearn.displays.MergePathDisplay` plots.  Found when it is first asked for; absent where p is
        no sparse distribution over the rows.
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
        min_confidence=0.0,
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
        self.min_confidence = min_confidence
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

    @available_if(_may_stream)
    def partial_fit(self, X, y=None):
        """Learn from one batch of rows of a stream; for heads.

        The first batch is fitted as :meth:`fit` does, so it should hold rows of all clusters.  Each further one moves
        the head by a few passes (`max_iter`, or 10) over its own rows, whose p is found among themselves, while the
        sizes of the clusters are means over the batches (`mass_momentum` of q, or 0.9).  `labels_` and the losses
        are those of the last batch; clusters keep their numbers.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them.

        Returns
        -------
        self

        Raises
        ------
        AttributeError
            For mapper="table", whose assignments belong to the rows that it has seen.
        """
        with all_or_nothing(self):
            solution = self._fit_batch(X, y)
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
        """Most probable cluster of each row, -1 where `min_confidence` is not reached; see :meth:`predict_proba`."""
        check_is_fitted(self)
        if not self._parametric:
            return like_input(self._marked(self._probabilities(X)[0]), X)
        parts = self._mapped_parts(validated_new(self, X))
        return like_input(labels_of(parts, self._used, self.min_confidence), X)

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
        auto = isinstance(self.n_clusters, str)
        if auto:
            check_choice("n_clusters", self.n_clusters, ("auto",))
        else:
            check_number("n_clusters", self.n_clusters, low=1, integer=True)
        check_number("min_confidence", self.min_confidence, low=0, high=1)
        n_init = N_INIT if self.n_init == "auto" else check_number("n_init", self.n_init, low=1, integer=True)
        if isinstance(self.init, str):
            check_choice("init", self.init, ("agglomerate", "kmeans", "k-means++", "spectral", "random"))
        X, y = validated(self, X, y, pairwise=self._pairwise)
        known = KnownRows(X)
        n_clusters = 1 if auto else self._possible(X, known)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        plan = self._plan(X, y, n_clusters, q=self._shared_q(), table_dtype=torch.float64, start=old)
        self._path, self._sizes, self._streaming = None, None, False
        if auto:
            plan, n_clusters = self._counted(plan, old)
        lesson = None
        if old is None or not same_shapes(old, plan.mapper):
            part = part_of(plan, n_clusters) if isinstance(self.init, str) else plan
            expected = SECONDS_PER_ROW * min(part.X.shape[0], MANY_ROWS)
            lesson = self._started(plan, lambda: self._start(part, n_clusters, n_init), expected)
        if lesson is not None and lesson.reason == "interrupted":
            solution = replace(lesson, loss=present_loss(plan))
        else:
            solution = self._search(plan)
        self._keep(plan, solution)
        self._finish(plan, known)
        plan.keeper.done(solution)
        return solution

    def _fit_batch(self, X, y):
        """One batch of a stream: the first is fitted whole, each further one takes the head a little on."""
        if not getattr(self, "_streaming", False):
            solution = self._fit(X, y)
            if self.n_clusters != "auto" and self._outputs < self.n_clusters:
                raise ValueError(
                    f"the first batch has {self._outputs} distinct rows, fewer than "
                    f"n_clusters={self.n_clusters}; begin with a larger batch"
                )
            self._streaming = True
        else:
            solution = self._go_on(X, y)
        # A cluster without rows in this batch may have some in the next.
        self._used, self.n_clusters_ = np.arange(self._outputs), self._outputs
        self.labels_ = labels_of(self._mapped_parts(self._X), self._used, self.min_confidence)
        return solution

    def _go_on(self, X, y):
        self._check_numbers()
        X = validated_new(self, X)
        if X.shape[0] < 2:
            raise ValueError(f"a batch needs at least 2 rows, got n_samples={X.shape[0]}")
        q = self._shared_q()
        if q.mass_momentum == 0:
            q.set_params(mass_momentum=REMEMBERED)
        plan = self._plan(
            X, y, self._outputs, q=q, table_dtype=torch.float64, start=self.mapper_, keeps=False
        )
        plan.q.mean_size_ = torch.as_tensor(self._mean_sizes(), dtype=plan.dtype, device=plan.device)
        n_iter = N_PASSES if self.max_iter == "auto" else self.max_iter
        method = "adam" if self.optimizer == "auto" else self.optimizer
        solution = self._optimise(plan, method, [Phase(n_iter, self._rate(plan))], patience=n_iter)
        self._sizes, self._path = plan.q.mean_size_.cpu().numpy(), None
        self._keep(plan, solution)
        self._finish(plan, KnownRows(plan.X), warn=False)
        return solution

    def _mean_sizes(self):
        """Shares of the clusters in the batches so far."""
        if self._sizes is not None:
            return self._sizes
        sizes = sum(r.sum(axis=0) for r in self._mapped_parts(self._X))
        return sizes / sizes.sum()

    def _counted(self, plan, old):
        """The plan with as many clusters as stand out in p, and their number."""
        if not all(problem.tied for problem in plan.objective.problems):
            raise ValueError(
                "n_clusters='auto' counts the groups among the rows, and this p (or a term's) has other columns or "
                "draws views; give n_clusters as a number"
            )
        reason = _without_path(plan.problem.p)
        if reason is not None:
            raise ValueError(f"n_clusters='auto' cannot count clusters here: {reason}")
        with timed(self, "counting"):
            self._path = merge_path(plan.problem.p, plan.rng, balance=plan.q.balance)
        n_clusters = self._path.suggested
        spec, dtype = self._resolved("mapper"), plan.dtype
        module = self._module(
            spec, plan.X, n_clusters, plan.generator, dtype, plan.device, old if self.warm_start else None
        )
        rows = replace(plan.rows, mapper=module, width=n_clusters)
        problems = tuple(replace(problem, rows=rows, columns=rows) for problem in plan.objective.problems)
        return replace(
            plan, mapper=module, rows=rows, objective=replace(plan.objective, problems=problems)
        ), n_clusters

    @property
    def probabilities_(self):
        if "_used" not in vars(self):
            raise AttributeError("probabilities_ are there once the estimator is fitted")
        r = self._assignments
        if r is None:
            r = np.concatenate([_among(part, self._used) for part in self._mapped_parts(self._X)])
        return r.astype(self._X.dtype)

    @property
    def merge_path_(self):
        if "p_" not in vars(self):
            raise AttributeError("merge_path_ is there once the estimator is fitted")
        p = self.p_.conditional_
        reason = _without_path(p) if getattr(self.p_, "columns", "rows") == "rows" else "p has other columns"
        if reason is not None:
            raise AttributeError(f"no merge_path_ here: {reason}")
        if self._path is None:
            self._path = merge_path(p, np.random.RandomState(0), balance=self.q_.balance)
        return self._path

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
        # A uniform share is sampled while starts are compared, but exact on the few nodes that are searched.
        graph = Partition(max_exact=0).graph(terms, plan.rng)
        if isinstance(init, str) and init == "agglomerate":
            exact = Partition(max_exact=graph.n).graph(terms, plan.rng)
            starts = [searched(exact, n_clusters, n_init, plan.rng, self.tol)]
        else:
            tried = partitions(init, n_init, X, terms[0].p.sparse(), n_clusters, plan.rng)
            if _only_one(init, n_init):
                starts = [soften(labels, n_clusters) for labels in tried]
            else:
                starts = rank(graph, tried, n_clusters)
        if len(starts) == 1 and plan.engine.solves:
            return starts[0]  # the engine takes these very steps itself
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
            if _only_one(init, n_init):
                return None
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
        n_iter = N_LESSONS
        if engine.stochastic:
            visits = max(1, plan.X.shape[0] // getattr(engine, "batch_size", 1))
            n_iter = int(np.clip(N_LESSONS // visits, *N_LESSONS_EPOCHS))
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

    def _finish(self, plan, known, *, warn=True):
        """Labels without gaps, and what new rows need."""
        self._X, self._known, self._outputs = plan.X, known, plan.rows.width
        self._within = self._assignments = None
        if plan.parametric:
            # A head needs no rule for new rows, and its assignments are found again when they are asked for.
            winners = [np.unique(r.argmax(axis=1)) for r in self._mapped_parts(plan.X)]
            self._used = np.unique(np.concatenate(winners))
            self.labels_ = labels_of(self._mapped_parts(plan.X), self._used, self.min_confidence)
        else:
            r = self.q_.represent(plan.mapper.places.detach()).double().numpy()
            r = mean_of_equal_rows(self._known, r, self._pairwise)
            self._used = np.unique(r.argmax(axis=1))
            self._assignments = _among(r, self._used)
            self.labels_ = self._marked(self._assignments)
            if self.divergence_.reverse and plan.problem.tied:
                self._within = within(plan.problem.p, self._assignments)
        self.n_clusters_ = len(self._used)
        asked = plan.rows.width if self.n_clusters == "auto" else self.n_clusters
        if warn and self.n_clusters_ < asked:
            warnings.warn(
                f"found {self.n_clusters_} clusters where n_clusters={asked} were asked for: the others "
                f"ended without rows; ask for fewer, or try another p or another debias",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _mapped_parts(self, X):
        """Assignments by a head to all its outputs, block by block."""
        return assignments(self.q_, self._mapped, X, self._outputs)

    def _marked(self, r):
        """The most probable cluster of each row, -1 for the doubtful ones."""
        labels = r.argmax(axis=1)
        if self.min_confidence > 0:
            labels[r.max(axis=1) < self.min_confidence] = -1
        return labels

    def _probabilities(self, X):
        """Assignments of new rows in double precision, and the rows as checked."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._parametric:
            return np.concatenate([_among(r, self._used) for r in self._mapped_parts(rows)]), rows
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
        how = {"debias": self.q_.debias, "balance": self.q_.balance}
        parts = [assign(part, self._assignments, **how) for _, part in blocks_of_rows(p, p.n_cols)]
        return np.concatenate(parts)


def _without_path(p):
    """Why the groups of p cannot be counted, or None."""
    if p.dense:
        return "p has no sparse neighbours; give it a finite n_neighbors, or take p='knn'"
    return None


def _only_one(init, n_init):
    """Whether there is but one start, with which none is to be compared."""
    return not isinstance(init, str) or n_init == 1


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
