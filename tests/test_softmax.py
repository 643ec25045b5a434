"""The short cut for few columns says what the engines' sums by blocks say, and what torch says."""

from unittest.mock import patch

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from iconlearn.conditional import Conditional
from iconlearn.divergences import KL
from iconlearn.engines import Dense, MiniBatch
from iconlearn.engines._visit import visit_all
from iconlearn.learned import Cosine, Dot, Gaussian, InversePower, Student
from iconlearn.loss import loss
from iconlearn.mappers import TableModule, UnitVectors
from iconlearn.objective import Points, Problem

N, K = 23, 5
RNG = np.random.default_rng(0)
CODES = RNG.integers(K, size=N)
ONE_HOT = csr_array((np.ones(N), CODES, np.arange(N + 1)), shape=(N, K))


def soft():
    """Several columns for some rows and none for two of them."""
    dense = RNG.uniform(size=(N, K)) * (RNG.uniform(size=(N, K)) < 0.6)
    dense[:2] = 0
    return csr_array(dense / np.maximum(dense.sum(1, keepdims=True), 1e-300))


def problem_of(edges, q, uniform=0.0, basis=False):
    generator = torch.Generator().manual_seed(0)
    columns = (
        UnitVectors(K).double()
        if basis
        else TableModule(torch.randn(K, K, generator=generator, dtype=torch.float64))
    )
    rows = Points(TableModule(torch.randn(N, K, generator=generator, dtype=torch.float64)), N)
    q.begin(dtype=torch.float64)
    p = Conditional(edges, uniform=uniform, mass=RNG.uniform(size=N))
    return Problem(p, q, KL(), rows, Points(columns, K))


def value_and_gradients(problem, engine):
    visit = visit_all(problem, dtype=torch.float64, device="cpu")
    parameters = [*problem.rows.mapper.parameters(), *problem.columns.mapper.parameters()]
    parameters = [p for p in parameters if p.requires_grad]
    if getattr(problem.q, "learnable", False):
        parameters.append(problem.q.log_scale_)
    value = 3.0 * loss(problem, engine, visit)
    return float(value.detach()), [g.numpy() for g in torch.autograd.grad(value, parameters)]


QS = [Dot(), Dot(0.3, learnable=True), Cosine(learnable=True), Gaussian(0.7), Student(), InversePower()]


@pytest.mark.parametrize("q", QS, ids=repr)
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("kind", ["one-hot", "soft", "basis"])
def test_it_is_the_sum_by_blocks(q, uniform, kind):
    problem = problem_of(soft() if kind == "soft" else ONE_HOT, q, uniform, kind == "basis")
    short = value_and_gradients(problem, Dense())
    with patch("iconlearn.loss.suits_softmax", return_value=False):
        long = value_and_gradients(problem, Dense())
    assert short[0] == pytest.approx(long[0], rel=1e-10)
    for a, b in zip(short[1], long[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("engine", [Dense(), MiniBatch(100)], ids=repr)
def test_one_hot_rows_against_logits_are_cross_entropy(engine):
    problem = problem_of(ONE_HOT, Dot(), basis=True)
    logits, mass = problem.rows.at().detach(), torch.as_tensor(problem.p.row_mass)
    theirs = torch.nn.functional.cross_entropy(logits, torch.as_tensor(CODES), reduction="none") @ mass
    with patch("iconlearn.engines._base.row_sums", side_effect=AssertionError("the long way")):
        assert value_and_gradients(problem, engine)[0] == pytest.approx(3 * float(theirs), rel=1e-12)


def test_what_does_not_fit_goes_by_blocks():
    problem = problem_of(ONE_HOT, Dot())
    at_once = value_and_gradients(problem, Dense())[0]
    with (
        patch("iconlearn.loss.MAX_PAIRS", 10),
        patch("iconlearn.loss.softmax_divergence", side_effect=AssertionError),
    ):
        assert value_and_gradients(problem, Dense())[0] == pytest.approx(at_once, rel=1e-12)


def test_small_distances_are_exact():
    """Far from the origin a product in single precision would lose them."""
    problem = problem_of(ONE_HOT, InversePower())
    with torch.no_grad():
        for points in (problem.rows, problem.columns):
            points.mapper.places.mul_(1e-3).add_(100)
    exact = value_and_gradients(problem, Dense())[0]
    problem.rows.mapper.float(), problem.columns.mapper.float()
    visit = visit_all(problem, dtype=torch.float32, device="cpu")
    assert 3 * float(loss(problem, Dense(), visit)) == pytest.approx(exact, rel=0.05)
