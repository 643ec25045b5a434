"""One yardstick for all candidates of a search: minus the divergence from a fixed reference."""

from __future__ import annotations

import torch

from ..divergences import KL
from ..engines import Dense
from ..learned import copy_in_double
from ..loss import loss
from ..mappers import TableModule
from ..objective import Points, Problem
from ..supervisory import KNN

__all__ = ["reference_score"]

N_NEIGHBORS = 15
SHARE = 0.05


def reference_score(X, Z, q, n_jobs=None):
    """-mean_i KL(p_ref(.|i) || q_ref(.|i)) over the rows of X at the places Z.

    p_ref is uniform over 15 neighbours with a uniform share of 0.05, q_ref is q with that share; neither
    depends on the debias or the p of the candidate.
    """
    if X.shape[0] < 3:
        raise ValueError(f"score compares neighbourhoods and needs at least 3 rows, got {X.shape[0]}")
    p = KNN(min(N_NEIGHBORS, X.shape[0] - 1)).fit(X, n_jobs=n_jobs).conditional_.with_uniform(SHARE)
    reference = copy_in_double(q.finite(), debias=SHARE)
    points = Points(TableModule(Z.double()).requires_grad_(False), X.shape[0])
    problem = Problem(p.with_self_pairs() if q.self_pairs else p, reference, KL(), points, points)
    engine = Dense()
    visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]
    with torch.no_grad():
        return -float(loss(problem, engine, visit))
