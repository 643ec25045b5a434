"""What holds for the whole session: no windows, one thread per worker, the device, which tests are skipped."""

import os

import pytest
from hypothesis import settings

# Before anything imports matplotlib, here and in the subprocesses that tests start.
os.environ.setdefault("MPLBACKEND", "Agg")

# The first call into torch or a compiled kernel takes longer than hypothesis's deadline.
settings.register_profile("iconlearn", deadline=None)
settings.load_profile("iconlearn")

NO_DEVICE = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")
    parser.addoption(
        "--device",
        choices=["pretended"],
        help='let device="auto" mean a CUDA device in the memory of the CPU (tests/device/pretended.py)',
    )


MARKERS = (
    "cpu(reason): is about the CPU alone; skipped where torch sees a CUDA device",
    "pretended: needs the device of tests/device/pretended.py; skipped unless --device=pretended is given",
)


def pytest_configure(config):
    for marker in MARKERS:
        config.addinivalue_line("markers", marker)
    if "PYTEST_XDIST_WORKER" in os.environ:
        import torch

        # The workers share the cores; a full pool in each would make them wait for one another.
        torch.set_num_threads(1)
    if config.getoption("--device") == "pretended":
        from device import pretended

        # Compiled here, before there are workers, and enabled before any backward pass.
        config.stash[NO_DEVICE] = pretended.reason_against()
        if config.stash[NO_DEVICE] is None:
            pretended.enable()


@pytest.fixture(autouse=True, scope="session")
def small_data_on_the_device():
    """Tests have few rows, which by default are left to the CPU."""
    if has_cuda():
        from iconlearn.estimators import _inputs

        _inputs.MANY_ROWS = 0


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-slow"):
        skip(marked(items, "slow"), "slow: give --run-slow to run it")
    needs_gpu = marked(items, "gpu")
    if needs_gpu and not has_cuda():
        skip(needs_gpu, "gpu: torch.cuda.is_available() is False")
    if config.getoption("--device") is None:
        skip(marked(items, "pretended"), "pretended: give --device=pretended to run it")
    elif config.stash[NO_DEVICE] is not None:
        skip(items, f"--device=pretended: {config.stash[NO_DEVICE]}")
    about_the_cpu = marked(items, "cpu")
    if about_the_cpu and has_cuda():
        for item in about_the_cpu:
            skip([item], f"cpu: {item.get_closest_marker('cpu').kwargs['reason']}")


def marked(items, marker):
    return [item for item in items if item.get_closest_marker(marker)]


def skip(items, reason):
    for item in items:
        item.add_marker(pytest.mark.skip(reason=reason))


def has_cuda():
    import torch

    return torch.cuda.is_available()
