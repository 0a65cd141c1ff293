"""The tools of the search domain: their schemas, and their execution. Bad arguments are answered, never raised."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pivot_jax.domains.search.collection import Refused
from pivot_jax.domains.search.lexicon import BUSY, CHORES, MOST_WORDS, NOTHING, OK, WAIT, words_in
from pivot_jax.domains.search.progress import Progress
from pivot_jax.domains.search.task import Task
from pivot_jax.records import Tool, ToolCall

LONGEST_VALUE = 200
"""Characters of an argument; longer ones are refused unread."""


class Failed(Exception):
    """A call that cannot be carried out; the text is the short error that the policy reads."""


Outcome = tuple[Progress, str]
"""The state after a call, and what the tool answers."""


def execute(task: Task, progress: Progress, call: ToolCall) -> Outcome:
    """Run one call; Failed when it is wrong, comes too early or names nothing."""
    tool = _TOOLS.get(call.name)
    if tool is None:
        raise Failed("unknown call")
    try:
        arguments = call.parsed()
    except (ValueError, RecursionError) as error:
        raise Failed("wrong call") from error
    properties = tool.schema.parameters["properties"]
    if set(arguments) != set(properties) or not all(isinstance(value, str) for value in arguments.values()):
        raise Failed("wrong call")
    if any(len(value) > LONGEST_VALUE or len(words_in(value)) > MOST_WORDS for value in arguments.values()):
        raise Failed("too long")
    if progress.due and call.name not in (*CHORES, WAIT):
        raise Failed(f"{progress.due[0]} first")
    return tool.run(task, progress, *arguments.values())


def _search(task: Task, progress: Progress, query: str) -> Outcome:
    words = words_in(query)
    if not words:
        raise Failed("wrong call")
    return _page(task, replace(progress, query=words, page=0))


def _next(task: Task, progress: Progress) -> Outcome:
    if not progress.query:
        raise Failed("search first")
    return _page(task, replace(progress, page=progress.page + 1))


def _page(task: Task, progress: Progress) -> Outcome:
    try:
        handles = task.collection.page(progress.query, progress.page)
    except Refused as refused:
        raise Failed("too long") from refused
    titles = [f"{handle} {task.collection.documents[handle].title}" for handle in handles]
    return progress.having_shown(handles), " ".join(titles) or NOTHING


def _shown(task: Task, progress: Progress, name: str) -> str:
    """The handle of the document that `name` names, which must have been shown."""
    handle = task.handle_of(name)
    if handle is None or handle not in progress.shown:
        raise Failed("not found")
    return handle


def _open(task: Task, progress: Progress, name: str) -> Outcome:
    handle = _shown(task, progress, name)
    text, number = task.collection.documents[handle].text, task.needed(handle)
    if number is None or number in progress.opened:
        return progress, text
    progress = progress.having_opened(task, number)
    return progress, f"{text} {BUSY}" if WAIT in progress.due else text


def _note(task: Task, progress: Progress, name: str) -> Outcome:
    handle = _shown(task, progress, name)
    _demand(progress, "note")
    if handle != task.hops[progress.opened[-1]].handle:
        raise Failed("not found")
    return progress.having_done("note"), OK


def _back(task: Task, progress: Progress) -> Outcome:
    _demand(progress, "back")
    return progress.having_done("back"), OK


def _check(task: Task, progress: Progress) -> Outcome:
    _demand(progress, "check")
    return progress.having_done("check"), OK


def _wait(task: Task, progress: Progress) -> Outcome:
    _demand(progress, WAIT)
    progress = progress.having_done(WAIT)
    return progress, BUSY if WAIT in progress.due else OK


def _demand(progress: Progress, chore: str) -> None:
    if chore not in progress.due:
        raise Failed("not now")


def _answer(task: Task, progress: Progress, text: str) -> Outcome:
    return replace(progress, answered=True, right=task.is_right(text)), OK


@dataclass(frozen=True)
class _Implementation:
    schema: Tool
    run: Callable[..., Outcome]


def _implement(run: Callable[..., Outcome], description: str, **arguments: str) -> _Implementation:
    properties: Mapping[str, Any] = {name: {"type": "string", "description": text} for name, text in arguments.items()}
    schema = {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }
    return _Implementation(Tool(name=run.__name__[1:], description=description, parameters=schema), run)


_DOCUMENT = "handle or title of a document, such as a1 or elm team"
_IMPLEMENTATIONS = (
    _implement(_search, "The three best documents, by handle and title.", query=f"up to {MOST_WORDS} words"),
    _implement(_next, "The next three documents of the last search."),
    _implement(_open, "The text of a document from the results.", id=_DOCUMENT),
    _implement(_note, "Note the document that was opened as a source.", id=_DOCUMENT),
    _implement(_back, "Leave the document."),
    _implement(_check, "Check the document that was opened."),
    _implement(_wait, "Wait while the library is busy."),
    _implement(_answer, "Answer the question, which ends the task.", text="the name asked for"),
)
_TOOLS = {tool.schema.name: tool for tool in _IMPLEMENTATIONS}

TOOLS: tuple[Tool, ...] = tuple(tool.schema for tool in _IMPLEMENTATIONS)
"""The tools as the policy sees them."""
