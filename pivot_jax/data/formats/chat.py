"""OpenAI-style chat rows; see `chat_row` for their fields. Written rows read back as equal trajectories."""

from __future__ import annotations

from typing import Any

from pivot_jax.data.chat_row import row_of_trajectory, trajectory_of_row
from pivot_jax.data.failure import FieldError
from pivot_jax.data.formats.options import ReadOptions, WriteOptions
from pivot_jax.records import Trajectory


def read_row(value: object, label: str, options: ReadOptions) -> Trajectory:
    """The trajectory of a decoded row; FieldError names the first field that is wrong."""
    row = completed(value, label, options) if isinstance(value, dict) else value
    try:
        return trajectory_of_row(row)
    except FieldError as error:
        raise hinted(error) from error


def hinted(fault: FieldError) -> FieldError:
    """The fault, with the way out where an id is missing."""
    if fault.field in ("id", "task_id") and fault.reason == "Field required":
        return FieldError(fault.field, "Field required; --make-ids names rows by file and line")
    return fault


def completed(row: dict[str, Any], label: str, options: ReadOptions) -> dict[str, Any]:
    """A copy of the row with what the options give for what it leaves out."""
    row = dict(row)
    if options.make_ids:
        if row.get("id") is None:
            row["id"] = label
        if row.get("task_id") is None:
            row["task_id"] = row["id"]
    if row.get("domain") is None:
        row["domain"] = options.domain
    if row.get("tools") is None:
        row["tools"] = options.tools_for(row.get("tools_ref"), str(row["domain"]))
    return row


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """The one row of a trajectory; FieldError where its metadata hides a field."""
    return [row_of_trajectory(trajectory)]
