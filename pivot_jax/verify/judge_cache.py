"""Answers of a judge on disk: one file a question, whole or absent, named by the digest of what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class JudgeCache:
    """Verdicts by question.

    Args:
        folder: where they are kept, made if absent; None keeps them in memory only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._known: dict[str, bool] = {}
        self._guard = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}

    def get(self, asked: Mapping[str, Any], answer: Callable[[], bool]) -> bool:
        """The verdict on a question: the kept one, or that of `answer`, which is then kept.

        Threads that ask the same at a time ask once. What `answer` raises is passed on, and nothing is kept.
        """
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        with self._guard:
            lock = self._asking.setdefault(key, threading.Lock())
        with lock:
            if key not in self._known:
                self._known[key] = self._stored(key, answer)
            return self._known[key]

    def _stored(self, key: str, answer: Callable[[], bool]) -> bool:
        if self._folder is None:
            return answer()
        path = self._folder / key[:2] / f"{key}.json"
        if path.exists():
            value = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(value, bool):
                raise ValueError(f"{path}: not a verdict; remove the file")
            return value
        verdict = answer()
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f".{key}.{os.getpid()}.tmp")
        unfinished.write_text(json.dumps(verdict) + "\n", encoding="utf-8")
        os.replace(unfinished, path)
        return verdict
