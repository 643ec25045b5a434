"""What a fit keeps while it runs, so that another process may go on where this one ends.

A callback that has ``keeper(estimator, X, y, sample_weight)`` is asked for one: an object with the methods of
:class:`Forgetful`.  Stages are "begin" (the random state), "supervision" (all fitted p), "start" (places, weights)
and "optimisation" (the loop, as often as it is due).
"""

from __future__ import annotations

import torch

__all__ = ["Forgetful", "callbacks", "keeper_of", "restore", "state_of", "told"]


class Forgetful:
    """Keeps nothing."""

    def recall(self, stage):
        """What an earlier fit of the same data left of a stage, or None."""
        return None

    def keep(self, stage, make):
        """Keep what ``make()`` gives."""

    def due(self, iteration):
        """Whether the loop should be kept after this iteration."""
        return False

    def done(self, solution):
        """The fit is over; unless it was interrupted, nobody will go on with it."""


def callbacks(callback):
    """All callbacks of an estimator's parameter: None, one, or a list of them."""
    if callback is None:
        return []
    return list(callback) if isinstance(callback, list | tuple) else [callback]


def told(every):
    """One function that tells all of a list of a record, whatever one of them answers; None for an empty list."""
    if len(every) < 2:
        return every[0] if every else None
    return lambda record: any([each(record) for each in every])


def keeper_of(estimator, X, y, weight):
    """The keeper that one of the estimator's callbacks brings, or one that keeps nothing."""
    for callback in callbacks(estimator.callback):
        if hasattr(callback, "keeper"):
            return callback.keeper(estimator, X, y, weight)
    return Forgetful()


def state_of(plan):
    """All that steps change: weights, buffers, what q has learned, and where the draws are."""
    return {
        "weights": [module.state_dict() for module in _modules(plan)],
        "learned": [parameter.detach() for parameter in plan.objective.parameters],
        "chosen": [getattr(problem.q, "chosen", {}) for problem in plan.objective.problems],
        "rng": plan.rng,
        "generator": plan.generator.get_state(),
    }


@torch.no_grad()
def restore(plan, state):
    """Put a state back."""
    for module, weights in zip(_modules(plan), state["weights"], strict=True):
        module.load_state_dict(weights)
    for parameter, value in zip(plan.objective.parameters, state["learned"], strict=True):
        parameter.copy_(value)
    for problem, chosen in zip(plan.objective.problems, state["chosen"], strict=True):
        vars(problem.q).update(chosen)
    plan.rng.set_state(state["rng"].get_state(legacy=False))
    plan.generator.set_state(state["generator"])


def _modules(plan):
    """The mappers of all terms, teachers among them, each once."""
    ends = [points for problem in plan.objective.problems for points in (problem.rows, problem.columns)]
    return list({id(points.mapper): points.mapper for points in ends}.values())
