"""Rows from disk to tensors."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from support.training import ragged_rows, write_rows
from vernacular_trainer.data.chat import TokenRow
from vernacular_trainer.data.table import write_rows as prepared_rows
from vernacular_trainer.data.token_store import TokenStore, pack_tokens
from vernacular_trainer.training.rows import IGNORED, RowTable


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    rows = ragged_rows(9)
    write_rows(tmp_path / "rows.arrow", rows)
    table = RowTable.open(tmp_path / "rows.arrow")
    assert len(table) == 9
    assert list(table.lengths) == [len(tokens) for tokens, _ in rows]
    assert [(list(tokens), list(labels)) for tokens, labels in map(table.row, range(9))] == rows


def test_a_table_in_several_pieces(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    schema = pa.schema([("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32()))])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for piece in ([[1, 2]], [[3], [4, 5, 6]]):
            writer.write_batch(pa.record_batch([pa.array(piece, t.type) for t in schema], schema=schema))
    table = RowTable.open(path)
    assert [list(table.row(number)[0]) for number in range(3)] == [[1, 2], [3], [4, 5, 6]]


def test_an_empty_table(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", [])
    assert len(RowTable.open(tmp_path / "rows.arrow")) == 0


def test_labels_of_another_length_are_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", [([1, 2, 3], [1, 2])])
    with pytest.raises(ValueError, match="differ in length"):
        RowTable.open(tmp_path / "rows.arrow")


RAGGED = [([5, 6, 7, 2], [-100, -100, 7, 2]), ([8, 2], [-100, 2])]


def test_a_padded_batch_predicts_the_next_token_and_ignores_padding(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", RAGGED)
    batch = RowTable.open(tmp_path / "rows.arrow").batch([0, 1])
    assert batch.input_ids.tolist() == [[5, 6, 7, 2], [8, 2, 0, 0]]
    assert batch.real().tolist() == [[True, True, True, True], [True, True, False, False]]
    assert batch.targets.tolist() == [[IGNORED, 7, 2, IGNORED], [2, IGNORED, IGNORED, IGNORED]]
    assert (batch.supervised, batch.size) == (3, 6)


def test_a_packed_batch_has_the_same_rows_without_padding(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.arrow", RAGGED)
    table = RowTable.open(tmp_path / "rows.arrow")
    batch = table.laid_out(packed=True).batch([1, 0])
    assert batch.input_ids.tolist() == [[8, 2, 5, 6, 7, 2]]
    assert batch.positions().tolist() == [[0, 1, 0, 1, 2, 3]]
    assert batch.targets.tolist() == [[2, IGNORED, IGNORED, 7, 2, IGNORED]]
    assert (batch.supervised, batch.size, batch.lengths) == (3, 6, (2, 4))
    assert batch.supervised_by_row().tolist() == table.batch([1, 0]).supervised_by_row().tolist()


@pytest.mark.parametrize("packed", [False, True])
def test_no_rows_give_a_batch_without_targets(tmp_path: Path, packed: bool) -> None:
    write_rows(tmp_path / "rows.arrow", [([5, 6, 7], [5, 6, 7])])
    batch = RowTable.open(tmp_path / "rows.arrow").laid_out(packed=packed).batch([])
    assert batch.input_ids.shape == (1, 3)
    assert batch.supervised == 0


def test_supervised_positions_are_counted_row_by_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    write_rows(path, [([1, 2, 3], [-100, -100, 3]), ([4, 5], [4, 5]), ([6], [-100])])

    assert RowTable.open(path).supervised.tolist() == [1, 1, 0]


def test_tokens_are_counted_with_64_bits_and_mapped_from_the_file(tmp_path: Path) -> None:
    """A split may have more than 2^31 tokens, and be larger than the memory."""
    tokens = tuple(range(100_000))
    rows = [TokenRow("a:1", tokens, tokens), TokenRow("a:2", (7, 8), (-100, 8))]
    path = tmp_path / "rows.arrow"
    prepared_rows(path, TokenStore.of([pack_tokens(rows)]))

    before = pa.total_allocated_bytes()
    with pa.memory_map(str(path)) as stream:
        file = pa.ipc.open_file(stream)
        assert file.num_record_batches == 1
        assert {file.schema.field(name).type for name in ("input_ids", "labels")} == {pa.large_list(pa.int32())}
    table = RowTable.open(path)

    assert pa.total_allocated_bytes() == before
    assert not table.tokens.flags.owndata
    assert table.offsets.dtype == "int64"
    assert [(tuple(ids), tuple(labels)) for ids, labels in map(table.row, range(2))] == [
        (row.input_ids, row.labels) for row in rows
    ]
