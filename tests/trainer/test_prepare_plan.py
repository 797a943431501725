"""The plan: every default with its reason, and the values that cannot work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import make_job
from vernacular_trainer.contract import (
    CheckpointsConfig,
    ComputeConfig,
    EarlyStoppingConfig,
    MethodConfig,
    StageFailure,
    TrainingConfig,
)
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.split import Split, provable_points, questions_for, split_rows
from vernacular_trainer.errors import StageError
from vernacular_trainer.extra_arguments import ALLOWED, FIELDS
from vernacular_trainer.plan import ResolvedPlan
from vernacular_trainer.planning import DataFacts, resolve, summarise

FACTS = DataFacts(train_rows=90, validation_rows=10, longest_row=100, model_limit=2048)


def plan_for(facts: DataFacts = FACTS, **changes: Any) -> ResolvedPlan:
    config, _ = make_job(Path("/nowhere"), Path("/models/tiny"), Path("train.jsonl"), **changes)
    return resolve(config, facts).plan


def refusal(facts: DataFacts = FACTS, **changes: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        plan_for(facts, **changes)
    assert caught.value.code is StageFailure.ARGUMENT_REFUSED
    return caught.value


def test_everything_has_a_default() -> None:
    assert plan_for() == ResolvedPlan(
        method="LoRA",
        strategy="DDP",
        world_size=1,
        epochs=3,
        total_steps=36,
        learning_rate=2e-4,
        effective_batch_size=8,
        micro_batch_size=8,
        accumulation=1,
        max_sequence_length=128,
        precision="FP32",
        scheduler="Cosine",
        warmup_steps=1,
        weight_decay=0.0,
        max_grad_norm=1.0,
        seed=42,
        checkpoint_every_steps=7,
        evaluate_every_steps=7,
        keep_checkpoints=2,
        lora_rank=16,
        lora_alpha=32,
        lora_dropout=0.0,
        lora_target_modules=("all-linear",),
    )


def test_everything_a_user_writes_is_followed() -> None:
    training = TrainingConfig(
        max_steps=25,
        learning_rate="1e-3",
        effective_batch_size=24,
        micro_batch_size=2,
        max_sequence_length=512,
        precision="BF16",
        scheduler="Linear",
        warmup_percent=20,
        weight_decay="0.1",
        max_grad_norm="0.5",
        seed=0,
        gradient_checkpointing="On",
        evaluate_every_steps=4,
        optimizer="AdamW",
        extra_arguments={"neftune_noise_alpha": "5", "adam_beta2": "0.95"},
        keep="Last",
        early_stopping=EarlyStoppingConfig(5, "0.001"),
    )
    method = MethodConfig(rank=4, alpha=4, dropout_percent=5, target_modules=("q_proj", "v_proj"), variant="DoRA")
    compute = ComputeConfig(pods=2, processes_per_pod=2, strategy="ZeRO3", offload="OptimizerAndParameters")

    plan = plan_for(training=training, method=method, compute=compute, checkpoints=CheckpointsConfig(3, 1))

    assert plan == ResolvedPlan(
        method="LoRA",
        strategy="ZeRO3",
        world_size=4,
        epochs=7,
        total_steps=25,
        learning_rate=1e-3,
        effective_batch_size=24,
        micro_batch_size=2,
        accumulation=3,
        max_sequence_length=512,
        precision="BF16",
        scheduler="Linear",
        warmup_steps=5,
        weight_decay=0.1,
        max_grad_norm=0.5,
        seed=0,
        checkpoint_every_steps=3,
        evaluate_every_steps=4,
        keep_checkpoints=1,
        optimizer="AdamW",
        offload="OptimizerAndParameters",
        extra_arguments={"adam_beta2": 0.95, "neftune_noise_alpha": 5.0},
        keep="Last",
        patience=5,
        min_delta=0.001,
        gradient_checkpointing=True,
        lora_rank=4,
        lora_alpha=4,
        lora_dropout=0.05,
        lora_target_modules=("q_proj", "v_proj"),
        lora_variant="DoRA",
    )


@pytest.mark.parametrize(
    ("optimizer", "compute", "advice"),
    [
        ("PagedAdamW8bit", ComputeConfig(), "write AdamW8bit, or omit it"),
        ("AdamW8bit", ComputeConfig(strategy="ZeRO2", offload="Optimizer"), "write one of them"),
        (None, ComputeConfig(offload="Optimizer"), "write strategy ZeRO1 or ZeRO2 or ZeRO3"),
        (None, ComputeConfig(strategy="ZeRO2", offload="OptimizerAndParameters"), "write strategy ZeRO3"),
    ],
)
def test_what_saves_memory_must_fit_the_devices(optimizer: str | None, compute: ComputeConfig, advice: str) -> None:
    refused = refusal(training=TrainingConfig(optimizer=optimizer), compute=compute)
    assert refused.report().advice == advice


@pytest.mark.parametrize(
    ("name", "value", "advice"),
    [
        ("learning_rate", "1e-4", "write it as training.learningRate"),
        ("label_smoothing_factor", "0.1", "remove it; what can be set is adam_beta1,"),
        ("adam_beta1", "1.0", "write a number from 0 to below 1, in quotes"),
        ("adam_epsilon", "nan", "write a number above 0 and below 1, in quotes"),
        ("tf32", "true", "remove it where compute.gpusPerPod is 0"),
    ],
)
def test_extra_arguments_that_cannot_work(name: str, value: str, advice: str) -> None:
    refused = refusal(training=TrainingConfig(extra_arguments={name: value}))
    assert f"training.extraArguments.{name}" in str(refused)
    assert refused.report().advice.startswith(advice)


def test_an_extra_argument_of_gpus() -> None:
    on_gpu = {"compute": ComputeConfig(gpus_per_pod=1)}
    assert plan_for(training=TrainingConfig(extra_arguments={"tf32": "true"}), **on_gpu).extra_arguments == {
        "tf32": True
    }
    refused = refusal(training=TrainingConfig(extra_arguments={"tf32": "yes"}), **on_gpu)
    assert refused.report().advice == "write true or false, in quotes"


def test_extra_arguments_are_those_of_transformers() -> None:
    from transformers import TrainingArguments

    known = {item.name for item in dataclasses.fields(TrainingArguments)}
    assert ALLOWED.keys() <= known
    assert not ALLOWED.keys() & FIELDS.keys()


def test_a_training_that_may_end_early_keeps_its_best_step() -> None:
    plan = plan_for(training=TrainingConfig(early_stopping=EarlyStoppingConfig()))
    assert (plan.keep, plan.patience, plan.min_delta) == ("Best", 3, 0.0)
    assert plan_for(training=TrainingConfig(keep="Best")).patience == 0


@pytest.mark.parametrize(
    ("training", "name"),
    [
        (TrainingConfig(keep="Best"), "keep Best"),
        (TrainingConfig(early_stopping=EarlyStoppingConfig()), "earlyStopping"),
    ],
)
def test_the_best_step_needs_rows_to_judge_by(training: TrainingConfig, name: str) -> None:
    refused = refusal(dataclasses.replace(FACTS, validation_rows=0), training=training)
    assert f"training.{name} goes by the loss on rows that were kept back" in str(refused)
    assert "dataset.validation.splitPercent" in refused.report().advice


@pytest.mark.parametrize(
    ("facts", "changes", "expected"),
    [
        ({}, {"method": MethodConfig("Full")}, {"learning_rate": 2e-5, "lora_rank": 0, "lora_target_modules": ()}),
        ({}, {"method": MethodConfig(rank=8)}, {"lora_rank": 8, "lora_alpha": 16}),
        ({}, {"method": MethodConfig(rank=64, variant="RSLoRA")}, {"lora_rank": 64, "lora_alpha": 16}),
        ({}, {"training": TrainingConfig(gradient_checkpointing="Auto")}, {"gradient_checkpointing": False}),
        ({}, {"training": TrainingConfig(gradient_checkpointing="Off")}, {"gradient_checkpointing": False}),
        ({}, {"compute": ComputeConfig(gpus_per_pod=1)}, {"precision": "BF16"}),
        ({}, {"training": TrainingConfig(precision="Auto")}, {"precision": "FP32"}),
        ({"train_rows": 1000}, {}, {"effective_batch_size": 16, "total_steps": 189}),
        ({"train_rows": 9000}, {}, {"effective_batch_size": 32}),
        ({}, {"compute": ComputeConfig(pods=3)}, {"effective_batch_size": 9, "micro_batch_size": 3}),
        ({}, {"training": TrainingConfig(micro_batch_size=5)}, {"effective_batch_size": 10, "accumulation": 2}),
        ({"longest_row": 5000}, {}, {"max_sequence_length": 2048, "micro_batch_size": 2, "accumulation": 4}),
        ({"longest_row": 9000, "model_limit": 0}, {}, {"max_sequence_length": 4096, "micro_batch_size": 1}),
        ({"longest_row": 64}, {}, {"max_sequence_length": 64}),
        ({"train_rows": 3}, {"training": TrainingConfig(epochs=2)}, {"total_steps": 2, "checkpoint_every_steps": 1}),
        ({}, {"training": TrainingConfig(max_steps=1)}, {"epochs": 1, "total_steps": 1, "warmup_steps": 0}),
    ],
)
def test_defaults_follow_the_job(facts: dict[str, Any], changes: dict[str, Any], expected: dict[str, Any]) -> None:
    plan = dataclasses.asdict(plan_for(dataclasses.replace(FACTS, **facts), **changes))

    assert {name: plan[name] for name in expected} == expected
    assert plan["micro_batch_size"] * plan["accumulation"] * plan["world_size"] == plan["effective_batch_size"]


def test_every_value_has_a_reason_and_the_plan_a_sentence() -> None:
    config, _ = make_job(Path("/nowhere"), Path("/models/tiny"), Path("train.jsonl"))

    resolved = resolve(config, FACTS)

    plan, values = resolved.plan, resolved.values
    by_name = {value.name: value for value in values}
    assert len(by_name) == len(values)
    assert by_name["learningRate"].value == "0.0002"
    assert by_name["maxSequenceLength"].reason == "the longest row has 100 tokens"
    assert all(value.reason for value in values)
    expected = "LoRA rank 16, 36 steps of 8 rows, learning rate 0.0002, 128 tokens, FP32, DDP on 1"
    assert summarise(plan) == expected


@pytest.mark.parametrize(
    ("training", "pods", "message", "advice"),
    [
        ({"effective_batch_size": 10}, 4, "10 is not divisible by 4 processes", "write 8 or 12"),
        ({"effective_batch_size": 1}, 2, "1 is not divisible by 2 processes", "write 2"),
        ({"effective_batch_size": 8, "micro_batch_size": 3}, 2, "2 processes x microBatchSize 3", "write 6 or 12"),
        ({"max_sequence_length": 4096}, 1, "maxSequenceLength 4096 is beyond the model's limit", "write 2048 or less"),
        ({"learning_rate": "fast"}, 1, "training.learningRate 'fast' is not a number", '"2e-4"'),
        ({"learning_rate": "nan"}, 1, "training.learningRate 'nan' is not a number", '"2e-4"'),
        ({"learning_rate": "-1"}, 1, "training.learningRate '-1' is not a number of at least 0", '"2e-4"'),
        ({"learning_rate": "0"}, 1, "training.learningRate is 0", "write 0.0002"),
        ({"weight_decay": "x"}, 1, "training.weightDecay 'x' is not a number", '"0.1"'),
        ({"max_grad_norm": "inf"}, 1, "training.maxGradNorm 'inf' is not a number", '"0.1"'),
        ({"precision": "FP16"}, 1, "FP16 needs a GPU", "FP32 or BF16"),
    ],
)
def test_what_cannot_work_is_refused_with_what_can(
    training: dict[str, Any], pods: int, message: str, advice: str
) -> None:
    error = refusal(training=TrainingConfig(**training), compute=ComputeConfig(pods=pods))

    assert message in error.message
    assert advice in error.advice


def rows_of(*pairs: tuple[str, str]) -> list[Conversation]:
    return [
        Conversation(f"r:{number}", (Message("user", question), Message("assistant", answer)))
        for number, (question, answer) in enumerate(pairs)
    ]


FACT_ROWS = rows_of(*[(f"question {i} wording {j}", f"the answer {i}") for i in range(300) for j in range(3)])


def split_of(rows: list[Conversation], **settings: Any) -> Split:
    split = split_rows(rows, **{"similar": (), "percent": 10, "teaches": "Facts", "seed": 42, **settings})
    assert sorted([*split.train, *split.validation]) == list(range(len(rows)))
    return split


def held_out(rows: list[Conversation], **settings: Any) -> set[str]:
    return {rows[index].row for index in split_of(rows, **settings).validation}


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_about_the_wanted_part_is_held_out_and_the_seed_decides_which(teaches: str) -> None:
    held = held_out(FACT_ROWS, teaches=teaches)

    assert held == held_out(FACT_ROWS, teaches=teaches)
    assert held != held_out(FACT_ROWS, teaches=teaches, seed=43)
    assert 60 <= len(held) <= 120  # 90 of 900 on average


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_what_is_held_out_stays_so_when_rows_are_appended(teaches: str) -> None:
    for rows in (200, 500, 899):
        assert held_out(FACT_ROWS[:rows], teaches=teaches) <= held_out(FACT_ROWS, teaches=teaches)


def test_of_each_fact_one_wording_at_most_is_held_out_and_the_others_teach_it() -> None:
    split = split_of(FACT_ROWS, percent=50)

    answers = [FACT_ROWS[index].answer for index in split.validation]
    assert len(answers) == len(set(answers)) == 300
    assert set(answers) <= {FACT_ROWS[index].answer for index in split.train}
    assert split.untaught == split.worded_once == ()


def test_facts_that_are_worded_once_are_taught_and_named() -> None:
    rows = [*FACT_ROWS[:3], *rows_of(*[(f"lone {i}", f"lone answer {i}") for i in range(7)])]

    split = split_of(rows, percent=20)

    assert len(split.validation) == 1
    assert set(split.validation) <= {0, 1}
    assert split.worded_once == tuple(range(3, 10))
    assert split.untaught == ()


def test_facts_that_are_all_worded_once_are_held_out_and_reported() -> None:
    rows = rows_of(*[(f"lone {i}", f"lone answer {i}") for i in range(100)])

    split = split_of(rows)

    assert split.validation == split.untaught
    assert 3 <= len(split.untaught) <= 20


def test_short_answers_make_no_cluster_but_similar_questions_do() -> None:
    rows = rows_of(("may i fly", "Yes."), ("may i drive", "Yes."), ("may i drive now", "Yes."))

    assert split_of(rows).worded_once == (0, 1, 2)
    assert split_of(rows, similar=((1, 2),)).worded_once == (0,)


def test_a_skill_is_tried_on_questions_never_seen_nor_nearly_seen() -> None:
    rows = rows_of(*[(f"question {i // 2}", f"answer {i}") for i in range(600)])
    similar = tuple((i, i + 2) for i in range(0, 600, 4))

    split = split_of(rows, teaches="Skill", percent=20, similar=similar)

    assert {i // 4 for i in split.validation}.isdisjoint({i // 4 for i in split.train})
    assert 60 <= len(split.validation) <= 180


def test_repeated_rows_stay_together() -> None:
    rows = rows_of(*[(f"question {i % 30}", "the same answer") for i in range(60)])

    split = split_of(rows)

    assert len(split.validation) == 2
    assert {rows[i].digest for i in split.validation}.isdisjoint({rows[i].digest for i in split.train})


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_a_question_is_never_both_trained_and_held_out(teaches: str) -> None:
    asked = [("How many days?", "30 days of leave."), ("how many days", "30 days of leave"), ("How long?", "30 days")]
    brief = dataclasses.replace(
        rows_of(asked[1])[0], messages=(Message("system", "Be brief."), *rows_of(asked[1])[0].messages)
    )
    others = rows_of(*[(f"other {i // 2} {i}", f"the other answer {i // 2}") for i in range(20)])

    assert split_of(rows_of(*asked[:2]), percent=50, teaches=teaches).validation == ()
    for seed in range(20):
        split = split_of([*rows_of(*asked), brief, *others], percent=50, teaches=teaches, seed=seed)
        assert len({index in split.train for index in (0, 1, 3)}) == 1


def test_facts_with_the_same_short_answer_are_held_out_each_by_its_own_chance() -> None:
    rows = rows_of(
        *[(f"may i do {i} {'now' if j else 'ever'}", "Yes." if i % 2 else "No.") for i in range(200) for j in (0, 1)]
    )
    similar = tuple((i, i + 1) for i in range(0, 400, 2))

    for seed in range(5):
        assert 20 <= len(held_out(rows, similar=similar, seed=seed)) <= 60  # 40 of 400 on average


def test_plain_texts_are_rows_of_their_own() -> None:
    rows = [Conversation(f"r:{i}", (Message("assistant", f"the text {i}"),), plain=True) for i in range(300)]

    for teaches in ("Facts", "Skill"):
        assert 10 <= len(held_out(rows, teaches=teaches)) <= 60


@pytest.mark.parametrize("teaches", ["Facts", "Skill"])
def test_nothing_or_at_least_one_row_is_held_out_but_never_all_that_is_alike(teaches: str) -> None:
    alike = rows_of(*[("the question", "the only answer")] * 10)

    assert held_out(FACT_ROWS, percent=0, teaches=teaches) == set()
    assert len(held_out(rows_of(*[(f"q {i}", f"a {i}") for i in range(4)]), percent=1, teaches=teaches)) == 1
    assert held_out(alike, percent=50, teaches=teaches) == set()


@pytest.mark.parametrize(("questions", "points"), [(0, 100), (1, 98), (30, 18), (96, 11), (97, 10), (400, 5)])
def test_what_a_number_of_questions_can_prove(questions: int, points: int) -> None:
    assert provable_points(questions) == points
    assert points == 100 or questions_for(points) <= questions
