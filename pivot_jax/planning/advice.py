"""The largest batch that fits, and what to change where the config's does not, by the account of bytes."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from pivot_jax.config import Config
from pivot_jax.config_arms import merged
from pivot_jax.planning.chips import Chip
from pivot_jax.planning.memory import moments, peak
from pivot_jax.planning.workload import Workload, workload
from pivot_jax.policy.mesh import batch_multiple

MOST_TOGETHER = 3
"""Changes that are tried together."""


@dataclass(frozen=True)
class Change:
    """One thing to change: what it is called, and its tables over the config."""

    kind: str
    label: str
    tables: Mapping[str, Any]


def account(work: Workload) -> int:
    """Bytes of one device at the peak of a step."""
    return peak(moments(work)).total


def largest_pivots(work: Workload, chip: Chip) -> int:
    """The most pivots a step that fit with everything else as it is, gone through in the smallest parts that the mesh
    divides; 0 if none do."""
    least = math.lcm(*(batch_multiple(place.mesh, place.rules) for place in (work.train, work.sample)))

    def fits(parts: int) -> bool:
        return account(in_parts(work, parts * least, parts)) <= chip.usable

    if not fits(1):
        return 0
    low, high = 1, 2
    while fits(high) and high < 2**20:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low * least


def in_parts(work: Workload, rows: int, parts: int) -> Workload:
    """The step with this many rows, gone through in parts."""
    train = work.config.train.model_copy(update={"micro_batches": parts})
    return replace(work, rows=rows, config=work.config.model_copy(update={"train": train}))


def smallest_change(work: Workload, chip: Chip) -> tuple[tuple[Change, ...], int] | None:
    """The fewest changes after which a step fits, the cheaper ones first, and the bytes then; None if none do."""
    known = list(changes(work.config))
    for count in range(1, MOST_TOGETHER + 1):
        for some in combinations(known, count):
            if len({change.kind for change in some}) < count:
                continue
            total = _total(work, some)
            if total is not None and total <= chip.usable:
                return some, total
    return None


def changes(config: Config) -> Iterator[Change]:
    """What can be changed, from what costs least: time, then the mesh, then the batch, then what is trained."""
    pivots, parts = config.train.pivots_per_step, config.train.micro_batches
    for more in (2, 4, 8, 16, 32, 64):
        if pivots % (more * parts) == 0:
            label = f"train.micro_batches = {more * parts}"
            yield Change("parts", label, {"train": {"micro_batches": more * parts}})
    for remat in ("full", "offload"):
        if config.policy.remat not in (remat, "offload"):
            yield Change("remat", f'policy.remat = "{remat}"', {"policy": {"remat": remat}})
    yield from _meshes(config)
    for fewer in (2, 4, 8, 16):
        if pivots % fewer == 0:
            # in parts of the same size, as far as that goes
            train = {"pivots_per_step": pivots // fewer, "micro_batches": max(1, parts // fewer)}
            yield Change(
                "batch", ", ".join(f"train.{name} = {value}" for name, value in train.items()), {"train": train}
            )
    if not config.lora.rank:
        yield Change("lora", "lora.rank = 32 (adapters alone are trained)", {"lora": {"rank": 32}})


def _meshes(config: Config) -> Iterator[Change]:
    """Meshes of as many devices, with a factor of two or four moved to an axis that splits more."""
    sizes = {axis: getattr(config.mesh, axis) for axis in ("data", "fsdp", "expert", "context", "tensor")}
    for target in ("fsdp", "context", "tensor"):
        for source in ("data", "expert", "fsdp", "tensor"):
            for factor in (2, 4, 8):
                if source == target or sizes[source] % factor:
                    continue
                moved = {source: sizes[source] // factor, target: sizes[target] * factor}
                label = ", ".join(f"mesh.{axis} = {size}" for axis, size in moved.items())
                yield Change("mesh", label, {"mesh": moved})


def _total(work: Workload, some: tuple[Change, ...]) -> int | None:
    """Bytes of one device after the changes; None where they do not fit the policy."""
    values = work.config.model_dump()
    for change in some:
        values = merged(values, change.tables)
    try:
        config = Config.model_validate(values)
        return account(workload(config, work.arch.model_copy(update={"remat": config.policy.remat})))
    except ValueError:  # a ConfigError is one
        return None
