"""A classifier whose rows all have labels: its mapper and its prototypes are learned together.

The linear softmax is solved by L-BFGS, networks by Adam in small batches; rows may be held out to stop early or to
fit a temperature.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import sparse
from sklearn.utils import check_random_state

from .._checks import check_number
from ..classification._discriminant import Moments
from ..classification._prototypes import class_means, class_weights, log_similarities
from ..classification._ridge import MAX_FEATURES, Ridge
from ..classification._weights import log_odds
from ..engines import MiniBatch
from ..mappers import UnitVectors, declares
from ..optim import Phase
from ..plan import same_shapes
from ..solve import adam_rate
from ._explaining import keep_places
from ._held_out import EarlyStopping, Judge, best_temperature, hold_out

__all__ = ["Learning"]

# Rows of a step of a network.
NETWORK_BATCH = 200


class Learning:
    """Adds the fit of a mapper and prototypes to a classifier."""

    def _fit_rows(self, X, codes, weight, keeps=True):
        """Fit the mapper to rows that all have labels; a fit that is a part of another is not kept by itself."""
        rng = check_random_state(self.random_state)
        learn, held = slice(None), None
        if self.early_stopping or self.calibrate:
            learn, held = hold_out(codes, self.validation_fraction, rng)
        rows, of_rows, held_weight = X[learn], codes[learn], None
        if weight is not None:
            weight, held_weight = weight[learn], weight[held] if held is not None else None
        self._weight_sum = float(len(of_rows) if weight is None else weight.sum())
        old = getattr(self, "mapper_", None) if self.warm_start else None
        # What early stopping has seen is not kept, so such a fit begins anew.
        keeps = keeps and not self.early_stopping
        width = self._width(len(self.classes_))
        plan = self._plan(rows, of_rows, width, mass=weight, start=old, keeps=keeps)
        self._warm_prototypes(plan, old)
        judge = None
        if self.early_stopping:
            judge = Judge(plan, X[held], codes[held], of_rows, held_weight, weight)
        solution = self._learn(plan, old, judge)
        self._keep(plan, solution)
        self._finish(plan, rows, of_rows, weight, rng)
        if held is not None:
            keep_places(self, self._mapped(X), codes, rng)
        self.temperature_ = 1.0
        if self.calibrate:
            log_k = log_similarities(self.q_, self._mapped(X[held]), self._columns)
            self.temperature_ = best_temperature(log_k, codes[held], held_weight)
        plan.keeper.done(solution)
        return solution

    def _learn(self, plan, old, judge):
        """Optimise, with an eye on the rows held out where there is a judge of them."""
        method = self._method(plan)
        cold = old is None or not same_shapes(old, plan.mapper)
        if method == "lbfgs" and cold and self._over_classes_by_dot():
            _silence(plan.mapper)
        n_iter = (100 if plan.engine.stochastic else 1000) if self.max_iter == "auto" else self.max_iter
        momentum = method == "momentum" and self.learning_rate == "auto"
        phases = [Phase(n_iter, 0.1 if momentum else adam_rate(plan, self.learning_rate))]
        options = {"patience": 10 if plan.engine.stochastic else 50, "grad_tol": self.tol}
        if judge is None:
            return self._optimise(plan, method, phases, **options)
        watch = EarlyStopping(judge, lambda: plan.objective.state, self.n_iter_no_change, self.tol)
        solution = self._optimise(plan, method, phases, watch=watch, **options)
        watch.restore()
        self.validation_scores_, self.best_validation_score_ = watch.scores, watch.best
        if watch.stopped:
            solution = replace(solution, reason="plateau", converged=True)
        return solution

    def _choose_engine(self, problems):
        """Small batches for a network over classes; all rows at once where L-BFGS or class mates want them."""
        network = not problems[0].tied and not declares(problems[0].rows.mapper, "linear")
        alone = len(problems) == 1 and self.optimizer in ("auto", "adam")
        if network and alone and isinstance(self.engine, str) and self.engine == "auto":
            return MiniBatch(NETWORK_BATCH)
        return super()._choose_engine(problems)

    def _width(self, n_classes):
        if self.n_components == "auto" or self._over_classes_by_dot():
            return n_classes
        return check_number("n_components", self.n_components, low=1, integer=True)

    def _over_classes_by_dot(self):
        p, q = self._resolved("p"), self._resolved("q")
        return getattr(p, "columns", "rows") == "classes" and getattr(q, "free_dot", False)

    def _prototypes(self, q, n_classes, n_outputs, setting):
        """Class columns: the standard basis where outputs are their logits, else learned places."""
        if q.free_dot and n_classes == n_outputs:
            return UnitVectors(n_classes).to(device=setting.device, dtype=setting.dtype)
        return super()._prototypes(q, n_classes, n_outputs, setting)

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
        linear = declares(plan.mapper, "linear") and not plan.engine.stochastic
        return "lbfgs" if linear else "adam"

    def _warm_prototypes(self, plan, old):
        columns = plan.problem.columns.mapper
        if old is None or columns is plan.mapper or not same_shapes(old, plan.mapper):
            return
        if columns.places.requires_grad and columns.places.shape == self.prototypes_.shape:
            with torch.no_grad():
                columns.places.copy_(torch.as_tensor(self.prototypes_))

    def _finish(self, plan, X, codes, weight, rng):
        """Prototypes, the coefficients of a linear mapper, and what explanations and new classes need."""
        Z, n_classes = self._mapped(X), len(self.classes_)
        if plan.problem.tied:
            self._columns = class_means(self.q_.represent(Z), codes, weight, n_classes)
            self._log_odds = log_odds(self.class_weight, self.classes_)
        else:
            self._log_odds = None
            self._columns = plan.problem.columns.mapper.places.detach().cpu()
        self._class_mass = np.bincount(codes, weights=weight, minlength=n_classes).astype(float)
        self.prototypes_ = self._columns.numpy().astype(X.dtype)
        keep_places(self, Z, codes, rng)
        self._moments = None
        if declares(self.mapper_, "linear"):
            self._keep_coefficients()
            small = not sparse.issparse(X) and X.shape[1] <= MAX_FEATURES
            if (
                small
                and self._class_mass.all()
                and self._over_classes_by_dot()
                and isinstance(self.mapper_, torch.nn.Linear)
            ):
                self._moments = Moments.of(X, class_weights(codes, weight, n_classes).numpy())

    def _keep_coefficients(self):
        matrix, bias = self.mapper_.weight, getattr(self.mapper_, "bias", None)
        bias = torch.zeros(len(matrix)) if bias is None else bias.detach()
        dtype = self.prototypes_.dtype
        coef, intercept = matrix.detach().numpy().astype(dtype), bias.numpy().astype(dtype)
        if len(matrix) == 2 and self._over_classes_by_dot():
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept


def _silence(module):
    """Start a convex problem from nought, where all classes are alike."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
