"""How the processes agree: small values on the hosts, exchanged in one order, by way of the coordination service.

All processes run the same program, so they make these calls in the same order. Each call has a name; processes that
meet under different names have gone different ways, and all of them say so instead of waiting for each other.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from pivot_jax.hosts import processes
from pivot_jax.hosts.processes import HostsError, acting_alone, client

Item = TypeVar("Item")
Arrays = Mapping[str, NDArray[Any]]

FOLDER = "pivot_jax/exchange"

_turns = itertools.count()
_wait_seconds = 3600


def set_wait(seconds: int) -> None:
    """How long any exchange waits for the slowest process."""
    global _wait_seconds
    _wait_seconds = seconds


def gather(name: str, value: bytes) -> list[bytes]:
    """What every process passed, in the order of the processes; every one of them gets all of it.

    Raises:
        HostsError: a process did not come in time, or came to another exchange; the message names it.
    """
    if processes.count() == 1:
        return [value]
    import jax  # here, because a process that works alone may not have said yet what jax is to find

    store, turn, own = client(), next(_turns), processes.index()
    store.key_value_set_bytes(_key(turn, own), name.encode() + b"\0" + value)
    try:
        store.wait_at_barrier(f"{FOLDER}/{turn}", _wait_seconds * 1000)
    except jax.errors.JaxRuntimeError as error:
        here = {int(key.rpartition("/")[2]) for key, _ in store.key_value_dir_get_bytes(f"{FOLDER}/{turn}/")}
        absent = sorted(set(range(processes.count())) - here)
        raise HostsError(f"waited {_wait_seconds} s at {name!r} for process {absent}; see its log") from error
    found = [value.partition(b"\0") for _, value in sorted(store.key_value_dir_get_bytes(f"{FOLDER}/{turn}/"))]
    if turn:  # every process has come to this turn, so all have read the one before
        store.key_value_delete(_key(turn - 1, own))
    for other, (met, _, _) in enumerate(found):
        if met.decode() != name:
            raise HostsError(
                f"process {own} is at {name!r}, process {other} at {met.decode()!r}: they do not run the same command "
                "on the same files"
            )
    return [given for _, _, given in found]


def wait(name: str) -> None:
    """Go on when every process has come here."""
    gather(name, b"")


def first_says(name: str, value: Any) -> Any:
    """What the first process passed (something that JSON can hold), whatever the others think of it."""
    return json.loads(gather(name, json.dumps(value).encode() if processes.is_first() else b"")[0])


def all_say(name: str, value: Any) -> list[Any]:
    """What every process passed (something that JSON can hold), in their order."""
    return [json.loads(given) for given in gather(name, json.dumps(value).encode())]


def any_says(name: str, flag: bool) -> bool:
    """Whether any process passed True."""
    return any(all_say(name, flag))


def each_its_own(name: str, items: Sequence[Item], work: Callable[[Item], Arrays]) -> list[Arrays]:
    """`work(item)` of every item, in the order of the items, on every process; each item is one process's work.

    The items are dealt out in turn: which process does one depends on nothing but its place, so that the work is even
    on every mesh. `work` gives arrays, of the same shapes for every item.
    """
    if processes.count() == 1:
        return [work(item) for item in items]
    own = [work(item) for item in items[processes.index() :: processes.count()]]
    dealt = [iter(_unpacked(given)) for given in gather(name, _packed(own))]
    return [next(dealt[place % len(dealt)]) for place in range(len(items))]


def first_alone(name: str, work: Callable[[], None], faults: tuple[type[Exception], ...]) -> None:
    """The first process does it, as if alone; the others wait, and a fault of it is a `HostsError` on them."""
    if processes.count() == 1:
        return work()
    fault: Exception | None = None
    if processes.is_first():
        try:
            with acting_alone():
                work()
        except faults as error:
            fault = error
    told = first_says(name, None if fault is None else str(fault))
    if fault is not None:
        raise fault
    if told is not None:
        raise HostsError(told)


def _key(turn: int, process: int) -> str:
    return f"{FOLDER}/{turn}/{process:06d}"


def _packed(parts: Sequence[Arrays]) -> bytes:
    held = io.BytesIO()
    names = parts[0] if parts else {}
    np.savez(held, allow_pickle=False, **{name: np.stack([part[name] for part in parts]) for name in names})
    return held.getvalue()


def _unpacked(packed: bytes) -> list[Arrays]:
    with np.load(io.BytesIO(packed), allow_pickle=False) as held:
        stacked = {name: held[name] for name in held.files}
    return [{name: values[i] for name, values in stacked.items()} for i in range(len(next(iter(stacked.values()), ())))]
