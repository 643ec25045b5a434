"""Groups of two and of three processes, which the tests of this folder share."""

import pytest
from processes import Processes, Ranks


@pytest.fixture(scope="session")
def processes():
    processes = Processes(3)
    yield processes
    processes.end()


@pytest.fixture(scope="session")
def two(processes):
    return Ranks(processes, 2)


@pytest.fixture(scope="session")
def three(processes):
    return Ranks(processes, 3)
