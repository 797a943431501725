"""`python -m vernacular_trainer.trying --config job.json --collect FILE [--ask QUESTION] [--port N]`: ask the models of
a job that has been trained, in the terminal, or on a page.

An error is a sentence and an advice on standard error, and the exit status 1.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import TextIO

from vernacular_trainer.__main__ import read_config
from vernacular_trainer.errors import StageError, refused
from vernacular_trainer.trying.judgements import JudgementFile
from vernacular_trainer.trying.screen import asked
from vernacular_trainer.trying.server import Trial, TrialServer
from vernacular_trainer.workspace import Workspace

IDLE_SECONDS = 30 * 60
REFUSED = 1


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        _try(options, sys.stdout)
    except StageError as error:
        sys.stderr.write(f"Error: {error.message}\n  {error.advice}\n")
        return REFUSED
    except KeyboardInterrupt:
        sys.stderr.write("\n")
    return 0


def _try(options: argparse.Namespace, out: TextIO) -> None:
    # whoever asks for help need not wait for torch
    from vernacular_trainer.trying.models import ChatModels

    config = read_config(options.config)
    models = ChatModels.load(config, Workspace(Path(config.workspace)))
    if not options.ask:
        _serve(Trial(config.identity.name, models, JudgementFile(options.collect)), options.port, out)
    for question in options.ask:
        out.writelines(f"{line}\n" for line in asked(models, question, _width(out)))
        out.flush()


def _width(out: TextIO) -> int:
    return shutil.get_terminal_size().columns if out.isatty() else 100


def _serve(trial: Trial, port: int, out: TextIO) -> None:
    try:
        server = TrialServer(trial, port, IDLE_SECONDS)
    except OSError as error:
        raise refused(f"port {port} cannot be used: {error.strerror}", "name another one with --port") from None
    with server:
        out.writelines(
            f"{line}\n"
            for line in (
                f"{trial.job}: base and tuned model answer at {server.url}",
                f"for programs that speak OpenAI's API: base_url {server.url}v1, models base and tuned",
                f"what you judge goes to {trial.judgements.path}",
                f"Ctrl-C ends it; so do {IDLE_SECONDS // 60} minutes without a question",
            )
        )
        out.flush()
        server.serve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vernacular_trainer.trying", description="Ask the models of a job.")
    parser.add_argument("--config", type=Path, required=True, help="job.json")
    parser.add_argument("--collect", type=Path, required=True, help="file to which judged answers are appended")
    parser.add_argument("--ask", action="append", default=[], help="ask this in the terminal, and end")
    parser.add_argument("--port", type=int, default=0, help="where the page is served; default: any that is free")
    return parser


if __name__ == "__main__":
    sys.exit(main())
