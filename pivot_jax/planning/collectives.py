"""Collectives of a compiled program, read from its text: how many, of what kind, and how many bytes.

Those inside a loop count as often as the loop runs, where that is fixed (the scan over layers); the loop over sampled
tokens ends when all actions have, so what is in it counts once and is reported apart.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

KINDS = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
# bits of an element; a predicate takes a byte
BITS = {
    "pred": 8, "s4": 4, "u4": 4, "s8": 8, "u8": 8, "s16": 16, "u16": 16, "s32": 32, "u32": 32, "s64": 64, "u64": 64,
    "f8e4m3fn": 8, "f8e5m2": 8, "bf16": 16, "f16": 16, "f32": 32, "f64": 64, "c64": 64, "c128": 128,
}  # fmt: skip

ARRAY = re.compile(r"\b([a-z]\w*)\[([\d,]*)\]")
COMPUTATION = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\) -> .* \{$")
INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
OPERATION = re.compile(r"([a-z][a-z0-9\-]*)\(")
CALLED = re.compile(r"\b(?:calls|to_apply|body|true_computation|false_computation)=%?([\w.\-]+)")
BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
TRIP_COUNT = re.compile(r'"known_trip_count":\s*\{"n":\s*"(\d+)"\}')
CONDITION = re.compile(r"\bcondition=%?([\w.\-]+)")
BELOW = re.compile(r"ROOT .* compare\([^()]*[ %(]([\w.\-]+)\), direction=LT")
FUSED_SCATTER = "all-reduce-scatter"
"""How the TPU compiler names an all-reduce fused with the slice that a device keeps: it runs as a reduce-scatter."""


@dataclass(frozen=True)
class Collective:
    """One collective instruction of the program of one device."""

    kind: str
    payload: int
    """Bytes of the larger side: what is gathered, reduced, or exchanged, on one device."""
    group: int
    """Devices that take part together."""
    times: int
    """How often one run of the program executes it."""
    in_open_loop: bool
    """It stands in a loop whose length the compiler does not know: `times` is for one round of that."""

    @property
    def wire(self) -> float:
        """Bytes that a device sends for one execution, with the ring algorithms."""
        if self.kind == "collective-permute":
            return float(self.payload)
        return (2 if self.kind == "all-reduce" else 1) * self.payload * (self.group - 1) / self.group


@dataclass(frozen=True)
class Total:
    """All collectives of one kind: executions, bytes of payload and bytes sent, of one device."""

    count: int
    payload: int
    wire: int


def collectives(text: str, devices: int) -> list[Collective]:
    """Every collective that a program of `devices` devices executes, from the text of `compiled.as_text()`.

    Raises:
        ValueError: the text has no entry computation.
    """
    bodies, entry = _computations(text)
    return list(_executed(bodies, entry, 1, False, devices))


def totals(found: list[Collective], *, in_open_loop: bool) -> dict[str, Total]:
    """Kind → total, of those in the loop of unknown length or of the others; kinds without any are left out."""
    chosen = [one for one in found if one.in_open_loop == in_open_loop]
    return {
        kind: Total(
            sum(one.times for one in chosen if one.kind == kind),
            sum(one.times * one.payload for one in chosen if one.kind == kind),
            round(sum(one.times * one.wire for one in chosen if one.kind == kind)),
        )
        for kind in KINDS
        if any(one.kind == kind for one in chosen)
    }


def shape_bytes(shape: str) -> list[int]:
    """Bytes of each array that a shape names, `f32[2,3]{1,0}` or a tuple of such; layouts are ignored."""
    return [
        math.ceil(BITS[kind] * math.prod(int(size) for size in sizes.split(",") if size) / 8)
        for kind, sizes in ARRAY.findall(shape)
        if kind in BITS
    ]


def _computations(text: str) -> tuple[dict[str, list[str]], str]:
    """The instructions of each computation by its name, and the entry's name."""
    bodies: dict[str, list[str]] = {}
    entry, current = "", ""
    for line in text.splitlines():
        if head := COMPUTATION.match(line):
            current = head.group(2)
            bodies[current] = []
            entry = current if head.group(1) else entry
        elif line.startswith("}"):
            current = ""
        elif current and INSTRUCTION.match(line):
            bodies[current].append(line)
    if not entry:
        raise ValueError("this is not the text of a compiled program: it has no ENTRY computation")
    return bodies, entry


def _executed(
    bodies: Mapping[str, list[str]], name: str, times: int, in_open_loop: bool, devices: int
) -> Iterator[Collective]:
    """The collectives of one computation that runs `times` times, and of those that it calls."""
    for line in bodies[name]:
        kind, shape, rest = _parts(line)
        if (bare := kind.removesuffix("-start")) in KINDS:
            arrays = _results(shape, asynchronous=kind != bare)
            group = _group_size(rest, devices)
            payload = sum(arrays) * (group if bare == "reduce-scatter" else 1)
            known = "reduce-scatter" if name.startswith(FUSED_SCATTER) else bare
            yield Collective(known, payload, group, times, in_open_loop)
            continue
        inner, unknown = times, in_open_loop
        if kind == "while":
            rounds = _rounds(bodies, line)
            inner, unknown = times * (rounds or 1), in_open_loop or rounds is None
        called = CALLED.findall(line)
        for some in BRANCHES.findall(line):
            called += [computation.strip().removeprefix("%") for computation in some.split(",")]
        for computation in called:
            if computation in bodies:
                yield from _executed(bodies, computation, inner, unknown, devices)


def _parts(line: str) -> tuple[str, str, str]:
    """(operation, shape of the result, what follows the operation's name) of one instruction."""
    found = INSTRUCTION.match(line)
    assert found is not None
    text = found.group(2)
    if text.startswith("("):  # a tuple's shape ends where its parenthesis closes; layouts hold some of their own
        depths = itertools.accumulate((letter == "(") - (letter == ")") for letter in text)
        end = 1 + next(place for place, depth in enumerate(depths) if not depth)
        shape, rest = text[:end], text[end:].lstrip()
    else:
        shape, _, rest = text.partition(" ")
    named = OPERATION.match(rest)
    return (named.group(1) if named else ""), shape, rest


def _rounds(bodies: Mapping[str, list[str]], loop: str) -> int | None:
    """How often a `while` runs: as the compiler notes it, or the bound that its counter is compared with."""
    if known := TRIP_COUNT.search(loop):
        return int(known.group(1))
    condition = CONDITION.search(loop)
    lines = bodies.get(condition.group(1), []) if condition else []
    bound = next((found.group(1) for line in lines if (found := BELOW.search(line))), None)
    for line in lines:
        if bound and re.match(rf"\s+%?{re.escape(bound)} = s32\[\]", line):
            value = re.search(r"constant\((\d+)\)", line)
            return int(value.group(1)) if value else None
    return None


def _results(shape: str, *, asynchronous: bool) -> list[int]:
    """Bytes of the arrays that a collective leaves; the result of a start is (operands, results, bookkeeping)."""
    sizes = shape_bytes(shape)
    if not (asynchronous and shape.startswith("(")):
        return sizes
    arrays = len([size for size in sizes if size > 4])
    return sizes[arrays // 2 : arrays] if arrays > 1 else sizes[:1]


def _group_size(rest: str, devices: int) -> int:
    """Devices in a group, in each way of writing `replica_groups`: lists, an iota, or axes of a mesh, or parts of them.

    Raises:
        ValueError: another way of writing them.
    """
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return len(found.group(1).split(","))
    if found := re.search(r"replica_groups=\[\d+,(\d+)\]<=", rest):
        return int(found.group(1))
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\].*?\{('[^}]*)\}", rest):
        sizes = dict(re.findall(r"'([^']+)'=(\d+)", found.group(1)))
        parts = re.findall(r"'([^']+)'(?::\(\d+\)(\d+))?", found.group(2))
        return math.prod(int(part or sizes[name]) for name, part in parts)
    if "replica_groups=" in rest and "replica_groups={}" not in rest:
        raise ValueError(f"groups of devices are written in an unknown way: {rest[:200]}")
    return devices
