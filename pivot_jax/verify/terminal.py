"""Terminal turns written as JSON: the released verifier (NeMo-Gym `terminus_judge`).

An answer must have the harness's schema, must complete the task if the expert's does, and its keystrokes must be
similar enough to the expert's; where they are not, a judge may be asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pivot_jax.config_verifier import TerminalComparison
from pivot_jax.records import Action, Candidate, Verdict
from pivot_jax.verify.similarity import text_similarity
from pivot_jax.verify.terminal_answers import AnswerFault, Harness, TerminalAnswer, answer_json, harness_of, read_answer
from pivot_jax.verify.verifier import Unjudgeable, Verifier

TerminalRules = TerminalComparison


@dataclass(frozen=True)
class TerminalMatch:
    """Scores an answer against the expert's.

    Args:
        rules: how answers are compared.
        fallback: asked where the keystrokes are not similar enough (or are not compared); its verdict is then the
            verdict, with the similarity among its components. None: such an answer scores 0.
        name: what the rewards are stored under.

    Components: `similarity`, 0 to 1; those of the fallback. A reason begins with what failed: "model_output_invalid",
    "schema_check_failed", "task_complete_check_failed" or "string_similarity_below_threshold".
    """

    rules: TerminalRules = field(default_factory=TerminalRules)
    fallback: Verifier | None = None
    name: str = "terminal"

    def __call__(self, candidate: Candidate, action: Action) -> Verdict:
        """The verdict; raises Unjudgeable if the label is no valid answer, and what the fallback raises."""
        if action.malformed:
            return Verdict(reason=action.malformed)
        expected, harness = self._label(candidate)
        try:
            actual = read_answer(answer_json(action.content), harness)
        except AnswerFault as fault:
            return Verdict(reason=str(fault))
        if expected.completes and not actual.completes:
            return Verdict(reason="task_complete_check_failed: the expert's answer completes the task")
        components: dict[str, float] = {}
        if self.rules.string_similarity:
            similarity = components["similarity"] = keystroke_similarity(expected, actual)
            if similarity >= self.rules.threshold:
                return Verdict(reward=1.0, components=components)
            if self.fallback is None:
                reason = f"string_similarity_below_threshold: {similarity:.3f} < {self.rules.threshold:g}"
                return Verdict(components=components, reason=reason)
        if self.fallback is None:
            return Verdict(reward=1.0, components=components)
        verdict = self.fallback(candidate, action)
        return verdict.model_copy(update={"components": {**components, **verdict.components}})

    def _label(self, candidate: Candidate) -> tuple[TerminalAnswer, Harness]:
        try:
            value = answer_json(candidate.expert.content)
            harness = harness_of(value) if self.rules.harness == "label" else self.rules.harness
            if harness is None:
                raise Unjudgeable(f"label of {candidate.id}: its keys {sorted(value)} are those of no known harness")
            return read_answer(value, harness), harness
        except AnswerFault as fault:
            raise Unjudgeable(f"label of {candidate.id}: {fault}") from fault


def keystroke_similarity(expected: TerminalAnswer, actual: TerminalAnswer) -> float:
    """Similarity of all keystrokes in sequence; two answers without a command are equal, and one without is unlike."""
    if not (expected.keystrokes and actual.keystrokes):
        return float(bool(expected.keystrokes) == bool(actual.keystrokes))
    return text_similarity("".join(expected.keystrokes), "".join(actual.keystrokes))
