"""Who this process is among those that run the same command. A run of one process is process 0 of 1.

A process that has not joined others imports no jax here: some commands must say how many devices jax is to make first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_joined: Any = None
_alone = False


class HostsError(Exception):
    """The processes cannot go on together; the message says why, and what to do."""


def join() -> None:
    """Be one of the processes that jax.distributed has brought together, from now on."""
    # The key-value store and the barriers of jax's coordination service have no public name. This is the one place that
    # reaches for them; orbax does the same.
    from jax._src import distributed

    global _joined
    _joined = distributed.global_state


def count() -> int:
    """How many processes work together; touches no device."""
    return 1 if _alone or _joined is None or _joined.client is None else _joined.num_processes


def index() -> int:
    """Which of them this is."""
    return 0 if count() == 1 else _joined.process_id


def is_first() -> bool:
    """Whether this process writes what is written once: files of the run directory, lines on the terminal."""
    return index() == 0


def client() -> Any:
    """The coordination service, as this process reaches it."""
    assert _joined is not None and _joined.client is not None, "one process has no coordination service"
    return _joined.client


@contextmanager
def acting_alone() -> Iterator[None]:
    """Within it this process is as if it were the only one: nothing waits for the others."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before
