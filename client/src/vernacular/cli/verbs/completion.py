"""`vernacular completion`."""

from __future__ import annotations

from argparse import Namespace

from vernacular.cli import completion
from vernacular.cli.errors import ExitCode
from vernacular.cli.terminal import Terminal


def run(options: Namespace, terminal: Terminal) -> ExitCode:
    """Write what a shell is to evaluate."""
    terminal.out.write(completion.script(options.shell))
    return ExitCode.DONE
