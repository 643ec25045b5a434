"""The methods by their names, and the phases that set their steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ._lbfgs import LBFGS
from ._momentum import MomentumGains


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
    further : int, default=0
        Most iterations beyond `n_iter`; they are taken in turns of 25, each for as long as the last ten iterations have
        lowered the loss by the share `falling` of it.
    falling : float, default=0.0
        See `further`.
    relocates : bool, default=False
        Whether rows are relocated before it, where the run knows how.  If its steps are those of the phase before, the
        method of that one goes on, and these rows begin at rest.
    may_end : bool, default=False
        Whether the rule that stops a run in its last phase ends this one as well, so that the next one begins.
    name : str, default="main"
        For messages and records.
    """

    n_iter: int
    learning_rate: float
    momentum: float = 0.8
    exaggeration: float = 1.0
    max_step: float | None = None
    cooling: float = 0.0
    further: int = 0
    falling: float = 0.0
    relocates: bool = False
    may_end: bool = False
    name: str = "main"

    @property
    def steps(self):
        """What its steps are made by, apart from the loss."""
        return self.learning_rate, self.momentum, self.max_step


def _momentum(parameters, phase, mean=None, **of_others):
    return MomentumGains(parameters, phase.learning_rate, phase.momentum, phase.max_step, mean)


def _adam(parameters, phase, rates=None, **of_lbfgs):
    if rates is None:
        return torch.optim.Adam(parameters, lr=phase.learning_rate)
    groups = [
        {"params": [t], "lr": rate * phase.learning_rate} for t, rate in zip(parameters, rates, strict=True)
    ]
    return torch.optim.Adam(groups)


def _lbfgs(parameters, phase, grad_tol=0.0, precondition=None, steady=False, **of_others):
    return LBFGS(parameters, grad_tol, precondition, steady)


OPTIMIZERS = {"momentum": _momentum, "adam": _adam, "lbfgs": _lbfgs}
