"""Several processes of one command on loopback, which share eight CPU devices."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

DEVICES = 8


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


LIMIT = 900
"""Seconds that no test waits for longer, however busy the machine is."""


@contextmanager
def launched(
    count: int, words: Sequence[str], cache: Path, last: Sequence[str] = ()
) -> Iterator[list[subprocess.Popen[str]]]:
    """`pivot-jax WORDS` in so many processes, each with its part of the devices; none outlives the test.

    The last process gets the words `last` too.
    """
    started = _start(count, words, cache, last)
    try:
        yield started
    finally:
        for process in started:
            process.kill()


def run(count: int, words: Sequence[str], cache: Path) -> None:
    """The same, to its end, which must be a good one."""
    with launched(count, words, cache) as started:
        for code, error in endings(started):
            assert code == 0, error


def _start(count: int, words: Sequence[str], cache: Path, last: Sequence[str]) -> list[subprocess.Popen[str]]:
    environment = {
        **os.environ,
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_NUM_CPU_DEVICES": str(DEVICES // count),
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    }
    port = free_port()
    started = []
    for process in range(count):
        own = [f"--hosts.coordinator=localhost:{port}", f"--hosts.processes={count}", f"--hosts.process={process}"]
        together = ["--hosts.launch=given", *own, "--hosts.lost-seconds=12"] if count > 1 else []
        together += last if process == count - 1 else []
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", "pivot_jax.cli", *words, *together],
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
        )  # fmt: skip
    return started


def endings(started: Sequence[subprocess.Popen[str]]) -> list[tuple[int, str]]:
    """Exit code and standard error of each, when all have ended."""
    told = [process.communicate(timeout=LIMIT) for process in started]
    return [(process.returncode, error) for process, (_, error) in zip(started, told, strict=True)]


def wait_for(path: Path, started: Sequence[subprocess.Popen[str]]) -> None:
    """Until this file of a run directory is there."""
    end = time.monotonic() + LIMIT
    while not path.exists():
        assert time.monotonic() < end, path
        ended = [process for process in started if process.poll() is not None]
        assert not ended, endings(started)
        time.sleep(0.02)
