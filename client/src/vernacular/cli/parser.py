"""All verbs and flags. The reference page and the completion of shells are made from them."""

from __future__ import annotations

import argparse
import difflib
import re
import sys
import textwrap
from argparse import SUPPRESS, ArgumentParser
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from vernacular.cli.errors import ExitCode

DESCRIPTION = "Teach a language model your company's own language, on Kubernetes."
STAGES = ("prepare", "train", "evaluate", "publish")
FORMATS = ("Auto", "Messages", "PromptCompletion", "Instruction", "Conversations", "Text", "Preference")
SHELLS = ("bash", "zsh", "fish")
_HELP_WIDTH = 80
_CHOICE = re.compile(r"argument (\S+): invalid choice: '([^']*)'")


@dataclass(frozen=True)
class Argument:
    """One argument of a verb: names and options as argparse takes them."""

    names: tuple[str, ...]
    options: dict[str, Any]


def _argument(*names: str, **options: Any) -> Argument:
    return Argument(names, options)


@dataclass(frozen=True)
class Verb:
    """One verb: its module is `vernacular.cli.verbs.NAME`. `cluster`: it talks to one and takes the flags for that."""

    name: str
    summary: str
    description: str
    arguments: tuple[Argument, ...] = ()
    examples: tuple[str, ...] = ()
    cluster: bool = True


CLUSTER_FLAGS = (
    _argument("-n", "--namespace", metavar="NAMESPACE", help="namespace; default: the context's"),
    _argument("--context", metavar="NAME", help="context of the kubeconfig; default: the current one"),
    _argument(
        "--kubeconfig", metavar="FILE", help="kubeconfig; default: $KUBECONFIG, ~/.kube/config, or the pod's account"
    ),
)
_JOB = _argument("job", metavar="JOB", help="name of the FineTuneJob")
_YES = _argument("-y", "--yes", action="store_true", help="do not ask")
_COLUMN = _argument(
    "--column", action="append", default=[], metavar="NAME=MEANS", help="as in spec.dataset.columns; may be repeated"
)
_MLFLOW = _argument(
    "--mlflow",
    metavar="URL",
    help="address of MLflow; default: $MLFLOW_TRACKING_URI, else where the jobs have their runs",
)
_DATA = _argument(
    "--data",
    action="append",
    metavar="FILE",
    help="a file of rows to train on, instead of spec.dataset.train; may be given several times",
)
_WATCH = _argument("-w", "--watch", action="store_true", help="then watch it until it ends")


def _output(*choices: str) -> Argument:
    return _argument(
        "-o", "--output", choices=choices, default=choices[0], help=f"how it is shown (default: {choices[0]})"
    )


VERBS = (
    Verb(
        "list",
        "show the jobs of a namespace",
        "Show the jobs of a namespace, the newest last.",
        (
            _argument("-A", "--all-namespaces", action="store_true", help="of all namespaces"),
            _output("table", "wide", "json", "yaml"),
        ),
        ("vernacular list", "vernacular list -A -o wide"),
    ),
    Verb(
        "describe",
        "show everything that is known of a job",
        "Show everything that is known of a job: stages, progress, data, verdict, MLflow, failure. wide adds the plan:"
        " every setting with its reason.",
        (_JOB, _output("table", "wide", "json", "yaml")),
        ("vernacular describe hr-bot",),
    ),
    Verb(
        "watch",
        "follow a job until it ends",
        "Follow a job until it ends: stage, step, the course of the loss, time left. Without a terminal it writes one"
        " line for each change. Ctrl-C ends the watching, not the job.",
        (_JOB,),
        ("vernacular watch hr-bot",),
    ),
    Verb(
        "compare",
        "show jobs side by side",
        "Show jobs side by side: the settings that differ, the courses of the losses on one scale, the answers of base"
        " and tuned model with the interval of the gain, time and cost. A job that was deleted is compared by its run"
        " in MLflow, the newest of its name; a run may also be named by its id.",
        (
            _argument("jobs", nargs="+", metavar="JOB", help="names of FineTuneJobs, or ids of their runs"),
            _output("table", "json"),
            _MLFLOW,
        ),
        ("vernacular compare hr-bot hr-bot-2",),
    ),
    Verb(
        "explain",
        "say why a job waits or has failed, and what mends it",
        "Say why a job waits or has failed: what was seen, what it means, what to do, and the commands for it.",
        (_JOB,),
        ("vernacular explain hr-bot-broken",),
    ),
    Verb(
        "init",
        "write the first job for a file of rows",
        "Look at a file of rows and write a commented FineTuneJob for it; then it says how to submit that.",
        (
            _argument("file", metavar="FILE", help="rows: JSONL, JSON or CSV; other kinds are not looked into"),
            _argument("--to", metavar="FILE", default="job.yaml", help="where it goes (default: job.yaml)"),
            _argument("--name", metavar="NAME", help="name of the job; default: that of the file"),
            _argument(
                "--model",
                metavar="URI",
                default="hf://HuggingFaceTB/SmolLM2-135M-Instruct",
                help="the base model (default: a small one, for a try)",
            ),
        ),
        ("vernacular init rows.jsonl",),
        cluster=False,
    ),
    Verb(
        "check",
        "check files of rows without a cluster",
        "Check rows as the prepare stage of a job does, on this machine: what cannot be read, duplicates,"
        " contradictions, personal data, leaks into the questions, and what the rows that are held out will prove."
        " It needs the extra [data]. What needs the model, as lengths in tokens, the job checks.",
        (
            _argument("files", nargs="+", metavar="FILE", help="rows, in any form that a job can read"),
            _argument("--objective", choices=("SFT", "DPO"), default="SFT", help="what they are for (default: SFT)"),
            _argument(
                "--teaches", choices=("Facts", "Skill"), default="Facts", help="what they teach (default: Facts)"
            ),
            _argument("--format", choices=FORMATS, default="Auto", help="of all rows (default: as each shows)"),
            _COLUMN,
            _argument("--questions", metavar="FILE", help="questions that the tuned model will be asked"),
            _argument(
                "--validation",
                action="append",
                default=[],
                metavar="FILE",
                help="rows that are held out, as dataset.validation.sources names them; may be repeated"
                " (default: a part of the others)",
            ),
            _argument(
                "--reports",
                metavar="FOLDER",
                help="write the report as a page, the rows that can be used, and those that cannot with the reason",
            ),
        ),
        ("vernacular check rows.jsonl --reports reports",),
        cluster=False,
    ),
    Verb(
        "validate",
        "check files of jobs without a cluster",
        "Check FineTuneJobs as the API server would, without one: unknown and missing fields, types, ranges, rules."
        " Each problem comes with its line and what to write instead.",
        (_argument("files", nargs="+", metavar="FILE", help="YAML or JSON; - is the standard input"),),
        ("vernacular validate job.yaml",),
        cluster=False,
    ),
    Verb(
        "plan",
        "show what a job comes to, before it runs",
        "Show every setting of a job with its reason, and the memory of a rank; what to change when it does not fit."
        " The sizes of a model of a hub are read from the heads of its files, without a download. Rows of files on this"
        " machine are counted; where rows are elsewhere, what depends on their number is left open. Time and cost are"
        " known by a job that has run: --like. It needs the extra [data], and a cluster for --like alone.",
        (
            _argument("file", metavar="FILE", help="YAML or JSON with one FineTuneJob; - is the standard input"),
            _DATA,
            _argument("--gpu-memory", metavar="80GiB", help="memory of each GPU, to say whether it fits"),
            _argument("--model", metavar="FOLDER", help="where the base model is on this machine"),
            _argument("--like", metavar="JOB", help="a job with the same model on the same GPUs, whose pace is taken"),
        ),
        ("vernacular plan job.yaml --gpu-memory 80GiB", "vernacular plan job.yaml --like hr-bot"),
    ),
    Verb(
        "run",
        "run a job on this machine, without a cluster",
        "Run all stages of a job on this machine: prepare, train, evaluate, publish, with the same settings and"
        " records, in an MLflow file of the work folder or a server. Ctrl-C, or a terminal that closes, saves what was"
        " learnt and ends with 85; the same command goes on from there. It needs the extra [local].",
        (
            _argument("file", metavar="FILE", help="YAML or JSON with one FineTuneJob; - is the standard input"),
            _argument("--name", metavar="NEW", help="another name for the job"),
            _DATA,
            _argument("--model", metavar="FOLDER", help="where the base model is, instead of spec.model.uri"),
            _argument(
                "--gpus", type=int, metavar="N", help="GPUs to use, 0 for none; default: as many as the job says"
            ),
            _argument("--work", metavar="FOLDER", help="folder of the job (default: vernacular-runs/NAME)"),
            _argument("--mlflow", metavar="URL", help="an MLflow server; default: a file in the work folder"),
        ),
        ("vernacular run job.yaml", "vernacular run job.yaml --gpus 0 --model ./SmolLM2-135M-Instruct"),
        cluster=False,
    ),
    Verb(
        "try",
        "ask base and tuned model of a job on this machine",
        "Let base and tuned model of a job that ran on this machine answer side by side: in the terminal with --ask,"
        " else on a page where you say which answers are right. What you say is appended to a file of rows to train on"
        " next. Beside the page is an endpoint of OpenAI's API, /v1/chat/completions, with the models base and tuned."
        " Answers are the most likely ones. It needs the extra [local].",
        (
            _argument("job", metavar="JOB", help="name of the job that vernacular run ran"),
            _argument(
                "--ask",
                action="append",
                default=[],
                metavar="QUESTION",
                help="ask this in the terminal, and end; may be given several times",
            ),
            _argument("--work", metavar="FOLDER", help="folder of the job (default: vernacular-runs/JOB)"),
            _argument("--port", type=int, metavar="N", help="where the page is served; default: any that is free"),
            _argument(
                "--collect",
                metavar="FILE",
                help="where judged answers are appended (default: collect-next.jsonl in the folder of the job)",
            ),
        ),
        ('vernacular try hr-bot --ask "How long is the notice period?"', "vernacular try hr-bot"),
        cluster=False,
    ),
    Verb(
        "submit",
        "create a job from a file",
        "Check a job without the cluster, then have the cluster check it, then create it. Where a file of data is named"
        " by a ConfigMap or an uri, {file: PATH} may stand instead: the file, of at most 1 MiB, goes into a ConfigMap"
        " that is named after its content; larger files of rows are packed if that makes them fit.",
        (
            _argument("file", metavar="FILE", help="YAML or JSON with one FineTuneJob; - is the standard input"),
            _argument("--name", metavar="NEW", help="another name for the job"),
            _DATA,
            _argument("--dry-run", action="store_true", help="only check, here and in the cluster"),
            _WATCH,
        ),
        ("vernacular submit job.yaml --watch", "vernacular submit job.yaml --name hr-bot-2 --data rows.jsonl"),
    ),
    Verb(
        "suspend",
        "stop a job and keep what was learned",
        "Stop a job: training saves a checkpoint, its pods go. vernacular resume goes on from there.",
        (_JOB,),
        ("vernacular suspend hr-bot",),
    ),
    Verb(
        "resume",
        "let a suspended job go on",
        "Let a suspended job go on from its newest checkpoint.",
        (_JOB,),
        ("vernacular resume hr-bot",),
    ),
    Verb(
        "cancel",
        "end a job for good, and keep its records",
        "End a job for good: it fails with DeadlineExceeded, since its deadline is set to 0. Its pods go; resource,"
        " checkpoints and run stay. It cannot go on afterwards.",
        (_JOB, _YES),
        ("vernacular cancel hr-bot --yes",),
    ),
    Verb(
        "delete",
        "delete a job",
        "Delete a job with its pods, and with its workspace and the checkpoints there unless"
        " spec.storage.workspace.deletionPolicy is Retain or the claim is one of yours. Its run and its registered"
        " version stay in MLflow.",
        (_JOB, _YES),
        ("vernacular delete hr-bot --yes",),
    ),
    Verb(
        "retry",
        "make a job anew, under a new name",
        "Make a new job with the spec of another one. The old one stays as it is.",
        (
            _JOB,
            _argument("--name", metavar="NEW", help="its name; default: the old one with the next free number"),
            _WATCH,
        ),
        ("vernacular retry hr-bot --watch",),
    ),
    Verb(
        "logs",
        "show what the pods of a job say",
        "Show the log of one pod of a job: of the stage that was begun last, its newest attempt, rank 0, unless you say"
        " otherwise.",
        (
            _JOB,
            _argument("--stage", choices=STAGES, help="which stage"),
            _argument("--attempt", type=int, metavar="N", help="which attempt, from 1"),
            _argument("--rank", type=int, default=0, metavar="N", help="which pod of the training (default: 0)"),
            _argument("--tail", type=int, metavar="N", help="only the last lines"),
            _argument("-f", "--follow", action="store_true", help="go on while the pod runs"),
        ),
        ("vernacular logs hr-bot -f", "vernacular logs hr-bot --stage train --attempt 1 --rank 1"),
    ),
    Verb(
        "models",
        "show registered models, versions and aliases",
        "Show the registered models of a namespace in MLflow: versions, aliases, and the job that made each.",
        (_argument("--all", action="store_true", help="of all namespaces, and those of others"), _MLFLOW),
        ("vernacular models",),
    ),
    Verb(
        "review",
        "judge a job anew by what a person says of its answers",
        "Read review.xlsx back, which a job leaves among the reports of its run, with yes or no in its columns OK? and"
        " base OK?. The verdict is made anew with these in place of what the rules say, and recorded with the workbook"
        " in the run and on the version, where promote looks at it. It needs the extra [data].",
        (
            _JOB,
            _argument("sheet", metavar="FILE", help="the workbook, filled in"),
            _argument("--reviewer", metavar="NAME", help="who has filled it in; default: your name in the cluster"),
            _argument("--dry-run", action="store_true", help="only show the verdict"),
            _MLFLOW,
        ),
        ("vernacular review hr-bot review.xlsx",),
    ),
    Verb(
        "promote",
        "have serving read the version of a job",
        "Point the alias that serving reads (spec.publish.promotedAlias, else champion) to the version that a job has"
        " published, or to another version of its model, which is the way back. When the verdict is not Promote, it"
        " asks first; about another version only when that was never promoted. The version keeps as a tag which one it"
        " replaced when it was promoted first. What vernacular review has recorded counts instead of the verdict; a"
        " version that a review found worse than the base needs --force.",
        (
            _JOB,
            _argument("--version", type=int, metavar="N", help="another version of the job's model"),
            _argument("--alias", metavar="ALIAS", help="another alias"),
            _argument("--force", action="store_true", help="even a version that a review found worse than the base"),
            _MLFLOW,
            _YES,
        ),
        ("vernacular promote hr-bot", "vernacular promote hr-bot --version 3"),
    ),
    Verb(
        "doctor",
        "say whether a cluster is ready for jobs",
        "Look at everything that a job needs, with what mends it: the cluster and its CRD, your rights, the operator,"
        " GPUs, storage classes, MLflow. What you may not see is unknown, not wrong.",
        (_MLFLOW,),
        ("vernacular doctor -n team",),
    ),
    Verb(
        "who-trained-on",
        "find the models that were made of given rows",
        "Say which jobs were trained on the rows of files or tested with them, with their runs and the versions that"
        " they registered, deleted jobs and runs in MLflow's trash included. Rows are known by digests, which jobs"
        " leave in their runs; white space, case, format and system prompt do not matter. It needs the extra [data].",
        (
            _argument("files", nargs="+", metavar="FILE", help="the rows, in any form that a job can read"),
            _COLUMN,
            _argument("-A", "--all-namespaces", action="store_true", help="jobs of all namespaces"),
            _output("table", "json"),
            _MLFLOW,
        ),
        ("vernacular who-trained-on row.jsonl -A",),
    ),
    Verb(
        "purge",
        "remove everything that is left of a job",
        "Remove a job with its workspace, the ConfigMaps that submit made for it alone, its registered versions, its"
        " artifacts and its run, and say what could not be removed and how a person can. It asks for the job's name,"
        " and waits for the job's pods to end. A job that was deleted is known by its runs in MLflow: those of all jobs"
        " of this name in this cluster, unless --uid names one.",
        (
            _JOB,
            _argument("--dry-run", action="store_true", help="only say what would be removed"),
            _argument("--uid", metavar="UID", help="of several jobs of this name the one with this metadata.uid"),
            _MLFLOW,
            _YES,
        ),
        ("vernacular purge hr-bot --dry-run", "vernacular purge hr-bot"),
    ),
    Verb(
        "completion",
        "write the completion for a shell",
        "Write what a shell is to evaluate, so that Tab completes verbs, flags and names of jobs.",
        (_argument("shell", choices=SHELLS, metavar="SHELL", help=", ".join(SHELLS)),),
        ('eval "$(vernacular completion bash)"', "vernacular completion fish | source"),
        cluster=False,
    ),
)


class _Parser(ArgumentParser):
    """Speaks as the rest does: one sentence, then advice."""

    def error(self, message: str) -> NoReturn:
        advice = f"{self.prog} --help shows what can be written here"
        if (found := _CHOICE.match(message)) and (action := self._action(found.group(1))):
            choices = [str(choice) for choice in action.choices or ()]
            near = difflib.get_close_matches(found.group(2), choices, 3)
            message = f"{found.group(2)!r} is no {action.dest}"
            advice = f"did you mean {' or '.join(near)}? {advice}" if near else f"there are: {', '.join(choices)}"
        self.exit(ExitCode.USAGE, f"Error: {message}\n  {advice}\n")

    def _action(self, name: str) -> argparse.Action | None:
        found = (item for item in self._actions if name in (item.metavar, item.dest, "/".join(item.option_strings)))
        return next(found, None)


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        from importlib.metadata import version

        sys.stdout.write(f"vernacular {version('vernacular')}\n")
        parser.exit()


def build_parser(prog: str = "vernacular") -> ArgumentParser:
    """The parser of the whole command line; of its result `verb` is the verb's module, `prog` what was called."""
    parser = _Parser(
        prog=prog, description=DESCRIPTION, epilog=f"{prog} VERB --help explains a verb.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    _add(parser, CLUSTER_FLAGS, None)
    parser.set_defaults(prog=prog)
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", required=True, parser_class=_Parser, title="verbs")
    for verb in VERBS:
        made = verbs.add_parser(
            verb.name,
            help=verb.summary,
            # argparse leaves lines as they are, so that each example has its own
            description=textwrap.fill(verb.description, _HELP_WIDTH),
            epilog=_examples(verb.examples, prog),
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        _add(made, verb.arguments)
        if verb.cluster:
            # what was given before the verb holds as well: an absent flag here must not undo it
            _add(made.add_argument_group("which cluster"), CLUSTER_FLAGS, SUPPRESS)
    return parser


def parse(parser: ArgumentParser, arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line; exits with USAGE when it is wrong."""
    options = parser.parse_args(arguments)
    verb = next(item for item in VERBS if item.name == options.verb)
    given = [flag.names[-1] for flag in CLUSTER_FLAGS if getattr(options, flag.names[-1].lstrip("-"))]
    if given and not verb.cluster:
        parser.error(f"{verb.name} needs no cluster, and takes no {' and '.join(given)}")
    return options


def _add(parser: Any, arguments: Sequence[Argument], *default: Any) -> None:
    for argument in arguments:
        options = {**argument.options, "default": default[0]} if default else argument.options
        parser.add_argument(*argument.names, **options)


def _examples(examples: Sequence[str], prog: str) -> str | None:
    if not examples:
        return None
    return "\n".join(["examples:", *(f"  {line.replace('vernacular', prog, 1)}" for line in examples)])
