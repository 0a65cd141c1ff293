"""Compile one program ahead of time in a process of its own: `python -m pivot_jax.planning.compile_child`.

The platform is set before jax is imported, and a compilation that takes too long can be ended. Reads a request as JSON
from standard input; the last line of standard output is the answer (`planning.compiled`).
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import re
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import jax
from jax.experimental import topologies

from pivot_jax.config import Config, MeshSection
from pivot_jax.pipeline.artifacts import read_json, write_json
from pivot_jax.planning.collectives import collectives, totals
from pivot_jax.planning.programs import PROGRAMS
from pivot_jax.planning.workload import workload
from pivot_jax.policy.mesh import make_mesh

LOW_EFFORT = {"exec_time_optimization_effort": -1.0, "memory_fitting_effort": -1.0}
"""Of the TPU compiler: a fifth of the time, and nearly the same memory (docs/planning.md)."""
TOO_LARGE = re.compile(r"(?:temporaries|required) ?(?:.*?)\(([\d.]+)([KMG])\)|Used ([\d.]+)([KMG]) of")
UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def main() -> None:
    """Answer the one request."""
    request = json.loads(sys.stdin.read())
    print(json.dumps(answer(**request)))


def answer(config: dict[str, Any], program: str, platform: str, effort: str, cache: str) -> dict[str, Any]:
    """Lower, compile, and tell what the compiler says.

    Args:
        config: of the arm.
        program: one of `PROGRAMS`.
        platform: "tpu" (a topology without chips) or "cpu" (as many host devices).
        effort: "low" or "full"; heard by the TPU compiler alone.
        cache: the folder of earlier answers.
    """
    work = workload(Config.model_validate(config))
    section = work.config.mesh
    own = work.config.sampling_mesh if program == "rollout" and work.config.sampling_mesh else section
    mesh = make_mesh(own, topology_devices(section) if platform == "tpu" else None)
    lowered = PROGRAMS[program](work, mesh)
    options = LOW_EFFORT if platform == "tpu" and effort == "low" else None
    versions = [importlib.metadata.version(name) for name in ("jax", "jaxlib", *(["libtpu"] * (platform == "tpu")))]
    named = json.dumps([lowered.as_text(), section.chip, section.topology, section.slices, versions, options, platform])
    stored = Path(cache) / f"{hashlib.sha256(named.encode()).hexdigest()}.json"
    if stored.exists():
        return {**read_json(stored), "cached": True}
    began = time.monotonic()
    try:
        told = analysis(lowered.compile(compiler_options=options), mesh.size)
    except jax.errors.JaxRuntimeError as error:
        told = {"error": str(error).splitlines()[0], "needed": needed_bytes(str(error))}
    told = {**told, "seconds": round(time.monotonic() - began, 1)}
    write_json(stored, told)
    return {**told, "cached": False}


def analysis(compiled: Any, devices: int) -> dict[str, Any]:
    """Bytes of one device by what they are for, and the collectives."""
    memory, found = compiled.memory_analysis(), collectives(compiled.as_text(), devices)
    return {
        "arguments": memory.argument_size_in_bytes,
        "results": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporaries": memory.temp_size_in_bytes,
        "code": memory.generated_code_size_in_bytes,
        "collectives": {kind: asdict(total) for kind, total in totals(found, in_open_loop=False).items()},
        "each_round": {kind: asdict(total) for kind, total in totals(found, in_open_loop=True).items()},
    }


def topology_devices(section: MeshSection) -> Any:
    """The chips that the mesh file describes, as the TPU compiler knows them; none need be there."""
    slices = {"num_slices": section.slices} if section.slices > 1 else {}
    name = f"{section.chip}:{section.topology}"
    return topologies.get_topology_desc(name, platform="tpu", **slices).devices


def needed_bytes(message: str) -> int:
    """What the compiler says that a program which does not fit would take; 0 if it does not say."""
    found = TOO_LARGE.search(message)
    if found is None:
        return 0
    amount, unit = (found.group(1), found.group(2)) if found.group(1) else (found.group(3), found.group(4))
    return int(float(amount) * UNITS[unit])


if __name__ == "__main__":
    main()
