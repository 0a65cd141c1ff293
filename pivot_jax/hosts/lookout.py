"""Signs of life: a process that is lost, or that ends with an error, ends the others with a message that says so.

The processes stand in a ring. Each gives a sign a few times within `lost_seconds` and looks for the signs of the next
one, so that the coordination service has a few small values to serve, however many they are. Whoever misses a sign, or
fails itself, leaves a last word; every process looks for one and ends when it is there. The service has heartbeats
too, but ends a process without saying which other was lost; so its patience is the longer one.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import time
from typing import NoReturn

import jax

from pivot_jax.hosts.processes import client, count, index
from pivot_jax.hosts.words import AGAIN, LOST

FOLDER = "pivot_jax/lookout"
LAST_WORD = f"{FOLDER}/last_word"
SIGNS = 8
"""Given within `lost_seconds`."""


class Lookout:
    """Gives signs of life and looks for those of the next process, in a thread of its own, from `start` to `stop`."""

    def __init__(self, lost_seconds: float) -> None:
        self.lost_seconds = lost_seconds
        self._pause = lost_seconds / SIGNS
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._look, name="lookout", daemon=True)
        self._client, self._index, self._count = client(), index(), count()

    def start(self) -> None:
        """All processes must have come this far: from now on their signs are expected."""
        self._thread.start()

    def stop(self) -> None:
        """No more signs: this process is about to leave, as are all the others."""
        self._stopped.set()
        self._thread.join()

    def fail(self, reason: str) -> None:
        """Leave a last word for the others: this process ends with an error."""
        with contextlib.suppress(jax.errors.JaxRuntimeError):  # without the service they have been ended already
            self._leave_word(f"process {self._index} ({socket.gethostname()}) ended: {reason}")
        self._stopped.set()
        self._linger()

    def outlast(self) -> None:
        """Wait until a process that was lost would be missed; then this one has been ended with a word about it."""
        self._stopped.wait(self.lost_seconds + 3 * self._pause)

    def _look(self) -> None:
        following, sign, since, signs = (self._index + 1) % self._count, "", time.monotonic(), 0
        while not self._stopped.wait(self._pause):
            signs += 1
            try:
                self._client.key_value_set(f"{FOLDER}/{self._index}", str(signs), allow_overwrite=True)
                if word := self._read(LAST_WORD):
                    self._end(word)
                found = self._read(f"{FOLDER}/{following}")
                if found != sign:
                    sign, since = found, time.monotonic()
                elif time.monotonic() - since > self.lost_seconds:
                    self._leave_word(f"process {following} was lost: no sign of life for {self.lost_seconds:.0f} s")
            except jax.errors.JaxRuntimeError:
                self._end("process 0, which coordinates, does not answer")

    def _read(self, key: str) -> str:
        try:
            return self._client.key_value_try_get(key)
        except jax.errors.JaxRuntimeError as error:
            if "NOT_FOUND" in str(error):
                return ""
            raise

    def _leave_word(self, word: str) -> None:
        try:
            self._client.key_value_set(LAST_WORD, word)
        except jax.errors.JaxRuntimeError as error:
            if "ALREADY_EXISTS" not in str(error):
                raise

    def _linger(self) -> None:
        """With process 0 the service ends, and with it every process that has not read the last word yet."""
        if self._index == 0:
            time.sleep(2 * self._pause)

    def _end(self, word: str) -> NoReturn:
        print(f"pivot-jax: {word}; this is process {self._index}, which ends too; {AGAIN}", file=sys.stderr, flush=True)
        self._linger()
        os._exit(LOST)
