"""ICONClassifier: rows near the prototype of their class."""

from __future__ import annotations

import numpy as np
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted

from .._checks import check_number
from ..classification._weights import row_weights
from ..registry import resolve
from ._answering import Answering
from ._base import ICONBase
from ._explaining import Explained
from ._few_shot import FewShot
from ._inputs import like_input, plain, plain_labels, validated, validated_new
from ._learning import Learning
from ._monitoring import observed, with_callbacks
from ._semisupervised import fit_partly, reads_pairs, suits_table
from ._unlabeled import without_marker

__all__ = ["ICONClassifier"]

# Attributes that a later fit may not have.
OF_SOME_FITS = (
    "coef_", "intercept_", "graph_", "transduction_", "label_distributions_", "validation_scores_",
    "best_validation_score_",
)  # fmt: skip


class ICONClassifier(
    ClassNamePrefixFeaturesOutMixin,
    Answering,
    ClassifierMixin,
    TransformerMixin,
    Explained,
    FewShot,
    Learning,
    ICONBase,
):
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
        "classes", "labels", or another p of :mod:`iconlearn.supervisory`, for example wrapped.
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
    class_prior : None, "balanced" or array-like of shape (n_classes,), default=None
        Proportions of the classes among all rows, in the order of ``classes_``, as one more term of the loss;
        None leaves them to the data.
    unlabeled : object, default="auto"
        What marks a row without a label in y.  "auto" is -1 where there are at least two other classes, with a
        warning that counts; NaN stands for all that is missing; None marks nothing.
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
        Most iterations (epochs for the mini-batch engine); "auto" is 1000, or 100 epochs.
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
        Start from the last fit's weights where the shapes allow.
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
    p_, q_, divergence_, mapper_, engine_, loss_, loss_history_, loss_phases_, loss_parts_, n_iter_, converged_
        As for :class:`ICONEmbedding`.  With unlabelled rows and a mapper the losses are those of the mapper.
    timings_, neighbors_backend_
        As for :class:`ICONEmbedding`.
    n_features_in_ : int
    feature_names_in_ : ndarray of str, if X had them

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
        unlabeled="auto",
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
    def fit(self, X, y, sample_weight=None):
        """Learn the mapper and the prototypes.

        Parameters
        ----------
        X : array-like, sparse matrix or tensor of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
            Class of each row; numbers, strings or booleans, and `unlabeled` where it is not known.
        sample_weight : array-like of shape (n_samples,) or None, default=None
            Weight of each row.  With unlabelled rows a row weighs as much in the graph, and a label of weight
            zero is no label.

        Returns
        -------
        self
        """
        return self._completed(self._fit, X, y, sample_weight, observed=observed(self, X, y))

    def transform(self, X):
        """Rows in the mapped space, shape (n_new, n_components); beside a table their probabilities."""
        check_is_fitted(self)
        if not self._parametric:
            return self.predict_proba(X)
        rows = validated_new(self, X)
        return like_input(self.q_.represent(self._mapped(rows)).numpy().astype(rows.dtype, copy=False), X)

    @property
    def _n_features_out(self):
        return self.prototypes_.shape[1]

    # -- inside ------------------------------------------------------------------------------------

    def _fit(self, X, y, sample_weight):
        if y is None:
            raise ValueError("ICONClassifier requires y to be passed, but the target y is None")
        self._check_numbers()
        y, unlabelled = without_marker(plain(y), self.unlabeled)
        X, y = validated(self, X, plain_labels(y), pairwise=self._pairwise)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_.tolist()[0]!r}; a classifier needs at least two classes"
            )
        self._marked = unlabelled is not None
        labelled = slice(None) if unlabelled is None else ~unlabelled
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes, labelled)
        self._known, last = None, {name: vars(self).pop(name, None) for name in OF_SOME_FITS}
        self._check_columns()
        self._prefers_table = (unlabelled is not None or self._pairwise) and suits_table(self)
        if unlabelled is not None or not self._resolved("mapper").parametric:
            self._check_nothing_is_held_out()
            codes = codes if unlabelled is None else np.where(unlabelled, -1, codes)
            return fit_partly(self, X, codes, weight, last["label_distributions_"])
        return self._fit_rows(X, codes, weight)

    def _check_numbers(self):
        super()._check_numbers()
        if self.C is not None:
            check_number("C", self.C, low=0, closed="neither", hint="None switches the penalty off")
        check_number("graph_weight", self.graph_weight, low=0, closed="neither")
        check_number("validation_fraction", self.validation_fraction, low=0, high=1, closed="neither")
        check_number("n_iter_no_change", self.n_iter_no_change, low=1, integer=True)

    def _check_columns(self):
        """A classifier has a place for columns that are classes, and for those that are the rows."""
        columns = getattr(self._resolved("p"), "columns", "rows")
        if columns not in ("classes", "rows"):
            raise ValueError(
                f"p={self.p!r} relates rows to {columns}, and a classifier needs rows beside classes or beside one "
                f"another; use p='classes' or 'labels', or ICONEmbedding for this p"
            )

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
