"""Draws the task of a seed: files, request, goal tree, and the other trees that the request alone would allow."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from pivot_jax.domains.terminal.filesystem import FileSystem, name, parent
from pivot_jax.domains.terminal.goals import PLACEMENTS, QUESTIONS, TRANSFORMS
from pivot_jax.domains.terminal.process import lines, unlines
from pivot_jax.domains.terminal.tasks import Asked, Effect, Knobs, Source, Task

NAMES = (
    "app.log", "web.log", "sys.log", "notes.txt", "plan.txt",
    "todo.txt", "users.txt", "hosts.txt", "items.txt", "jobs.txt",
)  # fmt: skip
NEW_NAMES = ("out.txt", "list.txt", "new.txt", "top.txt")
DIRECTORIES: tuple[str, ...] = ("docs", "logs", "data", "src", "old")
TAGS = ("error", "warn", "info", "debug", "start", "stop")
WORDS = (
    "disk", "cpu", "net", "user", "root", "login", "read", "write", "full", "slow", "open", "close",
    "red", "blue", "green", "fast", "mail", "port", "host", "key", "page", "lock", "fan", "bus",
)  # fmt: skip
MAX_PLANNED_TURNS = 9
_ATTEMPTS = 1000


class _Unfit(Exception):
    """Chance made this draft ambiguous or trivial."""


@dataclass
class _Draft:
    """A task while it is drawn: where each file that the request is about stands by now, and what was asked."""

    rng: random.Random
    folders: list[str]
    goal: FileSystem
    current: list[str]
    texts: list[str]
    base_path: str
    unused_folder: str
    unused_names: list[str]
    effects: list[Effect] = field(default_factory=list)

    def word(self, owner: int) -> str:
        """A word that some lines of the file have and some have not."""
        rows = lines(self.texts[owner])
        words = {word for row in rows for word in row.split()}
        mixed = sorted(word for word in words if 0 < sum(word in row for row in rows) < len(rows))
        if not mixed:
            raise _Unfit
        return self.rng.choice(mixed)

    def change(self, kind: str, owner: int) -> str:
        """Carry out an effect on the goal tree; its words in the request, with `{f}` left open."""
        path, text = self.current[owner], self.texts[owner]
        if kind in TRANSFORMS:
            word = self.word(owner)
            target = shown = self.unused_names.pop()
            effect = Effect(kind, owner, target, TRANSFORMS[kind].result(text, word), word)
            phrase = TRANSFORMS[kind].phrase.replace("{w}", word)
        else:
            effect, shown = self._place(kind, owner, path, text)
            phrase = PLACEMENTS[kind]
        self.goal = _applied(self.goal, effect, path)
        if kind in ("move", "archive", "rename"):
            self.current[owner] = effect.target
        self.effects.append(effect)
        return phrase.replace("{o}", shown)

    def _place(self, kind: str, owner: int, path: str, text: str) -> tuple[Effect, str]:
        """The effect of a kind that makes no new text, and what the request calls its target."""
        if kind == "remove":
            return Effect(kind, owner), ""
        if kind == "append":
            base = self.goal.text(self.base_path)
            return Effect(kind, owner, self.base_path, base + text, base=base), self.base_path
        if kind == "rename":
            new = self.unused_names.pop()
            return Effect(kind, owner, f"{parent(path)}/{new}", text), new
        others = [folder for folder in self.folders if folder != parent(path)]
        folder = self.unused_folder if kind == "archive" else self.rng.choice(others)
        return Effect(kind, owner, f"{folder}/{name(path)}", text), folder


def _applied(tree: FileSystem, effect: Effect, path: str) -> FileSystem:
    if effect.kind in ("move", "archive", "rename", "remove"):
        tree = tree.remove(path)
    if effect.kind == "archive":
        tree = tree.make_directory(parent(effect.target))
    return tree if effect.kind == "remove" else tree.write(effect.target, effect.result)


def draw_task(seed: int, knobs: Knobs) -> Task:
    """The task of a seed: the same for ever."""
    rng = random.Random(f"terminal/{seed}")
    template = rng.choice(knobs.allowed())
    for _ in range(_ATTEMPTS):
        try:
            return _draw(rng, template, knobs)
        except _Unfit:
            continue
    raise RuntimeError(f"no terminal task of template {template!r} in {_ATTEMPTS} attempts; change the knobs {knobs}")


def _draw(rng: random.Random, template: str, knobs: Knobs) -> Task:
    kinds = template.split("+")
    owners = _owners(rng, kinds, knobs)
    amount = max(owners) + 1
    *folders, unused_folder = rng.sample(DIRECTORIES, 4)
    *names, base_path = rng.sample(NAMES, amount + knobs.distractors + 1)
    files = {f"{rng.choice(folders)}/{file}": _text(rng) for file in names}
    paths = list(files)[:amount]
    if "append" in kinds:
        files[base_path] = _text(rng)
    start = FileSystem.of(files, folders)
    sources = tuple(_source(rng, start, path, folders, knobs) for path in paths)

    draft = _Draft(
        rng=rng,
        folders=folders,
        goal=start,
        current=list(paths),
        texts=[start.text(path) for path in paths],
        base_path=base_path,
        unused_folder=unused_folder,
        unused_names=rng.sample(NEW_NAMES, len(NEW_NAMES)),
    )
    phrases: list[str] = []
    asked, answer, mentioned = None, "done", -1
    for kind, owner in zip(kinds, owners, strict=True):
        source = sources[owner]
        called = "it" if owner == mentioned else f"file with {source.word}" if source.word else name(source.path)
        mentioned = owner
        if kind in QUESTIONS:
            asked = _asked(kind, owner, draft.word(owner), source, start)
            answer = parent(source.path) if kind == "where" else QUESTIONS[kind].answer(lines(source.text), asked.word)
            phrases.append("submit " + QUESTIONS[kind].phrase.format(f=called, w=asked.word))
        else:
            phrases.append(draft.change(kind, owner).replace("{f}", called))
    _check_distinct(start, draft)
    phrases += [] if asked else ["submit done"]
    informative = amount + len(kinds) + kinds.count("archive") - kinds.count("where")
    look, checks = _boilerplate(informative, len(draft.effects), knobs.boilerplate)
    return Task(
        template=template,
        request=" then ".join(phrases[:-1]) + " and " + phrases[-1],
        start=start,
        goal=draft.goal,
        sources=sources,
        effects=tuple(draft.effects),
        asked=asked,
        answer=answer,
        look=look,
        checks=checks,
    )


def _owners(rng: random.Random, kinds: list[str], knobs: Knobs) -> list[int]:
    """Which file each sub-goal is about: the first, or from some sub-goal on a second one."""
    second = rng.random() < knobs.second_file
    # What was removed can no longer be asked about.
    forced = kinds.index("remove") + 1 if "remove" in kinds[:-1] else None
    change = forced if forced is not None else rng.randrange(1, len(kinds)) if second else len(kinds)
    return [int(index >= change) for index in range(len(kinds))]


def _text(rng: random.Random) -> str:
    """3 to 5 lines of a tag and one or two words; sometimes a line occurs twice."""
    tags = rng.sample(TAGS, 3)
    rows = [" ".join([rng.choice(tags), *rng.sample(WORDS, rng.choice((1, 1, 2)))]) for _ in range(rng.randint(3, 4))]
    if rng.random() < 0.5:
        rows.insert(rng.randrange(len(rows)), rng.choice(rows))
    return unlines(rows)


def _source(rng: random.Random, start: FileSystem, path: str, folders: list[str], knobs: Knobs) -> Source:
    """The file, and the trees in which the same words would mean another one or another place."""
    text = start.text(path)
    places = [f"{folder}/{name(path)}" for folder in folders if folder != parent(path)]
    worlds = [start.move(path, place) for place in [*places, name(path)]]
    if rng.random() >= knobs.described:
        return Source(path, text, "", tuple(worlds))
    others = [(other, its) for other, its in start.files() if other != path]
    own = sorted(set(text.split()).difference(*(its.split() for _, its in others)))
    if not own:
        raise _Unfit
    swaps = [start.write(path, its).write(other, text) for other, its in others if "/" in other]
    return Source(path, text, rng.choice(own), (*worlds, *swaps))


def _asked(kind: str, owner: int, word: str, source: Source, start: FileSystem) -> Asked:
    if kind == "where":
        return Asked(
            kind, owner, word, tuple(world for world in source.worlds if world.entries.get(source.path) is None)
        )
    alternatives = QUESTIONS[kind].alternatives(lines(source.text), word)
    return Asked(kind, owner, word, tuple(start.write(source.path, unlines(rows)) for rows in alternatives))


def _check_distinct(start: FileSystem, draft: _Draft) -> None:
    """Every text tells which file it is, and every new text differs from what a slip would make."""
    made = [effect.result for effect in draft.effects if effect.kind in TRANSFORMS or effect.kind == "append"]
    texts = [text for _, text in start.files()] + made
    if len(set(texts)) < len(texts):
        raise _Unfit
    for effect in draft.effects:
        rows = lines(draft.texts[effect.source])
        if effect.kind == "unique" and len(set(rows)) == len(rows):
            raise _Unfit


def _boilerplate(informative: int, effects: int, share: float) -> tuple[bool, frozenset[int]]:
    """Whether to look around, and which effects to check, so that with the submit they make about this share."""
    room = min(1 + effects, MAX_PLANNED_TURNS - 1 - informative)
    amount = min(range(room + 1), key=lambda extra: abs((1 + extra) / (informative + 1 + extra) - share))
    return amount > 0, frozenset(range(effects)[effects - max(0, amount - 1) :])
