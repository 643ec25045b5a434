"""From a plan to a solution: the engine's own solver, or the loop over the visits of every term."""

from __future__ import annotations

import itertools
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from .._randomness import torch_seeded
from ..loss import loss
from ..mappers import draws
from ..numerics.threads import threads_for
from ..optim import EstimatedPlateau, Plateau, Solution, minimise
from ._keeping import restore, state_of
from ._ridge import preconditioner

__all__ = ["present_loss", "run"]

# Epochs in a row that may find no pair in any batch.
MAX_EMPTY = 20

# Temperatures of a q that cools.
N_COOLING = 8


def run(plan, progress, n_iter, *, tol, patience, callback, **options):
    """Solve or minimise the plan's objective; its parameters end at the state that is kept.

    Parameters
    ----------
    plan : Plan
    progress : Progress
        Told of every iteration.
    n_iter : int
        Most iterations.
    tol, patience
        As in :class:`iconlearn.optim._plateau.Plateau`, or where losses are estimates, in its neighbour.
    callback
        As in :func:`iconlearn.optim._loop.minimise`.
    **options
        What the loop takes besides: optimizer, phases, grad_tol, after_step.

    Returns
    -------
    solution : Solution
    parts : ndarray of shape (n_records, n_terms)
        Weighted terms of the loss; one column where the engine solved all terms together.
    """
    if plan.engine.solves:
        solution = plan.engine.solve(
            plan.objective,
            max_iter=n_iter,
            tol=tol,
            rng=plan.rng,
            callback=callback,
            report=progress if progress.verbose else None,
        )
        return solution, np.array(solution.history, dtype=float)[:, None]
    parts, parameters = _Parts(len(plan.objective.problems)), plan.objective.parameters
    if not parameters:
        return Solution(present_loss(plan)), parts.history()
    if any(problem.q.cools for problem in plan.objective.problems):
        options["phases"] = _cooling(options["phases"])
    after_step = _and_follow(plan.objective, options.pop("after_step", None))
    if options["optimizer"] == "lbfgs":
        options["precondition"] = preconditioner(plan)
        options["steady"] = not plan.engine.stochastic and after_step is None
    threads = threads_for(_work(plan), plan.device, own_loops=plan.engine.own_loops)
    with _own_randomness(plan), threads:
        keep = _Keeping(plan, parts)
        solution = minimise(
            _epochs(plan, parts),
            parameters,
            rule=_rule(plan)(tol, patience),
            callback=callback,
            report=parts.and_then(progress),
            after_step=after_step,
            keep=keep,
            tensors=lambda: plan.objective.state,
            **options,
        )
    return solution, parts.history()


def _cooling(phases):
    """The last phase in parts, from the first temperature of q to its last one."""
    *before, last = phases
    parts = np.array_split(np.arange(last.n_iter), min(N_COOLING, last.n_iter))
    cooled = 1 - np.linspace(0, 1, len(parts))[::-1]  # a single part is at the last temperature
    return [
        *before,
        *(replace(last, n_iter=len(p), cooling=float(c)) for p, c in zip(parts, cooled, strict=True)),
    ]


def _rule(plan):
    """Estimated losses are not judged as exact ones are."""
    estimated = any(plan.engine.estimates(problem) for problem in plan.objective.problems)
    return EstimatedPlateau if estimated else Plateau


class _Keeping:
    """Keeps the loop, the plan and torch's draws whenever that is due, and puts back what was kept before.

    Attributes
    ----------
    state : dict or None
        Where the loop was.
    """

    def __init__(self, plan, parts):
        self.plan, self.parts = plan, parts
        kept = plan.keeper.recall("optimisation")
        self.state = None if kept is None else kept["loop"]
        if kept is not None:
            restore(plan, kept["plan"])
            parts.rows = list(kept["parts"])
            if kept["draws"] is not None:
                torch.set_rng_state(kept["draws"])

    def __call__(self, iteration, state):
        if self.plan.keeper.due(iteration):
            self.plan.keeper.keep("optimisation", lambda: self._everything(state()))

    def _everything(self, loop):
        draws = torch.get_rng_state() if _draws(self.plan) else None
        return {"loop": loop, "plan": state_of(self.plan), "parts": self.parts.rows, "draws": draws}


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


def _own_randomness(plan):
    """What views and modules draw in training (dropout) follows the fit's seed and leaves torch's own state alone."""
    seed = int(torch.randint(2**31 - 1, (), generator=plan.generator))
    return torch_seeded(seed, plan.device) if _draws(plan) else nullcontext()


def _draws(plan):
    """Whether anything in the loop asks torch itself for random numbers."""
    return any(
        problem.fresh or draws(problem.rows.mapper) or draws(problem.columns.mapper)
        for problem in plan.objective.problems
    )


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

    def epoch(phase):
        for problem in objective.problems:
            problem.q.cool(phase.cooling)
        for _ in range(MAX_EMPTY):
            k = -1
            for k, visit in enumerate(next(first)):
                parts.expect(first=k == 0)
                visits = [visit, *(next(stream) for stream in others)]
                yield lambda visits=visits: closure(visits, phase.exaggeration)
            if k >= 0:
                return
        raise ValueError(
            "no batch holds a pair that p supports, so there is nothing to learn from; raise batch_size or "
            "n_positives of the mini-batch engine"
        )

    return epoch
