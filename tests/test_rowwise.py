"""Every row of a table to its own optimum."""

import numpy as np
import pytest
import torch

from iconlearn.optim._rows import minimise_rows

RNG = np.random.default_rng(0)
SETTINGS = {"first_step": 0.1, "longest": 1.0, "tolerance": 1e-9, "n_steps": 60}


def quadratics(n, d):
    """Random strictly convex quadratics: their gradients, and where those vanish."""
    A = RNG.normal(size=(n, d, d))
    A = torch.from_numpy(A @ A.transpose(0, 2, 1) + 0.3 * np.eye(d))
    best = torch.from_numpy(RNG.normal(size=(n, d)))
    return (lambda Z, at=slice(None): (A[at] * (Z - best[at])[:, None, :]).sum(2)), best


@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_quadratics_are_solved(d):
    gradient, best = quadratics(40, d)
    Z = minimise_rows(gradient, torch.zeros(40, d, dtype=torch.float64), **SETTINGS)
    np.testing.assert_allclose(Z, best, atol=1e-7)


def test_few_gradients_are_enough():
    gradient, best = quadratics(40, 2)
    asked = []

    def counted(Z):
        asked.append(1)
        return gradient(Z)

    Z = minimise_rows(counted, best + 0.1, **SETTINGS | {"tolerance": 1e-3})
    assert len(asked) < 20
    assert (Z - best).abs().max() < 1e-3


def test_no_row_sees_another():
    gradient, _ = quadratics(30, 2)
    start = torch.from_numpy(RNG.normal(size=(30, 2)))
    together = minimise_rows(gradient, start, **SETTINGS)
    for r in range(30):
        alone = minimise_rows(lambda Z, r=r: gradient(Z, slice(r, r + 1)), start[r : r + 1], **SETTINGS)
        assert torch.equal(alone[0], together[r])


def test_no_step_is_longer_than_allowed():
    gradient, best = quadratics(30, 2)
    Z = minimise_rows(gradient, best + 100.0, **SETTINGS | {"n_steps": 7, "first_step": 10.0})
    assert (Z - best - 100.0).norm(dim=1).max() <= 7 + 1e-9


def test_rows_leave_a_stretch_that_bends_downwards():
    # Minus a bell: beyond one standard deviation the slope falls with the distance.
    def gradient(Z):
        return Z * torch.exp(-0.5 * Z.square().sum(1, keepdim=True))

    start = torch.tensor([[2.5, 0.0], [0.0, -2.0], [1.5, 1.5]], dtype=torch.float64)
    Z = minimise_rows(gradient, start, **SETTINGS)
    assert Z.abs().max() < 1e-6


def test_a_row_that_ends_higher_than_it_began_stays_where_it_was():
    """A narrow deep well beside a wide shallow one, into which too long a step leads."""

    def values(Z):
        near, far = Z.square().sum(1), (Z - 4.0).square().sum(1)
        return -2.0 * torch.exp(-2.0 * near) - torch.exp(-0.1 * far)

    def gradient(Z):
        Z = Z.clone().requires_grad_()
        return torch.autograd.grad(values(Z).sum(), Z)[0]

    start = torch.from_numpy(RNG.uniform(-0.6, 0.6, size=(50, 2)))
    long = SETTINGS | {"first_step": 2.0, "longest": 4.0}
    free = minimise_rows(gradient, start, **long)
    worse = values(free) > values(start)
    assert worse.any() and not worse.all()
    kept = minimise_rows(gradient, start, **long, values=values)
    assert (values(kept) <= values(start)).all()
    assert torch.equal(kept[worse], start[worse]) and torch.equal(kept[~worse], free[~worse])
