"""ICONClassifier: rows near the prototype of their class."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.base import ClassifierMixin, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from .._validation import check_number
from ..mappers import UnitVectors
from ..optim import Phase
from ..registry import resolve
from ._base import ICONBase
from ._io import all_or_nothing, like_input, plain, validated, validated_new
from ._observed import observed, with_callbacks
from ._planning import same_shapes
from ._ridge import Ridge
from ._semisupervised import fit_partly, reads_pairs, suits_table
from ._unlabeled import without_marker

__all__ = ["ICONClassifier"]

# Attributes that a later fit may not have.
OF_SOME_FITS = ("coef_", "intercept_", "graph_", "transduction_", "label_distributions_")


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
    graph : str, object or matrix, default="knn"
        With unlabelled rows, or a table: which rows are near which.  A p of :mod:`iconlearn.supervisory`, as
        for :class:`ICONClustering`, or the adjacency matrix of the rows of X.
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
        "dense" (full batch), "minibatch", or the first that fits.
    max_iter : int or "auto", default="auto"
        Most iterations (epochs for the mini-batch engine); "auto" is 1000, or 100 epochs.
    tol : float, default=1e-6
        Stop when the largest absolute gradient is below it (L-BFGS), or when the loss improves by less than
        this share of it; for batches and views see :class:`ICONEmbedding`.
    learning_rate : float or "auto", default="auto"
        Step size; "auto" is 0.003 for Adam and 0.1 for momentum.
    optimizer : {"auto", "momentum", "adam", "lbfgs"}, default="auto"
        "auto" is L-BFGS for a full-batch linear mapper, else Adam.
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
        graph="knn",
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
        with observed(self, X, y), all_or_nothing(self):
            solution = self._fit(X, y, sample_weight)
        if solution.reason == "interrupted":
            raise KeyboardInterrupt
        return self

    def predict_proba(self, X):
        """Probability of every class, shape (n_new, n_classes): q over the prototypes."""
        log_q, rows = self._log_q(X)
        return like_input(torch.softmax(log_q, 1).numpy().astype(rows.dtype, copy=False), X)

    def predict_log_proba(self, X):
        """Logarithms of :meth:`predict_proba`, finite also where a probability is too small to be stored."""
        log_q, rows = self._log_q(X)
        # Where a probability is stored as one its logarithm is zero, so that the two methods agree.
        certain = torch.softmax(log_q, 1).numpy().astype(rows.dtype) == 1
        log_p = np.where(certain, 0.0, torch.log_softmax(log_q, 1).numpy())
        return like_input(log_p.astype(rows.dtype, copy=False), X)

    def decision_function(self, X):
        """Log similarity to every prototype, shape (n_new, n_classes), or their difference for two classes."""
        log_q, rows = self._log_q(X)
        scores = log_q.numpy().astype(rows.dtype, copy=False)
        return like_input(scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores, X)

    def predict(self, X):
        """Class of the most similar prototype."""
        best = self._log_q(X)[0].argmax(1).numpy()
        labels = self.classes_[best]
        return like_input(labels, X) if labels.dtype.kind in "iufb" else labels

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
        if self.C is not None:
            check_number("C", self.C, low=0, closed="neither", hint="None switches the penalty off")
        check_number("graph_weight", self.graph_weight, low=0, closed="neither")
        y, unlabelled = without_marker(plain(y), self.unlabeled)
        X, y = validated(self, X, y, pairwise=self._pairwise)
        check_classification_targets(y)
        self.classes_, codes = np.unique(y, return_inverse=True)
        n_classes = len(self.classes_)
        if n_classes < 2:
            raise ValueError(
                f"y holds one class only, {self.classes_[0]!r}; a classifier needs at least two classes"
            )
        weight = None if sample_weight is None else _weights(sample_weight, X)
        self._known, last = None, {name: vars(self).pop(name, None) for name in OF_SOME_FITS}
        self._prefers_table = (unlabelled is not None or self._pairwise) and suits_table(self)
        if unlabelled is not None or not self._resolved("mapper").parametric:
            codes = codes if unlabelled is None else np.where(unlabelled, -1, codes)
            return fit_partly(self, X, codes, weight, last["label_distributions_"])
        return self._fit_rows(X, codes, weight)

    def _fit_rows(self, X, codes, weight, keeps=True):
        """Fit the mapper to rows that all have labels; a fit that is a part of another is not kept by itself."""
        self._weight_sum = float(X.shape[0] if weight is None else weight.sum())
        n_classes = len(self.classes_)
        old = getattr(self, "mapper_", None) if self.warm_start else None
        plan = self._plan(X, codes, self._width(n_classes), mass=weight, start=old, keeps=keeps)
        self._warm_prototypes(plan, old)
        method = self._method(plan)
        n_iter = (100 if plan.engine.stochastic else 1000) if self.max_iter == "auto" else self.max_iter
        rate = 0.1 if method == "momentum" else 0.003
        if method == "lbfgs" and old is None and self._over_classes_by_dot():
            _silence(plan.mapper)
        phases = [Phase(n_iter, rate if self.learning_rate == "auto" else self.learning_rate)]
        patience = 10 if plan.engine.stochastic else 50
        solution = self._optimise(plan, method, phases, patience=patience, grad_tol=self.tol)
        self._keep(plan, solution)
        self._finish(plan, X, codes, weight)
        plan.keeper.done(solution)
        return solution

    def _resolved(self, slot):
        if slot == "mapper" and isinstance(self.mapper, str) and self.mapper == "auto":
            return resolve("mapper", "table" if self._prefers_table else "linear")
        return super()._resolved(slot)

    @property
    def _pairwise(self):
        return super()._pairwise or reads_pairs(self.graph)

    def _width(self, n_classes):
        if self.n_components == "auto" or self._over_classes_by_dot():
            return n_classes
        return check_number("n_components", self.n_components, low=1, integer=True)

    def _over_classes_by_dot(self):
        p, q = self._resolved("p"), self._resolved("q")
        return getattr(p, "columns", "rows") == "classes" and getattr(q, "free_dot", False)

    def _prototypes(self, q, n_classes, n_outputs, generator, dtype, device):
        """Class columns: the standard basis where outputs are logits, else learned places."""
        if q.free_dot:
            return UnitVectors(n_classes).to(device=device, dtype=dtype)
        return super()._prototypes(q, n_classes, n_outputs, generator, dtype, device)

    def _penalty(self, problems):
        modules = {id(m): m for problem in problems for m in (problem.rows.mapper, problem.columns.mapper)}
        matrices = [w for m in modules.values() for w in m.parameters() if w.ndim >= 2 and w.requires_grad]
        if self.C is None or not matrices:
            return None
        # Two rows w and -w of a softmax are one row 2 w of a sigmoid, on which LogisticRegression puts C.
        two = len(self.classes_) == 2 and self._over_classes_by_dot()
        scale = (1.0 if two else 0.5) / (self.C * self._weight_sum)
        return Ridge(matrices, scale)

    def _method(self, plan):
        if self.optimizer != "auto":
            return self.optimizer
        linear = hasattr(plan.mapper, "weight") and not plan.engine.stochastic
        return "lbfgs" if linear else "adam"

    def _warm_prototypes(self, plan, old):
        columns = plan.problem.columns.mapper
        if old is None or columns is plan.mapper or not same_shapes(old, plan.mapper):
            return
        if columns.places.requires_grad and columns.places.shape == self.prototypes_.shape:
            with torch.no_grad():
                columns.places.copy_(torch.as_tensor(self.prototypes_))

    def _finish(self, plan, X, codes, weight):
        """Prototypes, and the coefficients of a linear mapper."""
        Z = self._mapped(X)
        if plan.problem.tied:
            self._columns = _class_means(self.q_.represent(Z), codes, weight)
        else:
            self._columns = plan.problem.columns.mapper.places.detach().cpu()
        self.prototypes_ = self._columns.numpy().astype(X.dtype)
        matrix = getattr(self.mapper_, "weight", None)
        if isinstance(matrix, torch.Tensor) and matrix.ndim == 2:
            bias = getattr(self.mapper_, "bias", None)
            bias = torch.zeros(len(matrix)) if bias is None else bias.detach()
            coef, intercept = matrix.detach().numpy().astype(X.dtype), bias.numpy().astype(X.dtype)
            if len(self.classes_) == 2 and self._over_classes_by_dot():
                coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
            self.coef_, self.intercept_ = coef, intercept

    def _log_q(self, X):
        """Log similarities to the prototypes, and the rows as checked."""
        check_is_fitted(self)
        rows = validated_new(self, X)
        if self._known is not None:
            return torch.from_numpy(self._known.log_q(self, rows)), rows
        return self._scores(rows), rows

    def _scores(self, rows):
        """Log similarities to the prototypes by the mapper."""
        with torch.no_grad():
            Z = self._mapped(rows)
            U = self.q_.place(Z)
            V = self.q_.place(self._columns.to(Z.dtype))
            return self.q_.log_kernel(_exact_scalars(self.q_.geometry, U, V))


def _silence(module):
    """Start a convex problem from nought, where all classes are alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()


def _class_means(Z, codes, weight):
    """Weighted mean of each class; the plain mean where no row of a class has any weight."""
    member = torch.nn.functional.one_hot(torch.as_tensor(codes)).to(Z.dtype)
    share = member if weight is None else member * torch.as_tensor(weight).to(Z.dtype)[:, None]
    share = torch.where(share.sum(0) > 0, share, member)
    return (share.T @ Z) / share.sum(0)[:, None]


def _weights(sample_weight, X):
    weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
    if not weight.any():
        raise ValueError("sample_weight is zero for every row; at least one weight must be positive")
    return weight


def _exact_scalars(geometry, U, V):
    """Scalars row by row against few prototypes, without the cancellation of a matrix product."""
    if geometry == "dot":
        return U @ V.T
    return torch.stack([(U - v).square().sum(1) for v in V], 1)
