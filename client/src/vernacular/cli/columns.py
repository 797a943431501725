"""`--column NAME=MEANS`: names of columns on the command line, as spec.dataset.columns has them."""

from __future__ import annotations

from collections.abc import Sequence

from vernacular.cli.errors import CliError, ExitCode


def column_flags(columns: Sequence[str]) -> list[str]:
    """The flags with which the checks are started. Raises CliError when one gives no meaning."""
    for column in columns:
        if "=" not in column:
            raise CliError(
                f"--column {column} says no meaning", "write it like --column Frage=question", ExitCode.USAGE
            )
    return [f"--column={column}" for column in columns]
