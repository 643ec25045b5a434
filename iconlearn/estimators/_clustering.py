"""ICONClustering: soft assignments whose shared-cluster neighbourhoods q match p."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags

from .._checks import check_choice, check_number
from .._warnings import warn
from ..neighbors import KnownRows
from ..optim import Phase, Solution
from ..out_of_sample._seen import mean_of_equal_rows
from ..plan import same_shapes
from ..registry import resolve
from ..solve import adam_rate, present_loss
from ..supervisory import KNN
from ._base import ICONBase
from ._counting import Counting
from ._heads import labels_of, part_of
from ._inputs import like_input, validated
from ._joining import within
from ._memberships import Memberships, among
from ._monitoring import observed, with_callbacks
from ._starting import Starting
from ._streaming import Streaming

__all__ = ["ICONClustering"]

N_INIT = 12
# Seconds that the search of starts takes for each row, about; micro-clusters do not grow in number for ever.
SECONDS_PER_ROW, MANY_ROWS = 7e-4, 10_000


class ICONClustering(
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    ClusterMixin,
    Memberships,
    Streaming,
    Counting,
    Starting,
    ICONBase,
):
    """Cluster rows so that sharing a cluster (q) means being near (p).

    Minimises ``mean_i D(p(.|i) || q(.|i))`` with ``q(j|i) = sum_c r_ic r_jc / sum_k r_kc`` over soft
    assignments r: a free table, or the softmax of a linear or deep head.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of clusters.  "auto" counts the groups that stand out in p, by the eigengap and the stability
        of its merges (see `merge_path_`): at least 2, at most 150 and a tenth of the rows (or 10).  It is a
        suggestion, and not the truth.
    p : str, object or matrix, default="auto"
        Supervisory distribution, as for :class:`ICONEmbedding`; "auto" is uniform over the 20 nearest rows.
    q : str or object, default="cluster"
        A shared-cluster kernel: "cluster" or :class:`iconlearn.learned.Cluster`, whose `balance` says how strongly
        clusters are pulled towards equal sizes.
    divergence : str, object or callable, default="kl"
        As for :class:`ICONEmbedding`.
    mapper : str, object, torch module or callable, default="table"
        "table" gives every row free assignments; "linear", "mlp", a module or a factory is a head on the
        features whose softmax assigns.
    debias : float, default=0.0
        Uniform share of q, in [0, 1), and of p too if the divergence is KL, either way; the others would be lowest
        for a single cluster then (see doc/clustering.md).  A q that has a share of its own keeps it.
    engine : str or object, default="auto"
        "partition" (majorise-minimise on a table), "dense" (exact), "minibatch", or the first that fits.
    init : {"agglomerate", "kmeans", "k-means++", "spectral", "random"} or array of shape (n_samples,), \
            default="agglomerate"
        Starts: micro-clusters merged by the loss; k-means; the nearest of far-apart rows; k-means among the
        eigenvectors of p alone; random labels; or given labels 0, ..., n_clusters - 1.
    n_init : int or "auto", default="auto"
        Number of starts, ranked by the loss; "auto" is 12.  With "agglomerate" the first eight are merges at
        different resolutions, which are crossed with each other and (up to 100 clusters) with k-means among the
        eigenvectors of p, and each further one splits and merges clusters of the best so far.
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

    Notes
    -----
    On Ctrl-C KeyboardInterrupt is raised again, and what was improved until then is kept on the estimator.  While a
    start is still searched there is nothing to keep, and the estimator is as it was.

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

    # Five more than maps have: with fewer, classes of many features fall into clumps (see doc/clustering.md).
    _by_default: ClassVar[dict] = {"p": partial(KNN, 20)}

    def __init__(
        self,
        n_clusters=8,
        *,
        p="auto",
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
        X : array-like, sparse matrix, tensor or torch Dataset of shape (n_samples, n_features)
            Square (n_samples, n_samples) where p is precomputed or a graph.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them; without one it is not looked at.

        Returns
        -------
        self
        """
        return self._completed(self._fit, X, y, observed=observed(self, X, y))

    def fit_predict(self, X, y=None):
        """Fit and return ``labels_``; see :meth:`fit`."""
        return like_input(self.fit(X, y).labels_, X)

    def fit_transform(self, X, y=None):
        """Fit and return the soft assignments; see :meth:`fit`."""
        self.fit(X, y)
        return like_input(self.probabilities_, X)

    # Here, and not among the other answers: set_output sees only what this class itself defines.
    def transform(self, X):
        """Soft assignments, as :meth:`predict_proba`."""
        return self.predict_proba(X)

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
            check_number("n_clusters", self.n_clusters, low=1, integer=True, hint='or "auto"')
        check_number("min_confidence", self.min_confidence, low=0, high=1)
        n_init = N_INIT if self.n_init == "auto" else check_number("n_init", self.n_init, low=1, integer=True)
        if isinstance(self.init, str):
            check_choice("init", self.init, ("agglomerate", "kmeans", "k-means++", "spectral", "random"))
        X, y = validated(self, X, y, pairwise=self._pairwise, read_y=self._reads_y)
        known = KnownRows(X)
        n_clusters = 1 if auto else self._possible(X, known)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        plan = self._plan(X, y, n_clusters, q=self._shared_q(), table_dtype=torch.float64, start=old)
        self._path, self._sizes = None, None
        if auto:
            plan, n_clusters = self._counted(plan, old)
        lesson = None
        if old is not None and same_shapes(old, plan.mapper):
            vars(plan.q).update(self.q_.chosen)
        else:
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

    def _debiased(self, p):
        # To KL the share of p is one more sum.  The others take it for what most of p says, and q spread over all
        # rows says the same.
        divergence = self._resolved("divergence")
        return super()._debiased(p) if divergence.linear_in_log_q or divergence.reverse else p

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

    def _search(self, plan) -> Solution:
        """Improve the start by the engine's own solver or by the loop."""
        stochastic = plan.engine.stochastic
        n_iter = (30 if stochastic else 300) if self.max_iter == "auto" else self.max_iter
        method = "adam" if self.optimizer == "auto" else self.optimizer
        return self._optimise(
            plan,
            method,
            [Phase(n_iter, adam_rate(plan, self.learning_rate))],
            patience=5 if stochastic else 20,
        )

    def _finish(self, plan, known, *, told=True):
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
            self._assignments = among(r, self._used)
            self.labels_ = self._marked(self._assignments)
            if self.divergence_.reverse and plan.problem.tied:
                self._within = within(plan.problem.p, self._assignments)
        self.n_clusters_ = len(self._used)
        asked = plan.rows.width if self.n_clusters == "auto" else self.n_clusters
        if told and self.n_clusters_ < asked:
            warn(
                f"found {self.n_clusters_} clusters where n_clusters={asked} were asked for: the others "
                f"ended without rows; ask for fewer, or try another p or another debias",
                ConvergenceWarning,
            )
