"""Peaks of the chips that a mesh file can name, as their makers publish them, and what a step is assumed to reach."""

from __future__ import annotations

import os
from dataclasses import dataclass

GIB = 2**30


@dataclass(frozen=True)
class Chip:
    """One accelerator. Zero rates: nothing is published that a time could be predicted from."""

    name: str
    matmul_flops: float
    """Dense bfloat16 multiply-adds, counted as two operations, a second."""
    memory: str
    """As the maker names it."""
    usable: int
    """Bytes that a program can have of them."""
    bandwidth: float
    """Bytes a second between the chip and its memory."""
    link: float
    """Bytes a second that the chip can send to its neighbours, all links of one direction together."""
    tpu: bool = False

    @property
    def known(self) -> bool:
        """Whether a time can be predicted."""
        return self.matmul_flops > 0


# What a program can have. TPU: what the TPU compiler names when a program does not fit (libtpu 0.0.42). GPU: 0.92 of
# what the driver reports, which is what jax takes with XLA_PYTHON_CLIENT_MEM_FRACTION=0.92.
# Links: a TPU's inter-chip links (half of the published bidirectional rate), NVLink within a host of eight.
CHIPS = {
    chip.name: chip
    for chip in (
        Chip("h100", 989e12, "80 GB", int(0.92 * 79.6 * GIB), 3350e9, 450e9),
        Chip("h200", 989e12, "141 GB", int(0.92 * 140.4 * GIB), 4800e9, 450e9),
        Chip("v5e", 197e12, "16 GB", int(15.75 * GIB), 819e9, 200e9, tpu=True),
        Chip("v5p", 459e12, "95 GB", int(95.74 * GIB), 2765e9, 600e9, tpu=True),
        Chip("v6e", 918e12, "32 GB", int(31.25 * GIB), 1640e9, 400e9, tpu=True),
    )
}

MATMUL_SHARE = 0.4
"""Share of the peak that products of a training step or a prefill are assumed to reach."""
BANDWIDTH_SHARE = 0.7
"""Share of the memory's bandwidth that decoding is assumed to reach."""
LINK_SHARE = 0.7
"""Share of the links' rate that a collective is assumed to reach."""


def chip_of(name: str, devices: int) -> Chip:
    """The chip that `mesh.chip` names; `cpu` (or nothing) shares this machine's memory among the devices."""
    if name in CHIPS:
        return CHIPS[name]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // devices
    return Chip("cpu", 0.0, "this machine's memory", memory, 0.0, 0.0)
