"""Every row of a table to its own optimum."""

from functools import partial

import numpy as np
import pytest
import torch

from iconlearn.optim._rows import minimise_rows

RNG = np.random.default_rng(0)
SETTINGS = {"first_step": 0.1, "longest": 1.0, "tolerance": 1e-9, "n_steps": 60}


def quadratics(n, d):
    """Random strictly convex quadratics: their values and gradients, and where the gradients vanish."""
    A = RNG.normal(size=(n, d, d))
    A = torch.from_numpy(A @ A.transpose(0, 2, 1) + 0.3 * np.eye(d))
    best = torch.from_numpy(RNG.normal(size=(n, d)))

    def evaluate(Z, at=slice(None), gradients=True):
        gradient = (A[at] * (Z - best[at])[:, None, :]).sum(2)
        values = 0.5 * (gradient * (Z - best[at])).sum(1)
        return (values, gradient) if gradients else values

    return evaluate, best


def by_autograd(values):
    """A function of places with its gradient."""

    def evaluate(Z, gradients=True):
        Z = Z.clone().requires_grad_()
        f = values(Z)
        if not gradients:
            return f.detach()
        return f.detach(), torch.autograd.grad(f.sum(), Z)[0]

    return evaluate


@pytest.mark.parametrize("d", [1, 2, 3, 10])
def test_quadratics_are_solved(d):
    evaluate, best = quadratics(40, d)
    Z = minimise_rows(evaluate, torch.zeros(40, d, dtype=torch.float64), **SETTINGS)
    np.testing.assert_allclose(Z, best, atol=1e-7)


def test_few_evaluations_are_enough():
    evaluate, best = quadratics(40, 2)
    asked = []

    def counted(Z, gradients=True):
        asked.append(gradients)
        return evaluate(Z, gradients=gradients)

    Z = minimise_rows(counted, best + 0.1, **SETTINGS | {"tolerance": 1e-3})
    assert len(asked) < 20
    # The last evaluation only decides whether the last steps are taken.
    assert all(asked[:-1]) and not asked[-1]
    assert (Z - best).abs().max() < 1e-3


def test_no_row_sees_another():
    evaluate, _ = quadratics(30, 2)
    start = torch.from_numpy(RNG.normal(size=(30, 2)))
    together = minimise_rows(evaluate, start, **SETTINGS)
    for r in range(30):
        of_row = partial(evaluate, at=slice(r, r + 1))
        alone = minimise_rows(of_row, start[r : r + 1], **SETTINGS)
        assert torch.equal(alone[0], together[r])


def test_no_step_is_longer_than_allowed():
    evaluate, best = quadratics(30, 2)
    Z = minimise_rows(evaluate, best + 100.0, **SETTINGS | {"n_steps": 7, "first_step": 10.0})
    assert (Z - best - 100.0).norm(dim=1).max() <= 7 + 1e-9


def test_rows_leave_a_stretch_that_bends_downwards():
    # Minus a bell: beyond one standard deviation the slope falls with the distance.
    evaluate = by_autograd(lambda Z: -torch.exp(-0.5 * Z.square().sum(1)))
    start = torch.tensor([[2.5, 0.0], [0.0, -2.0], [1.5, 1.5]], dtype=torch.float64)
    Z = minimise_rows(evaluate, start, **SETTINGS)
    assert Z.abs().max() < 1e-6


@pytest.mark.parametrize("first_step", [0.1, 2.0, 100.0])
def test_no_row_ends_higher_than_it_began(first_step):
    """A narrow deep well beside a wide shallow one, into which too long a step leads."""

    def values(Z):
        near, far = Z.square().sum(1), (Z - 4.0).square().sum(1)
        return -2.0 * torch.exp(-2.0 * near) - torch.exp(-0.1 * far)

    start = torch.from_numpy(RNG.uniform(-0.6, 0.6, size=(50, 2)))
    Z = minimise_rows(by_autograd(values), start, **SETTINGS | {"first_step": first_step, "longest": 4.0})
    assert (values(Z) <= values(start)).all()
    assert by_autograd(values)(Z)[1].abs().max() < 1e-6


def test_steps_that_do_not_lower_a_row_are_shortened():
    """A kink at the minimum, which steps by the slope alone jump over for ever."""
    evaluate = by_autograd(lambda Z: Z.abs().sum(1) + 0.1 * Z.square().sum(1))
    start = torch.from_numpy(RNG.normal(size=(50, 1)))
    Z = minimise_rows(evaluate, start, **SETTINGS | {"first_step": 3.0, "tolerance": 1e-6})
    assert Z.abs().max() < 1e-4
