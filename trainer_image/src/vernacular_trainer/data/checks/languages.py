"""Which languages answers are in: those that hardly any other answer is in are often mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

# of a text so much is looked at, and of a shorter one nothing can be said
_CHARACTERS = 1000
_LETTERS = 20
_SURE = 0.9
# a language of fewer answers than this part of all is rare
_RARE = 0.05
_ENOUGH_FOR_SHARES = 20


@dataclass(frozen=True)
class Languages:
    """Answers by language (ISO 639), those whose language is not sure, and indexes of answers in a rare language."""

    counts: dict[str, int] = field(default_factory=dict)
    unsure: int = 0
    rare: tuple[int, ...] = ()


def languages_of(answers: Sequence[str]) -> Languages:
    """The languages of the answers."""
    # 4 MB with its model, nothing is fetched; 0.03 ms for a short text
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    found = [_language(identifier, answer) for answer in answers]
    counts = Counter(language for language in found if language)
    known = sum(counts.values())
    few = {language for language, count in counts.items() if count < _RARE * known}
    rare = tuple(index for index, language in enumerate(found) if language in few)
    return Languages(dict(counts.most_common()), len(found) - known, rare if known >= _ENOUGH_FOR_SHARES else ())


def _language(identifier: LanguageIdentifier, answer: str) -> str:
    text = answer[:_CHARACTERS]
    if sum(map(str.isalpha, text)) < _LETTERS:
        return ""
    language, sure = identifier.classify(text)
    return str(language) if sure >= _SURE else ""
