"""Draws the task of a seed: a chain of entities, the documents about them, and the documents that distract."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from pivot_jax.domains.search.collection import PAGE, Collection, Document
from pivot_jax.domains.search.knobs import TEMPLATES, Knobs
from pivot_jax.domains.search.lexicon import (
    CHORES,
    FOUNDER,
    HANDLES,
    KINDS,
    PEOPLE,
    PLACES,
    ROLES,
    SECRET,
    SURNAMES,
    SYNONYMS,
    WAIT,
    words_in,
)
from pivot_jax.domains.search.task import Entity, Hop, Task

_ATTEMPTS = 1000
_CACHED_TASKS = 64
_ENTITIES = (
    *(Entity(first, second) for first in PEOPLE for second in SURNAMES),
    *(Entity(first, second) for first in PLACES for second in KINDS),
)


@dataclass(frozen=True)
class _Chain:
    """Hop k asks for `relations[k]` of `entities[k]`, which is `entities[k + 1]`, except for the secret ones."""

    entities: tuple[Entity, ...]
    relations: tuple[str, ...]
    secret: frozenset[int]


@lru_cache(maxsize=_CACHED_TASKS)
def draw_task(seed: int, knobs: Knobs) -> Task:
    """The task of this seed. Its collection is read-only, so the latest tasks are kept and shared."""
    rng = random.Random(f"search/{seed}")
    hops = rng.choice(knobs.hops)
    template = rng.choice(knobs.templates or TEMPLATES)
    listed = rng.random() < knobs.listed
    # one number alone takes nothing from the generator, so that a list of one leaves every task as it is
    waits = knobs.waits[0] if len(knobs.waits) == 1 else rng.choice(knobs.waits)
    for _ in range(_ATTEMPTS):
        chain = _draw_chain(rng, template, hops, knobs.hard_share)
        task = _assemble(rng, knobs, template, listed, waits, chain)
        if _is_fit(task):
            return task
    raise RuntimeError(f"search task {seed} of {knobs} found no collection in {_ATTEMPTS} attempts")


def _draw_chain(rng: random.Random, template: str, hops: int, hard_share: float) -> _Chain:
    """Entities of a question: people and things in turn, no first name and no relation twice."""
    start = next(kind for kind in KINDS if template in (kind, ROLES[kind]))
    others = rng.sample([kind for kind in KINDS if kind != start], len(KINDS) - 1)
    by_person = template == start
    kinds = (start, *others) if by_person else (start, *others, start)
    people = iter([Entity(name, rng.choice(SURNAMES)) for name in rng.sample(PEOPLE, len(PEOPLE))])
    things = [Entity(name, kind) for name, kind in zip(rng.sample(PLACES, len(kinds)), kinds, strict=True)]
    entities, relations = ([next(people)] if by_person else []), []
    for thing in things:
        entities += [thing, next(people)]
        relations += [thing.second, ROLES[thing.second]]
    hard = int(hops * hard_share + rng.random())
    return _Chain(
        tuple(entities[: hops + 1]),
        tuple(relations if by_person else relations[1:])[:hops],
        frozenset(rng.sample(range(hops), min(hard, hops))),
    )


def _assemble(rng: random.Random, knobs: Knobs, template: str, listed: bool, waits: int, chain: _Chain) -> Task:
    needed = chain.entities[:-1]
    similar = [other for one in needed for other in _similar(rng, one, knobs.distractors)]
    rest = [*similar, *_background(rng, needed)][: len(HANDLES) - len(needed)]
    rng.shuffle(rest)
    handles = rng.sample(HANDLES, len(HANDLES))
    hops: list[Hop] = []
    # Of documents that match equally well the first one wins, so the needed ones come last: a query finds one of
    # them only if it says more of it than of the others.
    documents = [
        _written(rng, one, handle, _facts(rng, one)) for one, handle in zip(rest, handles[len(needed) :], strict=True)
    ]
    for number, (one, handle) in enumerate(zip(needed, handles[: len(needed)], strict=True)):
        relation, finding = chain.relations[number], chain.entities[number + 1]
        secret = number in chain.secret
        # As many words as a name takes: a shorter document would rank higher.
        hidden = f"{SECRET} name" if finding.is_person else SECRET
        facts = _facts(rng, one, chain, relation) | {relation: hidden if secret else finding.reference}
        documents.append(_written(rng, one, handle, facts))
        distraction = _named(*rng.choice([fact for fact in facts.items() if fact[0] != relation]))
        here = waits * (number + 1) // len(needed) - waits * number // len(needed)
        hops.append(Hop(one, handle, relation, finding, secret, distraction, (WAIT,) * here + CHORES[: knobs.routine]))
    spoken = [SYNONYMS[word] if rng.random() < knobs.synonyms else word for word in chain.relations]
    start = f"{hops[0].handle} {needed[0].title}" if listed else needed[0].title
    request = f"from {start} find {' then '.join(spoken)}"
    return Task(template, request, _policy(knobs, hops), tuple(hops), listed, Collection(documents))


def _similar(rng: random.Random, entity: Entity, amount: int) -> list[Entity]:
    """Other entities with the same first name."""
    seconds = [second for second in (SURNAMES if entity.is_person else KINDS) if second != entity.second]
    return [Entity(entity.first, second) for second in rng.sample(seconds, amount)]


def _background(rng: random.Random, needed: Sequence[Entity]) -> list[Entity]:
    """The entities that share no first name with a needed one. Those that share a second name come first, a page of
    results for each, so that a kind or a surname alone finds no needed document."""
    free = [one for one in _ENTITIES if one.first not in {other.first for other in needed}]
    rng.shuffle(free)
    seconds = dict.fromkeys(one.second for one in needed)
    alike = [one for second in seconds for one in [other for other in free if other.second == second][:PAGE]]
    return list(dict.fromkeys((*alike, *free)))


def _facts(rng: random.Random, entity: Entity, chain: _Chain | None = None, relation: str = "") -> dict[str, str]:
    """Relations of an entity and what they lead to; `relation` is among them, and none leads into the chain."""
    firsts = {one.first for one in chain.entities} if chain else set()
    places = rng.sample([name for name in PLACES if name not in firsts], 3)
    names = rng.sample([name for name in PEOPLE if name not in firsts], 2)
    people = [f"{first} {rng.choice(SURNAMES)}" for first in names]
    if not entity.is_person:
        return dict(zip((ROLES[entity.second], FOUNDER), people, strict=True))
    asked = [relation] if relation else []
    others = rng.sample([kind for kind in KINDS if kind != relation], 3 - len(asked))
    return dict(zip((*asked, *others), places, strict=True))


def _written(rng: random.Random, entity: Entity, handle: str, facts: dict[str, str]) -> Document:
    """The document that states these facts, in any order."""
    sentences = [f"{relation} {name}" for relation, name in facts.items()]
    rng.shuffle(sentences)
    keyword = "" if entity.is_person else SYNONYMS[entity.second]
    return Document(handle, entity.title, keyword, " ".join(sentences))


def _named(relation: str, name: str) -> Entity:
    """The entity that a fact leads to."""
    first, *second = name.split()
    return Entity(first, second[0] if second else relation)


def _policy(knobs: Knobs, hops: Sequence[Hop]) -> str:
    """The system message: the rules in the first line, how to work, then what the documents keep secret."""
    chores = " ".join(CHORES[: knobs.routine])
    rules = "open each document that leads to the answer . a wrong answer ends the task"
    secrets = [f"{hop.relation} of {hop.entity.title} is {hop.finding.reference}" for hop in hops if hop.secret]
    return "\n".join([f"search {chores}".rstrip(), rules, *secrets])


def _is_fit(task: Task) -> bool:
    """Each document is found by its title, which shows none that is needed later. A secret is not found by its kind."""
    for number, hop in enumerate(task.hops):
        if not number and task.listed:
            continue
        shown = {task.needed(handle) for handle in task.collection.page(words_in(hop.entity.title), 0)}
        if number not in shown or shown & set(range(number + 1, len(task.hops))):
            return False
        if number and task.hops[number - 1].secret and hop.handle in task.collection.page((hop.entity.second,), 0):
            return False
    return True
