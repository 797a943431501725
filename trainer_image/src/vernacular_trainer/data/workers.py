"""Work on blocks of rows in as many processes as there are processors; little work stays in this one."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import TracebackType
from typing import Self, TypeVar

from vernacular_trainer.contract import StageFailure
from vernacular_trainer.errors import StageError

T = TypeVar("T")
R = TypeVar("R")

# starting processes takes as long as some blocks
INLINE_BLOCKS = 8
# blocks that wait for each process: enough to keep it busy, few enough to hold them in memory
_AHEAD = 3
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
# of a process with its tokenizer and its blocks, and its part of what is known about all rows
_MEMORY = 2**30


def process_count(cores: int, memory: int | None) -> int:
    """One process for each processor, as far as each has its part of the memory, in bytes; None: there is enough."""
    return cores if memory is None else max(1, min(cores, memory // _MEMORY))


class Workers:
    """Maps functions over blocks. Processes start with the first block after `inline` of one map, and stay until the
    end; with one process there are none.
    """

    def __init__(self, count: int, inline: int = INLINE_BLOCKS) -> None:
        self._count, self._inline = count, inline
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None

    def map(self, work: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        """Results in the order of the blocks. `work` is a function of a module, or a partial of one. What reading a
        block raises is raised after the results of all blocks before it, and what `work` raises as it is.

        Raises StageError (HostOutOfMemory) when a process was killed.
        """
        try:
            yield from self._map(work, blocks)
        except BrokenProcessPool as error:
            raise StageError(
                StageFailure.HOST_OUT_OF_MEMORY,
                "a process that checked rows was killed, as the system does when memory runs out",
                "give the check more memory, or fewer processors: each has a process of its own",
                "BrokenProcessPool",
            ) from error

    def _map(self, work: Callable[[T], R], blocks: Iterable[T]) -> Iterator[R]:
        left = iter(blocks)
        if not self._pool:
            yield from map(work, left if self._count == 1 else islice(left, self._inline))
        waiting: deque[Future[R]] = deque()
        try:
            for block in left:
                waiting.append(self._processes().submit(work, block))
                if len(waiting) > self._count * _AHEAD:
                    yield waiting.popleft().result()
        except Exception:
            yield from _results(waiting)
            raise
        yield from _results(waiting)

    def _processes(self) -> ProcessPoolExecutor:
        if not self._pool:
            # not by fork: this process has threads
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._count, context, _begin)
        return self._pool


def _results(waiting: deque[Future[R]]) -> Iterator[R]:
    while waiting:
        yield waiting.popleft().result()


def _begin() -> None:
    """A worker ends with the process that started it, however that ends; a terminal's Ctrl-C is meant for that one. It
    has one processor: libraries, which are loaded later, read from the environment how many threads they may start.
    """
    os.environ |= _ONE_THREAD
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)


# for few rows
INLINE = Workers(1)
