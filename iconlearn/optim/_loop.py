"""The only loop: minimise a loss over parameters, in phases, with one of three optimisers.

A *step* is a closure that leaves gradients on the parameters and returns the true loss.  The loop keeps the
best parameters it has seen (the latest, where the loss is only estimated), stops when a rule of
:mod:`iconlearn.optim._plateau` says so, calls back, and on Ctrl-C hands over that state instead of losing it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from ._lbfgs import LBFGS
from ._plateau import Verdict

__all__ = ["OPTIMIZERS", "Phase", "Record", "Solution", "copies", "minimise", "put_back"]


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
    cooling : float, default=0.0
        How far on its way from the first temperature to the last a q is that cools, in [0, 1]; losses at
        different temperatures are not compared.
    name : str, default="main"
        For messages and records.
    """

    n_iter: int
    learning_rate: float
    momentum: float = 0.8
    exaggeration: float = 1.0
    max_step: float | None = None
    cooling: float = 0.0
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
        Loss at the parameters that were kept; where losses are estimates, the lowest of the epochs.
    history : sequence of float
        True loss of every iteration.
    n_iter : int
        Iterations done.
    converged : bool
        Whether a plateau (or an exact optimum) was reached.
    reason : {"plateau", "max_iter", "callback", "interrupted", "diverged"}
        Why it ended.
    phases : sequence of str
        Name of the phase that each entry of the history belongs to.
    constant : callable or None
        ``constant()`` finds what all the losses lack, the same number for all; None where that is nothing.
    parts : ndarray of shape (n_records, n_terms) or None
        The weighted terms of each entry of the history; None where they were solved together.
    """

    loss: float
    history: Sequence[float] | np.ndarray = field(default_factory=list)
    n_iter: int = 0
    converged: bool = True
    reason: str = "plateau"
    phases: Sequence[str] | np.ndarray = field(default_factory=list)
    constant: Callable[[], float] | None = None
    parts: np.ndarray | None = None

    def completed(self):
        """The same with all of its losses."""
        lacking = self.constant()
        return replace(
            self,
            loss=self.loss + lacking,
            history=np.asarray(self.history, dtype=float) + lacking,
            constant=None,
            parts=None if self.parts is None else self.parts + lacking,
        )


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

    def state_dict(self):
        """What the next step depends on, besides the parameters."""
        return {"velocities": self.velocities, "gains": self.gains}

    def load_state_dict(self, state):
        for mine, stored in zip(
            self.velocities + self.gains, state["velocities"] + state["gains"], strict=True
        ):
            mine.copy_(stored)

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


# What a rule's SHORTEN leaves of the steps.
CUT = 0.2

OPTIMIZERS = {"momentum": _momentum, "adam": _adam, "lbfgs": _lbfgs}


def minimise(
    epochs: Callable[[Phase], Iterable[Callable]],
    parameters: Sequence[torch.nn.Parameter],
    *,
    optimizer: str | Callable,
    phases: Sequence[Phase],
    rule: Callable,
    grad_tol: float = 0.0,
    precondition: Callable | None = None,
    steady: bool = False,
    after_step: Callable | None = None,
    callback: Callable | None = None,
    report: Callable | None = None,
    keep: Callable | None = None,
    tensors: Callable | None = None,
) -> Solution:
    """Minimise a loss over `parameters`, which are changed in place and end at the state that is kept.

    Parameters
    ----------
    epochs : callable
        ``epochs(phase)`` yields the closures of one epoch; each takes no argument, leaves gradients on the
        parameters and returns the true loss as a tensor.
    parameters : list of Parameter
        What is learned.
    optimizer : {"momentum", "adam", "lbfgs"} or callable
        The method, or what makes one as the functions of ``OPTIMIZERS`` do.
    phases : list of Phase
        Run one after the other; only the last one may stop early.
    rule : Plateau or EstimatedPlateau
        Says during the last phase, after every iteration, whether to go on.
    grad_tol : float, default=0.0
        L-BFGS also stops when the largest absolute gradient is below it.
    precondition : callable or None
        What is known of the inverse Hessian, for L-BFGS; see :class:`iconlearn.optim._lbfgs.LBFGS`.
    steady : bool, default=False
        Whether every closure is the same function of the parameters, and `after_step` leaves them alone.
    after_step : callable or None
        Called after every step, for example to re-centre a map.
    callback : callable or None
        Called with a :class:`Record` after every iteration; a true answer stops the fit.
    report : callable or None
        Like `callback`, for progress messages; its answer is ignored.
    keep : callable or None
        ``keep(iteration, state)`` is called after every iteration that is not the last.  What ``state()`` gives is
        where a later run goes on that finds it as ``keep.state`` (else None), its parameters being as they were.
    tensors : callable or None
        ``tensors()`` lists all that belongs to a state, the parameters among them; None is the parameters alone.

    Returns
    -------
    Solution

    Raises
    ------
    FloatingPointError
        If the loss is not finite at the very start.
    KeyboardInterrupt
        If it came before the first step; a later one ends the run, and its reason is "interrupted".
    """
    run = _Run(tensors or (lambda: parameters), rule, callback, report, keep)

    def make(phase):
        options = {"grad_tol": grad_tol, "precondition": precondition, "steady": steady}
        method = optimizer if callable(optimizer) else OPTIMIZERS[optimizer]
        return method(parameters, phase, **options)

    state = getattr(keep, "state", None)
    if state is not None:
        run.go_on(state, make, phases)
    try:
        for phase in phases[run.place :]:
            if run.phase(epochs, make, phase, phase is phases[-1], after_step):
                break
            run.place += 1
    except KeyboardInterrupt:
        if run.running is None:  # no step was taken, so there is nothing to keep
            raise
        run.reason = "interrupted"
        if not run.history:  # in the midst of the first epoch
            run.best = run.running
    run.restore()
    return Solution(
        loss=run.best,
        history=run.history,
        n_iter=max(run.n_iter, 1),
        converged=run.reason == "plateau",
        reason=run.reason,
        phases=run.phases,
    )


class _Run:
    """The state of one minimisation: history, tensors that are kept, and why it stopped."""

    # What another run needs to go on from here, besides the states of the optimiser and of the rule; "place" counts
    # the phases that are over, "done" is about the present one.
    STATE = ("history", "phases", "best", "kept", "n_iter", "place", "done", "cooling")

    def __init__(self, tensors, rule, callback, report, keep):
        self.tensors, self.rule, self.callback, self.report = tensors, rule, callback, report
        self.history, self.phases, self.best, self.kept, self.n_iter = [], [], math.inf, None, 0
        self.reason, self.start, self.cooling, self.keep = "max_iter", time.perf_counter(), 0.0, keep
        self.place, self.done, self.method, self.running = 0, 0, None, None

    def phase(self, epochs, make, phase, last, after_step):
        """Run one phase by the optimiser that ``make(phase)`` gives; true if the whole run is over."""
        if phase.cooling != self.cooling:
            self.cooling, self.best, self.kept = phase.cooling, math.inf, None
        if self.method is None:
            self.method, self.done = make(phase), 0
        while self.done < phase.n_iter:
            value = self._epoch(epochs(phase), self.method, after_step)
            if not math.isfinite(value):
                if not self.history:
                    raise FloatingPointError(f"the loss is {value} at the start")
                self.reason = "diverged"
                return True
            self.done += 1
            self.n_iter += 1
            self.history.append(value)
            self.phases.append(phase.name)
            if self._told(phase, value):
                return True
            if last and self._at_rest(make, phase, value):
                self.reason = "plateau"
                return True
            if self.keep is not None:
                self.keep(self.n_iter, self.state)
        self.method = None
        return False

    def _at_rest(self, make, phase, value):
        """Whether nothing is left to gain; steps that are too long are cut first."""
        stationary = getattr(self.method, "stationary", False)
        verdict = Verdict.STOP if stationary else self.rule(self.done, value, self.best)
        if verdict is Verdict.SHORTEN:
            self.restore()
            self.method = self._calmer(make, phase)
        return verdict is Verdict.STOP

    def _calmer(self, make, phase):
        """The optimiser with steps as short as the rule has made them."""
        return make(replace(phase, learning_rate=phase.learning_rate * CUT**self.rule.cuts))

    def state(self):
        """What :meth:`go_on` takes."""
        state = {name: getattr(self, name) for name in self.STATE}
        seconds = time.perf_counter() - self.start
        return {
            **state, "rule": dict(vars(self.rule)), "method": self.method.state_dict(), "seconds": seconds,
        }  # fmt: skip

    def go_on(self, state, make, phases):
        """Go on from a state."""
        for name in self.STATE:
            setattr(self, name, state[name])
        vars(self.rule).update(state["rule"])
        self.start = time.perf_counter() - state["seconds"]
        self.method = self._calmer(make, phases[self.place])
        self.method.load_state_dict(state["method"])

    def _epoch(self, closures, method, after_step):
        """One pass over an epoch's closures; the mean of their losses."""
        total, count, single = 0.0, 0, None
        for closure in closures:
            keep = _Keeper(self, closure)
            loss = float(method.step(keep))
            if after_step is not None:
                after_step()
            total, count, single = total + loss, count + 1, keep
            self.running = total / count
        value = total / count if count else math.nan
        if count == 1 and self.rule.ranks:
            single.commit()
        elif math.isfinite(value):
            self.best, self.kept = min(value, self.best), copies(self.tensors())
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
        """Put the tensors that are kept back."""
        if self.kept is not None:
            put_back(self.tensors(), self.kept)


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
            self.loss, self.values = value, copies(self.run.tensors())
        return loss

    def commit(self):
        if self.values is not None:
            self.run.best, self.run.kept = self.loss, self.values


def copies(tensors):
    """Copies of tensors as they are now."""
    return [t.detach().clone() for t in tensors]


@torch.no_grad()
def put_back(tensors, values):
    """Give tensors the values that :func:`copies` took of them."""
    for tensor, value in zip(tensors, values, strict=True):
        tensor.copy_(value)
