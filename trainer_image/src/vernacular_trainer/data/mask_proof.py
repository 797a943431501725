"""Whether the right tokens are trained: shown on some rows, and tried on more by changing their words.

What is trained must follow the answers alone, and what is not trained everything else alone. So a row is tokenised
again with words added to its prompt, which may change no trained text, and with words added to its answers, which may
change no other text. Neither looks at how the answers were found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

from vernacular_trainer.data.chat import NOT_TRAINED, TokenRow, encode
from vernacular_trainer.data.checks.personal_data import masked
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.rows import Conversation, Message, RowError

# evenly spread over all rows; what is wrong with a template shows in any row of its kind
MOST_ROWS = 200
_SHOWN_OF_A_FILE = 2
_MOST_SHOWN = 20
_PIECE_CHARACTERS = 400
_BEFORE, _AFTER = "More words ", " and more words"
_THOUGHT_ENDS = "</think>"


@dataclass(frozen=True)
class Piece:
    """Text of a row that is trained, or is not, as a whole."""

    text: str
    trained: bool


@dataclass(frozen=True)
class MaskProof:
    """How many rows were tried, and some of them as the model reads them, with personal data masked."""

    tried: int
    shown: tuple[tuple[str, tuple[Piece, ...]], ...]

    def report(self) -> dict[str, Any]:
        """As the data report has it."""
        samples = [
            {"row": place, "pieces": [{"text": piece.text, "trained": piece.trained} for piece in pieces]}
            for place, pieces in self.shown
        ]
        return {"tried": self.tried, "samples": samples}


def prove_mask(
    tokenizer: Any, rows: Sequence[Conversation], problems: ProblemLog, *, everything: bool = False
) -> MaskProof:
    """Try MOST_ROWS of the rows, and note PromptTrained, AnswerNotTrained and EndNotTrained. `everything`: all tokens
    are trained on purpose, and nothing is tried.
    """
    tried = 0
    shown: list[tuple[str, tuple[Piece, ...]]] = []
    files: Counter[str] = Counter()
    for row in _spread(rows):
        tokens = encode(tokenizer, row)
        if not (everything or row.plain):
            tried += 1
            for code in faults(tokenizer, row, tokens):
                problems.add(code, row.row)
        file = row.row.rpartition(":")[0]
        if files[file] < _SHOWN_OF_A_FILE and len(shown) < _MOST_SHOWN:
            files[file] += 1
            found = [token.fully_trained() for token in tokens] if everything else tokens
            pieces = (piece for token in found for piece in _pieces(tokenizer, token))
            shown.append((row.row, tuple(Piece(_short(masked(piece.text)), piece.trained) for piece in pieces)))
    return MaskProof(tried, tuple(shown))


def _spread(rows: Sequence[Conversation]) -> Iterator[Conversation]:
    step = max(1, -(-len(rows) // MOST_ROWS))
    return iter(rows[::step])


def faults(tokenizer: Any, row: Conversation, tokens: Sequence[TokenRow]) -> list[str]:
    """The codes of what is wrong with the `tokens` of a row, of which the answers alone are to be trained."""
    codes = []
    asked_more = _encoded(tokenizer, replace(row, messages=tuple(map(_asking_more, row.messages))))
    if asked_more and _texts(tokenizer, asked_more, trained=True) != _texts(tokenizer, tokens, trained=True):
        codes.append("PromptTrained")
    # where each answer has a row of its own, those before it are read and not trained
    changed = _saying_more(row.messages, only_last=len(tokens) > 1)
    said_more = _encoded(tokenizer, replace(row, messages=changed))
    if said_more and _texts(tokenizer, said_more[-1:], trained=False) != _texts(tokenizer, tokens[-1:], trained=False):
        codes.append("AnswerNotTrained")
    # some models have a token for the end of a turn that is not among those which the tokenizer calls special
    ends = {*tokenizer.added_tokens_decoder, *tokenizer.all_special_ids}
    if any(run[-1] not in ends for token in tokens for run in _runs(token, trained=True)):
        codes.append("EndNotTrained")
    return codes


def _encoded(tokenizer: Any, row: Conversation) -> list[TokenRow]:
    try:
        return encode(tokenizer, row)
    except RowError:
        # a template may look into what is said: such a row proves nothing
        return []


def _asking_more(message: Message) -> Message:
    return message if message.trained or not message.content else replace(message, content=message.content + _AFTER)


def _saying_more(messages: Sequence[Message], *, only_last: bool) -> tuple[Message, ...]:
    # what goes with a call, templates may leave out
    answers = [place for place, message in enumerate(messages) if message.trained and not message.tool_calls]
    chosen = set(answers[-1:] if only_last else answers)
    return tuple(_said_more(message) if place in chosen else message for place, message in enumerate(messages))


def _said_more(message: Message) -> Message:
    """With words around the answer, behind the thought that it may begin with: prompts may begin that thought."""
    thought, end, answer = message.content.rpartition(_THOUGHT_ENDS)
    return replace(message, content=f"{thought}{end}{_BEFORE}{answer.lstrip()}{_AFTER}")


def _texts(tokenizer: Any, tokens: Sequence[TokenRow], *, trained: bool) -> list[str]:
    runs = (run for token in tokens for run in _runs(token, trained=trained))
    return [_decoded(tokenizer, run) for run in runs]


def _runs(token: TokenRow, *, trained: bool) -> list[list[int]]:
    return [run for run, is_trained in _all_runs(token) if is_trained is trained]


def _all_runs(token: TokenRow) -> Iterator[tuple[list[int], bool]]:
    """Tokens one behind the other that are all trained, or all not."""
    pairs = zip(token.input_ids, token.labels, strict=True)
    for trained, group in groupby(pairs, key=lambda pair: pair[1] != NOT_TRAINED):
        yield [token_id for token_id, _ in group], trained


def _pieces(tokenizer: Any, token: TokenRow) -> Iterator[Piece]:
    for run, trained in _all_runs(token):
        yield Piece(_decoded(tokenizer, run), trained)


def _decoded(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))


def _short(text: str) -> str:
    half = _PIECE_CHARACTERS // 2
    return text if len(text) <= _PIECE_CHARACTERS else f"{text[:half]} … {text[-half:]}"
