"""How cost grows with the number of jobs: the exponent of the curve through four sizes; 1 is linear."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.operator import life
from bench.report import Measure

SIZES = (250, 500, 1000, 2000)
# what noise of the machine may make of a straight line
_LINEAR = 1.15


def exponent(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """k of the curve cost = a * size ** k that fits best, by least squares of the logarithms."""
    xs, ys = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    middle_x, middle_y = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - middle_x) * (y - middle_y) for x, y in zip(xs, ys, strict=True))
    return covariance / sum((x - middle_x) ** 2 for x in xs)


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
