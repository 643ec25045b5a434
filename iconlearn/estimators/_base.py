"""What the three estimators share: slots, nested parameters, and the way from X to a solution.

    X, y  ->  p, q, divergence, mapper  ->  Objective  ->  engine  ->  minimise (or solve)  ->  Solution

This is the only package that imports both scikit-learn and torch.
"""

from __future__ import annotations

import copy
import math
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from inspect import signature
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from .. import supervisory
from .._checks import check_choice, check_number, in_a_file
from .._device import FORKED, Function, cpu_by_default, in_forked_child
from .._randomness import random_source
from .._torch_state import plain, restored
from .._warnings import warn
from ..distributed import Shard, check_alike, current
from ..engines import choose
from ..learned import check_kernel
from ..mappers import Linear, TableModule, build_mapper, declares
from ..objective import Objective, Points
from ..optim import OPTIMIZERS, Solution
from ..out_of_sample._answers import AnswerModule
from ..out_of_sample._mapped import answering, mapped
from ..plan import (
    CommonCheckpoint,
    Ends,
    NoCheckpoint,
    Plan,
    Setting,
    Terms,
    check_module,
    features_of,
    same_shapes,
)
from ..registry import COMPONENTS, resolve
from ..solve import evaluated, solve
from ..supervisory import declared, sized
from ._inputs import MAX_IN_MEMORY, all_or_nothing, choose_device
from ._monitoring import (
    CallbackSupportMixin,
    Progress,
    callbacks,
    checkpoint_of,
    optimisation_observed,
    timed,
)
from ._parameter_names import nested_remedy, remedy, unknown_names
from ._term import Term
from ._watchers import Watchers

Model = TypeVar("Model")

# Sparse features, and those that lie in a file, become a tensor at once while they have at most this many entries,
# else batch by batch.
MAX_DENSE_INPUTS = MAX_IN_MEMORY


# Parameters that may hold data and that answers to new rows do not depend on.
OF_A_FIT = ("p", "terms", "graph", "init")
# More entries than any specification of a component has: a graph of dicts, or a list of rows.
MANY_ENTRIES = 100

# Parameters that hold a component of another slot.
SLOTS = {"column_mapper": "mapper", "graph": "p"}


@cache
def _unfitted(make):
    """One object of a kind that is asked what it declares, many times a fit; a fit clones it and leaves it as it is."""
    return make()


def _for_outputs(p, n_outputs):
    """A p of a fit, with the number of outputs of the mapper."""
    return declared(p, "for_outputs")(n_outputs)


def _for_targets(spec, p, X):
    """The specification of a mapper whose outputs are as wide as the targets of p, where p has any."""
    if declared(p, "columns") != "targets":
        return spec
    return spec.for_targets(declared(p, "targets_of")(X[:2]).shape[1])


def _check_says_where(p):
    """Refuse a p as the estimator's own that reads distances of places and says nothing of where rows are."""
    if declared(p, "reading") is not None:
        raise ValueError(
            f"p={p!r:.200} says how far neighbours are and not where any row is: give it as a further term, "
            f"terms=[Term(LocalRadius(), learned.Gaussian(normalize='space'))], beside another p"
        )


class ICONBase(CallbackSupportMixin, BaseEstimator):
    """What the three estimators share."""

    def __new__(cls, *args, **params):
        # Here, since scikit-learn reads the parameters off the signature of __init__, which must list them.
        for name in unknown_names(cls, params):
            raise TypeError(remedy(cls, name, params[name]))
        return super().__new__(cls)

    def set_params(self, **params) -> Self:
        """Set parameters, nested ones included.

        A nested parameter such as ``p__perplexity`` reaches into a slot that holds a name: the name is
        replaced by the object it stands for.

        Raises
        ------
        ValueError
            For a parameter that the estimator or the component has not; the message names the component that has one.
        """
        for name in unknown_names(type(self), (k for k in params if "__" not in k)):
            raise ValueError(remedy(type(self), name, params[name]))
        super().set_params(**{k: v for k, v in params.items() if "__" not in k})
        nested = {k: v for k, v in params.items() if "__" in k}
        for name in {name.partition("__")[0] for name in nested}:
            slot = SLOTS.get(name, name)
            if slot in COMPONENTS and hasattr(self, name):
                self._object_for(name, slot)
        for key, value in nested.items():
            name, _, inner = key.partition("__")
            component, slot = getattr(self, name, None), SLOTS.get(name, name)
            if slot in COMPONENTS and hasattr(component, "get_params"):
                message = nested_remedy(name, slot, component, inner.partition("__")[0], value)
                if message:
                    raise ValueError(message)
        super().set_params(**nested)
        return self

    def _object_for(self, name, slot):
        """Put the object that a component's name or class stands for in its place."""
        value = getattr(self, name)
        if isinstance(value, str) and value == "auto" and slot in self._by_default:
            value = clone(self._by_default[slot])
            setattr(self, name, value)
        if isinstance(value, str) and value == "auto":
            raise ValueError(
                f"parameters of {name} cannot be set while {name}='auto'; name it first, for example "
                f"{name}={next(iter(COMPONENTS[slot]))!r}"
            )
        if isinstance(value, str | type):
            setattr(self, name, resolve(slot, value))
        elif not hasattr(value, "set_params"):
            raise ValueError(
                f"parameters of {name} cannot be set while {name} is a {type(value).__name__}, which has none; "
                f"give a name, for example {name}={next(iter(COMPONENTS[slot]))!r}"
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self._pairwise
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.target_tags.required |= self._declares("requires_y")
        return tags

    # What "auto" stands for, where it is the same component for all data, by slot; a fit clones it.
    _by_default: ClassVar[dict] = {}

    def _resolved(self, slot):
        value = getattr(self, slot)
        if isinstance(value, str) and value == "auto" and slot in self._by_default:
            return self._by_default[slot]
        if slot == "p" and isinstance(value, str) and value in COMPONENTS["p"]:
            return _unfitted(COMPONENTS["p"][value])
        return self._for_images(resolve(slot, value)) if slot == "mapper" else resolve(slot, value)

    def _for_images(self, spec):
        """The specification of a mapper, which may have to make images of the rows of a fit that had images."""
        read = getattr(spec, "for_images", None)
        return spec if read is None or not hasattr(self, "image_shape_") else read(self.image_shape_)

    @property
    def _pairwise(self) -> bool:
        return self._declares("pairwise")

    @property
    def _reads_y(self) -> bool:
        """Whether p or that of a term needs labels."""
        terms = [resolve("p", term.p) for term in self.terms or []]
        return self._declares("requires_y") or any(declared(p, "requires_y") for p in terms)

    def _declares(self, attribute) -> bool:
        """Tags of p; False for a p that cannot be resolved, which fit refuses."""
        try:
            return bool(declared(self._resolved("p"), attribute))
        except (TypeError, ValueError):
            return False

    def _reads_features(self) -> bool:
        """Whether rows that come later can be mapped at all; a table holds an answer for each of its own rows."""
        if not self._resolved("mapper").parametric:
            raise AttributeError(
                f"mapper={self.mapper!r} gives every row of a fit an answer of its own and cannot learn from others; "
                f"use mapper='linear', 'mlp' or a module"
            )
        return True

    # -- from parameters to a plan -----------------------------------------------------------------

    def _plan(
        self,
        X,
        y,
        n_outputs,
        *,
        p=None,
        q=None,
        mass=None,
        copies=None,
        table_dtype=torch.float32,
        start=None,
        keeps=True,
        gathers=False,
    ):
        """Resolve every slot, fit every p, and state the objective; `keeps` is for a fit that is no part of another.

        With `gathers` the rows are so few that every process may hold those of all.

        `mass` are weights of the rows in the mean divergence, `copies` numbers of rows that each stands for.
        """
        self.timings_ = {}
        group = current()
        given = {"X": X, "y": y, "sample_weight": mass if copies is None else copies}
        check_alike(group, "fit", " and ".join(name for name, value in given.items() if value is not None))
        shard = Shard(group, X.shape[0])
        rng, keeper = self._first_stage(X, y, mass if copies is None else copies, keeps, group)
        spec = self._resolved("mapper")
        if group.size > 1 and not (spec.parametric or self._tables_over_processes):
            raise ValueError(
                f"mapper={self.mapper!r} gives every row an answer of its own, which is not found over several "
                f"processes; use mapper='linear', 'mlp' or a module under shards(), or fit in one process"
            )
        if spec.parametric and self._pairwise:
            raise ValueError(
                f"mapper={self.mapper!r} maps features, but with p={self.p!r} X is a matrix of pairs; "
                f"use mapper='table', or give the graph as p=Graph(A) beside a feature matrix X"
            )
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        network = spec.parametric and not isinstance(spec, Linear)
        device = choose_device(self.device, math.inf if network else shard.n_all)
        dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype if spec.parametric else table_dtype
        if network and device.type == "cuda":
            dtype = torch.float32  # double precision costs most devices 32 to 64 times as much
        setting = Setting(dtype, device, generator, rng, group)
        n_groups = self._n_groups(shard.n_all, n_outputs)
        fitted = keeper.recall("supervision") or ()
        # What was fitted may be of a kind that is no longer the default for so many rows.
        if fitted:
            p = fitted[0]
        else:
            p = self._debiased(self._sized_p(shard.n_all, n_groups, n_outputs) if p is None else p)
        _check_says_where(p)
        features = features_of(p, X.shape[1])
        shown = X if features is None else X[:, features]
        spec = _for_targets(spec, p, X)
        module = self._module(spec, shown, n_outputs, setting, start)
        setting = replace(setting, dtype=next((t.dtype for t in module.parameters()), dtype))
        q = clone(resolve("q", self.q if q is None else q), safe=False)
        _begin(q, setting)
        inputs = self._inputs(X, setting) if spec.parametric else None
        rows = Points(
            module,
            X.shape[0],
            inputs if features is None or inputs is None else inputs[:, features],
            width=n_outputs,
        )
        if declares(module, "encodes"):
            rows = replace(rows, width=self._checked_width(rows, n_outputs))

        def other(group):
            return self._other_module(spec, module, X, group, n_outputs, setting)

        def prototypes(q, n_classes):
            return self._prototypes(q, n_classes, n_outputs, setting)

        def targets(p):
            found = declared(p, "targets_of")(X)
            return inputs if found is X and inputs is not None else self._inputs(found, setting)

        ends = Ends(rows, features, X.shape[1], other, inputs, targets, shard)
        build = Terms(X, y, ends, setting, self.n_jobs, prototypes, fitted, gathers)
        expected = None if fitted else declared(p, "expected_seconds")(shown)
        with timed(self, "supervision", expected):
            main = build(p, q, clone(resolve("divergence", self.divergence), safe=False), 1.0, mass)
            problems = [main, *self._further(build, p, q, setting, n_groups, n_outputs)]
        if not fitted:
            keeper.keep("supervision", lambda: build.every)
        if copies is not None:
            problems = [problem.of_copies(copies) for problem in problems]
        objective = Objective(tuple(problems), self._penalty(problems))
        self._share_state(objective, group)
        engine = self._choose_engine(problems)
        return Plan(
            X=X,
            p=p,
            q=q,
            mapper=module,
            parametric=spec.parametric,
            objective=objective,
            engine=engine,
            setting=setting,
            rows=rows,
            features=features,
            keeper=keeper,
        )

    @torch.no_grad()
    def _share_state(self, objective, group):
        """Let all processes begin with the weights of the first one."""
        apart = any(problem.p.sharded for problem in objective.problems)  # each has its rows of a table
        for tensor in objective.state if group.size > 1 and not apart else ():
            tensor.copy_(group.from_first(tensor))

    def _first_stage(self, X, y, weight, keeps, group):
        """The random state that a fit begins with, the same in all processes, and what saves its stages."""
        keeper = (checkpoint_of(self, X, y, weight) if keeps else None) or NoCheckpoint()
        keeper = keeper if group.size == 1 else CommonCheckpoint(keeper, group)
        rng = keeper.recall("begin")
        if rng is None:
            rng = group.from_first(random_source(self.random_state))
            keeper.keep("begin", lambda: rng)
        return rng, keeper

    def _started(self, plan, start, expected=None):
        """Let ``start()`` find where to begin and return what it does; None where that was saved before."""
        kept = plan.keeper.recall("start")
        if kept is not None:
            return plan.restore(kept)
        with timed(self, "start", expected):
            found = start()
        if found is None or found.reason != "interrupted":
            plan.keeper.keep("start", plan.state)
        return found

    def _check_numbers(self):
        if self.max_iter != "auto":
            check_number("max_iter", self.max_iter, low=1, integer=True, hint='or "auto"')
        check_number("tol", self.tol, low=0)
        check_number("debias", self.debias, low=0, high=1, closed="left", hint="0.1 to 0.8 are usual")
        if self.learning_rate != "auto":
            check_number("learning_rate", self.learning_rate, low=0, closed="neither", hint='or "auto"')
        check_choice("optimizer", self.optimizer, ["auto", *OPTIMIZERS])
        if not all(map(callable, callbacks(self.callback))):
            raise TypeError(
                f"callback={self.callback!r} must be a function of one Record, a list of them, or None"
            )
        terms = [] if self.terms is None else self.terms
        if not isinstance(terms, list | tuple) or not all(isinstance(term, Term) for term in terms):
            raise TypeError(
                f"terms={self.terms!r} must be None or a list of Term, for example terms=[Term('labels')]"
            )

    def _module(self, spec, X, n_outputs, setting, start):
        """A new module, or the last fit's under warm_start where the shapes allow it."""
        module = build_mapper(
            spec, X.shape[1], n_outputs, X.shape[0],
            generator=setting.generator, dtype=setting.dtype, device=setting.device,
        )  # fmt: skip
        if start is not None and same_shapes(start, module):
            module.load_state_dict(start.state_dict())
        check_module(module, spec, X, None if declares(module, "encodes") else n_outputs)
        return module

    def _other_module(self, spec, module, X, features, n_outputs, setting):
        """The mapper of another group of features, or (without features) of views that are columns."""
        chosen = getattr(self, "column_mapper", None)
        other = spec if chosen is None else self._for_images(resolve("mapper", chosen))
        if declares(other, "teacher"):
            if features is not None:
                raise ValueError(
                    "an EMA teacher reads what the mapper reads, and the columns are other features; use "
                    "column_mapper=None or a mapper of their own"
                )
            return other.follow(module)
        if features is None:
            if chosen is None:
                return module
            features = slice(None)
        return self._module(other, X[:, features], n_outputs, setting, None)

    # Whether a table may have its rows in several processes.
    _tables_over_processes = False

    # Whether outputs of a mapper with codes or features below them may be of any width.
    _free_outputs = False

    def _checked_width(self, rows, n_outputs):
        """How wide the outputs of a mapper are that has codes or features below them."""
        was_training = rows.mapper.training
        rows.mapper.eval()
        with torch.no_grad():
            width = rows.at(torch.arange(min(2, rows.size))).shape[1]
        rows.mapper.train(was_training)
        if width != n_outputs and not self._free_outputs:
            raise ValueError(
                f"mapper={self.mapper!r:.200} has {width} outputs a row, and {type(self).__name__} needs {n_outputs} "
                f"here; let the last layer of its head have {n_outputs}"
            )
        return width

    @staticmethod
    def _inputs(X, setting):
        if (sparse.issparse(X) or in_a_file(X)) and X.shape[0] * X.shape[1] > MAX_DENSE_INPUTS:
            return X
        # A copy, so that read-only arrays are fine and nothing the user owns is shared with torch.
        return torch.tensor(
            X.toarray() if sparse.issparse(X) else X, device=setting.device, dtype=setting.dtype
        )

    def _counted(self, n_outputs):
        """The number of outputs as far as it is known before p is fitted, None where p decides it."""
        return n_outputs

    def _debiased(self, p):
        return supervisory.Debias(p, self.debias) if self.debias > 0 else p

    def _n_groups(self, n_rows, n_outputs):
        """How many groups the rows are looked for in, which small data leave few neighbours for."""
        return 1

    def _sized_p(self, n_rows, n_groups, n_outputs):
        p = _for_outputs(clone(self._resolved("p"), safe=False), self._counted(n_outputs))
        return sized(p, n_rows, n_groups, named=_is_name(self.p))

    def _further(self, build, main, q, setting, n_groups, n_outputs):
        problems = []
        for term in [] if self.terms is None else self.terms:
            check_number("weight of a term", term.weight, low=0, closed="neither")
            other = q
            if term.q is not None:
                other = clone(resolve("q", term.q), safe=False)
                _begin(other, setting)
            divergence = resolve(
                "divergence", self.divergence if term.divergence is None else term.divergence
            )
            p = _for_outputs(clone(resolve("p", term.p), safe=False), self._counted(n_outputs))
            p = sized(declared(p, "beside")(main), build.X.shape[0], n_groups, named=_is_name(term.p))
            problems.append(build(p, other, clone(divergence, safe=False), float(term.weight), None))
        return problems

    def _prototypes(self, q, n_classes, n_outputs, setting):
        """The space of the class columns of a supervised p."""
        start = torch.randn(n_classes, n_outputs, generator=setting.generator, dtype=torch.float32)
        return TableModule(start).to(device=setting.device, dtype=setting.dtype)

    def _penalty(self, problems):
        return None

    def _choose_engine(self, problems):
        if isinstance(self.engine, str) and self.engine == "auto":
            return choose(problems)
        engine = clone(resolve("engine", self.engine), safe=False)
        self._check_engine(engine, problems)
        return engine

    def _check_engine(self, engine, problems):
        """Raise with the reason where the engine cannot do this."""
        for problem in problems:
            reason = engine.refuses(problem)
            if reason is not None:
                raise ValueError(f"engine={self.engine!r} cannot do this: {reason}")

    # -- from a plan to a solution -----------------------------------------------------------------

    def _optimise(
        self, plan, optimizer, phases, *, after_step=None, patience=50, grad_tol=0.0, watch=None
    ) -> Solution:
        """Solve the plan's objective, by its engine or by the one loop; its parameters end at the best state."""
        n_iter = sum(phase.n_iter + phase.further for phase in phases)
        progress = Progress(type(self).__name__, self.verbose, n_iter)
        how = "itself" if plan.engine.solves else optimizer
        where = "cpu" if plan.engine.solves else plan.device
        progress.stage(f"optimising on {where} by {how}, {type(plan.engine).__name__} engine")
        try:
            with timed(self, "optimisation"), optimisation_observed(self, n_iter) as steps:
                watchers = Watchers(callbacks(self.callback), [*filter(None, (watch, steps))], plan.group)
                solution = solve(
                    plan, progress, n_iter, optimizer=optimizer, phases=phases, tol=self.tol, grad_tol=grad_tol,
                    patience=patience, after_step=after_step, callback=watchers.callback(),
                )  # fmt: skip
        except FloatingPointError as error:
            raise ValueError(
                f"{error}: check that the mapper returns finite values, that X is scaled, and that the "
                f"divergence {self.divergence!r} is finite for this p (debias > 0 gives p full support)"
            ) from error
        except RuntimeError as error:
            # Of torch's own, or of CUDA, whichever notices first.
            if "fork-based" in str(error) or ("CUDA" in str(error) and in_forked_child()):
                raise RuntimeError(FORKED) from error
            raise
        if solution.reason == "diverged":
            warn(
                f"the loss was not finite after {solution.n_iter} iterations, and the best state before that "
                f"was kept; a smaller learning_rate may help, or a mapper that cannot return NaN",
                ConvergenceWarning,
            )
        watchers.warn_if_hardly_begun(n_iter)
        progress.done(solution)
        return solution

    # Whether full-batch steps of Adam or momentum are to come to rest before a number given for max_iter.
    _seeks_rest = True

    def _warn_at_max_iter(self, plan, method, solution):
        """Warn where max_iter ended a search for an optimum.

        L-BFGS does, and so do engines that solve.  Epochs of mini-batches, the steps of a map, and by default all steps
        of momentum and Adam are so many by design.
        """
        counted = plan.engine.stochastic or not self._seeks_rest or self.max_iter == "auto"
        if solution.reason == "max_iter" and (plan.engine.solves or method == "lbfgs" or not counted):
            warn(
                f"max_iter={solution.n_iter} iterations ended the fit before it had converged (converged_ is False); "
                f"raise max_iter{', scale X' if plan.parametric else ''} or loosen tol={self.tol:g}",
                ConvergenceWarning,
            )

    def _keep(self, plan, solution, shown=None, part=None, *, found=False):
        """Fitted attributes that all estimators have.

        `shown` is as in :func:`iconlearn.solve.evaluated`; `part` is the plan without the rows that have no part in the
        loss, where there are any.  The loss that an engine has `found` for what is kept is not evaluated again.
        """
        optimised = plan if part is None else part
        solution = solution if found else evaluated(optimised, solution, shown)
        self._coded = _coded(optimised.objective, plan.group)
        self.p_, self.q_ = plan.p, _to_cpu(plan.q)
        self.divergence_, self.engine_ = plan.problem.divergence, clone(plan.engine)  # without its buffers
        self.mapper_ = plan.mapper.to("cpu").eval()
        self._keep_losses(solution)
        self.neighbors_backend_ = declared(plan.p, "neighbors_backend_")
        self._parametric, self._features = plan.parametric, plan.features

    def _keep_losses(self, solution):
        self.loss_phases_ = np.array(solution.phases, dtype=str)
        self._solution = replace(
            solution, history=np.asarray(solution.history, dtype=float), phases=self.loss_phases_
        )
        self.n_iter_, self.converged_ = solution.n_iter, solution.converged

    # -- the losses of the solution -----------------------------------------------------------------

    @property
    def loss_(self):
        return self._solution_with_losses().loss

    @property
    def loss_is_estimate_(self):
        return self._solution_with_losses().estimated

    @property
    def loss_history_(self):
        return self._solution_with_losses().history

    @property
    def loss_parts_(self):
        parts = self._solution_with_losses().parts
        return self.loss_history_[:, None] if parts is None else parts

    @property
    def entropy_(self):
        if "_coded" not in vars(self):
            raise AttributeError(
                "entropy_ is there once the estimator is fitted (by this version, which keeps what it is found from)"
            )
        return sum(weight * (p if isinstance(p, float) else p.mean_entropy()) for weight, p in self._coded[0])

    @property
    def cross_entropy_(self):
        entropy, penalty = self.entropy_, self._coded[1]
        if penalty is None:
            raise AttributeError(
                "cross_entropy_ is loss_ + entropy_ where the divergence is KL between distributions, and another one "
                "(or a limit of it) was fitted; use divergence='kl'"
            )
        return self.loss_ - penalty + entropy

    @property
    def stop_reason_(self):
        if "_solution" not in vars(self):
            raise AttributeError("stop_reason_ is there once the estimator is fitted")
        return self._solution.reason

    @cpu_by_default
    def _solution_with_losses(self):
        """The solution with all of its losses; what they lack is found at first use, since it may take long."""
        if "_solution" not in vars(self):
            raise AttributeError("losses are there once the estimator is fitted")
        if self._solution.constant is not None:
            self._solution = self._solution.completed()
        return self._solution

    def _answer_parts(self):
        """What :class:`~iconlearn.out_of_sample._answers.AnswerModule` is made of."""
        return {"mapper": self.mapper_, "q": self.q_, "features": self._features}

    def _drop_rows(self):
        """Drop what holds training rows, and what only a fit reads; new rows get the answers that they had."""
        self._solution = self._solution_with_losses()
        vars(self).pop("_coded", None)
        self.callback = None
        for name, parameter in signature(type(self)).parameters.items():
            if name in OF_A_FIT and _holds_data(getattr(self, name)):
                setattr(self, name, parameter.default)
        # Not fitted: what it declares is still asked for.
        unfitted = clone(self.p_, safe=False)
        self.p_ = clone(self._resolved("p"), safe=False) if _holds_data(unfitted) else unfitted

    def __getstate__(self):
        return plain(super().__getstate__())

    def __setstate__(self, state):
        super().__setstate__(_with_solution(restored(state)))

    def _mapped(self, X):
        """Outputs of the mapper, one of features, for rows of X as a tensor."""
        return mapped(answering(self.mapper_, X.shape[0], self.device), X, self._features)

    def _completed(self, fit, *data, observed=None):
        """The estimator after ``fit(*data)``, which leaves it as it was if it fails."""
        with observed or nullcontext(), all_or_nothing(self):
            solution = cpu_by_default(fit)(*data)
        if solution.reason == "interrupted":
            raise KeyboardInterrupt
        return self


def slim(model: Model) -> Model:
    """A copy of a fitted model for serving, without the training rows.

    The copy answers for new rows as the model does, and may be saved, pickled and trained further by ``partial_fit``.
    It has no rows in ``embedding_``, and no ``labels_``, ``probabilities_``, ``transduction_``, ``entropy_`` or
    ``merge_path_``; it cannot ``explain``, and knows no training rows, whose classes the mapper finds like those of
    others.  Callbacks and parameters that hold data (a graph, an array of starts) have their defaults.

    Parameters
    ----------
    model : ICONEmbedding, ICONClustering, ICONClassifier or Pipeline
        Fitted with a mapper of features: "linear", "mlp", "autoencoder" or a module.  Of a pipeline the steps of this
        library are made slim, and the others are shared with it.

    Returns
    -------
    ICONEmbedding, ICONClustering, ICONClassifier or Pipeline

    Raises
    ------
    TypeError
        If it is another object, or a pipeline without a step of this library.
    ValueError
        With ``mapper="table"``, since new rows are then placed by their training rows.

    Examples
    --------
    >>> import pickle
    >>> import iconlearn
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = iconlearn.ICONEmbedding(mapper="linear", random_state=0).fit(X)
    >>> small = iconlearn.slim(model)
    >>> bool((small.transform(X) == model.transform(X)).all())
    True
    >>> len(pickle.dumps(small)) < len(pickle.dumps(model)) / 50
    True
    """
    if isinstance(model, Pipeline):
        if not any(isinstance(step, ICONBase | Pipeline) for _, step in model.steps):
            raise TypeError(
                "the pipeline has no step of iconlearn, so there is nothing to make slim; pickle it as it is"
            )
        pipeline = copy.copy(model)
        pipeline.steps = [
            (name, slim(step) if isinstance(step, ICONBase | Pipeline) else step)
            for name, step in model.steps
        ]
        return pipeline
    _with_mapper_of_features(model, "slim")
    small: Any = type(model).__new__(type(model))
    vars(small).update(vars(model))
    small._drop_rows()
    return copy.deepcopy(small)


def to_module(model) -> torch.nn.Module:
    """The answers of a fitted model as one torch module, for export to ONNX and other runtimes.

    Parameters
    ----------
    model : ICONEmbedding, ICONClustering or ICONClassifier
        Fitted with a mapper of features: "linear", "mlp", "autoencoder" or a module.

    Returns
    -------
    torch.nn.Module
        Of rows of features, a tensor of shape (n_rows, n_features), it gives what ``transform`` gives of a map, and
        ``predict_proba`` of a clustering or classifier, in the precision of the mapper.  It is in evaluation mode,
        shares nothing with the model, and is what ``torch.onnx.export`` and ``torch.export.export`` take.

    Raises
    ------
    TypeError
        If it is another object, such as a pipeline, whose other steps are no torch modules.
    ValueError
        With ``mapper="table"``, since new rows are then placed by their training rows.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> import iconlearn
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = iconlearn.ICONClassifier().fit(X / 16, y)
    >>> probabilities = iconlearn.to_module(model)(torch.from_numpy(X / 16)).detach().numpy()
    >>> bool(np.allclose(probabilities, model.predict_proba(X / 16)))
    True
    """
    return AnswerModule(**_with_mapper_of_features(model, "to_module")._answer_parts())


def _with_mapper_of_features(model, asked):
    """The model, if it is a fitted one that answers without its training rows."""
    if not isinstance(model, ICONBase):
        raise TypeError(
            f"model is a {type(model).__name__}; {asked} takes a fitted ICONEmbedding, ICONClustering or ICONClassifier"
        )
    check_is_fitted(model)
    if not model._parametric:
        raise ValueError(
            f"mapper={model.mapper!r}: new rows are placed beside the training rows, which {asked} would leave out; "
            f"fit with mapper='linear', 'mlp' or a module"
        )
    return model


def for_mappers_of_features(method: Function) -> Function:
    """The method, of estimators whose mapper reads features alone."""
    return available_if(ICONBase._reads_features)(method)


def row_identity(p) -> dict:
    """How a p distinguishes rows, as :class:`~iconlearn.out_of_sample._seen.SeenRows` takes it."""
    pairwise = bool(declared(p, "pairwise"))
    return {"pairwise": pairwise, "by_features": not pairwise and bool(declared(p, "equal_rows_alike"))}


def _holds_data(value):
    """Whether a parameter holds arrays, modules or long collections, in whatever parts it has."""
    if isinstance(value, np.ndarray | torch.Tensor | torch.nn.Module) or sparse.issparse(value):
        return True
    if isinstance(value, dict | list | tuple | set):
        parts = value.values() if isinstance(value, dict) else value
        return len(value) > MANY_ENTRIES or any(map(_holds_data, parts))
    if isinstance(value, type) or callable(value):
        return False
    try:
        return any(map(_holds_data, vars(value).values()))
    except TypeError:  # a number, a string or None
        return False


def _is_name(value):
    """Whether a component was given without any numbers of its own: by a name, or as a class."""
    return isinstance(value, str | type)


def _with_solution(state):
    """A state of version 0.1.0, which has its losses one by one, as one of today."""
    if "loss_phases_" not in state or "_solution" in state:
        return state
    constant, losses = state.get("_late") or (None, state)
    solution = Solution(
        loss=losses["loss_"],
        history=losses["loss_history_"],
        n_iter=state["n_iter_"],
        converged=state["converged_"],
        reason="plateau" if state["converged_"] else "max_iter",
        phases=state["loss_phases_"],
        constant=constant,
        parts=losses["loss_parts_"],
    )
    once = ("loss_", "loss_history_", "loss_parts_", "_late")
    return {name: value for name, value in state.items() if name not in once} | {"_solution": solution}


def _begin(q, setting):
    """Begin a q; a kernel that is not of this library is tried first."""
    q.begin(dtype=setting.dtype, device=setting.device)
    if type(q) not in COMPONENTS["q"].values():
        check_kernel(q, dtype=setting.dtype, device=setting.device)


@torch.no_grad()
def _coded(objective, group):
    """Weight and p of every term, and the penalty within the loss, or None where the loss is no cross-entropy.

    Of a fit over several processes there is the entropy of p in its place, which one process does not know alone.
    """
    problems = objective.problems
    is_kl = all(
        problem.q.reduce == "logsumexp" and problem.divergence.linear_in_log_q for problem in problems
    )
    penalty = 0.0 if objective.penalty is None else float(objective.penalty())
    if group.size > 1:
        of_all = [
            problem.entropy() if problem.p.sharded else float(group.total(problem.share * problem.entropy()))
            for problem in problems
        ]
    else:
        of_all = [problem.p for problem in problems]
    weights = [problem.weight for problem in problems]
    return tuple(zip(weights, of_all, strict=True)), penalty if is_kl else None


def _to_cpu(q):
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            parameter = torch.nn.Parameter(value.detach().cpu().clone(), requires_grad=value.requires_grad)
            setattr(q, name, parameter)
    return q
