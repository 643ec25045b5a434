"""What another model says of the rows: distillation.

p(c|i) ∝ P(c|i)^(1/T) = softmax(z_i / T)_c, where P(.|i) = softmax(z_i) are a teacher's probabilities.
"""

from __future__ import annotations

import copy
import warnings

import numpy as np
from scipy.special import log_softmax
from sklearn.utils import check_array

from ..._checks import check_number
from ...conditional import Conditional, normalize_rows, one_column
from .._base import Supervisory

# How far the probabilities of a row may be from a sum of one, for what was stored in half precision.
ROUNDING = 1e-2


class Predictions(Supervisory):
    """p(c|i) = softmax(z_i / temperature)_c: the probabilities of a teacher, softened.  It needs no y.

    The same p holds a model near its former self, as the KL to the last policy does in reinforcement learning: the
    former model is the teacher of a further term.

    Parameters
    ----------
    teacher : classifier or array-like of shape (n_rows, n_classes)
        A fitted classifier with ``predict_proba``, which reads the rows of X and is left as it is; or the
        probabilities of the rows, columns in the order of the sorted classes.
    temperature : float, default=1.0
        Above 1 it shows how the teacher ranks the classes that it finds unlikely.

    Attributes
    ----------
    conditional_ : Conditional of shape (n_rows, n_classes)

    References
    ----------
    Hinton, Vinyals and Dean, "Distilling the knowledge in a neural network", 2015; Schulman et al., "Trust region
    policy optimization", ICML 2015.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.ensemble import RandomForestClassifier
    >>> from iconlearn import ICONClassifier
    >>> from iconlearn.supervisory import Predictions
    >>> X, y = load_iris(return_X_y=True)
    >>> teacher = RandomForestClassifier(random_state=0).fit(X, y)
    >>> student = ICONClassifier(p=Predictions(teacher), random_state=0).fit(X)
    >>> round(student.score(X, y), 2)
    0.97
    """

    columns = "classes"
    across = "own"

    def __init__(self, teacher, temperature=1.0):
        self.teacher = teacher
        self.temperature = temperature

    def __sklearn_clone__(self):
        # A clone of the teacher would know nothing.
        return type(self)(copy.deepcopy(self.teacher), self.temperature)

    def get_params(self, deep=True):
        """Parameters of this p; those of the teacher, which is fitted, are none of them."""
        return super().get_params(deep=False)

    def fit(self, X, y=None, *, random_state=None, n_jobs=None):
        """Ask the teacher; see :meth:`Supervisory.fit`.  y is not looked at."""
        self.conditional_ = self._softened(self._log_probabilities(X))
        return self

    def targets(self, n_classes):
        """See :meth:`Supervisory.targets`: rows with a label are of that class, whatever the teacher says."""
        return one_column(np.arange(n_classes), n_classes)

    def guess(self, X):
        """The likeliest class of every row, and all classes, sorted.

        Parameters
        ----------
        X : ndarray or sparse matrix of shape (n_rows, n_features)

        Returns
        -------
        labels : ndarray of shape (n_rows,)
        classes : ndarray of shape (n_classes,)
            0 to n_classes - 1 where probabilities were given.
        """
        log_p = self._log_probabilities(X)
        classes = np.arange(log_p.shape[1]) if self._is_array else np.asarray(self.teacher.classes_)
        return classes[log_p.argmax(axis=1)], classes

    def check_classes(self, classes):
        """Raise ValueError where the teacher has other classes than these, which are sorted."""
        if self._is_array:
            n_columns = np.shape(self.teacher)[-1]
            if n_columns != len(classes):
                raise ValueError(
                    f"teacher has {n_columns} columns, and y has {len(classes)} classes ({_listed(classes)}): give "
                    f"one probability for each of them, in that order"
                )
            return
        known = self._fitted_teacher().classes_
        if not np.array_equal(known, classes):
            raise ValueError(
                f"teacher={self.teacher!r:.100} knows the classes {_listed(known)}, and y has {_listed(classes)}: a "
                f"student learns the classes of its teacher; fit one to the same classes, or give the student rows of "
                f"all of them"
            )

    @property
    def _is_array(self):
        return not hasattr(self.teacher, "predict_proba")

    def _log_probabilities(self, X):
        if self._is_array:
            P = self._given(X.shape[0])
            with np.errstate(divide="ignore"):
                return np.log(P)
        ask = getattr(self._fitted_teacher(), "predict_log_proba", None)
        with warnings.catch_warnings():
            # A teacher that was fitted to a table with names gets the same columns without them.
            warnings.filterwarnings("ignore", "X does not have valid feature names")
            # Classes that a teacher rules out have the logarithm -inf.
            warnings.filterwarnings("ignore", "divide by zero", RuntimeWarning)
            if ask is not None:
                return np.asarray(ask(X), dtype=float)
            return np.log(np.asarray(self.teacher.predict_proba(X), dtype=float))

    def _fitted_teacher(self):
        if not hasattr(self.teacher, "classes_"):
            raise ValueError(
                f"teacher={self.teacher!r:.100} is no fitted classifier, without classes_: fit it first"
            )
        return self.teacher

    def _given(self, n_rows):
        if isinstance(self.teacher, (str, type)) or np.ndim(self.teacher) != 2:
            raise TypeError(
                f"teacher={self.teacher!r:.100} must be a fitted classifier with predict_proba, or an array of "
                f"probabilities of shape (n_rows, n_classes)"
            )
        P = check_array(self.teacher, dtype=np.float64, input_name="teacher")
        if len(P) != n_rows:
            raise ValueError(
                f"teacher has probabilities of {len(P)} rows, and X has {n_rows} rows; where rows are held out or "
                f"come later, give the classifier itself"
            )
        sums = P.sum(axis=1)
        if P.min() < 0 or np.abs(sums - 1).max() > ROUNDING:
            raise ValueError(
                f"teacher must hold probabilities, and its rows sum to {sums.min():.3g} to {sums.max():.3g} with a "
                f"least entry of {P.min():.3g}; of logits give scipy.special.softmax(logits, axis=1)"
            )
        return P

    def _softened(self, log_p):
        temperature = check_number(
            "temperature", self.temperature, low=0, closed="neither", hint="1 to 10 are usual"
        )
        return Conditional(normalize_rows(np.exp(log_softmax(log_p / temperature, axis=1))))

    def _extend(self, X_new, n_jobs):
        if self._is_array:
            raise ValueError(
                "Predictions of given probabilities say nothing about new rows; give the classifier itself as teacher"
            )
        return self._softened(self._log_probabilities(X_new))


def _listed(classes):
    shown = ", ".join(map(repr, np.asarray(classes)[:6].tolist()))
    return f"{shown}{', ...' if len(classes) > 6 else ''}"
