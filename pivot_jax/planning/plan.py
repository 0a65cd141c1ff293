"""The plan of a config on its mesh: the account, what the compilers say, the verdict, and what to change."""

from __future__ import annotations

from pivot_jax.config import Config
from pivot_jax.planning.advice import largest_pivots, smallest_change
from pivot_jax.planning.chips import chip_of
from pivot_jax.planning.compiled import compile_programs
from pivot_jax.planning.memory import moments
from pivot_jax.planning.page import Plan, counted
from pivot_jax.planning.timing import step_seconds
from pivot_jax.planning.verdict import verdict
from pivot_jax.planning.work import phases
from pivot_jax.planning.workload import read_workload


def make_plan(config: Config, command: str, *, limit: float, effort: str) -> Plan:
    """Plan one step of the config's first `pivot_rl` arm.

    Args:
        config: the whole config, with the mesh.
        command: as it was given.
        limit: seconds for the TPU compiler; 0: ask no compiler at all.
        effort: of the TPU compiler, "low" or "full".

    Raises:
        ConfigError: a config that cannot be planned; before anything is compiled.
    """
    work = read_workload(config)
    chip = chip_of(config.mesh.chip, work.train.devices)
    account, found = moments(work), phases(work)
    compiled = compile_programs(work, chip, limit=limit, effort=effort) if limit else []
    result = verdict(work, chip, compiled)
    return Plan(
        command=command,
        work=work,
        chip=chip,
        moments=account,
        phases=found,
        seconds=step_seconds(work, chip, found, {one.program: one for one in counted(compiled)}),
        compiled=compiled,
        verdict=result,
        largest=largest_pivots(work, chip),
        change=None if result.fits else smallest_change(work, chip),
        effort=effort,
    )
