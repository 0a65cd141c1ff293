"""Every domain by name, with the knobs of its tasks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from pydantic import TypeAdapter, ValidationError

from pivot_jax.domains import coding, retail, search, terminal
from pivot_jax.domains.environment import Environment, Reset
from pivot_jax.domains.skills import SKILLS

__all__ = ["DOMAINS", "SKILLS", "domains"]


@dataclass(frozen=True)
class Domain:
    """How a domain makes a task, `reset(seed, knobs)`, and the frozen dataclass of what its tasks are drawn from."""

    reset: Callable[..., Environment]
    knobs: type


KNOWN: Mapping[str, Domain] = {
    "retail": Domain(retail.reset, retail.Knobs),
    "terminal": Domain(terminal.reset, terminal.Knobs),
    "coding": Domain(coding.reset, coding.Knobs),
    "search": Domain(search.reset, search.Knobs),
}


def domains(knobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Reset]:
    """Every domain by name, its tasks drawn with these knobs (domain → field → value; the rest as by default).

    Raises:
        ValueError: a domain or a field that is unknown, or a value that the domain refuses; the message begins with
            `data.knobs` and the path.
    """
    if unknown := sorted(knobs.keys() - KNOWN.keys()):
        raise ValueError(f"data.knobs.{unknown[0]}: unknown domain; one of {', '.join(KNOWN)}")
    return {
        name: partial(domain.reset, knobs=_knobs(name, domain.knobs, knobs.get(name, {})))
        for name, domain in KNOWN.items()
    }


def _knobs(domain: str, kind: type, values: Mapping[str, Any]) -> Any:
    names = [field.name for field in fields(kind)]
    if unknown := [name for name in values if name not in names]:
        raise ValueError(f"data.knobs.{domain}.{unknown[0]}: unknown knob; one of {', '.join(names)}")
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        path = ".".join(str(part) for part in ("data.knobs", domain, *fault["loc"]))
        raise ValueError(f"{path}: {fault['msg'].removeprefix('Value error, ')} (got {fault['input']!r})") from error


DOMAINS: dict[str, Reset] = domains({})
"""The agentic domains with default knobs: what a policy is post-trained on. The skills are apart: they never are."""
