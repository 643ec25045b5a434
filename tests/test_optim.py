"""The loop on problems with known answers: what it finds, what it keeps, why it stops."""

import copy
import math
from dataclasses import FrozenInstanceError
from itertools import pairwise

import numpy as np
import pytest
import torch

from iconlearn.numerics import threads as loops
from iconlearn.optim import OPTIMIZERS, Phase, Record, Solution, minimise
from iconlearn.optim._plateau import Plateau

SCALES = torch.tensor([[1.0, 4.0], [9.0, 0.5]], dtype=torch.float64)
TARGET = torch.tensor([[3.0, -1.0], [0.5, 2.0]], dtype=torch.float64)
START = torch.tensor([[1.0, 1.0], [-1.0, 0.5]], dtype=torch.float64)
RATES = {"momentum": 0.02, "adam": 0.05, "lbfgs": 1.0}


def bowl(z):
    return (SCALES * (z - TARGET) ** 2).sum() + 1.0


def rosenbrock(z):
    return (1 - z[0]) ** 2 + 100 * (z[1] - z[0] ** 2) ** 2


# L-BFGS is through with a bowl before anything can happen to it.
VALLEY = torch.tensor([-1.2, 1.0], dtype=torch.float64)
TASKS = {"momentum": (bowl, START), "adam": (bowl, START), "lbfgs": (rosenbrock, VALLEY)}


class Run:
    """One parameter under a loss; remembers every evaluation."""

    def __init__(self, loss, start=START):
        self.loss, self.z = loss, torch.nn.Parameter(start.clone())
        self.values, self.pulls = [], []

    def closure(self):
        self.z.grad = None
        value = self.loss(self.z)
        value.backward()
        self.values.append(float(value.detach()))
        return value.detach()

    def epochs(self, phase):
        self.pulls.append(phase.exaggeration)
        return [self.closure]

    def __call__(
        self,
        optimizer="adam",
        n_iter=100,
        *,
        tol=0.0,
        patience=50,
        rule=None,
        epochs=None,
        phases=None,
        **more,
    ):
        phases, rule = phases or [Phase(n_iter, RATES[optimizer])], rule or Plateau(tol, patience)
        return minimise(
            epochs or self.epochs, [self.z], optimizer=optimizer, phases=phases, rule=rule, **more
        )


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_minimum_of_a_bowl(optimizer):
    run = Run(bowl)
    solution = run(optimizer, 2000, tol=1e-12)
    np.testing.assert_allclose(run.z.detach(), TARGET, atol=1e-4)
    assert solution.loss == pytest.approx(1, abs=1e-7) == float(bowl(run.z.detach()))
    assert solution.converged and solution.reason == "plateau" and solution.n_iter < 2000


def test_lbfgs_follows_a_curved_valley():
    run = Run(rosenbrock, VALLEY)
    solution = run("lbfgs", 200, grad_tol=1e-8)
    np.testing.assert_allclose(run.z.detach(), 1, atol=1e-6)
    assert solution.converged and solution.n_iter < 100
    assert float(run.z.grad.abs().max()) <= 1e-8


def test_the_gradient_tolerance_stops_lbfgs():
    loose, tight = (Run(rosenbrock, VALLEY) for _ in range(2))
    assert loose("lbfgs", 200, grad_tol=1.0).n_iter < tight("lbfgs", 200, grad_tol=1e-8).n_iter


def test_momentum_moves_a_map_off_the_origin():
    run = Run(bowl, torch.zeros(2, 2, dtype=torch.float64))
    run("momentum", 500)
    np.testing.assert_allclose(run.z.detach(), TARGET, atol=1e-3)


def test_momentum_speeds_up():
    runs = {momentum: Run(bowl) for momentum in (0.0, 0.8)}
    for momentum, run in runs.items():
        run("momentum", phases=[Phase(15, 1e-4, momentum=momentum)])
    assert min(runs[0.8].values) < min(runs[0.0].values)


@pytest.mark.parametrize("max_step", [0.01, 0.2])
def test_no_point_moves_further_than_allowed(max_step):
    places = []
    run = Run(bowl)
    run(
        "momentum",
        phases=[Phase(20, 1.0, max_step=max_step)],
        after_step=lambda: places.append(run.z.detach().clone()),
    )
    moves = torch.stack([START, *places]).diff(dim=0).norm(dim=2)
    assert float(moves.max()) == pytest.approx(max_step)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_n_iter_counts_and_is_never_exceeded(optimizer):
    for n_iter in (1, 4, 13, 25):
        run, records = Run(*TASKS[optimizer]), []
        solution = run(optimizer, n_iter, report=records.append)
        assert solution.n_iter == n_iter == records[-1].iteration
        assert solution.reason == "max_iter" and not solution.converged
        if optimizer != "lbfgs":
            assert len(solution.history) == len(run.values) == n_iter


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_best_state_is_kept_and_not_the_last(optimizer):
    """The loss jumps up for good after a while, as a badly chosen step makes it."""
    loss, start = TASKS[optimizer]
    run = Run(lambda z: loss(z) + (100 if len(run.values) > 15 else 0), start)
    solution = run(optimizer, 30)
    assert solution.loss == min(run.values) == float(loss(run.z.detach()))
    assert solution.loss < 90 < solution.history[-1]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_belongs_to_a_state_is_kept_with_it(optimizer):
    """A running mean, say, that the losses themselves do not depend on."""
    loss, start = TASKS[optimizer]
    run, mean = Run(lambda z: loss(z) + (math.nan if len(run.values) > 15 else 0), start), torch.zeros(())

    def closure():
        value = run.closure()
        mean.copy_(value)
        return value

    solution = run(optimizer, 30, epochs=lambda phase: [closure], tensors=lambda: [run.z, mean])
    assert solution.reason == "diverged"
    assert float(mean) == pytest.approx(solution.loss) == float(loss(run.z.detach()))


def test_the_history_is_the_loss_of_every_iteration():
    run = Run(bowl)
    solution = run("adam", 40)
    assert solution.history == run.values and solution.loss == min(run.values)


def test_an_epoch_of_several_steps_has_their_mean():
    run = Run(bowl)
    solution = run("adam", 6, epochs=lambda phase: [run.closure] * 3)
    np.testing.assert_allclose(solution.history, np.reshape(run.values, (6, 3)).mean(axis=1))
    assert solution.n_iter == 6


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
def test_a_plateau_ends_the_last_phase_only(optimizer):
    run = Run(lambda z: 0 * z.sum() + 3.0)
    phases = [Phase(35, 0.1, name="first"), Phase(500, 0.1, name="second")]
    records = []
    solution = run(optimizer, phases=phases, patience=20, report=records.append)
    assert solution.reason == "plateau" and solution.converged
    assert sum(r.phase == "first" for r in records) == 35
    assert 35 < solution.n_iter <= 35 + 40 + 10


@pytest.mark.parametrize("n_last", [15, 500])
def test_a_plateau_of_a_phase_that_may_end_begins_the_next_one(n_last):
    """Which the rule judges by its own iterations."""
    run = Run(lambda z: 0 * z.sum() + 3.0)
    phases = [Phase(500, 0.1, may_end=True, name="first"), Phase(n_last, 0.1, name="last")]
    solution = run("adam", phases=phases, patience=20)
    lengths = [solution.phases.count(phase.name) for phase in phases]
    assert lengths == [40, min(n_last, 40)]
    assert solution.reason == "plateau" and solution.converged


def test_a_run_that_goes_on_in_its_last_phase_knows_of_a_plateau_before():
    phases = [Phase(500, 0.1, may_end=True, name="first"), Phase(15, 0.1, name="last")]

    class Keep:
        state = None

        def __call__(self, iteration, state):
            if iteration == 50:
                self.state = copy.deepcopy(state())

    keep = Keep()
    for n_steps in (55, 5):
        run = Run(lambda z: 0 * z.sum() + 3.0)
        solution = run("adam", phases=phases, patience=20, keep=keep)
        assert (solution.n_iter, len(run.values), solution.reason) == (55, n_steps, "plateau")


def test_tolerance_and_patience():
    lengths = {}
    for tol, patience in [(1e-1, 10), (1e-6, 10), (1e-1, 40)]:
        lengths[tol, patience] = Run(bowl)("adam", 5000, tol=tol, patience=patience).n_iter
    assert lengths[1e-1, 10] < lengths[1e-6, 10] and lengths[1e-1, 10] < lengths[1e-1, 40]


def test_phases_hand_over_their_settings():
    run = Run(bowl)
    records = []
    phases = [Phase(3, 0.05, exaggeration=12.0, name="early"), Phase(4, 0.05, name="late")]
    solution = run("momentum", phases=phases, report=records.append)
    assert run.pulls == [12.0] * 3 + [1.0] * 4
    assert [r.phase for r in records] == ["early"] * 3 + ["late"] * 4
    assert [r.iteration for r in records] == list(range(1, 8)) and solution.n_iter == 7


@pytest.mark.parametrize(
    ("until", "n_iter"), [(0, 30), (24, 30), (25, 55), (49, 55), (50, 80), (75, 105), (200, 110)]
)
def test_a_phase_goes_on_while_its_loss_falls(until, n_iter):
    """By a thousandth in each iteration, and from one of them on by a tenth of that.

    The last ten of a turn lower it by more than a two-hundredth where five or more of them are steep.
    """
    falls = np.where(np.arange(300) < until, 1e-3, 1e-4)
    losses = iter(np.exp(-np.cumsum(falls)))
    run = Run(lambda z: 0 * z.sum() + next(losses))
    phases = [Phase(5, 0.1, name="early"), Phase(25, 0.1, further=80, falling=0.005)]
    solution = run("momentum", phases=phases)
    assert (solution.n_iter, solution.reason) == (n_iter, "max_iter")
    assert solution.phases == ["early"] * 5 + ["main"] * (n_iter - 5)


def test_losses_of_different_coolings_are_not_compared():
    """The second loss is higher everywhere; its own lowest state is kept, not the first one's."""

    def epochs(phase):
        run.loss = lambda z: bowl(z) + 50 * phase.cooling + (20 * phase.cooling) * z.sum() ** 2
        return [run.closure]

    run = Run(bowl)
    solution = run("adam", phases=[Phase(300, 0.1), Phase(300, 0.1, cooling=1.0)], epochs=epochs)
    assert solution.loss == min(run.values[300:]) > max(run.values[299:300])
    assert solution.loss == float(bowl(run.z.detach()) + 50 + 20 * run.z.detach().sum() ** 2)


def test_a_hovering_loss_gets_shorter_steps():
    """A learning rate far too long for Adam circles the minimum; cutting it gets there."""
    run = Run(bowl)
    solution = run("adam", phases=[Phase(3000, 5.0)], tol=1e-6, patience=20)
    np.testing.assert_allclose(run.z.detach(), TARGET, atol=1e-2)
    assert solution.loss == pytest.approx(1, abs=1e-3)


def test_a_callback_stops_it():
    run, records = Run(bowl), []

    def callback(record):
        records.append(record)
        return record.iteration == 12

    solution = run("adam", 100, callback=callback)
    assert solution.reason == "callback" and solution.n_iter == 12 == len(records)
    assert [r.best_loss for r in records] == list(np.minimum.accumulate([r.loss for r in records]))
    assert all(a.seconds <= b.seconds for a, b in pairwise(records))


def test_the_answer_of_a_report_is_ignored():
    assert Run(bowl)("adam", 5, report=lambda record: True).n_iter == 5


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_an_interrupt_in_a_closure_keeps_the_best(optimizer):
    loss, start = TASKS[optimizer]

    def interrupted(z):
        if len(run.values) == 20:
            raise KeyboardInterrupt
        return loss(z)

    run = Run(interrupted, start)
    solution = run(optimizer, 400, patience=400)
    assert solution.reason == "interrupted" and not solution.converged
    assert solution.loss == float(loss(run.z.detach())) <= min(solution.history)
    assert solution.loss < solution.history[0]


def test_an_interrupt_before_the_first_step_keeps_nothing():
    def loss(z):
        raise KeyboardInterrupt

    run = Run(loss)
    with pytest.raises(KeyboardInterrupt):
        run("adam", 10)
    np.testing.assert_array_equal(run.z.detach(), START)


def test_an_interrupt_in_the_first_epoch_keeps_the_steps_that_were_taken():
    run = Run(bowl)

    def epochs(phase):
        yield from [run.closure] * 4
        raise KeyboardInterrupt

    solution = run("adam", 5, epochs=epochs)
    assert solution.reason == "interrupted" and solution.history == [] and len(run.values) == 4
    assert float(bowl(run.z.detach())) < run.values[0]
    assert solution.loss == pytest.approx(np.mean(run.values))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_start_that_is_not_finite_is_an_error(optimizer, bad):
    with pytest.raises(FloatingPointError, match=f"{bad} at the start"):
        Run(lambda z: bowl(z) * bad)(optimizer, 10)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_later_divergence_returns_the_best(optimizer):
    loss, start = TASKS[optimizer]
    run = Run(lambda z: loss(z) * (math.nan if len(run.values) >= 15 else 1), start)
    solution = run(optimizer, 200, patience=200)
    assert solution.reason == "diverged" and not solution.converged
    assert np.isfinite(solution.history).all()
    assert solution.loss == float(loss(run.z.detach())) <= min(solution.history)


def test_after_step_is_called_after_each():
    run, counts = Run(bowl), []
    run("adam", 5, epochs=lambda phase: [run.closure] * 2, after_step=lambda: counts.append(len(run.values)))
    assert counts == list(range(1, 11))


def test_after_step_may_change_the_parameters():
    run = Run(bowl)

    def hold_the_first():
        with torch.no_grad():
            run.z[0] = 0

    run("adam", 800, after_step=hold_the_first)
    np.testing.assert_allclose(run.z.detach(), [[0, 0], TARGET[1].tolist()], atol=1e-3)


@pytest.mark.parametrize("value", [Record(1, "main", 2.0, 2.0, 0.1), Phase(1, 0.1), Solution(1.0)])
def test_the_values_are_frozen(value):
    name = next(iter(vars(value)))
    with pytest.raises(FrozenInstanceError):
        setattr(value, name, 3)


@pytest.mark.parametrize("n_threads", [1, 3])
@pytest.mark.parametrize("max_step", [None, 0.02])
def test_compiled_steps_of_momentum_are_the_plain_ones(max_step, n_threads, monkeypatch):
    """Turning and steady coordinates, rows at rest, rows that are held back, and the same bits for all threads."""
    pytest.importorskip("numba")
    monkeypatch.setattr("iconlearn.optim._momentum.available", lambda: n_threads)
    draws = np.random.default_rng(0).standard_normal((4, 50, 2)).astype(np.float32)
    found = []
    for least in (10, 1000):
        monkeypatch.setattr(loops, "MANY_POINTS", least)
        z = torch.nn.Parameter(torch.from_numpy(draws[0].copy()))
        method = OPTIMIZERS["momentum"]([z], Phase(9, 0.05, max_step=max_step))
        for k, gradient in enumerate(draws[1:]):
            gradient = torch.from_numpy(gradient.copy())
            gradient[:5] = 0
            gradient[5:9] *= 1e3
            z.grad = gradient
            method.step(lambda: None)
            if k == 1:
                method.rest(torch.arange(50) < 3)
        found.append([z.detach(), *method.velocities, *method.gains])
    for compiled, plain in zip(*found, strict=True):
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)


def test_a_map_that_is_one_point_takes_a_compiled_step(monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setattr(loops, "MANY_POINTS", 10)
    z = torch.nn.Parameter(torch.zeros(20, 2))
    z.grad = torch.ones(20, 2)
    OPTIMIZERS["momentum"]([z], Phase(1, 0.5)).step(lambda: None)
    torch.testing.assert_close(z.detach(), torch.full((20, 2), -0.6))
