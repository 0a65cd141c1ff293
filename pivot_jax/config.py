"""Every knob of the package, in frozen sections; `config_files` reads them from TOML."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from pivot_jax.config_arms import ArmSection, merged
from pivot_jax.config_verifier import (
    JudgeOptions,
    MultiHarnessOptions,
    Options,
    SweOptions,
    TerminalOptions,
    ToolCallOptions,
)

Stage = Literal["pretrain", "candidates", "profile", "select", "train", "evaluate", "curve", "report", "export"]
STAGES: tuple[Stage, ...] = get_args(Stage)
ALL_STYLES = (0, 1, 2, 3, 4, 5, 6)


class ConfigError(ValueError):
    """A config that cannot be used; the message names the file or option, the dotted path and the reason."""


class Section(BaseModel):
    """Base of every section: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class RopeScaling(Section):
    """How rotary frequencies are stretched beyond the context that the policy was pretrained with."""

    kind: Literal["default", "linear", "yarn"] = "default"
    factor: float = Field(default=1.0, ge=1)
    """Times the pretrained context."""
    original_positions: int = Field(default=32_768, ge=1)
    """The pretrained context, in tokens (yarn)."""
    beta_fast: float = Field(default=32.0, gt=0)
    beta_slow: float = Field(default=1.0, gt=0)
    """Pairs that turn more often than `beta_fast` in that context keep their frequency; fewer than `beta_slow`, all of
    it is divided by `factor`; in between a ramp (yarn)."""
    attention_factor: float = Field(default=0.0, ge=0)
    """What rotated queries and keys are multiplied with (yarn; 0: 0.1 ln(factor) + 1)."""


class Architecture(Section):
    """Shape of a Qwen3 decoder, dense or with experts in every block (static: a change recompiles)."""

    vocab_size: int = Field(default=512, ge=1)
    embed: int = Field(default=128, ge=1)
    layers: int = Field(default=4, ge=1)
    heads: int = Field(default=4, ge=1)
    kv_heads: int = Field(default=2, ge=1)
    head_dim: int = Field(default=32, ge=2)
    mlp: int = Field(default=384, ge=1)
    """Width of a dense block's MLP; not used when there are experts."""
    experts: int = Field(default=0, ge=0)
    """Experts a block (0: a dense MLP)."""
    experts_per_token: int = Field(default=0, ge=0)
    expert_mlp: int = Field(default=0, ge=0)
    """Width of one expert."""
    norm_topk_prob: bool = True
    """The weights of a token's chosen experts are made to sum to one."""
    frozen_router: bool = False
    """The router is not trained: which experts a token goes to changes only as its hidden state does."""
    rope_theta: float = Field(default=10_000.0, gt=0)
    rope_scaling: RopeScaling = RopeScaling()
    max_positions: int = Field(default=32_768, ge=1)
    """Longest sequence that the checkpoint's config.json declares; nothing is cut to it."""
    norm_eps: float = Field(default=1e-6, gt=0)
    tie_embeddings: bool = True
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Compute dtype; parameters are always stored in float32."""
    remat: bool = False
    """Recompute each block's activations in the backward pass."""

    @model_validator(mode="after")
    def _check(self) -> Architecture:
        if self.heads % self.kv_heads:
            raise ValueError(f"heads={self.heads} is not a multiple of kv_heads={self.kv_heads}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim={self.head_dim} must be even: rotary embedding turns pairs")
        if self.experts and not 1 <= self.experts_per_token <= self.experts:
            raise ValueError(f"experts_per_token={self.experts_per_token} must be between 1 and experts={self.experts}")
        if self.experts and not self.expert_mlp:
            raise ValueError(f"expert_mlp={self.expert_mlp} must be at least 1 with experts={self.experts}")
        return self


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
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: bool = False


class LoraSection(Section):
    """Train low-rank additions to some linears of each block, W + alpha / rank · A B, and leave the policy as it is."""

    rank: int = Field(default=0, ge=0)
    """Of the additions (0: train the whole policy)."""
    alpha: float = Field(default=32.0, gt=0)
    targets: tuple[Literal["query", "key", "value", "output", "gate", "up", "down"], ...] = Field(
        default=("query", "key", "value", "output", "gate", "up", "down"), min_length=1
    )
    """The linears; where a block has experts, `gate`, `up` and `down` are each expert's own."""


class MeshSection(Section):
    """Sizes of the mesh axes (`data = -1`: the devices that are left) and overrides of the rule table."""

    data: int = -1
    fsdp: int = Field(default=1, ge=1)
    expert: int = Field(default=1, ge=1)
    tensor: int = Field(default=1, ge=1)
    rules: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = Field(default_factory=dict)
    """logical axis → [mesh axes stored on, mesh axes computed on]."""


class DataSection(Section):
    """Trajectories: read from `path`, or else demonstrated in `domains`."""

    path: str = ""
    """A file or a folder of recorded trajectories (docs/data.md)."""
    format: Literal[
        "auto", "chat", "tau2", "responses", "pivot_rows", "atif", "swe_agent", "parquet", "datasets"
    ] = "auto"  # fmt: skip
    """What its rows are; `auto` tells by what they hold."""
    on_bad_row: Literal["fail", "skip"] = "fail"
    """`skip` sets rows that cannot be read aside, in `RUN/rejects.jsonl`, and counts them."""
    tools: str = ""
    """A JSON file of tools, for rows that list none."""
    make_ids: bool = False
    """Rows without an id are named by their file and line."""
    domains: tuple[str, ...] = ("retail", "terminal")
    tasks: int = Field(default=200, ge=1)
    """Demonstrated tasks a domain, when `path` is empty."""
    first_seed: int = 0
    styles: tuple[int, ...] = Field(default=ALL_STYLES, min_length=1)
    """Habits of the demonstrating expert, dealt out over the tasks: which of the good actions at a state it takes."""
    max_turns: int = Field(default=24, ge=1)
    """Turns after which a demonstrated episode is cut."""
    knobs: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """domain → settings of its tasks (fields of the domain's `Knobs`), for demonstrations and evaluation alike."""
    held_out: float = Field(default=0.0, ge=0, lt=1)
    """Share of the tasks set aside, decided by a hash of the task."""
    tokenizer: str = ""
    """A tokenizer directory, `fit` to train one on the trajectories, or empty for the policy's own."""
    action_format: Literal["compact", "hermes"] = "compact"
    """How sampled text is read back as an action: the small policies' format, or Qwen3's tool calls."""


class SamplingSection(Section):
    """The distribution that actions are sampled from. `top_k = 0` and `top_p = 1` are off."""

    temperature: float = Field(default=1.0, ge=0)
    top_k: int = Field(default=0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_new_tokens: int = Field(default=24, ge=1)


class VerifierSection(Section):
    """The functional verifier of the domain; `tool_name` and `exact` are scored and stored beside it.

    Options at their defaults are left out of a dump: a run that was pinned before an option existed can be opened.
    """

    name: Literal[
        "execution", "tool_call", "tool_name", "exact", "swe", "terminal", "multi_harness", "judge"
    ] = "execution"  # fmt: skip
    string_threshold: float = Field(default=0.1, ge=0, le=1)
    """Least word overlap of two strings (tool_call)."""
    count_calls: bool = True
    """Surplus tool calls cost the reward (off: the released reference behaviour)."""
    tool_call: ToolCallOptions = ToolCallOptions()
    swe: SweOptions = SweOptions()
    terminal: TerminalOptions = TerminalOptions()
    multi_harness: MultiHarnessOptions = MultiHarnessOptions()
    judge: JudgeOptions = JudgeOptions()

    @property
    def asks_judge(self) -> bool:
        """Whether the verifier may ask a language model."""
        return self.name == "judge" or (self.name == "terminal" and self.terminal.judge)

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = handler(self)
        unset = {name for name, options in self if isinstance(options, Options) and options == type(options)()}
        return {name: value for name, value in values.items() if name not in unset}

    @model_validator(mode="after")
    def _check(self) -> VerifierSection:
        if self.tool_call.allow_superset and self.count_calls:
            raise ValueError("tool_call.allow_superset accepts surplus calls, count_calls refuses them; unset one")
        if self.asks_judge and not (self.judge.base_url and self.judge.model):
            raise ValueError("the judge needs judge.base_url and judge.model")
        return self


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
    rule: Literal["pivots", "signal", "random"] = "pivots"
    """`signal`: of the pivots, those of highest expected signal. `random`: every candidate, no filter (the control)."""
    signal_share: float = Field(default=0.5, gt=0, le=1)
    """Share of the pivots that `signal` keeps."""
    signal_group: int = Field(default=16, ge=2)
    """Group size that the signal is expected of: usually train.group_size."""


class LossSection(Section):
    """The group-relative objective (Eq. 7) and its relatives; `configs/preset/` names common combinations."""

    advantage: Literal["standardised", "centred", "leave_one_out", "leave_one_out_std", "none"] = "standardised"
    std_eps: float = Field(default=1e-6, gt=0)
    surrogate: Literal["clip", "gspo", "cispo"] = "clip"
    """One clipped ratio a token, one an action (GSPO), or a clipped weight that never silences a token (CISPO)."""
    clip_low: float = Field(default=0.2, gt=0, le=1)
    """How far below 1 a ratio may fall (1: as far as it likes)."""
    clip_high: float = Field(default=0.2, gt=0)
    dual_clip: float = Field(default=0.0, ge=0)
    """Largest ratio of a token with negative advantage, above 1 + clip_high (0: unbounded)."""
    kl_coef: float = Field(default=0.03, ge=0)
    kl_estimator: Literal["k1", "k2", "k3"] = "k3"
    kl_weighted: bool = False
    """Weight the estimate by the importance ratio, which makes the gradient of k1 and k3 that of the divergence."""
    aggregation: Literal["token", "sequence", "constant"] = "sequence"
    constant_length: int = Field(default=24, ge=1)
    """Tokens that `constant` divides an action's sum by: usually sampling.max_new_tokens."""
    importance: Literal["truncated", "masked"] = "truncated"
    """Weights between sampler and trainer: held at importance_cap, or 0 outside [importance_floor, importance_cap]."""
    importance_level: Literal["token", "sequence"] = "token"
    importance_floor: float = Field(default=0.0, ge=0)
    importance_cap: float = Field(default=0.0, ge=0)
    """Largest weight between sampler and trainer (0: no correction)."""
    drop_cut_off: bool = False
    """Actions that met the length limit are not trained on; they still count in their group's mean."""
    message_share: float = Field(default=1.0, ge=0, le=1)
    """Largest share of a batch's pivots at which the expert sends a message; those of least spread go first."""
    surplus_penalty: float = Field(default=0.0, ge=0)
    """What each tool call beyond the expert's takes from a reward, as a share of it."""

    @model_validator(mode="after")
    def _check(self) -> LossSection:
        if self.dual_clip and self.surrogate != "clip":
            raise ValueError(
                f"dual_clip={self.dual_clip} belongs to surrogate='clip', not {self.surrogate!r}; set it to 0"
            )
        if self.dual_clip and self.dual_clip <= 1 + self.clip_high:
            raise ValueError(f"dual_clip={self.dual_clip} must be above 1 + clip_high = {1 + self.clip_high}")
        if self.surrogate == "gspo" and self.aggregation == "token":
            raise ValueError("surrogate='gspo' clips whole actions; use aggregation='sequence' or 'constant'")
        if self.kl_weighted and self.kl_estimator == "k2":
            raise ValueError("kl_weighted: the gradient of k2 is right without a weight; use k1 or k3, or unset it")
        if self.importance_cap and self.importance_floor >= self.importance_cap:
            raise ValueError(
                f"importance_floor={self.importance_floor} must be below importance_cap={self.importance_cap}"
            )
        if self.importance_floor and (self.importance == "truncated" or not self.importance_cap):
            raise ValueError("importance_floor needs importance='masked' and an importance_cap")
        return self


class OptimizerSection(Section):
    """AdamW with a linear warm-up."""

    learning_rate: float = Field(default=2e-4, gt=0)
    warmup_steps: int = Field(default=5, ge=0)
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    b1: float = Field(default=0.9, ge=0, lt=1)
    b2: float = Field(default=0.95, ge=0, lt=1)
    decay_steps: int = Field(default=0, ge=0)
    """Steps over which the rate falls linearly to zero (0: it stays)."""


class TrainSection(Section):
    """GRPO on pivots."""

    steps: int = Field(default=60, ge=1)
    pivots_per_step: int = Field(default=16, ge=1)
    group_size: int = Field(default=8, ge=2)
    """G, actions a pivot."""
    reward: Literal["functional", "exact", "tool_name"] = "functional"
    reprofile_below: float = Field(default=0.0, ge=0, le=1)
    """Choose new pivots with the current policy when the share of mixed groups since the last checkpoint is below this
    (0: never)."""
    reprofile_samples: int = Field(default=4, ge=2)
    """Actions a candidate when re-profiling."""
    reprofile_candidates: int = Field(default=256, ge=1)
    """Candidates that are re-profiled, drawn at random from all of the arm's."""
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=20, ge=1)


class SftSection(Section):
    """Supervised fine-tuning on the same trajectories: all turns, or the pivots alone."""

    turns: Literal["all", "pivots"] = "all"
    steps: int = Field(default=100, ge=1)
    trajectories_per_step: int = Field(default=16, ge=1)
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=50, ge=1)


class E2eSection(Section):
    """End-to-end RL: whole episodes, one outcome reward for all of their turns."""

    steps: int = Field(default=30, ge=1)
    tasks_per_step: int = Field(default=8, ge=1)
    group_size: int = Field(default=8, ge=2)
    """Episodes a task."""
    max_turns: int = Field(default=14, ge=1)
    tasks: int = Field(default=0, ge=0)
    """Distinct training tasks a domain (0: those of the demonstrations)."""
    batch: int = Field(default=64, ge=1)
    """Episodes decoded together."""
    optimizer: OptimizerSection = OptimizerSection()
    checkpoint_every: int = Field(default=10, ge=1)


class EvaluateSection(Section):
    """Whole episodes on held-out tasks, and the out-of-domain skills."""

    episodes: int = Field(default=200, ge=1)
    """Episodes a domain."""
    questions: int = Field(default=100, ge=1)
    """Questions a skill."""
    first_seed: int = Field(default=1_000_000, ge=0)
    temperature: float = Field(default=1.0, ge=0)
    max_turns: int = Field(default=16, ge=1)
    batch: int = Field(default=128, ge=1)
    curve_episodes: int = Field(default=100, ge=1)
    """Episodes a domain for each point of a learning curve (stage `curve`)."""


class PretrainSection(Section):
    """A small base policy from scratch: skills, and agentic episodes with mistakes."""

    architecture: Architecture = Architecture()
    """`vocab_size` is not used: the tokenizer is made from the corpus."""
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
    mesh: MeshSection = MeshSection()
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
            for section, field, off in (("profile", "adaptive", False), ("train", "reprofile_below", 0.0)):
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
        if self.data.tokenizer == "fit" and not self.data.path:
            raise ValueError("data.tokenizer: 'fit' trains on recorded trajectories; set data.path")
        if self.sampling.temperature == 0 and (self.profile.samples > 1 or self.train.group_size > 1):
            raise ValueError("sampling.temperature: 0 makes every action of a group equal; use a value > 0")
        if self.select.keep_all_zero and self.select.threshold == 0 and not self.select.inclusive:
            raise ValueError("select.threshold: 0 exclusive keeps nothing; set select.inclusive or raise it")
        if self.select.rule == "random" and self.profile.adaptive:
            raise ValueError("profile.adaptive: select.rule = 'random' keeps every candidate, whatever is sampled")
        if self.select.rule == "random" and self.train.reprofile_below:
            raise ValueError("train.reprofile_below: select.rule = 'random' has no pivots to choose anew; use 0")
        for name in self.arms:
            if name == "base" or not re.fullmatch(r"[a-z0-9_]+", name):
                raise ValueError(f"arms.{name}: a name is made of a-z, 0-9 and _, and 'base' is reserved")
        for name in self.run.arms:
            if name not in self.arms:
                raise ValueError(f"run.arms: unknown arm {name!r}; the arms are {', '.join(self.arms)}")
        return self
