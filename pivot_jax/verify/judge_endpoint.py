"""One question to an OpenAI-compatible endpoint: retried where that may help, within a time limit.

The standard library's client is enough for one POST, and brings no dependency.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from typing import Any

from pydantic import Field

from pivot_jax.records import Record
from pivot_jax.verify.verifier import Unjudgeable

MOST_BYTES = 1 << 20
"""Of an answer; a longer one is none."""
LONGEST_WAIT = 30.0
"""Seconds between two attempts, at most, unless the server asks for more."""


class Endpoint(Record):
    """Where the judge is and how patiently it is asked.

    base_url: up to and without `/chat/completions`. model: its name there.
    key_variable: environment variable that holds the API key; empty: none is sent.
    attempts: of one question; 429, 5xx and connection faults are tried again.
    first_wait: seconds before the second attempt, doubled each time; a server's Retry-After goes before it.
    request_timeout: seconds without a byte after which an attempt has failed.
    max_tokens: of an answer, its reasoning included.
    """

    base_url: str = Field(pattern=r"^https?://\S+$")
    model: str = Field(min_length=1)
    key_variable: str = ""
    attempts: int = Field(default=4, ge=1)
    first_wait: float = Field(default=1.0, ge=0)
    request_timeout: float = Field(default=60.0, gt=0)
    max_tokens: int = Field(default=2048, ge=1)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key goes to the named host and to no other."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _Passing(Exception):
    """A fault that may be gone at the next attempt; `wait` is what the server asks for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def request_body(endpoint: Endpoint, messages: Sequence[dict[str, str]]) -> dict[str, Any]:
    """What is posted: greedy decoding, so that an answer can be kept."""
    return {
        "model": endpoint.model,
        "messages": list(messages),
        "temperature": 0,
        "max_tokens": endpoint.max_tokens,
    }


def ask(endpoint: Endpoint, body: dict[str, Any], deadline: float) -> str:
    """The text of the first choice.

    Args:
        endpoint: where to ask.
        body: as `request_body` makes it.
        deadline: of all attempts together, as `time.monotonic` counts.

    Raises:
        Unjudgeable: the server refuses, keeps failing, or answers something else than a completion.
        TimeoutError: the deadline passed.
    """
    wait = endpoint.first_wait
    for attempt in range(1, endpoint.attempts + 1):
        try:
            return _text(_post(endpoint, body, deadline))
        except _Passing as fault:
            if attempt == endpoint.attempts:
                raise Unjudgeable(f"judge: {fault}, {attempt} attempts") from fault
            pause = max(min(wait, LONGEST_WAIT), fault.wait)
            if time.monotonic() + pause >= deadline:
                raise TimeoutError(f"judge: {fault}; no time is left for another attempt") from fault
            time.sleep(pause)
            wait *= 2
    raise AssertionError("attempts is at least 1")


def _post(endpoint: Endpoint, body: dict[str, Any], deadline: float) -> bytes:
    request = urllib.request.Request(
        endpoint.base_url.rstrip("/") + "/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **_authorization(endpoint)},
    )
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("judge: the deadline passed")
    opener = urllib.request.build_opener(_NoRedirect)
    try:
        with opener.open(request, timeout=min(endpoint.request_timeout, left)) as reply:
            return _read(reply, deadline)
    except urllib.error.HTTPError as error:
        with error:
            # what the server says is left out of the reason: it may quote the key
            reason = f"HTTP {error.code}"
            if error.code == 429 or error.code >= 500:
                raise _Passing(reason, _retry_after(error.headers.get("Retry-After", ""))) from error
            raise Unjudgeable(f"judge: {reason}") from error
    except (OSError, http.client.HTTPException) as error:
        if time.monotonic() >= deadline:
            raise TimeoutError("judge: the deadline passed") from error
        raise _Passing(f"no connection ({type(error).__name__})") from error


def _read(reply: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole reply; a server that sends a byte now and then does not outlast the deadline."""
    parts, size = [], 0
    while part := reply.read1(1 << 16):
        parts.append(part)
        size += len(part)
        if size > MOST_BYTES:
            raise Unjudgeable(f"judge: an answer of more than {MOST_BYTES} bytes")
        if time.monotonic() >= deadline:
            raise TimeoutError("judge: the deadline passed")
    return b"".join(parts)


def _text(reply: bytes) -> str:
    try:
        text = json.loads(reply)["choices"][0]["message"]["content"]
    except (ValueError, RecursionError, KeyError, IndexError, TypeError) as error:
        raise Unjudgeable(f"judge: the reply is no completion ({type(error).__name__})") from error
    if not isinstance(text, str):
        raise Unjudgeable("judge: the reply has no text")
    return text


def _authorization(endpoint: Endpoint) -> dict[str, str]:
    if not endpoint.key_variable:
        return {}
    key = os.environ.get(endpoint.key_variable)
    if not key:
        raise Unjudgeable(f"judge: the environment variable {endpoint.key_variable} is not set")
    return {"Authorization": f"Bearer {key}"}


def _retry_after(header: str) -> float:
    """Seconds that the server asks for; a date, which few servers send, counts as nothing."""
    return float(header) if header.isascii() and header.isdigit() else 0.0
