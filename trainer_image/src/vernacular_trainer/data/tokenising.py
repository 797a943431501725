"""Reviewed rows to tokens of a length that the plan allows, with a count of all that is lost on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from vernacular_trainer import planning
from vernacular_trainer.contract import JobConfig
from vernacular_trainer.data.base_model import BaseModel
from vernacular_trainer.data.chat import TokenRow, encode
from vernacular_trainer.data.checks.similarity import among
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.review import Reviewed
from vernacular_trainer.data.rows import Conversation, RowError


@dataclass(frozen=True)
class Truncation:
    """Rows longer than the sequence length, and what they lose: trained tokens, and ends of turns with them."""

    rows: int = 0
    trained_tokens_lost: int = 0
    ends_of_turn_lost: int = 0

    def plus(self, whole: TokenRow, cut: TokenRow) -> Truncation:
        """The same with one more row, cut from `whole`."""
        lost = whole.trained - cut.trained
        shorter = len(cut.input_ids) < len(whole.input_ids)
        # the end of the last answer is the last trained token
        return Truncation(self.rows + shorter, self.trained_tokens_lost + lost, self.ends_of_turn_lost + (lost > 0))


@dataclass(frozen=True)
class Tokenised:
    """Usable rows and their tokens, row by row, cut to `length` tokens. `similar`: pairs that ask nearly the same.
    `cut`: rows that were longer.
    """

    conversations: list[Conversation]
    similar: list[tuple[int, int]]
    rows: list[list[TokenRow]]
    length: int
    longest: int
    truncation: Truncation
    cut: tuple[int, ...]


def tokenise(
    config: JobConfig, model: BaseModel, tokenizer: Any, reviewed: Reviewed, problems: ProblemLog
) -> Tokenised:
    """Tokenise all rows; those that the template refuses or that have nothing left to learn are rejected.

    Raises StageError (ArgumentRefused).
    """
    encoded: dict[int, list[TokenRow]] = {}
    everything = config.training.loss == planning.ALL_TOKENS
    for index, conversation in enumerate(reviewed.conversations):
        try:
            rows = encode(tokenizer, conversation)
            if conversation.rejected:
                # the two of a pair lie one behind the other
                rows += encode(tokenizer, conversation.with_rejected)
        except RowError as error:
            problems.reject(error.code, conversation.row)
            continue
        encoded[index] = [row.fully_trained() for row in rows] if everything else rows
    longest = max((len(row.input_ids) for rows in encoded.values() for row in rows), default=0)
    length, _ = planning.sequence_length(config.training, longest, model.max_length)
    kept = _cut(reviewed, encoded, length, longest, problems)
    lost = Truncation()
    for rows in encoded.values():
        for row in rows:
            lost = lost.plus(row, row.cut(length))
    conversations = [reviewed.conversations[index] for index in kept]
    longer = [any(len(row.input_ids) > length for row in encoded[index]) for index in kept]
    cut = tuple(place for place, is_cut in enumerate(longer) if is_cut)
    return Tokenised(conversations, among(reviewed.similar, [*kept]), [*kept.values()], length, longest, lost, cut)


def _cut(
    reviewed: Reviewed, encoded: dict[int, list[TokenRow]], length: int, longest: int, problems: ProblemLog
) -> dict[int, list[TokenRow]]:
    kept: dict[int, list[TokenRow]] = {}
    for index, rows in encoded.items():
        place = reviewed.conversations[index].row
        trainable = [cut for row in rows if (cut := row.cut(length)).trained]
        pair = reviewed.conversations[index].rejected is not None
        # what differs behind the cut alone is no pair any more
        if not trainable or (pair and len({row.input_ids for row in trainable}) < 2):
            advice = f"raise training.maxSequenceLength above {length}, or shorten the text before the answer"
            problems.reject("AnswerCutAway", place, advice)
            continue
        if any(len(row.input_ids) > length for row in rows):
            advice = f"raise training.maxSequenceLength to {longest}, or shorten the row: the end of its answer is lost"
            problems.add("AnswerCut", place, advice)
        kept[index] = trainable
    return kept
