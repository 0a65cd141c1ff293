"""What an expert would do next, in several wordings, and what a careless one might do instead."""

from __future__ import annotations

from pivot_jax.domains.retail.goal import Goal
from pivot_jax.domains.retail.intents import Ask, Intent, Read
from pivot_jax.domains.retail.lexicon import POSTCODES
from pivot_jax.domains.retail.progress import Progress
from pivot_jax.records import Action

MOST_MISTAKES = 5

_GREET = ("can i help you", "hello can i help", "what can i do")
_IDENTIFY = ("what is your e-mail", "your name and postcode please", "your e-mail please")
_MORE = ("anything else", "what else can i do", "do you want anything else")
_CLOSE = ("goodbye", "thanks goodbye")
_ASK: dict[str, tuple[str, ...]] = {
    "order": ("which order is it", "which order please", "what order"),
    "item": ("which item is it", "which item please", "what item"),
    "reason": ("what is the reason", "why please", "which reason"),
    "address": ("what is the new address", "new address please", "which address"),
    "product": ("which product is it", "which product please", "what product"),
}


def _say(wordings: tuple[str, ...]) -> tuple[Action, ...]:
    return tuple(Action.say(wording) for wording in wordings)


def good_actions(goal: Goal, progress: Progress) -> tuple[Action, ...]:
    """The next actions of an expert who follows the written policy; the canonical one first."""
    if not progress.stated:
        return _say(_GREET)
    if not progress.verified:
        return _look_ups(goal, progress.routes) if progress.routes else _say(_IDENTIFY)
    if progress.waiting:
        return _say(_MORE)
    intent = progress.current(goal)
    if intent is None:
        return _say(_CLOSE)
    if needs := _next_needs(progress, intent):
        asks = [action for need in needs if isinstance(need, Ask) for action in _say(_ASK[need.slot])]
        return (*asks, *(need.action() for need in needs if isinstance(need, Read)))
    if intent.change is None or progress.written:
        return _say(intent.statements)
    return intent.change.calls if progress.confirmed else _say(intent.change.confirmations)


def _look_ups(goal: Goal, routes: frozenset[str]) -> tuple[Action, ...]:
    name, postcode = goal.customer.name, goal.customer.postcode
    calls: list[Action] = []
    if "email" in routes:
        calls.append(Action.call("find_user_by_email", email=goal.customer.email))
    if "name" in routes:
        calls.append(Action.call("find_user_by_name_postcode", name=name, postcode=postcode))
        calls.append(Action.call("find_user_by_name_postcode", postcode=postcode, name=name))
    return tuple(calls)


def _next_needs(progress: Progress, intent: Intent) -> tuple[Ask | Read, ...]:
    """What is missing of the first stage that is not complete."""
    for stage in intent.stages:
        missing = tuple(
            need
            for need in stage
            if (need.slot not in progress.answered if isinstance(need, Ask) else need not in progress.facts)
        )
        if missing:
            return missing
    return ()


def bad_actions(goal: Goal, progress: Progress) -> tuple[Action, ...]:
    """Plausible wrong or useless actions: premature, forbidden, untrue, repeated, or about the wrong order."""
    if progress.done:
        return ()
    intent = progress.current(goal)
    if not progress.verified:
        options = _careless_about_identity(goal, progress)
    elif intent is None:
        # Nothing is under discussion: the slips are to end too early, to insist, or to start again.
        early = _MORE[0] if progress.satisfied(goal) else _CLOSE[0]
        options = [*_say((early, _ASK["order"][0], _IDENTIFY[0]))]
    elif not progress.prepared(intent):
        options = _careless_about_facts(goal, progress, intent)
    else:
        options = _careless_about_the_end(goal, progress, intent)
    good = good_actions(goal, progress)
    return tuple(action for action in options if action not in good)[:MOST_MISTAKES]


def _careless_about_identity(goal: Goal, progress: Progress) -> list[Action]:
    reads = [Read("read_order", goal.decoy).action(), Read("read_user", goal.customer.id).action()]
    if not progress.routes:
        return [*reads, *_say((_MORE[0],))]
    wrong_postcode = next(code for code in POSTCODES if code != goal.customer.postcode)
    wrong = (
        Action.call("find_user_by_email", email=goal.stranger.email)
        if "email" in progress.routes
        else Action.call("find_user_by_name_postcode", name=goal.customer.name, postcode=wrong_postcode)
    )
    return [wrong, *reads, *_say((_IDENTIFY[0] if "email" in progress.routes else _IDENTIFY[1],))]


def _careless_about_facts(goal: Goal, progress: Progress, intent: Intent) -> list[Action]:
    options = [Read("read_order", goal.decoy).action(), *_say(intent.falsehoods[:1])]
    if intent.change:
        options += [*_say(intent.change.confirmations[:1]), *intent.temptations[:1]]
    options += _say(tuple(_ASK[slot][0] for slot in sorted(progress.answered))[:1])
    return [*options, *_say((_IDENTIFY[0],))]


def _careless_about_the_end(goal: Goal, progress: Progress, intent: Intent) -> list[Action]:
    repeated = [read.action() for read in sorted(progress.facts, key=str)[:1]]
    if intent.change is None:
        return [*_say(intent.falsehoods), *intent.temptations, *repeated, *_say((_CLOSE[0], _IDENTIFY[0]))]
    if progress.written:
        return [intent.change.calls[0], *repeated, *_say((_CLOSE[0], _MORE[0]))]
    if progress.confirmed:
        untrue = _say((intent.statements[0], intent.change.confirmations[0]))
        return [*intent.temptations, *untrue, *repeated, Read("read_user", goal.stranger.id).action()]
    return [intent.change.calls[0], *_say(intent.falsehoods[:1]), *intent.temptations, *repeated]
