"""Whether a step fits, by the compiler where it could be had and by the account of bytes elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pivot_jax.planning.chips import Chip
from pivot_jax.planning.compiled import Compiled
from pivot_jax.planning.memory import Moment, held_terms, moments
from pivot_jax.planning.workload import Workload

ARGUMENTS = {"update": ("policy", "adapters", "optimizer's two moments"), "rollout": ("policy", "adapters")}
"""What training holds anyway and a program takes as its arguments; the rest stands beside it."""


@dataclass(frozen=True)
class Verdict:
    """The most that one device has to hold, what decided it, and how much there is."""

    needed: int
    usable: int
    decided_by: str

    @property
    def fits(self) -> bool:
        """Whether it fits."""
        return self.needed <= self.usable


def verdict(work: Workload, chip: Chip, compiled: Sequence[Sequence[Compiled]]) -> Verdict:
    """The larger of what the TPU compiler says of the programs that it compiled, and the account of the other phases.

    Args:
        work: the step.
        chip: of the mesh.
        compiled: each program with what its compilers said.
    """
    by_compiler = {
        one.program: program_total(work, one, chip)
        for told in compiled
        for one in told
        if one.is_tpu and (one.peak or one.needed)
    }
    by_account = {moment: moment.total for moment in moments(work) if moment.phase not in by_compiler}
    candidates = [(total, f"the TPU compiler, program `{program}`") for program, total in by_compiler.items()] + [
        (total, f"the account, {name(moment)}") for moment, total in by_account.items()
    ]
    needed, decided_by = max(candidates)
    return Verdict(needed, chip.usable, decided_by)


def program_total(work: Workload, one: Compiled, chip: Chip) -> int:
    """A compiled program's peak and what training holds beside it; of one that does not fit, at least more than all."""
    inside = ARGUMENTS[one.program] if work.sample == work.train or one.program == "update" else ()
    held = held_terms(work)
    beside = sum(term.bytes for term in held if term.name not in inside)
    if one.error:
        taken = sum(term.bytes for term in held if term.name in inside)
        return max(one.needed + taken + beside, chip.usable + 1)
    return one.peak + beside


def name(moment: Moment) -> str:
    """A moment in words."""
    return f"{moment.phase}: {moment.name}"
