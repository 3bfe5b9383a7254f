"""Fixtures of this room."""

import pytest
from forks import Forks


@pytest.fixture(scope="session")
def forks():
    with Forks() as found:
        yield found
