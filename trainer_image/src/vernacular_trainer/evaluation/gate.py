"""What a company demands of a model before it may be promoted, and which demands were missed. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from vernacular_trainer.contract import AnswerCounts, GateConfig


def missed(
    gate: GateConfig, tuned: AnswerCounts, unanswerable: int, gain_points: float, lost_percent: float | None
) -> tuple[str, ...]:
    """Each demand that was missed, in a few words. What was not measured is missed: a gate never passes without proof.

    `unanswerable`: questions that have no answer; `lost_percent`: of what the base knew in general, None: not measured.
    """
    return tuple(_missed(gate, tuned, unanswerable, gain_points, lost_percent))


def _missed(
    gate: GateConfig, tuned: AnswerCounts, unanswerable: int, gain_points: float, lost_percent: float | None
) -> Iterator[str]:
    asked = tuned.correct + tuned.wrong + tuned.declined
    if (least := gate.min_correct_percent) is not None:
        yield from _share("minCorrectPercent", "right", tuned.correct, asked, least, at_least=True)
    if (most := gate.max_wrong_percent) is not None:
        yield from _share("maxWrongPercent", "wrong", tuned.wrong, asked, most, at_least=False)
    if (most := gate.max_invented_percent) is not None:
        yield from _share("maxInventedPercent", "invented", tuned.invented, unanswerable, most, at_least=False)
    if (least := gate.min_gain_points) is not None and (not asked or round(gain_points, 6) < least):
        yield f"minGainPoints {least}: {gain_points:.1f} points gained"
    if (most := gate.max_general_regression_percent) is not None:
        if lost_percent is None:
            yield f"maxGeneralRegressionPercent {most}: not measured"
        elif lost_percent > most:
            yield f"maxGeneralRegressionPercent {most}: {lost_percent:.1f} % forgotten"


def _share(name: str, what: str, count: int, asked: int, limit: int, *, at_least: bool) -> Iterator[str]:
    if not asked:
        nothing = "no question has answerable: false" if what == "invented" else "nothing was asked"
        yield f"{name} {limit}: {nothing}"
    elif (100 * count < limit * asked) if at_least else (100 * count > limit * asked):
        yield f"{name} {limit}: {count} of {asked} {what}"
