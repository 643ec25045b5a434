"""ICONClassifier: rows near the prototype of their class."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import numpy as np
import torch
from scipy import sparse
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin, clone
from sklearn.metrics import accuracy_score
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._checks import check_number
from .._device import cpu_by_default
from .._label_markers import is_auto
from .._randomness import random_source
from .._torch_state import as_array
from ..classification._discriminant import Moments, widened
from ..classification._explanation import TrainingPlaces
from ..classification._held_out import EarlyStopping, HeldOutScore, best_temperature, hold_out
from ..classification._prototypes import averaged, class_means, class_weights, log_similarities, moved_means
from ..classification._ridge import MAX_FEATURES, Ridge
from ..classification._unlabeled import labelled_rows, without_marker
from ..classification._weights import log_odds, row_weights
from ..distributed import check_alike, current
from ..engines import MiniBatch, Partition
from ..initialization._last_fit import known_from, values_from
from ..learned import copy_in_double
from ..mappers import UnitVectors, declares, is_frozen
from ..optim import Phase, copies, put_back
from ..plan import same_shapes
from ..registry import resolve
from ..solve import adam_rate
from ..supervisory import declared, extended
from ._base import ICONBase, for_mappers_of_features
from ._incremental import (
    BATCH,
    RATE,
    ContinuedAdam,
    check_every_class_has_rows,
    check_no_rows_are_held_out,
    check_not_balanced,
    check_same_classes,
    codes_of,
    first_classes,
    new_classes,
    with_a_row_of_every_class,
)
from ._inputs import all_or_nothing, like_input, plain, plain_labels, search_device, validated, validated_new
from ._monitoring import observed, with_callbacks
from ._semi_supervised import (
    Transduction,
    check_every_class_has_weight,
    graph_of,
    in_turns,
    reads_pairs,
    targets_of,
)

# Rows of a step of a network.
NETWORK_BATCH = 200

# Attributes that a later fit may not have.
OF_SOME_FITS = (
    "coef_", "intercept_", "graph_", "transduction_", "label_distributions_", "validation_scores_",
    "best_validation_score_",
)  # fmt: skip


class ICONClassifier(ClassNamePrefixFeaturesOutMixin, ClassifierMixin, TransformerMixin, ICONBase):
    """Classify rows by their nearness (q) to class prototypes.

    With ``p="classes"`` it minimises ``mean_i D(p(.|i) || q(.|i))`` over the classes c, q(c|i) being the
    similarity of the mapped row to the prototype of c; the defaults are multinomial logistic regression.
    With ``p="labels"`` rows of one class are pulled together (supervised contrastive learning) and the
    prototypes are the class means.  Where y leaves rows unlabelled, the classes of all rows are found at once
    from the labels and a graph, by the shared-class kernel of :class:`ICONClustering` with labelled rows held;
    rows that were seen in ``fit`` then have the class found there.

    Parameters
    ----------
    p : str or object, default="classes"
        "classes", "labels", or another p of :mod:`iconlearn.supervisory`, such as
        ``Predictions(teacher)``, or a wrapped one.
    q : str, object or callable, default="dot"
        "dot" (the mapper's outputs are the logits), "gaussian", "student", "inverse_power" (harmonic loss)
        or "cosine" on distances to learned prototypes; or an object of :mod:`iconlearn.learned`.
    divergence : str, object or callable, default="kl"
        As for :class:`ICONEmbedding`.
    mapper : str, object, torch module or callable, default="auto"
        "linear", "mlp", a ``torch.nn.Module`` or a factory; or "table", the classes of the rows themselves, which
        new rows get from their neighbours.  "auto" is "linear" where all rows have labels, and "table" where
        some have none, unless p, q, terms or a graph that does not read the features ask for a mapper.
    graph : str, object or matrix, default="auto"
        With unlabelled rows, or a table: which rows are near which.  "auto" is a Gaussian of the distance to the
        30 nearest rows, of perplexity 10; else "knn", another p of :mod:`iconlearn.supervisory`, or the
        adjacency matrix of the rows of X.
    graph_weight : float, default=10.0
        Weight of the graph over all rows beside that of the graph around labelled rows.
    class_prior : None, "balanced", "labels", dict or array-like of shape (n_classes,), default=None
        Proportions of the classes among all rows, by their names or in the order of ``classes_``, as one more term
        of the loss.  "labels" takes those of the labels, each class counted once more than it has labels: for rows that
        were labelled at random.  None leaves them to the graph, whose classes are drawn to equal sizes where they
        overlap; a warning says where labels contradict that.
    unlabeled : object, default=None
        What marks a row without a label in y, such as -1; NaN stands for all that is missing.  None: every value
        of y is a class, and where -1 is one of at least three a warning says what ``unlabeled=-1`` would
        do.  "auto" is -1 where it is one of at least three values, with a warning that counts.
    C : float or None, default=1.0
        Inverse strength of the penalty ``|W|^2 / (2 C sum of weights)`` on the mapper's weight matrices, as
        in ``LogisticRegression``, and on learned prototypes; intercepts are free.  None switches it off.
    n_components : int or "auto", default="auto"
        Dimensions of the space in which rows meet prototypes; "auto" is the number of classes.  With the
        dot q on classes it is always the number of classes.
    debias : float, default=0.0
        Share of p, in [0, 1), that is spread evenly over all classes: label smoothing.
    engine : str or object, default="auto"
        "dense" (full batch), "minibatch", or "auto": batches of 200 rows for a network over classes, else the
        first that fits.
    max_iter : int or "auto", default="auto"
        Most iterations (epochs for the mini-batch engine); "auto" is 1000, or 100 epochs.  A ConvergenceWarning says
        where it ended L-BFGS, a table, or (a number) other full-batch steps; epochs of mini-batches are counted.
    tol : float, default=1e-6
        Stop when the largest absolute gradient is below it (L-BFGS), or when the loss improves by less than
        this share of it; for batches and views see :class:`ICONEmbedding`.
    learning_rate : float or "auto", default="auto"
        Step size; "auto" is 0.1 for momentum; for Adam 0.01 for a linear mapper and 0.003 for a network.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        "auto" is L-BFGS for a full-batch linear mapper, else Adam.
    class_weight : dict, "balanced" or None, default=None
        Weights of the classes, by which those of the rows are multiplied; "balanced" gives every class the
        same in all.  Means of classes (p over pairs) know of no frequencies: a dict shifts their log
        similarities by the logarithms of the weights as well.
    early_stopping : bool, default=False
        Hold rows out, score every iteration by the mean log probability of their classes, stop when that has
        not grown by more than `tol` for `n_iter_no_change` iterations, and keep the best state.
    n_iter_no_change : int, default=10
        See `early_stopping`.
    calibrate : bool, default=False
        Divide the log similarities by the temperature under which held-out rows are likeliest, so that
        probabilities are as sure as they are right; predictions stay the same.
    validation_fraction : float, default=0.1
        Share of the rows, in (0, 1), drawn evenly from all classes, that `early_stopping` and `calibrate` hold
        out; the same rows serve both.
    warm_start : bool, default=False
        Start from the last fit's weights where the classes are the same and the shapes allow.  The classes of rows
        without a label start with what the same rows had before; rows of a given graph are known by their position
        alone, and a warning is given.
    terms, device, random_state, n_jobs, verbose, callback
        As for :class:`ICONEmbedding`.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    prototypes_ : ndarray of shape (n_classes, n_components)
        Prototypes in the mapped space: learned places; the unit vectors for a dot q on classes; class means
        for a p over pairs.
    coef_, intercept_ : ndarray of shape (n_components, n_features) and (n_components,)
        Of a linear mapper; absent otherwise.  With two classes and the dot q one row, the difference of the
        two logits, as in ``LogisticRegression``.
    temperature_ : float
        What log similarities are divided by in probabilities; 1 without `calibrate`.
    validation_scores_ : list of float
        Score of every iteration, with `early_stopping`.
    best_validation_score_ : float
        The best of them.
    transduction_ : ndarray of shape (n_samples,)
        Class of every training row, where some had none or the mapper is a table.
    label_distributions_ : ndarray of shape (n_samples, n_classes)
        Their probabilities, likewise.
    graph_ : object
        The fitted graph, likewise.
    loss_ : float
        What the fit minimises, at its end: the mean divergence (with `terms`: their weighted sum) plus the penalty
        of `C`; so is every entry of `loss_history_`.  ``loss_parts_`` are without the penalty.
    p_, q_, divergence_, mapper_, engine_, loss_is_estimate_, loss_history_, loss_phases_, loss_parts_, n_iter_, \
            entropy_, cross_entropy_, converged_, stop_reason_
        As for :class:`ICONEmbedding`.  With unlabelled rows and a mapper they are those of the mapper.  Beside a
        table `p_` is the graph, `q_` the kernel of shared classes, and `mapper_` holds the logarithms of
        `label_distributions_`.
    timings_, neighbors_backend_
        As for :class:`ICONEmbedding`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them
    image_shape_ : tuple of int, if the rows of X were images

    References
    ----------
    Alshammari et al., "I-Con: a unifying framework for representation learning", ICLR 2025; Khosla et al.,
    "Supervised contrastive learning", NeurIPS 2020; Baek et al., "Harmonic loss trains interpretable AI
    models", 2025.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> round(ICONClassifier(random_state=0).fit(X, y).score(X, y), 2)
    0.97
    """

    def __init__(
        self,
        *,
        p="classes",
        q="dot",
        divergence="kl",
        mapper="auto",
        graph="auto",
        graph_weight=10.0,
        class_prior=None,
        unlabeled=None,
        C=1.0,
        n_components="auto",
        debias=0.0,
        engine="auto",
        max_iter="auto",
        tol=1e-6,
        learning_rate="auto",
        optimizer="auto",
        class_weight=None,
        early_stopping=False,
        n_iter_no_change=10,
        calibrate=False,
        validation_fraction=0.1,
        warm_start=False,
        terms=None,
        device="auto",
        random_state=None,
        n_jobs=None,
        verbose=0,
        callback=None,
    ):
        self.p = p
        self.q = q
        self.divergence = divergence
        self.mapper = mapper
        self.graph = graph
        self.graph_weight = graph_weight
        self.class_prior = class_prior
        self.unlabeled = unlabeled
        self.C = C
        self.n_components = n_components
        self.debias = debias
        self.engine = engine
        self.max_iter = max_iter
        self.tol = tol
        self.learning_rate = learning_rate
        self.optimizer = optimizer
        self.class_weight = class_weight
        self.early_stopping = early_stopping
        self.n_iter_no_change = n_iter_no_change
        self.calibrate = calibrate
        self.validation_fraction = validation_fraction
        self.warm_start = warm_start
        self.terms = terms
        self.device = device
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose
        self.callback = callback

    @with_callbacks
    def fit(self, X, y=None, sample_weight=None) -> Self:
        """Learn the mapper and the prototypes.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
            Images as for :class:`ICONEmbedding`.
        y : array-like of shape (n_samples,) or None, default=None
            Class of each row; numbers, strings or booleans, and `unlabeled` where it is not known.  None only where p
            is :class:`~iconlearn.supervisory.Predictions`, whose teacher knows the classes.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row.  With unlabelled rows a row weighs as much in the graph, and a label of weight
            zero is no label.

        Returns
        -------
        self
        """
        return self._completed(self._fit, X, y, sample_weight, observed=observed(self, X, y))

    @for_mappers_of_features
    @cpu_by_default
    def partial_fit(self, X, y, classes=None, sample_weight=None) -> Self:
        """Learn from further rows, without the earlier ones.

        With a p over pairs ("labels"), whose prototypes are class means in the learned space, the space stays
        as it is and the means become those of all rows so far; the first call, if there was no fit, is one.
        With ``p="classes"`` one epoch of mini-batch steps (Adam, of the engine's batch size if that is a
        mini-batch engine, else 64 rows) goes on from the present weights; call it for as many epochs as the
        rows are worth.  A dict of `class_weight` weighs rows as in ``fit``.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        classes : array-like of shape (n_classes,) or None, default=None
            All classes that will ever be seen; needed in the first call, unless a fit came before.
        sample_weight : array-like of shape (n_samples,) or None, default=None

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If the first call has no `classes`, if y holds a class that is unknown (see :meth:`add_classes`), or
            if `classes` differ from the known ones; if p, q or mapper was set to one of another kind since the fit;
            for ``class_weight="balanced"``, which needs all rows, and with ``p="classes"`` for `early_stopping` and
            `calibrate`, since no rows are held out.
        """
        check_not_balanced(self.class_weight)
        if (
            self._stepwise()
        ):  # else the first call is a fit and holds rows out, and later ones learn means only
            check_no_rows_are_held_out(early_stopping=self.early_stopping, calibrate=self.calibrate)
        with all_or_nothing(self):
            if hasattr(self, "classes_"):
                self._check_as_fitted()
                # Rows whose classes a fit has found by their neighbours are now like all others.
                self._known = None
                self._learn_further_rows(X, y, classes, sample_weight)
            else:
                self._learn_first_rows(X, y, classes, sample_weight)
        return self

    @for_mappers_of_features
    @cpu_by_default
    def add_classes(self, X, y) -> Self:
        """Take classes that were not there when the classifier was fitted, from a few rows of each.

        Nothing is trained.  The prototype of a new class is the mean of its rows in the learned space.  With the
        dot q on classes and a linear mapper the class gets the weights that linear discriminant analysis would
        give it, scaled to fit the learned ones.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Only classes that are new; rows of known ones go to :meth:`partial_fit`.

        Returns
        -------
        self
        """
        check_is_fitted(self)
        self._check_as_fitted()
        with all_or_nothing(self):
            self._known = None
            self._learn_new_classes(X, y)
        return self

    @cpu_by_default
    def transform(self, X) -> np.ndarray:
        """Rows in the mapped space, shape (n_new, n_components); beside a table their probabilities."""
        check_is_fitted(self)
        if not self._parametric:
            return self.predict_proba(X)
        rows = validated_new(self, X)
        return like_input(self.q_.represent(self._mapped(rows)).numpy().astype(rows.dtype, copy=False), X)

    def predict_proba(self, X) -> np.ndarray:
        """Probability of every class, shape (n_new, n_classes): q over the prototypes."""
        log_q, rows = self._log_q(X)
        return like_input(torch.softmax(log_q, 1).numpy().astype(rows.dtype, copy=False), X)

    def predict_log_proba(self, X) -> np.ndarray:
        """Logarithms of :meth:`predict_proba`, finite also where a probability is too small to be stored."""
        log_q, rows = self._log_q(X)
        # Where a probability is stored as one its logarithm is zero, so that the two methods agree.
        certain = torch.softmax(log_q, 1).numpy().astype(rows.dtype) == 1
        log_p = np.where(certain, 0.0, torch.log_softmax(log_q, 1).numpy())
        return like_input(log_p.astype(rows.dtype, copy=False), X)

    def decision_function(self, X) -> np.ndarray:
        """Log similarity to every prototype, shape (n_new, n_classes), or their difference for two classes."""
        log_q, rows = self._log_q(X)
        scores = log_q.numpy().astype(rows.dtype, copy=False)
        return like_input(scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores, X)

    def predict(self, X) -> np.ndarray:
        """Class of the most similar prototype."""
        best = self._log_q(X)[0].argmax(1).numpy()
        labels = self.classes_[best]
        return like_input(labels, X) if labels.dtype.kind in "iufb" else labels

    def score(self, X, y, sample_weight=None) -> float:
        """Accuracy of :meth:`predict` on the rows whose class is known.

        Rows that y marks as unlabelled say nothing about the answers, and are left out.  The marker is `unlabeled`,
        or -1 where "auto" took it for that in ``fit``.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,) or None, default=None

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If y marks every row.
        """
        predicted, sample_weight = plain(self.predict(X)), as_array(sample_weight)
        y, known = labelled_rows(plain(y), self._marker_of_fit)
        y = plain_labels(y)
        if known is not None:
            check_consistent_length(predicted, known, sample_weight)
            predicted = predicted[known]
            sample_weight = None if sample_weight is None else np.asarray(sample_weight)[known]
        return float(accuracy_score(y, predicted, sample_weight=sample_weight))

    @cpu_by_default
    def explain(self, X, n_neighbors=5):
        """The training rows nearest to each row in the learned space, and their shares of q.

        Shares are those of the estimator's own kernel between rows; for the dot q, whose outputs are logits,
        those of a Gaussian of the same temperature on the logits.  Beyond 100 000 training rows an even sample
        of them stands for all.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_new, n_features)
        n_neighbors : int, default=5
            How many training rows; at most as many as there are.

        Returns
        -------
        Explanation
            (indices, distances, labels, shares), each of shape (n_new, n_neighbors).
        """
        check_is_fitted(self)
        if not self._parametric:
            raise ValueError(
                "explain reads the space of a mapper, and this fit has a table; give mapper='linear' or 'mlp', or see "
                "which training rows graph_.extend(X) gives a row for neighbours"
            )
        n_kept = len(self._kept_rows)
        if n_kept == 0:
            raise ValueError(
                "no training row has a place beside the prototypes: these are of descriptions, the model is slim, or "
                "add_classes gave the logits a new column; fit again to explain predictions by training rows"
            )
        k = check_number("n_neighbors", n_neighbors, low=1, high=n_kept, integer=True)
        Z = self._mapped(validated_new(self, X))
        return self._training_places.explained(self.q_, Z, k, self.classes_, search_device(self))

    @property
    def _n_features_out(self):
        return self.prototypes_.shape[1]

    @property
    def _marker_of_fit(self):
        """What y of the fit marked unlabelled rows by; None: nothing."""
        unlabeled = vars(self).get(
            "_marker", self.unlabeled
        )  # in files without it the parameter is all there is
        return (-1 if self._marked else None) if is_auto(unlabeled) else unlabeled

    # Classes that were found together with those of other rows (a ClassTable), whether "auto" is a table, and whether
    # some rows of fit had no label; for fits before any of them was known.
    _known, _prefers_table, _marked = None, False, False
    # Whether prototypes were learned beside the mapper; None in files that do not say.
    _over_classes = None

    def _answer_parts(self):
        own = {"prototypes": self._columns, "log_odds": self._log_odds, "temperature": self.temperature_}
        return super()._answer_parts() | own

    def _drop_rows(self):
        super()._drop_rows()
        nothing = np.empty(0, dtype=np.intp)
        self._training_places = TrainingPlaces(self._columns[:0].clone(), nothing, nothing, 0)
        self._known, self._moments, self._adam = None, None, None
        for name in ("graph_", "transduction_", "label_distributions_"):
            vars(self).pop(name, None)

    # -- inside ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight):
        guess = declared(self._resolved("p"), "guess") if y is None else None
        if y is None and guess is None:
            raise ValueError("ICONClassifier requires y to be passed, but the target y is None")
        self._check_numbers()
        group = current()
        last_classes, last_table = getattr(self, "classes_", None), self._known
        if guess is None:
            with group.together():
                y, unlabelled = without_marker(plain(y), self.unlabeled)
            X, y = validated(self, X, plain_labels(y), pairwise=self._pairwise)
            with group.together():
                check_classification_targets(y)
            self.classes_ = np.unique(np.concatenate(group.objects(np.unique(y))))
        else:
            unlabelled, (X, _) = None, validated(self, X, pairwise=self._pairwise)
            y, self.classes_ = guess(X)
        self._check_over_processes(group, unlabelled)
        codes = np.searchsorted(self.classes_, y)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_.tolist()[0]!r}; a classifier needs at least two classes"
            )
        self._check_teachers()
        self._marked, self._marker = unlabelled is not None, self.unlabeled
        labelled = slice(None) if unlabelled is None else ~unlabelled
        check_alike(group, "fit", "no sample_weight" if sample_weight is None else "a sample_weight")
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes, labelled)
        self._known, same_classes = None, np.array_equal(last_classes, self.classes_)
        for name in OF_SOME_FITS if same_classes else (*OF_SOME_FITS, "mapper_"):
            vars(self).pop(name, None)
        self._check_columns()
        self._prefers_table = (unlabelled is not None or self._pairwise) and self._suits_table()
        if unlabelled is not None or not self._resolved("mapper").parametric:
            self._check_nothing_is_held_out()
            codes = codes if unlabelled is None else np.where(unlabelled, -1, codes)
            warm = self.warm_start and same_classes
            return self._fit_few_labels(X, codes, weight, last_table if warm else None)
        return self._fit_rows(X, codes, weight)

    def _check_numbers(self):
        super()._check_numbers()
        if self.C is not None:
            check_number("C", self.C, low=0, closed="neither", hint="None switches the penalty off")
        check_number("graph_weight", self.graph_weight, low=0, closed="neither")
        check_number("validation_fraction", self.validation_fraction, low=0, high=1, closed="neither")
        check_number("n_iter_no_change", self.n_iter_no_change, low=1, integer=True)

    def _check_over_processes(self, group, unlabelled):
        """Refuse what a fit over several processes does not know how to do."""
        if group.size == 1:
            return
        if group.largest(unlabelled is not None):
            raise ValueError(
                f"rows without a label (unlabeled={self.unlabeled!r}) get their classes from a graph of all rows, and "
                f"under shards() each process has rows of its own; leave them out, or fit in one process"
            )
        for name in ("early_stopping", "calibrate"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} holds rows of one process out, which says little of those of all; "
                    f"use {name}=False under shards()"
                )

    def _check_columns(self):
        """A classifier has a place for columns that are classes, and for those that are the rows."""
        columns = declared(self._resolved("p"), "columns")
        if columns not in ("classes", "rows"):
            raise ValueError(
                f"p={self.p!r} relates rows to {columns}, and a classifier needs rows beside classes or beside one "
                f"another; use p='classes' or 'labels', or ICONEmbedding for this p"
            )

    def _check_teachers(self):
        """Every p that knows classes by itself has to know those of y."""
        for p in (self._resolved("p"), *(resolve("p", term.p) for term in self.terms or [])):
            check = declared(p, "check_classes")
            if check is not None:
                check(self.classes_)

    def _check_nothing_is_held_out(self):
        for name in ("early_stopping", "calibrate"):
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} holds labelled rows out, and where some rows have no label (or "
                    f"the mapper is a table) all labels are held fast; use {name}=False, or leave the rows without "
                    f"a label out"
                )

    def _resolved(self, slot):
        if slot == "mapper" and isinstance(self.mapper, str) and self.mapper == "auto":
            return resolve("mapper", "table" if self._prefers_table else "linear")
        return super()._resolved(slot)

    @property
    def _pairwise(self):
        return super()._pairwise or reads_pairs(self.graph)

    # -- rows that all have labels -------------------------------------------------------------------

    def _fit_rows(self, X, codes, weight, keeps=True):
        """Learn mapper and prototypes together, from rows that all have labels.

        A fit that is a part of another (not `keeps`) is not saved by itself, and may end at max_iter.
        """
        rng = random_source(self.random_state)
        learn, held = slice(None), None
        if self.early_stopping or self.calibrate:
            learn, held = hold_out(codes, self.validation_fraction, rng)
        rows, of_rows, held_weight = X[learn], codes[learn], None
        if weight is not None:
            weight, held_weight = weight[learn], weight[held] if held is not None else None
        self._weight_sum = float(current().total(len(of_rows) if weight is None else weight.sum()))
        old = getattr(self, "mapper_", None) if self.warm_start else None
        width = self._width(len(self.classes_))
        # What early stopping has seen is not kept, so such a fit begins anew.
        saves = keeps and not self.early_stopping
        plan = self._plan(
            rows, of_rows, width, p=self._p_of_lone_rows(of_rows), mass=weight, start=old, keeps=saves
        )
        self._warm_prototypes(plan, old)
        score = None
        if self.early_stopping:
            inputs = X[held] if plan.features is None else X[held][:, plan.features]
            score = HeldOutScore(
                plan.problem, inputs, codes[held], held_weight, (of_rows, weight),
                self._odds_beside_means(plan.problem), dtype=plan.dtype, device=plan.device,
            )  # fmt: skip
        solution = self._learn(plan, old, score)
        if keeps:
            self._warn_at_max_iter(plan, self._method(plan), solution)
        self._keep(plan, solution)
        self._keep_classes(plan, rows, of_rows, weight, rng)
        if held is not None:
            self._training_places = TrainingPlaces.sampled(self._mapped(X), codes, rng)
        self.temperature_ = 1.0
        if self.calibrate:
            self.temperature_ = best_temperature(self._scores(X[held]), codes[held], held_weight)
        plan.keeper.done(solution)
        return solution

    def _p_of_lone_rows(self, codes):
        """The p of rows that are each alone in their class, among whose mates they count themselves; None for others.

        A mapper that is learned already needs no mates: one row is the mean of its class.
        """
        p = self._resolved("p")
        sizes = current().total(np.bincount(codes, minlength=len(self.classes_)))
        if declared(p, "requires_y") and not self._stepwise() and sizes.max() == 1:
            own = p.get_params() if hasattr(p, "get_params") else {}
            if own.get("self_pairs") is False:
                if not is_frozen(self._resolved("mapper")):
                    raise ValueError(
                        f"every class in y has one row, and with p={self.p!r} a mapper learns from class mates: give "
                        f"two rows of some class, or a mapper that is learned already, as in "
                        f"mapper=encoder.requires_grad_(False)"
                    )
                return clone(p, safe=False).set_params(self_pairs=True)
        return None

    def _learn(self, plan, old, score):
        """Optimise, and stop by the score of the rows held out where there is one."""
        method = self._method(plan)
        cold = old is None or not same_shapes(old, plan.mapper)
        if method == "lbfgs" and cold and self._over_classes_by_dot():
            _set_to_zero(plan.mapper)
        n_iter = (100 if plan.engine.stochastic else 1000) if self.max_iter == "auto" else self.max_iter
        momentum = method == "momentum" and self.learning_rate == "auto"
        phases = [Phase(n_iter, 0.1 if momentum else adam_rate(plan, self.learning_rate))]
        options = {"patience": 10 if plan.engine.stochastic else 50, "grad_tol": self.tol}
        if score is None:
            return self._optimise(plan, method, phases, **options)
        watch = EarlyStopping(score, lambda: plan.objective.state, self.n_iter_no_change, self.tol)
        solution = self._optimise(plan, method, phases, watch=watch, **options)
        watch.restore()
        self.validation_scores_, self.best_validation_score_ = watch.scores, watch.best
        if watch.stopped:
            solution = replace(solution, reason="plateau", converged=True)
        return solution

    def _choose_engine(self, problems):
        """Small batches for a network over classes; all rows at once where L-BFGS or class mates need them."""
        network = not problems[0].tied and not declares(problems[0].rows.mapper, "linear")
        alone = len(problems) == 1 and self.optimizer in ("auto", "adam")
        if network and alone and isinstance(self.engine, str) and self.engine == "auto":
            return MiniBatch(NETWORK_BATCH)
        return super()._choose_engine(problems)

    def _method(self, plan):
        if self.optimizer != "auto":
            return self.optimizer
        linear = declares(plan.mapper, "linear") and not plan.engine.stochastic
        return "lbfgs" if linear else "adam"

    def _width(self, n_classes):
        if self.n_components == "auto" or self._over_classes_by_dot():
            return n_classes
        return check_number("n_components", self.n_components, low=1, integer=True)

    def _over_classes_by_dot(self):
        return self._stepwise() and getattr(self._resolved("q"), "free_dot", False)

    def _prototypes(self, q, n_classes, n_outputs, setting):
        """Class columns: the standard basis where outputs are their logits, else learned places."""
        if q.free_dot and n_classes == n_outputs:
            return UnitVectors(n_classes).to(device=setting.device, dtype=setting.dtype)
        return super()._prototypes(q, n_classes, n_outputs, setting)

    def _warm_prototypes(self, plan, old):
        columns = plan.problem.columns.mapper
        if old is None or columns is plan.mapper or not same_shapes(old, plan.mapper):
            return
        if columns.places.requires_grad and columns.places.shape == self.prototypes_.shape:
            with torch.no_grad():
                columns.places.copy_(torch.as_tensor(self.prototypes_))

    def _penalty(self, problems):
        modules = {id(m): m for problem in problems for m in (problem.rows.mapper, problem.columns.mapper)}
        matrices = [w for m in modules.values() for w in m.parameters() if w.ndim >= 2 and w.requires_grad]
        if self.C is None or not matrices:
            return None
        # Two rows w and -w of a softmax are one row 2 w of a sigmoid, on which LogisticRegression puts C.
        two = len(self.classes_) == 2 and self._over_classes_by_dot()
        scale = (1.0 if two else 0.5) / (self.C * self._weight_sum)
        return Ridge(matrices, scale)

    def _keep_classes(self, plan, X, codes, weight, rng):
        """Prototypes, the coefficients of a linear mapper, and what explanations and new classes need."""
        Z, n_classes, group = self._mapped(X), len(self.classes_), plan.group
        self._log_odds, self._over_classes = self._odds_beside_means(plan.problem), not plan.problem.tied
        if plan.problem.tied:
            self._columns = class_means(averaged(self.q_, Z), codes, weight, n_classes, group)
        else:
            self._columns = plan.problem.columns.mapper.places.detach().cpu()
        self._class_mass = group.total(np.bincount(codes, weights=weight, minlength=n_classes).astype(float))
        self.prototypes_ = self._columns.numpy().astype(X.dtype)
        self._training_places = TrainingPlaces.sampled(Z, codes, rng)
        self._moments = None
        if declares(self.mapper_, "linear"):
            self._keep_coefficients()
            small = not sparse.issparse(X) and X.shape[1] <= MAX_FEATURES
            layer = isinstance(self.mapper_, torch.nn.Linear)
            if small and layer and self._class_mass.all() and self._over_classes_by_dot():
                share = class_weights(codes, weight, n_classes, group).numpy()
                self._moments = Moments.of(X, share, group)

    def _odds_beside_means(self, problem):
        """What class weights add to log similarities to class means; learned prototypes know of them."""
        return log_odds(self.class_weight, self.classes_) if problem.tied else None

    def _keep_coefficients(self):
        matrix, bias = self.mapper_.weight, getattr(self.mapper_, "bias", None)
        bias = torch.zeros(len(matrix)) if bias is None else bias.detach()
        dtype = self.prototypes_.dtype
        coef, intercept = matrix.detach().numpy().astype(dtype), bias.numpy().astype(dtype)
        if len(matrix) == 2 and self._over_classes_by_dot():
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept

    @property
    def _training_places(self):
        return TrainingPlaces(self._kept_places, self._kept_rows, self._kept_codes, self._n_seen)

    @_training_places.setter
    def _training_places(self, kept):
        # By these names they are in files.
        self._kept_places, self._kept_rows, self._kept_codes, self._n_seen = kept

    # -- rows of which some have no label --------------------------------------------------------------

    def _suits_table(self):
        """Whether a free table can hold all that the fit is asked for: classes, KL, and a graph of the features."""
        graph = graph_of(self.graph)
        reads_all = declared(graph, "from_features") or declared(graph, "pairwise")
        return reads_all and self._unsuited_for_table() is None

    def _unsuited_for_table(self):
        """Why a table cannot serve, None if it can."""
        if not self._over_classes_by_dot():
            return f"p={self.p!r} with q={self.q!r} places rows beside prototypes"
        if not self._resolved("divergence").linear_in_log_q:
            return f"divergence={self.divergence!r} is not KL"
        return "there are further terms" if self.terms else None

    def _table_engine(self):
        """The engine of a table of classes."""
        reason = self._unsuited_for_table()
        if reason is not None:
            raise ValueError(
                f"mapper={self.mapper!r} cannot be used here: {reason}; use a mapper that reads features, such as "
                f"'linear' or 'mlp'"
            )
        engine = Partition() if self.engine == "auto" else resolve("engine", self.engine)
        if not hasattr(engine, "graph"):
            raise ValueError(
                f"engine={self.engine!r} cannot solve a table of classes; use engine='auto' or 'partition', or a "
                f"mapper such as 'linear'"
            )
        return clone(engine, safe=False)

    def _fit_few_labels(self, X, codes, weight, last):
        """Find the classes of all rows, and let a mapper of features learn them; codes are -1 without a label.

        `last` is the ClassTable that the fit before has found, for a warm start.
        """
        if weight is not None:
            codes = np.where(weight > 0, codes, -1)
        check_every_class_has_weight(codes, self.classes_)
        self.timings_, n_classes = {}, len(self.classes_)
        parametric = self._resolved("mapper").parametric
        engine = Partition() if parametric else self._table_engine()
        targets = targets_of(self._debiased(clone(resolve("p", self.p), safe=False)), n_classes)
        transduction = Transduction(self, X, codes, weight, targets, engine)
        plan = transduction.plan
        at = None if last is None else known_from(X, last.rows, pairwise=last.pairwise)
        if at is not None:
            transduction.start = values_from(at, last.table, plan.problem, plan.rng, jitter=0.0)
            plan.q.balance_ = last.balance
        if not parametric:
            self._check_engine(engine, plan.objective.problems)
        r, reached, solution = transduction.solve()
        if parametric:

            def learn(codes, weight):
                timings = self.timings_
                solution = self._fit_rows(X, codes, weight, keeps=False)
                for stage, seconds in self.timings_.items():
                    timings[stage] = timings.get(stage, 0.0) + seconds
                self.timings_ = timings
                return solution

            def opinions():
                return np.exp(_log_softmax(self._scores(X)))

            r, solution = in_turns(transduction, r, reached, solution.reason, learn, opinions)
            self._keep_losses(solution)
        else:
            self._warn_at_max_iter(plan, None, solution)
            self._keep(plan, solution, part=transduction.among(reached))
            self.temperature_, self._log_odds = 1.0, None
            self._columns = torch.eye(n_classes, dtype=plan.dtype)
            self.prototypes_ = np.eye(n_classes, dtype=X.dtype)
        self.graph_, self.neighbors_backend_ = plan.p, declared(plan.p, "neighbors_backend_")
        if self.class_prior is None:
            transduction.warn_of_shares(r, reached)
        self.label_distributions_ = r.astype(X.dtype)
        self.transduction_ = self.classes_[r.argmax(axis=1)]
        self._known = transduction.table(r, reached)
        return solution

    # -- further rows and classes ----------------------------------------------------------------------

    def _check_as_fitted(self):
        """Refuse to go on with a p, q or mapper of another kind than those that were fitted."""
        p, q = self._resolved("p"), self._resolved("q")
        if not self._parametric:
            raise self._other(
                "mapper", "one of features, and the fit had a table, which learns no further rows"
            )
        fitted = {True: "classes", False: "rows", None: declared(self.p_, "columns")}[self._over_classes]
        if declared(p, "columns") != fitted:
            raise self._other("p", f"over {declared(p, 'columns')}, and the fit was over {fitted}")
        if type(q) is not type(self.q_):
            raise self._other("q", f"of another kind than that of the fit, {self.q_!r}")

    def _other(self, name, what):
        return ValueError(
            f"{name}={getattr(self, name)!r:.200} was set since the fit and is {what}: fit again, or set {name} back"
        )

    def _stepwise(self):
        """Whether prototypes are learned by gradients: columns are classes."""
        return declared(self._resolved("p"), "columns") == "classes"

    def _learn_first_rows(self, X, y, classes, sample_weight):
        classes = first_classes(classes)
        if not self._stepwise():
            check_every_class_has_rows(y, classes, self.p)
            self.fit(X, y, sample_weight)
            return
        X, y = validated(self, X, y, ensure_min_samples=1)
        self._check_numbers()
        self.classes_ = classes
        self._weight_sum, self.temperature_ = 0.0, 1.0
        self._learn_an_epoch(X, codes_of(y, classes), sample_weight, None)

    def _learn_further_rows(self, X, y, classes, sample_weight):
        check_same_classes(classes, self.classes_)
        X, y = self._further_rows(X, y)
        codes = codes_of(y, self.classes_)
        if self._stepwise():
            self._learn_an_epoch(X, codes, sample_weight, self.mapper_)
            return
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes)
        Z = self._mapped(X)
        self._columns, self._class_mass = moved_means(
            self._columns, self._class_mass, averaged(self.q_, Z), codes, weight, current()
        )
        self.prototypes_ = self._columns.numpy().astype(self.prototypes_.dtype)
        self._training_places = self._training_places.extended(Z, codes)

    def _further_rows(self, X, y):
        X = validated_new(self, X)
        y = column_or_1d(as_array(y))
        check_consistent_length(X, y)
        return X, y

    def _learn_an_epoch(self, X, codes, sample_weight, old):
        """One epoch over some rows, from the present state."""
        n_classes = len(self.classes_)
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes)
        weight = np.ones(len(codes)) if weight is None else weight
        total = float(current().total(weight.sum()))
        if old is not None and total == 0:
            return  # all rows are of classes that weigh nothing
        self._weight_sum += total
        rows, of_rows, mass = with_a_row_of_every_class(X, codes, weight, n_classes)
        width = self._width(n_classes) if old is None else self.prototypes_.shape[1]
        plan = self._plan(rows, of_rows, width, mass=mass, start=old, keeps=False)
        if old is not None and not same_shapes(old, plan.mapper):
            raise self._other("mapper", "of other shapes than the one that was fitted")
        self._warm_prototypes(plan, old)
        if old is not None:
            self._warm_temperature(plan)
        if not plan.engine.stochastic:
            plan.engine = MiniBatch(BATCH)
        adam = ContinuedAdam(getattr(self, "_adam", None) if old is not None else None)
        # The loop ends at the best state that it has evaluated; a stream continues from its last step.
        states = []

        def note():
            states[:] = copies(plan.objective.state)

        rate = RATE if self.learning_rate == "auto" else self.learning_rate
        solution = self._optimise(plan, adam, [Phase(1, rate)], after_step=note)
        put_back(plan.objective.state, states)
        self._adam = adam.state_dict()
        self._keep(plan, solution)
        moments = getattr(self, "_moments", None)
        self._keep_classes(plan, X, codes, weight, random_source(self.random_state))
        # The first rows with all classes say how these lie; a few later ones would say it worse.
        self._moments = self._moments if moments is None else moments

    def _warm_temperature(self, plan):
        """A learned temperature continues from where it was."""
        scale = getattr(plan.q, "log_scale_", None)
        if scale is not None and scale.requires_grad:
            with torch.no_grad():
                scale.copy_(copy_in_double(self.q_).log_scale_)

    def _learn_new_classes(self, X, y):
        X, y = self._further_rows(X, y)
        fresh, codes = new_classes(y, self.classes_)
        n_old = len(self.classes_)
        classes = np.concatenate([self.classes_, fresh])
        order = np.argsort(classes)
        if self._over_classes_by_dot():
            self._add_outputs(X, codes, len(fresh), order)
        else:
            new = class_means(averaged(self.q_, self._mapped(X)), codes, None, len(fresh))
            self._columns = torch.cat([self._columns, new.to(self._columns.dtype)])[torch.as_tensor(order)]
        mass = np.bincount(codes, minlength=len(fresh)).astype(float)
        self._class_mass = np.concatenate([self._class_mass, mass])[order]
        if self._log_odds is not None:
            self._log_odds = np.concatenate([self._log_odds, np.zeros(len(fresh))])[order]
        self.prototypes_ = self._columns.numpy().astype(self.prototypes_.dtype)
        self.classes_, rank = classes[order], np.argsort(order)
        self._kept_codes, self._adam = rank[self._kept_codes], None
        if self._over_classes_by_dot():
            # The logits have a new column, and the rows kept so far no place in it.
            self._kept_rows = self._kept_rows[:0]
        else:
            self._training_places = self._training_places.extended(self._mapped(X), rank[n_old + codes])

    def _add_outputs(self, X, codes, n_new, order):
        """Give the layer of a linear mapper an output for every new class."""
        if self._moments is None or sparse.issparse(X):
            raise ValueError(
                "add_classes with q='dot' needs mapper='linear' on dense rows of at most 2048 features, in a model "
                "that is not slim; with another mapper use q='cosine' or q='gaussian', whose prototypes can be class "
                "means"
            )
        means = class_means(torch.tensor(X), codes, None, n_new).double().numpy()
        self.mapper_ = widened(self.mapper_, self._moments, means, order)
        self._moments = self._moments.joined(means, order)
        self._columns = UnitVectors(len(order)).places.detach().to(self.mapper_.weight.dtype)
        self._keep_coefficients()

    # -- predictions -----------------------------------------------------------------------------------

    @cpu_by_default
    def _log_q(self, X):
        """Log similarities to the prototypes over the temperature, and the rows as checked.

        Rows whose classes were found together with those of others have the probabilities found there.
        """
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._known is None:
            return self._scores(rows), rows
        return torch.from_numpy(self._known.log_q(rows, self._log_q_of_others)), rows

    def _log_q_of_others(self, rows):
        """Log probabilities of rows that are none of the table: by the mapper, or by their neighbours."""
        if self._parametric:
            return _log_softmax(self._scores(rows))
        # From both sides; a p that is no Supervisory may know its own side only.
        p = extended(self.graph_, rows, n_jobs=self.n_jobs, device=search_device(self), both_sides=True)
        return self._known.log_q_near(p)

    def _scores(self, rows):
        """Log similarities by the mapper alone."""
        with torch.no_grad():
            log_k = log_similarities(self.q_, self._mapped(rows), self._columns)
        if self._log_odds is not None:
            log_k = log_k + torch.as_tensor(self._log_odds).to(log_k)
        return log_k / self.temperature_


def of_prototypes(places, classes, p, q, mapper, attributes):
    """A fitted classifier whose prototypes are class means of given places.

    Parameters
    ----------
    places : ndarray of shape (n_places, n_components)
        As q represents them.
    classes : array-like of shape (n_places,)
        The class of each.
    p, q : objects
        Parameters of the estimator.
    mapper : torch.nn.Module
        Of the rows; kept as it is.
    attributes : dict
        Those that another fit has left behind, `q_` among them.

    Returns
    -------
    ICONClassifier

    Raises
    ------
    ValueError
        If there are other than one class a place, or fewer than two.
    """
    classes = plain_labels(classes)
    if np.ndim(classes) != 1 or len(classes) != len(places):
        raise ValueError(
            f"classes has shape {np.shape(classes)}, and there are {len(places)} descriptions: give one for each"
        )
    model = ICONClassifier(p=p, q=q, mapper=mapper, n_components=places.shape[1])
    model.classes_, codes = np.unique(classes, return_inverse=True)
    if len(model.classes_) < 2:
        raise ValueError(f"classes={classes.tolist()!r:.100}: a classifier needs at least two classes")
    n_classes = len(model.classes_)
    vars(model).update(attributes, _parametric=True, _features=None, _over_classes=False)
    model.mapper_, model.temperature_, model._log_odds, model._moments = mapper, 1.0, None, None
    model._columns = class_means(model.q_.outputs(torch.from_numpy(places)), codes, None, n_classes)
    model._class_mass = np.bincount(codes).astype(float)
    model.prototypes_ = model._columns.numpy()
    nothing = np.empty(0, dtype=np.intp)
    model._training_places = TrainingPlaces(model._columns[:0], nothing, nothing, 0)
    return model


def _set_to_zero(module):
    """Start a convex problem from zero, where all classes are alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def _log_softmax(scores):
    return torch.log_softmax(scores.double(), dim=1).numpy()
