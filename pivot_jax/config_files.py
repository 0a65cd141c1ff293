"""Configs from TOML files, merged left to right.

A wrong key, a wrong value or a broken rule between fields is a `ConfigError` with the dotted path and what to do.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from pivot_jax.config import Config, ConfigError


def load(files: Sequence[str | Path]) -> Config:
    """Read TOML files, merge them left to right (later wins, key by key), validate.

    Raises:
        ConfigError: a file that is missing or not TOML, an unknown key, a wrong value, a broken cross-field rule.
    """
    merged: dict[str, Any] = {}
    for file in files:
        try:
            table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not valid TOML: {error}") from error
        merged = _merge(merged, table)
    return validate(merged, " ".join(str(file) for file in files))


def validate(values: Mapping[str, Any], source: str) -> Config:
    """`values` as a Config; every fault in one ConfigError, a line each."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(fault, source) for fault in error.errors())) from error


def _explain(fault: Any, source: str) -> str:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        names = _fields(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(sorted(names))}"
        return f"{source}: {path}: unknown key; {hint}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(fault["input"], dict | BaseModel) else f" (got {fault['input']!r})"
    return f"{source}: {path}: {reason}{given}" if path else f"{source}: {reason}"


def _fields(path: tuple[Any, ...]) -> list[str]:
    section: type[BaseModel] = Config
    for part in path:
        inner = section.model_fields[part].annotation
        if not (isinstance(inner, type) and issubclass(inner, BaseModel)):
            return []
        section = inner
    return list(section.model_fields)


def _merge(left: dict[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    result = dict(left)
    for key, value in right.items():
        old = result.get(key)
        result[key] = _merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result
