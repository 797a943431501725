"""Answers that will be wrong before the model is trained again: dates, prices, versions, what holds at the moment."""

from __future__ import annotations

import re

_MONTHS = (
    "jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|märz|apr(?:il)?|may|mai|jun[ei]?|jul[yi]?|aug(?:ust)?"
    "|sep(?:tember)?|o[ck]t(?:ober)?|nov(?:ember)?|de[cz](?:ember)?"
)
_DATE = rf"\b(?:(?:19|20)\d\d-\d\d?-\d\d?|\d\d?[./]\d\d?[./](?:19|20)\d\d|(?:{_MONTHS})\.? (?:\d\d?, )?(?:19|20)\d\d)\b"
_MONEY = r"[$€£¥₹] ?\d|\b(?:usd|eur|gbp|chf|inr|rs\.?) ?\d|\d ?(?:[$€£¥₹]|(?:usd|eur|gbp|chf|inr|dollars?|euros?)\b)"
_VERSION = r"\bv\d+\.\d|\b(?:version|release) \d|(?<![\d.])\d+\.\d+\.\d+(?!\.?\d)"
_NOW = r"\b(?:currently|at the moment|at present|as of (?:now|today)|derzeit|aktuell|momentan)\b"
_CHANGING = re.compile("|".join((_DATE, _MONEY, _VERSION, _NOW)), re.IGNORECASE)


def changes_soon(answer: str) -> bool:
    """Whether an answer holds a date with its year, an amount of money, a version, or says that it holds for now."""
    return _CHANGING.search(answer) is not None
