"""Files that appear whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from pivot_jax.data.formats.compression import packing


def partial_of(file: Path) -> Path:
    """Where `file` is written until it is complete: beside it, so that renaming is one step."""
    return file.with_name(f".{file.name}.{os.getpid()}.partial")


@contextmanager
def appearing(file: Path) -> Iterator[BinaryIO]:
    """Where to write the file's content; packed by its ending. It takes its place when the block ends without an
    exception, and until then the old file stays."""
    partial = partial_of(file)
    try:
        with partial.open("wb") as raw:
            with packing(file, raw) as content:
                yield content
            raw.flush()
            os.fsync(raw.fileno())
        os.replace(partial, file)
        _sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def _sync_folder(folder: Path) -> None:
    # the rename itself is only durable once the folder that holds the name is on disk
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def json_line(row: Any) -> bytes:
    """The value as one line of UTF-8 JSON; ValueError where it holds NaN or infinity."""
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair: JSON can say it, UTF-8 cannot
        return json.dumps(row, allow_nan=False).encode() + b"\n"
