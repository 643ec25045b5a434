"""Fits whose steps are taken by stretches, and recorded: they are the fits of steps that are looked at one by one."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from iconlearn import ICONEmbedding
from iconlearn.engines.mesh import _mesh
from iconlearn.learned import Gaussian, Student
from iconlearn.optim import _stretch
from iconlearn.optim._momentum import MomentumGains

pytestmark = pytest.mark.gpu

X = load_digits().data.astype(np.float32)


FITS = {
    "mesh": {"engine": "mesh"},
    "mesh, joint": {"engine": "mesh", "q": Student(normalize="joint")},
    "mesh, Gaussian": {"engine": "mesh", "q": Gaussian()},
    "mesh, 1-D": {"engine": "mesh", "n_components": 1},
    "mesh, 3-D": {"engine": "mesh", "n_components": 3},
    "mesh, uniform share": {"engine": "mesh", "debias": 0.1},
    "dense": {"engine": "dense"},
    "dense, other divergence": {"engine": "dense", "divergence": "hellinger"},
    "sampled": {"engine": "sampled", "n_components": 5},
}


def fitted(name, **more):
    return ICONEmbedding(**{"device": "cuda", "max_iter": 60, "random_state": 0, **FITS[name], **more}).fit(
        X[:600]
    )


def single_steps(name, **more):
    return fitted(name, callback=lambda record: None, **more)


class Recordings:
    """Which recordings were made, how often they were repeated."""

    def __init__(self, monkeypatch):
        self.made, self.repeats = [], 0
        make, repeat = _stretch._Recording.make, _stretch._Recording.repeat

        def making(recording, *args):
            make(recording, *args)
            self.made.append(recording.made)

        def repeating(recording):
            self.repeats += 1
            return repeat(recording)

        monkeypatch.setattr(_stretch._Recording, "make", making)
        monkeypatch.setattr(_stretch._Recording, "repeat", repeating)


def without_recording(monkeypatch):
    monkeypatch.setattr(_stretch, "LEAST_REPETITIONS", np.inf)


@pytest.mark.pretended
@pytest.mark.parametrize("name", FITS)
def test_recorded_steps_are_the_steps(name, monkeypatch):
    recordings = Recordings(monkeypatch)
    recorded = fitted(name)
    assert recordings.made and all(recordings.made)
    assert recordings.repeats > (5 if name.startswith("mesh") else 40)
    without_recording(monkeypatch)
    before, taken = recordings.repeats, fitted(name)
    assert recordings.repeats == before
    np.testing.assert_array_equal(recorded.loss_history_, taken.loss_history_)
    np.testing.assert_array_equal(recorded.embedding_, taken.embedding_)


@pytest.mark.pretended
def test_a_step_is_taken_before_it_is_recorded(monkeypatch):
    """Also where the first stretch is a long one, as after a checkpoint: kernels are compiled at their first use."""
    begin, take, step, done = _stretch.Stretches.__init__, _stretch.Stretches.take, MomentumGains.step, []

    def long_from_the_start(stretches, *args):
        begin(stretches, *args)
        stretches.longest = 25

    def taking(*args):
        done.append("stretch")
        return take(*args)

    def stepping(method, closure):
        done.append("recorded" if torch.cuda.is_current_stream_capturing() else "taken")
        return step(method, closure)

    with monkeypatch.context() as patch:
        patch.setattr(_stretch.Stretches, "__init__", long_from_the_start)
        expected = fitted("mesh", max_iter=40)
        patch.setattr(_stretch.Stretches, "take", taking)
        patch.setattr(MomentumGains, "step", stepping)
        recorded = fitted("mesh", max_iter=40)
        np.testing.assert_array_equal(recorded.embedding_, expected.embedding_)
        first = done.index("recorded")
        assert done[first - 3 : first] == ["stretch", "taken", "taken"]
        without_recording(patch)
        np.testing.assert_array_equal(recorded.embedding_, fitted("mesh", max_iter=40).embedding_)


@pytest.mark.parametrize("name", FITS)
def test_stretches_end_where_single_steps_end(name):
    found, expected = fitted(name), single_steps(name)
    assert len(found.loss_history_) == len(expected.loss_history_)
    np.testing.assert_array_equal(found.loss_phases_, expected.loss_phases_)
    # Grids of other sizes round otherwise, which a map that unfolds, after the exaggeration, makes larger and larger.
    np.testing.assert_allclose(found.loss_history_[:7], expected.loss_history_[:7], rtol=1e-4)
    assert found.loss_ == pytest.approx(expected.loss_, rel=0.03)
    assert found.loss_parts_.shape == expected.loss_parts_.shape


@pytest.mark.parametrize("name", ["dense", "sampled"])
@pytest.mark.pretended
def test_without_a_grid_they_are_the_same_bits(name):
    found, expected = fitted(name), single_steps(name)
    np.testing.assert_array_equal(found.loss_history_, expected.loss_history_)
    np.testing.assert_array_equal(found.loss_parts_, expected.loss_parts_)
    np.testing.assert_array_equal(found.embedding_, expected.embedding_)


class Waiting(Student):
    """A kernel whose author looks at the distances."""

    edge_form = None

    def log_kernel(self, s):
        assert bool((s >= 0).all())
        return super().log_kernel(s)


def test_a_step_that_cannot_be_recorded_is_taken(monkeypatch):
    recordings = Recordings(monkeypatch)
    found = fitted("dense", q=Waiting())
    assert recordings.made and not any(recordings.made) and recordings.repeats == 0
    np.testing.assert_allclose(found.loss_history_[:12], fitted("dense").loss_history_[:12], rtol=1e-4)
    assert torch.zeros(3, device="cuda").sum() == 0


@pytest.mark.parametrize("name", ["mesh", "mesh, Gaussian", "mesh, joint"])
def test_far_rows(name, monkeypatch):
    """They leave the grid, or are lost in its error."""
    monkeypatch.setattr(_mesh, "WIDE", 100)
    boxes, n = [], 1200

    class Box(_mesh._Box):
        def __init__(self, *args, **options):
            super().__init__(*args, **options)
            boxes.append(self.outside is not None)

    monkeypatch.setattr(_mesh, "_Box", Box)
    start = np.random.RandomState(0).standard_normal((n, 2)).astype(np.float32)
    start[:2] = [[90, 90], [-90, -90]]
    params = {"max_iter": 20, "random_state": 0, "init": start, **FITS[name]}
    found = ICONEmbedding(**params, device="cuda").fit(X[:n])
    assert any(boxes)
    on_cpu = ICONEmbedding(**params, device="cpu").fit(X[:n])
    np.testing.assert_allclose(found.loss_history_[:6], on_cpu.loss_history_[:6], rtol=1e-3)


@pytest.mark.parametrize("max_step", [None, 0.05])
@pytest.mark.parametrize("start", ["spread", "one point"])
def test_momentum_steps_are_those_of_the_cpu(max_step, start):
    rng = torch.Generator().manual_seed(0)
    scales = torch.rand(50, 2, generator=rng)
    places = torch.randn(50, 2, generator=rng) if start == "spread" else torch.zeros(50, 2)
    ends = []
    for device in ("cpu", "cuda"):
        z = torch.nn.Parameter(places.clone().to(device))
        method = MomentumGains([z], 0.3, max_step=max_step)

        def closure(z=z, device=device):
            z.grad = None
            value = (scales.to(device) * (z - 1) ** 2).sum()
            value.backward()
            return value.detach()

        for _ in range(30):
            method.step(closure)
        ends.append(z.detach().cpu())
    torch.testing.assert_close(*ends, rtol=1e-4, atol=1e-5)


def test_a_recording_is_no_matter_of_other_threads(monkeypatch):
    """CUDA else refuses what fits in other threads ask of it meanwhile, and two recordings at a time."""
    graph, modes = torch.cuda.graph, []

    def noted(*args, capture_error_mode="global", **options):
        modes.append((capture_error_mode, _stretch._one_recording.locked()))
        return graph(*args, capture_error_mode=capture_error_mode, **options)

    monkeypatch.setattr(torch.cuda, "graph", noted)
    fitted("dense")
    assert set(modes) == {("thread_local", True)}
