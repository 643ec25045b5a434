"""The loop: minimise a loss over parameters, in phases, by one of the methods.

A *step* is a closure that leaves gradients on the parameters and returns the true loss.  The loop keeps the
best parameters it has seen (the latest, where the loss is only estimated), stops when a rule of
:mod:`iconlearn.optim._plateau` says so, calls back, and on Ctrl-C returns that state instead of losing it.
Where parameters are on a device of its own, it may read losses after several steps only; see ``_stretch.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import torch

from ._history import History, Solution
from ._methods import OPTIMIZERS, Phase
from ._momentum import MomentumGains
from ._plateau import EstimatedPlateau, Plateau, Verdict
from ._stretch import Stretches, copies, put_back

# What a rule's SHORTEN leaves of the steps.
CUT = 0.2
# Whether a phase has further iterations is asked after so many, of the last of which the fall of the loss is measured:
# rows that were relocated shortly before fall for some steps whatever the others do.
TURN, MEASURED = 25, 10


def minimise(
    epochs: Callable[[Phase], Iterable[Callable]],
    parameters: Sequence[torch.nn.Parameter],
    *,
    optimizer: str | Callable,
    phases: Sequence[Phase],
    rule: Plateau | EstimatedPlateau,
    rates: Sequence[float] | None = None,
    grad_tol: float = 0.0,
    precondition: Callable | None = None,
    steady: bool = False,
    after_step: Callable | None = None,
    callback: Callable | None = None,
    report: Callable | None = None,
    keep: Callable | None = None,
    tensors: Callable | None = None,
    outputs: Callable | None = None,
    terms: Callable | None = None,
    hold: Callable | None = None,
    record: bool = False,
    relocate: Callable | None = None,
    mean: Callable | None = None,
) -> Solution:
    """Minimise a loss over `parameters`, which are changed in place and end at the state that is kept.

    Parameters
    ----------
    epochs : callable
        ``epochs(phase)`` yields the closures of one epoch; each takes no argument, leaves gradients on the
        parameters and returns the true loss as a tensor, alone or followed by its terms.
    parameters : list of Parameter
        What is learned.
    optimizer : {"momentum", "adam", "lbfgs"} or callable
        The method, or what makes one as the functions of ``OPTIMIZERS`` do.
    phases : list of Phase
        Run one after the other; only the last one, and those that say so, may stop early.
    rule : Plateau or EstimatedPlateau
        Decides during these phases, after every iteration, whether to continue.
    rates : list of float or None, default=None
        Factors on the step size of each parameter, for Adam.
    grad_tol : float, default=0.0
        L-BFGS also stops when the largest absolute gradient is below it.
    precondition : callable or None
        What is known of the inverse Hessian, for L-BFGS; see :class:`iconlearn.optim._lbfgs.LBFGS`.
    steady : bool, default=False
        Whether every closure is the same function of the parameters, and `after_step` leaves them alone.
    after_step : callable or None
        Called after every step, for example to re-centre a map.
    callback : callable or None
        Called with a :class:`Record` after every iteration; True stops the fit, any other answer is ignored.
    report : callable or None
        Like `callback`, for progress messages; its answer is ignored.
    keep : callable or None
        ``keep(iteration, state)`` is called after every iteration that is not the last.  What ``state()`` gives is
        where a later run goes on that finds it as ``keep.state`` (else None), its parameters being as they were.
    tensors : callable or None
        ``tensors()`` lists all that belongs to a state, the parameters among them; None is the parameters alone.
    outputs : callable or None
        ``outputs()`` makes the array that :meth:`Record.outputs` gives.
    terms : callable or None
        Called with the terms of every iteration's loss, a list of floats: the means of an epoch.
    hold : callable or None
        Lets steps of the momentum method be taken without reading their losses; see
        :class:`iconlearn.optim._stretch.Stretches`.  With a callback or a report every loss is read at once.
    record : bool, default=False
        Whether such steps may be recorded, where they are CUDA's: they are the same operations on the same tensors
        every time, and the host keeps nothing of them.
    relocate : callable or None
        ``relocate()`` gives rows of the only parameter other places, and the mask of these rows; called before phases
        that ask for it, by the momentum method.
    mean : callable or None
        The mean of one value for each row, over the rows of all processes; None where there is one process.

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
    history = History(callback, report, outputs=outputs)
    if callback is not None or report is not None or not rule.ranks:
        hold = None
    run = _Run(tensors or (lambda: parameters), rule, history, keep, terms, hold, record, relocate)

    def make(phase):
        options = {
            "grad_tol": grad_tol,
            "precondition": precondition,
            "steady": steady,
            "rates": rates,
            "mean": mean,
        }
        method = optimizer if callable(optimizer) else OPTIMIZERS[optimizer]
        return method(parameters, phase, **options)

    state = getattr(keep, "state", None)
    if state is not None:
        run.resume(state, make, phases)
    try:
        for phase in phases[run.place :]:
            if run.phase(epochs, make, phase, phase is phases[-1], after_step):
                break
            run.place += 1
    except KeyboardInterrupt:
        if run.running is None:  # no step was taken, so there is nothing to keep
            raise
        run.reason = "interrupted"
        if not history.losses:  # in the midst of the first epoch
            run.loss = run.running
    run.restore()
    return history.solution(run.reason, run.loss)


class _Run:
    """The state of one minimisation: its history, the tensors that are kept, and why it stopped."""

    def __init__(self, tensors, rule, history, keep, terms, hold, record, relocate):
        self.tensors, self.rule, self.history, self.keep, self.terms = tensors, rule, history, keep, terms
        self.stretches = None if hold is None else Stretches(self, hold, record)
        self.reason, self.cooling = "max_iter", 0.0
        # The tensors that are kept, and the loss that belongs to them.
        self.kept, self.loss = None, math.inf
        self.relocate = relocate
        # The phases that are over, whether the present one has begun, and its iterations.
        self.place, self.begun, self.done, self.method, self.running = 0, False, 0, None, None
        self.steps = None

    def phase(self, epochs, make, phase, last, after_step):
        """Run one phase by the optimiser that ``make(phase)`` gives; true if the whole run is over."""
        if phase.cooling != self.cooling:
            self.cooling, self.kept = phase.cooling, None
            self.history.best = self.loss = math.inf
        if not self.begun:
            moved = self.relocate() if phase.relocates and self.relocate is not None else None
            if moved is None or phase.steps != self.steps:
                self.method = make(phase)
            else:
                self.method.rest(moved)
            self.steps = phase.steps
            self.begun, self.done = True, 0
            self.rule.restart()
        judged = last or phase.may_end
        while left := self._left(phase):
            n = self._length(left, judged)
            if n > 1:
                values = self.stretches.take(epochs, phase, self.method, after_step, n)
            else:
                values = [self._epoch(epochs(phase), self.method, after_step)]
            if self.add_all(values, phase):
                return True
            value = values[-1][0]
            if judged and self._at_rest(make, phase, value):
                self.reason = "plateau"
                if last:
                    return True
                break
            if self.keep is not None:
                self.keep(len(self.history), self.state)
        self.begun = False
        return False

    def _left(self, phase):
        """Iterations of a phase until its end, or until it is asked whether it goes on."""
        beyond = self.done - phase.n_iter
        if beyond < 0:
            return -beyond
        left = min(TURN - beyond % TURN, phase.further - beyond)
        return left if left > 0 and (beyond % TURN or self._falls(phase.falling)) else 0

    def _falls(self, share):
        """Whether the last iterations have lowered the loss by that share of it."""
        before, *measured = self.history.losses[-MEASURED - 1 :]
        return len(measured) == MEASURED and before - measured[-1] > share * abs(measured[-1])

    def _length(self, left, judged):
        """How many steps are taken before the host reads their losses, none of which can matter before."""
        if self.stretches is None or not isinstance(self.method, MomentumGains):
            return 1
        return self.stretches.length(min(left, self.rule.least(self.done)) if judged else left)

    def add_all(self, values, phase):
        """Add iterations, each a loss and its terms; true if the whole run is over."""
        for value, terms in values:
            if not math.isfinite(value):
                if not self.history.losses:
                    raise FloatingPointError(f"the loss is {value} at the start")
                self.reason = "diverged"
                return True
            self.done += 1
            if self.terms is not None:
                self.terms(terms)
            if self.history.add(value, phase.name, self.history.best):
                self.reason = "callback"
                return True
        return False

    def _at_rest(self, make, phase, value):
        """Whether nothing is left to gain; steps that are too long are shortened first."""
        stationary = getattr(self.method, "stationary", False)
        verdict = Verdict.STOP if stationary else self.rule(self.done, value, self.history.best)
        if verdict is Verdict.SHORTEN:
            self.restore()
            self.method = self._shortened(make, phase)
        return verdict is Verdict.STOP

    def _shortened(self, make, phase):
        """The optimiser with steps as short as the rule has made them."""
        return make(replace(phase, learning_rate=phase.learning_rate * CUT**self.rule.cuts))

    def state(self):
        """What :meth:`resume` takes."""
        history = self.history
        return {
            "history": history.losses, "phases": history.phases, "best": history.best, "seconds": history.seconds,
            "n_iter": len(history), "place": self.place, "done": self.done, "cooling": self.cooling,
            "kept": self.kept, "loss": self.loss, "reason": self.reason, "rule": dict(vars(self.rule)),
            "method": self.method.state_dict(), "stretches": None if self.stretches is None else self.stretches.state(),
        }  # fmt: skip

    def resume(self, state, make, phases):
        """Go on from a state."""
        self.history.resume(*(state[name] for name in ("history", "phases", "best", "seconds")))
        for name in ("place", "done", "cooling", "kept"):
            setattr(self, name, state[name])
        # Earlier versions took the lowest loss for that of the state that is kept, and had no phase that ends early.
        self.loss, self.reason = state.get("loss", state["best"]), state.get("reason", self.reason)
        vars(self.rule).update(state["rule"])
        if self.stretches is not None:
            self.stretches.resume(state.get("stretches"))
        self.method = self._shortened(make, phases[self.place])
        self.method.load_state_dict(state["method"])
        self.begun, self.steps = True, phases[self.place].steps

    def _epoch(self, closures, method, after_step):
        """One pass over an epoch's closures; the mean of their losses, and of the terms of these."""
        total, count, single, terms = 0.0, 0, None, []
        for closure in closures:
            evaluation = (_Keeper if self.rule.ranks else _Evaluation)(self, closure)
            loss = float(method.step(evaluation))
            if after_step is not None:
                after_step()
            total, count, single = total + loss, count + 1, evaluation
            terms.append(evaluation.terms)
            self.running = total / count
        value = total / count if count else math.nan
        if count == 1 and self.rule.ranks:
            single.commit()
        elif not all_finite(self.tensors()):
            value = math.nan  # the last step was one too many, which only the next loss would show
        elif math.isfinite(value):
            # The latest state, after steps that each lowered an estimate of their own.
            self.history.best = min(value, self.history.best)
            self.loss, self.kept = value, copies(self.tensors())
        return value, [sum(values) / count for values in zip(*terms, strict=True)]

    def restore(self):
        """Put the tensors that are kept back."""
        if self.kept is not None:
            put_back(self.tensors(), self.kept)


class _Evaluation:
    """A closure that remembers the terms of its last loss: a line search evaluates many times."""

    def __init__(self, run, closure):
        self.run, self.closure, self.terms = run, closure, []

    def __call__(self):
        # One wait for the loss and its terms, wherever they are.
        losses = self.closure().detach().reshape(-1).cpu()
        loss, *self.terms = losses.tolist()
        self.note(loss)
        return losses[0]

    def note(self, loss):
        """Nothing but the terms is remembered."""


class _Keeper(_Evaluation):
    """A closure that also remembers the best point at which it was evaluated.

    An optimiser evaluates before it moves, so the parameters that belong to a loss are those of the moment
    of evaluation; with a single closure an epoch its loss is exact and ranks them.
    """

    def __init__(self, run, closure):
        super().__init__(run, closure)
        self.loss, self.values = run.history.best, None

    def note(self, loss):
        if loss < self.loss:
            self.loss, self.values = loss, copies(self.run.tensors())

    def commit(self):
        if self.values is not None:
            self.run.history.best = self.run.loss = self.loss
            self.run.kept = self.values


def all_finite(tensors) -> bool:
    """Whether no tensor has a NaN or an infinity, at one wait for a device."""
    numbers = [t.detach().flatten() for t in tensors if t.is_floating_point() and t.numel()]
    return not numbers or math.isfinite(torch.linalg.vector_norm(torch.cat(numbers), torch.inf))
