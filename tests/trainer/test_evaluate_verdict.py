"""Verdicts, and how sure they are: hand-made evidence, and coverage against known distributions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from vernacular_trainer.contract import AnswerCounts, EvaluateSummary, GateConfig
from vernacular_trainer.data.questions import Question
from vernacular_trainer.data.rows import Message
from vernacular_trainer.evaluation.gate import missed
from vernacular_trainer.evaluation.intervals import difference
from vernacular_trainer.evaluation.scoring import Score, Scored
from vernacular_trainer.evaluation.topics import by_topic, weak_topics
from vernacular_trainer.evaluation.verdict import Evidence, General, Prompted, judge

RIGHT, WRONG, DECLINED = (Scored(score) for score in Score)
INVENTED = Scored(Score.WRONG, invented=True)
NO_GATE = GateConfig()


def asked(count: int, unanswerable: int = 0, topic: str = "") -> tuple[Question, ...]:
    """So many questions; the last `unanswerable` of them have no answer."""
    return tuple(
        Question(
            f"q:{number}", (Message("user", f"{number}?"),), "x", topic=topic, answerable=number < count - unanswerable
        )
        for number in range(count)
    )


def verdict_of(
    base: Sequence[Scored],
    tuned: Sequence[Scored],
    unanswerable: int = 0,
    gate: GateConfig = NO_GATE,
    prompted: Prompted | None = None,
    general: General | None = None,
) -> EvaluateSummary:
    evidence = Evidence(asked(len(base), unanswerable), tuple(base), tuple(tuned), prompted, general)
    return judge(evidence, gate)


def with_rows(scores: Sequence[Scored]) -> Prompted:
    return Prompted(5, tuple(range(len(scores))), tuple(scores), 400)


def test_a_clear_gain_is_promoted_and_said_in_two_sentences() -> None:
    base = [RIGHT] * 16 + [WRONG] * 40 + [DECLINED] * 22
    tuned = [RIGHT] * 67 + [WRONG] * 3 + [DECLINED] * 7 + [INVENTED]

    summary = verdict_of(base, tuned, unanswerable=10)

    assert summary.verdict == "Promote"
    low = summary.gain_points.low
    assert summary.summary == (
        f"Tuned 67 of 78 right, base 16; 4 wrong; invented 1 of 10. Better than the base by 65 points, surely by {low}."
    )
    assert summary.gain_points.value == 65
    assert 45 < low < 65 < summary.gain_points.high < 80
    assert summary.tuned == AnswerCounts(67, 4, 7, 1)


def test_a_loss_is_regressed() -> None:
    summary = verdict_of([RIGHT] * 20, [WRONG] * 20)

    assert summary.verdict == "Regressed"
    assert "Worse than the base by 100 points" in summary.summary


@pytest.mark.parametrize(
    ("base", "tuned"),
    [
        ([RIGHT] * 30, [RIGHT] * 30),
        ([WRONG] * 30, [WRONG] * 30),
        ([RIGHT] * 20 + [WRONG], [RIGHT] * 20 + [RIGHT]),
        ([WRONG] * 4, [RIGHT] * 4),
        ([WRONG] * 10 + [RIGHT] * 10, [RIGHT] * 10 + [WRONG] * 7 + [RIGHT] * 3),
    ],
    ids=["perfect base", "nothing learnt", "one more", "four questions", "gains and losses"],
)
def test_what_may_be_chance_is_never_promoted(base: list[Scored], tuned: list[Scored]) -> None:
    summary = verdict_of(base, tuned)

    assert summary.verdict == "Inconclusive"
    assert "may be chance" in summary.summary


def test_an_unproven_gain_says_how_many_questions_are_missing() -> None:
    assert "93 more questions would prove gains above 10." in verdict_of([WRONG] * 4, [RIGHT] * 4).summary


def test_nothing_asked_proves_nothing_and_passes_no_gate() -> None:
    summary = verdict_of([], [])
    gated = verdict_of([], [], gate=GateConfig(1, 100, 100, 0, 100))

    assert summary.verdict == "Inconclusive"
    assert summary.summary == (
        "Nothing was held out, so nothing was asked. Give evaluation.questions, or hold rows out."
    )
    assert gated.verdict == "Hold"
    assert [item.split()[0] for item in gated.gate_missed] == [
        *("minCorrectPercent", "maxWrongPercent", "maxInventedPercent", "minGainPoints"),
        "maxGeneralRegressionPercent",
    ]


def test_rows_in_the_prompt_that_do_better_make_training_pointless() -> None:
    base, tuned, prompted = [WRONG] * 40, [RIGHT] * 20 + [WRONG] * 20, [RIGHT] * 36 + [WRONG] * 4

    summary = verdict_of(base, tuned, prompted=with_rows(prompted))
    unproven = verdict_of(base, tuned, prompted=with_rows([RIGHT] * 22 + [WRONG] * 18))

    assert summary.verdict == "PromptInstead"
    assert "Base with 5 rows in the prompt: 36." in summary.summary
    assert summary.prompted
    assert (summary.prompted.asked, summary.prompted.counts.correct, summary.prompted.tuned_correct) == (40, 36, 20)
    assert unproven.verdict == "Promote"


def test_a_sample_with_rows_is_compared_with_the_same_questions() -> None:
    tuned = [RIGHT] * 20 + [WRONG] * 20
    prompted = Prompted(5, tuple(range(0, 40, 2)), (RIGHT,) * 20, 400)

    summary = verdict_of([WRONG] * 40, tuned, prompted=prompted)

    assert summary.verdict == "PromptInstead"
    assert "Base with 5 rows in the prompt: 20 of 20." in summary.summary
    assert summary.prompted
    assert summary.prompted.tuned_correct == 10


def test_forgetting_the_world_holds_a_version_back() -> None:
    gained = [WRONG] * 30, [RIGHT] * 30

    forgot = verdict_of(*gained, general=General((True,) * 100, (True,) * 80 + (False,) * 20))
    little = verdict_of(*gained, general=General((True,) * 100, (True,) * 96 + (False,) * 4))
    chance = verdict_of(*gained, general=General((True,) * 20, (True,) * 18 + (False,) * 2))
    knew_nothing = verdict_of(*gained, general=General((False,) * 20, (False,) * 20))

    assert (forgot.verdict, forgot.general_regression_percent) == ("Hold", 20)
    assert "20 % of what the base knew about the world is forgotten" in forgot.summary
    assert (little.verdict, little.general_regression_percent) == ("Promote", 4)
    assert (chance.verdict, chance.general_regression_percent) == ("Promote", 10)
    assert (knew_nothing.verdict, knew_nothing.general_regression_percent) == ("Promote", None)


def test_learning_to_make_things_up_holds_a_version_back() -> None:
    base, tuned = [WRONG] * 60 + [RIGHT] * 20, [RIGHT] * 60 + [INVENTED] * 15 + [RIGHT] * 5

    summary = verdict_of(base, tuned, unanswerable=20)

    assert summary.verdict == "Hold"
    assert "it makes up answers to 15 of 20 questions that have none, base 0" in summary.summary


@pytest.mark.parametrize(
    ("gate", "expected"),
    [
        (GateConfig(min_correct_percent=70), ()),
        (GateConfig(min_correct_percent=71), ("minCorrectPercent 71: 70 of 100 right",)),
        (GateConfig(max_wrong_percent=20), ()),
        (GateConfig(max_wrong_percent=19), ("maxWrongPercent 19: 20 of 100 wrong",)),
        (GateConfig(max_invented_percent=50), ()),
        (GateConfig(max_invented_percent=49), ("maxInventedPercent 49: 5 of 10 invented",)),
        (GateConfig(min_gain_points=12), ()),
        (GateConfig(min_gain_points=13), ("minGainPoints 13: 12.4 points gained",)),
        (GateConfig(max_general_regression_percent=6), ()),
        (GateConfig(max_general_regression_percent=5), ("maxGeneralRegressionPercent 5: 5.1 % forgotten",)),
        (
            GateConfig(90, 5, None, 20),
            (
                "minCorrectPercent 90: 70 of 100 right",
                "maxWrongPercent 5: 20 of 100 wrong",
                "minGainPoints 20: 12.4 points gained",
            ),
        ),
    ],
)
def test_demands_of_the_gate(gate: GateConfig, expected: tuple[str, ...]) -> None:
    assert missed(gate, AnswerCounts(70, 20, 10, 5), 10, 12.4, 5.1) == expected


def test_what_was_not_measured_is_missed() -> None:
    gate = GateConfig(max_invented_percent=100, max_general_regression_percent=100)

    found = missed(gate, AnswerCounts(10, 0, 0, 0), 0, 100.0, None)

    assert found == (
        "maxInventedPercent 100: no question has answerable: false",
        "maxGeneralRegressionPercent 100: not measured",
    )


def test_a_missed_gate_holds_a_proven_gain_back() -> None:
    summary = verdict_of([WRONG] * 40, [RIGHT] * 30 + [WRONG] * 10, gate=GateConfig(max_wrong_percent=3))

    assert summary.verdict == "Hold"
    assert summary.gate_missed == ("maxWrongPercent 3: 10 of 40 wrong",)
    assert summary.summary.endswith("Held back: maxWrongPercent 3: 10 of 40 wrong.")


@pytest.mark.parametrize("gained", [29, 57, 58])
def test_a_demand_that_is_just_met_is_met(gained: int) -> None:
    tuned = [RIGHT] * gained + [WRONG] * (100 - gained)

    assert verdict_of([WRONG] * 100, tuned, gate=GateConfig(min_gain_points=gained)).gate_missed == ()
    assert verdict_of([WRONG] * 100, tuned, gate=GateConfig(min_gain_points=gained + 1)).gate_missed


def test_a_question_that_is_repeated_proves_no_more_than_once() -> None:
    questions = asked(1) * 40
    tuned = (INVENTED,) * 40

    summary = judge(Evidence(questions, (WRONG,) * 40, (RIGHT,) * 40), NO_GATE)
    invented = judge(
        Evidence(asked(30) + asked(1, unanswerable=1) * 10, (WRONG,) * 30 + (RIGHT,) * 10, (RIGHT,) * 30 + tuned[:10]),
        NO_GATE,
    )

    assert summary.verdict == "Inconclusive"
    assert "96 more questions" in summary.summary
    assert "makes up" not in invented.summary


def test_topics_are_told_apart() -> None:
    questions = (*asked(4, topic="leave"), *asked(5, topic="travel"), *asked(3))
    base, tuned = [WRONG] * 12, [RIGHT] * 4 + [RIGHT] * 2 + [WRONG] * 3 + [WRONG] * 3

    leave, travel = by_topic(questions, base, tuned)

    assert (leave.name, leave.asked, leave.base_correct, leave.tuned_correct) == ("leave", 4, 0, 4)
    assert (travel.tuned_correct, round(travel.gain.value)) == (2, 40)
    assert weak_topics(questions, tuned) == ("travel",)


def test_phrasings_of_one_question_are_one_piece_of_evidence() -> None:
    base, tuned = [False] * 12, [True] * 12

    alone = difference(base, tuned)
    together = difference(base, tuned, ["one"] * 6 + ["two"] * 6)

    assert alone.better
    assert not together.better
    assert together.value == alone.value == 100


def test_the_interval_is_always_the_same_and_near_the_normal_one() -> None:
    base, tuned = [False] * 100 + [True] * 100, [True] * 150 + [False] * 50

    interval = difference(base, tuned)

    # per question the difference is +1 100 times, 0 50 times, -1 50 times: mean 0.25, standard error 0.0586
    assert interval.value == pytest.approx(25)
    assert interval.low == pytest.approx(25 - 1.96 * 5.86, abs=1.5)
    assert interval.high == pytest.approx(25 + 1.96 * 5.86, abs=1.5)
    assert difference(base, tuned) == interval


def test_a_handful_of_questions_proves_only_what_is_unanimous() -> None:
    assert not difference([False] * 4, [True] * 4).better
    assert difference([False] * 5, [True] * 5).better
    assert not difference([False] * 4 + [True], [True] * 4 + [False]).better


@pytest.mark.parametrize(
    ("asked_questions", "better", "worse"),
    [(10, 0.5, 0.1), (20, 0.3, 0.3), (40, 0.1, 0.05), (80, 0.6, 0.05), (200, 0.2, 0.2)],
)
def test_intervals_hold_the_truth_as_often_as_they_say(asked_questions: int, better: float, worse: float) -> None:
    """200 simulated evaluations of a known difference: 95 % of the intervals hold it."""
    generator = np.random.default_rng(7)
    truth = 100 * (better - worse)
    held = 0
    for _ in range(200):
        drawn = generator.random(asked_questions)
        base = ((drawn > better) & (drawn < better + worse)).tolist()
        tuned = (drawn <= better).tolist()
        interval = difference(base, tuned)
        held += interval.low <= truth <= interval.high

    # of 200 draws with a chance of 95 %, fewer than 180 hold it once in 300 simulations
    assert held >= 180


def test_equal_models_are_promoted_about_as_rarely_as_the_interval_says() -> None:
    generator = np.random.default_rng(11)
    promoted = regressed = 0
    for _ in range(1000):
        base, tuned = (tuple(map(_score, generator.random(30) < 0.5)) for _ in range(2))
        verdict = judge(Evidence(asked(30), base, tuned), NO_GATE).verdict
        promoted += verdict == "Promote"
        regressed += verdict == "Regressed"

    # 2.5 % on either side
    assert promoted <= 45
    assert regressed <= 45


@pytest.mark.parametrize(("better", "worse", "promoted"), [(0.4, 0.05, (450, 500)), (0.05, 0.1, (0, 12))])
def test_gains_are_promoted_and_losses_are_not(better: float, worse: float, promoted: tuple[int, int]) -> None:
    """500 simulated verdicts each on 78 questions: a true gain of 35 points, and a true loss of 5."""
    generator = np.random.default_rng(13)
    found = 0
    for _ in range(500):
        drawn = generator.random(78)
        base = tuple(map(_score, (drawn > better) & (drawn < better + worse)))
        tuned = tuple(map(_score, drawn <= better))
        found += judge(Evidence(asked(78), base, tuned), NO_GATE).verdict == "Promote"

    least, most = promoted
    assert least <= found <= most


def _score(right: bool) -> Scored:
    return RIGHT if right else WRONG
