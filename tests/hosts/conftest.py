"""Several processes as threads, each with a client of its own of one real coordination service."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from jax._src import distributed

from pivot_jax.hosts import exchange, processes
from pivot_jax.hosts.processes import HostsError
from tests.hosts.launching import free_port

COUNT = 3


class Here(threading.local):
    """What jax holds of a process, for each thread; a thread that is none of them is alone."""

    client: Any = None
    process_id = 0
    num_processes = 1
    turns: Iterator[int] = itertools.count()


class Turns:
    """The count of turns of the thread that asks."""

    def __init__(self, here: Here):
        self._here = here

    def __next__(self) -> int:
        return next(self._here.turns)


@pytest.fixture(scope="session")
def clients() -> Iterator[list[Any]]:
    address = f"localhost:{free_port()}"
    service = distributed._jax.get_distributed_runtime_service(address, COUNT, shutdown_timeout=10)

    def connected(process: int):
        client = distributed._jax.get_distributed_runtime_client(address, process, init_timeout=60)
        client.connect()
        return client

    with ThreadPoolExecutor(COUNT) as pool:
        found = list(pool.map(connected, range(COUNT)))
        yield found
        list(pool.map(lambda client: client.shutdown(), found))
    service.shutdown()


@pytest.fixture
def together(clients, monkeypatch) -> Callable[[Callable[[int], Any]], list[Any]]:
    """Runs a function of the process's index on every process at once; what each returned or raised."""
    here, turns = Here(), next(_offsets)
    monkeypatch.setattr(processes, "_joined", here)
    monkeypatch.setattr(exchange, "_turns", Turns(here))

    def on_all(work: Callable[[int], Any]) -> list[Any]:
        def on(process: int) -> Any:
            here.client, here.process_id, here.num_processes = clients[process], process, COUNT
            here.turns = itertools.count(turns)
            try:
                return work(process)
            except HostsError as error:
                return error

        with ThreadPoolExecutor(COUNT) as pool:
            return list(pool.map(on, range(COUNT)))

    return on_all


_offsets = itertools.count(0, 1000)
"""The service is one for all tests, and a barrier is passed once."""
