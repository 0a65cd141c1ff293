"""Errors of the data layer: each names exactly where the fault lies."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

WHOLE_ROW = "(whole row)"
"""Field path of a fault that concerns no single field, such as a line that is not JSON."""

WHOLE_FILE = "(whole file)"
"""Field path of a fault that concerns no single row."""


class FieldError(ValueError):
    """A fault in one field of a row, found before the file and the line are known."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"field {field}: {reason}")
        self.field = field
        self.reason = reason

    @classmethod
    def of_validation(cls, error: ValidationError, prefix: str = "") -> FieldError:
        """The first fault that a model found; `prefix` is the path of what the model was given."""
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in first["loc"])
        return cls((prefix + path).removeprefix(".") or WHOLE_ROW, first["msg"].removeprefix("Value error, "))


class DataError(ValueError):
    """A row of a data file that cannot be read: `FILE:LINE: field PATH: reason`."""

    def __init__(self, file: Path, line: int, field: str, reason: str) -> None:
        super().__init__(f"{file}:{line}: field {field}: {reason}")
        self.file = file
        self.line = line
        self.field = field
        self.reason = reason


class FileError(DataError):
    """A data file that cannot be read or written as a whole: `FILE: reason`. Its `line` is 0."""

    def __init__(self, file: Path, reason: str) -> None:
        super().__init__(file, 0, WHOLE_FILE, reason)
        self.args = (f"{file}: {reason}",)


class RenderError(ValueError):
    """A trajectory, or one turn of it, that a chat template cannot render into a state and an action."""

    def __init__(self, trajectory_id: str, turn: int | None, reason: str) -> None:
        where = f"trajectory {trajectory_id!r}" + ("" if turn is None else f", turn {turn}")
        super().__init__(f"{where}: {reason}")
        self.trajectory_id = trajectory_id
        self.turn = turn
        self.reason = reason
