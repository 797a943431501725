"""The group of training processes: who is in it, and the few things they say to each other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar, cast

import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from vernacular_trainer.contract import ComputeConfig, StageFailure
from vernacular_trainer.errors import StageError

T = TypeVar("T")

JOIN_TIMEOUT = timedelta(minutes=10)
# Longer than the slowest checkpoint, for which all other ranks wait: the heartbeats find a rank that is stuck.
COLLECTIVE_TIMEOUT = timedelta(hours=2)


@dataclass(frozen=True)
class Ranks:
    """This process's place in the group, and the device that it computes on."""

    rank: int
    local_rank: int
    world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is rank 0, which writes files and metrics."""
        return self.rank == 0

    def sum(self, values: Sequence[float]) -> list[float]:
        """Sums over all ranks, in double precision."""
        return self._reduce(values, dist.ReduceOp.SUM)

    def any(self, flags: Sequence[bool]) -> list[bool]:
        """Which flags are set on at least one rank: the same answer on all of them."""
        return [value > 0 for value in self._reduce([float(flag) for flag in flags], dist.ReduceOp.MAX)]

    def _reduce(self, values: Sequence[float], operation: dist.ReduceOp.RedOpType) -> list[float]:
        if self.world_size == 1:
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor, operation)
        return [float(value) for value in tensor.tolist()]

    def share(self, decide: Callable[[], T]) -> T:
        """Let rank 0 decide, and tell all."""
        box = [decide() if self.is_first else None]
        if self.world_size > 1:
            dist.broadcast_object_list(box, src=0, device=self.device)
        return cast("T", box[0])

    def barrier(self) -> None:
        """Wait until all ranks are here."""
        if self.world_size > 1:
            dist.barrier()

    def leave(self) -> None:
        """Close the group together: a rank that goes first makes the others abort."""
        self.barrier()
        if dist.is_initialized():
            dist.destroy_process_group()


def join(compute: ComputeConfig, *, needs_group: bool) -> Ranks:
    """Check the size of the group and join it. `needs_group`: make one even for a single process (DeepSpeed wants it).

    Raises StageError (WorldSizeMismatch, RendezvousTimeout).
    """
    world_size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    _check_sizes(compute, world_size, local_ranks=int(os.environ.get("LOCAL_WORLD_SIZE", "1")))
    ranks = Ranks(int(os.environ.get("RANK", "0")), local_rank, world_size, _device(compute, local_rank))
    if world_size > 1 or needs_group:
        _initialise(ranks)
    return ranks


def _check_sizes(compute: ComputeConfig, world_size: int, local_ranks: int) -> None:
    if compute.gpus_per_pod:
        visible = torch.cuda.device_count()
        if visible < compute.gpus_per_pod:
            raise StageError(
                StageFailure.WORLD_SIZE_MISMATCH,
                f"compute.gpusPerPod is {compute.gpus_per_pod}, but the container sees {visible} GPUs",
                "check the GPU driver and device plugin of the node, and the CUDA version of the image",
            )
    wanted = compute.gpus_per_pod or compute.processes_per_pod
    expected = compute.pods * wanted
    if world_size != expected or local_ranks != wanted or compute.processes_per_pod != wanted:
        raise StageError(
            StageFailure.WORLD_SIZE_MISMATCH,
            f"the training has {world_size} processes, {local_ranks} in this pod; the job asks for {expected}, "
            f"{wanted} in each of {compute.pods} pods",
            "use an operator and a stage image of the same release",
        )


def _device(compute: ComputeConfig, local_rank: int) -> torch.device:
    if not compute.gpus_per_pod:
        return torch.device("cpu")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)


def _initialise(ranks: Ranks) -> None:
    # transformers drops its time-out on CPUs, so the group is made here, before it looks
    backend = "nccl" if ranks.device.type == "cuda" else "gloo"
    alone = {"store": HashStore(), "rank": 0, "world_size": 1} if ranks.world_size == 1 else {}
    if alone:
        lone_process = {
            "RANK": "0",
            "LOCAL_RANK": "0",
            "WORLD_SIZE": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": "0",
        }
        os.environ.update(lone_process)
    try:
        dist.init_process_group(backend, timeout=JOIN_TIMEOUT, **alone)  # type: ignore[arg-type]
    except dist.DistError as error:
        raise StageError(
            StageFailure.RENDEZVOUS_TIMEOUT,
            f"the {ranks.world_size} processes of the training did not find each other",
            "it is tried again; if it stays, check that all pods of the job can reach each other",
            type(error).__name__,
        ) from error
    dist.set_timeout(COLLECTIVE_TIMEOUT)
