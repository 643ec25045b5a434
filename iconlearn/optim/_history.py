"""The record of a minimisation: its losses as they come, the callbacks that hear of them, and what it ends with.

Every loop that iterates has one: the loop over gradients, Lloyd's steps, majorise-minimise steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np


class Entropies(NamedTuple):
    """What a loss that is a KL does not say of the pairs that it sees.

    Attributes
    ----------
    n_candidates : int
        Columns that a row chooses from; those of a batch, where there are batches.
    entropy : float
        H(p), the mean entropy of the rows of p, in nats.
    column_entropy : float
        H(j) of the columns that p draws, in nats; at most the logarithm of the candidates.
    """

    n_candidates: int
    entropy: float
    column_entropy: float


@dataclass(eq=False)
class _Moment:
    """What answers questions of an iteration, by name, as long as the iteration lasts; None after it."""

    answers: dict[str, Callable] | None = None


@dataclass(frozen=True)
class Record:
    """What a callback receives after each iteration.

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
    _moment: _Moment = field(default_factory=_Moment, repr=False, compare=False)

    def outputs(self) -> np.ndarray:
        """The present places of the training rows, or their present memberships, as a copy of one's own.

        They are found when this is called, and cost nothing otherwise.  They are those of the moment: the best state
        may be another, and clusters are numbered with those that end without rows.

        Returns
        -------
        ndarray of shape (n_samples, n_outputs)

        Raises
        ------
        RuntimeError
            Once the callback has returned, since the fit has gone on.
        """
        return self._ask("outputs", "gives the places of the moment")

    def transform(self, X) -> np.ndarray:
        """What the mapper, as it is now, gives for rows that the fit need not know.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            All features, or those alone that the mapper reads.

        Returns
        -------
        ndarray of shape (n, n_outputs)
            As ``transform`` of an estimator that ended with this iteration.

        Raises
        ------
        ValueError
            If the mapper is a table, which has places for the rows of the fit alone.
        RuntimeError
            As for :meth:`outputs`.
        """
        return self._ask("transform", "asks the mapper of the moment", X)

    def log_kernels(self, X, Y) -> np.ndarray:
        """How near the model, as it is now, says that rows are: logarithms of the kernel of q.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; as for :meth:`transform`.
        Y : array-like of shape (m, n_features)
            Columns, which are seen through the column mapper where there is one.

        Returns
        -------
        ndarray of shape (n, m)
            Less the logarithm of the sum of their exponentials over a row's candidates they are log q.

        Raises
        ------
        ValueError
            If rows or columns are no features, or q is that of shared clusters, which needs all rows at once.
        RuntimeError
            As for :meth:`outputs`.
        """
        return self._ask("log_kernels", "asks the mapper of the moment", X, Y)

    def entropies(self) -> Entropies:
        """The entropies of p over the pairs that the loss is a mean of: with the loss they give a cross-entropy.

        Of batches they are means over an epoch that is drawn for this.

        Raises
        ------
        ValueError
            If the loss is not that of one KL alone.
        RuntimeError
            As for :meth:`outputs`.
        """
        return self._ask("entropies", "asks the fit that goes on")

    def _ask(self, name, what, *arguments):
        if self._moment.answers is None:
            raise RuntimeError(
                f"{name}() {what}, and iteration {self.iteration} is over; call it inside the callback, and keep what "
                f"it returns"
            )
        if name not in self._moment.answers:
            raise RuntimeError(f"{name}() {what}, and this minimisation has none")
        return self._moment.answers[name](*arguments)


@dataclass(frozen=True, eq=False)
class Solution:
    """What a fit found.

    Attributes
    ----------
    loss : float
        Loss at the parameters that were kept; where it is an estimate, the mean of the epoch that led to them.
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
    estimated : bool
        Whether the loss is an estimate.
    """

    loss: float
    history: Sequence[float] | np.ndarray = field(default_factory=list)
    n_iter: int = 0
    converged: bool = True
    reason: str = "plateau"
    phases: Sequence[str] | np.ndarray = field(default_factory=list)
    constant: Callable[[], float] | None = None
    parts: np.ndarray | None = None
    estimated: bool = False

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


def asks_to_stop(answer) -> bool:
    """Whether a callback's answer ends a fit: True alone does.

    Functions that write or count return numbers, strings and arrays, which say nothing about the fit.
    """
    return isinstance(answer, bool | np.bool_) and bool(answer)


def answering(callback, **answers):
    """The callback, whose records answer further questions by functions of these names while it looks at them.

    Parameters
    ----------
    callback : callable or None
        Returned as it is where it is None.
    **answers
        What gives the answers of :meth:`Record.transform`, :meth:`Record.log_kernels` and :meth:`Record.entropies`.
    """
    if callback is None:
        return None

    def shown(record):
        record._moment.answers.update(answers)
        return callback(record)

    return shown


class History:
    """Losses and their phases, in the order of the iterations.

    Parameters
    ----------
    callback : callable or None
        Called with a :class:`Record` after every iteration; True ends the minimisation, any other answer is ignored.
    report : callable or None
        Like `callback`, for progress messages; its answer is ignored.
    constant : callable or None
        What all losses lack, found once a record is to be made.
    outputs : callable or None
        ``outputs()`` makes the array that :meth:`Record.outputs` gives.

    Attributes
    ----------
    losses : list of float
    phases : list of str
    best : float
        The lowest loss so far.
    """

    def __init__(self, callback=None, report=None, constant=None, outputs=None):
        self.callback, self.report, self.constant, self.outputs = callback, report, constant, outputs
        self.losses: list[float] = []
        self.phases: list[str] = []
        self.best, self.begun = math.inf, time.perf_counter()

    def __len__(self):
        return len(self.losses)

    @property
    def seconds(self):
        """Time since the beginning."""
        return time.perf_counter() - self.begun

    def resume(self, losses, phases, best, seconds):
        """Go on from what an earlier process has left."""
        self.losses, self.phases, self.best = list(losses), list(phases), best
        self.begun = time.perf_counter() - seconds

    def add(self, loss, phase, best=None, outputs=None) -> bool:
        """Add an iteration; true where the callback ends the minimisation.

        Parameters
        ----------
        loss : float
        phase : str
        best : float or None
            The lowest loss so far, where that is not the lowest of the iterations.
        outputs : callable or None
            As for the class, where it is another one at every iteration.
        """
        self.losses.append(float(loss))
        self.phases.append(phase)
        self.best = min(self.best, self.losses[-1]) if best is None else best
        if self.report is None and self.callback is None:
            return False
        whole = 0.0 if self.constant is None else self.constant()
        outputs = outputs or self.outputs
        moment = _Moment({} if outputs is None else {"outputs": outputs})
        record = Record(len(self), phase, self.losses[-1] + whole, self.best + whole, self.seconds, moment)
        try:
            if self.report is not None:
                self.report(record)
            return self.callback is not None and asks_to_stop(self.callback(record))
        finally:
            moment.answers = None  # records may be kept, and the state of the fit is not to be kept with them

    def solution(self, reason, loss=None) -> Solution:
        """What the minimisation ends with; its loss is the last one where none is given."""
        if loss is None:
            loss = self.losses[-1] if self.losses else math.inf
        return Solution(
            loss, self.losses, max(len(self), 1), reason == "plateau", reason, self.phases, self.constant
        )
