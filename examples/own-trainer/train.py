"""A trainer of one's own: plain PyTorch and PEFT, started by torchrun, several processes with gradients averaged.

It follows docs/guide/own-trainer.md: what it needs stands in the environment, what it makes goes where that says.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from pathlib import Path

import pyarrow as pa
import torch
import torch.distributed as dist
from peft import LoraConfig, PeftModel, get_peft_model
from torch.nn.parallel import DistributedDataParallel
from transformers import AutoModelForCausalLM

CHECKPOINTS = Path(os.environ["VERNACULAR_CHECKPOINTS"])
RESULT = Path(os.environ["VERNACULAR_RESULT"])
RESUME_FROM = os.environ["VERNACULAR_RESUME_FROM"]
STOPPED_AND_SAVED = 85
CHECKPOINT_EVERY = 10


def rows(name: str) -> list[dict]:
    with pa.memory_map(os.environ[name]) as stream:
        return pa.ipc.open_file(stream).read_all().to_pylist()


def load(model_folder: str, device: torch.device) -> PeftModel:
    base = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32).to(device)
    if RESUME_FROM:
        return PeftModel.from_pretrained(base, RESUME_FROM, is_trainable=True)
    return get_peft_model(base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))


def save(model: PeftModel, folder: Path) -> None:
    """Under another name first: a folder with its final name is complete."""
    draft = folder.with_name(f".{folder.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    model.save_pretrained(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


def loss_of(model: torch.nn.Module, row: dict, device: torch.device) -> torch.Tensor:
    ids, labels = (torch.tensor([row[name]], device=device) for name in ("input_ids", "labels"))
    return model(input_ids=ids, labels=labels).loss


def main() -> int:
    on_gpu = torch.cuda.is_available()
    dist.init_process_group("nccl" if on_gpu else "gloo")
    rank, world = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if on_gpu else torch.device("cpu")
    stop = torch.zeros(1, device=device)
    signal.signal(signal.SIGTERM, lambda *_: stop.fill_(1))

    plan = json.loads(Path(os.environ["VERNACULAR_PLAN"]).read_text())
    table = rows("VERNACULAR_TRAIN_ROWS")
    peft_model = load(os.environ["VERNACULAR_MODEL"], device)
    model = DistributedDataParallel(peft_model)
    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=plan["learning_rate"])
    step = int(RESUME_FROM.rpartition("-")[2]) if RESUME_FROM else 0
    while step < plan["total_steps"]:
        batch = range(step * plan["effective_batch_size"] + rank, (step + 1) * plan["effective_batch_size"], world)
        losses = [loss_of(model, table[index % len(table)], device) for index in batch]
        torch.stack(losses).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        step += 1
        if rank == 0:
            print(f"step {step} of {plan['total_steps']}", flush=True)  # noqa: T201 - the log of the pod
        # one process may hear of the end before another: all of them decide the same
        asked = stop.clone()
        dist.all_reduce(asked, dist.ReduceOp.MAX)
        if rank == 0 and (asked or step % CHECKPOINT_EVERY == 0):
            save(peft_model, CHECKPOINTS / f"checkpoint-{step}")
        if asked:
            dist.barrier()
            return STOPPED_AND_SAVED
    if rank == 0:
        RESULT.parent.mkdir(parents=True, exist_ok=True)
        save(peft_model, RESULT)
    dist.barrier()
    dist.destroy_process_group()
    return 0


if __name__ == "__main__":
    sys.exit(main())
