"""Metrics of a run: `metrics.jsonl`, one line a call, and the same numbers as TensorBoard events.

A line is flat, `{"stage": "pivotrl", "step": 12, "train/reward_mean": 0.4, ...}`, and holds no time of writing, so that
a resumed run writes the file that an uninterrupted one would. JSON has no NaN: a number that is not finite is
written as the string "nan", "inf" or "-inf", and read back as the float.

A metric has one name and one meaning, `topic/name`: `train/reward_mean`, `pivot/mixed_fraction`,
`policy/kl_to_reference`, `rollout/behavior_gap`. Of several processes, the first one writes.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from tensorboardX import SummaryWriter

from pivot_jax.pipeline.artifacts import replace_text

METRICS_FILE = "metrics.jsonl"
METRIC_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)+")
NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True)
class MetricLine:
    """What one `MetricsWriter.write` recorded; `stage` is the name of the arm that was trained."""

    stage: str
    step: int
    metrics: Mapping[str, float]

    def to_text(self) -> str:
        """This line as `metrics.jsonl` holds it, without the newline."""
        values = {name: value if math.isfinite(value) else str(value) for name, value in self.metrics.items()}
        return json.dumps({"stage": self.stage, "step": self.step, **values}, allow_nan=False)

    @classmethod
    def from_text(cls, text: str) -> MetricLine:
        """The line that `to_text` wrote; ValueError if it is anything else."""
        fields = json.loads(text)
        if not isinstance(fields, dict):
            raise ValueError(f"a JSON {type(fields).__name__}, not an object")
        stage, step = fields.pop("stage", None), fields.pop("step", None)
        if not isinstance(stage, str) or not isinstance(step, int):
            raise ValueError("no stage and step")
        return cls(stage, step, {name: _number(name, value) for name, value in fields.items()})


class MetricsWriter:
    """Appends metrics to a run directory, in `metrics.jsonl` and under `tensorboard/STAGE/`.

    Opening an existing file drops a last line that an earlier process was killed while writing. A context manager.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir
        self._path = run_dir / METRICS_FILE
        self._events: dict[str, SummaryWriter] = {}
        run_dir.mkdir(parents=True, exist_ok=True)
        if self._path.exists():
            self._keep(_complete_lines(self._path))
        self._file = self._path.open("a", encoding="utf-8", newline="\n")

    def __enter__(self) -> MetricsWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        for events in self._events.values():
            events.close()

    def write(self, stage: str, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line and flush it, so that a run killed afterwards keeps it.

        Raises:
            ValueError: a metric's name is not of the form `topic/name`.
        """
        if wrong := [name for name in metrics if not METRIC_NAME.fullmatch(name)]:
            raise ValueError(f"metric names are topic/name in lower case; got {', '.join(wrong)}")
        line = MetricLine(stage, int(step), {name: float(value) for name, value in metrics.items()})
        self._file.write(line.to_text() + "\n")
        self._file.flush()
        if stage not in self._events:
            self._events[stage] = self._open_events(stage, purge_step=None)
        for name, value in line.metrics.items():
            self._events[stage].add_scalar(name, value, line.step)

    def truncate_after(self, stage: str, step: int) -> None:
        """Atomically drop the lines of `stage` later than `step`, which a run resumed from `step` writes again.

        TensorBoard is told to forget the same steps. `step=-1` forgets the whole stage.
        """
        self._file.close()
        lines = _complete_lines(self._path)
        self._keep((text, line) for text, line in lines if line.stage != stage or line.step <= step)
        self._file = self._path.open("a", encoding="utf-8", newline="\n")
        if stage in self._events:
            self._events[stage].close()
        self._events[stage] = self._open_events(stage, purge_step=step + 1)

    def _keep(self, lines: Iterable[tuple[str, MetricLine]]) -> None:
        replace_text(self._path, "".join(f"{text}\n" for text, _ in lines))

    def _open_events(self, stage: str, purge_step: int | None) -> SummaryWriter:
        # Event files are named by the second; the suffix keeps two that are opened within one apart.
        return SummaryWriter(
            str(self._run_dir / "tensorboard" / stage), purge_step=purge_step, filename_suffix=f".{time.time_ns()}"
        )


def read_metrics(run_dir: Path) -> tuple[MetricLine, ...]:
    """Every line of the run's `metrics.jsonl`, in order.

    A last line without its newline was being written when the run was killed; it is left out.

    Raises:
        FileNotFoundError: the run has written no metrics.
        ValueError: any other damaged line; the message gives the file and the line number.
    """
    return tuple(line for _, line in _complete_lines(run_dir / METRICS_FILE))


def _complete_lines(path: Path) -> list[tuple[str, MetricLine]]:
    *complete, _torn = path.read_bytes().split(b"\n")
    lines = []
    for number, raw in enumerate(complete, start=1):
        try:
            text = raw.decode("utf-8")
            lines.append((text, MetricLine.from_text(text)))
        except ValueError as error:
            raise ValueError(f"{path}:{number}: not a line of metrics: {error}") from error
    return lines


def _number(name: str, value: object) -> float:
    if isinstance(value, str) and value in NOT_FINITE:
        return NOT_FINITE[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name}={value!r} is not a number")
    return float(value)
