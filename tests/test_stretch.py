"""Steps whose losses are read later: they end where steps end that are looked at one by one."""

import copy
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from iconlearn.engines._base import Engine, Hold
from iconlearn.optim import Phase, minimise
from iconlearn.optim._plateau import Plateau

SCALES = torch.tensor([[1.0, 4.0], [9.0, 0.5], [2.0, 2.0]], dtype=torch.float64)
START = torch.tensor([[1.0, 1.0], [-1.0, 0.5], [3.0, 0.1]], dtype=torch.float64)


PHASES = (Phase(70, 0.02),)


def bowl(z):
    return (SCALES * z**2).sum() + 1.0


class Run:
    """A minimisation, its losses read one by one or, with `hold`, by stretches."""

    def __init__(self, loss=bowl):
        self.loss, self.looks = loss, 0
        self.z, self.mean = torch.nn.Parameter(START.clone()), torch.zeros((), dtype=torch.float64)
        self.terms, self.states = [], []

    def __call__(self, hold=None, *, phases=PHASES, tol=0.0, patience=50, **more):
        self.solution = minimise(
            self.epochs,
            [self.z],
            optimizer="momentum",
            phases=list(phases),
            rule=Plateau(tol, patience),
            tensors=lambda: [self.z, self.mean],
            terms=self.terms.append,
            hold=hold and (lambda: self.counted(hold)),
            **more,
        )
        return self

    @contextmanager
    def counted(self, hold):
        self.looks += 1
        with hold() as held:
            yield held

    def epochs(self, phase):
        yield self.closure

    def closure(self):
        self.z.grad = None
        value = self.loss(self.z)
        value.backward()
        self.mean.add_(value.detach())
        self.states.append(self.z.detach().clone())
        return torch.stack([value.detach(), value.detach() - 1])


def same(run, other):
    torch.testing.assert_close(run.z, other.z, rtol=0, atol=0)
    assert float(run.mean) == float(other.mean)
    assert run.terms == other.terms
    ours, theirs = run.solution, other.solution
    for name in ("loss", "history", "n_iter", "reason", "phases"):
        assert getattr(ours, name) == getattr(theirs, name), name


always = Engine().hold

SETTINGS = {
    "to the last iteration": {},
    "two phases": {"phases": [Phase(33, 0.02, exaggeration=2.0, name="early"), Phase(20, 0.01)]},
    "a plateau": {"phases": [Phase(600, 0.02)], "tol": 1e-3, "patience": 20},
    "steps that are shortened": {"phases": [Phase(400, 0.35)], "tol": 1e-6, "patience": 10},
    "temperatures": {"phases": [Phase(30, 0.02, cooling=0.5), Phase(30, 0.02, cooling=1.0)]},
    "further turns": {"phases": [Phase(31, 0.0005, momentum=0.5, further=90, falling=0.5)]},
    "a step after the steps": {"after_step": lambda: None},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_stretch_ends_where_single_steps_end(setting):
    single, by_stretches = (Run()(hold, **SETTINGS[setting]) for hold in (None, always))
    same(by_stretches, single)
    n = single.solution.n_iter
    assert len(by_stretches.states) == len(single.states) == n >= 40
    assert 0 < by_stretches.looks < n / 4 + 6


def test_the_best_state_is_kept_and_not_the_last():
    found = []
    for hold in (None, always):
        run = Run()
        run.loss = lambda z, run=run: bowl(z) + (100 if len(run.states) > 15 else 0)
        found.append(run(hold))
    same(*found)
    assert found[0].solution.loss < 90 < found[0].solution.history[-1]


@pytest.mark.parametrize("first", [1, 2, 3, 17, 40])
@pytest.mark.parametrize("value", [math.nan, -math.inf])
def test_a_divergence_is_noticed_at_its_step(first, value):
    bad = Run()().states[first]

    def loss(z):
        return bowl(z) + (value if torch.equal(z.detach(), bad) else 0.0)

    single, by_stretches = (Run(loss)(hold) for hold in (None, always))
    same(by_stretches, single)
    assert single.solution.reason == "diverged" and single.solution.n_iter == first


def test_a_start_that_is_not_finite_is_an_error():
    with pytest.raises(FloatingPointError, match="nan at the start"):
        Run(lambda z: bowl(z) * math.nan)(always)


class Grid:
    """Holds on to the place where a stretch began; steps further than `reach` from it have no loss."""

    def __init__(self, reach, able=True):
        self.reach, self.able, self.places, self.lost = reach, able, None, 0

    @contextmanager
    def hold(self):
        self.places = []
        yield Hold(able=self.able)
        self.places = None

    def loss(self, z):
        outside = False
        if self.places is not None:
            self.places.append(z.detach().clone())
            outside = float((self.places[-1] - self.places[0]).abs().max()) > self.reach
        self.lost += outside
        return bowl(z) * (math.nan if outside else 1.0)


@pytest.mark.parametrize("reach", [0.0, 0.02, 0.3])
def test_steps_that_leave_what_is_held_are_taken_again(reach):
    grid = Grid(reach)
    single, found = Run()(), Run(grid.loss)(grid.hold)
    same(found, single)
    assert grid.lost > 0
    assert found.looks < (60 if reach == 0 else 40)


def test_an_engine_that_can_hold_nothing_is_asked_at_every_step():
    grid = Grid(0.0, able=False)
    found = Run(grid.loss)(grid.hold)
    same(found, Run()())
    assert grid.lost == 0


def test_an_interrupt_keeps_the_best_of_the_stretch():
    def interrupted(z):
        if len(run.states) == 27:
            raise KeyboardInterrupt
        return bowl(z)

    run = Run(interrupted)
    run(always)
    assert run.solution.reason == "interrupted"
    assert run.solution.n_iter == len(run.solution.history) == len(run.terms) == 27
    best = int(np.argmin(run.solution.history))
    assert run.solution.loss == run.solution.history[best]
    torch.testing.assert_close(run.z.detach(), run.states[best], rtol=0, atol=0)


def test_with_a_callback_every_loss_is_read_at_once():
    records = []
    run = Run()(always, callback=records.append)
    assert run.looks == 0 and len(records) == run.solution.n_iter
    same(run, Run()())


def test_a_run_that_goes_on_takes_the_stretches_that_it_would_have_taken():
    """The first step of a stretch chooses what the others go by, so that other stretches are other steps."""

    def run(state=None, at=START):
        grid, places, saved = Grid(0.3), [], []
        run = Run(grid.loss)
        run.z.data.copy_(at)

        @contextmanager
        def hold():
            places.append(run.z.tolist())
            with grid.hold() as held:
                yield held

        def keep(iteration, state):
            saved.append((len(places), run.z.detach().clone(), copy.deepcopy(state())))

        keep.state = state
        run(hold, keep=keep)
        return places, saved

    places, saved = run()
    assert len(saved) > 8
    for number, at, state in saved:
        assert run(state, at)[0] == places[number:]
