"""ICONClustering: soft assignments whose shared-cluster neighbourhoods q match p."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar, Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import ClassifierTags
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._checks import check_choice, check_number
from .._device import cpu_by_default
from .._warnings import warn
from ..clusters import (
    SMALLEST,
    ClusterLayers,
    ClusterTree,
    LateHierarchy,
    LateMergePath,
    counted_path,
    hierarchy,
    marked,
    merge_path,
    mutual_shares,
    pairs_of,
    within,
    without_path,
)
from ..conditional import MAX_MATERIALISED
from ..distributed import ALONE, current
from ..engines import write_table
from ..initialization._assignments import best_assignments, checked_labels, doubtful, lesson, steps_an_epoch
from ..initialization._last_fit import known_from, values_from
from ..mappers import build_mapper
from ..neighbors import KnownRows
from ..objective import Objective, Points
from ..optim import Phase, Solution
from ..out_of_sample._memberships import Assigner, HeadMemberships, MutualShares, among, labels_of
from ..out_of_sample._placed import PlacedRows
from ..out_of_sample._score import reference_score
from ..out_of_sample._seen import AllSeenRows, SeenRows, mean_of_equal_rows
from ..plan import NoCheckpoint, same_shapes
from ..registry import resolve
from ..solve import adam_rate, present_loss
from ..supervisory import KNN, Gaussian, declared, mutual_weight_by_default, perplexity_by_default
from ._base import ICONBase, for_mappers_of_features, row_identity
from ._inputs import like_input, search_device, validated, validated_new
from ._monitoring import callbacks, observed, timed, with_callbacks

N_INIT = 12
# Iterations: steps on all rows, or epochs of batches, which are as many steps at least.
N_ITER, N_EPOCHS = 300, 30
# Seconds that the search of starts takes for each row, about; micro-clusters do not grow in number for ever.
SECONDS_PER_ROW, MANY_ROWS = 7e-4, 10_000
# Numbers in the assignments of those rows that a head is taught the start of.
MAX_TAUGHT = 2 * 10**7
# Groups that few rows may fall into where they are yet to be counted: neighbours are a tenth of the rows, and three.
GROUPS_TO_COUNT = 5
# Passes over each batch of a stream after the first, and what is kept of the clusters' sizes.
N_PASSES, MASS_MOMENTUM = 10, 0.9


class ICONClustering(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, ICONBase):
    """Cluster rows so that sharing a cluster (q) means being near (p).

    Minimises ``mean_i D(p(.|i) || q(.|i))`` with ``q(j|i) = sum_c r_ic r_jc / sum_k r_kc`` over soft
    assignments r: a free table, or the softmax of a linear or deep head.

    Parameters
    ----------
    n_clusters : int or "auto", default=8
        Number of clusters.  "auto" counts the groups that stand out in p, by the eigengaps of its walk, what
        merged clusters say of its edges and what merging them further would cost (see `merge_path_`): at least 2, at
        most 150 and a tenth of the rows (or 10).  It is a suggestion, and not the truth.
    p : str, object or matrix, default="auto"
        Supervisory distribution, as for :class:`ICONEmbedding`; "auto" is uniform over the 20 nearest rows
        (beyond a gap they weigh less, and from 60 000 rows on mutual ones twice; see `far_weight` and `mutual_weight`
        of :class:`iconlearn.supervisory.KNN`), and with fewer than 40 rows for each cluster a Gaussian whose perplexity
        is a third of them, or 4.
    q : str or object, default="cluster"
        A shared-cluster kernel: "cluster" or :class:`iconlearn.learned.Cluster`, whose `balance` is how strongly
        clusters are pulled towards equal sizes; by default it is chosen (`q_.balance_`) among some
        (`q_.candidates_`).
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
        Most iterations (epochs for the mini-batch engine); "auto" is 300, or 30 epochs, and as many more as make 300
        steps.  A ConvergenceWarning says where it ended an engine that solves the problem, L-BFGS, or (a number) other
        full-batch steps.
    tol : float, default=1e-6
        Stop when the loss improves by less than this share of it.
    learning_rate : float or "auto", default="auto"
        Step size where gradients are used; "auto" is 0.1 for a table (over the root of the number of
        batches), 0.01 for a linear head and 0.001 for a deep one.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        Method where gradients are used; "auto" is Adam.
    min_confidence : float, default=0.0
        Rows whose largest probability is below it lie between clusters: `labels_` and `predict` mark them -1.
        The clusters themselves do not depend on it.
    warm_start : bool, default=False
        Start from the last fit's assignments where the number of clusters is the same (of a head: where the shapes
        allow).  With a table rows that equal one of the last fit start with its assignments, and new ones with those
        of ``predict_proba``, or of their neighbours in p where that is not read off the features.  Rows of a matrix
        of pairs are identified by their position alone, and a warning is given.
    terms, device, random_state, n_jobs, verbose, callback
        As for :class:`ICONEmbedding`.

    Attributes
    ----------
    labels_ : ndarray of int of shape (n_samples,)
        Cluster of each training row, numbered 0, ..., ``n_clusters_ - 1`` without gaps, or -1 for rows that
        `min_confidence` finds doubtful.
    n_clusters_ : int
        Clusters that have rows; a warning is given where they are fewer than asked for.
    merge_path_ : MergePath
        For every number of clusters the loss, gain, relative gap, eigengap, stability and information of merging
        micro-clusters of p until one is left: a named tuple of arrays, which
        :class:`iconlearn.displays.MergePathDisplay` plots.  Found when anything of it is first read, and not listed
        by ``dir`` before; absent where p is no sparse distribution over the rows.
    cluster_layers_ : ClusterLayers
        Labels at several numbers of clusters that stand out along one path of merges, `n_clusters_` among them, from
        the finest to the coarsest: a sequence of arrays of shape (n_samples,) as :meth:`labels_at` gives them, each
        nested in the next.  Found and absent as `merge_path_`.
    cluster_tree_ : ClusterTree
        Which clusters of these layers lie in which, ``{(layer, number): [(layer - 1, number), ...]}``, layers counted
        from the finest on; the root is ``(len(cluster_layers_), 0)``.
    probabilities_ : ndarray of shape (n_samples, n_found_clusters)
        How probable the clusters of the training rows are; see :meth:`predict_proba`.  Rows of a table that nothing
        pulls, such as nodes without edges, have the clusters' shares.
    p_, q_, divergence_, mapper_, engine_, n_iter_, converged_, stop_reason_
        As for :class:`ICONEmbedding`.
    loss_, loss_is_estimate_, loss_history_, loss_phases_, loss_parts_, entropy_, cross_entropy_
        As for :class:`ICONEmbedding`; `loss_` is that of the soft assignments, which
        `fit_transform` returns.
    timings_, neighbors_backend_
        As for :class:`ICONEmbedding`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them
    image_shape_ : tuple of int, if the rows of X were images

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

    # A search that weighs the rows of a fit weighs those of a score where that is asked for as well.
    __metadata_request__score: ClassVar[dict] = {"sample_weight": False}
    # Five more than maps have: with fewer, classes of many features fall into clumps (see doc/clustering.md).
    _by_default: ClassVar[dict] = {"p": KNN(20, far_weight=0.01)}
    # How many rows each row of the fit stands for, of mean one; None: each for one.
    _copies = None
    # The min_confidence of the fit; None in files that do not have it.
    _threshold = None
    # Whether probabilities are what mutual neighbours say, and not the assignments as such.  A fit has a dictionary for
    # those of the training rows, since predict_proba must not set attributes.
    _weighs_neighbors = False
    # The path of merges through the clusters, once it has been asked for.
    _hierarchy = None

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
    def fit(self, X, y=None, sample_weight=None) -> Self:
        """Find the clusters of X.

        Parameters
        ----------
        X : array-like, sparse matrix, tensor or torch Dataset of shape (n_samples, n_features)
            Square (n_samples, n_samples) where p is precomputed or a graph.
            Images as for :class:`ICONEmbedding`.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them; without one it is not looked at.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many equal rows each row stands for, on any scale: it counts so often in the mean divergence and in
            the sizes of clusters, and draws its neighbours so strongly.  Neighbours are found among the rows as they
            are, and copies of a row are none of its own.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            For weights that are not positive, and with a q or a divergence that has no use for them.
        """
        return self._completed(self._fit, X, y, sample_weight, observed=observed(self, X, y))

    def fit_predict(self, X, y=None, sample_weight=None) -> np.ndarray:
        """Fit and return ``labels_``; see :meth:`fit`."""
        return like_input(self.fit(X, y, sample_weight).labels_.copy(), X)

    def fit_transform(self, X, y=None, sample_weight=None) -> np.ndarray:
        """Fit and return the soft assignments; see :meth:`fit`."""
        self.fit(X, y, sample_weight)
        r = self._rows.outputs(self._X) if self._parametric else self._assignments
        return like_input(r.astype(self._X.dtype), X)

    @for_mappers_of_features
    def partial_fit(self, X, y=None, sample_weight=None) -> Self:
        """Learn from one batch of rows of a stream; for heads.

        The first batch is fitted as :meth:`fit` does, so it should hold rows of all clusters.  Each further one, or
        the first after a :meth:`fit`, moves the head by a few passes (`max_iter`, or 10) over its own rows, whose p
        is found among themselves, while the sizes of the clusters are means over the batches (`mass_momentum` of q,
        or 0.9).  `labels_` and the losses are those of the last batch; clusters keep their numbers, and those that
        had no rows in a fit come after the others.

        There is nothing to go on from after the fit of a table, or where `n_clusters` or `mapper` has been set to
        something of another shape since: such a batch is a first one again.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            As in :meth:`fit`, within the batch; all batches weigh alike.

        Returns
        -------
        self

        Raises
        ------
        AttributeError
            For mapper="table", whose assignments belong to the rows that it has seen.
        """
        return self._completed(self._fit_batch, X, y, sample_weight)

    @cpu_by_default
    def transform(self, X) -> np.ndarray:
        """Soft assignments that minimise the loss, shape ``(n_new, n_clusters_)``.

        A head maps them.  With a table each row takes the assignments that best explain its own p over the
        training rows; a row equal to a training row has that row's.  No row depends on the others.
        """
        check_is_fitted(self)
        rows = validated_new(self, X)
        return like_input(self._rows.outputs(rows).astype(rows.dtype, copy=False), X)

    @cpu_by_default
    def predict_proba(self, X) -> np.ndarray:
        """How probable the clusters of each row are, shape ``(n_new, n_clusters_)``.

        These are the assignments of :meth:`transform`, and with a table over neighbours (p="auto", a
        :class:`iconlearn.supervisory.KNN`, or a Gaussian or Student kernel of the nearest) what the rows say of each
        other that are each other's neighbours, with m_ij = min(p(j|i), p(i|j)), w_ij = p(j|i) + p(i|j):

            t_ic = (sum_j m_ij r_jc + 0.1 sum_j w_ij r_jc / sum_j w_ij + 0.005 / n_clusters) / (sum_j m_ij + 0.105)

        Where that would name another cluster than r does, both get the mean of their shares, so that the most
        probable cluster is always the one of :meth:`predict`.  Mistakes of assignments are often sure of themselves;
        a row whose neighbours have other neighbours is where they are.
        """
        check_is_fitted(self)
        rows = validated_new(self, X)
        return like_input(self._sure_rows.outputs(rows).astype(rows.dtype, copy=False), X)

    @cpu_by_default
    def predict(self, X) -> np.ndarray:
        """Most probable cluster of each row, -1 where `min_confidence` is not reached; see :meth:`predict_proba`."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._parametric:
            return like_input(self._rows.labels(rows, self._least_confidence), X)
        found = self._sure_rows if self._least_confidence > 0 else self._rows
        return like_input(labels_of(found.outputs(rows), self._least_confidence), X)

    @cpu_by_default
    def score(self, X, y=None, sample_weight=None) -> float:
        """Minus the mean divergence of the assignments of X from one fixed reference.

        The reference p is uniform over 15 neighbours (a fifth of the rows, where that is less) among the rows of X,
        and q has balance 1, no degrees and a fixed uniform share, whatever was fitted, so that candidates of a search
        can be compared.  A warning is given where X has fewer than ten rows, which is too few for that.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : None
            Not looked at.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            How many equal rows each row stands for, as in :meth:`fit`.  A search hands it on where
            ``set_score_request(sample_weight=True)`` asks for it.

        Returns
        -------
        float
            In nats; at most 0.
        """
        check_is_fitted(self)
        rows = validated_new(self, X)
        if not self._parametric and self.p_.conditional_.sharded:
            raise ValueError(
                "score compares rows with their neighbours, some of which lie in other processes"
            )
        copies = _numbers_of_copies(sample_weight, rows)
        probabilities = self._rows.outputs(rows)
        if declared(self.p_, "pairwise"):
            raise ValueError("score needs features; with a precomputed or graph p compare loss_ instead")
        log_r = torch.from_numpy(np.log(np.maximum(probabilities, 1e-12)))
        return reference_score(rows, log_r, self.q_, self.n_jobs, copies)

    @property
    @cpu_by_default
    def probabilities_(self):
        if "_used" not in vars(self):
            raise AttributeError("probabilities_ are there once the estimator is fitted")
        if not self._X.shape[0]:
            raise AttributeError(
                "a slim model has no training rows; predict_proba(X) gives those of any rows"
            )
        if self.p_.conditional_.sharded:
            raise AttributeError(
                "probabilities_ weigh neighbours, some of which lie in other processes; transform(X) gives the "
                "assignments of this process's rows"
            )
        return self._probabilities().astype(self._X.dtype)

    def _probabilities(self):
        """Those of the training rows in double precision."""
        return self._rows.outputs(self._X) if self._parametric else self._shares()

    def labels_at(self, n_clusters) -> np.ndarray:
        """Labels of the training rows at another number of clusters, of one path of merges.

        For the number that was fitted they are its clusters; for fewer, some of these are merged, and for more, they
        are split, so that of any two numbers the finer clustering is nested in the coarser one.  Clusters are numbered
        from the largest on (by `sample_weight`, where there was one).

        Parameters
        ----------
        n_clusters : int
            From 1 to the number of micro-clusters that the path begins with: about 2000, or a quarter of the rows
            where these are fewer.

        Returns
        -------
        labels : ndarray of int of shape (n_samples,)
            -1 for rows that `min_confidence` finds doubtful: of fewer clusters by the sum of their probabilities, of
            more by the probabilities of the fit.

        Raises
        ------
        ValueError
            Where p has no path of merges (see `merge_path_`), and for a number that is not on it.
        """
        check_is_fitted(self)
        late, mark = self._layered("labels_at", ValueError)
        check_number("n_clusters", n_clusters, low=1, integer=True)
        most = len(late.path().size)
        if n_clusters > most:
            raise ValueError(
                f"n_clusters={n_clusters} is more than the {most} micro-clusters that the path of merges begins with; "
                f"ask for at most as many, or fit with n_clusters={n_clusters}"
            )
        return mark(late.path(), n_clusters)

    @property
    def cluster_layers_(self):
        return ClusterLayers(*self._layered("cluster_layers_", AttributeError))

    @property
    def cluster_tree_(self):
        return ClusterTree(self._layered("cluster_tree_", AttributeError)[0])

    def _layered(self, name, error):
        """The path of merges through the clusters, not yet found perhaps, and what gives labels along it."""
        p, balance, least = self._path_of(name, error), self.q_.balance_, self._least_confidence
        shares = self._probabilities() if least > 0 else None
        labels = self.labels_
        if (labels < 0).any():  # of a fit that marked rows
            labels = (self._probabilities() if shares is None else shares).argmax(axis=1)
        if not isinstance(self._hierarchy, LateHierarchy):

            def find():
                return hierarchy(p, labels, np.random.RandomState(0), balance=balance)

            self._hierarchy = LateHierarchy(find, self._hierarchy)
        return self._hierarchy, partial(marked, fitted=labels, shares=shares, least=least)

    def _path_of(self, name, error):
        """p of the training rows with their copies, which a path of merges can be found for."""
        if "p_" not in vars(self):
            raise error(f"{name} is there once the estimator is fitted")
        if not self._X.shape[0]:
            raise error(f"a slim model has no p, whose merges {name} is about")
        p = self.p_.conditional_
        if p.sharded or (p.n_rows != self._X.shape[0] and not declared(self.p_, "fresh")):
            raise error(
                f"no {name} here: the fit went over several processes, and this one has some of the rows"
            )
        over_rows = declared(self.p_, "columns") == "rows" and not declared(self.p_, "fresh")
        reason = without_path(p) if over_rows else "p has other columns or draws views"
        if reason is not None:
            raise error(f"no {name} here: {reason}")
        return p if self._copies is None else p.of_copies(self._copies)

    @property
    def merge_path_(self):
        p = self._path_of("merge_path_", AttributeError)
        if self._path is None:
            # hasattr, and whoever reads all that an estimator has to show it, would wait for the merges.
            self._path = LateMergePath(
                lambda: merge_path(p, np.random.RandomState(0), balance=self.q_.balance_)
            )
        if isinstance(self._path, LateMergePath) and self._path.found is not None:
            self._path = self._path.found
        return self._path

    def __dir__(self):
        # A display of all that an estimator lists would show the path, and so wait for its merges.
        path = vars(self).get("_path")
        found = path is not None and (not isinstance(path, LateMergePath) or path.found is not None)
        late = set() if found else {"merge_path_"}
        layers = self._hierarchy
        if layers is None or (isinstance(layers, LateHierarchy) and layers.found is None):
            late |= {"cluster_layers_", "cluster_tree_"}
        return [name for name in object.__dir__(self) if name not in late and hasattr(self, name)]

    def _answer_parts(self):
        return super()._answer_parts() | {"used": self._used}

    def _drop_rows(self):
        super()._drop_rows()
        self._sizes = self._sizes_so_far()
        self._X, self._known, self._copies = self._X[:0].copy(), None, None
        self._path = self._hierarchy = None
        vars(self).pop("labels_", None)

    def __getstate__(self):
        state = super().__getstate__()
        if isinstance(state.get("_path"), LateMergePath):
            state = {**state, "_path": state["_path"].found}
        if state.get("_kept_shares"):
            state = {**state, "_kept_shares": {}}  # they are found again where they are asked for
        if isinstance(state.get("_hierarchy"), LateHierarchy):
            state = {**state, "_hierarchy": state["_hierarchy"].found}
        return state

    @property
    def _n_features_out(self):
        return self.n_clusters_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        # scikit-learn reads these of whatever has predict_proba and takes sparse matrices.
        tags.classifier_tags = ClassifierTags()
        return tags

    # -- a fit ---------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight=None, gathers=False):
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
        group = current()
        _check_over_processes(group, X, auto and self._resolved("mapper").parametric, sample_weight)
        self._copies = _numbers_of_copies(sample_weight, X)
        known = KnownRows(X)
        by_features = self._declares("equal_rows_alike") and not self._pairwise
        n_clusters = 1 if auto else _possible(self.n_clusters, known, X.shape[0], by_features, group)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        head = old if old is not None and self._parametric else None
        plan = self._plan(
            X, y, n_clusters, q=_shared_q(self.q, self.debias), copies=self._copies, table_dtype=torch.float64,
            start=head, gathers=gathers,
        )  # fmt: skip
        self._path, self._sizes = None, None
        if auto:
            with timed(self, "counting"):
                self._path = counted_path(plan.objective.problems, plan.rng)
            n_clusters = _possible(max(self._path.suggested, 2), known, X.shape[0], by_features, group)
            module = self._module(self._resolved("mapper"), plan.X, n_clusters, plan.setting, head)
            plan = _with_mapper(plan, module, n_clusters)
        if plan.problem.p.sharded:
            self._check_shards(plan)
        lesson = None
        if (head is not None and same_shapes(head, plan.mapper)) or (
            old is not None and head is None and self._put_last_assignments(plan)
        ):
            vars(plan.q).update(self.q_.chosen)
        else:
            part = _part_of(self._gathered(plan), n_clusters) if isinstance(self.init, str) else plan
            measured = isinstance(self.init, str) and self.init == "agglomerate"
            expected = SECONDS_PER_ROW * min(part.X.shape[0], MANY_ROWS) if measured else None
            lesson = self._started(plan, lambda: self._put_start(part, n_clusters, n_init), expected)
            self._share_state(plan.objective, group)
            vars(plan.q).update(group.from_first(plan.q.chosen))
        if lesson is not None and lesson.reason in ("interrupted", "callback"):
            solution = replace(lesson, loss=present_loss(plan))
        else:
            stochastic = plan.engine.stochastic
            n_iter, patience = (N_EPOCHS, 5) if stochastic else (N_ITER, 20)
            if self.max_iter != "auto":
                n_iter = self.max_iter
            elif stochastic:
                n_iter = max(N_EPOCHS, N_ITER // steps_an_epoch(plan.engine, plan.rows))
                patience *= n_iter // N_EPOCHS
            solution = self._improve(plan, n_iter, patience)
            self._warn_at_max_iter(plan, self.optimizer, solution)
        _spread_idle_rows(plan)
        self._keep_clusters(plan, solution, known, shown=_among_winners)
        self._warn_of_fewer(plan.rows.width if auto else self.n_clusters)
        plan.keeper.done(solution)
        return solution

    def _warn_of_fewer(self, asked):
        if self.n_clusters_ < asked:
            warn(
                f"found {self.n_clusters_} clusters where n_clusters={asked} were asked for: the others "
                f"ended without rows; ask for fewer, or try another p or another debias",
                ConvergenceWarning,
            )

    def _check_shards(self, plan):
        """Refuse what a table over several processes does not know."""
        able = plan.engine.solves and isinstance(self.init, str) and self.init == "agglomerate"
        reason = None if able else f"init={self.init!r:.60} and {plan.engine!r}"
        reason = "terms" if self.terms else "min_confidence" if self.min_confidence > 0 else reason
        reason = "warm_start" if self.warm_start else reason
        if reason is not None:
            raise ValueError(
                f"{reason}: clusters of a table over several processes are found by engine='partition' from "
                f"init='agglomerate', without terms, min_confidence or warm_start; or fit in one process"
            )
        if plan.group.largest(any(hasattr(callback, "keeper") for callback in callbacks(self.callback))):
            raise ValueError(
                "a Checkpoint is not written of a table over several processes; leave it out of callback"
            )

    def _gathered(self, plan):
        """The plan where every process has the rows of all, or of a part that is enough for a start by k-means."""
        group, X = plan.group, plan.X
        if group.size == 1 or plan.problem.p.sharded:
            return plan
        most = max(MAX_TAUGHT // X.shape[1], 2 * plan.rows.width)
        n_all = group.total(X.shape[0])
        if n_all > most:
            if not all(problem.fresh for problem in plan.objective.problems):
                raise ValueError(
                    f"a start is searched among all rows in every process, and {n_all} rows of {X.shape[1]} features "
                    f"are more than the {most} for which that is done; use p=Views(), or partial_fit with batches"
                )
            X = X[np.linspace(0, len(X) - 1, len(X) * most // n_all).astype(np.intp)]
        X = group.gathered(X)
        setting = replace(plan.setting, group=ALONE)
        rows = Points(plan.mapper, len(X), self._inputs(X, setting), plan.rows.width)

        def here(problem):
            points = replace(rows, view=problem.rows.view)
            return replace(problem, rows=points, columns=points, share=1.0, group=ALONE)

        objective = replace(plan.objective, problems=tuple(map(here, plan.objective.problems)))
        return replace(plan, X=X, rows=rows, objective=objective, setting=setting, keeper=NoCheckpoint())

    def _counted(self, n_outputs):
        return None if self.n_clusters == "auto" else n_outputs

    def _n_groups(self, n_rows, n_outputs):
        yet_to_be_counted = self.n_clusters == "auto" and n_outputs == 1
        return min(GROUPS_TO_COUNT, max(n_rows // 4, 2)) if yet_to_be_counted else n_outputs

    _tables_over_processes = True

    def _sized_p(self, n_rows, n_groups, n_outputs):
        if not isinstance(self.p, str) or self.p != "auto":
            return super()._sized_p(n_rows, n_groups, n_outputs)
        usual = self._by_default["p"]
        if n_rows >= 2 * usual.n_neighbors * n_groups:
            p = clone(usual)
            p.mutual_weight = mutual_weight_by_default(n_rows)
            return p
        return Gaussian(perplexity_by_default(usual.n_neighbors, n_rows, n_groups))

    def _debiased(self, p):
        # For KL the share of p is one more sum.  For the others most of p is the share, and a q that is spread over
        # all rows equals it.
        divergence = self._resolved("divergence")
        return super()._debiased(p) if divergence.linear_in_log_q or divergence.reverse else p

    def _put_start(self, plan, n_clusters, n_init):
        """Put the best start into the table, or teach it to the head; the lesson's solution, if any."""
        init = self.init
        if not isinstance(init, str):
            init = checked_labels(init, plan.X.shape[0], n_clusters)
        r, weights = best_assignments(
            plan.objective, plan.engine, None if self._pairwise else plan.X, n_clusters, plan.rng,
            init=init, n_init=n_init, tol=self.tol, present_loss=lambda: present_loss(plan),
        )  # fmt: skip
        if plan.parametric:
            objective, engine, n_iter = lesson(
                plan.rows, r, plan.engine, dtype=plan.dtype, device=plan.device
            )
            taught = replace(plan, objective=objective, engine=engine, keeper=NoCheckpoint())
            phase = Phase(n_iter, adam_rate(plan, self.learning_rate), name="start")
            return self._optimise(taught, "adam", [phase], patience=n_iter)
        if any(problem.p.listed for problem in plan.objective.problems):
            r = doubtful(r, n_clusters)
        write_table(plan.mapper, r)
        if plan.engine.solves:
            plan.objective = replace(plan.objective, pair_weights=weights)
        return None

    def _put_last_assignments(self, plan):
        """Give the rows of the last fit their assignments in a table, and new ones theirs; whether there are any."""
        X, last, pairwise = plan.X, self.mapper_.places.detach().numpy(), declared(self.p_, "pairwise")
        if plan.parametric or pairwise != self._pairwise or last.shape[1] != plan.rows.width:
            return False
        at = known_from(X, self._known, pairwise=pairwise)
        if at is None:
            return False

        def place(rows):
            r = np.zeros((len(rows), last.shape[1]))
            r[:, self._used] = self._rows.outputs(X[rows])
            return np.log(np.maximum(r, SMALLEST))

        reads_features = declared(self.p_, "from_features") and not pairwise
        values = values_from(
            at, last, plan.problem, plan.rng, place=place if reads_features else None, jitter=0.0
        )
        if values is not None:
            with torch.no_grad():
                plan.mapper.places.copy_(torch.as_tensor(values))
        return values is not None

    def _improve(self, plan, n_iter, patience) -> Solution:
        """Minimise by the engine's own solver or by the loop."""
        method = "adam" if self.optimizer == "auto" else self.optimizer
        return self._optimise(
            plan, method, [Phase(n_iter, adam_rate(plan, self.learning_rate))], patience=patience
        )

    def _keep_clusters(self, plan, solution, known, shown=None):
        """The solution, labels without gaps, and what new rows need."""
        found = False
        if not plan.parametric:
            r, found = _represented(plan), True
            mean = mean_of_equal_rows(known, r, row_identity(plan.p)["by_features"])
            if mean is not r:
                write_table(plan.mapper, mean)
                r, found = _represented(plan), False
            self._used = np.unique(np.concatenate(plan.group.objects(np.unique(r.argmax(axis=1)))))
            uniform = any(problem.p.uniform > 0 for problem in plan.objective.problems)
            found = found and plan.engine.solves and len(self._used) == r.shape[1] and not uniform
        self._keep(plan, solution, shown, found=found)
        self._X, self._known, self._outputs = plan.X, known, plan.rows.width
        self._threshold = self.min_confidence
        self._within = self._assignments = self._hierarchy = None
        self._kept_shares = {}
        self._weighs_neighbors = not plan.parametric and _two_sided(plan)
        if plan.parametric:
            # A head needs no rule for new rows, and its assignments are found again when they are asked for.
            self._used = np.unique(np.concatenate(plan.group.objects(self._head.winners(plan.X))))
            self.labels_ = self._rows.labels(plan.X, self.min_confidence)
        else:
            self._assignments = among(r, self._used)
            shares = self._shares() if self.min_confidence > 0 else self._assignments
            self.labels_ = labels_of(shares, self.min_confidence)
            if self.divergence_.reverse and plan.problem.tied:
                self._within = within(plan.problem.p, self._assignments)
        self.n_clusters_ = len(self._used)

    # -- rows ----------------------------------------------------------------------------------------

    @property
    def _rows(self):
        """What gives rows their assignments."""
        if self._parametric:
            return self._head.within(self._used)
        return self._beside(self._assignments, self._assigner)

    @property
    def _sure_rows(self):
        """What gives rows their probabilities."""
        if not self._weighs_neighbors:
            return self._rows
        return self._beside(self._shares(), MutualShares(self._assigner))

    @property
    def _assigner(self):
        return Assigner(self.p_, self.q_, self.divergence_, self._assignments, self._within, self._copies)

    def _beside(self, table, placer):
        """What gives training rows what they have in a table, and new ones what a placer finds."""

        def near(X):
            return placer.near(X, self.n_jobs, search_device(self))

        rows = PlacedRows(SeenRows(self._known, table, **row_identity(self.p_)), near, placer)
        return AllSeenRows(self._known, table, rows)

    def _shares(self):
        """Probabilities of the training rows of a table."""
        if not self._weighs_neighbors:
            return self._assignments
        if self.p_.conditional_.sharded:
            raise ValueError(
                "probabilities weigh neighbours, some of which lie in other processes; transform(X) gives the "
                "assignments of this process's rows"
            )
        if not self._kept_shares:
            p, r = self.p_.conditional_, self._assignments
            pairs = pairs_of(p if self._copies is None else p.of_copies(self._copies))
            shares = mutual_shares(*pairs, r, r)
            by_features = row_identity(self.p_)["by_features"]
            self._kept_shares["shares"] = mean_of_equal_rows(self._known, shares, by_features)
        return self._kept_shares["shares"]

    @property
    def _least_confidence(self):
        """The min_confidence of the fit, so that predictions go on to agree with labels_."""
        return self.min_confidence if self._threshold is None else self._threshold

    @property
    def _head(self):
        """Assignments to all outputs of a head."""
        return HeadMemberships(self.q_, self.mapper_, self._features, self._outputs, self.device)

    # -- a stream ------------------------------------------------------------------------------------

    def _fit_batch(self, X, y, sample_weight):
        """One batch of a stream: the first is fitted whole, each further one takes the head a little on."""
        if self._has_head():
            used = self._used
            solution = self._fit_further(X, y, sample_weight)
        else:
            used = np.arange(0)
            solution = self._fit(X, y, sample_weight, gathers=True)
            if self.n_clusters != "auto" and self._outputs < self.n_clusters:
                raise ValueError(
                    f"the first batch has {self._outputs} distinct rows, fewer than "
                    f"n_clusters={self.n_clusters}; begin with a larger batch"
                )
        # A cluster without rows in this batch may have some in the next.
        self._used = np.concatenate([used, np.setdiff1d(np.arange(self._outputs), used)])
        self.n_clusters_ = self._outputs
        self.labels_ = self._rows.labels(self._X, self.min_confidence)
        return solution

    def _has_head(self):
        """Whether the last fit or batch left a head of the shape that is asked for."""
        if not getattr(self, "_parametric", False) or self.n_clusters not in ("auto", self._outputs):
            return False
        n_inputs = len(range(self.n_features_in_)[self._features or slice(None)])
        return _same_head(self.mapper_, self._resolved("mapper"), n_inputs, self._outputs, self._X.shape[0])

    def _sizes_so_far(self):
        """Shares of all outputs, from which a stream goes on."""
        if self._sizes is not None:
            return self._sizes
        group, sizes = current(), self._head.sizes(self._X, self._copies)
        n_rows = self._X.shape[0]
        return group.total(sizes * (n_rows / group.total(n_rows)))

    def _fit_further(self, X, y, sample_weight):
        self._check_numbers()
        check_number("min_confidence", self.min_confidence, low=0, high=1)
        group = current()
        with group.together():
            X = validated_new(self, X)
            if X.shape[0] < 2:
                raise ValueError(f"a batch needs at least 2 rows, got n_samples={X.shape[0]}")
        _check_over_processes(group, X, False, sample_weight)
        q = _shared_q(self.q, self.debias)
        if q.mass_momentum == 0:
            q.set_params(mass_momentum=MASS_MOMENTUM)
        copies = _numbers_of_copies(sample_weight, X)
        plan = self._plan(
            X,
            y,
            self._outputs,
            q=q,
            copies=copies,
            table_dtype=torch.float64,
            start=self.mapper_,
            keeps=False,
            gathers=True,
        )
        plan.q.mean_size_ = torch.as_tensor(self._sizes_so_far(), dtype=plan.dtype, device=plan.device)
        n_iter = N_PASSES if self.max_iter == "auto" else self.max_iter
        solution = self._improve(plan, n_iter, n_iter)
        self._sizes, self._path, self._copies = plan.q.mean_size_.cpu().numpy(), None, copies
        self._keep_clusters(plan, solution, KnownRows(plan.X))
        return solution


def _numbers_of_copies(sample_weight, X):
    """Weights of the rows, of mean one; None where there are none."""
    if sample_weight is None:
        return None
    weight = np.array(_check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True))
    if (weight == 0).any():
        raise ValueError(
            f"sample_weight is zero for {np.count_nonzero(weight == 0)} rows (the first is row "
            f"{int(weight.argmin())}): a row that counts nothing is one that is not there; leave such rows out of X, "
            f"and ask predict for them"
        )
    return weight / weight.mean()


def _check_over_processes(group, X, auto, sample_weight):
    """Refuse what heads over several processes do not know how to do."""
    if group.size == 1:
        return
    reason = "a sparse X" if sparse.issparse(X) else None
    if auto or sample_weight is not None:
        reason = "n_clusters='auto' of a head" if auto else "sample_weight"
    if group.largest(reason is not None):
        raise ValueError(
            f"{reason or 'what another process was given'} is not known under shards(), where each process has rows of "
            f"its own; give dense rows, a number of clusters and no weights, or fit in one process"
        )


def _possible(n_clusters, known, n_rows, by_features, group):
    """The number of clusters that the rows of all processes allow."""
    n_rows = group.total(n_rows)
    if n_clusters > n_rows:
        raise ValueError(
            f"n_clusters={n_clusters} is more than n_samples={n_rows}; ask for at most as many clusters as rows"
        )
    return min(n_clusters, group.total(int(known.groups().max()) + 1)) if by_features else n_clusters


def _shared_q(q, debias):
    """The cluster kernel, with the share that debias gives it."""
    kernel = clone(resolve("q", q), safe=False)
    if not getattr(kernel, "shared_clusters", False):
        raise ValueError(
            f"q={q!r} is no shared-cluster kernel; ICONClustering needs q='cluster' (use ICONEmbedding "
            f"for kernels on coordinates)"
        )
    if debias > 0 and kernel.debias == 0:
        kernel.set_params(debias=debias)
    return kernel


def _two_sided(plan):
    """Whether what rows and their neighbours give each other is known, of new rows too."""
    problem = plan.problem
    return (
        declared(plan.p, "two_sided") and problem.tied and not (problem.p.dense or problem.divergence.reverse)
    )


def _represented(plan):
    """The assignments in a table."""
    return plan.q.represent(plan.mapper.places.detach()).double().cpu().numpy()


def _spread_idle_rows(plan):
    """Give rows of a table without support of any p the clusters' shares."""
    problems = plan.objective.problems
    if plan.parametric or plan.engine.solves or any(problem.fresh for problem in problems):
        return
    pulled = np.zeros(plan.rows.size, dtype=bool)
    for problem in problems:
        p = problem.p
        if p.uniform > 0 or (p.dense and problem.n_pairs > MAX_MATERIALISED):
            return
        weight = p.row_mass > 0
        pulled |= weight
        if problem.tied:
            pulled |= weight @ p.sparse() > 0
    if pulled.all():
        return
    with torch.no_grad():
        r = torch.softmax(plan.mapper.places, 1)
        on = torch.from_numpy(pulled).to(r.device)
        copies = torch.as_tensor(
            np.ones(len(pulled)) if problems[0].p.copies is None else problems[0].p.copies
        )
        weight = copies.to(r)[on]
        r[~on] = weight @ r[on] / weight.sum()
        plan.mapper.places.copy_(torch.log(r.clamp_min(SMALLEST)))


def _with_mapper(plan, module, n_outputs):
    """The plan with another mapper, whose outputs are other in number."""
    rows = replace(plan.rows, mapper=module, width=n_outputs)
    problems = tuple(replace(problem, rows=rows, columns=rows) for problem in plan.objective.problems)
    return replace(plan, mapper=module, rows=rows, objective=replace(plan.objective, problems=problems))


def _among_winners(Z):
    """Outputs of assignments among the clusters that are the most probable one of any row."""
    unused = np.setdiff1d(np.arange(Z.shape[1]), Z.argmax(1).cpu().numpy())
    return Z.index_fill(1, torch.as_tensor(unused, device=Z.device), -torch.inf)


def _same_head(module, spec, n_inputs, n_outputs, n_rows):
    """Whether a module has the shapes of one that is made anew."""
    new = build_mapper(
        spec, n_inputs, n_outputs, n_rows, generator=torch.Generator().manual_seed(0), dtype=torch.float32,
        device="cpu",
    )  # fmt: skip
    return same_shapes(module, new)


def _part_of(plan, n_outputs):
    """The plan, or one of a random part of its rows where the assignments of all would be too many to hold."""
    n_rows = max(MAX_TAUGHT // n_outputs, 2 * n_outputs)
    if not plan.parametric or plan.X.shape[0] <= n_rows or not declared(plan.p, "from_features"):
        return plan
    chosen = np.sort(plan.rng.permutation(plan.X.shape[0])[:n_rows])
    p = clone(plan.p).fit(plan.X[chosen], random_state=int(plan.rng.randint(2**31 - 1)))
    inputs = plan.rows.inputs
    inputs = inputs[torch.as_tensor(chosen)] if isinstance(inputs, torch.Tensor) else inputs[chosen]
    points = Points(plan.mapper, n_rows, inputs, n_outputs)
    conditional = p.conditional_.with_self_pairs() if plan.q.self_pairs else p.conditional_
    if plan.problem.p.copies is not None:
        conditional = conditional.with_edges().of_copies(plan.problem.p.copies[chosen])
    problem = replace(plan.problem, p=conditional, rows=points, columns=points)
    return replace(plan, X=plan.X[chosen], p=p, rows=points, objective=Objective((problem,)))
