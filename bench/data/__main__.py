"""`make bench-data`: how long the checks of the data take and how much memory, against the budgets; and tokenising
beside the tokenizers library alone and beside datasets.map.

The budgets are for 1,000,000 rows. With fewer (ROWS=10000) times are held to the same rate, and nothing is recorded.
All runs with the packages of the data image.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.data.rows import write_rows
from bench.data.tokens import build_tokenizer
from bench.environments import ROOT, image_interpreter, interpreter
from bench.growth import exponent
from bench.processes import machine_cpu_seconds
from bench.report import Measure, finish, package_versions, table
from vernacular_trainer.cgroup import available_cores

FULL = 1_000_000
STEPS = (10_000, 100_000, FULL)
CHECKS_SECONDS = 120
WITH_NEAR_SECONDS = 240
MEMORY_GIB = 2
# of the speed that the tokenizers library has by itself
BARE_PERCENT = 90
# of time over rows; sorting costs a little more than linear
EXPONENT = 1.1
# tokenising is linear, and takes longer than all else
TOKENISED = 100_000
PEERS = Path(__file__).parent / "peers"

Found = dict[str, float]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(STEPS), help="row counts, the largest is reported")
    counts = sorted(parser.parse_args().rows)
    began, busy = time.monotonic(), machine_cpu_seconds()
    with tempfile.TemporaryDirectory() as name:
        results, peers = _measured(counts, Path(name))
    others = (machine_cpu_seconds() - busy - sum(os.times()[:4])) / (time.monotonic() - began) / (os.cpu_count() or 1)
    measures = [
        *rows_of(results, peers),
        Measure("other work on the machine meanwhile", 100 * max(0.0, others), "%"),
    ]
    if counts[-1] < FULL:
        print(table(measures))
        return 0 if all(measure.met for measure in measures) else 1
    packages = package_versions("pyarrow", "rensa", "numpy", "tokenizers", "transformers")
    return 0 if finish("data", "make bench-data", measures, packages) else 1


def rows_of(results: dict[int, Found], peers: dict[str, Found]) -> list[Measure]:
    """The table, from the seconds and GiB by number of rows, and what the peers took for as many rows as were
    tokenised.
    """
    count = max(results)
    found, share = results[count], count / FULL
    name = f"{count:,} rows"
    checks = found["parse"] + found["checks"]
    tokenised, cores = f"{min(count, TOKENISED):,} rows tokenised", available_cores()
    bare, usual = peers["bare"], peers["datasets"]
    measures = [
        Measure(f"{name}: parse", found["parse"], "s"),
        Measure(f"{name}: parse and check, without near duplicates", checks, "s", CHECKS_SECONDS * share),
        Measure(f"{name}: near duplicates included", checks + found["near"], "s", WITH_NEAR_SECONDS * share),
        Measure(f"{name}: split", found["split"], "s"),
        Measure(f"{tokenised}", found["tokenise"], "s"),
        Measure(f"{tokenised}, until all processes have the tokenizer", found["start"], "s"),
        Measure(f"{tokenised} by the tokenizers library alone", bare["seconds"], "s"),
        Measure(
            "tokenising: of the speed of the library alone",
            100 * bare["seconds"] / found["tokenise"],
            "%",
            least=BARE_PERCENT,
        ),
        Measure(f"{name}: loaded by datasets, without a check", usual["load"], "s"),
        Measure(f"{tokenised} by datasets.map with {cores} processes, without labels", usual["seconds"], "s"),
        Measure(f"{name}: peak memory of all processes", found["peak"], "GiB", MEMORY_GIB),
    ]
    if len(results) > 1:
        measures.append(Measure("growth: exponent of time over rows", growth(results), "", EXPONENT))
    return measures


def growth(results: dict[int, Found]) -> float:
    """The exponent of time over rows: 1 is linear growth."""
    seconds = [sum(found[step] for step in ("parse", "checks", "near")) for found in results.values()]
    return exponent([*results], seconds)


def _measured(counts: list[int], folder: Path) -> tuple[dict[int, Found], dict[str, Found]]:
    """What each number of rows takes, and what the peers take for the largest."""
    python = image_interpreter("data")
    rows, tokenizer = folder / "train.jsonl", folder / "tokenizer"
    results: dict[int, Found] = {}
    for count in counts:
        write_rows(rows, count)
        if not tokenizer.exists():
            build_tokenizer(rows, tokenizer)
        tokenised = min(count, TOKENISED if count == counts[-1] else counts[0])
        results[count] = _run(python, "-m", "bench.data.measure", rows, tokenizer, tokenised)
    task = (rows, tokenizer, min(counts[-1], TOKENISED))
    peers = {
        "bare": _run(python, PEERS / "bare.py", *task),
        "datasets": _run(
            interpreter("datasets"), PEERS / "datasets_map.py", *task, available_cores(), folder / "cache"
        ),
    }
    tokens = {results[counts[-1]]["tokens"], *(found["tokens"] for found in peers.values())}
    assert len(tokens) == 1, f"not the same work: {tokens}"
    return results, peers


def _run(python: Path, *arguments: Any) -> Found:
    places = os.pathsep.join((str(ROOT), str(ROOT / "trainer_image/src")))
    environment = os.environ | {"PYTHONPATH": places, "HF_HUB_OFFLINE": "1"}
    command = [str(python), *map(str, arguments)]
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout
    found: Found = json.loads(output.splitlines()[-1])
    return found


if __name__ == "__main__":
    sys.exit(main())
