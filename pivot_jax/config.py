"""Every knob of the package, in frozen sections; `config_files` reads them from TOML."""

from __future__ import annotations

import re
from typing import Literal, get_args

from pydantic import Field, model_validator

from pivot_jax.config_arms import ArmSection, merged
from pivot_jax.config_data import ALL_STYLES, DataSection
from pivot_jax.config_hosts import HostsSection
from pivot_jax.config_mesh import MeshSection
from pivot_jax.config_plan import PlanSection
from pivot_jax.config_policy import Architecture, LoraSection, Remat
from pivot_jax.config_section import Section
from pivot_jax.config_training import E2eSection, LossSection, OptimizerSection, SftSection, TrainSection
from pivot_jax.config_verifier import VerifierSection

Stage = Literal["pretrain", "candidates", "profile", "select", "train", "evaluate", "curve", "report", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)


class ConfigError(ValueError):
    """A config that cannot be used; the message names the file or option, the dotted path and the reason."""


class RunSection(Section):
    """Where a run lives and what it does."""

    dir: str = "runs/default"
    seed: int = 0
    stages: tuple[Stage, ...] = ("candidates", "profile", "select", "train", "evaluate", "report")
    arms: tuple[str, ...] = ()
    """Which of the arms to train and evaluate (empty: all)."""
    keep_checkpoints: bool = False
    """Keep every checkpoint, for learning curves; otherwise the latest two."""


class PolicySection(Section):
    """The policy to start from: a Hugging Face directory, or `base` for the one shipped in the package."""

    path: str = "base"
    """With `random`, weights are drawn in the shape of `pretrain.architecture` (`pivot-jax equivalence` alone)."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Remat = "none"


class SamplingSection(Section):
    """The distribution that actions are sampled from. `top_k = 0` and `top_p = 1` are off."""

    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=24, ge=1)


class ProfileSection(Section):
    """Sampling the frozen policy at every candidate (Eq. 4)."""

    samples: int = Field(default=4, ge=1)
    """K, actions a candidate; with `adaptive` the most."""
    adaptive: bool = False
    """Stop sampling a candidate once more samples would hardly change whether it is a pivot."""
    least: int = Field(default=4, ge=1)
    """Actions that every candidate gets before the first decision (adaptive)."""
    round_size: int = Field(default=4, ge=1)
    """Actions that an undecided candidate gets before the next one; each round prefills its trunk again (adaptive)."""
    doubt: float = Field(default=0.04, ge=0, lt=1)
    """Largest probability that `samples` actions would decide otherwise, at which sampling stops (adaptive)."""
    share: float = Field(default=1.0, gt=0, le=1)
    """Share of the trajectories that are profiled."""
    screen_above: float = Field(default=1.0, gt=0, le=1)
    """Probability of the demonstrated action under the frozen policy from which on a candidate is not sampled: it would
    pass nearly always (1: all are sampled)."""
    branches_per_trunk: int = Field(default=32, ge=1)
    """Most actions sampled on one trunk at a time; a longer trajectory is prefilled again for the rest."""
    chunk: int = Field(default=128, ge=1)
    """Candidates sampled and stored together."""

    @model_validator(mode="after")
    def _check(self) -> ProfileSection:
        if self.adaptive and self.least > self.samples:
            raise ValueError(f"least={self.least} is more than samples={self.samples}, the most; lower it")
        return self


class SelectSection(Section):
    """Which candidates are pivots (Eq. 5): reward variance > 0 and mean below the difficulty threshold."""

    threshold: float = Field(default=0.6, ge=0, le=1)
    inclusive: bool = False
    """mean <= threshold in place of mean < threshold."""
    keep_all_zero: bool = False
    """Keep candidates whose every sample failed."""
    reward: Literal["functional", "exact", "tool_name"] = "functional"
    rule: Literal["pivots", "signal", "unlikely", "random"] = "pivots"
    """`signal`: of the pivots, those of highest expected signal. `unlikely`: what `profile.screen_above` leaves, and
    nothing is sampled to choose. `random`: every candidate, no filter (the control)."""
    signal_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the pivots that `signal` keeps."""
    signal_group: int = Field(default=16, ge=2)
    """Group size that the signal is expected of: usually train.group_size."""


class EvaluateSection(Section):
    """Whole episodes on held-out tasks, and the out-of-domain skills; of recorded trajectories (`data.path`) the next
    action at every held-out turn."""

    episodes: int = Field(default=200, ge=1)
    """Episodes a domain."""
    questions: int = Field(default=100, ge=1)
    """Questions a skill."""
    other_domains: tuple[str, ...] = ()
    """Domains played as well that the run does not train on; they count neither as in domain nor as skills."""
    first_seed: int = Field(default=1_000_000, ge=0)
    temperature: float = Field(default=1.0, ge=0)
    max_turns: int = Field(default=16, ge=1)
    batch: int = Field(default=128, ge=1)
    curve_episodes: int = Field(default=100, ge=1)
    """Episodes a domain for each point of a learning curve (stage `curve`)."""
    actions: int = Field(default=4, ge=1)
    """Actions sampled at each held-out turn (recorded)."""
    turns: int = Field(default=0, ge=0)
    """Held-out turns that are looked at, spread evenly over all (recorded; 0: all)."""


class PretrainSection(Section):
    """A small base policy from scratch: skills, and agentic episodes with mistakes; or recorded trajectories
    (`data.path`), those of the tasks that `data.base_share` sets aside."""

    architecture: Architecture = Architecture()
    """`vocab_size` is not used: the tokenizer is made from the corpus."""
    vocabulary: int = Field(default=2048, ge=1)
    """Most tokens of the byte-level tokenizer that is trained on recorded trajectories."""
    steps: int = Field(default=1200, ge=1)
    episodes: int = Field(default=6000, ge=1)
    """Distinct agentic episodes a domain."""
    questions: int = Field(default=4000, ge=1)
    """Distinct questions a skill."""
    sequence: int = Field(default=192, ge=16)
    """Tokens that an episode is cut to."""
    episodes_per_step: int = Field(default=16, ge=1)
    questions_per_step: int = Field(default=64, ge=1)
    error_rates: tuple[float, ...] = (0.0, 0.2, 0.4)
    """Mistake rates of the demonstrating expert; one is drawn for each episode."""
    styles: tuple[int, ...] = Field(default=ALL_STYLES, min_length=1)
    """Its habits, as `data.styles`; one is drawn for each episode. The fewer the two have in common, the further the
    demonstrations are from what the base would do."""
    optimizer: OptimizerSection = OptimizerSection(
        learning_rate=2e-3, warmup_steps=50, weight_decay=0.01, decay_steps=1200
    )
    checkpoint_every: int = Field(default=200, ge=1)


class ExportSection(Section):
    """Which trained policy is written as a Hugging Face directory, and where (empty: `RUN/export/ARM`)."""

    arm: str = "pivotrl"
    path: str = ""


class Config(Section):
    """A whole experiment."""

    run: RunSection = RunSection()
    policy: PolicySection = PolicySection()
    lora: LoraSection = LoraSection()
    hosts: HostsSection = HostsSection()
    mesh: MeshSection = MeshSection()
    sampling_mesh: MeshSection | None = None
    """The mesh that actions and episodes are sampled on: the same devices in another shape (absent: `mesh`)."""
    data: DataSection = DataSection()
    sampling: SamplingSection = SamplingSection()
    verifier: VerifierSection = VerifierSection()
    profile: ProfileSection = ProfileSection()
    select: SelectSection = SelectSection()
    loss: LossSection = LossSection()
    train: TrainSection = TrainSection()
    sft: SftSection = SftSection()
    e2e: E2eSection = E2eSection()
    evaluate: EvaluateSection = EvaluateSection()
    pretrain: PretrainSection = PretrainSection()
    export: ExportSection = ExportSection()
    plan: PlanSection = PlanSection()
    arms: dict[str, ArmSection] = Field(
        default_factory=lambda: {"sft": ArmSection(method="sft"), "pivotrl": ArmSection(method="pivot_rl")},
        min_length=1,
    )
    """What is compared with the base, in the order of training."""

    @property
    def chosen_arms(self) -> tuple[str, ...]:
        """The arms that this command trains and evaluates, in the order of the table."""
        return tuple(name for name in self.arms if not self.run.arms or name in self.run.arms)

    def for_arm(self, name: str) -> Config:
        """The config of one arm: its tables merged over the sections, and itself as the only arm.

        Raises:
            ValidationError: a key or a value that its section refuses; the path begins with the section.
            ConfigError: it asks for more of a profile than the run samples.
        """
        tables = self.arms[name].tables
        values = merged(self.model_dump(), tables)
        if values["select"]["rule"] == "random":
            # the control looks at no reward: how the others profile does not concern it
            looks = (
                ("profile", "adaptive", False),
                ("profile", "screen_above", 1.0),
                ("train", "reprofile_below", 0.0),
            )
            for section, field, off in looks:
                if field not in tables.get(section, {}):
                    values[section][field] = off
        values["run"]["arms"], values["arms"] = (), {name: {"method": self.arms[name].method}}
        own = Config.model_validate(values)
        if own.profile.samples > self.profile.samples or own.profile.share > self.profile.share:
            raise ConfigError(
                f"profile: samples={own.profile.samples}, share={own.profile.share} is more than the run profiles "
                f"(samples={self.profile.samples}, share={self.profile.share}); raise the section profile"
            )
        return own

    @model_validator(mode="after")
    def _check(self) -> Config:
        if self.data.path and self.verifier.name == "execution":
            raise ValueError(
                "verifier.name: 'execution' replays the task's environment, which recorded trajectories (data.path) "
                "do not bring; use verifier.name = 'tool_call'"
            )
        if self.verifier.name == "sql" and not self.data.path:
            raise ValueError("verifier.name: 'sql' judges recorded trajectories; set data.path")
        if self.data.tokenizer == "fit" and not self.data.path:
            raise ValueError("data.tokenizer: 'fit' trains on recorded trajectories; set data.path")
        self._check_recorded()
        if both := [name for name in self.evaluate.other_domains if name in self.data.domains]:
            raise ValueError(
                f"evaluate.other_domains: {both[0]!r} is trained on (data.domains); it is evaluated anyway"
            )
        if self.sampling.temperature == 0 and (self.profile.samples > 1 or self.train.group_size > 1):
            raise ValueError("sampling.temperature: 0 makes every action of a group equal; use a value > 0")
        if self.select.keep_all_zero and self.select.threshold == 0 and not self.select.inclusive:
            raise ValueError("select.threshold: 0 exclusive keeps nothing; set select.inclusive or raise it")
        if self.select.rule == "unlikely" and self.profile.screen_above == 1:
            raise ValueError("profile.screen_above: select.rule = 'unlikely' keeps what is below it; use less than 1")
        if self.select.rule in ("random", "unlikely") and self.profile.adaptive:
            raise ValueError(f"profile.adaptive: select.rule = '{self.select.rule}' looks at no sample")
        if self.select.rule == "random" and self.profile.screen_above < 1:
            raise ValueError("profile.screen_above: select.rule = 'random' keeps every candidate, likely or not; use 1")
        if self.select.rule in ("random", "unlikely") and self.train.reprofile_below:
            raise ValueError(f"train.reprofile_below: select.rule = '{self.select.rule}' looks at no sample; use 0")
        for name in self.arms:
            if name == "base" or not re.fullmatch(r"[a-z0-9_]+", name):
                raise ValueError(f"arms.{name}: a name is made of a-z, 0-9 and _, and 'base' is reserved")
        for name in self.run.arms:
            if name not in self.arms:
                raise ValueError(f"run.arms: unknown arm {name!r}; the arms are {', '.join(self.arms)}")
        return self

    def _check_recorded(self) -> None:
        """What recorded trajectories cannot be used for, stage by stage."""
        data, stages = self.data, self.run.stages
        if not data.path:
            return
        if "pretrain" in stages and not data.base_share:
            raise ValueError("data.base_share: the stage 'pretrain' needs tasks of its own; set a share above 0")
        if "pretrain" in stages and data.action_format != "hermes":
            raise ValueError(
                "data.action_format: the stage 'pretrain' makes a ChatML policy of recorded trajectories; use 'hermes'"
            )
        if self.evaluate.other_domains:
            raise ValueError("evaluate.other_domains: no policy made of recorded trajectories (data.path) plays them")
        if "curve" in stages:
            raise ValueError("run.stages: 'curve' plays episodes, which recorded trajectories (data.path) do not allow")
        for name, arm in self.arms.items():
            if arm.method == "e2e_rl":
                raise ValueError(
                    f"arms.{name}: 'e2e_rl' plays episodes, which recorded trajectories (data.path) do not allow"
                )
