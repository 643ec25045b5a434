"""Assignments by a network, a block of rows at a time: no array of all rows and all clusters is made.

A head with a thousand clusters and a million rows would need eight gigabytes for its assignments alone, so labels
are taken off blocks, and the head is taught the start of a part of the rows.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from sklearn.base import clone

from ..objective import Objective, Points

__all__ = ["assignments", "blocks", "labels_of", "part_of"]

# Numbers of a block of assignments, and of those of the rows that a head is taught on.
BLOCK, MAX_TAUGHT = 2**22, 2 * 10**7


def blocks(n_rows, n_outputs):
    """Slices of the rows."""
    step = max(1, BLOCK // n_outputs)
    return (slice(start, start + step) for start in range(0, n_rows, step))


def assignments(q, mapped, X, n_outputs):
    """Yield the assignments of X in double precision, block by block; `mapped` gives the outputs for rows."""
    for part in blocks(X.shape[0], n_outputs):
        yield q.represent(mapped(X[part])).double().numpy()


def labels_of(parts, used, min_confidence):
    """The most probable cluster among those in use, -1 below the confidence."""
    labels = []
    for r in parts:
        r = r[:, used]
        found = r.argmax(axis=1)
        if min_confidence > 0:
            found[r.max(axis=1) < min_confidence * r.sum(axis=1)] = -1
        labels.append(found)
    return np.concatenate(labels)


def part_of(plan, n_outputs):
    """The plan, or one of a random part of its rows where the assignments of all would be too many to hold."""
    n_rows = max(MAX_TAUGHT // n_outputs, 2 * n_outputs)
    if not plan.parametric or plan.X.shape[0] <= n_rows or not getattr(plan.p, "from_features", False):
        return plan
    chosen = np.sort(plan.rng.permutation(plan.X.shape[0])[:n_rows])
    p = clone(plan.p).fit(plan.X[chosen], random_state=int(plan.rng.randint(2**31 - 1)))
    inputs = plan.rows.inputs
    inputs = inputs[torch.as_tensor(chosen)] if isinstance(inputs, torch.Tensor) else inputs[chosen]
    points = Points(plan.mapper, n_rows, inputs, n_outputs)
    conditional = p.conditional_.with_self_pairs() if plan.q.self_pairs else p.conditional_
    problem = replace(plan.problem, p=conditional, rows=points, columns=points)
    return replace(plan, X=plan.X[chosen], p=p, rows=points, objective=Objective((problem,)))
