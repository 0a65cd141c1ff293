"""Writing pivot rows: one for each turn of a trajectory.

Every row passes the checks of `pivot_row`; its request and label hold no null and its `agent_ref` is always there. What
the trajectory says of itself (domain, task, reward, metadata) stands in the row's metadata under "pivot_jax", so that
`pivot_rebuild` gives it back. Not kept by the format: what stands after the last turn; text beside the calls, and the
reasoning, of the last turn; which ids the last turn's calls had; nulls in metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from pivot_jax.data.failure import FieldError
from pivot_jax.data.formats.options import WriteOptions
from pivot_jax.data.formats.pivot_row import LABEL, REQUEST, check_offered, label_of, request_of
from pivot_jax.data.formats.wellformed import failed_answers, with_call_ids
from pivot_jax.data.turns import candidates
from pivot_jax.records import Message, Trajectory

BY_TURN = "pivot_rows"
"""Metadata of a rebuilt trajectory: what its rows said, an object for each turn under the turn's index as text."""

TRAJECTORY = "pivot_jax"
"""In a row's metadata: what the trajectory says of itself."""


class About(BaseModel):
    """What a written row says of its trajectory."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    domain: str | None = None
    task_id: str = ""
    reward: float | None = None
    failed_outputs: list[int] = Field(default_factory=list)
    metadata: dict[str, Any] = Field(default_factory=dict)


def write_rows(trajectory: Trajectory, options: WriteOptions) -> list[dict[str, Any]]:
    """One row for each turn; FieldError at the first turn whose label fails a check of `pivot_row`."""
    messages = with_call_ids(trajectory.messages)
    metadata = dict(trajectory.metadata)
    by_turn = _object(metadata.pop(BY_TURN, {}), BY_TURN)
    request = _without_nulls(_object(metadata.get("request", {}), "request"))
    known = About(
        domain=trajectory.domain,
        task_id=trajectory.task_id,
        reward=trajectory.reward,
        failed_outputs=failed_answers(messages),
        metadata=metadata,
    )
    about = _without_nulls(known.model_dump(exclude_defaults=True, exclude={"failed_outputs"}))
    parallel = metadata.get("parallel_tool_calls", any(len(message.tool_calls) > 1 for message in messages))
    rows = []
    for candidate in candidates(trajectory.model_copy(update={"messages": messages})):
        turn = candidate.turn.index
        check_offered(candidate.expert, trajectory.tools)
        if options.check_label is not None and (fault := options.check_label(candidate)):
            raise FieldError(LABEL, f"turn {turn} does not score 1 against itself: {fault}")
        facts = _without_nulls(_object(by_turn.get(str(turn), {}), f"{BY_TURN}.{turn}"))
        label = label_of(candidate.expert)
        if "ordered" in facts and len(candidate.expert.tool_calls) > 1:
            label["ordered"] = facts.pop("ordered")
        failed = [place for place in known.failed_outputs if place < len(candidate.state)]
        said = {**about, "failed_outputs": failed} if failed else about
        beside = {"agent_ref": agent_ref(options.agent), "uuid": candidate.id, "meta_info": meta_info(candidate.state)}
        rows.append(
            {
                **beside,
                **facts,
                REQUEST: request_of(candidate.state, trajectory.tools, {"parallel_tool_calls": parallel, **request}),
                LABEL: label,
                "trajectory_id": trajectory.id,
                "metadata": {**_object(facts.get("metadata", {}), "metadata"), TRAJECTORY: said},
            }
        )
    return rows


def agent_ref(name: str) -> dict[str, str]:
    """The reference to the agent that is to act on a row."""
    return {"type": "responses_api_agents", "name": name}


def meta_info(state: Sequence[Message]) -> dict[str, int]:
    """Where in its trajectory a state stands: user messages before the last one (`turn`), assistant messages since it
    (`step`), and assistant messages in all (`assistant_depth`)."""
    roles = [message.role for message in state]
    since = len(roles) - 1 - roles[::-1].index("user") if "user" in roles else 0
    return {
        "turn": max(roles.count("user") - 1, 0),
        "step": roles[since:].count("assistant"),
        "assistant_depth": roles.count("assistant"),
    }


def _object(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FieldError(f"metadata.{name}", f"an object, not a {type(value).__name__}")
    return dict(value)


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value
