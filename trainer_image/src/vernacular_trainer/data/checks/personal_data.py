"""Personal data and secrets in texts: found by their form, checked by their check digits, masked by their kind."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from vernacular_trainer.data.rows import Conversation, Message


def _whole(text: str) -> str:
    return text


@dataclass(frozen=True)
class Kind:
    """One kind of data: how it looks, what it is masked with, and, when the form alone does not decide, which part of
    what looks so it is ("" for none).
    """

    code: str
    name: str
    pattern: re.Pattern[str]
    part: Callable[[str], str] = _whole

    def mask(self, text: str) -> str:
        """`text` with this kind replaced by its name."""
        pieces, last = [], 0
        for start, end in self._places(text):
            pieces += [text[last:start], f"[{self.name}]"]
            last = end
        return "".join([*pieces, text[last:]])

    def count(self, text: str) -> int:
        """How often `text` holds this kind."""
        return sum(1 for _ in self._places(text))

    def _places(self, text: str) -> Iterator[tuple[int, int]]:
        position = 0
        while found := self.pattern.search(text, position):
            position = found.end()
            if part := self.part(found.group()):
                start = found.start() + found.group().index(part)
                # the next one may stand in what this one looked like at first
                position = start + len(part)
                yield start, position


def _luhn(text: str) -> bool:
    digits = [int(letter) for letter in text if letter.isdigit()]
    doubled = [sum(divmod(2 * digit, 10)) if index % 2 else digit for index, digit in enumerate(reversed(digits))]
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and sum(doubled) % 10 == 0


def _iban(text: str) -> bool:
    """ISO 13616: the number that the letters and digits make has the remainder 1."""
    plain = re.sub(r"\s", "", text).upper()
    return 15 <= len(plain) <= 34 and int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


# as cards are printed
_CARD = re.compile(r"\b(?:\d{13,19}|\d{4}([ -])\d{4}\1\d{4}\1\d{4}|\d{4}([ -])\d{6}\2\d{4,5})\b", re.ASCII)


def _card(text: str) -> str:
    """The number without other digits beside it, like the month in which the card ends."""
    return next((part for part in (text, *(found.group() for found in _CARD.finditer(text))) if _luhn(part)), "")


def _account(text: str) -> str:
    """The number without the words in capitals behind it."""
    ends = [len(text), *(index for index in range(len(text) - 1, 0, -1) if text[index] == " ")]
    return next((text[:end] for end in ends if _iban(text[:end])), "")


def _telephone(text: str) -> str:
    return text if 9 <= sum(letter.isdigit() for letter in text) <= 15 else ""


def _social_security(text: str) -> str:
    area, group, serial = text.split("-")
    return text if area not in ("000", "666") and area[0] != "9" and group != "00" and serial != "0000" else ""


# Patterns begin with what few characters are, and look behind it afterwards: a search then skips most of a text.
_SECRET = Kind(
    "Secret",
    "SECRET",
    re.compile(
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----(?:.*?-----END [A-Z ]{0,40}PRIVATE KEY-----|.*)"
        r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b|\bgh[pousr]_[A-Za-z0-9]{36,}|\bgithub_pat_\w{50,}|\bglpat-[\w-]{20,}"
        r"|\bhf_[A-Za-z0-9]{30,}|\bsk-[A-Za-z0-9_-]{32,}|\bxox[abprs]-[A-Za-z0-9-]{10,}|\bAIza[\w-]{35}"
        r"|(?<![\w-])eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{10,}"
        r"|(?<=://)[^\s:/@]{1,64}:[^\s:/@]{3,128}(?=@)",
        re.ASCII | re.DOTALL,
    ),
)
_EMAIL = Kind(
    "PersonalData",
    "EMAIL",
    re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})*\.[A-Za-z]{2,24}\b"),
)
_IBAN = Kind(
    "PersonalData",
    "IBAN",
    re.compile(r"[A-Z](?<!\w[A-Z])[A-Z]\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b", re.ASCII),
    _account,
)
_CARD_NUMBER = Kind(
    "PersonalData",
    "CARD",
    re.compile(r"\d(?<![\d.]\d)(?:[ -]?\d){12,18}(?![\d.]\d)", re.ASCII),
    _card,
)
_PHONE = Kind(
    "PersonalData",
    "PHONE",
    re.compile(r"(?<![\w.,+-])(?:\+|00)[1-9](?:[ ()/.-]{0,2}\d){7,14}(?!\w)|\(\d{3}\) ?\d{3}-\d{4}\b", re.ASCII),
    _telephone,
)
_SSN = Kind(
    "PersonalData",
    "SSN",
    re.compile(r"\d{3}(?<![\d-]\d{3})-\d{2}-\d{4}(?![\d-])", re.ASCII),
    _social_security,
)

# what secrets begin with, by a letter of it that few texts have
_SECRET_PARTS = {
    "-": ("PRIVATE KEY-----", "glpat-", "sk-", "xox"),
    "_": ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "hf_"),
    "A": ("AKIA", "ASIA", "AIza"),
    "J": ("eyJ",),
    ":": ("://",),
}
# cards, telephone and social security numbers all hold so many digits with little between them
_NINE_DIGITS = re.compile(r"\d(?:[ ()/.-]{0,2}\d){8}", re.ASCII)


def _shows_secret(text: str) -> bool:
    return any(part in text for letter, parts in _SECRET_PARTS.items() if letter in text for part in parts)


# What a text must show to be worth a search, and the kinds that it may hold then: most texts show nothing. They stand
# in this order because what a card or an account takes away is no telephone number any more.
_SIGNS: tuple[tuple[Callable[[str], object], tuple[Kind, ...]], ...] = (
    (_shows_secret, (_SECRET,)),
    (lambda text: "@" in text, (_EMAIL,)),
    (_IBAN.pattern.search, (_IBAN,)),
    (_NINE_DIGITS.search, (_CARD_NUMBER, _PHONE, _SSN)),
)


def kinds_in(text: str) -> Counter[tuple[str, str]]:
    """How often a text holds each kind, by code and name."""
    found: Counter[tuple[str, str]] = Counter()
    for kind in _possible(text):
        if count := kind.count(text):
            found[kind.code, kind.name] = count
            text = kind.mask(text)
    return found


def masked(text: str) -> str:
    """A text with everything that looks like personal data or a secret replaced by its kind: "[EMAIL]"."""
    for kind in _possible(text):
        text = kind.mask(text)
    return text


def _possible(text: str) -> list[Kind]:
    # masks hold no signs: what a text does not show, it does not show when it is masked in part
    return [kind for shows, kinds in _SIGNS if shows(text) for kind in kinds]


def kinds_of(row: Conversation, system_prompt: str = "") -> Counter[tuple[str, str]]:
    """How often a row holds each kind: in its messages but the job's own system prompt, in its tools and in what its
    assistant calls.
    """
    found: Counter[tuple[str, str]] = Counter()
    for message in row.everything:
        for text in _texts(message, system_prompt):
            found.update(kinds_in(text))
    for text in _strings(row.tools):
        found.update(kinds_in(text))
    return found


def redacted(row: Conversation, system_prompt: str = "") -> Conversation:
    """The row with personal data and secrets masked, but in the job's own system prompt: the evaluation asks with it as
    it is.
    """
    messages = tuple(redacted_message(message, system_prompt) for message in row.messages)
    rejected = redacted_message(row.rejected) if row.rejected else None
    return replace(row, messages=messages, tools=_mapped(row.tools), rejected=rejected, topic=masked(row.topic))


def redacted_message(message: Message, system_prompt: str = "") -> Message:
    """The message with personal data and secrets masked, but the job's own system prompt."""
    if _is_prompt(message, system_prompt):
        return message
    return replace(message, content=masked(message.content), tool_calls=_mapped(message.tool_calls))


def _is_prompt(message: Message, system_prompt: str) -> bool:
    return message.role == "system" and message.content == system_prompt


def _mapped(value: Any) -> Any:
    match value:
        case str():
            return masked(value)
        case dict():
            return {key: _mapped(item) for key, item in value.items()}
        case list() | tuple():
            return type(value)(_mapped(item) for item in value)
        case _:
            return value


def _texts(message: Message, system_prompt: str) -> list[str]:
    if _is_prompt(message, system_prompt):
        return []
    return [message.content, *_strings(message.tool_calls)] if message.tool_calls else [message.content]


def _strings(value: Any) -> list[str]:
    match value:
        case str():
            return [value]
        case dict():
            return [text for item in value.values() for text in _strings(item)]
        case list() | tuple():
            return [text for item in value for text in _strings(item)]
        case _:
            return []
