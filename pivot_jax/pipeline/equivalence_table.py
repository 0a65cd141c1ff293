"""How far meshes are apart: a number for each quantity, its tolerance with the reason, the table and the JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from pivot_jax.pipeline.equivalence import Compared, Pairs
from pivot_jax.pipeline.equivalence_quantities import Leaves

Measure = Literal["absolute", "relative", "norm", "differing"]


@dataclass(frozen=True)
class Quantity:
    """Something that must not depend on the mesh, and how a difference of it is measured.

    `absolute` is the largest one; `relative` the same over the largest value of its array; `norm` the Euclidean norm of
    an array's differences over that of the array; `differing` the number of values that are not bit-equal, whose
    tolerance is zero whatever is asked for.
    """

    name: str
    measure: Measure
    tolerance: float


# float32 rounds at 6e-8. Meshes sum the same terms in another order, and a sum of a few thousand terms then differs
# by some 1e-6 of the largest; layers, and a backward pass, add to that. A reduction that is wrong differs by what it
# lost, 1e-2 and more. Moments are gradients and their squares. Where a gradient is nearly zero AdamW divides rounding
# by rounding, so single parameters may change by another share of their step: hence the norm.
# Tokens are drawn with keys that do not depend on the mesh. Two tokens that tie within rounding could still change
# places: about one token in a hundred thousand, so a difference in a small batch is taken for a fault.
QUANTITIES = (
    Quantity("sampled tokens", "differing", 0.0),
    Quantity("behavior log-probs", "absolute", 5e-5),
    Quantity("trunk hidden states", "relative", 2e-5),
    Quantity("trunk logits", "relative", 2e-5),
    Quantity("branch logits", "relative", 2e-5),
    Quantity("advantages", "absolute", 1e-6),
    Quantity("loss", "absolute", 1e-6),
    Quantity("gradients", "relative", 1e-4),
    Quantity("change of parameters", "norm", 1e-3),
    Quantity("optimizer moments", "relative", 1e-4),
    Quantity("restored", "differing", 0.0),
)


@dataclass(frozen=True)
class Difference:
    """Of one quantity on one mesh: the largest over its arrays, and in which of them that is."""

    mesh: str
    quantity: str
    measure: Measure
    difference: float
    absolute: float
    leaf: str
    tolerance: float

    @property
    def within(self) -> bool:
        """Whether it is no more than the tolerance; what is not a number is more."""
        return self.difference <= self.tolerance


def differences(pairs: Mapping[str, Pairs], tolerance: float | None = None) -> list[Difference]:
    """Every quantity on every mesh; a `tolerance` takes the place of the own ones, but for what must be bit-equal."""
    found = []
    for mesh, of_mesh in pairs.items():
        for quantity in QUANTITIES:
            allowed = quantity.tolerance if tolerance is None or quantity.measure == "differing" else tolerance
            difference, absolute, leaf = largest(*of_mesh[quantity.name], quantity.measure)
            found.append(Difference(mesh, quantity.name, quantity.measure, difference, absolute, leaf, allowed))
    return found


def largest(expected: Leaves, found: Leaves, measure: Measure) -> tuple[float, float, str]:
    """The largest difference of two trees as `measure` has it, its absolute size, and the array that it is in.

    Raises:
        ValueError: the trees have other arrays, or arrays of other shapes.
    """
    if {k: v.shape for k, v in expected.items()} != {k: v.shape for k, v in found.items()}:
        raise ValueError("the meshes computed arrays of different names or shapes")
    measured = [(*_of_array(array, found[leaf], measure), leaf) for leaf, array in expected.items()]
    return max(measured, key=lambda one: one[0])


def _of_array(expected: np.ndarray, found: np.ndarray, measure: Measure) -> tuple[float, float]:
    """The difference as `measure` has it, and its absolute size; infinite where one of the two is not a number."""
    if not expected.size:
        return 0.0, 0.0
    a, b = (np.asarray(array, np.float64) for array in (expected, found))
    with np.errstate(invalid="ignore"):
        gap = np.where(a == b, 0.0, np.abs(a - b))
    absolute = float(np.nan_to_num(gap, nan=np.inf).max())
    if measure == "differing":
        return float((_bits(expected) != _bits(found)).any(axis=-1).sum()), absolute
    if measure == "absolute" or not absolute:
        return absolute, absolute
    part, whole = (np.linalg.norm(gap), np.linalg.norm(a)) if measure == "norm" else (absolute, np.abs(a).max())
    return float(part / whole) if whole and np.isfinite(part) else np.inf, absolute


def _bits(array: np.ndarray) -> np.ndarray:
    """`[n, bytes]`: the values as they are stored."""
    return np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8).reshape(array.size, -1)


def print_differences(compared: Compared, found: Sequence[Difference], console: Console) -> None:
    """The table, the gradients that are furthest apart, and a line for everything that is out of tolerance."""
    meshes = list(compared.pairs)
    console.print(f"{compared.inputs}; each mesh against {compared.reference}", highlight=False, soft_wrap=True)
    table = Table("quantity", "difference", "tolerance", *meshes, title="Largest differences")
    by_place = {(one.quantity, one.mesh): one for one in found}
    for quantity in QUANTITIES:
        row = [by_place[quantity.name, mesh] for mesh in meshes]
        table.add_row(quantity.name, quantity.measure, _number(row[0].tolerance), *map(_cell, row))
    console.print(table)
    for mesh in meshes:
        worst = by_place["gradients", mesh]
        console.print(f"{mesh}: of the gradients, {worst.leaf} is furthest", highlight=False, soft_wrap=True)
    for one in failures(found):
        console.print(
            f"{one.mesh}: {one.quantity} ({one.leaf}): {_number(one.difference)} {one.measure}, "
            f"tolerance {_number(one.tolerance)}", style="red", highlight=False, soft_wrap=True,
        )  # fmt: skip


def failures(found: Sequence[Difference]) -> list[Difference]:
    """Those out of tolerance."""
    return [one for one in found if not one.within]


def as_json(compared: Compared, found: Sequence[Difference], command: str) -> dict[str, Any]:
    """What `--json` writes; a difference that is not finite is written as text."""
    return {
        "command": command,
        "inputs": compared.inputs,
        "reference": compared.reference,
        "passed": not failures(found),
        "differences": [
            {name: str(value) if value == np.inf else value for name, value in asdict(one).items()}
            | {"within": one.within}
            for one in found
        ],
    }


def _cell(one: Difference) -> str:
    return _number(one.difference) if one.within else f"[red]{_number(one.difference)} FAILED[/red]"


def _number(value: float) -> str:
    return f"{value:.0f}" if value == round(value) and value < 1e6 else f"{value:.1e}"
