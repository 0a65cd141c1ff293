"""The section that describes a device mesh: sizes of its axes, the hardware it is meant for, its rule table."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import Field, model_validator

from pivot_jax.config_section import Section

MESH_AXES = ("data", "fsdp", "expert", "context", "tensor")
"""In this order, outermost first: the axes that talk most are innermost, where the network is fastest."""


class MeshSection(Section):
    """Sizes of the mesh axes (`data = -1`: the devices that are left) and overrides of the rule table."""

    data: int = -1
    fsdp: int = Field(default=1, ge=1)
    expert: int = Field(default=1, ge=1)
    context: int = Field(default=1, ge=1)
    """Parts that each trunk is cut into."""
    tensor: int = Field(default=1, ge=1)
    slices: int = Field(default=1, ge=1)
    """Slices of devices with a slow network between them; `data` runs over them first. It is not one more axis."""
    chip: Literal["", "cpu", "h100", "h200", "v5e", "v5p", "v6e"] = ""
    """What the devices are (empty: not said)."""
    topology: str = Field(default="", pattern=r"^$|^[1-9]\d*(x[1-9]\d*)*$")
    """How the chips of one slice are wired, such as `4x4x4` (empty: not said)."""
    rules: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = Field(default_factory=dict)
    """logical axis → [mesh axes stored on, mesh axes computed on]."""

    def sizes(self, devices: int | None = None) -> tuple[int, ...]:
        """Sizes of the axes in the order of `MESH_AXES` on this many devices (None: as many as the section names).

        Raises:
            ValueError: they do not fit; the message says what to set.
        """
        rest = self.fsdp * self.expert * self.context * self.tensor
        data = self.data
        if data == -1:
            if devices is None:
                raise ValueError("mesh.data: -1 takes the devices that are left, but their number is not known; set it")
            if devices % rest:
                raise ValueError(
                    f"mesh: fsdp*expert*context*tensor={rest} does not divide the {devices} devices; lower one of them"
                )
            data = devices // rest
        if devices is not None and data * rest != devices:
            raise ValueError(
                f"mesh: data*fsdp*expert*context*tensor={data * rest}, but there are {devices} devices; "
                "choose sizes whose product that is, or data = -1 to take what is left"
            )
        if data % self.slices:
            raise ValueError(
                f"mesh.data: {data} is not a multiple of mesh.slices={self.slices}, over which the batch is split; "
                f"use {math.ceil(data / self.slices) * self.slices}, or fewer slices"
            )
        return data, self.fsdp, self.expert, self.context, self.tensor

    @model_validator(mode="after")
    def _check(self) -> MeshSection:
        if self.data != -1 and self.data < 1:
            raise ValueError(f"data={self.data} must be at least 1, or -1 to take the devices that are left")
        if self.data == -1:
            return self
        devices = math.prod(self.sizes())
        chips = math.prod(int(side) for side in self.topology.split("x")) * self.slices if self.topology else devices
        if chips != devices:
            raise ValueError(
                f"topology={self.topology!r} with slices={self.slices} has {chips} chips, but "
                f"data*fsdp*expert*context*tensor={devices}; change the sizes or the topology"
            )
        return self
