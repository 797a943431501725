"""Several jobs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.cli.comparing import (
    HELD_OUT_LOSS,
    TRAINING_LOSS,
    Score,
    Spent,
    Subject,
    differing,
    equal_settings,
    remarks,
)
from vernacular.cli.runs import Curve
from vernacular.cli.screens.jobs import STATE_COLOURS, VERDICT_COLOURS
from vernacular.cli.screens.layout import Cell, Paint, section, table, wrapped
from vernacular.cli.screens.values import bars, counted, duration, text
from vernacular.cli.terminal import Colour

_LONGEST_VALUE = 40
_LONGEST_COURSE = 60
_SHORTEST_COURSE = 10
_WIDEST = 110
_SCORE_TITLES = ("JOB", "VERDICT", "BASE", "TUNED", "WRONG", "DECLINED", "INVENTED", "IN PROMPT", "GAIN")


def comparison(subjects: Sequence[Subject], paint: Paint, width: int) -> list[str]:
    """Jobs, settings that differ, losses, answers, what they cost."""
    course = min(_LONGEST_COURSE, max(_SHORTEST_COURSE, width - max(len(item.name) for item in subjects) - 26))
    notes = [line for remark in remarks(subjects) for line in wrapped(remark, min(width, _WIDEST))]
    return [
        *table(("JOB", "STATE", "RUN"), [_head(item) for item in subjects], paint),
        *section("Settings that differ", _settings(subjects, paint), paint),
        *section("Training loss", _courses(subjects, TRAINING_LOSS, course, paint), paint),
        *section("Loss on rows that were held out", _courses(subjects, HELD_OUT_LOSS, course, paint), paint),
        *section("Answers", _answers(subjects, paint), paint),
        *section("Used", _used(subjects, paint), paint),
        *(["", *(paint(note, Colour.ATTENTION) for note in notes)] if notes else []),
    ]


def _head(subject: Subject) -> list[Cell]:
    return [
        Cell(subject.name),
        Cell(text(subject.state), STATE_COLOURS.get(subject.state, Colour.ACTIVE) if subject.state else None),
        Cell(text(subject.run_id)),
    ]


def _settings(subjects: Sequence[Subject], paint: Paint) -> list[str]:
    found, equal = differing(subjects), equal_settings(subjects)
    if not found:
        return [f"none; {counted(equal, 'setting')} are the same"] if equal else []
    rows = [[Cell(name), *(Cell(_short(text(value))) for value in values)] for name, values in found.items()]
    lines = table(("SETTING", *(item.name for item in subjects)), rows, paint)
    return [*lines, *([f"the other {counted(equal, 'setting')} are the same"] if equal else [])]


def _short(value: str) -> str:
    """Long values differ at their ends: a path, a digest."""
    return value if len(value) <= _LONGEST_VALUE else f"...{value[3 - _LONGEST_VALUE :]}"


def _courses(subjects: Sequence[Subject], metric: str, width: int, paint: Paint) -> list[str]:
    """All on one scale, so that higher is worse also between jobs."""
    curves: list[tuple[str, Curve]] = [(item.name, item.curves.get(metric, ())) for item in subjects]
    points = [point for _, curve in curves for point in curve]
    if not points:
        return []
    steps, values = [step for step, _ in points], [value for _, value in points]
    rows = [
        [
            Cell(name),
            Cell(bars(curve, width, (min(steps), max(steps)), (min(values), max(values))), Colour.ACTIVE),
            Cell(f"{curve[0][1]:.3g} to {curve[-1][1]:.3g}" if curve else "-"),
            Cell(f"step {curve[-1][0]:,}" if curve else ""),
        ]
        for name, curve in curves
    ]
    # without titles: the lines speak for themselves
    return table(("",) * 4, rows, paint)[1:]


def _answers(subjects: Sequence[Subject], paint: Paint) -> list[str]:
    rows = [_score(item.name, item.score) for item in subjects]
    return table(_SCORE_TITLES, rows, paint) if any(item.score for item in subjects) else []


def _score(name: str, score: Score | None) -> list[Cell]:
    if score is None:
        return [Cell(name), *[Cell(text(None))] * (len(_SCORE_TITLES) - 1)]
    prompted = f"{score.prompted[0]} of {score.prompted[1]}" if score.prompted else text(None)
    return [
        Cell(name),
        Cell(text(score.verdict), VERDICT_COLOURS.get(score.verdict, Colour.ATTENTION)),
        Cell(f"{score.base_correct} of {score.asked}"),
        Cell(f"{score.tuned_correct} of {score.asked}"),
        *(Cell(str(number)) for number in (score.wrong, score.declined, score.invented)),
        Cell(prompted),
        Cell(f"{score.gain:+d} ({score.gain_low:+d} to {score.gain_high:+d})"),
    ]


def _used(subjects: Sequence[Subject], paint: Paint) -> list[str]:
    if all(item.spent == Spent() for item in subjects):
        return []
    rows = [
        [
            Cell(item.name),
            Cell(duration(item.spent.seconds)),
            Cell(text(None) if item.spent.gpu_hours is None else f"{item.spent.gpu_hours:.2f}"),
            Cell(text(f"{item.spent.cost} {item.spent.currency}".strip())),
        ]
        for item in subjects
    ]
    return table(("JOB", "TIME", "GPU HOURS", "COST"), rows, paint)
