"""The train stage on real ranks: what it computes does not depend on how the work is divided, and what it leaves
can be used.
"""

from __future__ import annotations

import json
import math
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from support.training import MODEL_URI, Finished, TrainingJob, ragged_rows
from vernacular_trainer.contract import Outcome
from vernacular_trainer.model.base import linear_layers

pytestmark = pytest.mark.slow

Train = Callable[..., Finished]
MakeJob = Callable[..., TrainingJob]

# the same training, divided in every way: accumulation, ranks and strategies
ACCUMULATED = {"micro_batch_size": 1, "accumulation": 8}
DDP = {"world_size": 2, "micro_batch_size": 4}
DDP_ACCUMULATED = {"world_size": 2, "micro_batch_size": 2, "accumulation": 2}
ZERO2_ACCUMULATED = DDP_ACCUMULATED | {"strategy": "ZeRO2"}
ZERO1 = DDP | {"strategy": "ZeRO1"}
ZERO3 = DDP | {"strategy": "ZeRO3"}
ZERO2_OFFLOADED = DDP | {"strategy": "ZeRO2", "offload": "Optimizer"}
ZERO3_OFFLOADED = DDP | {"strategy": "ZeRO3", "offload": "OptimizerAndParameters"}
DIVISIONS = {
    "LoRA": [ACCUMULATED, DDP, DDP_ACCUMULATED, ZERO1, ZERO2_ACCUMULATED, ZERO3, ZERO3_OFFLOADED],
    "QLoRA": [DDP_ACCUMULATED, ZERO1, ZERO2_ACCUMULATED],
    "Full": [DDP_ACCUMULATED, ZERO1, ZERO2_ACCUMULATED, ZERO3, ZERO2_OFFLOADED],
}


def losses_of(job: TrainingJob, train: Train) -> tuple[list[float], float]:
    """Training losses by step and the evaluation loss at the end."""
    finished = train(job)
    assert finished.report.outcome is Outcome.DONE, finished.log
    losses = job.metric("train/loss")
    assert sorted(losses) == list(range(1, job.plan.total_steps + 1))
    return [losses[step] for step in sorted(losses)], job.metric("eval/loss")[job.plan.total_steps]


@pytest.mark.parametrize("method", DIVISIONS)
def test_the_loss_does_not_depend_on_the_division_of_the_work(job: MakeJob, train: Train, method: str) -> None:
    reference, reference_eval = losses_of(job("reference", method=method), train)
    assert reference[-1] < reference[0]
    for number, changes in enumerate(DIVISIONS[method]):
        losses, eval_loss = losses_of(job(f"division-{number}", method=method, **changes), train)
        assert losses == pytest.approx(reference, abs=1e-4), changes
        assert eval_loss == pytest.approx(reference_eval, abs=1e-4), changes


def test_rows_that_do_not_divide_evenly_count_all_the_same(job: MakeJob, train: Train) -> None:
    reference, _ = losses_of(job("whole", effective_batch_size=5, micro_batch_size=5), train)
    uneven = {"world_size": 2, "micro_batch_size": 2, "accumulation": 2, "effective_batch_size": 5}
    losses, _ = losses_of(job("uneven", **uneven), train)
    assert losses == pytest.approx(reference, abs=1e-4)
    # the second rank has no row at all here and still takes part
    single, _ = losses_of(job("single", effective_batch_size=1, micro_batch_size=1), train)
    idle, _ = losses_of(job("idle", effective_batch_size=1, micro_batch_size=1, world_size=2), train)
    assert idle == pytest.approx(single, abs=1e-4)


@pytest.mark.parametrize(
    ("strategy", "variant"), [("DDP", "Standard"), ("ZeRO3", "Standard"), ("ZeRO2", "RSLoRA"), ("ZeRO3", "DoRA")]
)
def test_the_adapter_loads_with_plain_peft(job: MakeJob, train: Train, strategy: str, variant: str) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    made = job(strategy=strategy, world_size=2, micro_batch_size=4, lora_variant=variant)
    finished = train(made)
    adapter = made.workspace.result / "adapter"
    base = AutoModelForCausalLM.from_pretrained(made.model)
    before = mean_loss(base)
    tuned = PeftModel.from_pretrained(base, adapter)
    assert mean_loss(tuned) == pytest.approx(float(finished.summary.eval_loss), abs=1e-4)
    assert abs(mean_loss(tuned) - before) > 1e-3
    configuration = json.loads((adapter / "adapter_config.json").read_text())
    assert configuration["base_model_name_or_path"] == MODEL_URI
    assert (configuration["use_rslora"], configuration["use_dora"]) == (variant == "RSLoRA", variant == "DoRA")
    assert mean_loss(tuned.merge_and_unload()) == pytest.approx(float(finished.summary.eval_loss), abs=1e-4)
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    assert tokenizer.chat_template == AutoTokenizer.from_pretrained(made.model).chat_template
    assert_shippable(adapter, made)


def test_a_chat_template_of_the_jobs_own_ships_with_the_adapter(job: MakeJob, train: Train) -> None:
    from transformers import AutoTokenizer

    template = "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + eos_token }}{% endfor %}"
    made = job(total_steps=1)
    made.workspace.chat_template.parent.mkdir(parents=True, exist_ok=True)
    made.workspace.chat_template.write_text(template)

    train(made)

    adapter = made.workspace.result / "adapter"
    assert AutoTokenizer.from_pretrained(adapter).chat_template == template
    assert_shippable(adapter, made)


@pytest.mark.parametrize(("strategy", "variant"), [("DDP", "Standard"), ("ZeRO2", "DoRA")])
def test_the_adapter_of_a_base_in_four_bits_loads_with_plain_peft(
    job: MakeJob, train: Train, strategy: str, variant: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    sizes = {"world_size": 2, "micro_batch_size": 4}
    made = job(method="QLoRA", strategy=strategy, lora_variant=variant, **sizes)
    finished = train(made)
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    base = AutoModelForCausalLM.from_pretrained(made.model, quantization_config=settings, dtype=torch.float32)
    for _, layer in linear_layers(base):
        layer.support_avx512bf16_for_cpu = False
    before = mean_loss(base)
    # the base was rounded to four bits, so it is another model than the one that LoRA trains on
    assert before != pytest.approx(mean_loss(AutoModelForCausalLM.from_pretrained(made.model)), abs=1e-4)
    tuned = PeftModel.from_pretrained(base, made.workspace.result / "adapter")
    assert mean_loss(tuned) == pytest.approx(float(finished.summary.eval_loss), abs=1e-4)
    assert abs(mean_loss(tuned) - before) > 1e-3
    assert_shippable(made.workspace.result / "adapter", made)


@pytest.mark.parametrize("strategy", ["DDP", "ZeRO3"])
def test_the_full_model_loads_by_itself(job: MakeJob, train: Train, strategy: str) -> None:
    from transformers import AutoModelForCausalLM

    made = job(method="Full", strategy=strategy, world_size=2, micro_batch_size=4)
    finished = train(made)
    model = AutoModelForCausalLM.from_pretrained(made.workspace.result / "model")
    assert mean_loss(model) == pytest.approx(float(finished.summary.eval_loss), abs=1e-4)
    assert_shippable(made.workspace.result / "model", made)


def mean_loss(model: torch.nn.Module) -> float:
    """Mean loss over the supervised tokens of the validation rows, row by row and without any of our code."""
    model.eval()
    loss, count = 0.0, 0
    for tokens, labels in ragged_rows(5, seed=1):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, :-1]
        targets = torch.tensor(labels[1:])
        loss += float(torch.nn.functional.cross_entropy(logits, targets, ignore_index=-100, reduction="sum"))
        count += int((targets != -100).sum())
    return loss / count


def assert_shippable(folder: Path, job: TrainingJob) -> None:
    """Readable by everybody, no pickles, no trace of the pod."""
    for path in folder.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o644, path
        assert path.suffix in {".safetensors", ".json", ".jinja"}, path
        assert str(job.folder).encode() not in path.read_bytes(), path
        assert str(job.model).encode() not in path.read_bytes(), path
    assert [path.name for path in job.workspace.result.iterdir()] == [folder.name]


@pytest.mark.parametrize(("method", "strategy"), [("LoRA", "DDP"), ("LoRA", "ZeRO2"), ("Full", "ZeRO2")])
def test_bf16_follows_fp32(job: MakeJob, train: Train, method: str, strategy: str) -> None:
    exact, _ = losses_of(job("fp32", method=method, total_steps=4), train)
    rounded, _ = losses_of(job("bf16", method=method, total_steps=4, precision="BF16", strategy=strategy), train)
    assert rounded == pytest.approx(exact, abs=5e-2)
    assert rounded != exact


@pytest.mark.parametrize("method", DIVISIONS)
def test_evaluations_change_nothing(job: MakeJob, train: Train, method: str) -> None:
    seldom, _ = losses_of(job("seldom", method=method), train)
    often, _ = losses_of(job("often", method=method, evaluate_every_steps=1), train)
    assert often == seldom


@pytest.mark.parametrize(("method", "strategy"), [("LoRA", "ZeRO2"), ("Full", "DDP")])
def test_an_optimizer_in_eight_bits_follows_the_exact_one(
    job: MakeJob, train: Train, method: str, strategy: str
) -> None:
    exact, _ = losses_of(job("exact", method=method), train)
    changes = {"optimizer": "AdamW8bit", "strategy": strategy, "world_size": 2, "micro_batch_size": 4}
    rounded, _ = losses_of(job("rounded", method=method, **changes), train)
    assert rounded == pytest.approx(exact, abs=5e-2)


def test_extra_arguments_have_their_effect(job: MakeJob, train: Train) -> None:
    plain, _ = losses_of(job("plain"), train)
    noisy, _ = losses_of(job("noisy", extra_arguments={"neftune_noise_alpha": 20.0}), train)
    slower, _ = losses_of(job("slower", extra_arguments={"adam_beta1": 0.0}), train)
    assert plain[0] != noisy[0]
    assert plain[0] == slower[0]
    assert plain[-1] != slower[-1]


def test_the_measurements_of_a_short_training(job: MakeJob, train: Train) -> None:
    made = job(total_steps=5, evaluate_every_steps=2, warmup_steps=2, learning_rate=0.01)
    summary = train(made).summary
    assert (summary.step, summary.total_steps, summary.resumed_from_step) == (5, 5, 0)
    assert sorted(made.metric("eval/loss")) == [2, 4, 5]
    assert sorted(made.metric("progress/step").values()) == [1, 2, 3, 4, 5]
    assert set(made.metric("progress/total_steps").values()) == {5}
    # the rate that a step used: warm-up begins at zero and reaches the peak after two steps
    assert [made.metric("train/learning_rate")[step] for step in (1, 2, 3)] == pytest.approx([0.0, 0.005, 0.01])
    assert all(value > 0 for value in made.metric("train/tokens_per_second").values())
    assert all(math.isfinite(value) and value > 0 for value in made.metric("train/grad_norm").values())
    assert float(summary.loss) == pytest.approx(made.metric("train/loss")[5], rel=1e-5)
    # 40 rows and 5 steps of 8: every row once, its padding not counted
    assert summary.tokens == sum(len(tokens) for tokens, _ in ragged_rows(40))
