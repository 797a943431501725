"""One process of a stage: run it here and leave a report for the supervisor, who starts it (or torchrun does)."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from vernacular_trainer.contract import JobConfig, Outcome, Stage, StageReport, Summary, summary_to_dict
from vernacular_trainer.errors import Preempted, report_of
from vernacular_trainer.outcomes import OutcomeFolder
from vernacular_trainer.workspace import Workspace

StageFunction = Callable[[JobConfig, Workspace], Summary]


def main(arguments: list[str] | None = None) -> int:
    """Run one stage in this process; return the exit code that says how it ended."""
    options = _parser().parse_args(arguments)
    rank = int(os.environ.get("LOCAL_RANK", "0"))
    outcomes = OutcomeFolder(options.outcomes, options.ranks)
    signal.signal(signal.SIGTERM, _raise_preempted)
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s [{rank}] %(name)s: %(message)s")
    try:
        outcomes.mark_started(rank)
        config = JobConfig.from_json(options.config.read_text(encoding="utf-8"))
        report = run_stage(config, load_stage(config.stage))
    except Preempted as preempted:
        report = report_of(preempted)
    except Exception as error:
        traceback.print_exc()
        report = report_of(error)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    outcomes.write(rank, report)
    return int(report.outcome.exit_code)


def load_stage(stage: Stage) -> StageFunction:
    """The stage's function. Imported only now: prepare and publish run in an image without torch."""
    run: StageFunction = importlib.import_module(f"vernacular_trainer.stages.{stage.lower()}").run
    return run


def run_stage(config: JobConfig, stage: StageFunction) -> StageReport:
    """Run a stage to its end and wrap its summary into a report. Passes on whatever the stage raises."""
    summary = stage(config, Workspace(Path(config.workspace)))
    return StageReport(outcome=Outcome.DONE, summary=summary_to_dict(summary))


def _raise_preempted(_number: int, _frame: FrameType | None) -> None:
    raise Preempted


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m vernacular_trainer.worker")
    parser.add_argument("stage", choices=sorted(stage.lower() for stage in Stage))
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--outcomes", type=Path, required=True)
    parser.add_argument("--ranks", type=int, default=1)
    return parser


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    # the report is out: tearing down an interpreter with process groups and threads can only abort or hang
    os._exit(exit_code)
