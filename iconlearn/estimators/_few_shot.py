"""New rows and new classes for a classifier that is fitted already.

Where prototypes are class means (p over pairs), new rows move the means and nothing else.  Where they are
learned together with the mapper (p over classes), new rows are an epoch of small steps from where the last
fit, or the last rows, left off.  A new class is the mean of its rows in the learned space; the softmax of a
linear map, which has no prototypes, takes the weights that a discriminant analysis gives the class.
"""

from __future__ import annotations

import copy

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.utils import check_consistent_length, check_random_state, column_or_1d
from sklearn.utils.validation import check_is_fitted

from ..classification._prototypes import class_means
from ..classification._weights import row_weights
from ..learned import copy_in_double
from ..mappers import UnitVectors
from ..optim import OPTIMIZERS, Phase, copies, put_back
from ..registry import resolve
from ._explaining import add_places
from ._inputs import all_or_nothing, validated, validated_new
from ._parametric import for_mappers_of_features

__all__ = ["FewShot"]

# Rows of a step, unless the engine says otherwise, and the length of a step.
BATCH = 64
RATE = 0.01

# What partial_fit cannot do, and what to do instead.
INSTEAD = {
    "early_stopping": "score rows of your own between the calls",
    "calibrate": "the temperature of a fit before stays as it is",
}


class FewShot:
    """Adds :meth:`partial_fit` and :meth:`add_classes` to a classifier."""

    @for_mappers_of_features
    def partial_fit(self, X, y, classes=None, sample_weight=None):
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
            if `classes` differ from the known ones; for ``class_weight="balanced"``, which needs all rows, and with
            ``p="classes"`` for `early_stopping` and `calibrate`, since no rows are held out.
        """
        self._check_suits_a_stream()
        with all_or_nothing(self):
            if not hasattr(self, "classes_"):
                self._begin(X, y, classes, sample_weight)
            else:
                # Rows whose classes a fit has found by their neighbours are now like all others.
                self._known = None
                self._go_on(X, y, classes, sample_weight)
        return self

    @for_mappers_of_features
    def add_classes(self, X, y):
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
        with all_or_nothing(self):
            self._known = None
            self._add(X, y)
        return self

    # -- inside --------------------------------------------------------------------------------------

    def _check_suits_a_stream(self):
        """Refuse what needs more than the rows of one call, rather than leave it out."""
        if isinstance(self.class_weight, str) and self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' needs the rows of all calls of partial_fit at once; give a dict of weights, "
                "such as dict(zip(classes, sklearn.utils.compute_class_weight('balanced', classes=classes, y=y)))"
            )
        if not self._stepwise():
            return  # the first call is a fit and holds rows out, and later ones learn means only
        for name in INSTEAD:
            if getattr(self, name):
                raise ValueError(
                    f"{name}={getattr(self, name)!r} holds rows out, and partial_fit learns from all that it is given; "
                    f"use set_params({name}=False), and {INSTEAD[name]}"
                )

    def _begin(self, X, y, classes, sample_weight):
        if classes is None:
            raise ValueError(
                "classes must be given in the first call of partial_fit: all classes that will ever be seen"
            )
        classes = np.unique(classes)
        if len(classes) < 2:
            raise ValueError(f"classes={classes.tolist()!r}: a classifier needs at least two classes")
        if not self._stepwise():
            missing = np.setdiff1d(classes, np.unique(column_or_1d(y)))
            if len(missing):
                raise ValueError(
                    f"the first rows of partial_fit hold no row of class {missing.tolist()[0]!r}, and with "
                    f"p={self.p!r} a class is the mean of its rows; give rows of every class, or leave it to "
                    f"add_classes"
                )
            self.fit(X, y, sample_weight)
            return
        X, y = validated(self, X, y, ensure_min_samples=1)
        self._check_numbers()
        self.classes_ = classes
        self._weight_sum, self.temperature_ = 0.0, 1.0
        self._step(X, self._codes(y), sample_weight, None)

    def _go_on(self, X, y, classes, sample_weight):
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            raise ValueError(
                f"classes={np.unique(classes).tolist()!r} are not those of the first call or fit, "
                f"{self.classes_.tolist()!r}; new classes are taken by add_classes(X, y)"
            )
        X, y = self._further_rows(X, y)
        codes = self._codes(y)
        if self._stepwise():
            self._step(X, codes, sample_weight, self.mapper_)
            return
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes)
        Z = self._mapped(X)
        share = np.ones(len(codes)) if weight is None else weight
        mass = np.bincount(codes, weights=share, minlength=len(self.classes_))
        present = mass > 0
        if present.any():
            new = class_means(self.q_.represent(Z), codes, weight, len(self.classes_)).nan_to_num()
            part = torch.as_tensor(mass / np.maximum(self._class_mass + mass, np.finfo(float).tiny))
            self._columns = torch.lerp(self._columns, new, part.to(new.dtype)[:, None])
            self._class_mass = self._class_mass + mass
            self.prototypes_ = self._columns.numpy().astype(self.prototypes_.dtype)
        add_places(self, Z, codes)

    def _further_rows(self, X, y):
        X = validated_new(self, X)
        y = column_or_1d(y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y)
        check_consistent_length(X, y)
        return X, y

    def _codes(self, y):
        known = np.isin(y, self.classes_)
        if not known.all():
            raise ValueError(
                f"y holds the class {y[~known].tolist()[0]!r}, which is none of the known ones; a fitted "
                f"classifier takes new classes by add_classes(X, y)"
            )
        return np.searchsorted(self.classes_, y)

    def _stepwise(self):
        """Whether prototypes are learned by gradients."""
        return getattr(self._resolved("p"), "columns", "rows") == "classes"

    def _step(self, X, codes, sample_weight, old):
        """One epoch over some rows, from the present state."""
        n_classes = len(self.classes_)
        weight = row_weights(self.class_weight, sample_weight, X, self.classes_, codes)
        weight = np.ones(len(codes)) if weight is None else weight
        if old is not None and not weight.any():
            return  # all rows are of classes that weigh nothing
        self._weight_sum += float(weight.sum())
        # A row of no weight for every class, so that p has all columns, whichever classes these rows hold.
        every = np.arange(n_classes)
        stack = sparse.vstack if sparse.issparse(X) else np.concatenate
        rows = stack([X, X[np.zeros(n_classes, dtype=int)]])
        rows = sparse.csr_matrix(rows) if sparse.issparse(rows) else rows
        width = self._width(n_classes) if old is None else self.prototypes_.shape[1]
        plan = self._plan(
            rows,
            np.append(codes, every),
            width,
            mass=np.append(weight, np.zeros(n_classes)),
            start=old,
            keeps=False,
        )
        self._warm_prototypes(plan, old)
        if old is not None:
            self._warm_scale(plan)
        if not plan.engine.stochastic:
            plan.engine = clone(resolve("engine", "minibatch")).set_params(batch_size=BATCH)
        rate = RATE if self.learning_rate == "auto" else self.learning_rate
        kept, last = getattr(self, "_adam", None) if old is not None else None, []

        def adam(parameters, phase, **options):
            method = OPTIMIZERS["adam"](parameters, phase, **options)
            if kept is not None:
                # torch would step the tensors that are given, and this call may yet fail.
                method.load_state_dict(copy.deepcopy(kept))
            last.append(method)
            return method

        # The loop ends at the best state that it has evaluated; a stream goes on from its last step.
        states = []

        def note():
            states[:] = copies(plan.objective.state)

        solution = self._optimise(plan, adam, [Phase(1, rate)], after_step=note)
        put_back(plan.objective.state, states)
        self._adam = last[0].state_dict()
        self._keep(plan, solution)
        moments = getattr(self, "_moments", None)
        self._finish(plan, X, codes, weight, check_random_state(self.random_state))
        # The first rows with all classes say how these lie; a few later ones would say it worse.
        self._moments = self._moments if moments is None else moments

    def _warm_scale(self, plan):
        """A learned temperature goes on from where it was."""
        scale = getattr(plan.q, "log_scale_", None)
        if scale is not None and scale.requires_grad:
            with torch.no_grad():
                scale.copy_(copy_in_double(self.q_).log_scale_)

    def _add(self, X, y):
        X, y = self._further_rows(X, y)
        fresh, codes = np.unique(y, return_inverse=True)
        known = np.isin(fresh, self.classes_)
        if known.any():
            raise ValueError(
                f"y holds the class {fresh[known].tolist()[0]!r}, which is known already; its rows go to "
                f"partial_fit(X, y), and add_classes takes new classes only"
            )
        if fresh.dtype.kind in "OUS" and self.classes_.dtype.kind not in "OUS":
            raise ValueError(
                f"y holds {fresh.tolist()[0]!r}, and the known classes are numbers; give the new ones numbers too"
            )
        n_old = len(self.classes_)
        classes = np.concatenate([self.classes_, fresh])
        order = np.argsort(classes)
        if self._over_classes_by_dot():
            self._add_weights(X, codes, len(fresh), order)
        else:
            new = class_means(self.q_.represent(self._mapped(X)), codes, None, len(fresh))
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
            add_places(self, self._mapped(X), rank[n_old + codes])

    def _add_weights(self, X, codes, n_new, order):
        if self._moments is None or sparse.issparse(X):
            raise ValueError(
                "add_classes with q='dot' needs mapper='linear' on dense rows of at most 2048 features; with another "
                "mapper use q='cosine' or q='gaussian', whose prototypes can be class means"
            )
        means = class_means(torch.as_tensor(X), codes, None, n_new).double().numpy()
        layer = self.mapper_
        bias = torch.zeros(len(layer.weight)) if layer.bias is None else layer.bias
        coef, intercept = (t.detach().double().numpy() for t in (layer.weight, bias))
        new, new_intercept = self._moments.weights_for(means, coef, intercept)
        wider = torch.nn.utils.skip_init(
            torch.nn.Linear, coef.shape[1], len(coef) + n_new, dtype=layer.weight.dtype
        )
        with torch.no_grad():
            wider.weight.copy_(torch.as_tensor(np.concatenate([coef, new])[order]))
            wider.bias.copy_(torch.as_tensor(np.concatenate([intercept, new_intercept])[order]))
        self.mapper_ = wider.eval()
        self._moments = self._moments.joined(means, order)
        self._columns = UnitVectors(len(order)).places.detach().to(layer.weight.dtype)
        self._keep_coefficients()
