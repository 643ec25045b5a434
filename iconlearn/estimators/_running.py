"""From a plan to a solution: the engine's own solver, or the loop over the visits of every term."""

from __future__ import annotations

import itertools
from contextlib import contextmanager

import numpy as np
import torch

from ..loops import threads_for
from ..objective import loss
from ..optim import Solution, minimise
from ._ridge import preconditioner

__all__ = ["present_loss", "run"]

# Epochs in a row that may find no pair in any batch.
MAX_EMPTY = 20


def run(plan, progress, n_iter, *, tol, callback, **options):
    """Solve or minimise the plan's objective; its parameters end at the best state.

    Parameters
    ----------
    plan : Plan
    progress : Progress
        Told of every iteration.
    n_iter : int
        Most iterations.
    tol, callback
        As in :func:`iconlearn.optim.minimise`.
    **options
        What the loop takes besides: optimizer, phases, grad_tol, patience, after_step.

    Returns
    -------
    solution : Solution
    parts : ndarray of shape (n_records, n_terms)
        Weighted terms of the loss; one column where the engine solved all terms together.
    """
    if plan.engine.solves:
        solution = plan.engine.solve(
            plan.objective, max_iter=n_iter, tol=tol, rng=plan.rng, callback=callback, report=progress
        )
        return solution, np.array(solution.history, dtype=float)[:, None]
    parts, parameters = _Parts(len(plan.objective.problems)), plan.objective.parameters
    if not parameters:
        return Solution(present_loss(plan)), parts.history()
    after_step = _and_follow(plan.objective, options.pop("after_step", None))
    if options["optimizer"] == "lbfgs":
        options["precondition"] = preconditioner(plan)
        options["steady"] = not plan.engine.stochastic and after_step is None
    threads = threads_for(_work(plan), plan.device, own_loops=plan.engine.own_loops)
    with _own_randomness(plan), threads:
        solution = minimise(
            _epochs(plan, parts),
            parameters,
            tol=tol,
            callback=callback,
            report=parts.and_then(progress),
            after_step=after_step,
            **options,
        )
    return solution, parts.history()


def _and_follow(objective, after_step):
    """Let every teacher of the objective take its step after the others'."""
    teachers = {id(m): m for problem in objective.problems if hasattr(m := problem.columns.mapper, "step")}
    if not teachers:
        return after_step

    def both():
        if after_step is not None:
            after_step()
        for teacher in teachers.values():
            teacher.step()

    return both


def _work(plan):
    """Products of one step over all rows: the pairs, and the rows times the weights of a network."""
    pairs = sum(problem.n_pairs for problem in plan.objective.problems)
    weights = sum(w.numel() for w in plan.mapper.parameters()) if plan.parametric else 0
    return pairs + plan.X.shape[0] * weights


def present_loss(plan):
    """The loss of a plan as its parameters are now."""
    visits = [next(iter(next(stream))) for stream in _streams(plan)]
    with torch.no_grad():
        return sum(
            problem.weight * float(loss(problem, plan.engine, visit))
            for problem, visit in zip(plan.objective.problems, visits, strict=True)
        )


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


class _Parts:
    """Keeps the weighted loss of every term at every iteration: the mean over the visits of an epoch.

    A line search evaluates a visit many times; the last value is the one that the history has.
    """

    def __init__(self, n_terms):
        self.n_terms, self.visits, self.rows = n_terms, [], []

    def expect(self, *, first):
        """A visit begins, perhaps the first of an epoch."""
        self.visits = [None] if first else [*self.visits, None]

    def note(self, values):
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
        for _ in range(MAX_EMPTY):
            k = -1
            for k, visit in enumerate(next(first)):
                parts.expect(first=k == 0)
                visits = [visit, *(next(stream) for stream in others)]
                yield lambda visits=visits: closure(visits, pull)
            if k >= 0:
                return
        raise ValueError(
            "no batch holds a pair that p supports, so there is nothing to learn from; raise batch_size or "
            "n_positives of the mini-batch engine"
        )

    return epoch
