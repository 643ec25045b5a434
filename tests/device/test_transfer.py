"""Arrays go to a device in one copy, and are there what they were."""

import numpy as np
import pytest
import torch
from device import pretended
from reference import make_problem, places, random_rows, sparse_p

from iconlearn._transfer import sent
from iconlearn.engines import visit_all
from iconlearn.engines._visit import visit_batch
from iconlearn.learned import Student

pytestmark = pytest.mark.gpu

ARRAYS = [
    (np.arange(5, dtype=np.int32), torch.int64),
    (np.linspace(0, 1, 7), torch.float32),
    (None, torch.float32),
    (np.zeros((0, 3)), torch.float64),
    (np.arange(6.0).reshape(2, 3)[:, ::2], torch.float64),
    (np.array([True, False, True]), torch.bool),
    (np.float64(2.5), torch.float32),
]


def test_they_are_what_they_were():
    here, there = sent(ARRAYS, torch.device("cpu")), sent(ARRAYS, torch.device("cuda"))
    for (array, kind), one, other in zip(ARRAYS, here, there, strict=True):
        if array is None:
            assert one is None and other is None
            continue
        assert other.is_cuda and one.dtype == other.dtype == kind
        torch.testing.assert_close(other.cpu(), one, rtol=0, atol=0)
        np.testing.assert_allclose(one, array)


@pytest.mark.pretended
def test_the_host_does_not_wait():
    with pretended.watch() as watched:
        sent(ARRAYS, torch.device("cuda"))
    assert watched.total(*pretended.WAITING) == 0
    assert watched.total("copy to the device without waiting") == 1


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("batch", [False, True])
def test_a_visit_is_that_of_the_cpu(batch, own):
    n = 30
    p = sparse_p(random_rows(n, density=0.3, self_pairs=False), mass=np.arange(1.0, n + 1), self_pairs=False)
    problem = make_problem(p, Student(), places(n, 2))
    rows = np.arange(3, 21)
    visits = []
    for device in map(torch.device, ("cpu", "cuda")):
        options = {"dtype": torch.float32, "device": device}
        if batch:
            options["own"] = rows % 2 == 0 if own else None
            visits.append(visit_batch(problem, rows, rows, **options))
        else:
            visits.append(visit_all(problem, **options))
    one, other = visits
    for name in ("rows", "cols", "p", "weight", "pulled", "row_weight", "at_one", "mass", "column_weights"):
        expected, found = getattr(one, name), getattr(other, name)
        assert (found is None) == (expected is None)
        if expected is not None:
            torch.testing.assert_close(found.cpu(), expected, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(other.edges.j.cpu(), one.edges.j)
    assert one.weighs and other.weighs
