"""How cost grows with the number of jobs: the exponent of the curve through four sizes; 1 is linear."""

from __future__ import annotations

from bench.growth import exponent
from bench.operator import life
from bench.report import Measure

SIZES = (250, 500, 1000, 2000)
# what noise of the machine may make of a straight line
_LINEAR = 1.15


async def measures() -> list[Measure]:
    """Until every prepare Job exists, since that is when all jobs are there at once."""
    found = [await life.run_to_first_stage(size) for size in SIZES]
    rows = [
        row
        for each in found
        for row in (
            Measure(f"{each.count} jobs: first create to every prepare Job", each.create, "s"),
            Measure(f"{each.count} jobs: operator CPU", each.cpu * each.count / 1000, "s"),
        )
    ]
    seconds = exponent(SIZES, [each.create for each in found])
    cpu = exponent(SIZES, [each.cpu * each.count for each in found])
    writes = exponent(SIZES, [each.writes * each.count for each in found])
    return [
        *rows,
        Measure("exponent of seconds", seconds, "", _LINEAR),
        Measure("exponent of operator CPU", cpu, "", _LINEAR),
        Measure("exponent of API writes", writes, "", _LINEAR),
    ]
