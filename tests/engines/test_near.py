"""Near pairs: the split of a radial function, its sums against all pairs, and the compiled loops."""

import numpy as np
import pytest
import torch
from reference import places

from iconlearn.engines.mesh import _near
from iconlearn.engines.mesh._near import CompiledPairs, NearPairs, Split

N, REACH = 300, 3.0
FUNCTIONS = {
    "student": lambda s: 1 / (1 + s),
    "heavier": lambda s: (1 + s) ** -0.75,
    "narrower": lambda s: 2.5 / (2.5 + s),
    "gaussian": lambda s: torch.exp(-0.5 * s),
    "line": lambda s: -0.5 * s,
    "log": lambda s: -torch.log1p(s),
}
CLOUDS = {
    "cloud": lambda d: places(N, d) * 3,
    "twins": lambda d: np.repeat(places(N // 2, d) * 3, 2, axis=0),
    "plane": lambda d: places(N, d) * np.r_[5.0, np.zeros(d - 1)],
    "one cell": lambda d: places(N, d) * 0.1,
}


def split_of(name):
    return Split(FUNCTIONS[name], REACH, 1.0)


def exact(split, U, charges):
    """Sums over all pairs in the plain way, and the gradient of their weighted total."""
    U = U.clone().requires_grad_()
    s = (U[:, None] - U).square().sum(2)
    sums = split.rest(s).masked_fill(torch.eye(len(U), dtype=bool), 0.0).sum(1)
    (charges * sums).sum().backward()
    return sums.detach(), U.grad


@pytest.mark.parametrize("name", FUNCTIONS)
def test_both_parts_are_the_function(name):
    split, s = split_of(name), torch.linspace(0, 2 * REACH**2, 1001, dtype=torch.float64)
    torch.testing.assert_close(split.smooth(s) + split.rest(s), FUNCTIONS[name](s))
    assert (split.rest(s[s >= REACH**2]) == 0).all()
    # Smooth at the reach: the rest ends with its slope and its bend.
    near = torch.tensor([REACH**2 - 1e-3], dtype=torch.float64)
    assert abs(float(split.rest(near))) < 1e-9 and abs(float(split.rest_slope(near))) < 1e-6


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_sums_are_those_over_all_pairs(name, width, kind, monkeypatch):
    monkeypatch.setattr(_near, "BLOCK", 5000)
    split, U = split_of(name), torch.as_tensor(CLOUDS[kind](width))
    charges = torch.linspace(0.5, 2, N, dtype=torch.float64)
    sums, pulls = exact(split, U, charges)
    pairs = NearPairs(U, REACH)
    torch.testing.assert_close(pairs.sums(split), sums, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(pairs.pulls(split, charges), pulls, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", CLOUDS)
@pytest.mark.parametrize("width", [1, 2, 3])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_loops_are_the_plain_ones(name, width, kind):
    pytest.importorskip("numba")
    split, U = split_of(name), torch.as_tensor(CLOUDS[kind](width), dtype=torch.float32)
    charges = torch.linspace(0.5, 2, N)
    sums, pulls = exact(split, U.double(), charges.double())
    pairs = CompiledPairs(U, REACH)
    # The table is right to a few parts in a hundred thousand of the function's height.
    torch.testing.assert_close(
        pairs.sums(split).double(), sums, rtol=1e-4, atol=1e-4 * float(sums.abs().max()) + 1e-6
    )
    torch.testing.assert_close(
        pairs.pulls(split, charges).double(), pulls, rtol=1e-3, atol=1e-4 * float(pulls.abs().max()) + 1e-5
    )


def test_threads_change_little():
    pytest.importorskip("numba")
    from iconlearn.numerics.compiled import SortedPoints, near_pulls, near_sums

    points, split = SortedPoints((places(301, 3) * 3).astype(np.float32), REACH), split_of("student")
    charges = np.linspace(0, 1, 301, dtype=np.float32)
    for found in (
        lambda k: near_sums(points, split.compiled[0], 1.0, k),
        lambda k: near_pulls(points, split.compiled[1], 1.0, charges, k),
    ):
        np.testing.assert_allclose(found(1), found(3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [NearPairs, CompiledPairs])
def test_crowds_are_seen(kind):
    if kind is CompiledPairs:
        pytest.importorskip("numba")
    apart = torch.arange(50.0)[:, None].repeat(1, 2) * 10
    assert kind(apart, REACH).crowd() <= 50
    assert kind(torch.zeros(50, 2), REACH).crowd() >= 50**2 / 4
