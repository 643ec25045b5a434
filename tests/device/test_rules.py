"""What the pretended device raises, and computes, as a GPU does; these tests hold on a GPU too."""

import multiprocessing
import os

import numpy as np
import pytest
import torch
from scipy.sparse import random_array
from sklearn.datasets import load_iris

from iconlearn import ICONClassifier, ICONClustering, ICONEmbedding

pytestmark = pytest.mark.gpu

X, Y = load_iris(return_X_y=True)


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# -- errors -----------------------------------------------------------------------------------------------

# The wording differs between versions of torch.
TWO_DEVICES = (RuntimeError, "on the same device|at least two devices")
FAULTS = {
    "a sum of two devices": (lambda x: x + numbers(6, 4), *TWO_DEVICES),
    "a product of two devices": (lambda x: x @ numbers(4, 3), *TWO_DEVICES),
    "where of two devices": (lambda x: torch.where(x > 0, x, numbers(6, 4)), *TWO_DEVICES),
    "rows picked on the CPU by an index on the device": (
        lambda x: numbers(6, 4)[torch.arange(2, device=x.device)],
        RuntimeError,
        "indices should be either on cpu",
    ),
    "sums by an index on the CPU": (
        lambda x: x.index_add(0, torch.arange(2), x[:2]),
        RuntimeError,
        "same device",
    ),
    "rows put in from the CPU": (
        lambda x: x.clone().index_put_((torch.arange(6),), numbers(6, 4)),
        RuntimeError,
        "for value tensor|on the same device",
    ),
    "numpy of a tensor on the device": (lambda x: np.asarray(x), TypeError, "can't convert cuda:0"),
    "a generator of the CPU": (
        lambda x: torch.rand(3, device=x.device, generator=torch.Generator()),
        RuntimeError,
        "Expected a 'cuda' device type for generator",
    ),
    "a state of the CPU's generator": (
        lambda x: torch.cuda.set_rng_state(torch.get_rng_state()),
        RuntimeError,
        "RNG state is wrong size",
    ),
    "a product of integers": (lambda x: x.long() @ x.long().T, RuntimeError, "not implemented for 'Long'"),
    "an operation without a kernel": (
        lambda x: torch.histogram(x.flatten(), 3),
        RuntimeError,
        "aten::histogram",
    ),
    "a second device": (lambda x: x.to("cuda:99"), RuntimeError, "invalid device ordinal"),
    "a mapper on the CPU": (lambda x: torch.nn.Linear(4, 2)(x), *TWO_DEVICES),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_placement_raises(fault):
    call, kind, message = FAULTS[fault]
    with pytest.raises(kind, match=message):
        call(numbers(6, 4).cuda())


def _error_in_a_child():
    try:
        torch.zeros(1, device="cuda")
    except RuntimeError as error:
        return str(error)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_cannot_use_the_device_of_its_parent():
    torch.zeros(1, device="cuda")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        message = pool.apply_async(_error_in_a_child).get(timeout=60)
    assert "Cannot re-initialize CUDA in forked subprocess" in message


# -- values -----------------------------------------------------------------------------------------------


def trained(x):
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
    for k, weights in enumerate(net.parameters()):
        weights.data = numbers(*weights.shape, seed=k)
    optimizer = torch.optim.Adam(net.to(x.device).parameters(), 0.05)
    for _ in range(5):
        optimizer.zero_grad()
        net(x).square().mean().backward()
        optimizer.step()
    return net(x).detach()


def sparse_product(x):
    A = torch.as_tensor(random_array((6, 6), density=0.4, rng=0).toarray(), dtype=x.dtype, device=x.device)
    return A.to_sparse_csr() @ x


def views_and_writes(x):
    y = x.clone()
    y.t()[1:3, ::2] *= 2
    y[y > 0.5] = 0
    y[torch.tensor([0, 3], device=x.device)] += 1
    return y


VALUES = {
    "a few steps of a network": trained,
    "a sparse product": sparse_product,
    "views and writes": views_and_writes,
    "a Fourier transform": lambda x: torch.fft.irfft2(torch.fft.rfft2(x) * 2, s=x.shape),
    "a decomposition": lambda x: torch.linalg.svd(x)[1],
    "a sort": lambda x: x.sort(dim=0).values,
}


@pytest.mark.parametrize("name", VALUES)
def test_values_are_those_of_the_cpu(name):
    x = numbers(6, 4)
    found = VALUES[name](x.cuda())
    assert found.is_cuda
    torch.testing.assert_close(found.cpu(), VALUES[name](x), rtol=1e-4, atol=1e-5)


# -- fits -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "model",
    [
        ICONEmbedding(max_iter=3),
        ICONClustering(3, engine="dense", n_init=1, max_iter=3),
        ICONClassifier(max_iter=3),
    ],
    ids=lambda model: type(model).__name__,
)
def test_auto_means_the_device(model):
    # Without kernels on the device, the tests under --device=pretended would show nothing.
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.max_memory_allocated()
    model.fit(X, Y)
    assert torch.cuda.max_memory_allocated() > before
