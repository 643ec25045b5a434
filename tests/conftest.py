"""What holds for the whole session: no windows, one thread per worker, which tests are skipped."""

import os

import pytest
from hypothesis import settings

# Before anything imports matplotlib, here and in the subprocesses that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")

# The first call into torch or a compiled kernel takes longer than hypothesis's deadline.
settings.register_profile("iconlearn", deadline=None)
settings.load_profile("iconlearn")


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")


def pytest_configure(config):
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        # The workers share the cores; a full pool in each would make them wait for one another.
        torch.set_num_threads(1)


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        skip(marked(items, "slow"), "slow: give --run-slow to run it")
    needs_gpu = marked(items, "gpu")
    if needs_gpu and not has_cuda():
        skip(needs_gpu, "gpu: torch.cuda.is_available() is False")


def marked(items, marker):
    return [item for item in items if item.get_closest_marker(marker)]


def skip(items, reason):
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def has_cuda():
    import torch

    return torch.cuda.is_available()
