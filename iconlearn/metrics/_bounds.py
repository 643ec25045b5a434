"""What a loss or other amounts of information guarantee."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.special import entr

from .._checks import check_choice, check_number


class InformationBound:
    """A callback that turns the loss of each iteration into a bound on mutual information.

    I(i; j) = H(j) - H(j|i) is at least ``H(j) - H(p, q)``, i drawn by the weights of the rows, j by p.  A KL fit's
    loss is H(p, q) - H(p), H(p) the mean entropy of the rows of p, so the bound is ``H(j) - H(p) - loss``.

    Both entropies are read off the fit, unless `n_candidates` is given.

    **Assumption** where it is.  H(j) is at most log N, N the number of candidates, and only where every column is as
    often a neighbour as any other is it log N: for views, given pairs and a doubly stochastic p, but not for
    neighbours, which have hubs.  Without `column_entropy` that is taken for granted.

    Parameters
    ----------
    n_candidates : int or None, default=None
        N: the columns that q is normalised over (those of a batch, where there are batches).  None: read off the fit
        with the first record, as are H(p) and H(j); of batches as means over an epoch.
    entropy : float, default=0.0
        H(p), in nats: log k for k equal neighbours, 0 for one.  Only beside `n_candidates`.
    column_entropy : float or None, default=None
        H(j), in nats, at most log N.  None: log N, see the assumption.  Only beside `n_candidates`.
    then : callable or None, default=None
        A further callback; what it returns is handed on, so that its True stops the fit.

    Attributes
    ----------
    ceiling : float or None
        H(j) - H(p), where the bound ends if q is p: the information itself.  None until it is known.
    history : list of float
        The bound at every iteration.

    References
    ----------
    van den Oord, Li and Vinyals, "Representation learning with contrastive predictive coding", 2018;
    Alshammari et al., "I-Con", ICLR 2025, appendix E.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from iconlearn import ICONEmbedding
    >>> X = load_iris().data
    >>> bound = InformationBound()
    >>> model = ICONEmbedding(p="knn", max_iter=20, callback=bound).fit(X)
    >>> len(bound.history), bool(bound.history[-1] <= bound.ceiling <= np.log(150) - np.log(15))
    (20, True)
    """

    def __init__(self, n_candidates=None, *, entropy=0.0, column_entropy=None, then=None):
        self.n_candidates, self.entropy, self.column_entropy, self.then = None, None, None, then
        self.ceiling, self.history = None, []
        if n_candidates is not None:
            self._take(n_candidates, entropy, column_entropy)
        elif entropy != 0 or column_entropy is not None:
            raise ValueError(
                f"entropy={entropy!r} and column_entropy={column_entropy!r} go with n_candidates, which is None: give "
                f"it too, or leave all three out to have them read off the fit"
            )

    def _take(self, n_candidates, entropy, column_entropy):
        n = check_number("n_candidates", n_candidates, low=2, integer=True)
        high, hint = math.log(n) * (1 + 1e-12), "in nats, at most log N"
        entropy = check_number("entropy", entropy, low=0, high=high, hint=hint)
        if column_entropy is not None:
            column_entropy = check_number("column_entropy", column_entropy, low=0, high=high, hint=hint)
        self.n_candidates, self.entropy, self.column_entropy = n, entropy, column_entropy
        self.ceiling = (math.log(n) if column_entropy is None else column_entropy) - entropy

    @classmethod
    def of(cls, conditional, *, then=None):
        """The bound of a fitted p, with the entropies that it has.

        Parameters
        ----------
        conditional : Conditional or BlockConditional
            ``conditional_`` of a fitted p, all of whose rows and columns every iteration visits.
        then : callable or None, default=None
            As for the class.

        Returns
        -------
        InformationBound
        """
        if conditional.listed:
            raise ValueError(
                "rows of this p have lists of candidates of their own, and the loss over lists bounds no information "
                "between rows and all columns; use a p over all columns, such as Paired() or Views()"
            )
        column = float(entr(conditional.column_mass()).sum())
        return cls(conditional.n_cols, entropy=conditional.mean_entropy(), column_entropy=column, then=then)

    def __call__(self, record):
        if self.ceiling is None:
            self._take(*record.entropies())
        self.history.append(self.ceiling - record.loss)
        return None if self.then is None else self.then(record)


class DownstreamBound(NamedTuple):
    """What estimates of information guarantee for a representation U and a label Z.

    Attributes
    ----------
    bound : float
        I(U; Z) is at least this; negative where nothing is guaranteed.
    vacuous : bool
        Whether it is at or below 0, which information is anyway.
    reason : str
        A sentence that says which.
    """

    bound: float
    vacuous: bool
    reason: str

    def __repr__(self):
        return f"<{self.reason}>"


# What each premise is, in words.
PREMISES = {
    "either": "if one view is made of the other or they are independent given the label",
    "augmented": "if one view is made of the other",
    "independent_given_label": "if the views are independent given the label",
    "none": "",
}


def downstream_bound(
    *, representation, label_view=None, views=None, assume="either", conditional=None
) -> DownstreamBound:
    """What I(U; Y) guarantees for I(U; Z): U a representation of view X, Y another view, Z the label.

    Parameters
    ----------
    representation : float
        I(U; Y): what the representation tells about the other view, for example the bound log N - H(p, q) of
        :class:`InformationBound`.
    label_view : float or None, default=None
        I(Y; Z): what the other view tells about the label.  For "either" and "augmented".
    views : float or None, default=None
        I(X; Y): what the views share.  Views that are independent given the label share no more than
        I(Y; Z); augmentations of one row share much more.  For "either" and "augmented".
    assume : {"either", "augmented", "independent_given_label", "none"}, default="either"
        "augmented": Y is made of X without a look at the label, and the bound is I(U; Y) - max(0, I(X; Y) - I(Y; Z)).
        "independent_given_label": X and Y are, as two rows of a class, and the bound is I(U; Y).  "either": one of
        the two, whichever; the first formula holds for both.  "none": neither, and the bound is I(U; Y) - I(X; Y | Z).
    conditional : float or None, default=None
        I(X; Y | Z), for "none".

    Returns
    -------
    DownstreamBound

    Raises
    ------
    ValueError
        If an amount that the premise needs is missing, or one is given that it does not look at.

    Notes
    -----
    I(U; Z) >= I(U; Y) - I(U; Y | Z), and I(U; Y | Z) <= I(X; Y | Z), since U is made of X: that is "none", and the
    others say what I(X; Y | Z) is.  Where X and Y are independent given the label it is 0.  Where Y is made of X
    without a look at the label it is I(X; Y) - I(Y; Z).

    Each number must err to the safe side: `representation` and `label_view` from below, `views` and `conditional` from
    above.  Without its premise a bound is none: let X show one thing, and Y besides show the label, which X does not;
    then "either" promises what no representation of X can have.

    Longer formulas are in print that do not hold.  I(U; Y) - I(X; Y | Z) + I(Y; Z) - H(Z | X, Y) fails on a quarter of
    random tables, and I(U; Y) - I(X; Y) + I(Y; Z) of views that are independent given the label on two fifths of such:
    a representation that is the same for all rows is promised I(Y; Z) - I(X; Y) there, which is not below 0.

    Examples
    --------
    >>> downstream_bound(representation=1.9, label_view=2.0, views=2.1)
    <the representation tells at least 1.8 nats of the label, if one view is made of the other or they are \
independent given the label>
    >>> downstream_bound(representation=4.0, label_view=2.0, views=7.0).vacuous
    True
    >>> downstream_bound(representation=1.9, assume="independent_given_label").bound
    1.9
    """
    check_choice("assume", assume, PREMISES)
    given = {"label_view": label_view, "views": views, "conditional": conditional}
    needed = {"none": ("conditional",), "independent_given_label": ()}.get(assume, ("label_view", "views"))
    for name, value in given.items():
        if (value is None) == (name in needed):
            what = "is needed" if value is None else "is not looked at"
            raise ValueError(
                f"{name}={value!r} {what} with assume={assume!r}: it takes {', '.join(needed) or 'none'}"
            )
    representation = _amount("representation", representation)
    amounts = {name: _amount(name, given[name]) for name in needed}
    if assume == "none":
        lost, shared = (
            amounts["conditional"],
            f"the views share {amounts['conditional']:.3g} nats beyond the label",
        )
    elif needed:
        lost = max(0.0, amounts["views"] - amounts["label_view"])
        shared = f"the views share {amounts['views']:.3g} nats, {lost:.3g} of them beyond the label"
    else:
        lost, shared = 0.0, "the views share the label alone"
    return _said(
        representation - lost, PREMISES[assume], f"{shared}, and the representation has {representation:.3g}"
    )


def multiview_bound(represented, conditional, weights=None, *, reads=None) -> DownstreamBound:
    """What a representation U guarantees for the label Z by what it tells about each of k views.

    Parameters
    ----------
    represented : array-like of shape (k,)
        I(U; X_i) for every view, from below.
    conditional : array-like of shape (k,)
        ``I(X_i; X_-i | Z)``, what a view shares with all the others beyond the label, from above.
    weights : array-like of shape (k,) or None, default=None
        a_i, at least 0 and one in all; None puts all on the view that gives the most.
    reads : array-like of bool of shape (k,) or None, default=None
        Which views U is made of; None: none of them, but of a further one that is among the ``X_-i``.  Such a view
        cannot have a weight: what U tells of it need not be about the label.

    Returns
    -------
    DownstreamBound
        With the bound ``sum_i a_i (I(U; X_i) - I(X_i; X_-i | Z))``.

    Raises
    ------
    ValueError
        If the shapes differ, the weights are no weights, or a view that U reads has one.

    Notes
    -----
    For each view that U does not read, ``I(U; Z) >= I(U; X_i) - I(U; X_i | Z)``, and U is made of the other views, so
    that ``I(U; X_i | Z) <= I(X_i; X_-i | Z)``.  Any mean of such bounds is one, and the largest is the best of them.
    Adding a multiple of what the views tell of the label, as is in print, breaks it: a U that is the same for all rows
    would be promised that multiple.

    Examples
    --------
    >>> multiview_bound([1.5, 0.9], [0.2, 0.1])
    <the representation tells at least 1.3 nats of the label, if it is made of the other views alone>
    """
    told, lost = _amounts("represented", represented), _amounts("conditional", conditional)
    if told.shape != lost.shape:
        raise ValueError(
            f"represented has {len(told)} views and conditional {len(lost)}: they must be as many"
        )
    read = np.zeros(len(told), dtype=bool) if reads is None else np.asarray(reads, dtype=bool)
    if read.shape != told.shape or read.all():
        raise ValueError(
            f"reads={reads!r} must say of each of {len(told)} views whether U reads it, and not of all"
        )
    each = told - lost
    if weights is None:
        bound = float(each[~read].max())
    else:
        weights = _amounts("weights", weights)
        if weights.shape != told.shape or abs(weights.sum() - 1) > 1e-9:
            raise ValueError(f"weights={weights!r} must be one for each of {len(told)} views, and one in all")
        if weights[read].any():
            raise ValueError(
                "a view that the representation reads has a weight: what U tells of it need not be about the label; "
                "give it 0"
            )
        bound = float(weights @ each)
    return _said(bound, "if it is made of the other views alone", "what it tells may all be beyond the label")


def _said(bound, premise, why):
    """A bound on I(U; Z) with its sentence."""
    if bound > 0:
        comma = ", " if premise else ""
        return DownstreamBound(
            bound, False, f"the representation tells at least {bound:.3g} nats of the label{comma}{premise}"
        )
    return DownstreamBound(
        bound, True, f"vacuous: the bound is {bound:.3g}, and information is never below 0; {why}"
    )


def accuracy_range(information, class_entropy, n_classes) -> tuple[float, float]:
    """Between which accuracies the best rule lies that reads the class off a representation U.

    Parameters
    ----------
    information : float
        I(U; Z), in nats.  A lower bound on it gives a valid lower end, an upper bound a valid upper end.
    class_entropy : float
        H(Z), in nats: log n_classes for classes of equal size.
    n_classes : int

    Returns
    -------
    low : float
        1 - H(Z | U) / (2 log 2), and not below one over the classes, which a guess reaches.
    high : float
        By Fano's inequality, H(Z | U) <= h(e) + e log(n_classes - 1) for the least error e.

    Raises
    ------
    ValueError
        If the class entropy is above log n_classes, or the information above it.

    References
    ----------
    Hellman and Raviv, "Probability of error, equivocation, and the Chernoff bound", 1970; Fano, "Transmission of
    information", 1961.

    Examples
    --------
    >>> low, high = accuracy_range(1.74, np.log(10), 10)
    >>> round(low, 3), round(high, 3)
    (0.594, 0.896)
    """
    k = check_number("n_classes", n_classes, low=2, integer=True)
    most = math.log(k) * (1 + 1e-9)
    entropy = check_number(
        "class_entropy", class_entropy, low=0, high=most, hint="in nats, at most log n_classes"
    )
    hint = "in nats, at most the class entropy"
    information = check_number("information", information, low=0, high=entropy * (1 + 1e-9), hint=hint)
    left = max(0.0, entropy - information)
    low = max(1 / k, 1 - left / (2 * math.log(2)))

    def surplus(error):
        return float(entr(error) + entr(1 - error)) + error * math.log(k - 1) - left

    # The right side rises with the error up to (k - 1) / k, where it is log k.
    worst = (k - 1) / k
    error = 0.0 if left == 0 else worst if surplus(worst) <= 0 else brentq(surplus, 0.0, worst, xtol=1e-12)
    return low, 1 - error


def _amount(name, value):
    return check_number(name, value, low=0, hint="an amount of information, in nats")


def _amounts(name, values):
    values = np.array(values, dtype=float)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all() or values.min() < 0:
        raise ValueError(
            f"{name}={values!r} must be a vector of finite numbers of at least 0, one for each view"
        )
    return values
