"""The order of turns: a system message first, if at all, then user and assistant in turn, tools after their calls."""

from __future__ import annotations

from itertools import pairwise

from vernacular_trainer.data.rows import Conversation, Message


def out_of_order(row: Conversation) -> bool:
    """Whether the turns of a row follow each other in a way that most chat templates do not know."""
    if row.plain:
        return False
    turns = row.messages[1:] if row.messages[0].role == "system" else row.messages
    return turns[0].role != "user" or any(not _follows(before, after) for before, after in pairwise(turns))


def _follows(before: Message, after: Message) -> bool:
    match after.role:
        case "user":
            return before.role == "assistant" and not before.tool_calls
        case "assistant":
            return before.role in ("user", "tool")
        case "tool":
            return before.role == "tool" or bool(before.tool_calls)
        case _:
            return False
