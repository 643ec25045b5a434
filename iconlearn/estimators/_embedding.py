"""ICONEmbedding: places in a low-dimensional space whose neighbourhoods q match p."""

from __future__ import annotations

import copy
from contextlib import nullcontext
from dataclasses import replace
from typing import Self

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._checks import check_choice, check_number
from .._device import Function, cpu_by_default
from .._randomness import random_source
from ..distributed import current
from ..engines import relocatable
from ..initialization._coarse import LARGE, N_ITER, coarse_places, expected_start
from ..initialization._last_fit import known_from, values_from
from ..initialization._places import SPREAD, initial_places, start_at_axes
from ..mappers import declares
from ..neighbors import KnownRows
from ..optim import Phase
from ..out_of_sample._inverse import InterpolatedRows
from ..out_of_sample._mapped import MappedRows, answering, mapped
from ..out_of_sample._placed import PlacedRows, Placer
from ..out_of_sample._score import reference_score
from ..out_of_sample._seen import AllSeenRows, SeenRows, share_places
from ..out_of_sample._shards import ShardRows
from ..plan import same_shapes
from ..solve import adam_rate
from ..supervisory import (
    bags_of,
    declared,
    extended,
    holds_words,
    mutual_weight_by_default,
    sentences_of,
)
from ._base import ICONBase, row_identity
from ._classifier import ICONClassifier, of_prototypes
from ._inputs import like_input, plain, search_device, validated, validated_group, validated_new
from ._monitoring import Progress, callbacks, observed, with_callbacks

# Iterations by default, and those of many rows, without and with a last phase along exact sums.
STEPS, STEPS_OF_LARGE = 300, (150, 120)
# One in so many iterations is exaggerated, and at most so many.
EARLY, MOST_EARLY = 6, 100
# Most exaggeration: the rows are sorted into groups before they have lost the order of the axes.
EXAGGERATION = 8.0
# Of all later ones. The lesser is for a light tail, under which rows that are thrown far feel nothing and do not
# return, for further terms, which may be steeper than the kernel, and for few rows, whose maps end in worse optima by
# the greater.
MOMENTUM, LESSER_MOMENTUM, FEW_ROWS = 0.95, 0.8, 1000
# Fewer iterations leave no time to settle after rows were relocated.  Of those between exaggeration and settling so
# many come before the first time and from there to the second: a share of them, and the most.
RELOCATING, BEFORE_RELOCATION = 100, ((0.45, 200), (0.25, 50))
# By default a map goes on, up to as many iterations again, 25 at a time, for as long as the last ten lower its loss by
# so much of it.  Rows that lie on something flat have further to go than those in groups, and what a map of theirs
# lacks is steps.
STILL_FALLING = 0.01
# From so many rows on fewer iterations do, where columns are drawn.
LARGE_DRAWN = 5000
# Steps along estimated sums throw places about, the further the longer they are: the last phases, as shares of the
# unexaggerated iterations, and what they leave of the length of steps.
SETTLING = ((0.3, 0.3), (0.15, 0.05))
# Along exact sums they swing about the minimum, the further the greater momentum is: in the last phase it is less.
# Before it rows among the wrong neighbours are relocated once more, since others have moved in the meantime.
SETTLING_EXACT = ((0.15, 1.0),)
# In more dimensions than these there is room to pass each other without exaggeration; after it, steps along estimated
# sums take half the iterations to come back to where they would have begun.  These are so many times shorter.
NARROW, SHORTER = 3, 2.0
# A coarse map is sorted already; its exaggeration only draws the newcomers in.
COARSE_EXAGGERATION = 4.0


def _draws_samples(model):
    if not declares(getattr(model, "mapper_", None), "samples"):
        raise AttributeError(
            f"sample is a method of fitted variational autoencoders, such as iconlearn.recipes.vae(), and not of "
            f"mapper={model.mapper!r:.100}"
        )
    return True


def _for_mappers_that_sample(method: Function) -> Function:
    return available_if(_draws_samples)(method)


class ICONEmbedding(ClassNamePrefixFeaturesOutMixin, TransformerMixin, ICONBase):
    """Embed rows so that the learned neighbourhoods q match the supervisory ones p.

    Minimises ``mean_i D(p(.|i) || q(.|i))`` over the places of the rows (or over the weights of a mapper
    that gives the places).  By default p is uniform over the nearest neighbours (from 60 000 rows on, mutual ones weigh
    twice) and q is Student's, as in t-SNE, but each row is normalised by itself; exact t-SNE, symmetric and normalised
    over all pairs, is :func:`iconlearn.recipes.tsne`.  ``p="gaussian"`` with ``q="gaussian"`` is SNE,
    ``mapper="linear"`` a linear projection that can be applied to new rows, ``p="graph"`` a graph layout.

    Parameters
    ----------
    n_components : int, default=2
        Dimensions of the embedding.
    p : str, object, matrix, graph or tuple, default="knn"
        Supervisory distribution: "gaussian", "student", "wide_gaussian", "knn", "graph", "precomputed",
        "cooccurrence", "paired", "views", "restore", "identity", "labels", "must_link", "classes", or an object of
        :mod:`iconlearn.supervisory`; a square matrix of weights (not of distances), a list of edges as an array, or a
        networkx graph; or the neighbours of each row as (indices, distances).
    q : str, object or callable, default="student"
        Learned distribution: "student", "gaussian", "inverse_power", "hyperbolic", "dot", "cosine", "cluster", an
        object of :mod:`iconlearn.learned`, or a function from squared distances to log kernels.
    divergence : str, object or callable, default="kl"
        "kl", "reverse_kl", "jensen_shannon", "hellinger", "total_variation", an object of
        :mod:`iconlearn.divergences`, or the convex f of an f-divergence.
    mapper : str, object, torch module or callable, default="table"
        "table" gives every row a free place; "linear", "mlp", "autoencoder", a ``torch.nn.Module`` (copied, never
        changed) or a function of (n_inputs, n_outputs) that makes one map features to places.
    column_mapper : str, object, torch module, callable or None, default=None
        Mapper of the columns where p has columns of their own: the other group of features of
        :class:`~iconlearn.supervisory.Paired` (None: one like `mapper`), or the keys of
        ``Views(cross=True)`` (None: `mapper` itself; "ema": a teacher that follows it).
    debias : float, default=0.0
        Share of p, in [0, 1), that is spread evenly over all candidates.
    engine : str or object, default="auto"
        How the sums over columns are found: "dense" (exact), "mesh" (a grid, to three dimensions), "sampled"
        (random columns at every step), "minibatch", or the first that fits.
    init : {"auto", "pca", "coarse", "spectral", "random"} or array of shape (n_samples, n_components)
        Start of a table.  "coarse" makes a map of every eighth row first and spreads it over all; "auto" (the
        default) is "coarse" from 20 000 rows on where q has a light tail, else "pca".  A linear mapper starts from the
        principal axes with "auto" or "pca", other mappers from their own weights.
    max_iter : int or "auto", default="auto"
        Most iterations (epochs for the mini-batch engine); "auto" is 300 (120 from 20 000 rows on; 150 where
        the engine draws columns, from 5000 rows on, or q has a light tail), or 100 epochs.  A map of 1000 rows or
        more, by momentum under a heavy-tailed q and by sums over all columns, goes on to twice as many at most, for as
        long as ten iterations lower its loss by 1 %; the last of them have less momentum.
        Where it ends L-BFGS or an engine that solves the problem, a ConvergenceWarning says so; a map by momentum or
        Adam is finished after that many.
    tol : float, default=1e-4
        Stop when 50 iterations improve the loss by less than this share of it.  A loss that is an estimate
        (batches, views) ends the fit once its mean falls by less than its noise could hide.
    learning_rate : float or "auto", default="auto"
        Step size; "auto" is n_samples / exaggeration for a table (half of it where columns are drawn, in
        more than three dimensions); for Adam 0.1 for a table (over the root of the number of batches), 0.01 for a
        linear mapper and 0.003 for a network.
    early_exaggeration : float or "auto", default="auto"
        Factor on the attraction in the first sixth of the iterations (at most 100); "auto" is 8 for a
        table with a heavy-tailed q (less where p spreads over a large part of the rows), else 1; also 1 where columns
        are drawn, in more than three dimensions.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        "auto" is momentum with gains for a table (Adam where q is an inverse power or hyperbolic, or p has lists of
        candidates),
        L-BFGS for other full-batch fits of a linear mapper, and Adam otherwise.
    warm_start : bool, default=False
        Start from the last fit's mapper where the shapes allow.  A table goes on with rows added, removed or in
        another order: rows that equal one of the last fit (or are the same word) start at its place, and new ones
        where ``transform`` puts them, or near their neighbours in p where that is not read off the features.  Rows of
        a matrix of pairs are identified by their position alone, and a warning is given.
    terms : list of Term or None, default=None
        Further divergences that are added to the main one, all on the same mapper.
    device : str, default="auto"
        A torch device; "auto" is CUDA where there is one and where there are 5000 rows or a network maps them.
    random_state : int, RandomState or None, default=None
        Same seed, same result on one device at a fixed number of threads.
    n_jobs : int or None, default=None
        Workers for the neighbour search.
    verbose : int, default=0
        1 prints stages and some iterations, 2 every iteration.  Where the logger "iconlearn" has a level or a handler,
        it gets these messages instead, whatever `verbose` is: further iterations at DEBUG, all else at INFO.
    callback : callable, list of callable or None, default=None
        Called with a :class:`iconlearn.optim._history.Record` after each iteration, whose ``outputs()`` are the places
        (memberships) that the rows have by then.  Returning True stops the fit, and any other answer is ignored.  A
        :class:`iconlearn.Checkpoint` among them lets another process go on with a fit that was killed.

    Attributes
    ----------
    embedding_ : ndarray of shape (n_samples, n_components)
        Places of the training rows; equal rows share their mean place, where p reads nothing but features.
    p_, q_, divergence_, mapper_, engine_ : objects
        What was used.
    column_embedding_ : ndarray of shape (n_columns, n_components)
        Places of the columns, where they are not the rows: the other modality, contexts, keys, classes.
    column_mapper_ : torch module
        What gave them.
    vocabulary_ : ndarray of str
        The words that rows (skip-gram) or columns are, if X was lists of tokens.
    loss_ : float
        Mean divergence at the state that is kept (with `terms`: their weighted sum; with a penalty: and that), over
        all rows and all columns, in double precision, whatever the engine: that of batches is another one, whose p
        and q know the batch alone.
    loss_is_estimate_ : bool
        Whether `loss_` is no more than the last that the optimisation has seen (of batches, the mean over the last
        epoch): where p draws views anew at every step, or where "mesh", "sampled" or "minibatch" have more than 2e8
        pairs of rows and columns (14 000 rows).
    entropy_ : float
        Mean entropy of p over the rows, in nats (with `terms`: their weighted sum); found when it is first read.
    cross_entropy_ : float
        ``loss_ + entropy_`` without a penalty: how surprised q is by the pairs of p, where the divergence is KL.
    loss_history_ : ndarray of shape (n_records,)
        True loss of each iteration, exaggerated or not (L-BFGS: at the start of each ten iterations;
        mini-batches: the mean over each epoch).
    loss_phases_ : ndarray of str of shape (n_records,)
        Name of the phase that each of these belongs to.
    loss_parts_ : ndarray of shape (n_records, n_terms)
        The weighted terms it is made of; a penalty is not among them.  One column where the partition engine
        solved all terms together.
    n_iter_ : int
        Iterations done.
    converged_ : bool
        Whether a plateau was reached before `max_iter`.
    stop_reason_ : {"plateau", "max_iter", "callback", "interrupted", "diverged"}
        Why the fit ended.
    timings_ : dict of float
        Seconds of each stage of the fit: "supervision" (p, with its neighbour search), "start",
        "optimisation".
    neighbors_backend_ : str or None
        How the neighbours of p were searched: "exact", "ivf", "pynndescent" or "faiss"; None for a p
        without a search.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them
    image_shape_ : tuple of int, if the rows of X were images

    Notes
    -----
    On Ctrl-C the best state so far is kept on the estimator and KeyboardInterrupt is raised again.

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; van der Maaten
    and Hinton, "Visualizing data using t-SNE", JMLR 2008.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> X, _ = load_iris(return_X_y=True)
    >>> ICONEmbedding(max_iter=50, random_state=0).fit_transform(X).shape
    (150, 2)
    """

    _seeks_rest = False
    _tables_over_processes = True
    # Those that have rows of a table; files of earlier versions do not say.
    _processes = 1
    _free_outputs = True

    def __init__(
        self,
        n_components=2,
        *,
        p="knn",
        q="student",
        divergence="kl",
        mapper="table",
        column_mapper=None,
        debias=0.0,
        engine="auto",
        init="auto",
        max_iter="auto",
        tol=1e-4,
        learning_rate="auto",
        early_exaggeration="auto",
        optimizer="auto",
        warm_start=False,
        terms=None,
        device="auto",
        random_state=None,
        n_jobs=None,
        verbose=0,
        callback=None,
    ):
        self.n_components = n_components
        self.p = p
        self.q = q
        self.divergence = divergence
        self.mapper = mapper
        self.column_mapper = column_mapper
        self.debias = debias
        self.engine = engine
        self.init = init
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.early_exaggeration = early_exaggeration
        self.optimizer = optimizer
        self.warm_start = warm_start
        self.terms = terms
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callback = callback

    @with_callbacks
    def fit(self, X, y=None) -> Self:
        """Find the embedding of X.

        Parameters
        ----------
        X : array-like, sparse matrix, tensor or torch Dataset of shape (n_samples, n_features)
            Square (n_samples, n_samples) where p is precomputed or a graph, or then a networkx graph or a list of
            edges (see :class:`~iconlearn.supervisory.Graph`).  The items of a map-style
            dataset (of a pair, the first part) are read once and flattened, into a temporary file where they hold
            more than 5e7 numbers; for :class:`~iconlearn.supervisory.Cooccurrence` also lists of tokens.  Where a
            component reads images (a module with convolutions, a mapper, views or a p with a shape) also images of
            shape (n_samples, channels, height, width) or (n_samples, height, width, channels), which become flat rows
            in the first of these orders.
        y : array-like of shape (n_samples,) or None, default=None
            Labels, for a p that needs them, such as that of ``terms=[Term("labels")]``; without one it is not looked
            at, since a pipeline hands its y to every step.

        Returns
        -------
        self
        """
        return self._completed(self._fit, X, y, observed=observed(self, X, y))

    def fit_transform(self, X, y=None) -> np.ndarray:
        """Fit and return a copy of ``embedding_``; see :meth:`fit`."""
        return like_input(self.fit(X, y).embedding_.copy(), X)

    @cpu_by_default
    def transform(self, X) -> np.ndarray:
        """Places of new rows in the fitted embedding.

        A mapper maps them.  With a table each row is placed by its own p over the training rows, which
        stay where they are; a row equal to a training row gets that row's place.  No row depends on the
        others in the call.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
            Of shape (n_new, n_samples) where p is precomputed or a graph.  After a fit of tokens lists of tokens, or
            counts with a column for each word of ``vocabulary_``.  Where p pairs groups of features, as in CLIP, the
            group that rows are read off is enough.

        Returns
        -------
        ndarray or tensor of shape (n_new, n_components)
        """
        check_is_fitted(self)
        of_all = not self._parametric and self._processes > 1
        with current().task() if of_all else nullcontext():
            rows, placed = validated_group(self, X, self._features), None
            if rows is None:
                rows, placed = self._new_rows(X), self._rows
            placed = placed or MappedRows(self.q_, self.mapper_, device=self.device)
            return like_input(placed.outputs(rows).astype(rows.dtype, copy=False), X)

    @cpu_by_default
    def transform_columns(self, X) -> np.ndarray:
        """Places of rows as columns of p: their other group of features, or their keys.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
            All features, as in :meth:`fit`, or those of the columns' group alone.

        Returns
        -------
        ndarray or tensor of shape (n_new, n_components)
        """
        check_is_fitted(self)
        if not hasattr(self, "column_mapper_") or declares(self.column_mapper_, "table"):
            raise ValueError(
                f"with p={self.p!r} columns are not mapped from features; use transform, or column_embedding_ "
                f"where there is one"
            )
        rows, placed = validated_group(self, X, self._column_features), None
        if rows is None:
            rows, placed = validated_new(self, X), self._columns
        placed = placed or MappedRows(self.q_, self.column_mapper_, device=self.device)
        return like_input(placed.outputs(rows).astype(rows.dtype, copy=False), X)

    @cpu_by_default
    def classifier(self, descriptions, classes) -> ICONClassifier:
        """A classifier of rows by what describes their classes; it may never have seen a row of them.

        The prototype of a class is the place of its description, or the mean of several: captions where the fit had
        images and captions (CLIP), or, where the columns of p are the rows, a few rows of the class (one-shot).  Rows
        are those of ``transform``.  ``add_classes`` and ``partial_fit`` go on from there.

        Parameters
        ----------
        descriptions : array-like, sparse matrix or tensor of shape (n_descriptions, n_features)
            As :meth:`transform_columns` takes them, or as :meth:`transform` where the columns of p are the rows.
        classes : array-like of shape (n_descriptions,)
            The class that each describes.

        Returns
        -------
        ICONClassifier
            Fitted: ``classes_`` sorted, `q_` and a copy of `mapper_` as they are here, and `loss_` and what else tells
            of the fit as it left them.

        Raises
        ------
        ValueError
            If new rows have no places, since the mapper is a table; if columns are no features; or if `classes` do not
            name one class for each description, and two at least.

        References
        ----------
        Radford et al., "Learning transferable visual models from natural language supervision", ICML 2021; Snell,
        Swersky and Zemel, "Prototypical networks for few-shot learning", NeurIPS 2017.
        """
        check_is_fitted(self)
        if not self._parametric:
            raise ValueError(
                f"classifier maps new rows, and mapper={self.mapper!r} gives every row of the fit a place of its own; "
                f"fit with mapper='linear', 'mlp' or a module"
            )
        apart = hasattr(self, "column_mapper_")
        places = plain(self.transform_columns(descriptions) if apart else self.transform(descriptions))
        left = ("p_", "divergence_", "engine_", "neighbors_backend_", "timings_", "n_iter_", "converged_")
        attributes = {name: getattr(self, name) for name in (*left, "loss_phases_", "_solution")}
        attributes["q_"] = copy.deepcopy(self.q_)
        read = slice(None) if self._features is None else self._features
        attributes["n_features_in_"] = len(range(self.n_features_in_)[read])
        if hasattr(self, "feature_names_in_"):
            attributes["feature_names_in_"] = self.feature_names_in_[read]
        return of_prototypes(
            places, classes, "labels", clone(self.q_, safe=False), copy.deepcopy(self.mapper_), attributes
        )

    @cpu_by_default
    def inverse_transform(self, Z) -> np.ndarray:
        """Rows of features for places of the map, by interpolation between the training rows.

        A place gets the mean of the ten training rows whose places are nearest, weighted by inverse squared
        distance (Shepard's interpolation); the place of a training row gets that row back.  An autoencoder decodes its
        codes instead, to rows as its targets were.

        Parameters
        ----------
        Z : array-like of shape (n_places, n_components)

        Returns
        -------
        ndarray or sparse matrix of shape (n_places, n_features)
            Sparse where the training rows were, unless decoded.
        """
        check_is_fitted(self)
        self._refuse_shards("inverse_transform")
        Z = check_array(plain(Z), dtype=float)
        if declared(self.p_, "pairwise"):
            raise ValueError("inverse_transform needs features, and this fit had a matrix of pairs for X")
        if Z.shape[1] != self.embedding_.shape[1]:
            raise ValueError(
                f"Z has {Z.shape[1]} columns, and the map has {self.embedding_.shape[1]} dimensions"
            )
        if declares(self.mapper_, "decodes"):
            module = answering(self.mapper_, Z.shape[0], self.device)
            return mapped(module, Z, call=module.decode).numpy().astype(self._X.dtype, copy=False)
        if not len(self.embedding_):
            raise ValueError(
                "a slim model has no training rows, between which inverse_transform interpolates; ask the model "
                "that it was made from, or fit mapper='autoencoder', which decodes"
            )
        rows = InterpolatedRows(np.asarray(self.embedding_, dtype=float), self._X)
        return rows.outputs(Z).astype(self._X.dtype, copy=False)

    @_for_mappers_that_sample
    @cpu_by_default
    def sample(self, n_samples=1, *, random_state=None) -> np.ndarray:
        """Rows of features drawn from what a variational autoencoder has learned.

        Codes are drawn from N(0, I) and decoded; the noise of q around a decoded row is left out.

        Parameters
        ----------
        n_samples : int, default=1
        random_state : int, RandomState or None, default=None

        Returns
        -------
        ndarray of shape (n_samples, n_features)
        """
        check_is_fitted(self)
        n_samples = check_number("n_samples", n_samples, low=1, integer=True)
        codes = random_source(random_state).standard_normal((n_samples, self.embedding_.shape[1]))
        return self.inverse_transform(codes)

    @cpu_by_default
    def score(self, X, y=None, sample_weight=None) -> float:
        """Minus the mean divergence of the places of X from one fixed reference.

        The reference p is uniform over 15 neighbours (a fifth of the rows, where that is less) among the rows of X,
        and q is the kernel of the fit with rows that sum to one and a fixed uniform share,
        whatever p and debias were fitted, so that candidates of a search can be compared.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : ignored
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row in the mean; a row of weight zero is only a neighbour of others.

        Returns
        -------
        float
            In nats; at most 0.
        """
        check_is_fitted(self)
        self._refuse_shards("score")
        rows = self._new_rows(X)
        if declared(self.p_, "pairwise"):
            raise ValueError("score needs features; with a precomputed or graph p compare loss_ instead")
        places = np.asarray(self._rows.outputs(rows), dtype=float)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(
                plain(sample_weight), rows, dtype=np.float64, ensure_non_negative=True
            )
            if not sample_weight.any():
                raise ValueError("sample_weight is zero for all rows; score is a mean over those that weigh")
        return reference_score(
            rows, self.q_.outputs(torch.from_numpy(places)), self.q_, self.n_jobs, sample_weight
        )

    @property
    def _n_features_out(self):
        return self.embedding_.shape[1]

    # -- inside ------------------------------------------------------------------------------------

    def _fit(self, X, y):
        self._check_numbers()
        check_number("n_components", self.n_components, low=1, integer=True)
        if isinstance(self.init, str):
            check_choice("init", self.init, ("auto", "coarse", "pca", "spectral", "random"))
        if y is not None and not self._reads_y:
            Progress(type(self).__name__, self.verbose, 0).stage(
                f"y is not read, since p={self.p!r:.60} needs no labels; terms=[Term('labels')] would read it"
            )
        last_words = getattr(self, "vocabulary_", None)
        X, y = validated(self, *self._counted_words(X, y), pairwise=self._pairwise, read_y=self._reads_y)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        network = old if old is not None and self._parametric else None
        plan = self._plan(X, y, self.n_components, start=network)
        method = self._method(plan)
        self._check_shards(plan, method)
        exaggeration, coarse = self._exaggeration(plan), False
        if (network is not None and same_shapes(network, plan.mapper)) or (
            old is not None and network is None and self._put_last_places(plan, y, last_words)
        ):
            exaggeration = 1.0
        else:
            coarse = self._starts_coarsely(plan, method)
            seconds = expected_start(plan.X.shape, self.n_components) if coarse else 0.0
            unknown = not isinstance(self.init, str) or self.init == "spectral"
            expected = None if unknown or declared(plan.p, "expected_seconds")(plan.X) is None else seconds
            self._started(plan, lambda: self._put_start(plan, y, method, coarse), expected)
            self._share_state(plan.objective, plan.group)
            if coarse and self.early_exaggeration == "auto":
                exaggeration = min(exaggeration, COARSE_EXAGGERATION)
        after_step = _centred(plan) if method == "momentum" and plan.q.geometry == "sqdist" else None
        phases = self._phases(plan, method, exaggeration, coarse)
        patience = 5 if plan.engine.stochastic else 50
        solution = self._optimise(plan, method, phases, after_step=after_step, patience=patience)
        self._warn_at_max_iter(plan, method, solution)
        known = KnownRows(X)
        if not plan.parametric:
            share_places(plan.mapper, known, row_identity(plan.p)["by_features"])
        self._keep(plan, solution)
        self._X, self._known, self._processes = X, known, 1 if plan.parametric else plan.group.size
        if plan.parametric:
            self.embedding_ = self._rows.outputs(X).astype(X.dtype, copy=False)
        else:
            places = plan.mapper.places.detach().double()
            self._places = places.numpy()
            self.embedding_ = self.q_.represent(places).numpy().astype(X.dtype)
        self._keep_columns(plan, X)
        plan.keeper.done(solution)
        return solution

    def _counted_words(self, X, y):
        """Lists of tokens as what their p counts; anything else as it is."""
        vars(self).pop("vocabulary_", None)
        prepare = declared(self._resolved("p"), "prepare")
        sentences = None if prepare is None else sentences_of(X)
        if sentences is None:
            if holds_words(X):
                raise ValueError(
                    f"X holds whole texts ({next(iter(X))!r:.40}, ...), and p={self.p!r} does not read them: "
                    f"split them, as in [text.split() for text in X], and count words by p='cooccurrence'"
                )
            return X, y
        X, y, self.vocabulary_ = prepare(sentences)
        return X, y

    def _new_rows(self, X):
        """New rows as checked; words are none, since what stands for a word was counted in the fit."""
        if not hasattr(self, "vocabulary_"):
            return validated_new(self, X)
        sentences = sentences_of(X)
        if sentences is None and holds_words(X):
            raise ValueError(
                f"X holds single words or whole texts ({next(iter(X))!r:.40}, ...), and new rows are sentences, as "
                f"lists of words, or counts over the {len(self.vocabulary_)} words of vocabulary_; vectors of the "
                f"words themselves are iconlearn.words.word_vectors(model)"
            )
        if sentences is None:
            return validated_new(self, X)
        rows_of = declared(self.p_, "rows_of") or bags_of
        return validated_new(self, rows_of(sentences, self.vocabulary_))

    def _sized_p(self, n_rows, n_groups, n_outputs):
        p = super()._sized_p(n_rows, n_groups, n_outputs)
        if isinstance(self.p, str) and self.p == "knn":
            p.mutual_weight = mutual_weight_by_default(n_rows)
        return p

    def _exaggeration(self, plan):
        if self.early_exaggeration != "auto":
            return check_number("early_exaggeration", self.early_exaggeration, low=0, closed="neither")
        unhindered = plan.parametric or plan.engine.stochastic or self._draws_with_room(plan)
        if unhindered or not plan.q.heavy_tailed or plan.problem.p.listed:
            return 1.0
        # A p that spreads over much of the data, pulled harder than the rest pushes, shrinks the map to a point.
        p = plan.problem.p
        return float(np.clip(0.5 * p.n_candidates / np.exp(plan.problem.entropy()), 1.0, EXAGGERATION))

    def _draws_with_room(self, plan):
        """Whether the places of a map have room to pass each other, and row sums are estimated from drawn columns."""
        return plan.engine.draws_columns and self.n_components > NARROW

    def _method(self, plan):
        if self.optimizer != "auto":
            return self.optimizer
        if plan.engine.stochastic:
            return "adam"
        if not plan.parametric:
            # A kernel without a width has slopes of any size, on which a common length of step founders.
            # Lists pull and push few rows at a time, without a sum over all to hold them.  In a hyperbolic space a turn
            # by the same angle is a longer way the further out a place is.
            uneven = plan.q.singular or plan.problem.p.listed or plan.q.geometry == "hyperbolic"
            return "adam" if uneven else "momentum"
        return "lbfgs" if declares(plan.mapper, "linear") else "adam"

    def _phases(self, plan, method, exaggeration, coarse):
        n, drawn, by_momentum = plan.problem.p.n_all, plan.engine.draws_columns, method == "momentum"
        able = n >= FEW_ROWS and by_momentum and not plan.engine.stochastic and relocatable(plan.objective)
        exact = able and not drawn
        n_iter = self.max_iter
        if n_iter == "auto":
            large = coarse or n >= (LARGE_DRAWN if drawn else LARGE)
            n_iter = 100 if plan.engine.stochastic else STEPS_OF_LARGE[exact] if large else STEPS

        def rate(factor):
            if by_momentum and self.learning_rate == "auto":
                return n / (factor * (SHORTER if self._draws_with_room(plan) else 1.0))
            return adam_rate(plan, self.learning_rate)

        first = min(MOST_EARLY, n_iter // EARLY) if exaggeration != 1 and by_momentum else 0
        phases = [Phase(first, rate(exaggeration), 0.5, exaggeration, name="early")] if first else []
        smooth = plan.q.heavy_tailed and len(plan.objective.problems) == 1 and n >= FEW_ROWS
        left, relocates = n_iter - first, able and n_iter >= RELOCATING
        main = Phase(left, rate(1.0), MOMENTUM if smooth else LESSER_MOMENTUM, may_end=exact)
        shares = SETTLING_EXACT if exact else SETTLING if drawn and by_momentum else ()
        settling = [
            Phase(
                round(share * left), factor * main.learning_rate, LESSER_MOMENTUM,
                relocates=relocates and exact, name="settling",
            )
            for share, factor in shares
        ]  # fmt: skip
        main = replace(main, n_iter=left - sum(phase.n_iter for phase in settling))
        if not relocates:
            return [*phases, main, *settling]
        lengths = [min(round(share * main.n_iter), most) for share, most in BEFORE_RELOCATION]
        parts = [
            replace(main, n_iter=length, relocates=k > 0, may_end=False) for k, length in enumerate(lengths)
        ]
        further = n_iter if self.max_iter == "auto" and exact else 0
        last = replace(
            main, n_iter=main.n_iter - sum(lengths), further=further, falling=STILL_FALLING, relocates=True
        )
        return [*phases, *parts, last, *settling]

    def _refuse_shards(self, asked):
        if self._processes > 1:
            raise ValueError(
                f"{asked} sees the training rows of one process, and this map was fitted over {self._processes}, each "
                f"with some of its rows; gather rows and places in one process and fit there, or use transform"
            )

    def _check_shards(self, plan, method):
        """Refuse what a table of places over several processes cannot do."""
        if plan.group.size == 1 or plan.parametric:
            return
        if self.terms:
            raise ValueError(
                "a map over several processes has one term; leave terms out, or fit in one process"
            )
        if plan.engine.solves:
            raise ValueError(
                f"{plan.engine!r} sees the rows of one process; use engine='mesh', or fit in one"
            )
        if method == "lbfgs":
            raise ValueError(
                "optimizer='lbfgs' sees the rows of one process; use optimizer='momentum' or 'adam'"
            )
        if isinstance(self.init, str) and self.init in ("coarse", "spectral"):
            raise ValueError(
                f"init={self.init!r} sees the rows of one process; use init='pca', 'random', or an array with the "
                f"places of this process's rows"
            )
        if self.warm_start and hasattr(self, "mapper_"):
            raise ValueError(
                "warm_start=True looks for rows of the last fit in one process; give their places as init"
            )
        if plan.group.largest(any(hasattr(callback, "keeper") for callback in callbacks(self.callback))):
            raise ValueError(
                "a Checkpoint is not written of a map over several processes; leave it out of callback"
            )

    # -- where it begins -----------------------------------------------------------------------------

    def _put_last_places(self, plan, y, last_words):
        """Put the rows of the last fit at their places in a table, and new ones beside them; whether there are any."""
        X, pairwise = plan.X, declared(self.p_, "pairwise")
        if plan.parametric or pairwise != self._pairwise or self.embedding_.shape[1] != self.n_components:
            return False
        vocabulary = getattr(self, "vocabulary_", None)
        words = vocabulary if y is None else None  # else rows are bags of words, which are the columns
        if (words is None and not np.array_equal(vocabulary, last_words)) or (
            words is not None and last_words is None
        ):
            return False
        at = known_from(X, self._known, pairwise=pairwise, words=words, last_words=last_words)
        if at is None:
            return False

        def place(rows):
            found = self._rows.outputs(X[rows])
            if self.q_.shared_clusters:
                return np.log(np.maximum(found, 1e-300))
            return self.q_.outputs(torch.from_numpy(np.asarray(found, dtype=float))).numpy()

        reads_features = declared(self.p_, "from_features") and not pairwise
        values = values_from(
            at, self.mapper_.places.detach().double().numpy(), plan.problem, plan.rng,
            place=place if reads_features else None,
        )  # fmt: skip
        if values is not None:
            with torch.no_grad():
                plan.mapper.places.copy_(torch.as_tensor(values))
        return values is not None

    def _starts_coarsely(self, plan, method):
        """Whether the map of a few rows is the start for all."""
        if not isinstance(self.init, str) or self.init not in ("auto", "coarse") or method != "momentum":
            return False
        apart = plan.problem.p.sharded
        able = declared(plan.p, "from_features") and not (
            plan.parametric or self._pairwise or self.terms or apart
        )
        if self.init == "coarse" and not able:
            raise ValueError(
                "init='coarse' starts from the map of some of the rows, which needs a p that is found from features, "
                "mapper='table' and no further terms; use init='pca'"
            )
        large = plan.problem.p.n_all >= LARGE and not plan.q.heavy_tailed
        return able and (self.init == "coarse" or large)

    def _put_start(self, plan, y, method, coarse):
        """Put the start into a table, or the principal axes into a linear mapper."""
        features = None if self._pairwise else plan.X
        init = "pca" if isinstance(self.init, str) and self.init == "auto" else self.init
        if coarse:
            init = coarse_places(self._map_of_few, plan.X, y, plan.problem.p.sparse(), plan.rng, plan.device)
        if plan.features is not None:
            features = features[:, plan.features]
        if plan.parametric:
            if isinstance(init, str) and init == "pca":
                start_at_axes(plan.mapper, features, self.n_components, plan.rng, plan.group)
            return
        # A map of almost no extent is a saddle: momentum leaves it slowly and well, L-BFGS never.
        scale = 1.0 if method == "lbfgs" else SPREAD if plan.q.heavy_tailed else plan.q.start_scale
        if declared(plan.p, "columns") != "rows" and features is None:
            raise ValueError("a p over classes needs a feature matrix X")
        edges = plan.problem.p.sparse
        places = initial_places(
            init,
            features,
            edges,
            self.n_components,
            plan.rng,
            scale=scale,
            device=plan.device,
            group=plan.group,
        )
        with torch.no_grad():
            plan.mapper.places.copy_(torch.as_tensor(places))

    def _map_of_few(self, X, y, seed):
        """Places of the rows of a coarse map, which is made with the parameters of this one."""
        few = clone(self, safe=False).set_params(
            init="auto",
            callback=None,
            verbose=0,
            warm_start=False,
            max_iter=N_ITER if self.max_iter == "auto" else self.max_iter,
            random_state=seed,
        )
        vars(few).pop("_skl_callbacks", None)  # they watch the fit itself
        return few.fit(X, y).mapper_.places.detach().double().numpy()

    # -- rows and columns ----------------------------------------------------------------------------

    @property
    def _rows(self):
        """What gives rows their places."""
        if self._parametric:
            return MappedRows(self.q_, self.mapper_, self._features, self.device)
        if self._processes > 1:
            return ShardRows(
                self._processes, self._known, self.embedding_, self._near,
                lambda places: Placer(self.q_, self.divergence_, places), self._places,
            )  # fmt: skip
        rows = PlacedRows(
            SeenRows(self._known, self.embedding_, **row_identity(self.p_)), self._near, self._placer
        )
        return AllSeenRows(self._known, self.embedding_, rows)

    @property
    def _columns(self):
        """What gives rows their places as columns."""
        return MappedRows(self.q_, self.column_mapper_, self._column_features, self.device)

    def _near(self, X):
        """p of new rows over the training rows."""
        return extended(self.p_, X, n_jobs=self.n_jobs, device=search_device(self))

    def _keep_columns(self, plan, X):
        """Columns that are not the rows: their mapper and their places; and what new rows are placed beside."""
        for name in ("column_embedding_", "column_mapper_", "_anchors"):
            vars(self).pop(name, None)
        columns = plan.problem.columns
        if plan.problem.tied or declared(plan.p, "columns") == "targets":
            self._anchors = None if plan.parametric else self._places
        else:
            self.column_mapper_ = columns.mapper.to("cpu").eval()
            self._column_features = None
            if columns.inputs is None:
                self._anchors = columns.mapper.places.detach().cpu().double().numpy()
                shown = self.q_.represent(torch.from_numpy(self._anchors)).numpy()
            else:
                if plan.p.columns == "features":
                    self._column_features = plan.p.features(X.shape[1])[1]
                shown = self._columns.outputs(X)
            self.column_embedding_ = shown.astype(X.dtype, copy=False)
        self._make_placer()

    def _make_placer(self):
        """A placer sums up all training rows at its first use, so it stays for the next one, and is not stored."""
        self._placer = None
        if not self._parametric:
            self._placer = Placer(self.q_, self.divergence_, self._anchors)

    def _drop_rows(self):
        super()._drop_rows()
        self._X, self._known = self._X[:0].copy(), None
        self.embedding_ = self.embedding_[:0].copy()
        if hasattr(self, "column_mapper_") and not declares(self.column_mapper_, "table"):
            self.column_embedding_ = self.column_embedding_[:0].copy()

    def __getstate__(self):
        return {name: value for name, value in super().__getstate__().items() if name != "_placer"}

    def __setstate__(self, state):
        super().__setstate__(state)
        if "_parametric" in vars(self):
            self._make_placer()


def _centred(plan):
    if not declares(plan.mapper, "table"):
        return None
    places, p, group = plan.mapper.places, plan.problem.p, plan.group

    def recentre():
        with torch.no_grad():
            places.sub_(group.total(places.sum(0)) / p.n_all if p.sharded else places.mean(0))

    return recentre
