"""The verdict anew, with what a person says of the answers in place of what the rules say. Pure.

A person who finds the rules too strict with the tuned model's answer, or too lax with the base's, must judge the other
answer as well: forgiving or blaming one model alone would look like a gain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from vernacular_trainer.contract import EvaluateSummary, GateConfig, build_strictly
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.errors import refused
from vernacular_trainer.evaluation.scoring import Score, Scored
from vernacular_trainer.evaluation.verdict import Evidence, General, Prompted, judge

_NAMED_ROWS = 5


@dataclass(frozen=True)
class Mark:
    """Whether a person finds the answers to the question at `place` right; None: not said. `row`: where it is said."""

    place: int
    row: str
    tuned: bool | None = None
    base: bool | None = None


@dataclass(frozen=True)
class Change:
    """An answer that a person scores otherwise than the rules do. `model`: base or tuned."""

    digest: str
    model: str
    before: Score
    after: Score


@dataclass(frozen=True)
class Review:
    """What a review comes to. `marks`: what is said, where something is; `asked`: how many questions there are."""

    summary: EvaluateSummary
    marks: tuple[Mark, ...]
    asked: int
    changes: tuple[Change, ...]

    @property
    def marked(self) -> int:
        """Questions of which something is said."""
        return len(self.marks)

    @property
    def counted(self) -> str:
        """How much was looked at, and how much is otherwise than the rules say."""
        return f"{self.marked} of {self.asked} questions reviewed, {len(self.changes)} answers scored otherwise."


def review(report: Mapping[str, Any], marks: Sequence[Mark]) -> Review:
    """The verdict on an evaluation report as a person judges its answers.

    Raises StageError (ArgumentRefused) when nothing is marked, when the base's answer is missing a mark that the
    comparison needs, when the same words are judged both ways, and when this release comes to another verdict on the
    report itself than the report says.
    """
    evidence, gate = evidence_of(report), build_strictly(GateConfig, report["gate"], "gate")
    seconds = report["evaluation_seconds"]
    if judge(evidence, gate, seconds).summary != report["summary"]:
        raise refused(
            "this release judges the report otherwise than the release that wrote it",
            "review with the release of Vernacular that ran the job",
        )
    marks = [mark for mark in marks if mark.tuned is not None or mark.base is not None]
    if not marks:
        raise refused("no answer is marked", "write yes or no into the column OK? of review.xlsx, and save it")
    judged = _judged(evidence, [_with_twin(mark, report) for mark in marks])
    changes = _changes(report, evidence, judged)
    return Review(judge(judged, gate, seconds), tuple(marks), len(evidence.questions), changes)


def evidence_of(report: Mapping[str, Any]) -> Evidence:
    """What the verdict of a report was made from."""
    entries = report["questions"]
    base, tuned = (tuple(_scored(entry[model]) for entry in entries) for model in ("base", "tuned"))
    return Evidence(tuple(map(_question, entries)), base, tuned, _prompted(report), _general(report["general"]))


def _question(entry: Mapping[str, Any]) -> Question:
    messages = tuple(Message(item["role"], item["content"]) for item in entry["messages"])
    return Question(
        entry["row"],
        messages,
        entry["expected"],
        topic=entry["topic"],
        answerable=entry["answerable"],
        phrasing=entry["phrasing"],
        reworded=entry["unit"],
    )


def _scored(answer: Mapping[str, Any]) -> Scored:
    return Scored(Score(answer["score"]), answer["invented"])


def _prompted(report: Mapping[str, Any]) -> Prompted | None:
    entries = report["questions"]
    scores = {place: _scored(entry["prompted"]) for place, entry in enumerate(entries) if "prompted" in entry}
    if not scores:
        return None
    tokens = report["prompted"]["tokens_per_request"]
    return Prompted(report["rows_in_prompt"], tuple(scores), tuple(scores.values()), tokens)


def _general(counts: Mapping[str, int]) -> General | None:
    """Only how many questions each model has right, alone and together, counts for the verdict, not which."""
    if not counts["asked"]:
        return None
    forgotten, kept = counts["forgotten"], counts["base"] - counts["forgotten"]
    learnt = counts["tuned"] - kept
    neither = counts["asked"] - kept - forgotten - learnt
    pairs = [(True, True)] * kept + [(True, False)] * forgotten + [(False, True)] * learnt + [(False, False)] * neither
    base, tuned = zip(*pairs, strict=True)
    return General(base, tuned)


def _with_twin(mark: Mark, report: Mapping[str, Any]) -> Mark:
    """What is said of one answer holds for the same words of the other model.

    Raises StageError (ArgumentRefused) when the same words are judged both ways.
    """
    entry = report["questions"][mark.place]
    if not entry["same_answer"]:
        return mark
    if None not in (mark.tuned, mark.base) and mark.tuned != mark.base:
        raise refused(
            f"both models give the same answer, and it is judged right and wrong ({mark.row})",
            "write the same into both columns, OK? and base OK?, or leave one of them empty",
        )
    return replace(
        mark,
        tuned=mark.base if mark.tuned is None else mark.tuned,
        base=mark.tuned if mark.base is None else mark.base,
    )


def _judged(evidence: Evidence, marks: Sequence[Mark]) -> Evidence:
    base, tuned = list(evidence.base), list(evidence.tuned)
    if unfair := [mark.row for mark in marks if _unfair(mark, base[mark.place], tuned[mark.place])]:
        rows = ", ".join(unfair[:_NAMED_ROWS]) + (" ..." if len(unfair) > _NAMED_ROWS else "")
        raise refused(
            f"the verdict compares both answers, and against the rules only one of them is judged ({rows})",
            "write yes or no into both columns, OK? and base OK?, of these rows",
        )
    forgiven = {mark.place for mark in marks if mark.tuned and _wrong(tuned[mark.place])}
    for mark in marks:
        answerable = evidence.questions[mark.place].answerable
        tuned[mark.place] = _marked(tuned[mark.place], mark.tuned, answerable)
        base[mark.place] = _marked(base[mark.place], mark.base, answerable)
    return replace(evidence, base=tuple(base), tuned=tuple(tuned), prompted=_without(evidence.prompted, forgiven))


def _unfair(mark: Mark, base: Scored, tuned: Scored) -> bool:
    """Whether the tuned model gains on the base by a mark that the other answer, of the same score, might get too."""
    forgiven = bool(mark.tuned) and _wrong(tuned) and mark.base is None and _wrong(base)
    blamed = mark.base is False and not _wrong(base) and mark.tuned is None and not _wrong(tuned)
    return forgiven or blamed


def _wrong(scored: Scored) -> bool:
    return scored.score is not Score.CORRECT


def _marked(scored: Scored, right: bool | None, answerable: bool) -> Scored:
    """A no agrees with any score but right."""
    if right is None or (not right and _wrong(scored)):
        return scored
    return Scored(Score.CORRECT) if right else Scored(Score.WRONG, invented=not answerable)


def _without(prompted: Prompted | None, places: set[int]) -> Prompted | None:
    """Nobody has looked at the answers with rows in the prompt: where the rules were too strict with the tuned model,
    they may have been with these, so these questions are left out of that comparison.
    """
    if prompted is None:
        return None
    scores = dict(zip(prompted.indexes, prompted.scores, strict=True))
    kept = {place: score for place, score in scores.items() if place not in places}
    return replace(prompted, indexes=tuple(kept), scores=tuple(kept.values())) if kept else None


def _changes(report: Mapping[str, Any], before: Evidence, after: Evidence) -> tuple[Change, ...]:
    return tuple(
        Change(report["questions"][place]["digest"], model, old.score, new.score)
        for model, olds, news in (("base", before.base, after.base), ("tuned", before.tuned, after.tuned))
        for place, (old, new) in enumerate(zip(olds, news, strict=True))
        if old != new
    )


def marks_to_dicts(marks: Sequence[Mark], report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Plain data, without any text of rows."""
    return [
        {"digest": report["questions"][mark.place]["digest"], "tuned": mark.tuned, "base": mark.base} for mark in marks
    ]


def changes_to_dicts(changes: Sequence[Change]) -> list[dict[str, Any]]:
    """Plain data, without any text of rows."""
    return [asdict(change) for change in changes]
