"""Stage `pretrain`: a small base policy from scratch. What comes out is a normal Hugging Face directory, `RUN/policy`.

The base must be competent and imperfect. Of the domains it learns the skills clean, and agentic episodes of an expert
that errs at a rate drawn for each episode. Of recorded trajectories it learns those of a share of the tasks, which
nothing else uses (`data.base_share`).
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console
from transformers import AutoTokenizer

from pivot_jax.config import Architecture, Config, ConfigError, OptimizerSection, PretrainSection
from pivot_jax.data.bpe_tokenizer import build_bpe_tokenizer, chatml_training_texts
from pivot_jax.data.rendered import TokenSequence
from pivot_jax.data.rendering import render
from pivot_jax.data.small_tokenizer import build_small_tokenizer, training_texts
from pivot_jax.domains.environment import Reset, demonstrate
from pivot_jax.domains.registry import SKILLS
from pivot_jax.hosts.exchange import first_says
from pivot_jax.objective.aggregation import Weighted, divide
from pivot_jax.pipeline.artifacts import write_json, written_once
from pivot_jax.pipeline.batches import index_batches
from pivot_jax.pipeline.checkpoint import final_policy
from pivot_jax.pipeline.flops import sequence_flops
from pivot_jax.pipeline.ledger import Cost, backward_flops
from pivot_jax.pipeline.loop import Advance, Charges, train_arm
from pivot_jax.pipeline.optimizer import TrainState, apply_gradients
from pivot_jax.pipeline.progress import progress
from pivot_jax.pipeline.recorded import for_base
from pivot_jax.pipeline.run import Run, check_layout, complete, open_domains, open_mesh, pin_config, read_manifest
from pivot_jax.pipeline.sequence_batches import SequenceBatch, SequenceShape, batches_by_length, imitation_loss
from pivot_jax.policy.mesh import Rules
from pivot_jax.policy.spec import count_parameters, initialise
from pivot_jax.policy.weights import write_weights
from pivot_jax.records import Action, Trajectory
from pivot_jax.rollout.layout import round_up

FIRST_SEED = 5_000_000
"""Seeds of the pre-training tasks: apart from those of demonstrations and of evaluation."""

VOCABULARY_MULTIPLE = 64
"""The vocabulary is padded to a multiple of this, so that every mesh divides it. No word has the ids above the
tokenizer's: they are never a target, so training makes them improbable, and they decode to nothing."""

BUCKET = 16
"""Sequences are padded to a multiple of this many tokens."""

SKILL, AGENTIC = "skill", "agentic"
"""The parts of a corpus; one of recorded trajectories has no skills."""

LENGTHS = {SKILL: 1, AGENTIC: 3}
"""Batches by length that a step's sequences are dealt to: questions are alike, episodes are not."""

Corpus = Mapping[str, Sequence[TokenSequence]]
"""What a base policy is trained on, by part."""


@partial(jax.jit, static_argnames=("optimizer", "arch", "rules"), donate_argnames=("state",))
def pretrain_step(
    state: TrainState,
    batches: Mapping[str, Sequence[SequenceBatch]],
    *,
    optimizer: OptimizerSection,
    arch: Architecture,
    rules: Rules,
) -> tuple[TrainState, dict[str, jax.Array]]:
    """One step of next-token prediction on the actions of each part of the corpus, in batches of different lengths."""

    def added(parts: Iterable[Weighted]) -> Weighted:
        return jax.tree.map(lambda first, *others: sum(others, first), *parts)

    def objective(params):
        parts = {
            name: added(imitation_loss(params, batch, arch, rules) for batch in group)
            for name, group in batches.items()
        }
        return divide(added(parts.values())), {name: divide(part) for name, part in parts.items()}

    (loss, losses), gradients = jax.value_and_grad(objective, has_aux=True)(state.params)
    state, norm = apply_gradients(state, gradients, optimizer, frozen_router=arch.frozen_router)
    each = {f"pretrain/{name}_loss": part for name, part in losses.items()}
    return state, {"pretrain/loss": loss, **each, "train/gradient_norm": norm}


def pretrain(config: Config, command: str, console: Console) -> None:
    """Make a tokenizer and a corpus from the domains and the skills, or from recorded trajectories; train, and write
    `RUN/policy`."""
    began = time.monotonic()
    section, run_dir, known = config.pretrain, Path(config.run.dir), open_domains(config)
    pin_config(run_dir, config)
    manifest = read_manifest(run_dir)
    write_json(run_dir / "manifest.json", {"command": command, **manifest})
    policy_dir = run_dir / "policy"
    if first_says("pretrain: complete", "pretrain" in manifest["stages"]):
        console.print(f"pretrain: complete, see {policy_dir}")
        return
    trajectories, write_tokenizer = _recorded(config) if config.data.path else _generated(config, known)
    named = run_dir / "tokenizer"
    written_once(named, lambda: write_tokenizer(named))
    tokenizer = AutoTokenizer.from_pretrained(named, local_files_only=True)
    arch = section.architecture.model_copy(update={"vocab_size": round_up(len(tokenizer), VOCABULARY_MULTIPLE)})
    mesh, rules = open_mesh(config.mesh)
    check_layout(config, arch, mesh, rules)
    run = Run(config, run_dir, run_dir / "tokenizer", arch, tokenizer, mesh, rules, known)
    corpus = {name: _sequences(run, name, group, console) for name, group in trajectories.items()}
    sizes = ", ".join(f"{len(sequences)} {name} sequences" for name, sequences in corpus.items())
    console.print(f"corpus: {sizes}, {len(tokenizer)} words")
    with jax.set_mesh(mesh):
        ledger = train_arm(
            run,
            "base",
            steps=section.steps,
            optimizer=section.optimizer,
            checkpoint_every=section.checkpoint_every,
            batches=index_batches(len(corpus[AGENTIC]), section.episodes_per_step, config.run.seed),
            params=initialise(run.key("pretrain"), arch, mesh, rules),
            advance=_advance(run, corpus),
            console=console,
        )
        params = final_policy(run, "base", section.optimizer)
        write_weights(policy_dir, params, arch, run_dir / "tokenizer", run.stop_ids[0])
    complete(run, "pretrain", {"parameters": count_parameters(arch), "vocabulary": len(tokenizer)}, ledger, began)
    console.print(f"base policy of {count_parameters(arch):,} parameters in {policy_dir}")


def _sequences(run: Run, name: str, group: Sequence[Trajectory], console: Console) -> list[TokenSequence]:
    """Token ids of the group's trajectories, cut to the longest that is trained on."""
    longest = run.config.pretrain.sequence
    shown = progress(group, f"render {name}", console, unit="trajectories", total=len(group))
    whole = [sequence for item in shown for sequence in render(item, run.tokenizer).sequences()]
    return [TokenSequence(ids=each.ids[:longest], action_mask=each.action_mask[:longest]) for each in whole]


def _advance(run: Run, corpus: Corpus) -> Advance:
    section = run.config.pretrain
    shapes = {name: SequenceShape.holding(group, run, BUCKET) for name, group in corpus.items()}

    def advance(state: TrainState, indices: Any, step: int) -> tuple[TrainState, Any, Charges]:
        drawn = {AGENTIC: indices}
        if SKILL in corpus:
            draw = np.random.default_rng([run.config.run.seed, step])
            drawn[SKILL] = draw.integers(len(corpus[SKILL]), size=section.questions_per_step)
        chosen = {name: [group[i] for i in drawn[name]] for name, group in corpus.items()}
        batches = {
            name: batches_by_length(run, group, shapes[name], LENGTHS[name], BUCKET) for name, group in chosen.items()
        }
        state, metrics = pretrain_step(state, batches, optimizer=section.optimizer, arch=run.arch, rules=run.rules)
        logits = sum(int(sequence.action_mask.sum()) for group in chosen.values() for sequence in group)
        whole = [len(sequence.ids) for group in chosen.values() for sequence in group]
        forward = sequence_flops(run.arch, whole, logits)
        return state, metrics, {"update": Cost(trained_tokens=logits, flops=forward + backward_flops(forward))}

    return advance


def _recorded(config: Config) -> tuple[dict[str, list[Trajectory]], Callable[[Path], object]]:
    """The base's share of the recorded trajectories, and what writes a tokenizer of their pieces into a folder."""
    found = list(for_base(config.data, Path(config.run.dir)))
    if not found:
        raise ConfigError(
            f"data.base_share: {config.data.base_share} of the tasks at {config.data.path} is none; raise it"
        )
    texts = chatml_training_texts(found)
    return {AGENTIC: found}, lambda folder: build_bpe_tokenizer(texts, folder, config.pretrain.vocabulary)


def _generated(
    config: Config, domains: Mapping[str, Reset]
) -> tuple[dict[str, list[Trajectory]], Callable[[Path], object]]:
    """Questions and episodes, and what writes a tokenizer that knows all of their words into a folder."""
    parts = {SKILL: list(_questions(config.pretrain)), AGENTIC: list(_episodes(config, domains))}
    texts = [*parts[SKILL], *parts[AGENTIC], *_answers_to_nonsense(config, domains)]
    return parts, lambda folder: build_small_tokenizer(training_texts(texts), folder)


def _questions(section: PretrainSection) -> Iterator[Trajectory]:
    for name, reset in SKILLS.items():
        for seed in range(FIRST_SEED, FIRST_SEED + section.questions):
            yield demonstrate(reset, name, seed)


def _answers_to_nonsense(config: Config, domains: Mapping[str, Reset]) -> Iterator[Trajectory]:
    """What environments answer to actions that no expert takes, for the tokenizer to know these words too."""
    for name in config.data.domains:
        tools = domains[name](FIRST_SEED).tools
        nonsense = [Action.say("what"), Action(malformed="unreadable"), Action.call("unknown")]
        for action in [*nonsense, *(Action.call(tool.name) for tool in tools)]:
            env = domains[name](FIRST_SEED)
            messages = (*env.opening(), action.message(), *env.step(action))
            yield Trajectory(id=name, domain=name, task_id=name, messages=messages, tools=tools)


def _episodes(config: Config, domains: Mapping[str, Reset]) -> Iterator[Trajectory]:
    """Episodes of an expert that errs at a rate drawn for each: so the base has seen both good and bad turns."""
    section = config.pretrain
    for name in config.data.domains:
        for seed in range(FIRST_SEED, FIRST_SEED + section.episodes):
            draw = random.Random(f"pretrain/{name}/{seed}")
            rate, style = draw.choice(section.error_rates), draw.choice(section.styles)
            yield demonstrate(domains[name], name, seed, error_rate=rate, style=style, max_turns=config.data.max_turns)
