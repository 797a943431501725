"""Which rows go into which step."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vernacular_trainer.training.order import StepOrder, micro_batches


def lengths(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(5, 400, count)


@given(rows=st.integers(1, 90), batch_size=st.integers(1, 20), seed=st.integers(0, 5))
def test_every_epoch_has_every_row_once(rows: int, batch_size: int, seed: int) -> None:
    order = StepOrder(lengths(rows), batch_size, seed)
    epochs = 3
    steps = -(-rows * epochs // batch_size)
    seen = [row for step in range(steps) for row in order.rows_of(step)]
    assert len(seen) == steps * batch_size
    counts = Counter(seen)
    surplus = steps * batch_size - rows * epochs
    assert sum(count - epochs for count in counts.values()) == surplus
    assert set(counts) == set(range(rows))
    assert min(counts.values()) >= epochs


def test_the_seed_decides_the_order() -> None:
    def steps(seed: int) -> list[list[int]]:
        order = StepOrder(lengths(50), 8, seed)
        return [order.rows_of(step) for step in range(20)]

    assert steps(1) == steps(1)
    assert steps(1) != steps(2)


def test_a_step_can_be_asked_for_alone() -> None:
    straight = StepOrder(lengths(50), 8, 3)
    expected = [straight.rows_of(step) for step in range(20)]
    assert StepOrder(lengths(50), 8, 3).rows_of(17) == expected[17]


def test_epochs_differ() -> None:
    order = StepOrder(lengths(64), 8, 0)
    assert [order.rows_of(step) for step in range(8)] != [order.rows_of(step) for step in range(8, 16)]


def test_rows_of_similar_length_share_a_step() -> None:
    sizes = lengths(640)
    order = StepOrder(sizes, 8, 0)
    grouped = sum(int(sizes[order.rows_of(step)].max()) * 8 for step in range(80))
    shuffled = np.random.default_rng(0).permutation(sizes).reshape(80, 8).max(axis=1).sum() * 8
    needed = int(sizes.sum())
    assert grouped - needed < 0.3 * (shuffled - needed)


@pytest.mark.parametrize(("world_size", "accumulation"), [(1, 1), (1, 8), (2, 4), (3, 2), (8, 1), (2, 8)])
def test_the_ranks_share_a_step_without_loss(world_size: int, accumulation: int) -> None:
    rows = list(range(100, 108))
    pieces = [micro_batches(rows, [5] * 8, rank, world_size, accumulation) for rank in range(world_size)]
    assert all(len(piece) == accumulation for piece in pieces)
    assert sorted(row for piece in pieces for batch in piece for row in batch) == rows
    largest = max(len(batch) for piece in pieces for batch in piece)
    assert largest == math.ceil(math.ceil(8 / world_size) / accumulation)


def test_the_pieces_of_a_step_have_nearly_as_many_tokens() -> None:
    sizes = sorted(lengths(64).tolist(), reverse=True)
    pieces = [piece for rank in range(2) for piece in micro_batches(range(64), sizes, rank, 2, 4)]
    tokens = [sum(sizes[row] for row in piece) for piece in pieces]
    assert {len(piece) for piece in pieces} == {8}
    assert max(tokens) < 1.05 * min(tokens)


def test_without_padding_any_rows_share_a_step() -> None:
    sizes = lengths(640)
    order = StepOrder(sizes, 8, 0, by_length=False)
    tokens = [int(sizes[order.rows_of(step)].sum()) for step in range(80)]
    grouped = StepOrder(sizes, 8, 0)
    assert np.std(tokens) < 0.5 * np.std([int(sizes[grouped.rows_of(step)].sum()) for step in range(80)])
