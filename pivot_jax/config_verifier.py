"""Options of the verifiers, as a config names them: the fields of each are those of the verifier's own rules."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Options(BaseModel):
    """Base of every table of options: frozen, no unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @property
    def rules(self) -> dict[str, Any]:
        """The fields by name."""
        return dict(self)


class ToolCallOptions(Options):
    """`tool_call`: rewards for turns of several calls."""

    parallel_rewarding: bool = False
    """Reward batches by `reward_mode`; off, every expected call must be matched."""
    allow_subset: bool = False
    allow_superset: bool = False
    """Accept fewer or more calls than expected (needs count_calls = false)."""
    reward_mode: Literal["binary_strict", "fractional", "f1"] = "binary_strict"


class SweOptions(Options):
    """`swe`: the tool, its target, and the similarity of the arguments. The paper's reward: both switches off."""

    reward_mode: Literal["binary", "continuous"] = "binary"
    target: bool = True
    similarity: bool = True
    partial_credit: float = Field(default=0.4, ge=0, le=1)
    full_credit: float = Field(default=0.8, gt=0, le=1)
    length_penalty: float = Field(default=0.1, ge=0, le=1)
    """Largest share of the reward that the length of an edit costs (continuous; 0: none)."""
    released_faults: bool = False
    """Keep what is a fault in the released verifier; docs/verifiers.md lists it."""

    @model_validator(mode="after")
    def _check(self) -> SweOptions:
        if self.partial_credit >= self.full_credit:
            raise ValueError(f"partial_credit={self.partial_credit} must be below full_credit={self.full_credit}")
        return self


class TerminalOptions(Options):
    """`terminal`: answers in one of the two JSON formats of Terminus."""

    harness: Literal["label", "terminus_1", "terminus_2"] = "label"
    """Schema of the answers (label: the one that the expert's answer has)."""
    string_similarity: bool = True
    threshold: float = Field(default=0.9, ge=0, le=1)
    """Least similarity of the keystrokes."""
    judge: bool = False
    """Ask the judge where the keystrokes are not similar enough."""


class MultiHarnessOptions(Options):
    """`multi_harness`: turns of Codex and Agent006."""

    harness: Literal["codex", "agent006"] = "codex"
    threshold: float = Field(default=0.9, ge=0, le=1)
    """Least similarity of the texts that the harness's rulebook compares."""


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
