"""What the tests with real servers share."""

from __future__ import annotations

import os

import pytest

from tests.real.inside import INSIDE


@pytest.fixture(scope="session")
def parts() -> str:
    """Return where the real parts were unpacked; fail outside of the world made for them."""
    found = os.environ.get(INSIDE, "")
    if not found:
        pytest.fail("these tests run beside real servers: use `make test-real`", pytrace=False)
    return found
