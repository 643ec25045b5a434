"""Further rows and further classes for a classifier that is fitted already: what they are checked for, and their step.

Where prototypes are class means (p over pairs), new rows move the means and nothing else.  Where they are
learned together with the mapper (p over classes), new rows are an epoch of small steps from where the last
fit, or the last rows, left off.  A new class is the mean of its rows in the learned space; the softmax of a
linear map, which has no prototypes, takes the weights that a discriminant analysis gives the class.
"""

from __future__ import annotations

import copy

import numpy as np
from scipy import sparse
from sklearn.utils import column_or_1d

from .._torch_state import as_array, on_cpu
from ..optim import OPTIMIZERS

# Rows of a step, unless the engine sets them, and the length of a step.
BATCH = 64
RATE = 0.01

# What partial_fit cannot do, and what to do instead.
INSTEAD = {
    "early_stopping": "score rows of your own between the calls",
    "calibrate": "the temperature of a fit before stays as it is",
}


def check_not_balanced(class_weight):
    """Refuse weights that need more than the rows of one call."""
    if isinstance(class_weight, str) and class_weight == "balanced":
        raise ValueError(
            "class_weight='balanced' needs the rows of all calls of partial_fit at once; give a dict of weights, "
            "such as dict(zip(classes, sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))"
        )


def check_no_rows_are_held_out(**options):
    """Refuse the options of a fit that an epoch over all given rows cannot have, rather than ignore them."""
    for name, value in options.items():
        if value:
            raise ValueError(
                f"{name}={value!r} holds rows out, and partial_fit learns from all that it is given; "
                f"use set_params({name}=False), and {INSTEAD[name]}"
            )


def first_classes(classes):
    """The classes of a first call, sorted."""
    if classes is None:
        raise ValueError(
            "classes must be given in the first call of partial_fit: all classes that will ever be seen"
        )
    classes = np.unique(as_array(classes))
    if len(classes) < 2:
        raise ValueError(f"classes={classes.tolist()!r}: a classifier needs at least two classes")
    return classes


def check_every_class_has_rows(y, classes, p):
    """Refuse first rows without one of some class, where a class is the mean of its rows."""
    missing = np.setdiff1d(classes, np.unique(column_or_1d(as_array(y))))
    if len(missing):
        raise ValueError(
            f"the first rows of partial_fit hold no row of class {missing.tolist()[0]!r}, and with "
            f"p={p!r} a class is the mean of its rows; give rows of every class, or leave it to "
            f"add_classes"
        )


def check_same_classes(classes, known):
    """Refuse other classes than those of the first call; None stands for them."""
    classes = None if classes is None else np.unique(as_array(classes))
    if classes is not None and not np.array_equal(classes, known):
        raise ValueError(
            f"classes={classes.tolist()!r} are not those of the first call or fit, "
            f"{known.tolist()!r}; new classes are taken by add_classes(X, y)"
        )


def codes_of(y, classes):
    """The place of every label among the classes."""
    known = np.isin(y, classes)
    if not known.all():
        raise ValueError(
            f"y holds the class {y[~known].tolist()[0]!r}, which is none of the known ones; a fitted "
            f"classifier takes new classes by add_classes(X, y)"
        )
    return np.searchsorted(classes, y)


def new_classes(y, classes):
    """Classes that are not among the known ones, sorted, and the place of every label among them."""
    fresh, codes = np.unique(y, return_inverse=True)
    known = np.isin(fresh, classes)
    if known.any():
        raise ValueError(
            f"y holds the class {fresh[known].tolist()[0]!r}, which is known already; its rows go to "
            f"partial_fit(X, y), and add_classes takes new classes only"
        )
    if fresh.dtype.kind in "OUS" and classes.dtype.kind not in "OUS":
        raise ValueError(
            f"y holds {fresh.tolist()[0]!r}, and the known classes are numbers; give the new ones numbers too"
        )
    return fresh, codes


def with_a_row_of_every_class(X, codes, weight, n_classes):
    """Rows, codes and weights with a row of no weight for every class behind them.

    So p has all columns, whichever classes these rows hold.
    """
    stack = sparse.vstack if sparse.issparse(X) else np.concatenate
    rows = stack([X, X[np.zeros(n_classes, dtype=int)]])
    rows = sparse.csr_matrix(rows) if sparse.issparse(rows) else rows
    return rows, np.append(codes, np.arange(n_classes)), np.append(weight, np.zeros(n_classes))


class ContinuedAdam:
    """Adam whose running means are those of an earlier call; an optimiser of :func:`iconlearn.optim.minimise`.

    Parameters
    ----------
    begun : dict or None
        :meth:`state_dict` of that call; None begins anew.
    """

    def __init__(self, begun):
        self.begun, self.method = begun, None

    def __repr__(self):
        return "adam"

    def __call__(self, parameters, phase, **options):
        self.method = OPTIMIZERS["adam"](parameters, phase, **options)
        if self.begun is not None:
            # torch would step the tensors that are given, and this call may yet fail.
            self.method.load_state_dict(copy.deepcopy(self.begun))
        return self.method

    def state_dict(self):
        """The running means after the last step, on the CPU."""
        return on_cpu(self.method.state_dict())
