"""Groups of two and of three processes, which the tests of this folder share."""

import pytest
from processes import Processes


@pytest.fixture(scope="session")
def two():
    group = Processes(2)
    yield group
    group.end()


@pytest.fixture(scope="session")
def three():
    group = Processes(3)
    yield group
    group.end()
