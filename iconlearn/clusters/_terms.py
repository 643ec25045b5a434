"""The symmetric weights of pairs of rows that all terms of a loss have together."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from ._shards import ShardWeights
from ._weights import PairWeights


def pair_weights(terms, n_off=None, rng=None) -> PairWeights:
    """The weights w of all terms of a loss together.

    Parameters
    ----------
    terms : sequence of Problem
        All over the same rows and under the same shared clusters; each p has sparse support.
    n_off : int or None
        Random columns per row that stand for the uniform share of p; None leaves it to all pairs.  They estimate the
        loss of assignments that were found without them; steps on them would fit the draw.
    rng : RandomState or None
        Draws the columns.
    """
    n, n_all = terms[0].p.shape
    debias = _shared("debias", terms)
    balance = _shared("balance_", terms)
    total, floor = None, np.zeros(n)
    for term in terms:
        mass = term.weight * term.p.row_mass
        edges = term.p.sparse()
        own = np.repeat(mass * (1.0 - term.p.uniform), np.diff(edges.indptr))
        edges = sparse.csr_array((edges.data * own, edges.indices, edges.indptr), shape=(n, n_all))
        total = edges if total is None else total + edges
        floor += mass * term.p.uniform
    if n_off is not None and floor.any():
        copies = terms[0].p.copies
        if copies is None:
            cols = rng.randint(n_all, size=n * n_off)
        else:
            cols = rng.choice(n, n * n_off, p=copies / n)
        pointers = np.arange(0, n * n_off + 1, n_off)
        values = np.repeat(floor / n_off, n_off)
        total, floor = total + sparse.csr_array((values, cols, pointers), shape=(n, n_all)), np.zeros(n)
    if terms[0].p.sharded:
        edges, halo = terms[0].p.both_ways(total)
        return ShardWeights(edges, halo, floor / n_all, debias, balance)
    return PairWeights(total, floor / n, debias, terms[0].p.copies, balance)


def _shared(name, terms):
    """The one value that a parameter of q has in all terms."""
    values = {getattr(term.q, name) for term in terms}
    if len(values) > 1:
        raise ValueError(
            f"all terms must share one {name.rstrip('_')} of q in the partition engine, got {sorted(values)}"
        )
    return values.pop()
