"""Dates made equal: 2026-01-31, January 31st, 2026, 31 Jan 2026 and 31.01.2026 all become 31 january 2026. Pure.

Dates that people read in two ways (3/4/2026) stay as they are.
"""

from __future__ import annotations

import re

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_SHORT = {name[:3]: name for name in _MONTHS} | {"sept": "september"}
_NAMES = "|".join(sorted([*_MONTHS, *_SHORT], key=len, reverse=True))
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_MONTH = rf"(?P<month>{_NAMES})\.?"
_YEAR = r"(?P<year>\d{4})"
_WRITTEN = (
    # a day without a year is no date before "may" and "march", which are words of other meanings too
    re.compile(rf"\b{_DAY}(?: of)? {_MONTH}(?:,? {_YEAR})?\b"),
    re.compile(rf"\b{_MONTH} {_DAY},? {_YEAR}\b"),
    re.compile(rf"\b(?P<month>{_NAMES.replace('march|', '').replace('may|', '')})\.? {_DAY}\b(?P<year>)"),
    re.compile(r"\b(?P<year>\d{4})-(?P<month>\d{2})-(?P<day>\d{2})\b"),
    re.compile(r"(?<![\d.])(?P<day>\d{1,2})\.\s?(?P<month>\d{1,2})\.\s?(?P<year>\d{4})\b"),
    re.compile(r"(?<![\d/])(?P<day>1[3-9]|2\d|3[01])/(?P<month>\d{1,2})/(?P<year>\d{4})\b"),
    re.compile(r"(?<![\d/])(?P<month>\d{1,2})/(?P<day>1[3-9]|2\d|3[01])/(?P<year>\d{4})\b"),
)


def with_equal_dates(text: str) -> str:
    """A text in lower case with every date as day, month and year."""
    for pattern in _WRITTEN:
        text = pattern.sub(_written, text)
    return text


def _written(found: re.Match[str]) -> str:
    day, month = int(found["day"]), found["month"]
    name = _month(month)
    if not name or not 1 <= day <= 31:
        return found[0]
    return f"{day} {name} {found['year'] or ''}".rstrip()


def _month(text: str) -> str:
    if text.isdigit():
        return _MONTHS[int(text) - 1] if 1 <= int(text) <= 12 else ""
    return _SHORT.get(text, text)
