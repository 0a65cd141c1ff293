"""What a report says of its arms, however they were evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from pivot_jax.pipeline.intervals import Estimate
from pivot_jax.pipeline.report_headline import Ordering
from pivot_jax.pipeline.report_text import percent, percent_interval, points, points_interval

Cell = tuple[str, str]
"""A number and its interval, as text."""


@dataclass(frozen=True)
class PageTable:
    """A table of the page: a row for each name, cells under the headings; None where there is nothing to show."""

    title: str
    first: str
    """Heading of the names."""
    headings: Sequence[str]
    rows: Mapping[str, Sequence[Cell | None]]
    caption: str = ""


@dataclass(frozen=True, eq=False)
class Findings:
    """`arms` and `differences` as `report.json` holds them, and how the page shows them."""

    headline: str
    orderings: Sequence[Ordering]
    arms: Mapping[str, dict[str, Any]]
    differences: Mapping[str, dict[str, Any]]
    tables: Sequence[PageTable]
    scatter: Figure | None
    note: str
    """How the intervals were made, and what they cover."""


def rate_cell(estimate: Estimate) -> Cell:
    """A rate in percent."""
    return percent(estimate.mean), percent_interval(estimate)


def change_cell(estimate: Estimate) -> Cell:
    """A difference of rates in points."""
    return points(estimate.mean), points_interval(estimate)
