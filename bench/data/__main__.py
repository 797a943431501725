"""`make bench-data`: how long the checks of the data take and how much memory, against the budgets.

The budgets are for 1,000,000 rows. With fewer (ROWS=10000) times are held to the same rate, and nothing is recorded.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.data.rows import write_rows
from bench.growth import exponent
from bench.report import Measure, finish, package_versions, table

FULL = 1_000_000
STEPS = (10_000, 100_000, FULL)
CHECKS_SECONDS = 120
WITH_NEAR_SECONDS = 240
MEMORY_GIB = 2
# of time over rows; sorting costs a little more than linear
EXPONENT = 1.1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=list(STEPS), help="row counts, the largest is reported")
    counts = sorted(parser.parse_args().rows)
    results = {count: _measured(count) for count in counts}
    measures = rows_of(results)
    if counts[-1] < FULL:
        print(table(measures))
        return 0 if all(measure.met for measure in measures) else 1
    return 0 if finish("data", "make bench-data", measures, package_versions("pyarrow", "rensa", "numpy")) else 1


def rows_of(results: dict[int, dict[str, float]]) -> list[Measure]:
    """The table, from the seconds and GiB by number of rows."""
    count = max(results)
    found, share = results[count], count / FULL
    name = f"{count:,} rows"
    checks = found["parse"] + found["checks"]
    measures = [
        Measure(f"{name}: parse", found["parse"], "s"),
        Measure(f"{name}: parse and check, without near duplicates", checks, "s", CHECKS_SECONDS * share),
        Measure(f"{name}: near duplicates included", checks + found["near"], "s", WITH_NEAR_SECONDS * share),
        Measure(f"{name}: split", found["split"], "s"),
        Measure(f"{name}: peak memory", found["peak"], "GiB", MEMORY_GIB),
    ]
    if len(results) > 1:
        measures.append(Measure("growth: exponent of time over rows", growth(results), "", EXPONENT))
    return measures


def growth(results: dict[int, dict[str, float]]) -> float:
    """The exponent of time over rows: 1 is linear growth."""
    seconds = [sum(found[step] for step in ("parse", "checks", "near")) for found in results.values()]
    return exponent([*results], seconds)


def _measured(count: int) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "train.jsonl"
        write_rows(path, count)
        command = [sys.executable, "-m", "bench.data.measure", str(path)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, float] = json.loads(output)
    return found


if __name__ == "__main__":
    sys.exit(main())
