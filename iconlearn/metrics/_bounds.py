"""What a loss or other amounts of information guarantee."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from scipy.special import entr

from .._checks import check_number

__all__ = ["DownstreamBound", "InformationBound", "downstream_bound"]


class InformationBound:
    """A callback that turns the loss of each iteration into a bound on mutual information.

    I(i; j) = H(j) - H(j|i) is at least ``H(j) - H(p, q)``, i drawn by the weights of the rows, j by p.  A KL fit's
    loss is H(p, q) - H(p), H(p) the mean entropy of the rows of p, so the bound is ``H(j) - H(p) - loss``.

    **Assumption.** H(j) is at most log N, N the number of candidates, and only where every column is as often
    a neighbour as any other is it log N: for views, given pairs and a doubly stochastic p, but not for neighbours,
    which have hubs.  Without `column_entropy` that is taken for granted; :meth:`of` reads it off a fitted p instead.

    Parameters
    ----------
    n_candidates : int
        N: the columns that q is normalised over (those of a batch, where there are batches).
    entropy : float, default=0.0
        H(p), in nats: log k for k equal neighbours, 0 for one.
    column_entropy : float or None, default=None
        H(j), in nats, at most log N.  None: log N, see the assumption.
    then : callable or None, default=None
        A further callback; what it returns is handed on, so that its True stops the fit.

    Attributes
    ----------
    ceiling : float
        H(j) - H(p), where the bound ends if q is p: the information itself.
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
    >>> from iconlearn.supervisory import KNN
    >>> X = load_iris().data
    >>> bound = InformationBound.of(KNN(15).fit(X).conditional_)
    >>> model = ICONEmbedding(p="knn", max_iter=20, callback=bound).fit(X)
    >>> len(bound.history), bool(bound.history[-1] <= bound.ceiling <= np.log(150) - np.log(15))
    (20, True)
    """

    def __init__(self, n_candidates, *, entropy=0.0, column_entropy=None, then=None):
        n = check_number("n_candidates", n_candidates, low=2, integer=True)
        high, hint = math.log(n) * (1 + 1e-12), "in nats, at most log N"
        entropy = check_number("entropy", entropy, low=0, high=high, hint=hint)
        if column_entropy is not None:
            column_entropy = check_number("column_entropy", column_entropy, low=0, high=high, hint=hint)
        self.n_candidates, self.entropy, self.column_entropy, self.then = n, entropy, column_entropy, then
        self.ceiling = (math.log(n) if column_entropy is None else column_entropy) - entropy
        self.history = []

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
        entropy, column = 0.0, np.zeros(conditional.n_cols)
        step = max(1, 2**22 // conditional.n_cols)
        for start in range(0, conditional.n_rows, step):
            rows = np.arange(start, min(start + step, conditional.n_rows))
            p, mass = conditional.full(rows), conditional.row_mass[rows]
            entropy += float(mass @ entr(p).sum(axis=1))
            column += mass @ p
        return cls(conditional.n_cols, entropy=entropy, column_entropy=float(entr(column).sum()), then=then)

    def __call__(self, record):
        self.history.append(self.ceiling - record.loss)
        return None if self.then is None else self.then(record)


class DownstreamBound(NamedTuple):
    """What two estimates of information guarantee for a third.

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


def downstream_bound(*, label_view, views, representation) -> DownstreamBound:
    """I(U; Z) >= I(Y; Z) - max(0, I(X; Y) - I(U; Y)), for a label U, views X and Y, and Z made of X.

    **Assumption.** Y is made of X without a look at the label, or X and Y are independent given the label.  Without
    either it is no bound: where X shows one thing, and Y besides shows the label that X does not, it promises what
    no representation of X can have.

    Parameters
    ----------
    label_view : float
        I(U; Y): what a view tells about the label.
    views : float
        I(X; Y): what the views share.  Views that are independent given the label share no more than
        I(U; Y); augmentations of one row share much more.
    representation : float
        I(Y; Z): what the representation tells about the other view, for example the bound log N - H(p, q) of
        :class:`InformationBound`.

    Returns
    -------
    DownstreamBound

    Notes
    -----
    From I(U; Z) >= I(U; Y) - I(U; Y | Z) and I(U; Y | Z) <= I(X; Y | Z) + I(U; Y | X).  Where Y is made of X
    without a look at the label, I(U; Y | X) is 0 and I(U; Y) <= I(X; Y): the bound is
    I(U; Y) - I(X; Y) + I(Y; Z).  Where X and Y are independent given the label, I(U; Y | X) is
    I(U; Y) - I(X; Y) >= 0 and must be taken off again: what is left is I(Y; Z), not more.  A representation
    that is the same for all rows shows that the longer formula fails there.

    Examples
    --------
    >>> downstream_bound(label_view=2.0, views=2.1, representation=1.9)
    <the representation tells at least 1.8 nats of the label, if one view is made of the other or they are \
independent given the label>
    >>> downstream_bound(label_view=2.0, views=7.0, representation=4.0).vacuous
    True
    """
    label_view, views, representation = (
        check_number(name, value, low=0, hint="an amount of information, in nats")
        for name, value in (("label_view", label_view), ("views", views), ("representation", representation))
    )
    bound = representation - max(0.0, views - label_view)
    if bound > 0:
        return DownstreamBound(
            bound,
            False,
            f"the representation tells at least {bound:.3g} nats of the label, if one view is made of the other or "
            f"they are independent given the label",
        )
    return DownstreamBound(
        bound,
        True,
        f"vacuous: the bound is {bound:.3g}, and information is never below 0; the views share {views:.3g} nats, of "
        f"which the representation keeps {representation:.3g}, so it may have lost all {label_view:.3g} of the label",
    )
