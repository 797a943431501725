"""Marks of a bad export in the text of a row: control characters, mojibake, left-overs of HTML."""

from __future__ import annotations

import re
from collections.abc import Iterator

from vernacular_trainer.data.rows import Conversation

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# UTF-8 that was read as Latin-1 or Windows-1252, and what a decoder puts where it gave up
_MOJIBAKE = re.compile("Ã[\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ]|â€[\x80-\xbf™œ˜š¦“”¢]|Â[\xa0-\xbf]|ðŸ|\ufffd")
_HTML = re.compile(
    r"</?(?:p|br|div|span|b|i|u|a|ul|ol|li|table|tr|td|th|h[1-6]|strong|em|font|img|html|body|script|style)"
    r"(?:\s[^<>]*)?/?>|&(?:nbsp|amp|lt|gt|quot|apos|#\d{2,5}|#x[0-9a-fA-F]{2,5});"
)


def text_findings(row: Conversation) -> Iterator[str]:
    """Codes of what the text of a row shows, each once."""
    text = "\n".join(message.content for message in row.everything)
    if _CONTROL.search(text):
        yield "ControlCharacters"
    if not text.isascii() and _MOJIBAKE.search(text):
        yield "Mojibake"
    if ("<" in text or "&" in text) and _HTML.search(text):
        yield "HtmlLeftOver"
