"""The plan: every default with its reason, and the values that cannot work."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import make_job
from vernacular_trainer.contract import CheckpointsConfig, ComputeConfig, MethodConfig, StageFailure, TrainingConfig
from vernacular_trainer.data.rows import Conversation, Message
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.errors import StageError
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
    )
    method = MethodConfig(rank=4, alpha=4, dropout_percent=5, target_modules=("q_proj", "v_proj"), variant="DoRA")
    compute = ComputeConfig(pods=2, processes_per_pod=2, strategy="ZeRO3")

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
        gradient_checkpointing=True,
        lora_rank=4,
        lora_alpha=4,
        lora_dropout=0.05,
        lora_target_modules=("q_proj", "v_proj"),
        lora_variant="DoRA",
    )


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


FACT_ROWS = rows_of(*[(f"question {i} wording {j}", f"answer {i}") for i in range(30) for j in range(3)])


def held_out(rows: list[Conversation], **settings: Any) -> set[str]:
    split = split_rows(rows, **{"percent": 10, "teaches": "Facts", "seed": 42, **settings})
    assert sorted([*split.train, *split.validation]) == list(range(len(rows)))
    return {rows[index].digest for index in split.validation}


def test_a_split_depends_on_content_and_seed_alone() -> None:
    assert held_out(FACT_ROWS) == held_out(FACT_ROWS[::-1])
    assert held_out(FACT_ROWS) != held_out(FACT_ROWS, seed=43)
    assert len(held_out(FACT_ROWS)) == 9


def test_held_out_facts_are_still_taught_in_other_words() -> None:
    split = split_rows(FACT_ROWS, 50, "Facts", 42)

    taught = {FACT_ROWS[index].answer for index in split.train}
    assert {FACT_ROWS[index].answer for index in split.validation} <= taught
    assert split.untaught == ()
    assert len(split.validation) == 45


def test_facts_that_are_worded_once_are_held_out_last_and_reported() -> None:
    rows = FACT_ROWS[:3] + rows_of(*[(f"lone {i}", f"lone answer {i}") for i in range(7)])

    few = split_rows(rows, 20, "Facts", 42)
    many = split_rows(rows, 40, "Facts", 42)

    assert few.untaught == ()
    assert set(few.validation) <= {0, 1, 2}
    assert len(many.validation) == 4
    assert len(many.untaught) == 2


def test_a_skill_is_tried_on_questions_never_seen() -> None:
    rows = rows_of(*[(f"question {i // 2}", f"answer {i}") for i in range(60)])

    split = split_rows(rows, 20, "Skill", 42)

    asked = {rows[index].question for index in split.validation}
    assert asked.isdisjoint({rows[index].question for index in split.train})
    assert len(split.validation) == 12


def test_repeated_rows_stay_together() -> None:
    rows = rows_of(*[(f"question {i % 30}", "the same") for i in range(60)])

    split = split_rows(rows, 10, "Facts", 1)

    assert {rows[i].digest for i in split.validation}.isdisjoint({rows[i].digest for i in split.train})


def test_nothing_or_at_least_one_row_is_held_out() -> None:
    assert split_rows(FACT_ROWS, 0, "Facts", 42).validation == ()
    assert len(split_rows(FACT_ROWS[:4], 1, "Facts", 42).validation) == 1
