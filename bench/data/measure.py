"""One measurement in a process of its own, so that its memory is its own:
`python -m bench.data.measure FILE TOKENIZER COUNT`. Tokenised are the first COUNT rows.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from bench.data.memory import Watch
from vernacular_trainer.cgroup import available_cores, memory_limit
from vernacular_trainer.contract import DatasetConfig
from vernacular_trainer.data.chat import load_tokenizer
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.review import review
from vernacular_trainer.data.row_store import RowStore
from vernacular_trainer.data.similar_rows import similar_rows
from vernacular_trainer.data.sources import check_sources
from vernacular_trainer.data.split import split_rows
from vernacular_trainer.data.token_store import TokenStore
from vernacular_trainer.data.tokenising import Encoder, encoded
from vernacular_trainer.data.workers import Workers, process_count

T = TypeVar("T")
# so many make every process load its tokenizer
_FIRST_ROWS = 10_000


def measure(path: Path, folder: Path, count: int, processes: int) -> dict[str, float]:
    """Seconds of each step, tokens, and the peak memory of all steps in GiB. `start`: what it takes until all processes
    have a tokenizer.
    """
    problems, config = ProblemLog(), DatasetConfig(())
    copy = InputCopy(path.name, path, "sha256:", path.stat().st_size)
    with Watch() as watch, Workers(processes) as workers:
        checked, parse = _timed(lambda: check_sources((copy,), config, problems, workers=workers))
        reviewed, checks = _timed(lambda: review(checked.conversations, config, (), problems, workers))
        rows = reviewed.conversations
        _, split = _timed(lambda: split_rows(rows, reviewed.similar, 10, "Facts", 42, workers))
        tokenizer, load = _timed(lambda: load_tokenizer(folder, "bench"))
        encoder = Encoder(tokenizer, folder, "bench", everything=False)
        first = rows[: min(_FIRST_ROWS, count)]
        _, start = _timed(lambda: _tokenised(encoder, first, workers))
        tokens, tokenise = _timed(lambda: _tokenised(encoder, rows[:count], workers))
        start = load + max(0.0, start - tokenise * len(first) / count)
        _, near = _timed(lambda: similar_rows(checked.conversations, workers))
    return {
        "parse": parse,
        "checks": checks - near,
        "near": near,
        "split": split,
        "start": start,
        "tokenise": tokenise,
        "tokens": int(tokens.lengths.sum()),
        "peak": watch.peak,
    }


def _tokenised(encoder: Encoder, rows: RowStore, workers: Workers) -> TokenStore:
    return encoded(encoder, rows, ProblemLog(), workers)[0]


def _timed(action: Callable[[], T]) -> tuple[T, float]:
    started = time.monotonic()
    result = action()
    return result, time.monotonic() - started


if __name__ == "__main__":
    rows, tokenizer, tokenised = sys.argv[1:]
    processes = process_count(available_cores(), memory_limit())
    print(json.dumps(measure(Path(rows), Path(tokenizer), int(tokenised), processes)))
