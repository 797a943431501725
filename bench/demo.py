"""`make bench-demo`: the HR-bot job from apply to Succeeded, per stage, and the sizes of what runs beside it.

Warm: cluster, images, chart and model claim are there before the clock starts. `--fresh` times a whole `make demo` with
an empty cache instead (it builds and downloads everything, and needs the disk for it).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.report import Measure, finish, package_versions
from demo import install, model
from demo.__main__ import NAMESPACE
from demo.follow import follow
from demo.install import OPERATOR_NAMESPACE
from demo.shell import REPOSITORY, DemoError, Shell
from demo.target import start_dev_cluster
from devcluster.paths import MAIN_CLUSTER, from_environment
from vernacular_trainer.contract import EvaluateSummary, Stage, StageReport, Summary, TrainSummary

VERSIONS = ("torch", "transformers", "peft", "deepspeed", "mlflow", "kopf", "kubernetes")
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="time a whole demo with an empty cache instead")
    arguments = parser.parse_args()
    if arguments.fresh:
        return _finish("demo-fresh", [fresh_demo()])
    target = start_dev_cluster(nodes=2)
    install.install_chart(target)
    install.ensure_namespace(target.shell, NAMESPACE)
    install.ensure_model_claim(target, NAMESPACE, model.ensure_model())
    measures = job_measures(target.shell)
    measures += [broken_row(target.shell), operator_memory(target.shell), control_plane_memory(), code_change()]
    return _finish("demo", measures)


def _finish(bench: str, measures: list[Measure]) -> int:
    return 0 if finish(bench, f"make bench-{bench}", measures, package_versions(*VERSIONS)) else 1


def fresh_demo() -> Measure:
    """`make demo` in a fresh clone with caches in an empty folder, taken down and deleted afterwards.

    Debian packages that the machine has stay; the running dev cluster, if any, is stopped first.
    """
    subprocess.run([sys.executable, "-m", "devcluster", "down"], cwd=REPOSITORY, check=True)
    folder = Path(tempfile.mkdtemp(prefix="vernacular-fresh-"))
    clone, cache = folder / "clone", folder / "cache"
    go = {"GOCACHE": f"{cache}/go-build", "GOMODCACHE": f"{cache}/go-mod"}
    environment = {**os.environ, **go, "CACHE_DIR": str(cache), "UV_CACHE_DIR": f"{cache}/uv"}
    try:
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        started = time.monotonic()
        subprocess.run(["make", "demo"], cwd=clone, env=environment, check=True)
        minutes = (time.monotonic() - started) / 60
    finally:
        subprocess.run(["make", "demo-down"], cwd=clone, env=environment, check=False)
        shutil.rmtree(folder, ignore_errors=True)
    return Measure("fresh make demo", minutes, "min", 25)


def job_measures(shell: Shell) -> list[Measure]:
    """Apply the HR bot, wait for its end, and split the time into loops and everything else."""
    shell.kubectl("delete", "finetunejob", "hr-bot", "-n", NAMESPACE, "--ignore-not-found", "--cascade=foreground")
    started = time.time()
    install.apply_example(shell, REPOSITORY / "examples/hr-bot", NAMESPACE)
    job = follow(shell, "hr-bot", NAMESPACE, timeout=1200)
    if job["status"]["state"] != "Succeeded":
        raise DemoError(f"the job failed: {job['status'].get('failure')}")
    total = seconds_of(job["status"]["completionTime"]) - started
    summaries = stage_summaries(shell)
    trained, evaluated = summaries[Stage.TRAIN], summaries[Stage.EVALUATE]
    assert isinstance(trained, TrainSummary)
    assert isinstance(evaluated, EvaluateSummary)
    loops = trained.training_seconds + evaluated.evaluation_seconds
    return [
        Measure("apply to Succeeded", total, "s", 300),
        Measure("outside training and evaluation loops", total - loops, "s", 60),
        Measure("training loop", trained.training_seconds, "s"),
        Measure("evaluation loop", evaluated.evaluation_seconds, "s", 90),
        Measure("trained tokens", trained.tokens, "", 25_000),
        *(Measure(f"stage {stage['name']}", stage_seconds(stage), "s") for stage in job["status"]["stages"]),
    ]


def stage_summaries(shell: Shell) -> dict[Stage, Summary]:
    """What the newest pod of each stage reported."""
    selector = "vernacular.dev/job-name=hr-bot"
    pods = json.loads(shell.kubectl("get", "pods", "-n", NAMESPACE, "-l", selector, "-o", "json"))["items"]
    found: dict[Stage, Summary] = {}
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["creationTimestamp"])):
        stage = Stage(pod["metadata"]["labels"]["vernacular.dev/stage"].capitalize())
        terminated = pod["status"]["containerStatuses"][0]["state"].get("terminated", {})
        summary = StageReport.from_json(terminated["message"]).typed_summary(stage)
        if summary:
            found[stage] = summary
    return found


def seconds_of(timestamp: str) -> float:
    """Seconds since the epoch of a Kubernetes timestamp."""
    return datetime.datetime.fromisoformat(timestamp).timestamp()


def stage_seconds(stage: dict[str, Any]) -> float:
    return seconds_of(stage["completionTime"]) - seconds_of(stage["startTime"])


def broken_row(shell: Shell) -> Measure:
    """From apply to Failed with the row's number."""
    shell.kubectl("delete", "finetunejob", "hr-bot-broken", "-n", NAMESPACE, "--ignore-not-found")
    started = time.monotonic()
    install.apply_example(shell, REPOSITORY / "examples/hr-bot-broken", NAMESPACE)
    job = follow(shell, "hr-bot-broken", NAMESPACE, timeout=180)
    if "line 7" not in job["status"]["failure"]["message"]:
        raise DemoError(f"the broken row was not named: {job['status']['failure']}")
    return Measure("broken row: apply to Failed", time.monotonic() - started, "s", 60)


def operator_memory(shell: Shell) -> Measure:
    """Resident memory of the operator's process, read inside its container."""
    text = shell.kubectl("exec", "-n", OPERATOR_NAMESPACE, "deploy/vernacular", "--", "cat", "/proc/1/status")
    kibibytes = int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])
    return Measure("operator memory", kibibytes * 1024 / 1e6, "MB", 150)


def control_plane_memory() -> Measure:
    """Resident memory of the dev cluster's control plane together."""
    folder = from_environment().cluster(MAIN_CLUSTER) / "processes"
    total = 0
    for name in CONTROL_PLANE:
        pid = json.loads((folder / f"{name}.json").read_text())["pid"]
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        total += int(next(line for line in lines if line.startswith("VmRSS")).split()[1])
    return Measure("control plane memory", total * 1024 / 1e6, "MB", 1000)


def code_change() -> Measure:
    """One more line in the trainer's code, until the image that has it is on both nodes."""
    with tempfile.TemporaryDirectory() as folder:
        files = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, capture_output=True, check=True).stdout
        for name in files.decode().split("\0")[:-1]:
            copy = Path(folder, name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, copy)
        changed = Path(folder, "trainer_image/src/vernacular_trainer/__init__.py")
        changed.write_text(f"{changed.read_text()}# {time.time_ns()}\n")
        started = time.monotonic()
        subprocess.run([sys.executable, "-m", "devcluster", "images", "trainer"], cwd=folder, check=True)
        seconds = time.monotonic() - started
    # the record of image references belongs to this checkout again
    subprocess.run([sys.executable, "-m", "devcluster", "images"], cwd=REPOSITORY, check=True)
    return Measure("code change to both nodes", seconds, "s", 15)


if __name__ == "__main__":
    sys.exit(main())
