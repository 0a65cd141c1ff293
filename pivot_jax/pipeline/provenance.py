"""Where numbers come from: the commit and the machine behind a result.

python -m pivot_jax.pipeline.provenance       # this machine as JSON
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import jax

REPOSITORY = Path(__file__).parents[2]


def commit() -> dict[str, Any]:
    """The commit that is checked out, and whether tracked files differ from it."""
    return {"commit": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "--untracked-files=no"))}


def machine() -> dict[str, Any]:
    """Platform, cores, versions and devices. It starts the JAX backend, which may take the accelerator."""
    devices = jax.devices()
    return {
        "platform": f"{platform.system()} {platform.machine()}",
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "jax": jax.__version__,
        "backend": jax.default_backend(),
        "devices": f"{len(devices)} x {devices[0].device_kind}",
    }


@cache
def machine_of_children() -> dict[str, Any]:
    """`machine()` as a child process sees it: the caller leaves the accelerator to the runs that it starts."""
    words = [sys.executable, "-m", "pivot_jax.pipeline.provenance"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def _git(*words: str) -> str:
    done = subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


if __name__ == "__main__":
    print(json.dumps(machine()))
