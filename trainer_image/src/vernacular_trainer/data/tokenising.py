"""Reviewed rows to tokens of a length that the plan allows, with a count of all that is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vernacular_trainer import planning
from vernacular_trainer.contract import JobConfig
from vernacular_trainer.data.base_model import BaseModel
from vernacular_trainer.data.chat import TokenRow, encode_all, load_tokenizer
from vernacular_trainer.data.checks.similarity import among
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.review import Reviewed
from vernacular_trainer.data.row_store import RowStore, map_rows
from vernacular_trainer.data.rows import Conversation, RowError
from vernacular_trainer.data.token_store import PackedTokens, TokenStore, pack_tokens
from vernacular_trainer.data.workers import INLINE, Workers


@dataclass(frozen=True)
class Truncation:
    """Rows longer than the sequence length, and what they lose: trained tokens, and ends of turns with them."""

    rows: int
    trained_tokens_lost: int
    ends_of_turn_lost: int

    @classmethod
    def between(cls, whole: TokenStore, cut: TokenStore) -> Truncation:
        """What is lost when rows are cut."""
        lost = whole.trained - cut.trained
        # the end of the last answer is the last trained token
        return cls(int((cut.lengths < whole.lengths).sum()), int(lost.sum()), int((lost > 0).sum()))


@dataclass(frozen=True)
class Tokenised:
    """Usable rows and their tokens, cut to `length` tokens. `similar`: pairs that ask nearly the same. `owners`: of
    each row of `tokens` the index of its conversation, ascending. `shortened`: conversations that were longer.
    """

    conversations: RowStore
    similar: list[tuple[int, int]]
    tokens: TokenStore
    owners: NDArray[np.int64]
    length: int
    longest: int
    truncation: Truncation
    shortened: tuple[int, ...]

    def pick(self, indexes: Sequence[int]) -> TokenStore:
        """The tokens of some conversations."""
        return self.tokens.select(np.flatnonzero(np.isin(self.owners, np.array(indexes, np.int64))))


@dataclass(frozen=True)
class Encoded:
    """Tokens of a block of conversations: how many rows each has, and the code of why it has none ("": it has some)."""

    tokens: PackedTokens
    counts: tuple[int, ...]
    refused: tuple[str, ...]


class Encoder:
    """Tokenises blocks of conversations. Another process loads the tokenizer by itself, once.

    `everything`: train all tokens, not the answers alone. `template`: the chat template of `tokenizer` where it is not
    the model's own.
    """

    def __init__(self, tokenizer: Any, folder: Path, name: str, *, everything: bool, template: str = "") -> None:
        self._tokenizer, self._everything = tokenizer, everything
        self._origin = (folder, name, template)

    def __reduce__(self) -> tuple[Any, ...]:
        return _loaded, (*self._origin, self._everything)

    def __call__(self, block: Iterable[Conversation]) -> Encoded:
        conversations = list(block)
        chosen = encode_all(self._tokenizer, conversations)
        pairs = [conversation.with_rejected for conversation in conversations if conversation.rejected]
        other = iter(encode_all(self._tokenizer, pairs))
        rows: list[TokenRow] = []
        counts, refused = [], []
        for conversation, found in zip(conversations, chosen, strict=True):
            # the two of a pair lie one behind the other
            parts = [found, next(other)] if conversation.rejected else [found]
            error = next((part.code for part in parts if isinstance(part, RowError)), "")
            own = [] if error else [row for part in parts if isinstance(part, list) for row in part]
            rows += [row.fully_trained() for row in own] if self._everything else own
            counts.append(len(own))
            refused.append(error)
        return Encoded(pack_tokens(rows), tuple(counts), tuple(refused))


@lru_cache(maxsize=1)
def _loaded(folder: Path, name: str, template: str, everything: bool) -> Encoder:
    tokenizer = load_tokenizer(folder, name, template)
    return Encoder(tokenizer, folder, name, everything=everything, template=template)


def tokenise(
    config: JobConfig,
    model: BaseModel,
    tokenizer: Any,
    reviewed: Reviewed,
    problems: ProblemLog,
    workers: Workers = INLINE,
    template: str = "",
) -> Tokenised:
    """Tokenise all rows; those that the template refuses or that have nothing left to learn are rejected. `template`:
    the job's own, with which the tokenizer writes ("": the model's).

    Raises StageError (ArgumentRefused).
    """
    everything = config.training.loss == planning.ALL_TOKENS
    encoder = Encoder(tokenizer, model.folder, config.model.uri, everything=everything, template=template)
    whole, counts = encoded(encoder, reviewed.conversations, problems, workers)
    longest = int(whole.lengths.max(initial=0))
    length, _ = planning.sequence_length(config.training, longest, model.max_length)
    cut = whole.cut(length)
    owners = np.repeat(np.arange(len(counts)), counts)
    kept, rows = _kept(reviewed.conversations, counts, whole, cut, problems, length)
    places = np.searchsorted(kept, owners[rows])
    return Tokenised(
        reviewed.conversations.select(kept),
        among(reviewed.similar, kept),
        cut.select(rows),
        places,
        length,
        longest,
        Truncation.between(whole, cut),
        tuple(np.flatnonzero(np.isin(kept, owners[cut.lengths < whole.lengths])).tolist()),
    )


def encoded(
    encoder: Encoder, rows: RowStore, problems: ProblemLog, workers: Workers
) -> tuple[TokenStore, NDArray[np.int64]]:
    """The tokens of all rows, and how many rows of tokens each has; those that are refused are rejected, with none."""
    counts: list[int] = []

    def blocks() -> Iterator[PackedTokens]:
        for found in map_rows(encoder, rows, workers):
            for index, code in enumerate(found.refused, start=len(counts)):
                if code:
                    problems.reject(code, rows[index].row)
            counts.extend(found.counts)
            yield found.tokens

    return TokenStore.of(blocks(), rows.folder), np.array(counts, np.int64)


def _kept(
    conversations: RowStore,
    counts: NDArray[np.int64],
    whole: TokenStore,
    cut: TokenStore,
    problems: ProblemLog,
    length: int,
) -> tuple[list[int], NDArray[np.int64]]:
    """Indexes of the conversations with something to learn, and of their rows of tokens."""
    owners = np.repeat(np.arange(len(counts)), counts)
    trainable = cut.trained > 0
    left = np.bincount(owners[trainable], minlength=len(counts))
    shortened = np.isin(np.arange(len(counts)), owners[cut.lengths < whole.lengths])
    starts = np.cumsum(counts) - counts
    gone = counts == 0
    longest = int(whole.lengths.max(initial=0))
    # what differs behind the cut alone is no pair any more
    for index in np.flatnonzero((left == 0) & ~gone | shortened | (counts > 1)).tolist():
        conversation = conversations[index]
        own = [row for row in range(starts[index], starts[index] + counts[index]) if trainable[row]]
        if not own or (conversation.rejected and len({cut.row(row)[0].tobytes() for row in own}) < 2):
            advice = f"raise training.maxSequenceLength above {length}, or shorten the text before the answer"
            problems.reject("AnswerCutAway", conversation.row, advice)
            gone[index] = True
        elif shortened[index]:
            advice = f"raise training.maxSequenceLength to {longest}, or shorten the row: the end of its answer is lost"
            problems.add("AnswerCut", conversation.row, advice)
    return np.flatnonzero(~gone).tolist(), np.flatnonzero(trainable & ~gone[owners])
