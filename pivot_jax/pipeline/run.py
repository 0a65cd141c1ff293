"""A run: its directory, its pinned config, the policy it starts from, and which of its stages are complete."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
from pydantic import ValidationError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from pivot_jax.config import Architecture, Config, ConfigError, MeshSection
from pivot_jax.config_hosts import HostsSection
from pivot_jax.config_plan import PlanSection
from pivot_jax.data.bpe_tokenizer import build_bpe_tokenizer, chatml_training_texts
from pivot_jax.data.continuation import end_of_turn_id
from pivot_jax.domains.environment import Reset
from pivot_jax.domains.registry import domains
from pivot_jax.hosts.exchange import first_says
from pivot_jax.hosts.folder import check_shared
from pivot_jax.pipeline.artifacts import read_json, write_json, written_once
from pivot_jax.pipeline.ledger import Ledger
from pivot_jax.pipeline.micro_batches import check_parts
from pivot_jax.pipeline.recorded import recorded
from pivot_jax.pipeline.stored_config import differences
from pivot_jax.policy.fit import check_fit
from pivot_jax.policy.mesh import AnyMesh, Rules, make_mesh
from pivot_jax.policy.weights import read_architecture

FREE = {
    "run": {"dir", "stages", "arms"},
    "export": {"arm", "path"},
    "hosts": set(HostsSection.model_fields),
    "plan": set(PlanSection.model_fields),
}
"""Fields that may differ between two commands of one run: they choose what is done and where, not what comes out."""

RANDOM = "random"
"""The `policy.path` of a policy that is drawn, not read."""


@dataclass(frozen=True)
class Run:
    """What every stage is given. `policy_dir` holds the frozen policy pi_0, its tokenizer and its chat template;
    `domains` makes the tasks of each domain, with the knobs of the config."""

    config: Config
    dir: Path
    policy_dir: Path
    arch: Architecture
    tokenizer: PreTrainedTokenizerBase
    mesh: jax.sharding.Mesh
    rules: Rules
    domains: Mapping[str, Reset]

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an action."""
        return (end_of_turn_id(self.tokenizer),)

    def key(self, purpose: str, step: int = 0) -> jax.Array:
        """The random key of one use: derived from the run's seed, never carried about. It names no arm, so that what
        an arm samples depends on no other arm, and equal policies of two arms sample the same."""
        purposes = ("profile", "train", "evaluate", "pretrain", "e2e", "lora")
        return jax.random.fold_in(
            jax.random.fold_in(jax.random.key(self.config.run.seed), purposes.index(purpose)), step
        )


def base_policy_dir() -> Path:
    """The small policy that is shipped in the package."""
    return Path(str(importlib.resources.files("pivot_jax") / "base_policy"))


def open_run(config: Config, command: str) -> Run:
    """Open or create the run directory, pinned to this config, and load what the stages share.

    Raises:
        ConfigError: the directory was made with another config (the message lists the differences), or the policy
            cannot be read.
    """
    run_dir, known = Path(config.run.dir), open_domains(config)
    pin_config(run_dir, config)
    manifest = read_manifest(run_dir)
    write_json(run_dir / "manifest.json", {"command": command, **manifest})
    policy_dir, arch = open_policy(config)
    mesh, rules = open_mesh(config.mesh)
    check_layout(config, arch, mesh, rules)
    if config.sampling_mesh is not None:  # told now, not when sampling begins
        check_layout(config, arch, *open_mesh(config.sampling_mesh, "sampling_mesh"), "sampling_mesh")
    check_parts(config, mesh, rules)
    tokenizer = open_tokenizer(config, policy_dir)
    return Run(config, run_dir, policy_dir, arch, tokenizer, mesh, rules, known)


def open_policy(config: Config) -> tuple[Path, Architecture]:
    """The directory of the policy that the config starts from, and its architecture; ConfigError if it has none."""
    if config.policy.path == RANDOM:
        raise ConfigError(f"policy.path: {RANDOM!r} is a policy for `pivot-jax equivalence` alone")
    policy_dir = base_policy_dir() if config.policy.path == "base" else Path(config.policy.path)
    if not (policy_dir / "config.json").exists():
        raise ConfigError(f"policy.path: {policy_dir} holds no config.json; it must be a Hugging Face directory")
    try:
        return policy_dir, read_architecture(policy_dir, dtype=config.policy.dtype, remat=config.policy.remat)
    except ValueError as error:
        raise ConfigError(f"policy.path: {error}") from error


def open_domains(config: Config) -> dict[str, Reset]:
    """Every domain with the config's knobs; ConfigError if one that it names is unknown, or a knob is wrong."""
    try:
        known = domains(config.data.knobs)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    for key, names in (
        ("data.domains", config.data.domains),
        ("evaluate.other_domains", config.evaluate.other_domains),
    ):
        if unknown := [name for name in names if name not in known]:
            raise ConfigError(f"{key}: unknown domain {unknown[0]!r}; the domains are {', '.join(known)}")
    return known


def open_tokenizer(config: Config, policy_dir: Path) -> PreTrainedTokenizerBase:
    """The policy's tokenizer, or the one that `data.tokenizer` names; `fit` trains one on the data, once."""
    named, fitted = config.data.tokenizer, Path(config.run.dir) / "tokenizer"
    if named == "fit" and not first_says("tokenizer", (fitted / "tokenizer.json").exists()):

        def fit() -> None:
            build_bpe_tokenizer(chatml_training_texts(recorded(config.data, Path(config.run.dir))), fitted)

        written_once(fitted, fit)
    directory = fitted if named == "fit" else Path(named) if named else policy_dir
    if not (directory / "tokenizer.json").exists():
        raise ConfigError(f"data.tokenizer: {directory} holds no tokenizer.json")
    return AutoTokenizer.from_pretrained(directory, local_files_only=True)


def check_vocabulary(run: Run, stage: str) -> None:
    """ConfigError if the tokenizer writes ids that the policy does not have."""
    if len(run.tokenizer) > run.arch.vocab_size:
        raise ConfigError(
            f"data.tokenizer: it has {len(run.tokenizer)} tokens, the policy {run.arch.vocab_size}; "
            f"the stage {stage!r} needs the tokenizer that the policy was trained with"
        )


def open_mesh(
    section: MeshSection, name: str = "mesh", devices: Sequence[Any] | None = None
) -> tuple[jax.sharding.Mesh, Rules]:
    """The mesh over all devices (or those given) and the rule table; ConfigError, which names the section, if they do
    not fit."""
    try:
        return make_mesh(section, devices), Rules.make(section.rules)
    except ValueError as error:
        raise ConfigError(name + str(error).removeprefix("mesh")) from error


def check_layout(config: Config, arch: Architecture, mesh: AnyMesh, rules: Rules, name: str = "mesh") -> None:
    """ConfigError, which names the section, unless every array of the policy and every group of actions can be laid
    out on the mesh."""
    groups = {"train.group_size": config.train.group_size, "e2e.group_size": config.e2e.group_size}
    try:
        check_fit(arch, mesh, rules, config.lora, groups, name)
    except ValueError as error:
        raise ConfigError(str(error)) from error


def pin_config(run_dir: Path, config: Config) -> None:
    """Write config.json, or compare with the one that is there; several processes must see one directory."""
    check_shared(run_dir)
    path = run_dir / "config.json"
    new = config.model_dump(mode="json")
    if not first_says("config.json", path.exists()):
        write_json(path, new)
    changed = list(differences(_pinned(_completed(read_json(path))), _pinned(new)))
    if changed:
        raise ConfigError(
            f"{run_dir}: this run was made with another config; name another run.dir or restore:\n  "
            + "\n  ".join(changed)
        )


def read_manifest(run_dir: Path) -> dict[str, Any]:
    """manifest.json, or an empty one."""
    path = run_dir / "manifest.json"
    return read_json(path) if path.exists() else {"stages": {}}


def is_complete(run: Run, stage: str) -> bool:
    """Whether the stage has finished in this run directory."""
    return is_recorded(read_manifest(run.dir), run.config, stage)


def is_recorded(manifest: Mapping[str, Any], config: Config, stage: str) -> bool:
    """Whether a manifest records the stage as finished, with all the arms of this command if it is a stage of arms."""
    if stage not in manifest["stages"]:
        return False
    return stage not in ("train", "evaluate") or set(config.chosen_arms) <= manifest["stages"][stage]["counts"].keys()


def complete(run: Run, stage: str, counts: Mapping[str, Any], ledger: Ledger, began: float) -> None:
    """Record that a stage is complete: its counts, its seconds, and what it cost."""
    write_json(run.dir / "ledger" / f"{stage}.json", ledger.to_json())
    total = Ledger()
    for path in sorted((run.dir / "ledger").glob("*.json")):
        total = total.merge(Ledger.from_json(read_json(path)))
    write_json(run.dir / "ledger.json", total.to_json())
    manifest = read_manifest(run.dir)
    manifest["stages"][stage] = {"counts": dict(counts), "seconds": round(time.monotonic() - began, 1)}
    write_json(run.dir / "manifest.json", manifest)


def require(run: Run, stage: str, needed_by: str) -> None:
    """ConfigError unless an earlier stage is complete."""
    if not is_complete(run, stage):
        raise ConfigError(f"{needed_by}: needs the stage {stage!r} first; run it, or use the stage 'run'")


def _completed(config: dict[str, Any]) -> dict[str, Any]:
    """A config pinned before an option existed, with the option's default; as it is if it is no longer valid."""
    try:
        return Config.model_validate(config).model_dump(mode="json")
    except ValidationError:
        return config


def _pinned(config: dict[str, Any]) -> dict[str, Any]:
    return {
        section: {key: value for key, value in (fields or {}).items() if key not in FREE.get(section, set())}
        for section, fields in config.items()
    }
