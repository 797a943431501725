"""A chat template of the user's own, in the place of the model's: tried before anything is trained with it.

It is rendered in the sandbox of the library that renders the model's own: it sees the conversation, and no files.
"""

from __future__ import annotations

from typing import Any

from jinja2 import TemplateSyntaxError

from vernacular_trainer.contract import FileSource, StageFailure
from vernacular_trainer.data.chat import encode, render
from vernacular_trainer.data.files import InputCopy, read_text
from vernacular_trainer.data.findings import FINDINGS
from vernacular_trainer.data.mask_proof import faults
from vernacular_trainer.data.remote.fetch import Servers, copy_one
from vernacular_trainer.data.rows import Conversation, Message, RowError
from vernacular_trainer.errors import StageError, refused
from vernacular_trainer.workspace import Workspace

# those of models have some thousand characters
MOST_BYTES = 1 << 18
_ONE = (Message("user", "How long?"), Message("assistant", "Ninety days."))
_TWO = (*_ONE, Message("user", "And then?"), Message("assistant", "Ten more."))
_THINKING = (_ONE[0], Message("assistant", "<think>\nHm.\n</think>\n\nNinety days."))
_END_ADVICE = (
    "write {{ eos_token }}, or another token of the model's own that ends a turn, behind the content of each message"
)


def copy_template(source: FileSource | None, workspace: Workspace, servers: Servers) -> InputCopy | None:
    """The file as later stages read it; none when the job names none. Raises StageError."""
    if not source:
        workspace.chat_template.unlink(missing_ok=True)
        return None
    copy = copy_one(source, workspace.chat_template, StageFailure.CHAT_TEMPLATE_MISSING, workspace, servers)
    if copy.size > MOST_BYTES:
        message = f"{copy.name} has {copy.size:,} bytes, which is no chat template"
        raise refused(message, f"name a Jinja template of at most {MOST_BYTES:,} bytes")
    if not read_text(copy, StageFailure.ARGUMENT_REFUSED).strip():
        raise refused(f"{copy.name} is empty", "write the chat template into it, or remove dataset.chatTemplate")
    return copy


def require_usable(tokenizer: Any, name: str) -> None:
    """Raises StageError (ArgumentRefused) when the template of the tokenizer cannot write conversations, trains other
    tokens than the answers, ends none, or asks for an answer in another way than answers are written. `name`: the file.
    """
    try:
        tokenizer.apply_chat_template([message.to_dict() for message in _ONE], tokenize=False)
    except TemplateSyntaxError as error:
        raise refused(f"{name}, line {error.lineno}: {error.message}", "mend it: it is a Jinja template") from None
    except Exception as error:
        raise _cannot_write(name, type(error).__name__) from None
    for messages in (_ONE, _TWO):
        row = Conversation("", messages)
        try:
            tokens = encode(tokenizer, row)
        except RowError:
            raise _cannot_write(name, f"{len(messages)} messages") from None
        for code in faults(tokenizer, row, tokens):
            advice = _END_ADVICE if code == "EndNotTrained" else FINDINGS[code].advice
            raise refused(f"{name}: a row that it writes {FINDINGS[code].what}", advice)
    if not any(_is_consistent(tokenizer, messages) for messages in (_ONE, _THINKING)):
        message = f"{name} asks for an answer in another way than it writes one"
        advice = (
            "with add_generation_prompt write what stands before the content of an assistant's message, and no more"
        )
        raise refused(message, advice)


def _is_consistent(tokenizer: Any, messages: tuple[Message, ...]) -> bool:
    """Whether a conversation begins with what asks for its last answer."""
    asking = render(tokenizer, messages[:-1], ask=True)
    return render(tokenizer, messages, ask=False).startswith(asking)


def _cannot_write(name: str, evidence: str) -> StageError:
    message = f"{name} cannot write a conversation of user and assistant"
    advice = (
        "write each of messages with its role and content, without what the sandbox of chat templates forbids;"
        " the chat templates of models show how"
    )
    return StageError(StageFailure.ARGUMENT_REFUSED, message, advice, evidence)
