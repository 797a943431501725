"""Lists in pages, as the OpenAI API cuts them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from vernacular_openai.errors import not_found

T = TypeVar("T")


def page(items: Sequence[T], identity: Callable[[T], str], after: str | None, limit: int) -> tuple[list[T], bool]:
    """At most `limit` items behind the one with the id `after`, and whether there are more. Raises ApiError."""
    start = 0
    if after is not None:
        places = [place for place, item in enumerate(items) if identity(item) == after]
        if not places:
            raise not_found(f"id in this list: {after!r}; it may be gone", "after")
        start = places[0] + 1
    return list(items[start : start + limit]), len(items) > start + limit
