"""TRL's SFTTrainer; the fourth argument says whether rows are packed ("bfd") or padded ("")."""

import json
import sys
from pathlib import Path

import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer


def main(model_path: str, rows_path: str, out: str, packing: str = "") -> None:
    rows = Dataset.from_list([{"input_ids": row} for row in json.loads(Path(rows_path).read_text())])
    trainer = SFTTrainer(
        model=AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
        args=SFTConfig(
            output_dir=out,
            # a packed row of 512 tokens has about as many as eight rows
            per_device_train_batch_size=1 if packing else 8,
            packing=bool(packing),
            packing_strategy=packing or "bfd",
            max_length=512,
            num_train_epochs=1,
            learning_rate=1e-3,
            lr_scheduler_type="linear",
            save_strategy="no",
            report_to="none",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            disable_tqdm=True,
            seed=0,
        ),
        train_dataset=rows,
        processing_class=AutoTokenizer.from_pretrained(model_path),
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"),
    )
    seconds = trainer.train().metrics["train_runtime"]
    trainer.save_model(out)
    print(json.dumps({"seconds": seconds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
