"""One reference for all candidates of a search: minus the divergence from a fixed reference."""

from __future__ import annotations

from dataclasses import replace

import torch

from .._warnings import warn
from ..divergences import KL
from ..engines import Dense
from ..learned import copy_in_double
from ..loss import loss
from ..mappers import TableModule
from ..objective import Points, Problem
from ..supervisory import KNN

# Neighbours of a row, but no more than a fifth of the rows: with all others for neighbours one cluster is best.
N_NEIGHBORS, ROWS_PER_NEIGHBOR = 15, 5
SHARE = 0.05
# Below so many rows a single neighbour is all that there is to go by.
FEW = 2 * ROWS_PER_NEIGHBOR
# Of clusters: what a candidate may choose and the reference may not.
PLAIN = {"balance": 1.0, "degree_weighted": False, "mass_momentum": 0.0}


def reference_score(X, Z, q, n_jobs=None, weight=None):
    """-mean_i KL(p_ref(.|i) || q_ref(.|i)) over the rows of X at the places Z.

    p_ref is uniform over 15 neighbours (a fifth of the rows, where that is less) with a uniform share of 0.05.  q_ref
    is the kernel of q with that share, each row normalised by itself; of clusters with balance 1 and without degrees.
    Neither depends on the p, debias, balance or normalisation of the candidate.  Rows are of a `weight`, if any: in the
    mean, and of clusters also in their sizes, as so many copies.
    """
    n = X.shape[0]
    if n < 3:
        raise ValueError(f"score compares neighbourhoods and needs at least 3 rows, got {n}")
    if n < FEW:
        warn(
            f"score compares the neighbourhoods of the rows that it gets, and {n} rows say little: give at least "
            f"{FEW}, for example by a smaller cv"
        )
    k = min(N_NEIGHBORS, max(n // ROWS_PER_NEIGHBOR, 1))
    p = KNN(k).fit(X, n_jobs=n_jobs).conditional_.with_uniform(SHARE)
    q = q.finite()
    changes = {name: value for name, value in PLAIN.items() if name in q.get_params()}
    changes["normalize"] = "self" if "self" in q.normalizers else "row"
    reference = copy_in_double(q, debias=SHARE, **changes)
    points = Points(TableModule(Z.double()).requires_grad_(False), X.shape[0])
    problem = Problem(p.with_self_pairs() if reference.self_pairs else p, reference, KL(), points, points)
    if weight is not None:
        shared = reference.shared_clusters
        problem = problem.of_copies(weight) if shared else replace(problem, p=problem.p.with_mass(weight))
    engine = Dense()
    visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]
    with torch.no_grad():
        return -float(loss(problem, engine, visit))
