"""Rows of a table that are visited in another order: losses, gradients and moves are those of the table's own order."""

import numpy as np
import pytest
import torch
from reference import make_problem, places, random_rows, sparse_p

from iconlearn.engines import Mesh, Sampled, _visit, relocate
from iconlearn.learned import Student
from iconlearn.loss import loss, row_divergences
from iconlearn.numerics import threads

N = 90


def problem_of(width, *, normalize="row", mass=None, **parameters):
    p = sparse_p(random_rows(N, density=0.08, self_pairs=False), self_pairs=False, mass=mass)
    problem = make_problem(p, Student(normalize=normalize), places(N, width, scale=2.0), **parameters)
    problem.rows.mapper.float()
    return problem


def both(problem, engine, monkeypatch):
    """A visit in the order of the table, and one in another."""
    for many in (N + 1, N):
        monkeypatch.setattr(_visit, "MANY_ROWS", many)
        monkeypatch.setattr(_visit, "MANY_POINTS", many)
        options = {"rng": np.random.RandomState(0), "dtype": torch.float32, "device": "cpu"}
        (visit,) = next(iter(engine.visits(problem, **options)))
        assert (visit.order is None) == (many > N)
        yield visit
    assert (visit.order.rows != np.arange(N)).any()


WEIGHTS = np.linspace(1.0, 3.0, N) / np.linspace(1.0, 3.0, N).sum()


@pytest.mark.parametrize("mass", [None, WEIGHTS])
@pytest.mark.parametrize("normalize", ["row", "joint"])
@pytest.mark.parametrize("width, compiled", [(2, True), (2, False), (3, True)])
def test_the_mesh_finds_the_same(width, compiled, normalize, mass, monkeypatch):
    if compiled:
        pytest.importorskip("numba")
        monkeypatch.setattr(threads, "MANY_POINTS", N)
    problem, engine = problem_of(width, normalize=normalize, mass=mass), Mesh()
    found = []
    for visit in both(problem, engine, monkeypatch):
        value = loss(problem, engine, visit, pull=2.0)
        (gradient,) = torch.autograd.grad(value, problem.rows.mapper.places)
        found.append((value.detach(), gradient, row_divergences(problem, engine, visit)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_drawn_columns_find_the_same(monkeypatch):
    problem, engine = problem_of(5), Sampled(N)  # every column is drawn, so that no draw differs
    monkeypatch.setattr(threads, "MANY_POINTS", N)
    found = []
    for visit in both(problem, engine, monkeypatch):
        value = loss(problem, engine, visit)
        found.append((value.detach(), torch.autograd.grad(value, problem.rows.mapper.places)[0]))
    torch.testing.assert_close(found[1], found[0], rtol=1e-4, atol=1e-6)


def test_the_same_rows_move(monkeypatch):
    problem, engine = problem_of(2), Mesh()
    table = problem.rows.mapper.places
    before, found = table.detach().clone(), []
    for visit in both(problem, engine, monkeypatch):
        with torch.no_grad():
            table.copy_(before)
        moved = relocate(problem, engine, visit)
        found.append((moved, table.detach().clone()))
        assert 0 < moved.sum() < N
    assert (found[0][0] == found[1][0]).all()
    torch.testing.assert_close(found[1][1], found[0][1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change", [{"copies": np.ones(N)}, {"columns": places(N, 2)}, {"dtype": torch.float64}, {}]
)
def test_what_no_loop_goes_through_keeps_its_order(change, monkeypatch):
    monkeypatch.setattr(_visit, "MANY_ROWS", 2)
    copies = {"copies": change["copies"]} if "copies" in change else {}
    p = sparse_p(random_rows(N, density=0.08, self_pairs=False), self_pairs=False, **copies)
    problem = make_problem(p, Student(), places(N, 2), columns=change.get("columns"))
    options = {"dtype": change.get("dtype", torch.float32), "device": "cpu"}
    assert _visit.visit_all(problem, **options, ordered=bool(change)).order is None
