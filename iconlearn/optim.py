"""The only loop: minimise a loss over parameters, in phases, with one of three optimisers.

A *step* is a closure that leaves gradients on the parameters and returns the true loss.  The loop keeps the
best parameters it has seen, stops on a plateau of the true loss, calls back, and on Ctrl-C hands over the
best state instead of losing it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import torch

from .lbfgs import LBFGS

__all__ = ["OPTIMIZERS", "Phase", "Record", "Solution", "minimise"]


@dataclass(frozen=True)
class Phase:
    """A stretch of the optimisation.

    Parameters
    ----------
    n_iter : int
        Most iterations (epochs for a stochastic engine).
    learning_rate : float
        Step size; L-BFGS finds its own.
    momentum : float, default=0.8
        For the momentum optimiser.
    exaggeration : float, default=1.0
        Factor on the attraction of supported pairs.
    max_step : float or None, default=None
        Longest step of a point in the momentum optimiser; None is half the map's root-mean-square radius.
    name : str, default="main"
        For messages and records.
    """

    n_iter: int
    learning_rate: float
    momentum: float = 0.8
    exaggeration: float = 1.0
    max_step: float | None = None
    name: str = "main"


@dataclass(frozen=True)
class Record:
    """What a callback is told after each iteration.

    Attributes
    ----------
    iteration : int
        Iterations done, over all phases.
    phase : str
        Name of the phase.
    loss : float
        True (un-exaggerated) loss of this iteration.
    best_loss : float
        Lowest loss so far.
    seconds : float
        Time since the loop began.
    """

    iteration: int
    phase: str
    loss: float
    best_loss: float
    seconds: float


@dataclass(frozen=True, eq=False)
class Solution:
    """What a fit found.

    Attributes
    ----------
    loss : float
        Loss at the parameters that were kept.
    history : list of float
        True loss of every iteration.
    n_iter : int
        Iterations done.
    converged : bool
        Whether a plateau (or an exact optimum) was reached.
    reason : {"plateau", "max_iter", "callback", "interrupted", "diverged"}
        Why it ended.
    """

    loss: float
    history: list[float] = field(default_factory=list)
    n_iter: int = 0
    converged: bool = True
    reason: str = "plateau"


class MomentumGains:
    """Gradient descent with momentum and a gain for every coordinate (delta-bar-delta), as in t-SNE.

    A gain grows by 0.2 while its coordinate keeps moving downhill and shrinks by a fifth when it turns; no
    point moves further than `max_step` at once (None: half the map's root-mean-square radius).

    It has the ``step(closure)`` of torch's optimisers and is none of them: the first of those in a process
    loads torch's compiler, which takes longer than the whole fit of a small map.
    """

    def __init__(self, parameters, lr, momentum=0.8, max_step=None):
        self.lr, self.momentum, self.max_step = lr, momentum, max_step
        self.parameters = list(parameters)
        self.velocities = [torch.zeros_like(p) for p in self.parameters]
        self.gains = [torch.ones_like(p) for p in self.parameters]

    def step(self, closure):
        loss = closure()
        with torch.no_grad():
            for state in zip(self.parameters, self.velocities, self.gains, strict=True):
                if state[0].grad is not None:
                    self._move(*state)
        return loss

    def _move(self, parameter, velocity, gains):
        g = parameter.grad
        turning = g * velocity >= 0  # the velocity points downhill where it opposes the gradient
        gains.copy_(torch.where(turning & (velocity != 0), gains * 0.8, gains + 0.2)).clamp_min_(0.01)
        velocity.mul_(self.momentum).addcmul_(gains, g, value=-self.lr)
        if parameter.ndim == 2:
            length = torch.linalg.vector_norm(velocity, dim=1, keepdim=True)
            longest = self.max_step
            if longest is None:
                longest = 0.5 * parameter.square().sum(dim=1).mean().sqrt()
            scale = longest / length.clamp_min(1e-30)
            # A map that is a single point at the origin has no radius to measure a step by.
            velocity.mul_(torch.where(scale > 0, scale, 1.0).clamp_max(1.0))
        parameter.add_(velocity)


def _momentum(parameters, phase, **of_lbfgs):
    return MomentumGains(parameters, phase.learning_rate, phase.momentum, phase.max_step)


def _adam(parameters, phase, **of_lbfgs):
    return torch.optim.Adam(parameters, lr=phase.learning_rate)


def _lbfgs(parameters, phase, grad_tol=0.0, precondition=None, steady=False):
    return LBFGS(parameters, grad_tol, precondition, steady)


# Where the loss hovers above its best, the steps are cut to this share of their length, so many times at most.
CUT = 0.2
MAX_CUTS = 5

OPTIMIZERS = {"momentum": _momentum, "adam": _adam, "lbfgs": _lbfgs}


def minimise(
    epochs: Callable[[float], Iterable[Callable]],
    parameters: Sequence[torch.nn.Parameter],
    *,
    optimizer: str | Callable,
    phases: Sequence[Phase],
    tol: float,
    grad_tol: float = 0.0,
    precondition: Callable | None = None,
    steady: bool = False,
    patience: int = 50,
    after_step: Callable | None = None,
    callback: Callable | None = None,
    report: Callable | None = None,
) -> Solution:
    """Minimise a loss over `parameters`, which are changed in place and end at the best state seen.

    Parameters
    ----------
    epochs : callable
        ``epochs(exaggeration)`` yields the closures of one epoch; each takes no argument, leaves gradients
        on the parameters and returns the true loss as a tensor.
    parameters : list of Parameter
        What is learned.
    optimizer : {"momentum", "adam", "lbfgs"} or callable
        The method, or what makes one as the functions of ``OPTIMIZERS`` do.
    phases : list of Phase
        Run one after the other; only the last one may stop early.
    tol : float
        A plateau is an improvement below ``tol * |loss|`` over `patience` iterations.
    grad_tol : float, default=0.0
        L-BFGS also stops when the largest absolute gradient is below it.
    precondition : callable or None
        What is known of the inverse Hessian, for L-BFGS; see :class:`iconlearn.lbfgs.LBFGS`.
    steady : bool, default=False
        Whether every closure is the same function of the parameters, and `after_step` leaves them alone.
    patience : int, default=50
        Iterations that a plateau must last.
    after_step : callable or None
        Called after every step, for example to re-centre a map.
    callback : callable or None
        Called with a :class:`Record` after every iteration; a true answer stops the fit.
    report : callable or None
        Like `callback`, for progress messages; its answer is ignored.

    Returns
    -------
    Solution

    Raises
    ------
    FloatingPointError
        If the loss is not finite at the very start.
    """
    run = _Run(parameters, callback, report)

    def make(phase):
        options = {"grad_tol": grad_tol, "precondition": precondition, "steady": steady}
        method = optimizer if callable(optimizer) else OPTIMIZERS[optimizer]
        return method(parameters, phase, **options)

    try:
        for phase in phases:
            if run.phase(epochs, make, phase, tol, patience, phase is phases[-1], after_step):
                break
    except KeyboardInterrupt:
        run.reason = "interrupted"
    run.restore()
    return Solution(
        loss=run.best,
        history=run.history,
        n_iter=max(run.n_iter, 1),
        converged=run.reason == "plateau",
        reason=run.reason,
    )


class _Run:
    """The state of one minimisation: history, best parameters, and why it stopped."""

    def __init__(self, parameters, callback, report):
        self.parameters, self.callback, self.report = list(parameters), callback, report
        self.history, self.best, self.kept, self.n_iter = [], math.inf, None, 0
        self.reason, self.start = "max_iter", time.perf_counter()

    def phase(self, epochs, make, phase, tol, patience, last, after_step):
        """Run one phase by the optimiser that ``make(phase)`` gives; true if the whole run is over."""
        best_at_mark, mark, done, cuts = math.inf, 0, 0, 0
        method = make(phase)
        while done < phase.n_iter:
            value = self._epoch(epochs(phase.exaggeration), method, after_step)
            if not math.isfinite(value):
                if not self.history:
                    raise FloatingPointError(f"the loss is {value} at the start")
                self.reason = "diverged"
                return True
            done += 1
            self.n_iter += 1
            self.history.append(value)
            if self._told(phase, value):
                return True
            if not last:
                continue
            if getattr(method, "stationary", False):
                self.reason = "plateau"
                return True
            if done - mark >= patience:
                if best_at_mark - self.best <= tol * abs(self.best):
                    if not self._unstable(value, tol) or cuts == MAX_CUTS:
                        self.reason = "plateau"
                        return True
                    method, cuts = self._calmer(make, phase, cuts + 1), cuts + 1
                best_at_mark, mark = self.best, done
        return False

    def _unstable(self, value, tol):
        """Whether the loss hovers well above its best: the step is too long, not the search at its end."""
        return value - self.best > 10 * tol * abs(self.best)

    def _calmer(self, make, phase, cuts):
        """Go back to the best state and on from there with shorter steps."""
        self.restore()
        return make(replace(phase, learning_rate=phase.learning_rate * CUT**cuts))

    def _epoch(self, closures, method, after_step):
        """One pass over an epoch's closures; the mean of their losses."""
        total, count, single = 0.0, 0, None
        for closure in closures:
            keep = _Keeper(self, closure)
            loss = float(method.step(keep))
            if after_step is not None:
                after_step()
            total, count, single = total + loss, count + 1, keep
        value = total / count if count else math.nan
        if count == 1:
            single.commit()
        elif math.isfinite(value):
            self.best, self.kept = min(value, self.best), _copies(self.parameters)
        return value

    def _told(self, phase, value):
        record = Record(self.n_iter, phase.name, value, self.best, time.perf_counter() - self.start)
        if self.report is not None:
            self.report(record)
        if self.callback is not None and self.callback(record):
            self.reason = "callback"
            return True
        return False

    def restore(self):
        """Put the best parameters back."""
        if self.kept is not None:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, self.kept, strict=True):
                    parameter.copy_(value)


class _Keeper:
    """A closure that remembers the best point at which it was evaluated.

    An optimiser evaluates before it moves, so the parameters that belong to a loss are those of the moment
    of evaluation; with a single closure an epoch its loss is exact and ranks them.
    """

    def __init__(self, run, closure):
        self.run, self.closure = run, closure
        self.loss, self.values = run.best, None

    def __call__(self):
        loss = self.closure()
        value = float(loss.detach())
        if value < self.loss:
            self.loss, self.values = value, _copies(self.run.parameters)
        return loss

    def commit(self):
        if self.values is not None:
            self.run.best, self.run.kept = self.loss, self.values


def _copies(parameters):
    return [p.detach().clone() for p in parameters]
