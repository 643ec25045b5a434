"""A fit in the making: the values that a plan is made of, and how its terms are put together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import sparse
from sklearn.base import clone

from ..problem import Objective, Points, Problem

__all__ = ["Plan", "Terms", "begun_copy", "check_module", "same_shapes"]


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


class Terms:
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


def check_module(module, spec, X, n_outputs):
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


def begun_copy(q, **changes):
    """A copy of a fitted q in double precision, with what it has learned and some parameters changed."""
    copy = clone(q, safe=False).set_params(**changes)
    copy.begin(dtype=torch.float64)
    for name, value in vars(q).items():
        if isinstance(value, torch.Tensor):
            setattr(copy, name, value.detach().double())
    return copy
