"""`make bench-trainer`: the train stage beside other trainers, one after the other in each of several rounds."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from bench.report import Measure, finish, package_versions
from bench.trainer import workload
from bench.trainer.contestants import Contestant, Training, ours, peer
from bench.trainer.start import seconds_to_first_step
from bench.trainer.workload import Workload

OURS, OURS_BF16 = "ours", "ours, BF16"
TRL, TRL_PACKED = "TRL", "TRL, packing"
FACTORY, PLAIN = "LLaMA-Factory, packing", "transformers Trainer"
CONTESTANTS: dict[str, Contestant] = {
    OURS: ours("FP32"),
    OURS_BF16: ours("BF16"),
    FACTORY: peer("llama_factory.py", "llamafactory", words=True),
    PLAIN: peer("hugging_face.py"),
    TRL_PACKED: peer("trl_sft.py", "trl", "bfd"),
    TRL: peer("trl_sft.py", "trl"),
}
# how many times as fast we are to be
FASTER = {TRL: 5.0, TRL_PACKED: 3.0, FACTORY: 1.2, PLAIN: 2.5}
CEILING_PERCENT = {OURS: ("float32", 50.0), OURS_BF16: ("bfloat16", 30.0)}
MEMORY_PERCENT = 60.0
LOSS_APART = 0.01
START_SECONDS = {1: 8.0, 2: 12.0}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="*", default=list(CONTESTANTS), choices=list(CONTESTANTS))
    chosen = parser.parse_args()
    # every trainer gets all cores
    os.environ["VERNACULAR_THREADS"] = str(os.cpu_count())
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        work = workload.make(root / "workload")
        ceilings = {name: ceiling(getattr(torch, name)) for name in ("float32", "bfloat16")}
        best: dict[str, Training] = {}
        for number in range(chosen.rounds):
            for name in chosen.only:
                found = CONTESTANTS[name](work, root / f"{number}-{len(best)}-{abs(hash(name))}")
                print(f"{name}: {work.tokens / found.seconds:.0f} tokens/s", flush=True)
                if name not in best or found.seconds < best[name].seconds:
                    best[name] = found
        measures = compared(work, best, ceilings) + started(root)
    if chosen.only != list(CONTESTANTS):
        print(*measures, sep="\n")
        return 0
    versions = package_versions("torch", "transformers", "peft") | {"trl": "1.16.0", "llamafactory": "0.9.5"}
    return 0 if finish("trainer", "make bench-trainer", measures, versions) else 1


def compared(work: Workload, best: dict[str, Training], ceilings: dict[str, float]) -> list[Measure]:
    """Speed, memory and held-out loss of each, and ours against theirs."""
    speeds = {name: work.tokens / training.seconds for name, training in best.items()}
    losses = {name: held_out_loss(work, training.adapter) for name, training in best.items()}
    measures = [Measure(f"{name}: tokens per second", speed, "") for name, speed in speeds.items()]
    for name, times in FASTER.items():
        if name in best:
            measures.append(Measure(f"against {name}: times as fast", speeds[OURS] / speeds[name], "x", least=times))
    for name, (kind, percent) in CEILING_PERCENT.items():
        if name in best:
            share = 100 * speeds[name] * workload.flops_per_token() / ceilings[kind]
            measures.append(Measure(f"{name}: of the fastest matrix product", share, "%", least=percent))
    for name, training in best.items():
        measures.append(Measure(f"{name}: peak memory", training.memory / 2**20, "MiB"))
    if TRL in best:
        share = 100 * best[OURS].memory / best[TRL].memory
        measures.append(Measure("peak memory against TRL", share, "%", MEMORY_PERCENT))
    for name, loss in losses.items():
        measures.append(Measure(f"{name}: held-out loss", loss, ""))
    if TRL in best:
        measures.append(Measure("held-out loss above TRL's", losses[OURS] - losses[TRL], "", LOSS_APART))
    return measures


def started(root: Path) -> list[Measure]:
    return [
        Measure(f"start to first step, {ranks} rank{'s' * (ranks > 1)}", seconds_to_first_step(root, ranks), "s", most)
        for ranks, most in START_SECONDS.items()
    ]


def held_out_loss(work: Workload, adapter: Path) -> float:
    """Mean loss of a token of the held-out rows, in nats."""
    model: Any = AutoModelForCausalLM.from_pretrained(work.model, dtype=torch.float32)
    model = PeftModel.from_pretrained(model, str(adapter)).eval()
    total, count = 0.0, 0
    with torch.no_grad():
        for row in json.loads(work.held_out.read_text()):
            tokens = torch.tensor([row])
            total += float(model(input_ids=tokens, labels=tokens).loss) * (len(row) - 1)
            count += len(row) - 1
    return total / count


def ceiling(dtype: torch.dtype, size: int = 2048) -> float:
    """Multiplications and additions per second of the fastest of five square matrix products."""
    left, right = (torch.randn(size, size).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        left @ right
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


if __name__ == "__main__":
    sys.exit(main())
