"""Information during a fit: what the present representation tells about another view, and about the label."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import entr
from sklearn.utils import check_array, check_consistent_length, column_or_1d

from .._checks import check_choice, check_number
from .._torch_state import as_array
from ._bounds import PREMISES, accuracy_range, downstream_bound
from ._information import contrast, mutual_information

# Parts that a probe is learned on all but one of.
FOLDS = 3


class TrackedInformation(NamedTuple):
    """What an :class:`InformationTracker` found at one iteration; X and Y are two views, U of X, Z the label.

    Attributes
    ----------
    iteration : int
    representation : float
        I(U; Y) from below: log N - L by the model's own kernel.
    label : float
        An estimate of I(U; Z), by the nearest rows of the same class; NaN without labels.
    bound : float
        What `representation` guarantees for I(U; Z); vacuous at or below 0.
    accuracy_low : float
        What the bound guarantees for the accuracy of the best rule on U.
    probe : float
        Accuracy of a linear classifier on U, in threefold cross-validation.
    """

    iteration: int
    representation: float
    label: float
    bound: float
    accuracy_low: float
    probe: float


class InformationTracker:
    """A callback that follows, on held-out pairs, how much a representation tells while it is learned.

    Parameters
    ----------
    X : array-like of shape (n, n_features)
        A view of each of n rows that the fit does not see.
    Y : array-like of shape (n, n_features)
        Another view of the same rows, drawn once: pairs that stay the same do not blur what changes.
    labels : array-like of shape (n,) or None, default=None
        Z, the class of each row.
    every : int, default=5
        Iterations (epochs of a fit by batches) from one look to the next; the first and every `every`-th are looked at.
    assume : {"augmented", "independent_given_label"}, default="augmented"
        How the views were made, as for :func:`downstream_bound`: Y by changing X without a look at its label, or by
        taking another row of its class.
    views : float or None, default=None
        I(X; Y), from above, such as :func:`noise_information`; None: log n, which n rows cannot exceed.  Views that
        are independent given the label share no more than H(Z), which is taken where it is less.
    probe : bool, default=True
        Whether to measure the accuracy of a linear classifier.
    then : callable or None, default=None
        A further callback; what it returns is handed on.

    Attributes
    ----------
    history : list of TrackedInformation
    views : float
        I(X; Y) from above.
    label_view : float
        An estimate of I(Y; Z); NaN without labels.
    maximum : float
        min(I(X; Y), I(Y; Z)), as far as these are known: no bound can end above it.

    Notes
    -----
    I(U; Y) is a lower bound, and at most log n.  I(U; Z) and I(Y; Z) are estimates, which in many dimensions err by
    tenths of a nat.  Without labels only I(U; Y) is followed.

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import recipes
    >>> from iconlearn.metrics import InformationTracker
    >>> X, y = load_iris(return_X_y=True)
    >>> noise = np.random.default_rng(0).normal(scale=0.2, size=(2, 75, 4))
    >>> tracker = InformationTracker(X[::2] + noise[0], X[::2] + noise[1], y[::2], every=10)
    >>> fit = recipes.simclr(temperature=0.1, callback=tracker, max_iter=20, random_state=0).fit(X[1::2])
    >>> [record.iteration for record in tracker.history]
    [1, 10, 20]
    """

    def __init__(self, X, Y, labels=None, *, every=5, assume="augmented", views=None, probe=True, then=None):
        self.X, self.Y = (
            check_array(
                as_array(rows),
                dtype=(np.float64, np.float32),
                copy=True,
                ensure_min_samples=2,
                input_name=name,
            )
            for name, rows in (("X", X), ("Y", Y))
        )
        check_consistent_length(self.X, self.Y)
        check_choice("assume", assume, [name for name in PREMISES if name not in ("either", "none")])
        self.every = check_number("every", every, low=1, integer=True)
        most = float(np.log(len(self.X)))
        hint = "an amount of information, in nats"
        self.views = most if views is None else min(most, check_number("views", views, low=0, hint=hint))
        self.assume, self.probe, self.then, self.history = assume, bool(probe), then, []
        self.labels, self.label_view, self.maximum = None, np.nan, self.views
        if labels is not None:
            labels = column_or_1d(as_array(labels))
            check_consistent_length(self.X, labels)
            self.classes, self.labels = np.unique(labels, return_inverse=True)
            if len(self.classes) < 2:
                raise ValueError(
                    "labels hold one class, which carry no information; give rows of at least two"
                )
            self.class_entropy = float(entr(np.bincount(self.labels) / len(labels)).sum())
            if assume == "independent_given_label":
                self.views = min(self.views, self.class_entropy)
            self.label_view = self._about_label(self.Y)
            self.maximum = min(self.views, self.label_view)

    def __call__(self, record):
        if record.iteration == 1 or record.iteration % self.every == 0:
            self.history.append(self._look(record))
        return None if self.then is None else self.then(record)

    def _look(self, record):
        representation = max(0.0, contrast(record.log_kernels(self.X, self.Y)))
        label, bound, low, probe = (np.nan,) * 4
        if self.labels is not None:
            U = np.asarray(record.transform(self.X), dtype=float)
            label = self._about_label(U)
            needed = (
                {"label_view": self.label_view, "views": self.views} if self.assume == "augmented" else {}
            )
            bound = downstream_bound(representation=representation, assume=self.assume, **needed).bound
            told = min(max(bound, 0.0), self.class_entropy)
            low = accuracy_range(told, self.class_entropy, len(self.classes))[0]
            probe = self._probed(U) if self.probe else np.nan
        return TrackedInformation(record.iteration, representation, label, bound, low, probe)

    def _about_label(self, rows):
        """I(rows; Z), of which there is no more than H(Z)."""
        return min(mutual_information(rows, self.labels), self.class_entropy)

    def _probed(self, U):
        """Share of rows classified correctly by a linear classifier that was learned on others."""
        from sklearn.linear_model import LogisticRegression

        U = (U - U.mean(axis=0)) / np.maximum(U.std(axis=0), np.finfo(float).tiny)
        # Rows are dealt class by class, so that every part has its share of each.
        part = np.empty(len(U), dtype=int)
        part[np.argsort(self.labels, kind="stable")] = np.arange(len(U)) % FOLDS
        right = 0
        for fold in range(FOLDS):
            train = part != fold
            model = LogisticRegression(max_iter=1000).fit(U[train], self.labels[train])
            right += int((model.predict(U[~train]) == self.labels[~train]).sum())
        return right / len(U)

    def to_pandas(self):
        """The history as a data frame, one row for each look.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Where pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_pandas needs pandas; install it with: pip install pandas") from error
        return pandas.DataFrame(self.history, columns=TrackedInformation._fields).set_index("iteration")
