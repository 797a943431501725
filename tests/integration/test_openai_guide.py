"""docs/guide/openai-api.md as it stands: the script, the certificate, the rights and the values of the chart."""

from __future__ import annotations

import os
import re
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.apiserver import ApiServer
from support.cli_jobs import StoredJobs, condition
from support.finetunejobs import both
from support.helm import BUNDLED, Helm, find
from support.openai_api import RIGHTS, OpenAiApi, token
from vernacular_openai.config import ServiceConfig
from vernacular_openai.requests import LEARNING_RATES
from vernacular_trainer.planning import _LEARNING_RATES

pytestmark = pytest.mark.integration

GUIDE = Path(__file__).parents[2] / "docs" / "guide" / "openai-api.md"
TRAINING = {"state": "Training", "progress": {"step": 1, "totalSteps": 2, "percent": 50}}
ENDED = {"state": "Succeeded", "conditions": [condition("Complete", "True", "JobSucceeded")]}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@contextmanager
def operated(jobs: StoredJobs) -> Iterator[None]:
    """Somebody who reports for every job that it trains, and then that it has succeeded."""
    stopping = threading.Event()

    def operate() -> None:
        reported: dict[str, int] = {}
        while not stopping.wait(0.1):
            for name in jobs.names():
                if (seen := reported.get(name, 0)) < 2:
                    jobs.report(name, (TRAINING, ENDED)[seen])
                    reported[name] = seen + 1

    thread = threading.Thread(target=operate)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()


@pytest.fixture(scope="module")
def helm() -> Helm:
    return Helm.find()


@pytest.fixture(scope="module")
def values() -> dict[str, Any]:
    (found,) = [each for each in blocks("yaml") if each.startswith("openaiApi:")]
    return dict(yaml.safe_load(found))


def test_the_script_runs_as_it_stands(
    api_server: ApiServer, tmp_path: Path, values: dict[str, Any], helm: Helm
) -> None:
    team = api_server.new_namespace("team")
    (rights,) = [each for each in blocks("yaml") if "kind: RoleBinding" in each]
    done = api_server.kubectl("apply", "-f", "-", stdin=rights.replace("namespace: team", f"namespace: {team}"))
    assert done.returncode == 0, done.stderr
    (rows,), (script,) = blocks("jsonl"), blocks("python")
    (tmp_path / "train.jsonl").write_text(rows)
    (tmp_path / "tune.py").write_text(script)
    jobs = StoredJobs(api_server, team)
    config = yaml.safe_load(
        find(helm.render(both(BUNDLED, values)), "ConfigMap", "vernacular-openai")["data"]["config.yaml"]
    )
    del config["downloadHost"]

    with OpenAiApi(api_server, tmp_path / "service", config) as service, operated(jobs):
        environment = {
            "PATH": os.environ["PATH"],
            "OPENAI_BASE_URL": service.url,
            "OPENAI_API_KEY": token(api_server, team, "tuner"),
            "SSL_CERT_FILE": str(service.ca_file),
        }
        done = subprocess.run(
            [sys.executable, "tune.py"],
            cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert done.returncode == 0, done.stderr
    (name,) = jobs.names()
    assert f"succeeded ft:gpt-4o-mini-2024-07-18:{team}:hr-bot:{name.removeprefix('ftjob-')}" in done.stdout
    assert "The job has successfully completed." in done.stdout
    spec = jobs.read(name)["spec"]
    assert spec["model"]["uri"] == "hf://HuggingFaceTB/SmolLM2-135M-Instruct"
    assert (spec["training"]["epochs"], spec["dataset"]["personalData"]) == (3, "Redact")


def test_the_rights_are_those_that_are_tested() -> None:
    (rights,) = [each for each in blocks("yaml") if "kind: RoleBinding" in each]

    (role,) = [each for each in yaml.safe_load_all(rights) if each["kind"] == "Role"]

    assert role["rules"] == RIGHTS


def test_the_certificate_is_one_for_the_service(tmp_path: Path) -> None:
    (commands,) = blocks("bash")
    subprocess.run(["bash", "-e", "-c", commands], cwd=tmp_path, check=True, capture_output=True, timeout=60)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.crt"))
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server, server_hostname="vernacular-openai.vernacular.svc")
    theirs = server.wrap_bio(to_server, to_client, server_side=True)

    for side in (ours, theirs, ours, theirs):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue

    assert ours.getpeercert()


def test_the_values_are_of_a_service_that_starts(values: dict[str, Any], helm: Helm) -> None:
    config = find(helm.render(both(BUNDLED, values)), "ConfigMap", "vernacular-openai")["data"]["config.yaml"]

    assert set(ServiceConfig.model_validate(yaml.safe_load(config)).models) == {"gpt-4o-mini-2024-07-18", "large"}


def test_the_usual_learning_rates_are_those_of_the_plan() -> None:
    named = {(objective, "Full" if whole else "LoRA"): rate for (objective, whole), rate in LEARNING_RATES.items()}

    assert named == _LEARNING_RATES
