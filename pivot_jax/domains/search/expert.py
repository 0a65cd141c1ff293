"""The planner's actions: good ones in several styles, and plausible wrong ones."""

from __future__ import annotations

from pivot_jax.domains.search.lexicon import KINDS, SYNONYMS, WAIT
from pivot_jax.domains.search.progress import Progress
from pivot_jax.domains.search.task import Entity, Hop, Task
from pivot_jax.records import Action


def good_actions(task: Task, progress: Progress) -> tuple[Action, ...]:
    """What an expert would do next, the usual way first. A query among them may show more than was meant."""
    if progress.due:
        hop = task.hops[progress.opened[-1]]
        return tuple(action for chore in dict.fromkeys(progress.due) for action in _chore(chore, hop))
    number = progress.next_hop(task)
    if number is None:
        return tuple(Action.call("answer", text=text) for text in _answers(task))
    hop = task.hops[number]
    if hop.handle in progress.shown:
        return Action.call("open", id=hop.handle), Action.call("open", id=hop.entity.title)
    relation = task.hops[number - 1].relation if number else ""
    return tuple(Action.call("search", query=query) for query in _queries(hop.entity, relation))


def bad_actions(task: Task, progress: Progress) -> tuple[Action, ...]:
    """What a careless agent might do: now and then one of them is not wrong after all."""
    number = progress.next_hop(task)
    last = task.hops[progress.opened[-1]] if progress.opened else None
    if progress.due and last:
        early = Action.call("open", id=last.handle), Action.call("search", query=last.finding.title)
        absent = [chore for chore in ("back", "check", WAIT) if chore not in progress.due]
        return (*early, *(Action.call(chore) for chore in absent))
    if number is None:
        final = task.hops[-1]
        wrong = (
            Action.call("answer", text=final.distraction.reference),
            Action.call("answer", text=final.entity.reference),
        )
        return (*wrong, Action.call("search", query=final.finding.title), Action.call("open", id=final.handle))
    hop = task.hops[number]
    if hop.handle in progress.shown:
        shown = task.collection.page(progress.query, progress.page) if progress.query else ()
        beside = [Action.call("open", id=handle) for handle in shown if handle != hop.handle]
        return (*beside, Action.call("search", query=hop.entity.title), Action.call("next"))
    wrong = last.distraction.title if last else hop.relation
    queries = (wrong, hop.entity.second, last.entity.title if last else hop.entity.first)
    early = Action.call("answer", text=hop.entity.reference)
    return (*(Action.call("search", query=query) for query in queries), Action.call("next"), early)


def _chore(chore: str, hop: Hop) -> tuple[Action, ...]:
    if chore == "note":
        return Action.call("note", id=hop.handle), Action.call("note", id=hop.entity.title)
    return (Action.call(chore),)


def _queries(entity: Entity, relation: str) -> tuple[str, ...]:
    first, second = entity.first, entity.second
    by_relation = f"{relation} {entity.title}" if relation else f"find {entity.title}"
    other = by_relation if second not in KINDS else f"{first} {SYNONYMS[second]}"
    return entity.title, f"{second} {first}", other


def _answers(task: Task) -> tuple[str, ...]:
    answer = task.answer
    if answer.is_person:
        return answer.title, f"it is {answer.title}", f"{task.hops[-1].relation} {answer.title}"
    return answer.title, answer.first, f"the {answer.title}"
