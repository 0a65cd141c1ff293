"""The run directory is one folder for all processes: checked before anything is made there."""

from __future__ import annotations

import secrets
import time
from pathlib import Path

from pivot_jax.hosts import processes
from pivot_jax.hosts.exchange import all_say, first_says
from pivot_jax.hosts.processes import HostsError

PATIENCE = 30.0
"""Seconds that a network file system may take to show a new file."""


def check_shared(folder: Path, patience: float = PATIENCE) -> None:
    """HostsError unless every process sees what the first one writes in this folder, which it makes."""
    if processes.count() == 1:
        return
    token = first_says("shared folder", secrets.token_hex(8))
    file = folder / f".shared-{token}"
    if processes.is_first():
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
    first_says("shared folder: made", None)
    seen = all_say("shared folder: seen", _appears(file, patience))
    if processes.is_first():
        file.unlink()
    if blind := [process for process, sees in enumerate(seen) if not sees]:
        raise HostsError(
            f"run.dir: process {blind} does not see what process 0 writes in {folder.absolute()}; several processes "
            "need one shared folder (NFS, Filestore, Lustre), at the same path on every host"
        )


def _appears(file: Path, patience: float) -> bool:
    end = time.monotonic() + patience
    while not file.exists():
        if time.monotonic() > end:
            return False
        time.sleep(0.1)
    return True
