"""What a command imports before it has read what jax is to be told."""

from __future__ import annotations

import subprocess
import sys

import pytest

from pivot_jax.cli import COMMANDS


@pytest.mark.parametrize("module", ["pivot_jax.cli", *(f"pivot_jax.commands.{name}" for name in COMMANDS)])
def test_no_command_imports_jax_before_it_runs(module):
    """jax reads the number of CPU devices when it is imported; a command sets it first, from the meshes."""
    told = f"import {module}, sys; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True, timeout=120)
    assert done.stdout.strip() == "False"
