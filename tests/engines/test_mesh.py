"""The mesh engine: sums by FFT against sums over all pairs, on every kind of map; what it refuses."""

import itertools
import math
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from reference import ALL, OTHERS, block_p, evaluate, make_problem, places, random_rows, sparse_p
from sklearn.base import clone

from iconlearn import ICONEmbedding
from iconlearn.distributed import ALONE
from iconlearn.divergences import KL, Hellinger, TotalVariation
from iconlearn.engines import Dense, Mesh
from iconlearn.engines.mesh import _field, _mesh, _splines
from iconlearn.engines.mesh._field import Responses, convolved, fit_grid
from iconlearn.learned import Cosine, Custom, Gaussian, InversePower, Learned, Student
from iconlearn.loss import loss
from iconlearn.mappers import TableModule
from iconlearn.numerics import threads as loops
from iconlearn.objective import Points, Problem

N = 400
KERNELS = {
    "student": Student(),
    "student-half": Student(0.5),
    "student-9": Student(9.0),
    "gaussian": Gaussian(0.8),
    "own": Custom(lambda s: -torch.log1p(s.square() + s)),
}
MAPS = {
    "cloud": lambda n, d: places(n, d) * 4,
    "blobs": lambda n, d: places(n, d) + 12 * places(5, d, seed=1)[np.arange(n) % 5],
    "start": lambda n, d: places(n, d) * 1e-4,
    "line": lambda n, d: places(n, d) * np.r_[20.0, np.full(d - 1, 1e-3)],
    "outlier": lambda n, d: np.vstack([places(n - 1, d), np.full((1, d), 1e6)]),
    "one place": lambda n, d: np.zeros((n, d)),
}
SUMS = {
    "row": lambda engine, q, U: (
        torch.linspace(0.5, 2, len(U), dtype=U.dtype, device=U.device) * engine.log_sums(q, U, U, OTHERS)
    ).sum(),
    "joint": lambda engine, q, U: engine.log_total(q, U, U, OTHERS),
    "self": lambda engine, q, U: engine.log_sums(q, U, U, ALL).sum(),
    "mean": lambda engine, q, U: engine.mean_log_kernels(q, U, U, OTHERS).sum(),
}


def value_and_gradient(engine, q, U, how):
    U = U.clone().requires_grad_()
    value = SUMS[how](engine, q, U)
    value.backward()
    return float(value.detach()), U.grad


def begun(q, dtype=torch.float64):
    q.begin(dtype=dtype)
    return q


@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("kind", MAPS)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_agrees_with_all_pairs(name, width, kind, how):
    # In three dimensions a smaller map, for the time that its grid takes.
    q, U = begun(KERNELS[name]), torch.as_tensor(MAPS[kind](N, width)) * (0.4 if width == 3 else 1.0)
    value, gradient = value_and_gradient(Dense(), q, U, how)
    found, slope = value_and_gradient(Mesh(0.25), q, U, how)
    assert found == pytest.approx(value, rel=1e-4, abs=1e-4)
    assert torch.linalg.norm(slope - gradient) <= 2e-2 * torch.linalg.norm(gradient) + 1e-9


@pytest.mark.parametrize("kind", ["cloud", "blobs", "start"])
def test_single_precision_loses_nothing(kind):
    q = begun(Student(), torch.float32)
    U = torch.as_tensor(MAPS[kind](N, 2), dtype=torch.float32)
    for how in SUMS:
        one, two = value_and_gradient(Mesh(), q, U, how), value_and_gradient(Mesh(), q, U.double(), how)
        assert one[0] == pytest.approx(two[0], rel=1e-5)
        assert torch.linalg.norm(one[1] - two[1]) <= 2e-3 * torch.linalg.norm(two[1])


def test_a_finer_grid_is_more_exact():
    q, U = begun(Student()), torch.as_tensor(MAPS["cloud"](N, 2))
    exact = value_and_gradient(Dense(), q, U, "row")[1]
    errors = [
        float(torch.linalg.norm(value_and_gradient(Mesh(h, min_cells=10), q, U, "row")[1] - exact))
        for h in (0.8, 0.4, 0.2)
    ]
    assert errors[0] > 4 * errors[1] > 16 * errors[2]
    cells = [value_and_gradient(Mesh(min_cells=m), q, U * 0.05, "row")[1] for m in (8, 200)]
    exact = value_and_gradient(Dense(), q, U * 0.05, "row")[1]
    assert torch.linalg.norm(cells[0] - exact) > 10 * torch.linalg.norm(cells[1] - exact)


@pytest.mark.parametrize("normalize", ["row", "joint"])
@pytest.mark.parametrize("uniform", [0.0, 0.3])
def test_the_loss_is_that_of_dense(normalize, uniform):
    p = sparse_p(random_rows(N, density=0.02, self_pairs=False), uniform=uniform, self_pairs=False)
    problem = make_problem(p, Student(normalize=normalize), places(N, 2) * 3)
    exact, found = evaluate(problem, Dense()), evaluate(problem, Mesh())
    assert found[0] == pytest.approx(exact[0], rel=1e-4)
    np.testing.assert_allclose(found[1][0], exact[1][0], atol=2e-2 * np.abs(exact[1][0]).max())


@pytest.mark.parametrize("divergence", [Hellinger(), TotalVariation()])
def test_other_divergences(divergence):
    p = sparse_p(random_rows(N, density=0.02, self_pairs=False), self_pairs=False)
    problem = make_problem(p, Student(), places(N, 2) * 3, divergence=divergence)
    assert Mesh().refuses(problem) is None
    exact, found = evaluate(problem, Dense()), evaluate(problem, Mesh())
    assert found[0] == pytest.approx(exact[0], rel=1e-4)


def test_far_rows_of_a_gaussian_are_summed_directly():
    q = begun(Gaussian(0.7))
    U = torch.as_tensor(np.vstack([places(2000, 2) * 3, [[25.0, 0.0], [26.0, 0.5], [-60.0, 3.0]]]))
    exact, found = Dense().log_sums(q, U, U, OTHERS), Mesh().log_sums(q, U, U, OTHERS)
    assert exact[-1] < -1000
    torch.testing.assert_close(found[-1], exact[-1], rtol=1e-9, atol=1e-9)
    assert (found - exact).abs().max() < 0.1
    raw = Mesh()._cloud(q, U).sums("kernel", True)
    assert (raw <= 0).any(), "the case is one where the grid alone would fail"


def test_points_that_are_all_far_apart():
    q, U = begun(Gaussian(0.1, normalize="joint")), torch.as_tensor(places(50, 2) * 100)
    assert float(Mesh().log_total(q, U, U, OTHERS)) == pytest.approx(
        float(Dense().log_total(q, U, U, OTHERS)), rel=1e-9
    )


def test_outliers_leave_the_grid(monkeypatch):
    monkeypatch.setattr(_mesh, "WIDE", 100)
    q = begun(Student())
    U = torch.as_tensor(places(3000, 2) * 3)
    U[7] = torch.tensor([300.0, -200.0])
    U[2500] = torch.tensor([-1e5, 1e5])
    box = Mesh()._cloud(q, U).box
    assert {7, 2500} <= set(box.outside.tolist()) and len(box.outside) < 20
    assert max(box.grid.shape) * box.grid.spacing < 200
    for how in SUMS:
        exact, found = value_and_gradient(Dense(), q, U, how), value_and_gradient(Mesh(0.25), q, U, how)
        assert found[0] == pytest.approx(exact[0], rel=1e-4)
        assert torch.linalg.norm(found[1] - exact[1]) <= 1e-2 * torch.linalg.norm(exact[1])


WIDE = {
    "ball": lambda n, d: places(n, d) * 40,
    "blobs and twins": lambda n, d: np.repeat(
        places(n // 2, d) + 100 * places(9, d)[np.arange(n // 2) % 9], 2, 0
    ),
    "line": lambda n, d: places(n, d) * np.r_[200.0, np.full(d - 1, 3.0)],
}


@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("kind", WIDE)
@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize("name", KERNELS)
def test_near_pairs_of_a_wide_map_are_summed_one_by_one(name, width, kind, how, monkeypatch):
    monkeypatch.setattr(_mesh, "FEW_PAIRS", 10)
    q, U = begun(KERNELS[name]), torch.as_tensor(WIDE[kind](N, width))
    mesh = Mesh(max_nodes=2**12 if width == 2 else 2**15)
    assert mesh._cloud(q, U).box.pairs is not None
    value, gradient = value_and_gradient(Dense(), q, U, how)
    found, slope = value_and_gradient(mesh, q, U, how)
    # A sum over the rows, but for the joint one: 5e-4 for each of them.
    assert found == pytest.approx(value, rel=1e-4, abs=5e-4 * (1 if how == "joint" else N))
    assert torch.linalg.norm(slope - gradient) <= 1e-2 * torch.linalg.norm(gradient) + 1e-9


def test_a_map_too_wide_for_the_grid(monkeypatch):
    q, U = begun(Student()), torch.as_tensor(places(300, 2) * 1000)
    narrow = Mesh(max_nodes=4096)
    exact = Dense().log_sums(q, U, U, OTHERS)
    assert torch.equal(narrow.log_sums(q, U, U, OTHERS), exact)
    assert torch.equal(narrow.mean_log_kernels(q, U, U, OTHERS), Dense().mean_log_kernels(q, U, U, OTHERS))


def test_too_many_near_pairs(monkeypatch):
    """Crowds so far from each other that any grid has each of them in one cell."""
    q, U = begun(Student()), torch.as_tensor(places(300, 2) + 1e6 * places(3, 2)[np.arange(300) % 3])
    monkeypatch.setattr(_mesh, "FEW_PAIRS", 10)
    exact = Dense().log_sums(q, U, U, OTHERS)
    narrow = Mesh(max_nodes=4096)
    torch.testing.assert_close(narrow.log_sums(q, U, U, OTHERS), exact, rtol=0, atol=1e-3)
    monkeypatch.setattr(_mesh, "MAX_PAIRS", 20)
    with pytest.warns(UserWarning, match="max_nodes=4096.*coarse"):
        coarse = narrow.log_sums(q, U, U, OTHERS)
    assert torch.isfinite(coarse).all()


def test_the_grid_fits_the_points_and_its_bounds():
    for scale in (1e-3, 1.0, 7.3, 400.0):
        U = torch.as_tensor(places(200, 2) * np.array([scale, 0.1 * scale]))
        grid = fit_grid(U.amin(0), U.amax(0), 0.5, 50, 2**18)
        x = (U - grid.low) / grid.spacing
        assert (x >= 0).all() and (x < torch.tensor(grid.shape) - 4).all()
        assert np.prod(grid.padded) <= 2**18
        assert all(2 * nodes - 1 <= size for nodes, size in zip(grid.shape, grid.padded, strict=True))
        if grid.spacing < 0.5:
            assert max(grid.shape) >= 50


def test_transforms_are_kept_for_a_while():
    calls = []
    responses = Responses(1.0, kernel=lambda s: calls.append(len(s)) or 1 / (1 + s))
    low, high = torch.zeros(2), torch.full((2,), 40.0)
    for extent in (1.0, 1.001, 1.002, 1.0):
        responses("kernel", fit_grid(low, extent * high, 0.5, 50, 2**20))
    assert len(calls) == 1
    for extent in range(2, 12):
        responses("kernel", fit_grid(low, extent * high, 0.5, 50, 2**22))
    assert len(responses.kept) <= _field.KEPT


@pytest.mark.parametrize("width", [1, 2, 3])
def test_compiled_loops_are_the_plain_ones(width):
    pytest.importorskip("numba")
    U = torch.as_tensor(places(500, width) * 5, dtype=torch.float32)
    grid = fit_grid(U.amin(0), U.amax(0), 0.5, 20, 2**22)
    response = Responses(1.0, kernel=lambda s: 1 / (1 + s))("kernel", grid)
    charges = torch.linspace(0, 2, 500)
    found = []
    for kind in (_splines.Stencil, _splines.CompiledStencil):
        stencil = kind(U, grid.low, grid.spacing, grid.shape)
        density = stencil.spread(charges)
        field = convolved(density, response, grid)
        assert float(stencil.spread().sum()) == pytest.approx(500)
        others = (stencil.read_others(field, response, weights) for weights in (None, charges))
        found.append((density, *stencil.read(field), *itertools.chain(*others)))
    for plain, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=2e-5 * float(plain.abs().max()))


@pytest.mark.parametrize("far", [0, 1, 30])
def test_compiled_loops_find_the_same_box(far, monkeypatch):
    """One point far out leaves the grid; thirty of a thousand are part of the map."""
    pytest.importorskip("numba")
    U = torch.as_tensor(places(1000, 2) * 20, dtype=torch.float32)
    U[:far, 0] += 2000
    found = []
    for least in (1, 10**6):
        monkeypatch.setattr(loops, "MANY_POINTS", least)
        monkeypatch.setattr(_mesh, "WIDE", 100)
        ends = _mesh._ends(U)
        box = _mesh._Box(U, ends, 0.5, 50, 2**20, group=ALONE, n_all=len(U))
        found.append((ends, box.grid.shape, box.n_inside))
        broken = U.clone()
        broken[5, 1] = torch.nan
        assert not torch.isfinite(torch.stack(_mesh._ends(broken))).all()
    for one, other in zip(*(ends for ends, *_ in found), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert found[0][1:] == found[1][1:]
    assert found[0][2] == 1000 - (far == 1)


@pytest.mark.parametrize("n_threads", [1, 3])
def test_threads_change_nothing(n_threads):
    pytest.importorskip("numba")
    from iconlearn.numerics.compiled import read_points, spread_points

    points = (places(301, 2) * 5).astype(np.float32)
    low, charges = points.min(0) - 1, np.ones(301, np.float32)
    field = places(64, 64).astype(np.float32)
    density = spread_points(points, low, 1.0, (64, 64), charges, n_threads)
    np.testing.assert_allclose(density, spread_points(points, low, 1.0, (64, 64), charges, 1), atol=1e-5)
    for one, many in zip(
        read_points(points, low, 1.0, field, 1), read_points(points, low, 1.0, field, n_threads), strict=True
    ):
        np.testing.assert_array_equal(one, many)


def test_many_points_take_the_compiled_way(monkeypatch):
    pytest.importorskip("numba")
    U = torch.as_tensor(places(300, 2) * 5, dtype=torch.float32)
    q = begun(Student(), torch.float32)
    plain = value_and_gradient(Mesh(), q, U, "row")
    monkeypatch.setattr(loops, "MANY_POINTS", 300)
    assert type(_splines.stencil(U, U.amin(0), 1.0, (9, 9))) is _splines.CompiledStencil
    compiled = value_and_gradient(Mesh(), q, U, "row")
    assert compiled[0] == pytest.approx(plain[0], rel=1e-5)
    torch.testing.assert_close(compiled[1], plain[1], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("pull, reach", [(1.0, 0.0), (4.0, 2.0)])
def test_compiled_steps_find_the_loss_of_all_parts(width, pull, reach, monkeypatch):
    """Edges and row sums at once, near pairs included; where a row is lost or off the grid, one after the other."""
    pytest.importorskip("numba")
    monkeypatch.setattr(loops, "MANY_POINTS", 300)
    if reach:
        monkeypatch.setattr(_mesh, "COARSEST", 0.1)
    rows = Points(TableModule(torch.as_tensor(places(300, width) * 9, dtype=torch.float32)), 300, width=width)
    P = random_rows(300, density=0.05, self_pairs=False)
    problem = Problem(sparse_p(P, self_pairs=False), begun(Student(2.0), torch.float32), KL(), rows, rows)
    engine, found, steps = Mesh(), [], []
    visit = next(engine.visits(problem, rng=None, dtype=torch.float32, device="cpu"))[0]
    step = Mesh._found
    monkeypatch.setattr(Mesh, "_found", lambda *args: steps.append(step(*args)) or steps[-1])
    for way in (Mesh.edge_loss, lambda *args: None):
        monkeypatch.setattr(Mesh, "edge_loss", way)
        value = loss(problem, engine, visit, pull)
        found.append((value.detach(), *torch.autograd.grad(3.0 * value, rows.mapper.places)))
    assert len(steps) == 1 and steps[0] is not None
    for joined, parts in zip(*found, strict=True):
        torch.testing.assert_close(joined, parts, rtol=1e-4, atol=2e-5 * float(parts.abs().max()))
    monkeypatch.setattr(_mesh, "least_share", lambda *args: 1.0)
    assert step(engine, problem.q, rows.mapper.places.detach(), visit, pull) is None


@pytest.mark.parametrize("width", [2, 3])
def test_few_points_of_a_wide_map_have_a_small_grid(width, monkeypatch):
    """Its near pairs cost less than the nodes of a fine one, and are exact."""
    pytest.importorskip("numba")
    monkeypatch.setattr(loops, "MANY_POINTS", 2000)
    q, U = begun(Student(), torch.float32), torch.as_tensor(places(2000, width) * 30, dtype=torch.float32)
    box = Mesh()._cloud(q, U).box
    assert box.pairs is not None and np.prod(box.grid.padded) <= 64 * len(U)
    exact = value_and_gradient(Dense(), q, U, "row")
    small, large = (value_and_gradient(mesh, q, U, "row") for mesh in (Mesh(), Mesh(max_nodes=2**20)))
    assert small[0] == pytest.approx(exact[0], rel=1e-4, abs=5e-4 * len(U))
    error, of_large = (float(torch.linalg.norm(found[1] - exact[1])) for found in (small, large))
    assert error <= 1e-2 * float(torch.linalg.norm(exact[1])) and error < of_large


def test_many_points_in_space_have_fewer_nodes(monkeypatch):
    """But not where they are so crowded that near pairs would take longer than the nodes."""
    pytest.importorskip("numba")
    monkeypatch.setattr(loops, "MANY_POINTS", 2000)
    monkeypatch.setattr(_mesh, "FEW_POINTS", 1999)
    q, U = begun(Student(), torch.float32), torch.as_tensor(places(2000, 3) * 30, dtype=torch.float32)
    box, exact = Mesh()._cloud(q, U).box, value_and_gradient(Dense(), q, U, "row")
    found = value_and_gradient(Mesh(), q, U, "row")
    assert float(torch.linalg.norm(found[1] - exact[1])) <= 1e-2 * float(torch.linalg.norm(exact[1]))
    monkeypatch.setattr(_mesh, "CROWDED", 0)
    finer = Mesh()._cloud(q, U).box
    assert np.prod(box.grid.padded) <= 2**16 < np.prod(finer.grid.padded) <= 64 * len(U)
    assert box.grid.reach == _mesh.REACH_OF_MANY * box.grid.spacing
    assert finer.grid.reach == _mesh.REACH * finer.grid.spacing


def test_pairs_that_cost_less_than_a_grid_are_summed_directly():
    q, U = begun(Student()), torch.as_tensor(places(1100, 2) * 40)
    assert Mesh()._cloud(q, U) is None and Mesh()._cloud(q, 0.1 * U) is not None
    assert torch.equal(Mesh().log_sums(q, U, U, OTHERS), Dense().log_sums(q, U, U, OTHERS))
    assert Mesh(max_nodes=2**20)._cloud(q, U) is not None


P = random_rows(12, density=0.4, self_pairs=False)
FLAT = places(12, 2)
REFUSED = {
    "smooth at distance zero": lambda: make_problem(sparse_p(P, self_pairs=False), InversePower(), FLAT),
    "Cosine": lambda: make_problem(sparse_p(P, self_pairs=False), Cosine(), FLAT),
    "1 to 3 dimensions": lambda: make_problem(sparse_p(P, self_pairs=False), Student(), places(12, 4)),
    "columns are the rows": lambda: make_problem(sparse_p(P), Student(), FLAT, columns=places(12, 2)),
    "sparse p": lambda: make_problem(block_p(P, self_pairs=False), Student(), FLAT),
    "KL only": lambda: make_problem(
        sparse_p(P, uniform=0.2, self_pairs=False), Student(), FLAT, divergence=Hellinger()
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_says_what_it_needs(words):
    assert words in Mesh().refuses(REFUSED[words]())


class Widening(Learned):
    """A radial kernel whose width is learned, or set by a temperature."""

    def __init__(self, learn=True, normalize="row", debias=0.0):
        self.learn = learn
        self.normalize = normalize
        self.debias = debias

    @property
    def cools(self):
        return not self.learn

    def begin(self, *, dtype=torch.float32, device="cpu"):
        self.width_ = torch.nn.Parameter(torch.ones((), dtype=dtype, device=device), requires_grad=self.learn)
        return [*super().begin(dtype=dtype, device=device), *([self.width_] if self.learn else [])]

    def cool(self, share):
        if self.cools:
            with torch.no_grad():
                self.width_.fill_(1.0 + 3.0 * share)

    def log_kernel(self, s):
        return -torch.log1p(s / self.width_.to(s.dtype) ** 2)


@pytest.mark.parametrize("engine", ["auto", "mesh"])
def test_a_kernel_that_is_learned_is_refused(engine):
    X = places(1100, 5)
    model = ICONEmbedding(q=Widening(), engine=engine, optimizer="adam", max_iter=30, random_state=0)
    if engine == "mesh":
        with pytest.raises(ValueError, match="changes with what it learns"):
            model.fit(X)
        return
    assert not isinstance(model.fit(X).engine_, Mesh) and float(model.q_.width_.detach()) != 1
    model.transform(X[:3] + 0.1)


@pytest.mark.parametrize("normalize", ["row", "joint"])
@pytest.mark.parametrize("debias", [0.0, 0.3])
@pytest.mark.parametrize("tied", [True, False])
def test_what_a_kernel_learns_has_its_gradient(tied, debias, normalize):
    """By the exact engine, in blocks: the slope of the loss along the kernel's width."""
    q = Widening(debias=debias, normalize=normalize)
    P = random_rows(30, density=0.2, self_pairs=not tied)
    columns = None if tied else places(30, 2, seed=3)
    problem = make_problem(sparse_p(P, self_pairs=not tied), q, places(30, 2), columns=columns)
    engine, h = Dense(block=100), 1e-5
    visit = next(engine.visits(problem, rng=None, dtype=torch.float64, device="cpu"))[0]

    def value(width):
        with torch.no_grad():
            problem.q.width_.fill_(width)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("iconlearn.loss.MAX_PAIRS", 0)
            return loss(problem, engine, visit)

    (slope,) = torch.autograd.grad(value(1.0), [problem.q.width_])
    numeric = float(value(1.0 + h).detach() - value(1.0 - h).detach()) / (2 * h)
    assert float(slope) == pytest.approx(numeric, rel=1e-6)


@pytest.mark.parametrize("distance", [100, 450, 550])
@pytest.mark.parametrize("seed", range(3))
def test_small_sums_of_a_gaussian_on_a_coarse_grid(seed, distance):
    """Far outliers make the grid coarse, and the more of a light tail is lost in its error."""
    q, rng = begun(Gaussian()), np.random.default_rng(seed)
    U = rng.normal(size=(1200, 2)) * 6
    U[:24] += distance
    U = torch.as_tensor(U, dtype=torch.float32)
    exact = Dense().log_sums(q, U.double(), U.double(), OTHERS)
    assert (Mesh().log_sums(q, U, U, OTHERS).double() - exact).abs().max() < 0.2


@pytest.mark.parametrize("extent", [45.0, 60.0])
def test_near_pairs_are_summed_before_the_grid_is_too_coarse(extent):
    U = torch.as_tensor(np.random.default_rng(0).normal(size=(5200, 2)) * extent, dtype=torch.float32)
    q = begun(Student(), torch.float32)
    exact, slope = value_and_gradient(Dense(), q, U, "row")
    found, gradient = value_and_gradient(Mesh(), q, U, "row")
    assert found == pytest.approx(exact, abs=5e-4 * len(U))
    assert torch.linalg.norm(gradient - slope) < 0.04 * torch.linalg.norm(slope)
    with torch.no_grad():
        assert float(SUMS["row"](Mesh(), q, U)) == found


def test_a_kernel_that_cools_is_transformed_anew():
    q, engine, U = begun(Widening(learn=False)), Mesh(), torch.as_tensor(places(N, 2) * 4)
    for share in (0.0, 0.5, 1.0):
        q.cool(share)
        exact = Dense().log_sums(q, U, U, OTHERS).detach()
        torch.testing.assert_close(engine.log_sums(q, U, U, OTHERS).detach(), exact, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", ["spacing", "min_cells", "max_nodes"])
def test_wrong_parameters_are_named(name):
    problem = make_problem(sparse_p(P, self_pairs=False), Student(), FLAT)
    with pytest.raises(ValueError, match=name):
        Mesh(**{name: 0}).refuses(problem)


def test_leaves_no_warning_and_no_buffers_behind():
    engine, q = Mesh(), begun(Student())
    U = torch.as_tensor(places(50, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine.log_sums(q, U, U, OTHERS)
    assert len(engine._responses) == 1
    assert not hasattr(clone(engine), "_responses")


# -- few and large operations, and grids that are held -----------------------------------------------------


@pytest.mark.parametrize("exclude_self", [True, False])
@pytest.mark.parametrize("alike", [True, False])
@pytest.mark.parametrize("width", [1, 2, 3])
def test_batched_sums_are_those_of_the_stencil(width, alike, exclude_self):
    q, U = begun(Student()), torch.as_tensor(places(N, width) * 3)
    weights = torch.as_tensor(np.ones(N) if alike else np.random.RandomState(0).rand(N))
    found = []
    for held in (False, True):
        points = U.clone().requires_grad_()
        cloud = Mesh()._cloud(q, points)
        cloud.held = held
        sums = cloud.sums("kernel", exclude_self, alike=alike)
        found += [sums.detach(), torch.autograd.grad((weights * sums).sum(), points)[0]]
    torch.testing.assert_close(found[2], found[0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found[3], found[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(("width", "dof", "pull"), [(1, 1.0, 1.0), (2, 0.6, 4.0), (3, 3.0, 1.0)])
def test_edges_and_row_sums_at_once_are_both_of_them(width, dof, pull, whole):
    """The form of a step on a device, against the formula in plain sums over all pairs."""
    q, U = begun(Student(dof)), torch.as_tensor(places(N, width) * (3 if width < 3 else 1.2)).requires_grad_()
    P = random_rows(N, self_pairs=False)
    w = torch.as_tensor(P.toarray() if hasattr(P, "toarray") else P) / N
    log_k = -0.5 * (dof + 1) * torch.log1p((U[:, None] - U).square().sum(2) / dof)
    attracted = -(w * log_k).sum()
    of_rows = torch.logsumexp(log_k.masked_fill(torch.eye(N, dtype=torch.bool), -torch.inf), 1)
    repelled = (w.sum(1) * of_rows).sum()
    expected = torch.autograd.grad(pull * attracted + repelled, U)[0] * (1 if whole else -3)

    both_ways = w + w.T
    ends, values = both_ways.nonzero().T, both_ways[both_ways != 0]
    pointers = torch.searchsorted(ends[0].contiguous(), torch.arange(N + 1))
    visit = SimpleNamespace(
        both_ways=(pointers, ends[1], values, ends.reshape(-1)),
        row_weight=w.sum(1),
        exclude_self=True,
        at_one=torch.tensor(0.7),
    )
    mesh = Mesh(0.25)
    with mesh.hold():
        assert mesh.edge_loss(q, U, U, visit, pull, whole) is None  # nothing is held yet
        mesh.log_sums(q, U.detach(), U.detach(), visit)
        found = mesh.edge_loss(q, U, U, visit, pull, whole)
        gradient = torch.autograd.grad(found * (1 if whole else -3), U)[0]
        assert mesh.edge_loss(q, 50 * U.detach(), U, visit, pull, whole) is None  # not one set of points
        off = (50 * U).detach()
        assert mesh.edge_loss(q, off, off, visit, pull, whole).isnan()
    assert float(found.detach()) == pytest.approx(float((0.7 + attracted + repelled).detach()), rel=1e-4)
    assert torch.linalg.norm(gradient - expected) <= 2e-2 * torch.linalg.norm(expected)


def test_a_lost_row_makes_the_loss_no_number():
    """Its sum is far below that of the others, in a map that widens while a grid is held."""
    q, U = begun(Student(9.0)), torch.as_tensor(places(N, 2))
    ends = torch.tensor([[0, 1], [1, 0]])
    pointers = torch.tensor([0, 1] + [2] * (N - 1))
    weight = torch.zeros(N, dtype=U.dtype).index_fill_(0, torch.tensor([0, 1]), 0.5)
    visit = SimpleNamespace(
        both_ways=(pointers, ends[1], torch.ones(2, dtype=U.dtype), ends.reshape(-1)),
        row_weight=weight,
        exclude_self=True,
        at_one=torch.zeros((), dtype=U.dtype),
    )
    mesh = Mesh()
    with mesh.hold() as held:
        mesh.log_sums(q, U, U, visit)
        grid = next(iter(held.choices.values()))[0].grid
        far = U.clone()
        far[0] = grid.low + grid.spacing * (torch.tensor(grid.shape) - 5)
        assert grid.contains(far).all()
        assert mesh.edge_loss(q, U, U, visit, 1.0, True).isfinite()
        sums = mesh._cloud(q, far, visit).sums("kernel", True)
        lost = bool(sums[0] <= held.key[-1])
        assert mesh.edge_loss(q, far, far, visit, 1.0, True).isnan() == lost
        assert lost


HELD = {
    "row": lambda engine, q, U, visit: engine.log_sums(q, U, U, visit),
    "joint": lambda engine, q, U, visit: engine.log_total(q, U, U, visit),
    "mean": lambda engine, q, U, visit: engine.mean_log_kernels(q, U, U, visit).sum(),
}


@pytest.mark.parametrize("how", HELD)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_a_grid_is_held_until_a_row_leaves_it(width, how):
    q, U, mesh = begun(Student()), torch.as_tensor(places(N, width) * (4 if width < 3 else 1.5)), Mesh(0.25)

    def away(U, far):
        moved = U * 1.04
        moved[7, -1] += far
        return moved

    with mesh.hold() as held:
        HELD[how](mesh, q, U, OTHERS)
        assert held.able and held.key
        (choice,) = held.choices.values()
        found = HELD[how](mesh, q, away(U, 0.0), OTHERS)
        extent = choice[0].grid.spacing * max(choice[0].grid.shape)
        for far in (extent, -extent, math.nan, math.inf):
            assert HELD[how](mesh, q, away(U, far), OTHERS).isnan().all()
    exact = HELD[how](Dense(), q, away(U, 0.0), OTHERS)
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-3)
    # Afterwards each sum has a grid of its own again.
    assert HELD[how](mesh, q, away(U, extent), OTHERS).isfinite().all()
    assert not hasattr(mesh, "_held")


def test_what_no_grid_serves_for_several_steps():
    q, near = begun(Gaussian(0.7)), torch.as_tensor(np.random.RandomState(0).rand(2000, 2) * 5)
    far = torch.vstack([near, torch.tensor([[10.0, 0.0]], dtype=near.dtype)])
    mesh = Mesh()
    with mesh.hold() as held:
        mesh.log_sums(q, far, far, OTHERS)
        assert not held.able  # a row whose sum is lost
    with mesh.hold() as held:
        mesh.log_sums(q, near, near, OTHERS)
        assert held.able
        lost = torch.vstack([near[:-1], torch.tensor([[9.0, 2.0]], dtype=near.dtype)])
        (choice,) = held.choices.values()
        assert choice[0].grid.contains(lost).all()
        assert mesh.log_sums(q, lost, lost, OTHERS).isnan().all()


def test_grids_of_one_shape_share_their_tensors():
    q, U, mesh = begun(Student()), torch.as_tensor(places(N, 2) * 4), Mesh()
    keys, offsets = [], []
    for shift in (0.0, 0.3, 50.0):
        with mesh.hold() as held:
            found = mesh.log_sums(q, U + shift, U + shift, OTHERS)
            keys.append(held.key)
            offsets.append(mesh._fixed.popitem()[1].offset if shift == 50 else None)
        torch.testing.assert_close(found, mesh.log_sums(q, U, U, OTHERS), rtol=1e-3, atol=1e-3)
    assert keys[0] == keys[1] == keys[2]
    assert float(offsets[-1].max()) < 0


def test_slack_widens_a_grid():
    for scale, least in ((0.01, 2.0), (3.0, 1.25), (20.0, 1.25)):
        U = torch.as_tensor(places(200, 2) * scale)
        low, high = U.amin(0), U.amax(0)
        plain, wide = (fit_grid(low, high, 0.5, 50, 2**22, slack) for slack in (0.0, 0.25))
        assert plain.spacing == wide.spacing
        middle = (low + high) / 2
        for share in (1.0, least):
            assert wide.contains(middle + share * (U - middle)).all()


@pytest.mark.gpu
@pytest.mark.parametrize("how", SUMS)
@pytest.mark.parametrize("width", [1, 2, 3])
def test_cuda_agrees_and_repeats_itself(width, how):
    q, U = begun(Student(), torch.float32), torch.as_tensor(places(3000, width) * 5, dtype=torch.float32)
    grid = Mesh(max_nodes=2**22)  # the default is another one for the compiled loops of the CPU
    on_cpu = value_and_gradient(grid, q, U, how)
    once, again = (value_and_gradient(grid, q, U.cuda(), how) for _ in range(2))
    assert once[0] == again[0] and torch.equal(once[1], again[1])
    assert once[0] == pytest.approx(on_cpu[0], rel=1e-4)
    assert torch.linalg.norm(once[1].cpu() - on_cpu[1]) <= 1e-3 * torch.linalg.norm(on_cpu[1])
