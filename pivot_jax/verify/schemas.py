"""Values against JSON schemas: a value that does not fit is wrong, a schema that cannot be used is an error."""

from __future__ import annotations

from typing import Any

from jsonschema.exceptions import SchemaError
from jsonschema.validators import Draft202012Validator, validator_for
from referencing import Registry
from referencing.exceptions import Unresolvable

from pivot_jax.verify.verifier import Unjudgeable

MOST_DETAIL = 200
"""Characters of a fault that are told: it quotes the value."""


def schema_fault(schema: dict[str, Any], value: Any) -> str:
    """Where and how a value breaks a schema; empty if it fits.

    Raises:
        Unjudgeable: the schema is none, or refers to one that it does not bring along; nothing is fetched.
    """
    kind = validator_for(schema, default=Draft202012Validator)
    try:
        kind.check_schema(schema)
        # an empty registry: a sampled action must not make this process fetch what a schema points to
        fault = next(kind(schema, registry=Registry()).iter_errors(value), None)
    except (SchemaError, Unresolvable) as error:
        raise Unjudgeable(f"the schema cannot be used: {str(error)[:MOST_DETAIL]}") from error
    except RecursionError:
        return "nested too deep"
    return f"{fault.json_path}: {fault.message[:MOST_DETAIL]}" if fault is not None else ""
