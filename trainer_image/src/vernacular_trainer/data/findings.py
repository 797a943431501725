"""Every finding that a check of the data can make: stable code, severity, what it is, what to do. The one table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Severity(StrEnum):
    """Error: the row cannot be trained on. Warning: look at it before training. Info: good to know."""

    ERROR = "Error"
    WARNING = "Warning"
    INFO = "Info"


@dataclass(frozen=True)
class Finding:
    """What is wrong, in words that follow the place, and what a person can do."""

    severity: Severity
    what: str
    advice: str


def _error(what: str, advice: str) -> Finding:
    return Finding(Severity.ERROR, what, advice)


def _warning(what: str, advice: str) -> Finding:
    return Finding(Severity.WARNING, what, advice)


FINDINGS: Mapping[str, Finding] = MappingProxyType(
    {
        "NotUtf8": _error("not UTF-8 text", "save the file as UTF-8"),
        "BrokenJson": _error("not valid JSON", "write one complete JSON object per line (JSON Lines)"),
        "BrokenCsv": _error(
            "a quotation mark stands where none may be",
            'put the whole text between quotation marks, and write one inside it twice: ""',
        ),
        "NotAnObject": _error("not a JSON object", "write one JSON object per line, not a list or a bare value"),
        "UnknownFormat": _error(
            "none of the known row formats",
            'give every row "messages", "conversations", "text", or "prompt" and "completion", "question" and "answer",'
            ' "instruction" and "output", for DPO "prompt", "chosen" and "rejected"; or rename its columns with'
            " dataset.columns",
        ),
        "AmbiguousFormat": _error(
            "keys of more than one row format", "name the format in dataset.format, or keep the keys of one format"
        ),
        "MissingField": _error(
            "a field of the format is missing", "give every row all fields of dataset.format or of the header"
        ),
        "ExtraField": _error(
            "more cells than the header has names",
            "name every column in the header; in CSV put a text with the separator between quotation marks",
        ),
        "WrongType": _error(
            "a value has the wrong type",
            "give texts as JSON strings, messages as a list of objects with role and content, tools as a list of"
            " objects",
        ),
        "BrokenText": _error(
            "a text holds half of a character", "write the text again: an escape like \\ud83d needs its other half"
        ),
        "UnknownRole": _error(
            "a message has an unknown role",
            "use the roles system, user, assistant and tool, in conversations also human and gpt",
        ),
        "UnknownMessageField": _error(
            "a message has a field besides role and content",
            "give each message role and content only; an assistant may have weight and tool_calls, a tool name and"
            " tool_call_id",
        ),
        "WrongWeight": _error(
            "a weight is neither 0 nor 1", "give weight to assistant messages only: 1 is trained, 0 is not"
        ),
        "NoAssistantTurn": _error(
            "the row does not end with an assistant message",
            "end the row with the answer that the model shall learn, in a message of role assistant",
        ),
        "EmptyTurn": _error("a message is empty", "give every message a text, or remove the row"),
        "NothingTrained": _error(
            "every answer has weight 0", "give at least one assistant message weight 1, or remove the row"
        ),
        "ToolsIgnored": _error(
            "the model's chat template leaves out its tools or tool calls",
            "use a model whose chat template knows tools, or remove the row",
        ),
        "TemplateRefused": _error(
            "the model's chat template refuses this order of roles",
            "use an order of roles that the model's chat template allows: user and assistant in turn, and a system"
            " message only first, if at all",
        ),
        "NotOneAnswer": _error(
            "chosen or rejected is not one answer", "write a text, or a list with one message of the assistant"
        ),
        "SameAnswers": _error(
            "chosen and rejected say the same", "write two answers that differ, or leave the row out"
        ),
        "PreferenceMissing": _error(
            "no pair of answers, which objective DPO learns from",
            'give every row "prompt", "chosen" and "rejected", or set objective to SFT',
        ),
        "PreferenceUnexpected": _error(
            "a pair of answers, which only objective DPO learns from",
            'set objective to DPO, or give rows one answer: "prompt" and "completion"',
        ),
        "AnswerCutAway": _warning(
            "no answer within the sequence length: the row is left out",
            "raise training.maxSequenceLength, or shorten the text before the answer",
        ),
        "AnswerCut": _warning(
            "longer than the sequence length: the end of its answer is lost",
            "raise training.maxSequenceLength, or shorten the row",
        ),
        "PromptTrained": _warning(
            "has tokens of its prompt among those that are trained: the model learns to ask, too",
            "see the row under 'What is trained' in the report; use a chat template that writes an answer behind what"
            " asks for it, and nothing of the prompt behind or within the answer",
        ),
        "AnswerNotTrained": _warning(
            "has a part of its answer among the tokens that are not trained",
            "see the row under 'What is trained' in the report; use a chat template that writes an answer once, behind"
            " what asks for it",
        ),
        "EndNotTrained": _warning(
            "has an answer that is trained without a token that ends it: the model learns to go on",
            "use a chat template that writes a token of its own after each answer, or rows with one answer",
        ),
        "Duplicate": _warning("says the same as an earlier row", "remove repeated rows unless they shall weigh more"),
        "NearDuplicate": _warning(
            "says nearly the same as an earlier row",
            "keep the better of the two, or set dataset.duplicates to DropNear",
        ),
        "ContradictingNumbers": _warning(
            "the same question is answered with other numbers",
            "find out which number is right and correct the other row",
        ),
        "ContradictingAnswers": _warning(
            "the same question has an altogether different answer",
            "keep one answer, or put what makes the difference into the question",
        ),
        "LeakedQuestion": _warning(
            "asks a question of evaluation.questions in the same words",
            "word the question differently, or remove the row: answers learnt by heart prove nothing",
        ),
        "LeakedValidation": _warning(
            "is held out, and a training row asks the same in the same words",
            "remove one of the two rows, or word the held-out one differently: answers learnt by heart prove nothing",
        ),
        "TurnsOutOfOrder": _warning(
            "the turns do not alternate",
            "let user and assistant take turns, a system message only first, tools after calls",
        ),
        "ControlCharacters": _warning("holds control characters", "remove what is not text; export the data again"),
        "Mojibake": _warning(
            "holds characters of a wrong encoding",
            "read the source with its right encoding and export it again as UTF-8",
        ),
        "HtmlLeftOver": _warning("holds HTML", "take the markup out, unless the model shall write HTML"),
        "AnswersAlike": _warning(
            "has the same answer as at least half of the rows",
            "add rows with other answers, or the model will give this one to everything",
        ),
        "LengthOutlier": Finding(
            Severity.INFO, "has an answer many times longer than usual", "see whether the row is what it should be"
        ),
        "OtherLanguage": Finding(
            Severity.INFO,
            "has an answer in a language that fewer than one in twenty answers is in",
            "see whether it is meant; of more than 20,000 rows only as many are looked at",
        ),
        "LeftOutByShare": Finding(
            Severity.INFO,
            "is more than the sharePercent of its source asks for, and left out",
            "raise sharePercent to use more of its rows",
        ),
        "ShareNotReached": _warning(
            "is a source with fewer rows than its sharePercent asks for; all of them are used",
            "add rows to it, or lower its sharePercent",
        ),
        "TopicRare": Finding(
            Severity.INFO,
            "is the first row of a topic with hardly any rows beside the others",
            "write more rows about it, or give it and its like one name in the column topic",
        ),
        "TopicDominant": _warning(
            "is the first row of a topic with at least 80 % of all rows that name one",
            "add rows about the other topics, or let sharePercent take fewer of its source",
        ),
        "FewRows": Finding(
            Severity.INFO, "fewer than 50 rows are left", "add rows: some hundred good ones are a useful start"
        ),
        "TermNotTaught": _warning("a term of the glossary is in no row", "write rows that use it"),
        "TermUnderCovered": Finding(
            Severity.INFO, "a term of the glossary is in fewer than three rows", "write more rows that use it"
        ),
        "TermContradicted": _warning(
            "uses a term of the glossary in another sense, or says what it forbids",
            "correct the row, or the glossary",
        ),
        "PersonalData": _warning(
            "holds personal data", "remove it, or set dataset.personalData to Redact: what is trained can be asked for"
        ),
        "Secret": _warning("holds a secret", "remove it and make it invalid: what is trained can be asked for"),
        "HeldOutNotTaught": _warning(
            "held out, but no training row teaches its answer",
            "write each fact in two or more wordings, or set dataset.validation.splitPercent to 0 and give questions",
        ),
        "WordedOnce": Finding(
            Severity.INFO,
            "teaches a fact that no other row words differently, so no question about it is held out",
            "write another question for each line of questions-to-write.csv",
        ),
        "FewQuestions": Finding(
            Severity.INFO,
            "too few questions are asked to prove a gain of 10 points",
            "write more questions, or hold out more rows",
        ),
        "NothingHeldOut": _warning(
            "no row is held out and no question is given",
            "give evaluation.questions, or a dataset.validation.splitPercent above 0",
        ),
    }
)
