"""transformers.Trainer as its documentation shows it: rows padded to the longest of a batch."""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments


def collate(rows: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
    length = max(len(row["input_ids"]) for row in rows)

    def padded(values: list[int], fill: int) -> list[int]:
        return values + [fill] * (length - len(values))

    return {
        "input_ids": torch.tensor([padded(row["input_ids"], 0) for row in rows]),
        "attention_mask": torch.tensor([padded([1] * len(row["input_ids"]), 0) for row in rows]),
        "labels": torch.tensor([padded(row["input_ids"], -100) for row in rows]),
    }


def main(model_path: str, rows_path: str, out: str) -> None:
    rows = [{"input_ids": row} for row in json.loads(Path(rows_path).read_text())]
    model = AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32)
    adapter = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer = Trainer(
        model=get_peft_model(model, adapter),
        args=TrainingArguments(
            output_dir=out,
            per_device_train_batch_size=8,
            num_train_epochs=1,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
            remove_unused_columns=False,
        ),
        train_dataset=rows,
        data_collator=collate,
    )
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(out)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
