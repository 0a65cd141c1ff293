"""The simulated customer: deterministic, answers what is asked and no more, believes what is said."""

from __future__ import annotations

from dataclasses import replace

from pivot_jax.domains.retail.goal import Goal
from pivot_jax.domains.retail.intents import Intent
from pivot_jax.domains.retail.progress import Progress
from pivot_jax.domains.retail.speech import Utterance

PATIENCE = 4
"""Useless turns after which the customer gives up."""

PUZZLED = "i do not understand"
PREMATURE = "please check first"
GIVING_UP = "no thanks goodbye"


def opening(goal: Goal) -> str:
    """The customer's first message."""
    return "hello" if goal.greeting else goal.intents[0].opening


def listen(goal: Goal, progress: Progress, heard: Utterance) -> tuple[Progress, str]:
    """The conversation after the customer has heard a message, and the reply (empty when there is none)."""
    if heard.act == "close":
        return replace(progress, closed=True), ""
    if heard.act == "identity":
        return _identify(goal, progress, heard)
    if heard.act == "greet" and not progress.stated:
        return replace(progress, stated=True), goal.intents[0].opening
    if heard.act == "more" and progress.waiting:
        return replace(progress, waiting=False), _next_request(goal, progress)
    intent = progress.current(goal)
    if intent is None:
        return progress, PUZZLED
    if heard.act == "ask":
        return _reveal(progress, intent, heard)
    if heard.act == "confirm" and intent.change and not progress.written:
        return _confirm(progress, intent, heard)
    if heard.act in ("inform", "refuse"):
        return _believe(goal, progress, intent, heard)
    return progress, PUZZLED


def _identify(goal: Goal, progress: Progress, heard: Utterance) -> tuple[Progress, str]:
    # One thing at a time: asked for both, the customer gives the e-mail address.
    if "email" in heard.asked:
        return replace(progress, routes=progress.routes | {"email"}), f"my e-mail is {goal.customer.email}"
    told = f"my name is {goal.customer.name} {goal.customer.postcode}"
    return replace(progress, routes=progress.routes | {"name"}), told


def _next_request(goal: Goal, progress: Progress) -> str:
    if progress.settled == len(goal.intents):
        return "no thanks"
    return goal.intents[progress.settled].followup


def _reveal(progress: Progress, intent: Intent, heard: Utterance) -> tuple[Progress, str]:
    asked = [ask for ask in intent.asks.values() if ask.slot in heard.asked]
    if not asked:
        return progress, PUZZLED
    ask = next((ask for ask in asked if ask.slot not in progress.answered), asked[0])
    return replace(progress, answered=progress.answered | {ask.slot}), ask.reply


def _confirm(progress: Progress, intent: Intent, heard: Utterance) -> tuple[Progress, str]:
    if not progress.prepared(intent):
        return progress, PREMATURE
    if not intent.change or intent.change.claim.judge(heard.values) != "right":
        return progress, "no not it"
    return replace(progress, confirmed=True), "yes please"


def _believe(goal: Goal, progress: Progress, intent: Intent, heard: Utterance) -> tuple[Progress, str]:
    """Take a result, an answer or a refusal for true; what is wrong then cannot be put right any more."""
    if not progress.prepared(intent):
        return progress, PREMATURE
    refuses = heard.act == "refuse"
    judgement = intent.claim.judge(heard.values)
    if refuses == intent.refused and judgement == "incomplete":
        return progress, PUZZLED
    right = judgement == "right" and refuses == intent.refused and (intent.change is None or progress.written)
    settled = progress.settled + 1
    waiting = goal.pauses[progress.settled]
    after = replace(
        progress,
        settled=settled,
        waiting=waiting,
        answered=frozenset(),
        confirmed=False,
        written=False,
        damaged=progress.damaged or not right,
    )
    if waiting:
        return after, "thanks"
    return after, "thanks goodbye" if settled == len(goal.intents) else f"thanks {_next_request(goal, after)}"
