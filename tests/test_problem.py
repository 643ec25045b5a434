"""The waist between components and engines: points, entropy, what is learned."""

import numpy as np
import pytest
import torch
from reference import block_p, full_p, make_problem, places, random_rows, sparse_p, xlogy
from scipy.sparse import csr_array

from iconlearn import conditional as conditional_module
from iconlearn import objective as problem_module
from iconlearn.learned import Cosine, Student
from iconlearn.mappers import TableModule
from iconlearn.objective import Objective, Points

N = 12
P = random_rows(N, density=0.4, self_pairs=False)
MASS = np.arange(1.0, N + 1)


@pytest.mark.parametrize("form", [sparse_p, block_p])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("self_pairs", [False, True])
@pytest.mark.parametrize("mass", [None, MASS])
def test_entropy(form, uniform, self_pairs, mass):
    rows = P.copy()
    rows[4] = 0
    p = form(rows, uniform=uniform, self_pairs=self_pairs, mass=mass)
    expected = -(p.row_mass[:, None] * xlogy(full_p(p), full_p(p))).sum()
    assert make_problem(p, Student(), places(N, 2)).entropy() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("equal", [False, True])
@pytest.mark.parametrize("block", [1, 30, 2**16])
def test_entropy_of_edges_by_blocks_and_of_equal_weights(uniform, equal, block, monkeypatch):
    monkeypatch.setattr(conditional_module, "ENTROPY_BLOCK", block)
    rows = P.copy()
    if equal:
        columns = np.arange(N)
        rows = ((columns - columns[:, None]) % N % 4 == 1) / 3.0
    rows[4] = 0
    p = sparse_p(rows, uniform=uniform, self_pairs=False, mass=MASS)
    expected = -(p.row_mass[:, None] * xlogy(full_p(p), full_p(p))).sum()
    assert make_problem(p, Student(), places(N, 2)).entropy() == pytest.approx(expected, abs=1e-12)
    p.edges.data[0] = 0.0  # a stored zero
    expected = -(p.row_mass[:, None] * xlogy(full_p(p), full_p(p))).sum()
    assert p.mean_entropy() == pytest.approx(expected, abs=1e-12)


def test_entropy_between_two_sets():
    p = sparse_p(random_rows(N, 5), uniform=0.2)
    problem = make_problem(p, Student(), places(N, 2), columns=places(5, 2))
    assert problem.entropy() == pytest.approx(-xlogy(full_p(p), full_p(p)).sum() / N)
    assert problem.n_pairs == 60 and not problem.tied
    assert make_problem(sparse_p(P), Student(), places(N, 2)).tied


def test_points_of_a_table_and_of_features():
    Z, rows = places(N, 2), torch.tensor([4, 1])
    table = Points(TableModule(torch.as_tensor(Z)), N)
    np.testing.assert_array_equal(table.at().detach(), Z)
    np.testing.assert_array_equal(table.at(rows).detach(), Z[[4, 1]])
    layer = torch.nn.Linear(2, 3).double()
    expected = (Z @ layer.weight.T.detach().numpy()) + layer.bias.detach().numpy()
    for inputs in (torch.as_tensor(Z), csr_array(Z)):
        points = Points(layer, N, inputs)
        np.testing.assert_allclose(points.at().detach(), expected)
        np.testing.assert_allclose(points.at(rows).detach(), expected[[4, 1]])


def test_what_is_learned_is_listed_once():
    q = Cosine(learnable=True)
    one = make_problem(sparse_p(P), q, places(N, 2))
    other = problem_module.Problem(one.p, q, one.divergence, one.rows, one.columns)
    learned = Objective((one, other)).parameters
    assert [t.shape for t in learned] == [(N, 2), ()]
    q.log_scale_.requires_grad_(False)
    assert len(Objective((one, other)).parameters) == 1
