"""The config of a run that is on disk; needs no jax, so that what jax needs to know is read before it is imported."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_arms import merged
from pivot_jax.config_files import validate
from pivot_jax.pipeline.artifacts import read_json


def stored_config(run_dir: Path) -> Config:
    """The config that a run directory is pinned to, with the directory as it is now.

    Raises:
        ConfigError: the directory holds no config, or one that is not valid (any more).
    """
    file = run_dir / "config.json"
    try:
        values = read_json(file)
    except FileNotFoundError:
        raise ConfigError(f"{run_dir}: holds no config.json; name the directory of a run") from None
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return validate(merged(values, {"run": {"dir": str(run_dir)}}), str(file))


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Each field in which two dumped configs, or parts of them, differ: its dotted name, what it was, what it is."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from differences(old.get(key), new.get(key), f"{path}.{key}" if path else key)
    elif old != new:
        yield f"{path}: was {old!r}, now {new!r}"
