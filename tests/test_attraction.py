"""The attraction along edges: compiled loops against plain torch, and who gets which."""

import numpy as np
import pytest
import torch
from reference import FLOAT64, places, random_rows, sparse_p

from iconlearn.divergences import KL
from iconlearn.engines import Dense
from iconlearn.learned import Custom, Gaussian, Student
from iconlearn.loss import _DeviceAttraction, attraction, loss
from iconlearn.mappers import TableModule
from iconlearn.numerics import threads as loops
from iconlearn.objective import Points, Problem

N = 300
KERNELS = {"student": Student(), "student-half": Student(0.5), "gaussian": Gaussian(2.0)}


def problem_of(q, width):
    """A problem in single precision over random edges, some rows of which have none."""
    P = random_rows(N, density=0.05, self_pairs=False)
    P[::7] = 0
    q.begin(dtype=torch.float32)
    rows = Points(TableModule(torch.as_tensor(places(N, width) * 3, dtype=torch.float32)), N, width=width)
    return Problem(sparse_p(P, self_pairs=False), q, KL(), rows, rows)


def value_and_gradient(problem, pull=1.0):
    engine = Dense()
    visit = next(engine.visits(problem, rng=None, dtype=torch.float32, device="cpu"))[0]
    value = loss(problem, engine, visit, pull)
    return float(value.detach()), torch.autograd.grad(value, problem.rows.mapper.places)[0]


# The pull multiplies the gradient that the loops have found, whatever the width.
@pytest.mark.parametrize(("width", "pull"), [(1, 1.0), (2, 4.0), (3, 1.0)])
@pytest.mark.parametrize("name", KERNELS)
def test_compiled_is_plain(name, width, pull, monkeypatch):
    pytest.importorskip("numba")
    problem = problem_of(KERNELS[name], width)
    plain = value_and_gradient(problem, pull)
    monkeypatch.setattr(loops, "MANY_POINTS", N)
    monkeypatch.setattr("iconlearn.loss.pairs", None)
    compiled = value_and_gradient(problem, pull)
    assert compiled[0] == pytest.approx(plain[0], rel=1e-5)
    torch.testing.assert_close(compiled[1], plain[1], rtol=1e-4, atol=1e-5 * float(plain[1].abs().max()))


@pytest.mark.parametrize("pull", [1.0, 4.0])
@pytest.mark.parametrize("width", [1, 2, 5])
@pytest.mark.parametrize("name", KERNELS)
def test_sums_in_the_order_of_the_edges_are_plain(name, width, pull):
    """The form that devices take, here on the CPU."""
    q, problem = KERNELS[name], problem_of(KERNELS[name], width)
    visit = next(Dense().visits(problem, rng=None, dtype=torch.float32, device="cpu"))[0]
    pointers, columns, weights = map(torch.from_numpy, visit.both_ways)
    rows = torch.arange(N).repeat_interleave(pointers.diff())
    U = problem.rows.mapper.places
    plain = attraction(q, U, U, visit.edges, visit.pulled, pull)
    ends = torch.cat([rows, columns])
    found = _DeviceAttraction.apply(U, (pointers, columns, weights, ends), *q.edge_form, pull, U.detach())
    assert float(found) == pytest.approx(float(plain), rel=1e-5)
    # The loss falls as the attraction rises, and only such gradients are multiplied by the exaggeration.
    one, two = (torch.autograd.grad(-3.0 * value, U)[0] for value in (plain, found))
    torch.testing.assert_close(two, one, rtol=1e-4, atol=1e-5 * float(one.abs().max()))


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(n_threads):
    pytest.importorskip("numba")
    from iconlearn.numerics.compiled import edge_terms

    rng = np.random.default_rng(0)
    counts = rng.integers(0, 9, N)
    pointers = np.r_[0, np.cumsum(counts)].astype(np.int64)
    columns = rng.integers(0, N, pointers[-1]).astype(np.int32)
    weights = rng.random(pointers[-1]).astype(np.float32)
    U = places(N, 2).astype(np.float32)
    s = ((U[np.repeat(np.arange(N), counts)].astype(float) - U[columns]) ** 2).sum(axis=1)
    for offset, terms in ((1.0, np.log1p(s)), (1e-3, np.log1p(s / 1e-3)), (np.inf, s)):
        total, gradient = edge_terms(U, U, pointers, columns, weights, offset, n_threads)
        assert total == pytest.approx((weights * terms).sum(), rel=1e-5)
        np.testing.assert_array_equal(gradient, edge_terms(U, U, pointers, columns, weights, offset, 1)[1])


def test_kernels_of_another_form_and_double_precision_stay_plain(monkeypatch):
    monkeypatch.setattr(loops, "MANY_POINTS", 2)
    assert Custom(lambda s: -s).edge_form is None
    assert not loops.compiled_pays(torch.zeros(9, 2, dtype=torch.float64))
    assert not loops.compiled_pays(torch.zeros(9, 4))
    assert loops.compiled_pays(torch.zeros(9, 3))
    q = Student()
    q.begin(**FLOAT64)
    rows = Points(TableModule(torch.as_tensor(places(9, 2))), 9, width=2)
    problem = Problem(sparse_p(random_rows(9, self_pairs=False), self_pairs=False), q, KL(), rows, rows)
    visit = next(Dense().visits(problem, rng=None, **FLOAT64))[0]
    U = rows.at(None)
    assert torch.autograd.gradcheck(
        lambda U: attraction(q, U, U, visit.edges, visit.pulled), (U.detach().requires_grad_(),)
    )


def test_small_steps_run_on_one_thread_and_long_loops_keep_theirs():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with loops.threads_for(10, torch.device("cpu")):
            assert torch.get_num_threads() == 1 == loops.available()
        with loops.threads_for(loops.SMALL + 1, torch.device("cpu"), own_loops=True):
            assert (torch.get_num_threads(), loops.available()) == (1, 3)
        with loops.threads_for(loops.SMALL + 1, torch.device("cpu")):
            assert torch.get_num_threads() == 3 == loops.available()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
