"""When a search is through: on losses that are known, and on losses that chance moves up and down."""

import math

import numpy as np
import pytest
import torch

from iconlearn import ICONEmbedding
from iconlearn.optim import Phase, minimise
from iconlearn.optim._plateau import MAX_CUTS, EstimatedPlateau, Plateau, Verdict
from iconlearn.supervisory import Views


def stop_of(rule, losses):
    """How many iterations the rule lets pass, and how often it shortens the steps on the way."""
    best, cuts = np.inf, 0
    for done, value in enumerate(losses, 1):
        best = min(best, value)
        verdict = rule(done, value, best)
        if verdict is Verdict.STOP:
            return done, cuts
        cuts += verdict is Verdict.SHORTEN
    return len(losses), cuts


def falling(seed, n=2000, scale=100.0, noise=0.03):
    """From 6 to 5 with a given time scale; the noise of a batch is larger than the fall of ten epochs."""
    epochs = np.arange(n)
    return 5 + np.exp(-epochs / scale) + noise * np.random.default_rng(seed).normal(size=n)


def below_five(n, noise, seed):
    return noise * np.random.default_rng(seed).normal(size=n) + 5


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("scale", [50.0, 100.0, 200.0])
def test_noise_does_not_pass_for_a_plateau(scale, seed):
    """From 6 to 5 exponentially; the noise of an epoch hides the fall of several."""
    epochs = np.arange(3000)
    losses = below_five(3000, 0.03, seed) + np.exp(-epochs / scale)
    done, _ = stop_of(EstimatedPlateau(1e-4), losses)
    # What is left to fall is a small part of what one epoch's loss is uncertain by; and the end is seen.
    assert np.exp(-done / scale) < 0.015 and done < 25 * scale
    # By the best value alone the same losses look flat while some of the fall is to come, in every series.
    early, _ = stop_of(Plateau(1e-4, 5), losses)
    assert early < 0.7 * done


@pytest.mark.parametrize("seed", range(5))
def test_steps_are_not_cut_while_the_loss_falls(seed):
    losses = below_five(300, 0.03, seed) - 0.002 * np.arange(300)
    assert stop_of(EstimatedPlateau(1e-4), losses) == (300, 0)
    assert stop_of(Plateau(1e-4, 5), losses)[1] > 0


@pytest.mark.parametrize("seed", range(5))
def test_without_a_fall_it_ends_after_one_cut(seed):
    done, cuts = stop_of(EstimatedPlateau(1e-4), below_five(2000, 0.03, seed))
    assert 2 * 120 < done < 800 and cuts == 1


def test_without_noise_it_ends_as_soon_as_it_can():
    assert stop_of(EstimatedPlateau(1e-4), np.full(100, 3.0)) == (40, 1)


def test_cuts_go_on_while_they_help_and_no_longer():
    """Each cut lowers the floor, as shorter steps do."""
    rng, rule, cuts, levels = np.random.default_rng(0), EstimatedPlateau(1e-4), 0, [5, 4, 3.5, 3.5, 3.5]
    for done in range(1, 3000):
        verdict = rule(done, levels[cuts] + 0.01 * rng.normal(), 3.0)
        if verdict is Verdict.STOP:
            break
        cuts += verdict is Verdict.SHORTEN
    assert cuts == 3
    rule, cuts = EstimatedPlateau(1e-4), 0
    for done in range(1, 1000):
        verdict = rule(done, 0.5**cuts, 0.0)
        if verdict is Verdict.STOP:
            break
        cuts += verdict is Verdict.SHORTEN
    assert cuts == MAX_CUTS


def test_tolerance_and_patience():
    slow = 5 - 0.001 * np.arange(1000)
    assert stop_of(EstimatedPlateau(1e-2, 5), slow)[0] < 200 <= stop_of(EstimatedPlateau(1e-4, 5), slow)[0]
    flat = np.full(400, 3.0)
    assert stop_of(EstimatedPlateau(0, 20), flat)[0] == 4 * stop_of(EstimatedPlateau(0, 5), flat)[0]


def test_a_noisy_bowl_is_descended_to_its_bottom_and_the_latest_state_kept():
    rng = np.random.default_rng(0)
    z, seen = torch.nn.Parameter(torch.full((3,), 20.0)), []

    def closure():
        z.grad = None
        loss = z.square().sum() + 10.0 * rng.normal()
        loss.backward()
        seen.append(z.detach().clone())
        return loss.detach()

    solution = minimise(
        lambda phase: [closure],
        [z],
        optimizer="adam",
        phases=[Phase(4000, 0.1)],
        rule=EstimatedPlateau(1e-4, 5),
    )
    assert solution.reason == "plateau" and float(z.detach().norm()) < 1
    # The lucky draw that was lowest belongs to some other state.
    assert int(np.argmin(solution.history)) < len(seen) - 1
    assert float((z.detach() - seen[-1]).norm()) < 0.1
    # And its loss would stand beside a state that it says nothing of.
    assert solution.loss == solution.history[-1] > min(solution.history)


@pytest.mark.parametrize("ending", ["max_iter", "callback", "diverged"])
def test_the_loss_of_several_steps_is_that_of_the_state_that_is_kept(ending):
    z, values = torch.nn.Parameter(torch.ones(1)), []

    def closure():
        values.append(math.nan if ending == "diverged" and len(values) > 18 else float(len(values) % 8))
        z.grad = torch.ones(1)
        return torch.tensor(values[-1])

    solution = minimise(
        lambda phase: [closure] * 3, [z], optimizer="adam", phases=[Phase(7, 0.1)], rule=EstimatedPlateau(0.0),
        callback=lambda record: ending == "callback" and record.iteration == 6,
    )  # fmt: skip
    assert solution.reason == ending
    assert solution.loss == solution.history[-1] > min(solution.history)


def test_views_and_batches_are_estimates_and_whole_sets_are_not():
    X = np.random.default_rng(0).normal(size=(60, 4))
    flat = {"max_iter": 200, "random_state": 0, "mapper": "linear", "tol": 10.0}

    def epochs(**parameters):
        return ICONEmbedding(2, **flat, **parameters).set_params(engine="minibatch").fit(X).n_iter_

    # A tolerance that everything meets: the exact rule ends at its patience, the other one looks four times
    # as long, before and after a cut.
    assert epochs(p="knn") == 5 + 5
    assert epochs(p=Views()) == 20 + 20
    batches = ICONEmbedding(2, p="knn", **flat).set_params(engine="minibatch", engine__batch_size=16)
    assert batches.fit(X).n_iter_ == 20 + 20
