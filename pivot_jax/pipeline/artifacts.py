"""Files of a run directory: written whole or not at all, read with errors that name the file.

Several processes share the directory. All of them make the calls; the first one writes, and the others go on when the
file is there.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pivot_jax.data.formats.atomic import appearing
from pivot_jax.hosts.exchange import wait
from pivot_jax.hosts.processes import is_first


def written_once(path: Path, write: Callable[[], object]) -> None:
    """`write()`, which makes what is at `path`, on the first process; the others go on when it is done."""
    if is_first():
        write()
    wait(f"written: {path.name}")


def replace_text(path: Path, text: str) -> None:
    """Put `text` (UTF-8) at `path` atomically: a reader, or a run killed at any moment, sees the old file or the new.

    Makes the parent folder if it is absent. Of several processes, only one may call it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as file:
        file.write(text.encode())


def write_text(path: Path, text: str) -> None:
    """`replace_text` for all processes, of which the first one writes."""
    written_once(path, lambda: replace_text(path, text))


def write_json(path: Path, value: Any) -> None:
    """Put `value` at `path` as indented JSON, atomically.

    Raises:
        ValueError: `value` holds NaN or an infinity, which JSON cannot say; the file is left as it was.
    """
    try:
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"{path}: not written, {error}") from error
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """The value in the JSON file at `path`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not JSON; the message gives the file, the line and the column.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from error
