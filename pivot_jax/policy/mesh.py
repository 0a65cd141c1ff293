"""The device mesh and the one table between the model's logical axes and the mesh's axes.

Every mesh has the axes `data, fsdp, expert, context, tensor` (size 1 allowed), all explicit: an array's sharding is
part of its type and a layout that does not fit is refused when the step is traced. The model speaks logical axes only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AbstractMesh, AxisType, NamedSharding, PartitionSpec

from pivot_jax.config import MeshSection
from pivot_jax.config_mesh import MESH_AXES

MeshAxes = tuple[str, ...]
AnyMesh = jax.sharding.Mesh | AbstractMesh

ALL_DATA = MeshSection()

# logical axis → (mesh axes while stored, mesh axes while computed on). Parameters are stored sharded over fsdp and
# gathered for the matmul; a norm's scale is small and stays whole, and the input embedding is not split by vocabulary
# because a gather over a split table is a collective for each token. `experts` are the experts that are computed;
# `routed` those that the router scores, all of which every token must see. `rank` is the small side of an adapter.
# `seq` are the tokens of a trunk, `token` those of a branch, or keys, which a query must see all of.
DEFAULT_RULES: dict[str, tuple[MeshAxes, MeshAxes]] = {
    "batch": (("data", "fsdp"), ("data", "fsdp")),
    "branch": ((), ()),
    "seq": ((), ("context",)),
    "token": ((), ()),
    "layers": ((), ()),
    "embed": (("fsdp",), ()),
    "norm": ((), ()),
    "kv_heads": (("tensor",), ("tensor",)),
    "heads_per_kv": ((), ()),
    "head_dim": ((), ()),
    "mlp": (("tensor",), ("tensor",)),
    "experts": (("expert",), ("expert",)),
    "expert_mlp": (("tensor",), ("tensor",)),
    "routed": ((), ()),
    "rank": ((), ()),
    "vocab": (("tensor",), ("tensor",)),
    "vocab_in": ((), ()),
}


@dataclasses.dataclass(frozen=True)
class Rules:
    """Hashable rule table. `stored` places parameters and optimizer state, `computed` places activations."""

    table: tuple[tuple[str, MeshAxes, MeshAxes], ...]

    @classmethod
    def make(cls, overrides: Mapping[str, tuple[Sequence[str], Sequence[str]]] | None = None) -> Rules:
        """The default table with `overrides`; ValueError on an unknown logical or mesh axis."""
        table = dict(DEFAULT_RULES)
        for name, (stored, computed) in (overrides or {}).items():
            if name not in table:
                raise ValueError(f"mesh.rules.{name}: unknown logical axis; one of {', '.join(sorted(table))}")
            unknown = sorted({*stored, *computed} - set(MESH_AXES))
            if unknown:
                raise ValueError(f"mesh.rules.{name}: unknown mesh axis {unknown[0]!r}; one of {', '.join(MESH_AXES)}")
            table[name] = (tuple(stored), tuple(computed))
        return cls(tuple((name, *axes) for name, axes in sorted(table.items())))

    def mesh_axes(self, axis: str, *, stored: bool) -> MeshAxes:
        """The mesh axes that split this logical axis of an array at rest, or in a computation."""
        return next(row[1] if stored else row[2] for row in self.table if row[0] == axis)

    def stored(self, *axes: str) -> PartitionSpec:
        """Partition of an array at rest whose dimensions have these logical axes."""
        return self._spec(axes, 1)

    def computed(self, *axes: str) -> PartitionSpec:
        """Partition of an array in a computation whose dimensions have these logical axes."""
        return self._spec(axes, 2)

    def unsplit(self, *axes: str) -> Rules:
        """The table with these logical axes on no mesh axis while computed on."""
        return Rules(tuple((name, stored, () if name in axes else computed) for name, stored, computed in self.table))

    def _spec(self, axes: tuple[str, ...], column: int) -> PartitionSpec:
        rows = {row[0]: row[column] for row in self.table}
        parts = [rows[axis] for axis in axes]
        used = [name for part in parts for name in part]
        if len(used) != len(set(used)):
            twice = next(name for name in used if used.count(name) > 1)
            both = [f"mesh.rules.{axis}" for axis, part in zip(axes, parts, strict=True) if twice in part]
            raise ValueError(
                f"mesh.rules: {twice!r} would split an array of {', '.join(axes)} twice; take it out of "
                + " or ".join(both)
            )
        return PartitionSpec(*(None if not part else part[0] if len(part) == 1 else tuple(part) for part in parts))


def mesh_axes(spec: PartitionSpec) -> MeshAxes:
    """All mesh axes that a partition uses, in the order of its dimensions."""
    parts = [() if part is None else (part,) if isinstance(part, str) else tuple(part) for part in spec]
    return tuple(name for part in parts for name in part)


def is_split(array: jax.Array, rules: Rules, *axes: str) -> bool:
    """Whether the array's mesh has several parts of a dimension with one of these logical axes."""
    sizes = jax.typeof(array).sharding.mesh.shape
    return any(sizes[name] > 1 for name in mesh_axes(rules.computed(*axes)))


def make_mesh(section: MeshSection = ALL_DATA, devices: Sequence[Any] | None = None) -> jax.sharding.Mesh:
    """A mesh over all devices (or those given), every axis explicit.

    With `slices`, `data` runs over the slices first, so that only the batch is split over the slow network. A slice is
    what a TPU says its slice is; elsewhere it is the next devices / slices of the devices in their order, which is by
    process.

    Raises:
        ValueError: sizes that do not fit the devices, or a number of slices that is not theirs.
    """
    devices = jax.devices() if devices is None else devices
    sizes, axis_types = section.sizes(len(devices)), (AxisType.Explicit,) * len(MESH_AXES)
    is_tpu = devices[0].platform == "tpu"
    # chips of a topology that is only described have no slice_index where there is but one slice
    slices = len({getattr(device, "slice_index", 0) for device in devices}) if is_tpu else section.slices
    if slices != section.slices:
        raise ValueError(
            f"mesh.slices: {section.slices}, but the devices form {slices} slice(s); set mesh.slices = {slices}"
        )
    if slices == 1:
        return jax.make_mesh(sizes, MESH_AXES, axis_types=axis_types, devices=devices)
    if is_tpu:
        within, across = (sizes[0] // slices, *sizes[1:]), (slices, *(1 for _ in sizes[1:]))
        arranged = mesh_utils.create_hybrid_device_mesh(within, across, devices)
    else:
        arranged = np.array(devices).reshape(sizes)
    return jax.sharding.Mesh(arranged, MESH_AXES, axis_types=axis_types)


def abstract_mesh(section: MeshSection, devices: int | None = None) -> AbstractMesh:
    """The same mesh without devices: for type-checking a layout before any hardware is there."""
    return AbstractMesh(section.sizes(devices), MESH_AXES, axis_types=(AxisType.Explicit,) * len(MESH_AXES))


def batch_multiple(mesh: AnyMesh, rules: Rules) -> int:
    """What the number of trunks in a batch must be a multiple of on this mesh."""
    return parts(mesh, rules, "batch")


def parts(mesh: AnyMesh, rules: Rules, axis: str) -> int:
    """Parts that a dimension with this logical axis is split into while it is computed on."""
    return math.prod(mesh.shape[name] for name in mesh_axes(rules.computed(axis)))


def first_place(axes: MeshAxes, length: int) -> jax.Array:
    """Within a `shard_map`: the place in the whole of the first of this device's `length`, where `axes` split it."""
    return jax.lax.axis_index(axes) * length if axes else jnp.int32(0)


def to_mesh(array, mesh: jax.sharding.Mesh, rules: Rules, *axes: str) -> jax.Array:
    """Host array onto the mesh, laid out for computation: the one way from the host to the devices.

    Every process passes the whole array and places the part that its own devices hold. The array is copied: a device
    may still read its part when the caller has long gone on to change it.

    Raises:
        ValueError: a dimension that the mesh axes it is split over do not divide.
    """
    for axis, size in zip(axes, array.shape, strict=True):
        if size % (split := parts(mesh, rules, axis)):
            over = "*".join(mesh_axes(rules.computed(axis)))
            raise ValueError(
                f"{axis}: {size} does not divide by mesh {over}={split}; pad it to {math.ceil(size / split) * split}, "
                f"or change the mesh or mesh.rules.{axis}"
            )
    sharding = NamedSharding(mesh, rules.computed(*axes))
    return jax.make_array_from_callback(array.shape, sharding, lambda index: np.array(array[index]))


def onto(array: jax.Array | np.ndarray, mesh: jax.sharding.Mesh, rules: Rules, *axes: str) -> jax.Array:
    """An array of another mesh or of the host, laid out for computation on this mesh; as it is if it is there."""
    return jax.device_put(array, NamedSharding(mesh, rules.computed(*axes)))
