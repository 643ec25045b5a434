"""Triton's kernels are what plain operations are, compile for GPUs, and are given up where they cannot be used."""

import re
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from device import kernels
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding, _kernels
from iconlearn.engines.mesh._batched import Joined
from iconlearn.engines.mesh._field import fit_grid
from iconlearn.engines.mesh._mesh import responses_of
from iconlearn.learned import Student
from iconlearn.numerics.geometry import Edges
from iconlearn.optim._momentum import MomentumGains

ROOT = Path(__file__).parents[2]
needs_triton = pytest.mark.skipif(
    kernels.reason_against() is not None, reason=f"kernels: {kernels.reason_against()}"
)
DEVICE = "cuda" if kernels.GPU else "cpu"
N = 60


def problem(d, seed=0, order=None):
    """Points with edges, of which one point has none and another many: their grid, its tables, and what is joined."""
    rng = np.random.RandomState(seed)
    U = (3 * rng.randn(N, d)).astype(np.float32)
    P = (rng.rand(N, N) < 0.1) | (np.arange(N) == 3)
    P[5], P[:, 5] = False, False
    P = np.where(P & ~np.eye(N, dtype=bool), rng.rand(N, N), 0.0) / N
    if order is not None:
        U, P = U[order], P[np.ix_(order, order)]
    U = torch.from_numpy(U).to(DEVICE)
    i, j = np.nonzero(P)
    weights = torch.from_numpy(P[i, j].astype(np.float32)).to(DEVICE)
    edges = Edges(torch.from_numpy(i).to(DEVICE), torch.from_numpy(j).to(DEVICE), (N, N))
    pointers, columns, values = (torch.from_numpy(a).to(DEVICE) for a in edges.symmetric(weights))
    rows = torch.arange(N, dtype=columns.dtype, device=DEVICE).repeat_interleave(pointers.diff())
    visit = SimpleNamespace(
        both_ways=(pointers, columns, values, torch.cat([rows, columns])),
        at_one=torch.tensor(0.3, device=DEVICE),
        row_weight=edges.row_sums(weights),
    )
    q = Student(2.0)
    grid = fit_grid(U.amin(0), U.amax(0), 0.5, 50, 2**14)
    response = responses_of(q)("kernel", grid)
    return U, grid.offset, response.tables(grid, response.constant * (N - 1)), Joined(q, U, visit)


@pytest.fixture
def fuses(monkeypatch):
    """Kernels for tensors of any device."""
    kernels.few_large_programs(monkeypatch)
    monkeypatch.setattr("iconlearn.engines.mesh._batched.fuses", lambda tensor: True)
    monkeypatch.setattr(_kernels, "fuses", lambda tensor: True)
    monkeypatch.setattr(_kernels, "_agreed", {})
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)


@needs_triton
@pytest.mark.parametrize("d", [1, 2, 3])
def test_a_mesh_step_is_that_of_plain_operations(d, fuses):
    U, offset, tables, joined = problem(d)
    value, gradient = joined._fused(U, offset, tables, 1e-3, 1.7)
    expected, slope = joined._plain(U, offset, tables, 1e-3, 1.7)
    torch.testing.assert_close(value, expected, rtol=2e-6, atol=0)
    torch.testing.assert_close(gradient, slope, rtol=1e-5, atol=1e-5 * float(slope.abs().max()))
    if d == 2:
        off = U.clone()
        off[0, 1] += 1e4
        assert joined._fused(off, offset, tables, 1e-3, 1.0)[0].isnan()
        assert joined._fused(off.mul_(torch.nan), offset, tables, 1e-3, 1.0)[0].isnan()
        assert joined._fused(U, offset, tables, 10.0, 1.0)[0].isnan()  # sums that are too small


@needs_triton
def test_sums_do_not_depend_on_the_order_of_points(fuses, monkeypatch):
    from iconlearn.numerics.fused import _mesh

    monkeypatch.setattr(_mesh, "POINTS", 32)  # two programs, which add to the same nodes
    weights = torch.rand(N, generator=torch.Generator().manual_seed(0)).to(DEVICE)
    gradients = []
    for order in (np.arange(N), np.random.RandomState(1).permutation(N)):
        U, offset, tables, joined = problem(2, order=order)
        edges, _, first = joined.kernels
        joined.kernels = edges, (weights[order], float(N)), first
        # Without the edges, whose order within a row is another one.
        gradient = joined._fused(U, offset, tables, 1e-3, 0.0)[1]
        gradients.append(gradient[np.argsort(order)])
    assert torch.equal(*gradients) and gradients[0].abs().min() > 0


@needs_triton
@pytest.mark.parametrize(("d", "max_step"), [(2, None), (3, 0.05)])
def test_a_momentum_step_is_that_of_plain_operations(d, max_step, fuses):
    rng = torch.Generator().manual_seed(0)
    states = [torch.randn(50, d, generator=rng).to(DEVICE) for _ in range(3)]
    z, velocity, gains = states[0], 0.1 * states[1], states[2].abs()
    state = [z, torch.randn(50, d, generator=rng).to(DEVICE), velocity, gains]
    # Rows that do not move, and those whose step is not too long.
    state[1][:5], state[2][:5], state[1][5:9], state[2][5:9] = 0, 0, 1e-5, 1e-5
    method = MomentumGains([torch.nn.Parameter(z)], 0.3, max_step=max_step)
    expected, found = [t.clone() for t in state], [t.clone() for t in state]
    for _ in range(2):
        method._plain(*expected)
        method._fused(*found)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(found[0], z)


@needs_triton
def test_the_best_state_is_that_of_plain_operations(fuses):
    from iconlearn.optim import _stretch

    tensors = [torch.randn(7, 3, device=DEVICE) for _ in range(2)]
    for loss, best in [(1.0, 2.0), (2.0, 2.0), (3.0, 2.0), (torch.nan, 2.0), (2.0, torch.inf)]:
        losses = torch.tensor(loss, device=DEVICE), torch.tensor(best, device=DEVICE)
        (found,) = _stretch._kept_by_kernel(*losses, *(t.clone() for t in tensors))
        (expected,) = _stretch._kept(*losses, *(t.clone() for t in tensors))
        assert torch.equal(found, expected)


COMPILE = """
import re, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from iconlearn.numerics.fused import _mesh, _steps

NUMBERS = {"n": "i32", **{f"{name}{k}": "i32" for name in ("last", "stride") for k in range(3)}}
TENSORS = {"density": "*i64", "pointers": "*i64", "columns": "*i32"}
SINGLE = {"inverse", "scale", "unit", "added", "least", "per_width", "pull", "rate", "momentum", "longest"}
KERNELS = [
    (kernel, {"D": d, "num_warps": warps, **sizes})
    for d in map(int, sys.argv[1].split(","))
    for kernel, warps, sizes in [
        (_mesh._spread_ones, _mesh.WARPS, {"POINTS": _mesh.POINTS}),
        (_mesh._repel, _mesh.WARPS, {"POINTS": _mesh.POINTS}),
        (_mesh._attract, 1, {"ROWS": _mesh.ROWS, "EDGES": _mesh.EDGES}),
        (_steps._move, 4, {"WIDTH": triton.next_power_of_2(d), "ROWS": 256, "RELATIVE": d == 2}),
    ]
] + [(_steps._keep, {"NUMBERS": _steps.NUMBERS, "num_warps": 4})]
for generation in (80, 90):
    for kernel, constants in KERNELS:
        warps = constants["num_warps"]
        sizes = {name: value for name, value in constants.items() if name in kernel.arg_names}
        kinds = {
            name: "constexpr" if name in sizes
            else NUMBERS.get(name) or ("fp32" if name in SINGLE else TENSORS.get(name, "*fp32"))
            for name in kernel.arg_names
        }
        source = ASTSource(kernel, kinds, constexprs=sizes)
        options = {"num_warps": warps, "enable_fp_fusion": True}
        made = triton.compile(source, target=GPUTarget("cuda", generation, 32), options=options)
        code = made.asm["ptx"]
        added = set(re.findall(r"(?:atom|red)\\.global[.\\w]*", code))
        print(kernel.__name__, generation, len(made.asm["cubin"]), ".f64" in code, *sorted(added))
"""


@needs_triton
@pytest.mark.parametrize("ds", ["2", pytest.param("1,3", marks=pytest.mark.slow)])
def test_kernels_compile_for_gpus_and_have_no_sums_without_an_order(ds, tmp_path):
    pytest.importorskip(
        "triton", minversion="3.3", reason="kernels: Triton compiles without a GPU from 3.3 on"
    )
    script = tmp_path / "compiling.py"  # Triton reads the source of its functions from files
    script.write_text(COMPILE)
    run = subprocess.run(
        [sys.executable, str(script), ds],
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "TRITON_CACHE_DIR": str(tmp_path)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    lines = [line.split() for line in run.stdout.splitlines()]
    assert len(lines) == 2 * (4 * len(ds.split(",")) + 1)
    for name, _, size, double, *added in lines:
        assert int(size) > 1000 and double == "False"
        spreads = name in ("_spread_ones", "_repel")
        assert bool(added) == spreads and all(re.search(r"\.add\.u64$", a) for a in added)


# -- whether they are used --------------------------------------------------------------------------------------


def either(fused, plain=lambda x: (x.mul_(2),), kind="doubling", value=1.0):
    x = torch.full((3,), value)
    (found,) = _kernels.either(kind, (x,), fused, plain)
    return found.tolist() == [2.0] * 3 and x.tolist() == [2.0] * 3


def test_a_kernel_that_agrees_is_used(fuses):
    calls = []

    def fused(x):
        calls.append(1)
        return (x.mul_(2),)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert either(fused) and len(calls) == 2  # of a copy, then itself
        assert either(fused, plain=None) and len(calls) == 3


def failing(x):
    raise RuntimeError("no compiler")


@pytest.mark.parametrize(
    ("fused", "reason"),
    [
        (lambda x: (x.mul_(3),), "its results are others than those of plain operations"),
        (failing, "RuntimeError: no compiler"),
    ],
)
def test_a_kernel_that_does_not_is_given_up_with_one_warning(fused, reason, fuses):
    with pytest.warns(UserWarning, match=rf"kernel for doubling cannot be used on cpu \(.*{reason}\)"):
        assert either(fused)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert either(failing)
        assert either(lambda x: (x.mul_(2),), kind="another")


def test_nothing_is_learned_from_what_is_no_number_or_while_a_step_is_recorded(fuses, monkeypatch):
    either(lambda x: (x,), value=torch.nan)
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
    assert either(failing)
    assert _kernels._agreed == {}


def test_fits_on_the_cpu_and_other_tensors_know_no_kernels(monkeypatch):
    monkeypatch.setattr(_kernels, "_has_triton", lambda: True)
    assert either(failing)
    x = SimpleNamespace(is_cuda=True, dtype=torch.float32, is_contiguous=lambda: True)
    assert _kernels.fuses(x)
    for other in ({"is_cuda": False}, {"dtype": torch.float64}, {"is_contiguous": lambda: False}):
        assert not _kernels.fuses(SimpleNamespace(**{**vars(x), **other}))


@pytest.mark.pretended
@needs_triton
@pytest.mark.parametrize("name", ["mesh", "dense"])
def test_fits_by_kernels_are_the_fits(name, monkeypatch):
    X = load_digits().data[:150].astype(np.float32)
    model = ICONEmbedding(engine=name, device="cuda", max_iter=14, random_state=0)
    expected = model.fit(X)
    history, embedding = expected.loss_history_, expected.embedding_
    names = kernels.use_on_the_pretended_device(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        found = model.fit(X)
    assert set(names) == {"_move", "_keep"} | (
        {"_spread_ones", "_repel", "_attract"} if name == "mesh" else set()
    )
    assert len(_kernels._agreed) == len(set(names)) - (2 if name == "mesh" else 0) and all(
        _kernels._agreed.values()
    )
    np.testing.assert_allclose(found.loss_history_, history, rtol=1e-4)
    np.testing.assert_allclose(found.embedding_, embedding, atol=1e-2 * np.abs(embedding).max())
    # Steps that are recorded launch nothing one by one.
    assert names.count("_move") < 14
