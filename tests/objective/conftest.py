"""Fixtures shared by the tests of the objective layer."""

from collections.abc import Iterator

import jax
import numpy as np
import pytest


@pytest.fixture
def float64() -> Iterator[None]:
    """Everything traced inside the test is float64."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260321)
