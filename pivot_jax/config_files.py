"""Configs from TOML files, merged left to right.

A wrong key, a wrong value or a broken rule between fields is a `ConfigError` with the dotted path and what to do.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pivot_jax.config import Config, ConfigError
from pivot_jax.config_arms import merged


def load(files: Sequence[str | Path]) -> Config:
    """Read TOML files, merge them left to right (later wins, key by key), validate.

    Raises:
        ConfigError: a file that is missing or not TOML, an unknown key, a wrong value, a broken cross-field rule.
    """
    values: dict[str, Any] = {}
    for file in files:
        try:
            table = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{file}: not valid TOML: {error}") from error
        values = merged(values, table)
    return validate(values, " ".join(str(file) for file in files))


def validate(values: Mapping[str, Any], source: str) -> Config:
    """`values` as a Config whose arms are all valid too; every fault in one ConfigError, a line each."""
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(fault, source) for fault in error.errors())) from error
    check_arms(config, source)
    return config


def check_arms(config: Config, source: str) -> None:
    """ConfigError unless each arm's tables fit the sections that they are merged over."""
    faults: list[str] = []
    for name in config.arms:
        try:
            config.for_arm(name)
        except ValidationError as error:
            faults += [_explain(fault, source, f"arms.{name}") for fault in error.errors()]
        except ConfigError as error:
            faults.append(f"{source}: arms.{name}.{error}")
    if faults:
        raise ConfigError("\n".join(faults))


def _explain(fault: Any, source: str, within: str = "") -> str:
    path = ".".join(str(part) for part in (within, *fault["loc"]) if part != "")
    if fault["type"] == "extra_forbidden":
        names = _fields(fault["loc"][:-1])
        close = difflib.get_close_matches(str(fault["loc"][-1]), names, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"one of: {', '.join(sorted(names))}"
        return f"{source}: {path}: unknown key; {hint}"
    reason = str(fault["msg"]).removeprefix("Value error, ")
    given = "" if isinstance(fault["input"], dict | BaseModel) else f" (got {fault['input']!r})"
    return f"{source}: {path}: {reason}{given}" if path else f"{source}: {reason}"


def _fields(path: tuple[Any, ...]) -> list[str]:
    """Names that the section at `path` knows; a part of the path may be a key of a table of sections."""
    kind: Any = Config
    for part in path:
        kind = kind.model_fields[part].annotation if _is_section(kind) else get_args(kind)[1]
        kind = next((each for each in get_args(kind) if _is_section(each) and type(None) in get_args(kind)), kind)
    return list(kind.model_fields) if _is_section(kind) else []


def _is_section(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
