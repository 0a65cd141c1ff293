"""The section of the functional verifier, with a table of options for each; the verifiers' own rules extend these."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from pivot_jax.config_section import Section


class Options(Section):
    """Base of every table of options."""

    @property
    def rules(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(self)


class ToolCallOptions(Options):
    """`tool_call`: rewards for turns of several calls."""

    parallel_rewarding: bool = False
    """Reward batches by `reward_mode`; off, every expected call must be matched."""
    allow_subset: bool = False
    """With parallel rewarding, accept fewer calls than expected."""
    allow_superset: bool = False
    """With parallel rewarding, accept more calls than expected (needs count_calls = false)."""
    reward_mode: Literal["binary_strict", "fractional", "f1"] = "binary_strict"
    """Of the calls that the count of both sides leaves to be matched: all of them, their share, or
    2 matched / (expected + actual)."""


class SweOptions(Options):
    """`swe`: the tool, its target, and the similarity of the arguments. The paper's reward: both switches off."""

    reward_mode: Literal["binary", "continuous"] = "binary"
    """`binary`: 1 from `full_credit` on, else 0. `continuous`: rises from 0.5 at `partial_credit` to 1 at
    `full_credit`; edits lose `length_penalty`."""
    target: bool = True
    """Check level 1, the target."""
    similarity: bool = True
    """Check level 2, the arguments."""
    partial_credit: float = Field(default=0.4, ge=0, le=1)
    full_credit: float = Field(default=0.8, gt=0, le=1)
    length_penalty: float = Field(default=0.1, ge=0, le=1)
    """Largest share of the reward that the length of an edit costs (continuous; 0: none)."""
    released_faults: bool = False
    """Keep what is a fault in the released verifier. A label that is no single call scores 0 (it cannot be judged);
    arguments that do not parse count as empty (a label's cannot be judged, a sampled call's score 0); a shell call
    without a command matches any; a view of one line, or to the end of the file, does not match itself."""

    @model_validator(mode="after")
    def _check(self) -> SweOptions:
        if self.partial_credit >= self.full_credit:
            raise ValueError(f"partial_credit={self.partial_credit} must be below full_credit={self.full_credit}")
        return self


class TerminalComparison(Options):
    """How answers in one of the two JSON formats of Terminus are compared."""

    harness: Literal["label", "terminus_1", "terminus_2"] = "label"
    """Schema of the answers (label: the one that the expert's answer has)."""
    string_similarity: bool = True
    """Compare keystrokes; off, the judge decides alone, or with no judge every answer that passes the checks is
    accepted."""
    threshold: float = Field(default=0.9, ge=0, le=1)
    """Least similarity of the keystrokes (released: 0.9 or 0.95)."""


class TerminalOptions(TerminalComparison):
    """`terminal`: the comparison, and what may follow it."""

    judge: bool = False
    """Ask the judge where the keystrokes are not similar enough."""


class MultiHarnessOptions(Options):
    """`multi_harness`: turns of Codex and Agent006."""

    harness: Literal["codex", "agent006"] = "codex"
    threshold: float = Field(default=0.9, ge=0, le=1)
    """Least similarity of the texts that the harness's rulebook compares."""


class SqlOptions(Options):
    """`sql`: the databases of recorded InterCode SQL tasks, and what one statement may take."""

    databases: str = ""
    """Folder of SQLite files, `NAME.sqlite`."""
    tasks: str = ""
    """JSONL file of the tasks: rows with `task_id` and `db`, the name of the task's database."""
    empty_labels: bool = False
    """Judge turns whose demonstrated statement has an empty result too (every empty result then passes)."""
    steps: int = Field(default=5_000_000, ge=1)
    """SQLite virtual-machine instructions a statement."""
    rows: int = Field(default=10_000, ge=1)
    """Rows a result may have."""
    memory: int = Field(default=256, ge=16)
    """MiB that SQLite may take."""
    seconds: float = Field(default=5.0, gt=0)
    """Seconds after which the process that runs a statement is killed."""


class JudgeOptions(Options):
    """`judge`, and the fallback of `terminal`: a language model behind an OpenAI-compatible endpoint."""

    base_url: str = Field(default="", pattern=r"^(https?://\S+)?$")
    """Up to and without `/chat/completions`."""
    model: str = ""
    key_variable: str = ""
    """Environment variable that holds the API key (empty: none is sent)."""
    cache: str = ""
    """Folder of kept verdicts (empty: `pivot_jax/judge` in the user's cache)."""
    attempts: int = Field(default=4, ge=1)
    first_wait: float = Field(default=1.0, ge=0)
    """Seconds before the second attempt, doubled each time."""
    request_timeout: float = Field(default=60.0, gt=0)
    max_tokens: int = Field(default=2048, ge=1)
    swap: bool = True
    """Ask twice with the actions swapped; verdicts that differ are none."""
    time_limit: float = Field(default=180.0, gt=0)
    """Seconds for one verdict, all attempts together."""
    state_characters: int = Field(default=12_000, ge=0)
    concurrency: int = Field(default=8, ge=1)
    """Candidates that `pivot-jax verify --rescore` judges at a time."""


class VerifierSection(Section):
    """The functional verifier of the domain; `tool_name` and `exact` are scored and stored beside it."""

    name: Literal[
        "execution", "tool_call", "tool_name", "exact", "swe", "terminal", "multi_harness", "sql", "judge"
    ] = "execution"  # fmt: skip
    string_threshold: float = Field(default=0.1, ge=0, le=1)
    """Least word overlap of two strings (tool_call)."""
    count_calls: bool = True
    """Surplus tool calls cost the reward (off: the released reference behaviour)."""
    tool_call: ToolCallOptions = ToolCallOptions()
    swe: SweOptions = SweOptions()
    terminal: TerminalOptions = TerminalOptions()
    multi_harness: MultiHarnessOptions = MultiHarnessOptions()
    sql: SqlOptions = SqlOptions()
    judge: JudgeOptions = JudgeOptions()

    @property
    def asks_judge(self) -> bool:
        """Whether the verifier may ask a language model."""
        return self.name == "judge" or (self.name == "terminal" and self.terminal.judge)

    @model_validator(mode="after")
    def _check(self) -> VerifierSection:
        if self.tool_call.allow_superset and self.count_calls:
            raise ValueError("tool_call.allow_superset accepts surplus calls, count_calls refuses them; unset one")
        if self.name == "sql" and not (self.sql.databases and self.sql.tasks):
            raise ValueError("name = 'sql' needs sql.databases and sql.tasks")
        if self.asks_judge and not (self.judge.base_url and self.judge.model):
            raise ValueError("the judge needs judge.base_url and judge.model")
        return self
