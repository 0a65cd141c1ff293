"""Vectors: actions with the reward that the released verifiers gave them, and whether ours agree.

One JSON object a line, in one of three shapes by `server`. The released configuration of each line is translated into
rules of ours, with every one of our own additions switched off.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, RootModel, ValidationError

from pivot_jax.records import Action, Candidate, Record, Turn, Verdict
from pivot_jax.verify.responses import CallLabel, Label
from pivot_jax.verify.swe import SweMatch, SweRules
from pivot_jax.verify.terminal import TerminalMatch, TerminalRules
from pivot_jax.verify.terminal_answers import Harness
from pivot_jax.verify.tool_call import ToolCallMatch, ToolCallRules
from pivot_jax.verify.verifier import Verifier, judge

TOLERANCE = 1e-9
"""Largest difference of two rewards or components that agree."""


class VectorError(ValueError):
    """A file of vectors that cannot be read; the message names the file, the line and the field."""


class ToolCallConfig(Record):
    """Options of `single_step_tool_use_with_argument_comparison`, by their released names."""

    word_count_similarity_threshold: float
    parallel_tool_call_rewarding: bool = False
    parallel_tool_call_reward_mode: Literal["binary_strict", "fractional", "f1"] = "binary_strict"
    allow_subset: bool = False
    allow_superset: bool = False


class ToolCallVector(Record):
    """An expected and an actual action."""

    server: Literal["single_step_tool_use_with_argument_comparison"]
    desc: str
    config: ToolCallConfig
    expected_action: Label
    actual_action: Label | None
    reward: float
    category: str = ""

    def verifier(self) -> Verifier:
        config = self.config
        return ToolCallMatch(
            ToolCallRules(
                string_threshold=config.word_count_similarity_threshold,
                parallel_rewarding=config.parallel_tool_call_rewarding,
                reward_mode=config.parallel_tool_call_reward_mode,
                allow_subset=config.allow_subset,
                allow_superset=config.allow_superset,
                count_calls=False,
            )
        )

    def actions(self) -> tuple[Action, Action]:
        actual = self.actual_action
        return self.expected_action.action(), Action(malformed="no action") if actual is None else actual.action()

    def recorded(self) -> dict[str, float | str | None]:
        return {"reward": self.reward}


class SweConfig(Record):
    """Options of `swe_pivot`, by their released names."""

    reward_mode: Literal["binary", "continuous"] = "binary"
    enable_target_match: bool = True
    enable_argument_similarity: bool = True
    similarity_threshold: float = 0.4
    similarity_full_credit: float = 0.8
    enable_diff_size_shaping: bool = True
    diff_size_alpha: float = 0.1


class SweVector(Record):
    """An expected action and the calls of a response."""

    server: Literal["swe_pivot"]
    desc: str
    config: SweConfig
    expected_action: Label
    actual_calls: tuple[CallLabel, ...]
    reward: float
    tool_name_match: bool
    target_match: bool | None
    similarity_score: float | None
    diff_size_penalty: float | None
    failure_reason: str

    def verifier(self) -> Verifier:
        config = self.config
        return SweMatch(
            SweRules(
                reward_mode=config.reward_mode,
                target=config.enable_target_match,
                similarity=config.enable_argument_similarity,
                partial_credit=config.similarity_threshold,
                full_credit=config.similarity_full_credit,
                length_penalty=config.diff_size_alpha if config.enable_diff_size_shaping else 0.0,
                count_calls=False,
                released_faults=True,
            )
        )

    def actions(self) -> tuple[Action, Action]:
        calls = tuple(call for label in self.actual_calls for call in label.action().tool_calls)
        return self.expected_action.action(), Action(tool_calls=calls)

    def recorded(self) -> dict[str, float | str | None]:
        return {
            "reward": self.reward,
            "tool_name": float(self.tool_name_match),
            "target": None if self.target_match is None else float(self.target_match),
            "similarity": self.similarity_score,
            "length_penalty": self.diff_size_penalty,
            "failure": self.failure_reason,
        }


class TerminalConfig(Record):
    """Options of `terminus_judge` without its judge, by their released names."""

    enable_string_similarity: bool
    string_similarity_threshold: float
    enable_llm_judge: Literal[False]


class TerminalVector(Record):
    """An expected answer and the text of a response; `row_threshold` goes before the configured one."""

    server: Literal["terminus_judge(string_only)"]
    desc: str
    config: TerminalConfig
    row_threshold: float | None
    harness: Harness
    expected_answer: str
    model_output: str
    reward: float
    similarity_score: float | None
    failure_reason: str

    def verifier(self) -> Verifier:
        config = self.config
        threshold = config.string_similarity_threshold if self.row_threshold is None else self.row_threshold
        return TerminalMatch(
            TerminalRules(harness=self.harness, string_similarity=config.enable_string_similarity, threshold=threshold)
        )

    def actions(self) -> tuple[Action, Action]:
        return Action.say(self.expected_answer), Action.say(self.model_output)

    def recorded(self) -> dict[str, float | str | None]:
        return {"reward": self.reward, "similarity": self.similarity_score, "failure": self.failure_reason}


Vector = ToolCallVector | SweVector | TerminalVector


class _Line(RootModel[Vector]):
    root: Vector = Field(discriminator="server")


@dataclass(frozen=True)
class Outcome:
    """A vector, our verdict on it, and what of the record the two do not share (empty: they agree)."""

    vector: Vector
    verdict: Verdict
    differences: tuple[str, ...]


def read_vectors(path: Path) -> list[Vector]:
    """Every line of a file; VectorError if it cannot be read or a line has none of the three shapes."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise VectorError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise VectorError(f"{path}: not UTF-8: {error}") from error
    # not splitlines: JSON strings may hold other line separators
    lines = [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if not lines:
        raise VectorError(f"{path}: holds no vector")
    return [_read_line(f"{path}:{number}", line) for number, line in lines]


def score_vectors(vectors: Sequence[Vector]) -> list[Outcome]:
    """Our verdict on every vector, compared with its record."""
    return [_score(number, vector) for number, vector in enumerate(vectors)]


def _read_line(place: str, line: str) -> Vector:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise VectorError(f"{place}: not JSON: {error}") from error
    try:
        vector = _Line.model_validate(value).root
        vector.verifier()  # a released configuration that our rules refuse is told here, with its line
        return vector
    except ValidationError as error:
        fault = error.errors()[0]
        ours = error.title != _Line.__name__
        field = "config" if ours else ".".join(str(part) for part in fault["loc"][1:]) or "server"
        raise VectorError(f"{place}: {field}: {fault['msg']}") from error


def _score(number: int, vector: Vector) -> Outcome:
    verifier = vector.verifier()
    expected, actual = vector.actions()
    candidate = Candidate(
        turn=Turn(trajectory_id=f"vector {number}", index=0, position=0),
        domain="vectors", task_id=vector.server, state=(), tools=(), expert=expected,
    )  # fmt: skip
    verdict = judge([verifier], candidate, [actual])[verifier.name][0]
    reward = verdict.reward if verdict.status == "judged" else "an error"
    found = {"reward": reward, "failure": verdict.reason.partition(":")[0] or "none", **verdict.components}
    return Outcome(vector, verdict, tuple(_differences(vector.recorded(), found)))


def _differences(recorded: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: recorded {value}, found {found.get(name)}"
        for name, value in recorded.items()
        if not _agree(value, found.get(name))
    ]


def _agree(recorded: Any, found: Any) -> bool:
    if isinstance(recorded, float) and isinstance(found, float):
        return abs(recorded - found) <= TOLERANCE
    return recorded == found
