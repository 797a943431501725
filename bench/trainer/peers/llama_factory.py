"""LLaMA-Factory with packing, through the function behind its command line."""

import json
import pathlib
import sys

from llamafactory.train.tuner import run_exp


def main(model_path: str, rows_path: str, out: str) -> None:
    data = pathlib.Path(rows_path)
    (data.parent / "dataset_info.json").write_text(json.dumps({"rows": {"file_name": data.name}}))
    run_exp(
        {
            "model_name_or_path": model_path,
            "stage": "sft",
            "do_train": True,
            "finetuning_type": "lora",
            "lora_rank": 8,
            "lora_alpha": 16,
            "lora_target": "all",
            "dataset_dir": str(data.parent),
            "dataset": "rows",
            "template": "empty",
            "train_on_prompt": True,
            "cutoff_len": 512,
            "packing": True,
            "output_dir": out,
            "per_device_train_batch_size": 1,
            "gradient_accumulation_steps": 1,
            "num_train_epochs": 1,
            "learning_rate": 1e-3,
            "lr_scheduler_type": "linear",
            "save_strategy": "no",
            "report_to": "none",
            "use_cpu": True,
            "bf16": False,
            "disable_gradient_checkpointing": True,
            "disable_tqdm": True,
            "seed": 0,
        }
    )
    results = json.loads((pathlib.Path(out) / "train_results.json").read_text())
    print(json.dumps({"seconds": results["train_runtime"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
