"""`python -m vernacular_trainer STAGE --config job.json [--termination-log PATH]`: run one stage and report how it
ended.

The exit code says it in short (contract.ExitCode), the report in full: as the container's termination message
where a path is given, on standard output otherwise, so that the same stage runs without any cluster.

`python -m vernacular_trainer plan --config job.json [--gpu-memory 80GiB] [--model FOLDER]` runs nothing: it shows what
a job would come to. `python -m vernacular_trainer check FILE...` checks rows without a job, `digests FILE...` says by
which digests they are known, and `review SHEET --mlflow URI --run ID` judges anew what a person has reviewed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from vernacular_trainer.contract import ContractError, ExitCode, JobConfig, Stage, StageFailure, StageReport
from vernacular_trainer.errors import StageError, report_of
from vernacular_trainer.supervise import supervise

STAGES = {stage.lower(): stage for stage in Stage}
PLAN, CHECK, DIGESTS, REVIEW = "plan", "check", "digests", "review"
FORMATS = ("Auto", "Messages", "PromptCompletion", "Instruction", "Conversations", "Text", "Preference")


def main(arguments: list[str] | None = None) -> int:
    """Run the stage of the command line; return its exit code. Never raises for a failing stage."""
    options = _parser().parse_args(arguments)
    if show := _WITHOUT_STAGE.get(options.stage):
        return _without_stage(show, options)
    try:
        config = load_config(options.config, STAGES[options.stage])
        report = supervise(config, options.config, sys.stdin.fileno() if options.with_parent else None)
    except Exception as error:
        report = report_of(error)
    _deliver(report, options.termination_log)
    return int(report.outcome.exit_code)


def _without_stage(show: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """A failure is a sentence and an advice on standard error."""
    try:
        show(options)
    except StageError as error:
        sys.stderr.write(f"{error.message}: {error.advice}\n")
        return int(error.outcome.exit_code)
    return int(ExitCode.DONE)


# images of users' own trainers have the supervisor, and not what reads rows: it is imported where it is used


def _plan(options: argparse.Namespace) -> None:
    from vernacular_trainer.plan_command import show_plan

    show_plan(read_config(options.config), options.gpu_memory, options.model, sys.stdout)


def _check(options: argparse.Namespace) -> None:
    from vernacular_trainer.check_command import Wanted, check_files

    wanted = Wanted(
        tuple(options.files),
        options.objective,
        options.teaches,
        options.format,
        options.questions,
        options.reports,
        tuple(options.validation),
        _columns(options),
    )
    check_files(wanted, sys.stdout)


def _columns(options: argparse.Namespace) -> dict[str, str]:
    return dict(item.split("=", 1) for item in options.column)


def _digests(options: argparse.Namespace) -> None:
    from vernacular_trainer.data.lookup import digests_of

    for file in options.files:
        sys.stdout.writelines(json.dumps(pair) + "\n" for pair in digests_of(file, _columns(options)))


def _review(options: argparse.Namespace) -> None:
    from vernacular_trainer.review_command import Reviewed, review_answers

    wanted = Reviewed(options.sheet, options.mlflow, options.run, options.reviewer, not options.dry_run)
    review_answers(wanted, sys.stdout)


_WITHOUT_STAGE = {PLAN: _plan, CHECK: _check, DIGESTS: _digests, REVIEW: _review}


def load_config(path: Path, stage: Stage) -> JobConfig:
    """Read `job.json` for this stage.

    Raises StageError (ArgumentRefused) when it is unreadable or meant for another stage.
    """
    config = read_config(path)
    if config.stage is not stage:
        message = f"the job configuration is for the stage {config.stage}, but {stage} was asked to run"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, f"run the stage {config.stage.lower()} instead")
    return config


def read_config(path: Path) -> JobConfig:
    """Read `job.json` of any stage. Raises StageError (ArgumentRefused)."""
    try:
        return JobConfig.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"the job configuration {path} cannot be read: {type(error).__name__}"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, "give an existing file with --config") from None
    except ContractError as error:
        message = f"the job configuration does not follow the contract: {error}"
        advice = "use an operator and a stage image of the same release"
        raise StageError(StageFailure.ARGUMENT_REFUSED, message, advice) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m vernacular_trainer", description="Run one stage of a fine-tuning job."
    )
    commands = parser.add_subparsers(dest="stage", required=True, metavar="STAGE")
    for stage in STAGES:
        command = commands.add_parser(stage, help=f"run the stage {stage}")
        _add_config(command)
        command.add_argument(
            "--termination-log", type=Path, help="file that receives the report; default: standard output"
        )
        command.add_argument(
            "--with-parent",
            action="store_true",
            help="stop when standard input ends, a pipe that ends with the process that holds its other end",
        )
    plan = commands.add_parser(PLAN, help="show the settings and the memory that a job comes to; runs nothing")
    _add_config(plan)
    plan.add_argument("--gpu-memory", metavar="80GiB", help="memory of each GPU, instead of what the job says")
    plan.add_argument("--model", type=Path, metavar="FOLDER", help="where the base model is, instead of its path")
    check = commands.add_parser(CHECK, help="check files of rows; runs nothing")
    check.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rows, in any form that a job can read")
    check.add_argument("--objective", choices=("SFT", "DPO"), default="SFT", help="what the rows are for")
    check.add_argument("--teaches", choices=("Facts", "Skill"), default="Facts", help="what the rows teach")
    check.add_argument("--format", choices=FORMATS, default="Auto", help="the format of all rows")
    check.add_argument("--questions", type=Path, metavar="FILE", help="questions that the tuned model will be asked")
    check.add_argument(
        "--validation",
        action="append",
        default=[],
        type=Path,
        metavar="FILE",
        help="rows that are held out; repeatable",
    )
    _add_columns(check)
    check.add_argument("--reports", type=Path, metavar="FOLDER", help="where the reports go")
    digests = commands.add_parser(DIGESTS, help="write place and digest of each row of files, as JSON lines")
    digests.add_argument("files", nargs="+", type=Path, metavar="FILE", help="rows, in any form that a job can read")
    _add_columns(digests)
    review = commands.add_parser(REVIEW, help="judge anew with what a person says of the answers")
    review.add_argument("sheet", type=Path, metavar="SHEET", help="review.xlsx of the run, filled in")
    review.add_argument("--mlflow", required=True, metavar="URI", help="address of MLflow")
    review.add_argument("--run", required=True, metavar="ID", help="the run of the job")
    review.add_argument("--reviewer", required=True, metavar="NAME", help="who has filled it in")
    review.add_argument("--dry-run", action="store_true", help="record nothing")
    return parser


def _add_columns(command: argparse.ArgumentParser) -> None:
    command.add_argument("--column", action="append", default=[], metavar="NAME=MEANS", help="a column and its meaning")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, required=True, help="the job configuration (job.json)")


def _deliver(report: StageReport, termination_log: Path | None) -> None:
    text = report.to_json()
    if termination_log is None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    else:
        termination_log.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
