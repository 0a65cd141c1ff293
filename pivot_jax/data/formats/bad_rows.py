"""What becomes of rows that cannot be read: the first one is an error, or each is set aside in a file of rejects."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path
from types import TracebackType
from typing import IO, Literal, Self

from pydantic import ValidationError

from pivot_jax.data.failure import DataError, FieldError
from pivot_jax.data.formats.atomic import partial_of
from pivot_jax.data.formats.rows import Row

OnBadRow = Literal["fail", "skip"]

MOST_REASONS = 200
"""Reasons counted apart, so that the counts do not grow with the file; later ones are counted as OTHER."""

OTHER = "(other reasons)"
_ONE = r"(?:'[^']*'|\"[^\"]*\"|\d+)"
_PARTICULAR = re.compile(f"{_ONE}(?:, {_ONE})*")


class BadRows:
    """Counts rows and refuses bad ones.

    on_bad_row: "fail" raises DataError at the first bad row. "skip" counts it by reason and writes it to `rejects`, one
    JSON object a line: file, line, field, reason, row (the text as it was; bytes that are not UTF-8 are lone
    surrogates, which `encode("utf-8", "surrogateescape")` turns back). The rejects appear when the block ends, however
    it ends: also after an error, what was set aside until then is kept. An empty file says that no row was bad.
    """

    def __init__(self, on_bad_row: OnBadRow = "fail", rejects: str | os.PathLike[str] | None = None) -> None:
        if on_bad_row not in ("fail", "skip"):
            raise ValueError(f"on_bad_row={on_bad_row!r}; use 'fail' or 'skip'")
        if (on_bad_row == "skip") != (rejects is not None):
            raise ValueError("on_bad_row='skip' and a file of rejects go together: a row set aside is written there")
        self.read = 0
        self.reasons: Counter[str] = Counter()
        self._file = None if rejects is None else Path(rejects)
        self._written: IO[str] | None = None

    @property
    def rejected(self) -> int:
        return self.reasons.total()

    def refuse(self, file: Path, row: Row, fault: FieldError | ValidationError) -> None:
        """Set the row aside, or raise DataError."""
        if isinstance(fault, ValidationError):
            fault = FieldError.of_validation(fault)
        if self._written is None:
            raise DataError(file, row.line, fault.field, fault.reason) from fault
        reject = {"file": str(file), "line": row.line, "field": fault.field, "reason": fault.reason, "row": row.raw()}
        self._written.write(json.dumps(reject) + "\n")
        reason = f"{re.sub(r'[0-9]+', '', fault.field)}: {_PARTICULAR.sub('...', fault.reason)}"
        known = reason in self.reasons or len(self.reasons) < MOST_REASONS
        self.reasons[reason if known else OTHER] += 1

    def __enter__(self) -> Self:
        if self._file is not None:
            self._written = partial_of(self._file).open("w", encoding="ascii")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._written is not None and self._file is not None:
            self._written.flush()
            os.fsync(self._written.fileno())
            self._written.close()
            os.replace(partial_of(self._file), self._file)
            self._written = None
