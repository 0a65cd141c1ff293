"""Joining the other processes before anything touches a device, and leaving together."""

from __future__ import annotations

import importlib.metadata
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn

import jax

from pivot_jax.config_hosts import HostsSection
from pivot_jax.hosts import processes
from pivot_jax.hosts.exchange import all_say, set_wait, wait
from pivot_jax.hosts.lookout import Lookout
from pivot_jax.hosts.processes import HostsError

VERSIONS = ("pivot-jax", "jax", "jaxlib")
HEARTBEAT_SECONDS = 100
"""After which the coordination service itself gives a process up: later than the lookout, which says which one."""
GRACE_SECONDS = 60
"""Within which all processes leave."""
CPU_THREADS = 64
"""Of XLA's pool on CPUs. A collective holds one while it waits for another process, and by default there are as many as
devices: those over one mesh axis can hold all, and wait for a process whose threads those over another axis hold."""


@contextmanager
def joined(section: HostsSection, faults: tuple[type[Exception], ...]) -> Iterator[None]:
    """Within it this process is one of those that the section names; they have the same versions of the package.

    An exception that leaves it ends the other processes too, with its message. Of several processes this one exits
    then, with code 2 and one line for `faults` (what is wrong with what the user gave) and `HostsError`.

    Raises:
        HostsError: the processes did not find each other, or differ in their versions.
    """
    if section.launch == "single":
        yield
        return
    lookout = _join(section)
    try:
        if processes.count() > 1:
            versions = {name: importlib.metadata.version(name) for name in VERSIONS}
            _check_alike("versions", versions)
        yield
        if processes.count() > 1:
            wait("end")
    except BaseException as error:
        _part(lookout, error, faults)
    lookout.stop()
    jax.distributed.shutdown()


def _join(section: HostsSection) -> Lookout:
    # its handler of SIGTERM would take the place of ours, which lets all processes save at the same step
    jax.config.update("jax_enable_preemption_service", False)
    os.environ.setdefault("PJRT_NPROC", str(CPU_THREADS))  # read when the devices are first asked for
    given = section.launch == "given"
    try:
        jax.distributed.initialize(
            coordinator_address=section.coordinator if given else None,
            num_processes=section.processes if given else None,
            process_id=section.process if given else None,
            cluster_detection_method="deactivate" if given else None,
            initialization_timeout=section.start_seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=GRACE_SECONDS,
        )
    except ValueError as error:  # jax has asked every kind of cluster that it knows
        raise HostsError(
            f"hosts.launch = 'detect' found no TPU pod, Slurm or Kubernetes job here; use launch='given' ({error})"
        ) from error
    except RuntimeError as error:
        raise HostsError(
            f"hosts: the processes did not find each other within {section.start_seconds} s: {error}"
        ) from error
    processes.join()
    set_wait(section.wait_seconds)
    lookout = Lookout(section.lost_seconds)
    lookout.start()
    return lookout


def _check_alike(what: str, value: object) -> None:
    said = all_say(what, value)
    for process, other in enumerate(said):
        if other != said[0]:
            raise HostsError(f"process {process} has other {what} than process 0: {other}, not {said[0]}")


def _part(lookout: Lookout, error: BaseException, faults: tuple[type[Exception], ...]) -> NoReturn:
    """Tell the others, and exit without waiting for them."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        lookout.outlast()  # the loss of a process looks like this to whoever was computing with it
    code = 1
    if isinstance(error, (HostsError, *faults)):
        code = 2
        print(f"pivot-jax: process {processes.index()}: {error}", file=sys.stderr)
    elif isinstance(error, KeyboardInterrupt):
        code = 130
    else:
        traceback.print_exception(error)
    if processes.count() > 1:
        lookout.fail(str(error) or type(error).__name__)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
