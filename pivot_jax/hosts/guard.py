"""The process beside a process: it says in plain words how the other ended, whatever ended it.

Losing process 0 takes the coordination service away, and jax then aborts the other processes from within, before any
Python could speak. So the command splits in two: one half works, the other waits for its end. Imports no jax.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import sys
from types import FrameType

from pivot_jax.hosts.words import AGAIN, LOST

SET_PARENT_DEATH_SIGNAL = 1
"""Of prctl(2)."""
PASSED_ON = (signal.SIGTERM, signal.SIGINT)


def split(name: str, coordinator: str = "") -> None:
    """Returns in the half that works. The other passes SIGTERM and SIGINT on, and exits as the first one does; where a
    signal ended that, with a message and exit code LOST.

    Args:
        name: of this process, for the message.
        coordinator: HOST:PORT of process 0, if it is known and another one: to see whether that still answers.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # one that comes before it can be passed on waits
    worker = os.fork()
    if worker == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
        # what kills the waiting half (a scheduler, a person) is meant for both
        ctypes.CDLL(None).prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
        return

    def pass_on(number: int, frame: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(worker, number)

    for number in PASSED_ON:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    code = os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1])
    if code < 0:
        print(f"pivot-jax: {ending(name, signal.Signals(-code), coordinator)}", file=sys.stderr, flush=True)
        code = LOST
    os._exit(code)


def ending(name: str, number: signal.Signals, coordinator: str) -> str:
    """Why a process that this signal ended has most likely ended."""
    what = f"{name} was ended by {number.name}"
    if number == signal.SIGABRT:
        if coordinator and not answers(coordinator):
            return f"{what}: process 0, which coordinates at {coordinator}, was lost or never started; {AGAIN}"
        return f"{what}: process 0, which coordinates, was lost, or not all processes started (see above); {AGAIN}"
    if number == signal.SIGKILL:
        return f"{what}: by its scheduler, or because the host ran out of memory; {AGAIN}"
    return f"{what}; {AGAIN}"


def answers(address: str) -> bool:
    """Whether anything listens at HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=5):
            return True
    except OSError:
        return False
