"""The section of several processes: how they find each other, and how long they wait."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from pivot_jax.config_section import Section


class HostsSection(Section):
    """One process a host, the same command on all of them (docs/hosts.md). None of it changes what comes out."""

    launch: Literal["single", "detect", "given"] = "single"
    """`detect`: the coordinator and the processes are found out from a TPU pod, Slurm, or Kubernetes; `given`: by the
    three keys below."""
    coordinator: str = ""
    """HOST:PORT of process 0 (given)."""
    processes: int = Field(default=1, ge=1)
    """How many (given)."""
    process: int = Field(default=0, ge=0)
    """Which one this is (given)."""
    start_seconds: int = Field(default=300, ge=1)
    """How long the processes wait for each other at the start."""
    lost_seconds: float = Field(default=30.0, ge=4, le=40)
    """A process that gives no sign of life for so long is lost, and the others end."""
    wait_seconds: int = Field(default=3600, ge=1)
    """How long one process may work alone (on its verdicts, its files) while the others wait for it."""

    @model_validator(mode="after")
    def _check(self) -> HostsSection:
        named = self.coordinator or self.processes > 1 or self.process
        if self.launch != "given" and named:
            raise ValueError(f"launch={self.launch!r} takes no coordinator, processes or process; use launch='given'")
        if self.launch == "given" and not self.coordinator.rpartition(":")[2].isdigit():
            raise ValueError(f"coordinator={self.coordinator!r} is not HOST:PORT, which launch='given' needs")
        if self.process >= self.processes:
            raise ValueError(f"process={self.process} must be below processes={self.processes}; they count from 0")
        return self
