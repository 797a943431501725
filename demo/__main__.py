"""`make demo`, `make demo-down`, `make env`: the whole story on one machine, or on a cluster of your own."""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import time
from typing import Any

from demo import install, model
from demo.follow import follow
from demo.mlflow_access import mlflow_url, read_artifact
from demo.shell import REPOSITORY, DemoError, Shell
from demo.target import (
    Target,
    current_cluster,
    kubeconfig_of,
    reached_cluster,
    running_dev_cluster,
    start_dev_cluster,
)

NAMESPACE = "demo"
JOB = "hr-bot"
CPU_EXAMPLE = REPOSITORY / "examples/hr-bot"
GPU_EXAMPLE = REPOSITORY / "examples/hr-bot-gpu"
TRAINING_PODS = 2
JOB_TIMEOUT_SECONDS = 1200


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "env"])
    parser.add_argument("--cluster", choices=["dev", "current"], default="dev")
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--registry", default="")
    arguments = parser.parse_args()
    try:
        match arguments.command:
            case "up":
                up(arguments.cluster, arguments.nodes, arguments.registry)
            case "down":
                down(arguments.cluster)
            case _:
                show_environment(arguments.cluster)
    except DemoError as error:
        print(f"\nmake demo: {error}", file=sys.stderr)
        return 1
    return 0


def up(cluster: str, nodes: int, registry: str) -> None:
    """Cluster, images, model, chart, job, answers."""
    say("base model: SmolLM2-135M-Instruct")
    folder = model.ensure_model()
    say("cluster and images")
    target = start_dev_cluster(nodes) if cluster == "dev" else current_cluster(registry)
    say("Helm chart: operator and MLflow")
    install.install_chart(target)
    say(f"namespace {NAMESPACE} with the model on claim `models`")
    install.ensure_namespace(target.shell, NAMESPACE)
    install.ensure_model_claim(target, NAMESPACE, folder)
    job = run_job(target.shell)
    with mlflow_url(target) as url:
        show_result(job, url)
    show_next_steps(target, job)


def run_job(shell: Shell) -> dict[str, Any]:
    """Apply the example and follow it; a finished job of an earlier demo is started anew, a running one is joined."""
    existing = shell.get("finetunejob", JOB, NAMESPACE)
    if existing and existing.get("status", {}).get("state") in ("Succeeded", "Failed"):
        say(f"{JOB} of an earlier demo is finished: starting it anew (its MLflow run stays)")
        shell.kubectl("delete", "finetunejob", JOB, "-n", NAMESPACE)
    example = GPU_EXAMPLE if install.allocatable_gpus(shell) >= TRAINING_PODS else CPU_EXAMPLE
    say(f"kubectl apply -n {NAMESPACE} -k {example.relative_to(REPOSITORY)}")
    install.apply_example(shell, example, NAMESPACE)
    job = follow(shell, JOB, NAMESPACE, JOB_TIMEOUT_SECONDS)
    if job["status"]["state"] != "Succeeded":
        failure = job["status"].get("failure", {})
        raise DemoError(f"the job failed: {failure.get('code')}: {failure.get('message')}\n{failure.get('advice', '')}")
    return job


def show_result(job: dict[str, Any], url: str) -> None:
    """The headline question with both answers, and the score."""
    report = read_artifact(url, job["status"]["mlflow"]["runID"], "reports/evaluation.json")
    headline = report["questions"][0]
    print(f"\n  Question     {headline['messages'][-1]['content']}")
    print(f"  Base model   {headline['base']['answer']}")
    print(f"  Tuned model  {headline['tuned']['answer']}")
    print(f"\n  {job['status']['evaluation']['summary']}\n")


def show_next_steps(target: Target, job: dict[str, Any]) -> None:
    """What a person can type next."""
    cluster = "" if target.mlflow_url else " CLUSTER=current"
    images = f"{cluster} REGISTRY=... STORAGE_CLASS=..." if cluster else ""
    print(target.shell.kubectl("get", "finetunejobs", "-n", NAMESPACE))
    print(f"  MLflow       {job['status']['mlflow']['url']}")
    print(f'  next         eval "$(make -s env{cluster})"')
    print(f"               kubectl describe ftj {JOB} -n {NAMESPACE}")
    print(f"               edit examples/{JOB}/train.jsonl, then: make demo{images}")
    print(f"               make demo-down{cluster}")


def down(cluster: str) -> None:
    """Remove what the demo made; the dev cluster goes as a whole."""
    if cluster == "dev":
        command = [sys.executable, "-m", "devcluster", "down"]
        if subprocess.run(command, cwd=REPOSITORY, check=False).returncode:
            raise DemoError("`python3 -m devcluster down` failed: its own words are above")
        return
    install.uninstall(reached_cluster(), [NAMESPACE])


def show_environment(cluster: str) -> None:
    """Lines for eval."""
    target = running_dev_cluster() if cluster == "dev" else reached_cluster()
    variables = {**target.shell.environment, "KUBECONFIG": str(kubeconfig_of(target))}
    if target.mlflow_url:
        variables["MLFLOW_TRACKING_URI"] = target.mlflow_url
    for name, value in variables.items():
        print(f"export {name}={shlex.quote(value)}")


def say(text: str) -> None:
    """Announce a step with the time of day."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
