"""The two forms of p against dense matrices: shares, masses, restricted columns."""

import pickle

import numpy as np
import pytest
from reference import Block
from scipy.sparse import csr_array

from iconlearn import conditional
from iconlearn.conditional import BlockConditional, Conditional, normalize_rows
from iconlearn.supervisory import Gaussian, WideGaussian


def dense_p(n=12, self_pairs=False, density=1.0, seed=0):
    rng = np.random.default_rng(seed)
    P = rng.random((n, n)) * (rng.random((n, n)) < density)
    if not self_pairs:
        np.fill_diagonal(P, 0)
    return P / P.sum(axis=1, keepdims=True)


def full_rows(entries, shape, self_pairs, row_ids, col_ids):
    """Entries written out as a dense matrix, the floor included."""
    if entries.i is None:
        return entries.p
    full = np.full(shape, entries.floor)
    full[entries.i, entries.j] = entries.p
    if not self_pairs:
        full[np.asarray(row_ids)[:, None] == np.asarray(col_ids)] = 0
    return full


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("form", ["sparse", "block"])
def test_entries_equal_the_definition(self_pairs, uniform, form):
    P = dense_p(self_pairs=self_pairs, density=0.6)
    if form == "sparse":
        p = Conditional(csr_array(P), uniform, None, self_pairs)
    else:
        p = BlockConditional(Block(P), P.shape, uniform, None, self_pairs)
    candidates = np.ones_like(P) - (not self_pairs) * np.eye(12)
    expected = (1 - uniform) * P + uniform * candidates / candidates.sum(axis=1, keepdims=True)
    everything = full_rows(p.entries(), P.shape, self_pairs, range(12), range(12))
    np.testing.assert_allclose(everything, expected)
    np.testing.assert_allclose(everything.sum(axis=1), 1)
    rows = np.array([3, 1, 8])
    some = full_rows(p.entries(rows), (3, 12), self_pairs, rows, range(12))
    np.testing.assert_allclose(some, expected[rows])
    batch = np.array([0, 3, 4, 7, 9])
    visited = p.entries(batch, batch)
    block = full_rows(visited, (5, 5), self_pairs, batch, batch)
    np.testing.assert_allclose(block.sum(axis=1)[visited.mass > 0], 1)
    Q, C = P[np.ix_(batch, batch)], candidates[np.ix_(batch, batch)]
    Q = Q / Q.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(block, (1 - uniform) * Q + uniform * C / C.sum(axis=1, keepdims=True))
    assert p.n_rows == p.n_cols == 12 and p.n_candidates == 11 + self_pairs
    np.testing.assert_allclose(p.sparse().toarray(), P)


@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("form", ["sparse", "block"])
def test_full_rows_hold_the_share_and_no_pair_that_is_no_candidate(self_pairs, uniform, form):
    P = dense_p(self_pairs=self_pairs, density=0.6)
    P[4] = 0
    given = csr_array(P) if form == "sparse" else Block(P)
    shape = () if form == "sparse" else (P.shape,)
    p = (Conditional if form == "sparse" else BlockConditional)(given, *shape, uniform, None, self_pairs)
    candidates = np.ones_like(P) - (not self_pairs) * np.eye(12)
    expected = (1 - uniform) * P + uniform * candidates / candidates.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(p.full(), expected)
    rows = np.array([7, 2, 4])
    np.testing.assert_allclose(p.full(rows), expected[rows])
    positive = expected > 0
    np.testing.assert_allclose(p.log()[positive], np.log(expected[positive]))
    assert (p.log()[~positive] == np.log(np.finfo(float).tiny)).all()
    np.testing.assert_array_equal(p.log(rows), p.log()[rows])


def test_logarithms_of_a_block_that_knows_them_do_not_underflow():
    x = np.array([[0.0], [1.0], [60.0]])
    log = Gaussian(sigma=1.0, self_pairs=True).fit(x).conditional_.log()
    assert log[0, 2] == pytest.approx(-1800 - np.log(1 + np.exp(-0.5)))


def test_a_p_in_the_limit_has_no_full_rows():
    with pytest.raises(ValueError, match="no probabilities; use a p of finite bandwidth"):
        WideGaussian().fit(np.arange(6.0)[:, None]).conditional_.full()


def test_shares_compose():
    p = Conditional(csr_array(dense_p())).with_uniform(0.2).with_uniform(0.5)
    assert p.uniform == pytest.approx(1 - 0.8 * 0.5)


def test_masses_sum_to_one_and_skip_empty_rows():
    P = dense_p()
    P[4] = 0
    mass = np.arange(1.0, 13.0)
    expected = np.where(np.arange(12) == 4, 0, mass) / (mass.sum() - 5)
    sparse = Conditional(csr_array(P), mass=mass)
    block = BlockConditional(Block(P), P.shape, mass=mass, empty=np.arange(12) == 4)
    for p in (sparse, block):
        np.testing.assert_allclose(p.row_mass, expected)
        np.testing.assert_allclose(p.entries().mass, expected)
        part = expected[[3, 4, 6]]
        np.testing.assert_allclose(p.entries(np.array([3, 4, 6])).mass, part / part.sum())
        even = p.with_mass(None).row_mass
        np.testing.assert_allclose(even, (np.arange(12) != 4) / 11)
        assert list(np.flatnonzero(~p.supported())) == [4]
        assert p.with_self_pairs().n_candidates == p.n_cols


def test_entries_are_sorted_by_row_then_column():
    shuffled = csr_array(([0.5, 0.5, 1.0], [2, 0, 1], [0, 2, 3]), shape=(2, 3))
    entries = Conditional(shuffled).entries()
    assert list(entries.i) == [0, 0, 1] and list(entries.j) == [0, 2, 1]


def test_normalize_rows_drops_zeros_and_keeps_its_input():
    raw = csr_array(([2.0, 0.0, 6.0], [0, 1, 2], [0, 3, 3]), shape=(2, 3))
    rows = normalize_rows(raw)
    np.testing.assert_allclose(rows.toarray(), [[0.25, 0, 0.75], [0, 0, 0]])
    assert rows.nnz == 2 and raw.nnz == 3 and raw.data[0] == 2


def test_a_large_block_form_refuses_to_become_sparse(monkeypatch):
    monkeypatch.setattr(conditional, "MAX_MATERIALISED", 100)
    p = BlockConditional(Block(dense_p()), (12, 12))
    with pytest.raises(ValueError, match="finite n_neighbors"):
        p.sparse()


def test_both_forms_pickle():
    for p in (Conditional(csr_array(dense_p())), BlockConditional(Block(dense_p()), (12, 12))):
        again = pickle.loads(pickle.dumps(p))
        np.testing.assert_array_equal(again.sparse().toarray(), p.sparse().toarray())


def test_entries_that_no_sum_notices_are_no_support():
    raw = csr_array([[1.0, 1e-17, 0.0], [1e-20, 2e-20, 0.0], [1.0, 1.0, 1e-3]])
    rows = normalize_rows(raw)
    np.testing.assert_allclose(rows.toarray()[1], [1 / 3, 2 / 3, 0])
    assert list(np.diff(rows.indptr)) == [1, 2, 3] and raw.nnz == 7
