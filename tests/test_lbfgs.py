"""L-BFGS on problems with known answers: what a preconditioner saves, what a step costs, where it ends."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize, rosen, rosen_der

from iconlearn.optim._lbfgs import LBFGS

RNG = np.random.default_rng(0)
# A valley: curvatures from one to ten thousand.
CURVATURE = torch.as_tensor(np.logspace(0, 4, 12))
TARGET = torch.as_tensor(RNG.normal(size=12))


class Task:
    def __init__(self, loss, start, **options):
        self.loss, self.calls = loss, 0
        self.w = torch.nn.Parameter(torch.as_tensor(start, dtype=torch.float64).clone())
        self.method = LBFGS([self.w], **options)

    def closure(self):
        self.calls += 1
        self.w.grad = None
        value = self.loss(self.w)
        value.backward()
        return value.detach()

    def steps(self, most=500):
        losses = []
        while len(losses) < most and not self.method.stationary:
            losses.append(self.method.step(self.closure))
        return losses


def valley(w):
    return 0.5 * (CURVATURE * (w - TARGET).square()).sum()


def rosenbrock(w):
    return (100 * (w[1:] - w[:-1].square()).square() + (1 - w[:-1]).square()).sum()


def test_it_finds_what_scipy_finds_in_as_many_steps():
    start = np.full(6, -1.2)
    task = Task(rosenbrock, start, grad_tol=1e-8, steady=True)
    losses = task.steps()
    theirs = minimize(rosen, start, jac=rosen_der, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0})
    np.testing.assert_allclose(task.w.detach(), theirs.x, atol=1e-6)
    assert len(losses) < 1.5 * theirs.nit
    assert task.calls < 1.5 * theirs.nfev


def test_the_exact_inverse_hessian_needs_two_steps():
    task = Task(valley, np.zeros(12), grad_tol=1e-9, steady=True, precondition=lambda g: [g[0] / CURVATURE])
    assert len(task.steps()) <= 2
    np.testing.assert_allclose(task.w.detach(), TARGET, atol=1e-9)


def test_a_good_guess_saves_most_steps():
    rough = CURVATURE * torch.as_tensor(RNG.uniform(0.5, 2.0, size=12))
    plain, helped = (
        Task(valley, np.zeros(12), grad_tol=1e-8, steady=True, precondition=P)
        for P in (None, lambda g: [g[0] / rough])
    )
    assert 2 * len(helped.steps()) < len(plain.steps())


def test_every_step_falls_and_reports_its_end():
    task = Task(rosenbrock, np.full(4, -1.0), steady=True, grad_tol=1e-6)
    before = float(task.loss(task.w.detach()))
    for _ in range(30):
        loss = task.method.step(task.closure)
        assert loss == float(task.loss(task.w.detach())) < before
        before = loss


def test_a_steady_loss_is_evaluated_once_a_step():
    steady, not_steady = (Task(valley, np.zeros(12), steady=s, grad_tol=1e-8) for s in (True, False))
    n = len(steady.steps())
    assert len(not_steady.steps()) == n
    assert not_steady.calls == steady.calls + n - 1


def test_it_stops_at_the_end_of_the_precision():
    task = Task(lambda w: valley(w) + 1e6, np.zeros(12), steady=True)
    assert len(task.steps(most=1000)) < 400 and task.method.stationary
    np.testing.assert_allclose(task.w.detach(), TARGET, atol=1e-3)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_never_finite_is_told(bad):
    task = Task(lambda w: (w * bad).sum(), np.ones(2))
    assert not np.isfinite(task.method.step(task.closure))
    # Finite at the start and nowhere else: back to the start.
    task = Task(lambda w: w.sum() * (1.0 if task.calls == 1 else bad), np.ones(2))
    assert np.isnan(task.method.step(task.closure))
    np.testing.assert_array_equal(task.w.detach(), 1)


def test_a_state_goes_to_the_device_of_the_parameters():
    """A file gives it on the CPU, wherever the search was."""
    task = Task(valley, TARGET + 1, steady=True)
    for _ in range(3):
        task.method.step(task.closure)
    other = LBFGS([torch.nn.Parameter(torch.zeros(12, device="meta"))], steady=True)
    other.load_state_dict(task.method.state_dict())
    assert len(other.pairs) == 3 and other.known[0] == task.method.known[0]
    assert {t.device.type for s, y, _ in other.pairs for t in (s, y)} == {"meta"}
    assert other.known[1].device.type == "meta"
