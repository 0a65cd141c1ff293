"""The half that waits says how the half that works has ended."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys

import pytest

from pivot_jax.hosts.guard import ending


def split(body: str) -> subprocess.CompletedProcess[str]:
    """A command that splits in two, of which the working half does `body`."""
    program = f"import os, signal, sys, time\nfrom pivot_jax.hosts.guard import split\nsplit('process 3')\n{body}"
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)


def test_it_exits_as_the_other_half_does():
    ended = split("print('done'); sys.exit(2)")
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "done\n", "")


@pytest.mark.parametrize(
    ("number", "why"),
    [
        ("SIGABRT", "process 0, which coordinates, was lost, or not all"),
        ("SIGKILL", "ran out of memory"),
        ("SIGSEGV", "SIGSEGV;"),
    ],
)
def test_it_says_what_ended_the_other_half_and_that_the_command_continues(number, why):
    ended = split(f"os.kill(os.getpid(), signal.{number})")
    assert ended.returncode == 75
    assert ended.stderr.startswith(f"pivot-jax: process 3 was ended by {number}") and why in ended.stderr
    assert ended.stderr.endswith("the same command on all hosts continues from what is stored\n")


def test_sigterm_is_passed_on():
    ended = split(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nos.kill(os.getppid(), signal.SIGTERM)\ntime.sleep(60)"
    )
    assert ended.returncode == 7


def test_a_coordinator_that_answers_was_not_lost():
    with socket.create_server(("localhost", 0)) as server:
        address = f"localhost:{server.getsockname()[1]}"
        assert f"at {address}" not in ending("process 1", signal.SIGABRT, address)
    assert f"process 0, which coordinates at {address}, was lost" in ending("process 1", signal.SIGABRT, address)
