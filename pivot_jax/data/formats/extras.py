"""Libraries that a plain installation does not have, imported where they are needed."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

from pivot_jax.data.failure import FileError


def optional(module: str, extra: str, file: Path) -> Any:
    """The module, imported; FileError names the extra to install when its library is absent."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        library = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != library:
            raise
        raise FileError(file, f"needs {library}; pip install 'pivot-jax[{extra}]'") from error
