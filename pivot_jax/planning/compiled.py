"""What a compiler says of the train step and of the sampler, ahead of time and without the hardware.

Where the mesh file names a TPU and its topology and `libtpu` is installed, the real TPU compiler compiles for that
topology. Elsewhere, or where it does not end in time, XLA compiles for as many host devices: the collectives are those
of the partitioner and hold for any platform, the memory is that of a CPU and does not.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pivot_jax.config import Config
from pivot_jax.planning.chips import Chip
from pivot_jax.planning.collectives import Total
from pivot_jax.planning.workload import Workload

HOST_SECONDS = 75.0
"""Least time that the compilation for host devices is given, or a third of the TPU compiler's; it takes some 20 seconds
of two cores."""
NO_CHIPS = {
    "JAX_PLATFORMS": "cpu",
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "JAX_ENABLE_COMPILATION_CACHE": "false",
    "HF_HUB_OFFLINE": "1",
}
"""What libtpu asks of the environment where no chip is attached; the accelerator type is not that of the topology."""


@dataclass(frozen=True)
class Compiled:
    """One program as a compiler sees it: bytes of one device, or why there are none."""

    program: str
    compiler: str
    """`TPU compiler for v5p:4x4x4`, or `XLA for 8 host devices`."""
    is_tpu: bool
    seconds: float = 0.0
    cached: bool = False
    arguments: int = 0
    results: int = 0
    """Not counting those that take the place of donated arguments."""
    temporaries: int = 0
    code: int = 0
    collectives: Mapping[str, Total] = field(default_factory=dict)
    each_round: Mapping[str, Total] = field(default_factory=dict)
    """Of one round of a loop without a fixed length: of one sampled token."""
    error: str = ""
    needed: int = 0
    """What a program that does not fit would take for its temporaries, as the compiler says; 0 if it does not say."""

    @property
    def peak(self) -> int:
        """Bytes of one device while the program runs."""
        return self.arguments + self.results + self.temporaries + self.code


def compile_programs(work: Workload, chip: Chip, *, limit: float, effort: str) -> list[list[Compiled]]:
    """Each program with what its compilers said: the TPU compiler where it can be had, and the host's where it failed.

    Args:
        work: the step.
        chip: of the mesh.
        limit: seconds that the TPU compiler is given, for both programs side by side.
        effort: "low" or "full".
    """
    programs, section = ("update", "rollout"), work.config.mesh
    found: dict[str, list[Compiled]] = {program: [] for program in programs}
    if chip.tpu and section.topology and importlib.util.find_spec("libtpu"):
        told = f"TPU compiler for {section.chip}:{section.topology}"
        for one in _ask(work, programs, "tpu", told, limit, effort):
            found[one.program].append(one)
    rest = [program for program in programs if not found[program] or not found[program][0].collectives]
    if rest:
        told = f"XLA for {work.train.devices} host devices"
        for one in _ask(work, rest, "cpu", told, max(HOST_SECONDS, limit / 3), effort):
            found[one.program].append(one)
    return list(found.values())


def _ask(
    work: Workload, programs: Sequence[str], platform: str, compiler: str, limit: float, effort: str
) -> list[Compiled]:
    """One child process a program, side by side, all ended at the limit."""
    deadline = time.monotonic() + limit
    children = {program: _start(work.config, program, platform, work.train.devices, effort) for program in programs}
    answers = []
    try:
        for program, child in children.items():
            told = _answer(child, max(0.1, deadline - time.monotonic()), limit)
            kinds = ("collectives", "each_round")
            counted = {kind: {name: Total(**of) for name, of in told.pop(kind, {}).items()} for kind in kinds}
            answers.append(Compiled(program, compiler, platform == "tpu", **counted, **told))
    finally:
        for child in children.values():
            _end(child)
    return answers


def _start(config: Config, program: str, platform: str, devices: int, effort: str) -> subprocess.Popen[str]:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "pivot_jax" / "plans"
    request = {
        "config": config.model_dump(mode="json"), "program": program, "platform": platform,
        "effort": effort, "cache": str(cache),
    }  # fmt: skip
    environment = {**os.environ, **NO_CHIPS, "JAX_NUM_CPU_DEVICES": str(devices if platform == "cpu" else 1)}
    child = subprocess.Popen(
        [sys.executable, "-m", "pivot_jax.planning.compile_child"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    assert child.stdin is not None
    child.stdin.write(json.dumps(request))
    child.stdin.close()
    child.stdin = None
    return child


def _answer(child: subprocess.Popen[str], patience: float, limit: float) -> dict[str, Any]:
    """What the child printed last, or why it printed nothing."""
    try:
        out, told = child.communicate(timeout=patience)
    except subprocess.TimeoutExpired:
        return {"error": f"not done after {limit:.0f} s; --compile-limit SECONDS waits longer", "seconds": limit}
    if child.returncode:
        return {"error": failure(told, child.returncode)}
    return json.loads(out.splitlines()[-1])


def failure(told: str, code: int) -> str:
    """Why a compiler's process ended: the check that failed in the compiler, or the last line of an exception."""
    lines = [line for line in told.splitlines() if line.strip()]
    fatal = [line.partition("] ")[2] for line in lines if re.match(r"F\d{4} ", line)]
    if fatal:
        return f"the compiler broke off: {fatal[0]}; --full-effort may get through"
    return lines[-1] if lines else f"it ended with {code}"


def _end(child: subprocess.Popen[str]) -> None:
    """Ended with all that it started, if it still runs, and its pipes closed."""
    if child.poll() is None:
        os.killpg(child.pid, signal.SIGKILL)
    child.communicate()
