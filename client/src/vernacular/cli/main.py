"""Entry point: parses the arguments, imports the verb's module, turns errors into a sentence and an exit code."""

from __future__ import annotations

import importlib
import keyword
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import PurePath

from vernacular.cli.errors import CliError, ExitCode
from vernacular.cli.parser import build_parser, parse
from vernacular.cli.terminal import Terminal

_DEBUG = "VERNACULAR_DEBUG"
_PLUGIN = "kubectl-finetune"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status."""
    parser = build_parser("kubectl finetune" if PurePath(sys.argv[0]).name == _PLUGIN else "vernacular")
    if "_ARGCOMPLETE" in os.environ:
        from vernacular.cli.completion import answer_shell

        answer_shell(parser)
    options = parse(parser, arguments)
    for stream in (sys.stdout, sys.stderr):
        # marks like a tick become ? where the terminal does not know them
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    terminal = Terminal.of(sys.stdout, sys.stderr, os.environ)
    try:
        return int(_run(options, terminal))
    except CliError as error:
        terminal.complain(error.message, error.advice)
        return int(error.code)
    except KeyboardInterrupt:
        sys.stderr.write("\n")
        return int(ExitCode.INTERRUPTED)
    except BrokenPipeError:
        # the reader (head, grep -q) has seen enough; what Python flushes at its end must not fail as well
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(ExitCode.REFUSED)
    except Exception as error:
        if os.environ.get(_DEBUG):
            raise
        terminal.complain(
            f"this is a fault of {parser.prog}: {type(error).__name__}: {error}",
            f"please report it, with what {_DEBUG}=1 shows in addition",
        )
        return int(ExitCode.REFUSED)


def _run(options: Namespace, terminal: Terminal) -> ExitCode:
    name = options.verb.replace("-", "_")
    # a module cannot be called as Python's own words are
    name = f"{name}_" if keyword.iskeyword(name) else name
    try:
        module = importlib.import_module(f"vernacular.cli.verbs.{name}")
    except ModuleNotFoundError as error:
        raise CliError(
            f"the Python package {error.name} is missing",
            "install this package with what its command line needs, its extra [cli]",
        ) from None
    code = module.run(options, terminal)
    sys.stdout.flush()
    return ExitCode(code)
