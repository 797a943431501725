"""Writes the reference pages that follow from code: `python -m docs.reference.generate`, `--check` in `make lint`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from docs.reference.fields import resource_page
from vernacular.api import FAILURES, Consequence, FailureCode, Reason
from vernacular.api.crd import FINE_TUNE_JOB, FINE_TUNE_RUNTIME
from vernacular.cli.errors import EXIT_CODES
from vernacular.cli.parser import CLUSTER_FLAGS, VERBS, Argument
from vernacular_operator.domain.classifier import RULES
from vernacular_operator.domain.policies.repair import MAX_REPAIRS
from vernacular_operator.telemetry.catalogue import CATALOGUE
from vernacular_trainer.data.findings import FINDINGS, Severity

FOLDER = Path(__file__).resolve().parent
_CONSEQUENCES = {
    Consequence.NEVER_RETRIED: "The job fails at once: only a person can mend it.",
    Consequence.RETRIED: "A new attempt, after 10 s, 20 s, 40 s ... 5 min; each costs one of"
    " `spec.runPolicy.maxRestarts`.",
    Consequence.REPAIRED: "In training: a new attempt with half the rows at a time, twice the accumulation and"
    f" gradient checkpointing, at most {MAX_REPAIRS} times; the rows of an optimizer step stay the same, and"
    " `status.plan` says what was changed. With `spec.runPolicy.onOutOfMemory: Fail` the job fails."
    " In other stages: as Retried.",
    Consequence.CONTINUED: "A new attempt from the newest checkpoint. It costs a restart only when no newer checkpoint"
    " was saved since the last interruption, so that a job that never gets anywhere comes to an end.",
    Consequence.WAITED_FOR: "The job waits, says so in `status.reason`, and goes on by itself.",
}

_SEVERITIES = {
    Severity.ERROR: "The row cannot be trained on. It is left out when `spec.dataset.maxBadRowsPercent` allows it, else"
    " the job fails in prepare.",
    Severity.WARNING: "Look at it before training. The row stays, unless its text or `spec.dataset.duplicates` says"
    " otherwise.",
    Severity.INFO: "Good to know.",
}


def failures_page() -> str:
    """Every failure code: meaning, consequence, advice; and how an attempt that ended is classified."""
    lines = [
        "# Failures",
        "",
        "`status.failure.code`, `status.reason` and the events of a job use these codes. They are never renamed and",
        "never change their meaning.",
        "",
        "| code | meaning | what follows | what to do |",
        "| --- | --- | --- | --- |",
        *(
            f"| {code} | {FAILURES[code].meaning} | {FAILURES[code].consequence} | {_cell(FAILURES[code].advice)} |"
            for code in FailureCode
        ),
        "",
        "## What follows",
        "",
        *(f"- **{item}**: {text}" for item, text in _CONSEQUENCES.items()),
        "",
        "Whatever happens in training, the next attempt goes on from the newest complete checkpoint.",
        "",
        "## How an attempt that ended is classified",
        "",
        "The first line that fits counts. The pod that ended first by itself is the root; pods that were told to end",
        "after it are not asked.",
        "",
        "| what is seen | code |",
        "| --- | --- |",
        *(f"| {rule.seen} | {rule.code} |" for rule in RULES),
        "",
        "`Preempted` is no failure: the attempt was ended from outside and is continued.",
        "",
        "## Other words in `status.reason`",
        "",
        ", ".join(f"`{reason}`" for reason in Reason) + ".",
    ]
    return "\n".join(lines) + "\n"


def metrics_page() -> str:
    """Every metric of the operator."""
    rows = (
        f"| `{item.full_name}` | {item.kind} | {', '.join(f'`{label}`' for label in item.labels)} | {item.help} |"
        for item in CATALOGUE
    )
    lines = [
        "# Metrics of the operator",
        "",
        "Served in the OpenMetrics format at `/metrics` on port `metrics.port` of the operator's pod (8081 unless the",
        "chart's values say otherwise); `metrics.podMonitor.enabled` has the Prometheus operator collect them.",
        "",
        "| metric | type | labels | meaning |",
        "| --- | --- | --- | --- |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def data_problems_page() -> str:
    """Every finding of the checks of the data."""
    lines = [
        "# Problems in the data",
        "",
        "`status.dataset.problems` and the data report use these codes. They are never renamed and never change their",
        "meaning.",
    ]
    for severity, text in _SEVERITIES.items():
        lines += [
            "",
            f"## {severity}",
            "",
            text,
            "",
            "| code | the row | what to do |",
            "| --- | --- | --- |",
            *(
                f"| {code} | {_cell(item.what)} | {_cell(item.advice)} |"
                for code, item in FINDINGS.items()
                if item.severity is severity
            ),
        ]
    return "\n".join(lines) + "\n"


def command_line_page() -> str:
    """Every verb with its flags, and the exit codes."""
    lines = [
        "# Command line",
        "",
        "`vernacular` and `kubectl finetune` are the same program.",
        "",
        "## Exit codes",
        "",
        "| code | meaning |",
        "| --- | --- |",
        *(f"| {code.value} | {text} |" for code, text in EXIT_CODES.items()),
        "",
        "## Which cluster",
        "",
        "Every verb that talks to a cluster takes these, before it or behind it.",
        "",
        *_flags(CLUSTER_FLAGS),
    ]
    for verb in VERBS:
        lines += ["", f"## vernacular {verb.name}", "", verb.description, ""]
        lines += [*_flags(verb.arguments), ""] if verb.arguments else []
        lines += [f"    {example}" for example in verb.examples]
    return "\n".join(lines) + "\n"


def _flags(arguments: Sequence[Argument]) -> list[str]:
    rows = ["| argument | meaning |", "| --- | --- |"]
    for argument in arguments:
        value = argument.options.get("metavar") or "|".join(argument.options.get("choices", ()))
        flag = argument.names[0].startswith("-")
        names = ", ".join(argument.names) if flag else ""
        plain = argument.options.get("action") == "store_true"
        written = names if plain else " ".join(filter(None, [names, value]))
        rows.append(f"| `{_cell(written)}` | {_cell(argument.options['help'])} |")
    return rows


def job_page() -> str:
    """Every field of a FineTuneJob."""
    return resource_page(
        FINE_TUNE_JOB,
        "What a job says, and what it is told. Everything but `spec.runPolicy` is fixed when it is created."
        " `kubectl explain ftj.spec --recursive` shows the same in a terminal.",
    )


def runtime_page() -> str:
    """Every field of a FineTuneRuntime."""
    return resource_page(
        FINE_TUNE_RUNTIME,
        "What the platform team decides for jobs. An edit changes no job that was accepted before it;"
        " [how runtimes are used](../guide/runtimes.md).",
    )


PAGES: Mapping[str, Callable[[], str]] = {
    "command-line.md": command_line_page,
    "data-problems.md": data_problems_page,
    "failures.md": failures_page,
    "fine-tune-job.md": job_page,
    "fine-tune-runtime.md": runtime_page,
    "metrics.md": metrics_page,
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="only say whether the pages are up to date")
    options = parser.parse_args(arguments)
    stale = [name for name, page in PAGES.items() if not _holds(FOLDER / name, page())]
    if options.check:
        for name in stale:
            print(f"docs/reference/{name} is not what the code says: run make generate", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (FOLDER / name).write_text(PAGES[name](), encoding="utf-8")
    return 0


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
