"""Invented trajectories for the tests of the data layer."""

from __future__ import annotations

from pivot_jax.records import Action, Message, Tool, ToolCall, Trajectory

ORDER_TOOL = Tool(
    name="order",
    description="Place an order.",
    parameters={
        "type": "object",
        "properties": {
            "path": {"type": "string"},
            "items": {"type": "array", "items": {"type": "string"}},
            "sizes": {"type": "array", "items": {"type": "integer"}},
            "count": {"type": "integer"},
            "price": {"type": "number"},
            "gift": {"type": "boolean"},
        },
    },
)


def shop_episode(name: str = "shop/1") -> Trajectory:
    """Three turns: one call, a text with two calls, a closing text."""
    first = ToolCall(name="order", arguments='{"path": "/a/b", "items": ["cup", "tea"], "count": 3}', id="c1")
    second = ToolCall(name="order", arguments='{"price": 1.5, "gift": true}', id="c2")
    third = ToolCall(name="order", arguments='{"path": "", "sizes": [1, 2]}', id="c3")
    return Trajectory(
        id=name,
        domain="shop",
        task_id=name,
        tools=(ORDER_TOOL,),
        reward=1.0,
        metadata={"style": 2, "note": {"by": "hand"}},
        messages=(
            Message(role="system", content="be brief\nnot shown"),
            Message(role="user", content="buy tea please"),
            Message(role="assistant", tool_calls=(first,)),
            Message(role="tool", content="ok /a/b", tool_call_id="c1"),
            Message(role="assistant", content="one moment", tool_calls=(second, third)),
            Message(role="tool", content="no gift", tool_call_id="c2", is_error=True),
            Message(role="tool", content="", tool_call_id="c3"),
            Message(role="assistant", content="done"),
        ),
    )


def thinking_episode(thoughts: int = 40) -> Trajectory:
    """Four turns in two stretches (turns 0 and 1, turns 2 and 3), a user message before each; every turn reasons."""

    def reasoned(action: Action, index: int) -> Message:
        return action.message().model_copy(update={"reasoning": f"thought {index} " * thoughts})

    return Trajectory(
        id="think/1",
        task_id="think/1",
        tools=(ORDER_TOOL,),
        messages=(
            Message(role="system", content="be brief"),
            Message(role="user", content="buy tea"),
            reasoned(Action.call("order", path="/tea"), 0),
            Message(role="tool", content="ok"),
            reasoned(Action.say("bought"), 1),
            Message(role="user", content="and a cup"),
            reasoned(Action.call("order", path="/cup"), 2),
            Message(role="tool", content="ok"),
            reasoned(Action.say("bought too"), 3),
        ),
    )
