"""The loss of each step of a short training by TRL, over rows in the order in which they are given.

Takes a file of JSON: model, rows (input_ids and labels, or prompt_ids, chosen_ids and rejected_ids), objective, lora,
batch_size, learning_rate, warmup_steps, seed, beta. Prints the losses.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class PreparedDPOTrainer(DPOTrainer):
    """Over rows that are tokens already."""

    def _prepare_dataset(self, dataset: Dataset, *_: Any, **__: Any) -> Dataset:
        return dataset


def main(path: str) -> None:
    task = json.loads(Path(path).read_text())
    comparing = task["objective"] == "DPO"
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "output_dir": folder,
            "per_device_train_batch_size": task["batch_size"],
            "num_train_epochs": 1,
            "learning_rate": task["learning_rate"],
            "lr_scheduler_type": "cosine",
            "warmup_steps": task["warmup_steps"],
            "optim": "adamw_torch",
            "seed": task["seed"],
            "train_sampling_strategy": "sequential",
            "max_length": None,
            "bf16": False,
            "gradient_checkpointing": False,
            "use_cpu": True,
            "logging_steps": 1,
            "save_strategy": "no",
            "report_to": "none",
            "disable_tqdm": True,
        }
        lora = task["lora"]
        trainer = (PreparedDPOTrainer if comparing else SFTTrainer)(
            model=AutoModelForCausalLM.from_pretrained(task["model"], dtype=torch.float32),
            args=DPOConfig(beta=task["beta"], **settings) if comparing else SFTConfig(**settings),
            train_dataset=Dataset.from_list(task["rows"]),
            processing_class=AutoTokenizer.from_pretrained(task["model"]),
            peft_config=LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **lora) if lora else None,
        )
        trainer.train()
    print(json.dumps([entry["loss"] for entry in trainer.state.log_history if "loss" in entry]))


if __name__ == "__main__":
    main(sys.argv[1])
