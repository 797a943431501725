"""What a training needs of memory, and what is done about it when its GPUs have less. No training runs here."""

from __future__ import annotations

import dataclasses
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from support.stage_jobs import make_job
from support.training import plan
from vernacular_trainer.contract import ComputeConfig, JobConfig, MethodConfig, StageFailure, TrainingConfig
from vernacular_trainer.errors import StageError
from vernacular_trainer.fitting import Situation
from vernacular_trainer.memory import CPU, GIB, GPU, LargestBatch, Memory, RowSizes, predict
from vernacular_trainer.model_shape import Linear, ModelShape, read_shape, shape_of
from vernacular_trainer.planning import DataFacts, Resolution, resolve

LLAMA_8B = {
    "model_type": "llama",
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "intermediate_size": 14336,
    "vocab_size": 128256,
    "tie_word_embeddings": False,
}
BATCH = LargestBatch(length=4096, supervised=4096, tokens=4096, grid=4096)


def llama() -> ModelShape:
    shape = shape_of(LLAMA_8B, {})
    assert shape is not None
    return shape


def memory(device: Any = GPU, batch: LargestBatch = BATCH, **changes: Any) -> Memory:
    return predict(llama(), plan(**{"precision": "BF16", "lora_rank": 16, **changes}), batch, device)


def test_parameters_are_those_that_the_model_is_known_for() -> None:
    assert llama().parameters == 8_030_261_248
    assert memory().optimizer == 41_943_040 * 8


def test_headers_of_the_weights_count_before_any_formula(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B))
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "model.embed_tokens.weight": {"dtype": "F16", "shape": [10, 4], "data_offsets": [0, 80]},
            "model.layers.0.self_attn.qkv_proj.weight": {"dtype": "F16", "shape": [12, 4], "data_offsets": [80, 176]},
            "model.norm.weight": {"dtype": "F16", "shape": [4], "data_offsets": [176, 184]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)

    shape = read_shape(tmp_path)

    assert shape is not None
    assert (shape.parameters, shape.linears) == (92, (Linear("qkv_proj", 4, 12),))


def test_other_families_have_other_names_for_the_same_sizes() -> None:
    gpt2 = shape_of({"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}, {})
    experts = shape_of(LLAMA_8B | {"num_experts_per_tok": 2, "moe_intermediate_size": 1000}, {})
    images = shape_of({"text_config": LLAMA_8B}, {})

    assert gpt2 is not None
    assert experts is not None
    assert (gpt2.hidden, gpt2.layers, gpt2.intermediate, gpt2.tied) == (768, 12, 3072, True)
    assert experts.intermediate == 2000
    assert images == llama()
    assert shape_of({"model_type": "mystery"}, {}) is None


def test_a_rank_holds_what_its_strategy_leaves_it() -> None:
    parameters = llama().parameters
    full = {"method": "Full", "world_size": 4, "precision": "FP32", "accumulation": 2}

    ddp, zero1, zero2, zero3 = (memory(strategy=name, **full) for name in ("DDP", "ZeRO1", "ZeRO2", "ZeRO3"))

    # two moments, in ZeRO-1 and ZeRO-2 with a copy of the weights, in the optimizer's step with temporaries
    assert ddp.optimizer >= 8 * parameters
    assert zero1.optimizer < ddp.optimizer / 1.5
    assert zero2.gradients <= zero1.gradients / 3
    assert zero3.weights < zero2.weights / 2
    assert ddp.total > zero1.total > zero2.total > zero3.total


@pytest.mark.parametrize(
    ("cheaper", "than"),
    [
        ({"gradient_checkpointing": True}, {}),
        ({"lora_rank": 8}, {"lora_rank": 64}),
        ({"lora_target_modules": ("q_proj", "v_proj")}, {}),
        ({}, {"lora_variant": "DoRA"}),
        ({}, {"lora_dropout": 0.1}),
        ({}, {"precision": "FP32"}),
        ({}, {"method": "Full"}),
        ({"method": "QLoRA"}, {}),
        ({"method": "Full", "optimizer": "AdamW8bit"}, {"method": "Full"}),
        ({"method": "Full", "strategy": "ZeRO2", "offload": "Optimizer"}, {"method": "Full", "strategy": "ZeRO2"}),
        (
            {"method": "Full", "strategy": "ZeRO3", "offload": "OptimizerAndParameters"},
            {"method": "Full", "strategy": "ZeRO3", "offload": "Optimizer"},
        ),
        ({"method": "Full"}, {"method": "Full", "accumulation": 2}),
    ],
)
def test_what_costs_memory_costs_memory(cheaper: dict[str, Any], than: dict[str, Any]) -> None:
    assert memory(**cheaper).total < memory(**than).total


def test_four_bits_are_little_more_than_half_a_byte() -> None:
    linears = sum(item.inputs * item.outputs for item in llama().linears)
    saved = memory().weights - memory(method="QLoRA").weights

    assert saved / linears == pytest.approx(2 - 0.516, abs=0.001)


def test_an_optimizer_in_eight_bits_computes_in_place() -> None:
    full = {"method": "Full", "gradient_checkpointing": True, "precision": "FP32"}
    exact, small, paged = (memory(optimizer=name, **full) for name in ("AdamW", "AdamW8bit", "PagedAdamW8bit"))

    embedding = llama().embedding
    assert small.optimizer == pytest.approx((llama().parameters - embedding) * 2.03 + embedding * 8, rel=0.01)
    assert exact.total - small.total > 9 * (llama().parameters - embedding)
    assert paged.optimizer == 0


def test_experts_are_no_linear_layers_and_no_formula_counts_them() -> None:
    mixtral = LLAMA_8B | {"num_local_experts": 8, "num_experts_per_tok": 2}
    headers = {
        "model.embed_tokens.weight": {"shape": [10, 4]},
        "model.layers.0.self_attn.q_proj.weight": {"shape": [4, 4]},
        "model.layers.0.block_sparse_moe.experts.0.w1.weight": {"shape": [8, 4]},
    }
    shape = shape_of(mixtral, headers)

    assert shape_of(mixtral, {}) is None
    assert shape is not None
    assert (shape.parameters, shape.linears) == (88, (Linear("q_proj", 4, 4),))


def test_all_logits_count_where_a_token_is_predicted_and_activations_everywhere() -> None:
    capped = shape_of(LLAMA_8B | {"final_logit_softcapping": 30.0}, {})
    assert capped is not None

    def needed(batch: LargestBatch) -> Memory:
        return predict(capped, plan(precision="BF16", lora_rank=16), batch, GPU)

    few, masked = needed(dataclasses.replace(BATCH, supervised=1024)), needed(dataclasses.replace(BATCH, masked=True))

    assert needed(BATCH).logits == 4 * few.logits == 4096 * 128256 * 12
    assert abs(needed(BATCH).activations - few.activations) < GIB / 10
    assert masked.activations > needed(BATCH).activations


def test_a_plain_output_layer_needs_one_chunk_of_logits_and_the_gradient_of_its_input() -> None:
    chunk = 512 * 2**20 // (128256 * 4) * 128256
    assert memory().logits == chunk * (4 + 2 * 2) + 4096 * 4096 * 2
    wide = dataclasses.replace(BATCH, tokens=2**20, grid=2**20)
    trained = memory(method="Full", lora_rank=0, precision="FP32", batch=wide)
    assert trained.logits == chunk * 4 + 4096 * 4096 * 4 + 128256 * 4096 * 4


def test_the_largest_batch_is_the_longest_rows() -> None:
    sizes = RowSizes.of([(10, 2), (40, 5), (30, 30), (12, 1)])

    assert sizes.mean == 23
    assert sizes.largest(2, 64, packed=False) == LargestBatch(40, 35, tokens=80, grid=80, masked=True)
    assert sizes.largest(1, 20, packed=False) == LargestBatch(20, 20, tokens=20, grid=20)
    assert RowSizes.unknown(16).largest(3, 16, packed=False) == LargestBatch(16, 48, tokens=48, grid=48)
    assert sizes.largest(4, 64, packed=True) == LargestBatch(40, 38, tokens=92, grid=40 + 40 + 12 + 12)


def test_packed_rows_need_less_than_padded_ones() -> None:
    sizes = RowSizes.of([(4096, 100)] + [(500, 100)] * 31)
    padded, packed = (memory(batch=sizes.largest(8, 4096, packed=packs)) for packs in (False, True))
    assert packed.activations < padded.activations / 3


@pytest.mark.parametrize(
    "settings",
    [
        {"layer_types": ["conv", "full_attention"]},
        {"layer_types": ["linear_attention"]},
        {"mamba_d_state": 16},
        {"attn_logit_softcapping": 50.0},
    ],
)
def test_layers_that_may_mix_packed_rows_are_known(settings: dict[str, Any]) -> None:
    shape = shape_of(LLAMA_8B | settings, {})
    assert shape is not None
    assert not shape.attends_only
    assert llama().attends_only


@pytest.mark.parametrize(
    ("settings", "window"),
    [
        ({}, 0),
        ({"sliding_window": None}, 0),
        ({"sliding_window": 1024}, 1024),
        ({"sliding_window": 1024, "use_sliding_window": False}, 0),
        ({"sliding_window": 1024, "use_sliding_window": True}, 1024),
    ],
)
def test_the_window_of_a_model_is_known(settings: dict[str, Any], window: int) -> None:
    shape = shape_of(LLAMA_8B | settings, {})
    assert shape is not None
    assert shape.window == window


def test_a_processor_has_no_empty_buckets() -> None:
    zero = {"strategy": "ZeRO2", "world_size": 2}

    assert memory(GPU, **zero).communication == 1_000_000_000
    assert memory(CPU, **zero).communication == 0


# what is done about it


def job(gpus: int = 1, gib: int = 80, method: str = "LoRA", strategy: str | None = None, **training: Any) -> JobConfig:
    config, _ = make_job(Path("/nowhere"), Path("/models/llama"), Path("train.jsonl"))
    compute = ComputeConfig(processes_per_pod=gpus or 1, gpus_per_pod=gpus, gpu_memory_gib=gib, strategy=strategy)
    return dataclasses.replace(
        config, method=MethodConfig(method), training=TrainingConfig(**training), compute=compute
    )


def resolved(config: JobConfig, length: int = 4096) -> Resolution:
    sizes = RowSizes.unknown(length)
    return resolve(config, DataFacts(1000, 100, length, 8192, Situation(llama(), sizes)))


def refused(config: JobConfig, length: int = 4096) -> StageError:
    with pytest.raises(StageError) as caught:
        resolved(config, length)
    assert caught.value.code is StageFailure.DOES_NOT_FIT
    assert caught.value.outcome.exit_code == 78
    return caught.value


def value(resolution: Resolution, name: str) -> tuple[str, str]:
    return next((item.value, item.reason) for item in resolution.values if item.name == name)


def test_the_prediction_is_in_the_plan_whatever_the_gpus_have() -> None:
    for config in (job(gib=0), job(gpus=0, gib=0), job(gib=200)):
        found = resolved(config)
        assert found.memory is not None
        assert value(found, "memoryGiB")[0] == f"{found.memory.total / GIB:.2f}"
        assert "activations" in value(found, "memoryGiB")[1]
    assert resolved(job(gib=0)).plan == resolved(job(gib=200)).plan


def test_open_values_are_chosen_so_that_the_training_fits() -> None:
    smaller = resolved(job(gib=60))
    recomputed = resolved(job(gib=40))

    assert (smaller.plan.micro_batch_size, smaller.plan.accumulation) == (1, 16)
    assert value(smaller, "microBatchSize") == ("1", "not 2: 65.3 of 60 GiB were needed")
    assert recomputed.plan.gradient_checkpointing
    assert value(recomputed, "gradientCheckpointing")[0] == "On"
    assert recomputed.memory is not None
    assert recomputed.memory.total <= 40 * GIB


def test_a_strategy_is_chosen_only_where_it_is_left_open() -> None:
    found = resolved(job(gpus=8, method="Full"))

    assert found.plan.strategy == "ZeRO2"
    assert value(found, "strategy")[1].startswith("not DDP: ")
    assert "compute.strategy: ZeRO2" in refused(job(gpus=8, method="Full", strategy="DDP")).advice


def test_what_the_user_wrote_is_not_changed_but_named() -> None:
    error = refused(job(gib=60, micro_batch_size=4, gradient_checkpointing="Off"))

    assert error.message == "the training needs 112.92 GiB of each GPU, which has 60"
    assert "write training.microBatchSize: 1 (41.5 GiB)" in error.advice
    assert "; or training.maxSequenceLength: 1024 (" in error.advice


def test_every_alternative_fits_when_it_is_written_down() -> None:
    error = refused(job(method="Full"))

    assert error.advice.startswith("write compute.gpusPerPod: 4 ")
    assert "; or method.type: LoRA " in error.advice
    assert resolved(job(gpus=4, method="Full")).memory is not None
    assert resolved(job(method="LoRA")).memory is not None


def test_nothing_is_promised_when_nothing_fits() -> None:
    error = refused(job(gib=6))

    assert error.advice == "no setting was found that fits: take GPUs with more memory, or a smaller base model"


def test_an_effective_batch_size_bounds_the_gpus_that_are_named() -> None:
    error = refused(job(method="Full", effective_batch_size=2, gradient_checkpointing="On"))

    assert "gpusPerPod: 4" not in error.advice


def test_a_model_that_does_not_tell_its_sizes_is_trained_without_a_prediction() -> None:
    facts = DataFacts(1000, 100, 64, 8192, Situation(None, RowSizes.unknown(64)))

    resolution = resolve(job(gib=1), facts)

    assert resolution.memory is None
    assert "memoryGiB" not in {item.name for item in resolution.values}


@pytest.mark.parametrize(
    ("shape", "training", "reason"),
    [
        ({}, {}, "no padding is computed, the losses are the same"),
        ({}, {"packing": "Auto"}, "no padding is computed, the losses are the same"),
        ({}, {"packing": "Off"}, "as written in the job"),
        ({"attends_only": False}, {}, "not every layer of the model is known to keep packed rows apart"),
        ({"window": 1024}, {}, "the model attends to 1024 tokens at a time, fewer than rows have"),
        ({"window": 4096}, {}, "no padding is computed, the losses are the same"),
        (
            {},
            {"extra_arguments": {"neftune_noise_alpha": "5"}},
            "NEFTune's noise would become less with the length of a packed batch",
        ),
    ],
)
def test_rows_are_packed_where_that_changes_nothing(
    shape: dict[str, Any], training: dict[str, Any], reason: str
) -> None:
    situation = Situation(dataclasses.replace(llama(), **shape), RowSizes.unknown(4096))
    found = resolve(job(gib=0, **training), DataFacts(1000, 100, 4096, 8192, situation))

    assert value(found, "packing") == ("On" if found.plan.packing else "Off", reason)
    assert found.plan.packing == reason.startswith("no padding")


def test_packed_rows_share_a_micro_batch_by_their_usual_length() -> None:
    sizes = RowSizes.of([(4000, 100)] + [(500, 100)] * 999)

    def micro(**training: Any) -> int:
        facts = DataFacts(1000, 100, 4000, 8192, Situation(llama(), sizes))
        return resolve(job(gib=0, **training), facts).plan.micro_batch_size

    assert micro(packing="Off", effective_batch_size=16) == 2
    # a quarter of the longest row counts at least
    assert micro(effective_batch_size=16) == 8
