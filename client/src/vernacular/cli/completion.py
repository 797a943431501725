"""Completion in shells, by argcomplete: verbs and flags from the parser, names of jobs from the cluster."""

from __future__ import annotations

import sys
from argparse import Action, ArgumentParser, Namespace
from typing import Any

import argcomplete
from argcomplete.finders import CompletionFinder
from argcomplete.shell_integration import shellcode

from vernacular.cli.cluster.client import ApiError
from vernacular.cli.cluster.jobs import open_jobs
from vernacular.cli.errors import CliError
from vernacular.cli.parser import build_parser


def answer_shell(parser: ArgumentParser) -> None:
    """Write what may come next, and exit: the shell asks by running the program with _ARGCOMPLETE set."""
    _complete_jobs(parser)
    argcomplete.autocomplete(parser)


def answer_kubectl() -> int:
    """Entry point of kubectl_complete-finetune: kubectl gives the words so far, the last one unfinished."""
    parser = build_parser("kubectl finetune")
    _complete_jobs(parser)
    *words, last = sys.argv[1:] or [""]
    finder = CompletionFinder(parser)
    found = finder._get_completions(["kubectl-finetune", *words], last, "", None)  # type: ignore[no-untyped-call]
    # after the words a directive of kubectl's: nothing else, files for example, completes this
    sys.stdout.write("".join(f"{word.strip()}\n" for word in found) + ":4\n")
    return 0


def script(shell: str) -> str:
    """What a shell is to evaluate."""
    return str(shellcode(["vernacular", "kubectl-finetune"], shell=shell))


def _complete_jobs(parser: ArgumentParser) -> None:
    for action in _actions(parser):
        if action.dest in ("job", "jobs"):
            action.completer = _job_names  # type: ignore[attr-defined]


def _actions(parser: ArgumentParser) -> list[Action]:
    own = list(parser._actions)
    verbs = [verb for action in own if isinstance(action.choices, dict) for verb in action.choices.values()]
    return own + [action for verb in verbs for action in _actions(verb)]


def _job_names(parsed_args: Namespace, **_: Any) -> list[str]:
    try:
        return [item["metadata"]["name"] for item in open_jobs(parsed_args).all()]
    except (CliError, ApiError):
        return []
