"""The exponent of a bench's growth."""

from __future__ import annotations

import pytest

from bench.growth import exponent


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
def test_the_exponent_of_a_power_law_is_found(power: float) -> None:
    sizes = (250, 500, 1000, 2000)

    assert exponent(sizes, [3 * size**power for size in sizes]) == pytest.approx(power)
