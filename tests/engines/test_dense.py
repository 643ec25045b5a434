"""The exact engine: blocks change nothing, memory stays bounded, refusals can be acted on."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from reference import ALL, OTHERS, block_p, evaluate, make_problem, places, random_rows, sparse_p

from iconlearn import divergences
from iconlearn.engines import Dense, _tiles, _visit
from iconlearn.learned import Cluster, Cosine, Custom, Dot, Gaussian, Hyperbolic, InversePower, Student
from iconlearn.loss import loss, row_divergences

ROOT = Path(__file__).resolve().parents[2]
N = 17
P = random_rows(N, density=0.3, self_pairs=False)


def log_logistic(s):
    return -torch.nn.functional.softplus(s)


EVERY_Q = {
    "gaussian": lambda **k: Gaussian(0.8, **k),
    "student": Student,
    "student-2": lambda **k: Student(2.0, **k),
    "student-9": lambda **k: Student(9.0, **k),
    "hyperbolic": lambda **k: Hyperbolic(0.8, **k),
    "inverse": lambda **k: InversePower(eps=0.1, **k),
    "dot": lambda **k: Dot(learnable=True, **k),
    "cosine": lambda **k: Cosine(0.3, learnable=True, **k),
    "cluster": Cluster,
    "degrees": lambda **k: Cluster(degree_weighted=True, **k),
    "custom": lambda **k: Custom(log_logistic, **k),
}
# The integral of a density knows no blocks.
NORMALIZERS = [(name, how) for name in EVERY_Q for how in EVERY_Q[name]().normalizers if how != "space"]
# Two sets of points are not doubly stochastic.
OF_TWO_SETS = [(name, how) for name, how in NORMALIZERS if how != "doubly"]
TINY, WHOLE = Dense(block=3 * N), Dense()


def same(problem):
    one, many = evaluate(problem, WHOLE), evaluate(problem, TINY)
    assert many[0] == pytest.approx(one[0], abs=1e-12)
    for a, b in zip(one[1], many[1], strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
        assert np.abs(a).max() > 0


@pytest.mark.parametrize("width", [2, 5])
@pytest.mark.parametrize(("name", "normalize"), NORMALIZERS)
def test_blocks_change_nothing_where_columns_are_rows(name, normalize, width):
    mass = np.arange(1.0, N + 1)
    q = EVERY_Q[name](normalize=normalize, debias=0.1)
    same(make_problem(sparse_p(P, mass=mass, self_pairs=False), q, places(N, width)))
    p = block_p(P, uniform=0.2, mass=mass, self_pairs=False)
    same(make_problem(p, q, places(N, width), divergence=divergences.JensenShannon()))


@pytest.mark.parametrize(("name", "normalize"), OF_TWO_SETS)
def test_blocks_change_nothing_between_two_sets(name, normalize):
    q = EVERY_Q[name](normalize=normalize)
    p = sparse_p(random_rows(N, 7, density=0.3), uniform=0.2)
    same(make_problem(p, q, places(N, 2), columns=places(7, 2, seed=3)))


@pytest.mark.parametrize("exclude_self", [False, True])
@pytest.mark.parametrize("tile", [4, 512])
@pytest.mark.parametrize("dof", [0.5, 1.0])
@pytest.mark.parametrize("width", [1, 2, 5])
def test_tiles_of_a_symmetric_kernel(width, dof, tile, exclude_self, monkeypatch):
    monkeypatch.setattr(_tiles, "TILE", tile)
    q, U = Student(dof), torch.as_tensor(places(N, width)).requires_grad_()
    k = torch.exp(q.log_kernel(torch.cdist(U, U, compute_mode="donot_use_mm_for_euclid_dist") ** 2))
    k = k * (1 - exclude_self * torch.eye(N))
    found = WHOLE.log_sums(q, U, U, OTHERS if exclude_self else ALL)
    torch.testing.assert_close(found, torch.log(k.sum(1)))
    assert torch.autograd.gradcheck(lambda U: WHOLE.log_sums(q, U, U, OTHERS if exclude_self else ALL), (U,))


def test_full_rows_that_are_not_kept_give_the_same(monkeypatch):
    problem = make_problem(block_p(P, self_pairs=False, uniform=0.1), Student(), places(N, 2))
    kept = evaluate(problem, TINY)
    monkeypatch.setattr(_visit, "MAX_KEPT", 0)
    again = evaluate(problem, TINY)
    assert again[0] == pytest.approx(kept[0], abs=1e-13)
    np.testing.assert_allclose(again[1][0], kept[1][0], atol=1e-13)


def test_limits_and_what_it_says():
    problem = make_problem(sparse_p(P), Student(), places(N, 2))
    assert Dense(max_pairs=N * N).refuses(problem) is None
    assert "raise max_pairs" in Dense(max_pairs=N * N - 1).refuses(problem)
    with pytest.raises(ValueError, match="block"):
        Dense(block=0).refuses(problem)


# Peak memory of torch is seen by the system alone.  Large arrays go back to it at once under this setting,
# so what is measured is what is held, not what an allocator keeps for later.
HONEST = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
MEASURE = """
import resource
from types import SimpleNamespace
import torch
from scipy.sparse import csr_array, eye_array
from iconlearn.conditional import Conditional
from iconlearn.divergences import TotalVariation
from iconlearn.engines import Dense
from iconlearn.learned import Student
from iconlearn.mappers import TableModule
from iconlearn.loss import loss, row_divergences
from iconlearn.objective import Points, Problem

def full_sums(n):
    rows = Points(TableModule(torch.randn(n, 2, dtype=torch.float64)), n)
    ring = csr_array(eye_array(n, k=1) + eye_array(n, k=1 - n))
    p = Conditional(ring, uniform=0.1, self_pairs=False)
    problem, engine = Problem(p, Student(), TotalVariation(), rows, rows), Dense(block=2**16)
    visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]
    loss(problem, engine, visit).backward()

def row_sums(n):
    U = torch.randn(n, 2, dtype=torch.float64, requires_grad=True)
    visit = SimpleNamespace(exclude_self=True)
    Dense(block=2**18).log_sums(Student(), U, U, visit).sum().backward()

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

full_sums(300), row_sums(300)
before = peak()
full_sums(2000)
between = peak()
row_sums(6000)
print(between - before, peak() - before)
"""


def test_memory_is_a_few_blocks():
    """In MB; one matrix of all pairs in float64 would take 32 and 288, a block takes 0.5 and 2."""
    script = [sys.executable, "-c", MEASURE]
    done = subprocess.run(script, capture_output=True, text=True, env=HONEST, cwd=ROOT, check=True)
    full, rows = map(float, done.stdout.split())
    assert full < 20 and rows < 40


def near_pairs(width, n=60):
    """Places far from the origin in pairs that all but coincide, the same numbers in both precisions."""
    rng = np.random.default_rng(width)
    centres = rng.normal(size=(n // 2, width)) * 10 / width**0.5
    gaps = 10.0 ** rng.uniform(-4, -1, size=(n // 2, 1)) * rng.normal(size=(n // 2, width))
    return np.concatenate([centres, centres + gaps]).astype(np.float32).astype(float)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("debias", [0.0, 0.2])
@pytest.mark.parametrize("divergence", ["KL", "JensenShannon", "Hellinger"])
@pytest.mark.parametrize("width", [2, 4, 8])
def test_a_singular_kernel_keeps_small_distances_in_single_precision(width, divergence, debias, tied):
    n = 60
    Z, other = near_pairs(width), (np.arange(n) + n // 2) % n
    p = sparse_p(np.eye(n)[other] if tied else np.eye(n), self_pairs=not tied)
    found = {}
    for dtype in (torch.float64, torch.float32):
        q = InversePower(debias=debias, normalize="row")
        columns = None if tied else Z[other]
        problem = make_problem(p, q, Z, columns=columns, divergence=getattr(divergences, divergence)())
        for points in {problem.rows, problem.columns}:
            points.mapper.to(dtype)
        engine = Dense(block=7 * n)
        visit = next(engine.visits(problem, rng=None, dtype=dtype, device="cpu"))[0]
        for how in ("blocks", "at once"):
            # "At once" is what few columns take.
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("iconlearn.loss.MAX_PAIRS", 0 if how == "blocks" else 2**25)
                value = loss(problem, engine, visit)
                (gradient,) = torch.autograd.grad(value, [problem.rows.mapper.places])
            found[dtype, how] = float(value.detach()), gradient.double().numpy()
    for how in ("blocks", "at once"):
        (exact, slope), (single, single_slope) = found[torch.float64, how], found[torch.float32, how]
        assert single == pytest.approx(exact, abs=2e-5 * (1 + abs(exact)))
        # Of a pair that is all of its row nothing is left of the gradient but roundings, as large as the slopes.
        scale = 1 / np.linalg.norm(Z - Z[other], axis=1, keepdims=True)
        assert (np.abs(single_slope - slope) / scale).max() < 1e-5


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
@pytest.mark.parametrize("debias", [0.0, 0.2])
@pytest.mark.parametrize("divergence", ["KL", "JensenShannon", "TotalVariation"])
@pytest.mark.parametrize("form", [sparse_p, block_p])
def test_the_divergences_of_the_rows_are_those_that_the_loss_sums(form, divergence, debias, uniform, tied):
    mass = np.arange(1.0, N + 1)
    p = form(P, uniform=uniform, mass=mass, self_pairs=not tied)
    columns = None if tied else places(N, 2, seed=4)
    problem = make_problem(
        p,
        Student(debias=debias),
        places(N, 2),
        columns=columns,
        divergence=getattr(divergences, divergence)(),
    )
    visit = next(WHOLE.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]
    rows = row_divergences(problem, WHOLE, visit)
    total = float(loss(problem, WHOLE, visit).detach())
    assert float(rows @ visit.mass) == pytest.approx(total, rel=1e-10)
    for r in (0, 5):
        alone = make_problem(
            replace(p, mass=np.eye(N)[r]), Student(debias=debias), places(N, 2), columns=columns,
            divergence=getattr(divergences, divergence)(),
        )  # fmt: skip
        assert float(rows[r]) == pytest.approx(evaluate(alone, WHOLE)[0], rel=1e-9, abs=1e-12)
