"""A judge on this machine: a real HTTP server that answers as a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Reply:
    """What the server sends: the body, or else a completion with `text`; `pause` is called before each byte of it."""

    text: str = ""
    status: int = 200
    body: bytes | None = None
    headers: dict[str, str] = field(default_factory=dict)
    before: Callable[[], Any] = lambda: None
    drip: Callable[[], Any] | None = None

    def content(self) -> bytes:
        completion = {"choices": [{"index": 0, "message": {"role": "assistant", "content": self.text}}]}
        return json.dumps(completion).encode() if self.body is None else self.body


@dataclass
class Judge:
    """A running server: its address, and the bodies and headers of the requests so far."""

    base_url: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)


@contextmanager
def running(answer: Callable[[dict[str, Any], int], Reply]) -> Iterator[Judge]:
    """A server that answers request number n (from 0) with `answer(body, n)`."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(judge.bodies)
                judge.bodies.append(body)
                judge.headers.append(dict(self.headers))
                judge.paths.append(self.path)
            reply = answer(body, number)
            reply.before()
            content = reply.content()
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(content)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            try:
                if reply.drip is None:
                    self.wfile.write(content)
                else:
                    for byte in content:
                        reply.drip()
                        self.wfile.write(bytes([byte]))
                        self.wfile.flush()
            except (BrokenPipeError, ConnectionResetError):
                return  # the client gave up, as some tests want it to

        def log_message(self, *_: Any) -> None:
            return None

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    judge = Judge(f"http://127.0.0.1:{server.server_address[1]}/v1")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
