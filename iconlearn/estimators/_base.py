"""What the three estimators share: slots, nested parameters, and the way from X to a solution.

    X, y  ->  p, q, divergence, mapper  ->  Objective  ->  engine  ->  minimise (or solve)  ->  Solution

This is the only room that speaks both scikit-learn and torch.
"""

from __future__ import annotations

import itertools
import math
import warnings
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from .. import supervisory
from .._validation import check_choice, check_number
from ..engines import choose
from ..mappers import TableModule, build_mapper
from ..objective import loss
from ..optim import OPTIMIZERS, Solution, minimise
from ..problem import Objective, Points, Problem
from ..registry import COMPONENTS, resolve
from ._io import choose_device
from ._progress import Progress
from ._terms import Term
from ._threads import threads_for

__all__ = ["ICONBase", "Plan", "same_shapes"]

# Sparse features are made dense once while they have at most this many entries, else batch by batch.
MAX_DENSE_INPUTS = 5 * 10**7


@dataclass(eq=False)
class Plan:
    """A fit in the making: everything that is known before the optimisation starts."""

    X: object
    rng: np.random.RandomState
    generator: torch.Generator
    device: torch.device
    dtype: torch.dtype
    p: object
    q: object
    mapper: torch.nn.Module
    parametric: bool
    objective: Objective
    engine: object

    @property
    def problem(self) -> Problem:
        """The main term."""
        return self.objective.problems[0]


class ICONBase(BaseEstimator):
    """Shared machinery; see the three estimators."""

    def set_params(self, **params):
        """Set parameters, nested ones included.

        A nested parameter such as ``p__perplexity`` reaches into a slot that holds a name: the name is
        replaced by the object it stands for.
        """
        super().set_params(**{k: v for k, v in params.items() if "__" not in k})
        nested = {k: v for k, v in params.items() if "__" in k}
        for slot in {name.partition("__")[0] for name in nested} & COMPONENTS.keys():
            if hasattr(self, slot):
                self._object_for(slot)
        super().set_params(**nested)
        return self

    def _object_for(self, slot):
        """Put the object that a name or a class stands for into its slot."""
        value = getattr(self, slot)
        if isinstance(value, str) and value == "auto":
            raise ValueError(
                f"parameters of {slot} cannot be set while {slot}='auto'; name it first, for example "
                f"{slot}={next(iter(COMPONENTS[slot]))!r}"
            )
        if isinstance(value, str | type):
            setattr(self, slot, resolve(slot, value))
        elif not hasattr(value, "set_params"):
            raise ValueError(
                f"parameters of {slot} cannot be set while {slot} is a {type(value).__name__}, which has none; "
                f"give a name, for example {slot}={next(iter(COMPONENTS[slot]))!r}"
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.pairwise = self._pairwise
        if tags.transformer_tags is not None:
            tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.target_tags.required |= self._declares("requires_y")
        return tags

    def _resolved(self, slot):
        return resolve(slot, getattr(self, slot))

    @property
    def _pairwise(self) -> bool:
        return self._declares("pairwise")

    def _declares(self, attribute) -> bool:
        """What p says of itself; False for a p that cannot be resolved, of which fit complains."""
        try:
            return bool(getattr(self._resolved("p"), attribute, False))
        except (TypeError, ValueError):
            return False

    # -- from parameters to a plan -----------------------------------------------------------------

    def _plan(
        self, X, y, n_outputs, *, q=None, mapper=None, mass=None, table_dtype=torch.float32, start=None
    ):
        """Resolve every slot, fit every p, and state the objective."""
        rng = check_random_state(self.random_state)
        generator = torch.Generator().manual_seed(int(rng.randint(2**31 - 1)))
        device = choose_device(self.device)
        spec = resolve("mapper", self.mapper if mapper is None else mapper)
        if spec.parametric and self._pairwise:
            raise ValueError(
                f"mapper={self.mapper!r} maps features, but with p={self.p!r} X is a matrix of pairs; "
                f"use mapper='table', or give the graph as p=Graph(A) beside a feature matrix X"
            )
        dtype = torch.from_numpy(np.empty(0, X.dtype)).dtype if spec.parametric else table_dtype
        module = self._module(spec, X, n_outputs, generator, dtype, device, start)
        dtype = next((t.dtype for t in module.parameters()), dtype)
        q = clone(resolve("q", self.q if q is None else q), safe=False)
        q.begin(dtype=dtype, device=device)
        rows = Points(module, X.shape[0], self._inputs(X, device, dtype) if spec.parametric else None)
        build = _Terms(X, y, rows, n_outputs, generator, dtype, device, rng, self.n_jobs, self._prototypes)
        p = self._debiased(clone(resolve("p", self.p), safe=False))
        main = build(p, q, clone(resolve("divergence", self.divergence), safe=False), 1.0, mass)
        problems = [main, *self._further(build, q, mass)]
        objective = Objective(tuple(problems), self._penalty(problems))
        engine = self._choose_engine(problems)
        return Plan(X, rng, generator, device, dtype, p, q, module, spec.parametric, objective, engine)

    def _check_numbers(self):
        if self.max_iter != "auto":
            check_number("max_iter", self.max_iter, low=1, integer=True)
        check_number("tol", self.tol, low=0)
        check_number("debias", self.debias, low=0, high=1, closed="left", hint="0.1 to 0.8 are usual")
        if self.learning_rate != "auto":
            check_number("learning_rate", self.learning_rate, low=0, closed="neither")
        check_choice("optimizer", self.optimizer, ["auto", *OPTIMIZERS])
        if self.callback is not None and not callable(self.callback):
            raise TypeError(f"callback={self.callback!r} must be a function of one Record, or None")
        terms = [] if self.terms is None else self.terms
        if not isinstance(terms, list | tuple) or not all(isinstance(term, Term) for term in terms):
            raise TypeError(
                f"terms={self.terms!r} must be None or a list of Term, for example terms=[Term('labels')]"
            )

    def _module(self, spec, X, n_outputs, generator, dtype, device, start):
        """A fresh module, or the last fit's where warm_start asks for it and the shapes allow."""
        module = build_mapper(
            spec, X.shape[1], n_outputs, X.shape[0], generator=generator, dtype=dtype, device=device
        )
        if start is not None and same_shapes(start, module):
            module.load_state_dict(start.state_dict())
        _check_module(module, spec, X, n_outputs)
        return module

    @staticmethod
    def _inputs(X, device, dtype):
        if sparse.issparse(X) and X.shape[0] * X.shape[1] > MAX_DENSE_INPUTS:
            return X
        # A copy, so that read-only arrays are fine and nothing the user owns is shared with torch.
        return torch.tensor(X.toarray() if sparse.issparse(X) else X, device=device, dtype=dtype)

    def _debiased(self, p):
        return supervisory.Debias(p, self.debias) if self.debias > 0 else p

    def _further(self, build, q, mass):
        problems = []
        for term in [] if self.terms is None else self.terms:
            check_number("weight of a term", term.weight, low=0, closed="neither")
            other = q
            if term.q is not None:
                other = clone(resolve("q", term.q), safe=False)
                other.begin(dtype=build.dtype, device=build.device)
            divergence = resolve(
                "divergence", self.divergence if term.divergence is None else term.divergence
            )
            p = clone(resolve("p", term.p), safe=False)
            problems.append(build(p, other, clone(divergence, safe=False), float(term.weight), None))
        return problems

    def _prototypes(self, q, n_classes, n_outputs, generator, dtype, device):
        """Where the class columns of a supervised p live."""
        start = torch.randn(n_classes, n_outputs, generator=generator, dtype=torch.float32)
        return TableModule(start).to(device=device, dtype=dtype)

    def _penalty(self, problems):
        return None

    def _choose_engine(self, problems):
        if isinstance(self.engine, str) and self.engine == "auto":
            return choose(problems)
        engine = clone(resolve("engine", self.engine), safe=False)
        for problem in problems:
            reason = engine.refuses(problem)
            if reason is not None:
                raise ValueError(f"engine={self.engine!r} cannot do this: {reason}")
        return engine

    # -- from a plan to a solution -----------------------------------------------------------------

    def _optimise(self, plan, optimizer, phases, *, after_step=None, patience=50, grad_tol=0.0) -> Solution:
        """Solve the plan's objective, by its engine or by the one loop; its parameters end at the best state."""
        n_iter = sum(phase.n_iter for phase in phases)
        progress = Progress(type(self).__name__, self.verbose, n_iter)
        how = "itself" if plan.engine.solves else optimizer
        progress.stage(f"optimising on {plan.device} by {how}, {type(plan.engine).__name__} engine")
        parameters = plan.objective.parameters
        parts = _Parts(len(plan.objective.problems))
        if plan.engine.solves:
            solution = plan.engine.solve(
                plan.objective,
                max_iter=n_iter,
                tol=self.tol,
                rng=plan.rng,
                callback=self.callback,
                report=progress,
            )
            parts.rows, parts.n_terms = [[value] for value in solution.history], 1
        elif not parameters:
            solution = Solution(float(self._losses(plan).sum()))
        else:
            with _own_randomness(plan):
                solution = self._minimised(
                    plan,
                    parts,
                    parameters,
                    optimizer,
                    phases,
                    after_step,
                    patience,
                    grad_tol,
                    parts.and_then(progress),
                )
        if solution.reason == "diverged":
            warnings.warn(
                f"the loss was not finite after {solution.n_iter} iterations, and the best state before that "
                f"was kept; a smaller learning_rate may help, or a mapper that cannot return NaN",
                ConvergenceWarning,
                stacklevel=5,
            )
        self.loss_parts_ = parts.history()
        progress.done(solution)
        return solution

    def _minimised(self, plan, parts, parameters, optimizer, phases, after_step, patience, grad_tol, report):
        pairs = math.inf if plan.parametric else sum(problem.n_pairs for problem in plan.objective.problems)
        try:
            with threads_for(pairs, plan.device):
                return minimise(
                    _epochs(plan, parts), parameters, optimizer=optimizer, phases=phases, tol=self.tol,
                    grad_tol=grad_tol, patience=patience, after_step=after_step, callback=self.callback,
                    report=report,
                )  # fmt: skip
        except FloatingPointError as error:
            raise ValueError(
                f"{error}: check that the mapper returns finite values, that X is scaled, and that the "
                f"divergence {self.divergence!r} is finite for this p (debias > 0 gives p full support)"
            ) from error

    def _losses(self, plan):
        """Weighted loss of every term at the present parameters, over all rows if that is exact."""
        visits = [next(iter(next(s))) for s in _streams(plan)]
        with torch.no_grad():
            return np.array(
                [
                    p.weight * float(loss(p, plan.engine, v))
                    for p, v in zip(plan.objective.problems, visits, strict=True)
                ]
            )

    def _keep(self, plan, solution):
        """Fitted attributes that all estimators have."""
        self.p_, self.q_ = plan.p, _to_cpu(plan.q)
        self.divergence_, self.engine_ = plan.problem.divergence, plan.engine
        self.mapper_ = plan.mapper.to("cpu").eval()
        self.loss_, self.loss_history_ = solution.loss, np.asarray(solution.history, dtype=float)
        self.n_iter_, self.converged_ = solution.n_iter, solution.converged
        self._parametric = plan.parametric

    def _mapped(self, X):
        """Outputs of a parametric mapper for rows of X, in blocks, as a tensor."""
        like = next(iter(self.mapper_.parameters()), torch.zeros(0))
        step = max(1, 2**24 // max(X.shape[1], 1))
        parts = []
        with torch.no_grad():
            for start in range(0, X.shape[0], step):
                part = X[start : start + step]
                part = part.toarray() if sparse.issparse(part) else np.array(part)
                parts.append(self.mapper_(torch.from_numpy(part).to(like.dtype)))
        Z = torch.cat(parts)
        if not torch.isfinite(Z).all():
            raise ValueError(
                "the mapper returned NaN or infinity for a row of X; check its weights, and that X is scaled "
                "as in training"
            )
        return Z


@contextmanager
def _own_randomness(plan):
    """What a module draws in training (dropout) follows the fit's seed and leaves torch's own state alone."""
    seed = int(torch.randint(2**31 - 1, (), generator=plan.generator))
    with torch.random.fork_rng(devices=[plan.device] if plan.device.type == "cuda" else []):
        torch.default_generator.manual_seed(seed)
        if plan.device.type == "cuda":
            with torch.cuda.device(plan.device):
                torch.cuda.manual_seed(seed)
        yield


class _Terms:
    """Makes a Problem of a p and a q over the rows of this fit."""

    def __init__(self, X, y, rows, n_outputs, generator, dtype, device, rng, n_jobs, prototypes):
        self.X, self.y, self.rows, self.n_outputs, self.generator = X, y, rows, n_outputs, generator
        self.dtype, self.device, self.rng, self.n_jobs = dtype, device, rng, n_jobs
        self.prototypes = prototypes

    def __call__(self, p, q, divergence, weight, mass):
        p.fit(self.X, self.y, random_state=int(self.rng.randint(2**31 - 1)), n_jobs=self.n_jobs)
        conditional = p.conditional_ if mass is None else p.conditional_.with_mass(mass)
        if not conditional.row_mass.any():
            raise ValueError(f"p={p!r} gives no row any support, so there is nothing to learn from")
        columns = self.rows
        if getattr(p, "columns", "rows") != "rows":
            table = self.prototypes(
                q, conditional.n_cols, self.n_outputs, self.generator, self.dtype, self.device
            )
            columns = Points(table, conditional.n_cols)
        elif q.self_pairs:
            conditional = conditional.with_self_pairs()
        return Problem(conditional, q, divergence, self.rows, columns, weight)


class _Parts:
    """Keeps the weighted loss of every term at every iteration: the mean over the visits of an epoch.

    A line search evaluates a visit many times; the first value is the one that the history has.
    """

    def __init__(self, n_terms):
        self.n_terms, self.visits, self.rows = n_terms, [], []

    def expect(self, *, first):
        """A visit begins, perhaps the first of an epoch."""
        self.visits = [None] if first else [*self.visits, None]

    def note(self, values):
        if self.visits[-1] is None:
            self.visits[-1] = values

    def and_then(self, report):
        def both(record):
            self.rows.append(np.mean(self.visits, axis=0))
            report(record)

        return both

    def history(self):
        return np.array(self.rows, dtype=float).reshape(-1, self.n_terms)


def _streams(plan):
    return [
        plan.engine.visits(problem, rng=plan.rng, dtype=plan.dtype, device=plan.device)
        for problem in plan.objective.problems
    ]


def _epochs(plan, parts):
    """The closures of each epoch: the first term's visits set the pace, the others follow."""
    objective, engine, parameters = plan.objective, plan.engine, plan.objective.parameters
    first, *others = _streams(plan)
    others = [itertools.chain.from_iterable(stream) for stream in others]

    def closure(visits, pull):
        for parameter in parameters:
            parameter.grad = None
        values = [
            problem.weight * loss(problem, engine, visit, pull)
            for problem, visit in zip(objective.problems, visits, strict=True)
        ]
        total = sum(values)
        if objective.penalty is not None:
            total = total + objective.penalty()
        total.backward()
        parts.note([float(v.detach()) for v in values])
        return total.detach()

    def epoch(pull):
        for k, visit in enumerate(next(first)):
            parts.expect(first=k == 0)
            visits = [visit, *(next(stream) for stream in others)]
            yield lambda visits=visits: closure(visits, pull)

    return epoch


def _check_module(module, spec, X, n_outputs):
    """Try a user's module on two rows, so that a wrong shape is told before the work starts."""
    if not (spec.parametric and spec.own_precision):
        return
    like = next(iter(module.parameters()), torch.zeros(0))
    rows = X[:2].toarray() if sparse.issparse(X) else np.array(X[:2])
    was_training = module.training
    with torch.no_grad():
        out = module.eval()(torch.from_numpy(rows).to(device=like.device, dtype=like.dtype))
    module.train(was_training)
    if not isinstance(out, torch.Tensor) or out.ndim != 2 or out.shape[0] != len(rows):
        got = tuple(out.shape) if isinstance(out, torch.Tensor) else type(out).__name__
        raise ValueError(
            f"the mapper returned {got} for an input of shape {rows.shape}; it must return (n_rows, n_outputs)"
        )
    if out.shape[1] != n_outputs:
        raise ValueError(
            f"the mapper returned {out.shape[1]} outputs a row, and {n_outputs} are needed; change the module "
            f"or the number of components"
        )
    if not torch.isfinite(out).all():
        raise ValueError(
            "the mapper returned NaN or infinity for the first two rows; check its weights and X"
        )


def same_shapes(old, new) -> bool:
    """Whether one module's weights fit into another."""
    shapes = [{k: v.shape for k, v in module.state_dict().items()} for module in (old, new)]
    return shapes[0] == shapes[1]


def _to_cpu(q):
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            parameter = torch.nn.Parameter(value.detach().cpu().clone(), requires_grad=value.requires_grad)
            setattr(q, name, parameter)
    return q
