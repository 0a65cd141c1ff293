"""What tests of whole runs share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import pytest

from pivot_jax.config_mesh import MeshSection
from pivot_jax.pipeline import run
from pivot_jax.policy.mesh import make_mesh


@pytest.fixture(scope="module")
def few_devices() -> Iterator[None]:
    """The default mesh takes two of the eight devices, and programs are optimized.

    Whole runs wait more for running than for compiling, on devices that are threads of a core or two. A mesh that a
    test names takes all eight.
    """

    def on_few(section: MeshSection, devices: Any = None) -> jax.sharding.Mesh:
        return make_mesh(section, jax.devices()[:2] if devices is None and section == MeshSection() else devices)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "make_mesh", on_few)
        jax.config.update("jax_disable_most_optimizations", False)
        yield
        jax.config.update("jax_disable_most_optimizations", True)
