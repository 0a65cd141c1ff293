"""What one step of a run computes, as shapes: the policy, its rows and branches, and where they are laid out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from jax.sharding import NamedSharding, PartitionSpec

from pivot_jax.config import Architecture, Config, ConfigError, MeshSection
from pivot_jax.pipeline.micro_batches import check_parts
from pivot_jax.pipeline.run import base_policy_dir, check_layout
from pivot_jax.policy.mesh import AnyMesh, Rules, abstract_mesh, batch_multiple, parts
from pivot_jax.policy.weights import read_architecture
from pivot_jax.rollout.layout import TRUNK_BUCKET, power_of_two, round_up


@dataclass(frozen=True)
class Layout:
    """A mesh and the rule table: what one device holds of an array."""

    mesh: AnyMesh
    rules: Rules

    @property
    def devices(self) -> int:
        """Of the whole mesh."""
        return math.prod(self.mesh.shape.values())

    def stored(self, shape: tuple[int, ...], axes: tuple[str, ...]) -> int:
        """Elements that one device holds of an array at rest."""
        return self._held(shape, self.rules.stored(*axes))

    def computed(self, shape: tuple[int, ...], axes: tuple[str, ...]) -> int:
        """Elements that one device holds of an array that is computed on."""
        return self._held(shape, self.rules.computed(*axes))

    def _held(self, shape: tuple[int, ...], spec: PartitionSpec) -> int:
        return math.prod(NamedSharding(self.mesh, spec).shard_shape(shape))


@dataclass(frozen=True)
class Workload:
    """One step of the method `pivot_rl`: N pivots, each the trunk of its own group of G actions."""

    config: Config
    """Of the arm."""
    arch: Architecture
    train: Layout
    sample: Layout
    rows: int
    """N, padded to what both meshes divide."""

    @property
    def pivots(self) -> int:
        """N as the config asks for it."""
        return self.config.train.pivots_per_step

    @property
    def part(self) -> int:
        """Rows of a part: the update goes through a batch in `train.micro_batches` of them."""
        return self.rows // self.config.train.micro_batches

    @property
    def group(self) -> int:
        """G."""
        return self.config.train.group_size

    @property
    def trunk(self) -> int:
        """S, the padded length of a trunk."""
        split = (parts(place.mesh, place.rules, "seq") for place in (self.train, self.sample))
        return round_up(self.config.plan.state_tokens, math.lcm(TRUNK_BUCKET, *split))

    @property
    def forced(self) -> int:
        """F, the padded number of state tokens that a branch begins with."""
        return power_of_two(self.config.plan.forced_tokens)

    @property
    def branch(self) -> int:
        """T, the length of a branch: F and the most new tokens."""
        return self.forced + self.config.sampling.max_new_tokens

    @property
    def itemsize(self) -> int:
        """Bytes of a number that is computed with."""
        return 2 if self.arch.dtype == "bfloat16" else 4


def read_workload(config: Config) -> Workload:
    """The step of the first `pivot_rl` arm that the config trains, on its mesh; nothing but config.json is read.

    Raises:
        ConfigError: no such arm, no policy, or a mesh that does not fit itself, the policy or the batch.
    """
    arm = next((name for name in config.chosen_arms if config.arms[name].method == "pivot_rl"), None)
    if arm is None:
        raise ConfigError("plan: it plans the method 'pivot_rl', and no arm of this config has it")
    return workload(config.for_arm(arm))


def workload(own: Config, arch: Architecture | None = None) -> Workload:
    """The step of one arm's config; without `arch`, that of `policy.path`."""
    arch, train = read_policy(own) if arch is None else arch, layout(own.mesh, "mesh")
    sample = train if own.sampling_mesh is None else layout(own.sampling_mesh, "sampling_mesh")
    if sample.devices != train.devices:
        raise ConfigError(f"sampling_mesh: {sample.devices} devices, mesh: {train.devices}; they must be as many")
    check_layout(own, arch, train.mesh, train.rules)
    if sample is not train:
        check_layout(own, arch, sample.mesh, sample.rules, "sampling_mesh")
    check_parts(own, train.mesh, train.rules)
    multiple = math.lcm(*(batch_multiple(each.mesh, each.rules) for each in (train, sample)))
    rows = round_up(own.train.pivots_per_step, multiple)
    if rows % own.train.micro_batches:
        raise ConfigError(
            f"train.micro_batches: {own.train.micro_batches} parts do not divide the {rows} rows of a step"
        )
    return Workload(own, arch, train, sample, rows)


def layout(section: MeshSection, name: str) -> Layout:
    """A mesh file's layout; `data = -1` takes the chips of its topology that are left."""
    chips = math.prod(int(side) for side in section.topology.split("x")) * section.slices if section.topology else None
    try:
        return Layout(abstract_mesh(section, chips), Rules.make(section.rules))
    except ValueError as error:
        raise ConfigError(name + str(error).removeprefix("mesh")) from error


def read_policy(config: Config) -> Architecture:
    """The shape of the policy from its config.json; the weights need not be there."""
    directory = base_policy_dir() if config.policy.path == "base" else Path(config.policy.path)
    if not (directory / "config.json").exists():
        raise ConfigError(f"policy.path: {directory} holds no config.json; configs/model has those of public policies")
    try:
        return read_architecture(directory, dtype=config.policy.dtype, remat=config.policy.remat)
    except (OSError, ValueError) as error:
        raise ConfigError(f"policy.path: {directory}: {error}") from error
