"""From scores to a verdict: may the tuned model be promoted, and why, in words that a team lead understands. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from vernacular_trainer.contract import AnswerCounts, EvaluateSummary, Gain, GateConfig, PromptedSummary
from vernacular_trainer.data.questions import Question, pieces
from vernacular_trainer.data.split import GOAL_POINTS, questions_for
from vernacular_trainer.evaluation import gate as demands
from vernacular_trainer.evaluation.intervals import Interval, difference
from vernacular_trainer.evaluation.scoring import Score, Scored
from vernacular_trainer.evaluation.topics import weak_topics

# of what the base knew about the world, so much may be lost when no gate says otherwise
FORGETTING_PERCENT = 5


class Verdict(StrEnum):
    """What to make of the tuned model. Only Promote promotes."""

    PROMOTE = "Promote"
    HOLD = "Hold"
    REGRESSED = "Regressed"
    INCONCLUSIVE = "Inconclusive"
    PROMPT_INSTEAD = "PromptInstead"


@dataclass(frozen=True)
class Prompted:
    """The base with `rows` training rows in its prompt, asked the questions at `indexes`."""

    rows: int
    indexes: tuple[int, ...]
    scores: tuple[Scored, ...]
    tokens_per_request: int


@dataclass(frozen=True)
class General:
    """Which questions about the world, the same for both, each model answers right."""

    base: tuple[bool, ...]
    tuned: tuple[bool, ...]

    @property
    def lost_percent(self) -> float | None:
        """How much less than the base the tuned model knows, net of what it knows newly; None when the base knew
        nothing.
        """
        known = sum(self.base)
        return 100 * max(0, known - sum(self.tuned)) / known if known else None

    @property
    def proven(self) -> bool:
        """Whether the loss is more than chance."""
        return difference(self.base, self.tuned).worse


@dataclass(frozen=True)
class Evidence:
    """Everything that was measured; scores in the order of the questions. None: not measured."""

    questions: tuple[Question, ...]
    base: tuple[Scored, ...]
    tuned: tuple[Scored, ...]
    prompted: Prompted | None = None
    general: General | None = None

    @property
    def gain(self) -> Interval:
        """How much more often the tuned model is right."""
        units = [question.unit for question in self.questions]
        return difference(_right(self.base), _right(self.tuned), units)

    @property
    def unanswerable(self) -> tuple[int, ...]:
        """Indexes of the questions that have no answer."""
        return tuple(index for index, question in enumerate(self.questions) if not question.answerable)

    @property
    def over_prompted(self) -> Interval:
        """How much more often the tuned model is right than the base with rows in its prompt."""
        if self.prompted is None:
            return difference([], [])
        units = [self.questions[index].unit for index in self.prompted.indexes]
        tuned = [self.tuned[index] for index in self.prompted.indexes]
        return difference(_right(self.prompted.scores), _right(tuned), units)


def judge(evidence: Evidence, gate: GateConfig, seconds: int = 0) -> EvaluateSummary:
    """The verdict on what was measured in `seconds`."""
    base, tuned, gain = count(evidence.base), count(evidence.tuned), evidence.gain
    lost = evidence.general.lost_percent if evidence.general else None
    missed = demands.missed(gate, tuned, len(evidence.unanswerable), gain.value, lost)
    verdict, reason = _decide(evidence, gain, missed, gate)
    return EvaluateSummary(
        summary=f"{_counted(evidence, base, tuned)} {reason}",
        verdict=verdict,
        base=base,
        tuned=tuned,
        gain_points=Gain(round(gain.value), round(gain.low), round(gain.high)),
        prompted=_prompted(evidence),
        general_regression_percent=None if lost is None else round(lost),
        gate_missed=missed,
        weak_topics=weak_topics(evidence.questions, evidence.tuned),
        evaluation_seconds=seconds,
    )


def count(scored: Sequence[Scored]) -> AnswerCounts:
    """How many answers got which score."""
    by_score = {score: sum(item.score is score for item in scored) for score in Score}
    invented = sum(item.invented for item in scored)
    return AnswerCounts(by_score[Score.CORRECT], by_score[Score.WRONG], by_score[Score.DECLINED], invented)


def _decide(evidence: Evidence, gain: Interval, missed: tuple[str, ...], gate: GateConfig) -> tuple[Verdict, str]:
    over = evidence.over_prompted
    if gain.worse:
        return Verdict.REGRESSED, f"Worse than the base by {-gain.value:.0f} points, surely by {-gain.high:.0f}."
    if evidence.prompted and over.worse:
        rows = evidence.prompted.rows
        return Verdict.PROMPT_INSTEAD, f"The base with {rows} matching rows in its prompt does better than training."
    if held := (*missed, *_harm(evidence, gate)):
        return Verdict.HOLD, f"Held back: {'; '.join(held)}."
    if not gain.better:
        return Verdict.INCONCLUSIVE, _unproven(pieces(evidence.questions), gain)
    return Verdict.PROMOTE, f"Better than the base by {gain.value:.0f} points, surely by {gain.low:.0f}."


def _harm(evidence: Evidence, gate: GateConfig) -> tuple[str, ...]:
    """What no company wants and no demand of the gate covers."""
    harm = []
    general, asked = evidence.general, evidence.unanswerable
    if gate.max_general_regression_percent is None and general and general.proven:
        lost = general.lost_percent or 0.0
        if lost > FORGETTING_PERCENT:
            harm.append(f"{lost:.0f} % of what the base knew about the world is forgotten")
    if gate.max_invented_percent is None:
        base, tuned = ([scores[index].invented for index in asked] for scores in (evidence.base, evidence.tuned))
        if asked and difference(base, tuned, [evidence.questions[index].unit for index in asked]).better:
            more = f"{sum(tuned)} of {len(asked)} questions that have none, base {sum(base)}"
            harm.append(f"it makes up answers to {more}")
    return tuple(harm)


def _unproven(asked: int, gain: Interval) -> str:
    if not asked:
        return "Give evaluation.questions, or hold rows out."
    text = f"The gain of {gain.value:.0f} points may be chance: it lies between {gain.low:.0f} and {gain.high:.0f}."
    more = questions_for(GOAL_POINTS) - asked
    if more > 0:
        text += f" {more} more questions would prove gains above {GOAL_POINTS}."
    return text


def _counted(evidence: Evidence, base: AnswerCounts, tuned: AnswerCounts) -> str:
    asked, unanswerable = len(evidence.questions), len(evidence.unanswerable)
    if not asked:
        return "Nothing was held out, so nothing was asked."
    invented = f"; invented {tuned.invented} of {unanswerable}" if unanswerable else ""
    text = f"Tuned {tuned.correct} of {asked} right, base {base.correct}; {tuned.wrong} wrong{invented}."
    if found := evidence.prompted:
        of = "" if len(found.indexes) == asked else f" of {len(found.indexes)}"
        text += f" Base with {found.rows} rows in the prompt: {count(found.scores).correct}{of}."
    return text


def _prompted(evidence: Evidence) -> PromptedSummary | None:
    if (found := evidence.prompted) is None:
        return None
    tuned = count([evidence.tuned[index] for index in found.indexes])
    return PromptedSummary(len(found.indexes), count(found.scores), tuned.correct, found.tokens_per_request)


def _right(scored: Sequence[Scored]) -> list[bool]:
    return [item.score is Score.CORRECT for item in scored]
