"""The dev cluster keeps its promises: nodes, names, rights and storage behave as on a cluster that one would buy."""

from __future__ import annotations

import json
import os
import shutil
import ssl
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from devcluster.binaries import build
from devcluster.cluster import Cluster
from devcluster.images.build import storage
from devcluster.images.store import ImageStore
from devcluster.layout import API_ADDRESS, API_PORT, Node
from devcluster.paths import MAIN_CLUSTER, from_environment

pytestmark = pytest.mark.cluster
PATHS = from_environment()
NODES = ("node-1", "node-2")
RESTRICTED: dict[str, Any] = {
    "runAsNonRoot": True,
    "runAsUser": 65532,
    "runAsGroup": 65532,
    "fsGroup": 65532,
    "seccompProfile": {"type": "RuntimeDefault"},
}


@dataclass(frozen=True)
class Kubectl:
    """kubectl against one kubeconfig, in one namespace."""

    program: Path
    kubeconfig: Path
    namespace: str

    def __call__(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        assert done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [self.program, "--kubeconfig", self.kubeconfig, "--namespace", self.namespace, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=120, check=False)

    def apply(self, *resources: dict[str, Any]) -> None:
        self("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(resources)}))

    def get(self, *what: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self("get", *what, "-o", "json"))
        return found


@pytest.fixture(scope="session")
def kubeconfig() -> Path:
    """VERNACULAR_KUBECONFIG or the dev cluster of this repository; it has to run (`make cluster-up`)."""
    path = Path(os.environ.get("VERNACULAR_KUBECONFIG") or PATHS.kubeconfig(MAIN_CLUSTER))
    assert path.exists(), f"{path} does not exist: start the cluster with `make cluster-up` and `make images`"
    return path


@pytest.fixture(scope="module")
def kubectl(kubeconfig: Path) -> Iterator[Kubectl]:
    name = f"devcluster-{uuid.uuid4().hex[:8]}"
    client = Kubectl(build(PATHS) / "kubectl", kubeconfig, name)
    client("create", "namespace", name)
    client("label", "namespace", name, "pod-security.kubernetes.io/enforce=restricted")
    yield client
    client("delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="module")
def image() -> str:
    """Python and nothing else."""
    images: dict[str, str] = json.loads(PATHS.images_file.read_text())
    return images["python"]


def pod(name: str, image: str, command: list[str], *, node: str = "", claim: str = "") -> dict[str, Any]:
    """A pod under restricted pod security that mounts the claim, if any, at /volume."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": command,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec: dict[str, Any] = {
        "terminationGracePeriodSeconds": 0,
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": dict(RESTRICTED),
        "containers": [container],
    }
    if node:
        spec["nodeSelector"] = {"kubernetes.io/hostname": node}
    if claim:
        container["volumeMounts"] = [{"name": "volume", "mountPath": "/volume"}]
        spec["volumes"] = [{"name": "volume", "persistentVolumeClaim": {"claimName": claim}}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec}


def claim(name: str, mode: str, storage_class: str = "") -> dict[str, Any]:
    spec: dict[str, Any] = {"accessModes": [mode], "resources": {"requests": {"storage": "1Mi"}}}
    if storage_class:
        spec["storageClassName"] = storage_class
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def wait_ready(kubectl: Kubectl, *names: str) -> None:
    kubectl("wait", *(f"pod/{name}" for name in names), "--for=condition=Ready", "--timeout=60s")


SLEEP = ["sleep", "infinity"]
# a running pod may not listen yet, and its address reaches the other node's proxy a moment later
ASK_UNTIL_ANSWERED = """
import time, urllib.request
deadline = time.monotonic() + 30
while True:
    try:
        print(urllib.request.urlopen("http://server/hostname", timeout=10).read().decode())
        break
    except OSError:
        if time.monotonic() > deadline:
            raise
        time.sleep(0.2)
"""


def test_two_nodes_are_ready(kubectl: Kubectl) -> None:
    nodes = kubectl.get("nodes")["items"]
    assert [node["metadata"]["name"] for node in nodes] == list(NODES)
    for index, node in enumerate(nodes, start=1):
        conditions = {entry["type"]: entry["status"] for entry in node["status"]["conditions"]}
        assert conditions["Ready"] == "True"
        addresses = {entry["type"]: entry["address"] for entry in node["status"]["addresses"]}
        assert addresses["InternalIP"] == Node(index).address


def test_names_and_services_work_across_nodes(kubectl: Kubectl, image: str) -> None:
    server = pod("server", image, ["python3", "-m", "http.server", "8000", "--directory", "/etc"], node=NODES[0])
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "server"},
        "spec": {"selector": {"app": "server"}, "ports": [{"port": 80, "targetPort": 8000}]},
    }
    kubectl.apply(service, server, *(pod(f"client-{node}", image, SLEEP, node=node) for node in NODES))
    wait_ready(kubectl, "server", *(f"client-{node}" for node in NODES))
    for node in NODES:
        assert kubectl("exec", f"client-{node}", "--", "python3", "-c", ASK_UNTIL_ANSWERED).strip()
    assert "GET /hostname" in kubectl("logs", "server")


def test_an_unknown_name_is_unknown_and_not_a_temporary_failure(kubectl: Kubectl, image: str) -> None:
    kubectl.apply(pod("asker", image, SLEEP))
    wait_ready(kubectl, "asker")
    code = "import socket\ntry: socket.getaddrinfo('no.such.name.example', 80)\nexcept OSError as e: print(e.errno)"
    assert kubectl("exec", "asker", "--", "python3", "-c", code).strip() == "-2"  # EAI_NONAME


def test_a_stranger_gets_nothing(kubectl: Kubectl, kubeconfig: Path) -> None:
    authority = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
    context = ssl.create_default_context(cafile=authority)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    for path in ("/api/v1/namespaces", "/readyz", "/version"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            opener.open(f"https://{API_ADDRESS}:{API_PORT}{path}", timeout=10)
        with refused.value as error:
            assert error.code == 401


def test_a_kubelet_lets_no_stranger_in(kubectl: Kubectl, kubeconfig: Path) -> None:
    authority = json.loads(kubeconfig.read_text())["clusters"][0]["cluster"]["certificate-authority"]
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authority)),
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        opener.open(f"https://{Node(1).address}:10250/pods", timeout=10)
    with refused.value as error:
        assert error.code == 401


def test_a_service_account_has_no_rights_of_itself(kubectl: Kubectl) -> None:
    account = f"system:serviceaccount:{kubectl.namespace}:default"
    for verb, what in (("list", "pods"), ("get", "secrets"), ("create", "jobs.batch")):
        answer = kubectl.run("auth", "can-i", verb, what, "--as", account)
        assert answer.stdout.strip() == "no"


def test_a_node_cannot_touch_another_node(kubectl: Kubectl, kubeconfig: Path) -> None:
    as_node_1 = Kubectl(kubectl.program, kubeconfig.with_name("node-1.kubeconfig"), kubectl.namespace)
    answer = as_node_1.run("label", "node", "node-2", "taken=over")
    assert answer.returncode != 0
    assert "only its own Node object" in answer.stderr


def test_restricted_pod_security_is_enforced(kubectl: Kubectl, image: str) -> None:
    careless = pod("careless", image, SLEEP)
    del careless["spec"]["securityContext"]["runAsNonRoot"]
    careless["spec"]["containers"][0]["securityContext"] = {"privileged": True}
    answer = kubectl.run("apply", "-f", "-", stdin=json.dumps(careless))
    assert answer.returncode != 0
    assert "violates PodSecurity" in answer.stderr


def test_a_local_volume_waits_for_its_pod_and_then_belongs_to_that_node(kubectl: Kubectl, image: str) -> None:
    kubectl.apply(claim("disk", "ReadWriteOnce"))
    kubectl.apply(pod("writer", image, ["sh", "-c", "echo kept > /volume/file"], node=NODES[1], claim="disk"))
    kubectl("wait", "pod/writer", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    volume = kubectl.get("pv", kubectl.get("pvc", "disk")["spec"]["volumeName"])
    terms = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert terms == [{"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [NODES[1]]}]}]
    kubectl.apply(pod("reader", image, ["cat", "/volume/file"], claim="disk"))
    kubectl("wait", "pod/reader", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s")
    assert kubectl.get("pod", "reader")["spec"]["nodeName"] == NODES[1]
    assert kubectl("logs", "reader") == "kept\n"
    kubectl.apply(pod("misplaced", image, SLEEP, node=NODES[0], claim="disk"))
    kubectl("wait", "pod/misplaced", "--for=condition=PodScheduled=False", "--timeout=60s")
    reasons = [entry["message"] for entry in kubectl.get("pod", "misplaced")["status"]["conditions"]]
    assert any("node" in reason and "affinity" in reason for reason in reasons)


def test_a_local_volume_cannot_be_shared(kubectl: Kubectl, image: str) -> None:
    kubectl.apply(claim("greedy", "ReadWriteMany", "local"), pod("greedy", image, SLEEP, claim="greedy"))
    assert "use class shared" in wait_for_event(kubectl, "greedy", "ProvisioningFailed")


def wait_for_event(kubectl: Kubectl, name: str, reason: str) -> str:
    """The message of the first such event, from a watch."""
    command = [kubectl.program, "--kubeconfig", kubectl.kubeconfig, "--namespace", kubectl.namespace]
    command += ["get", "events", "--watch", "-o", "json", "--field-selector"]
    command += [f"involvedObject.name={name},reason={reason}", "--request-timeout=60s"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        decoder, text = json.JSONDecoder(), ""
        for line in watch.stdout:
            text += line
            try:
                event, _ = decoder.raw_decode(text)
            except ValueError:
                continue
            watch.terminate()
            return str(event["message"])
    raise AssertionError(f"no event {reason} for {name}")


def test_a_shared_volume_is_one_directory_on_both_nodes(kubectl: Kubectl, image: str) -> None:
    kubectl.apply(
        claim("share", "ReadWriteMany", "shared"),
        *(pod(f"share-{node}", image, SLEEP, node=node, claim="share") for node in NODES),
    )
    wait_ready(kubectl, *(f"share-{node}" for node in NODES))
    kubectl("exec", f"share-{NODES[0]}", "--", "sh", "-c", "echo both > /volume/file")
    assert kubectl("exec", f"share-{NODES[1]}", "--", "cat", "/volume/file") == "both\n"


def test_a_deleted_claim_takes_its_directory_along(kubectl: Kubectl) -> None:
    kubectl.apply(claim("brief", "ReadWriteMany", "shared"))
    kubectl("wait", "pvc/brief", "--for=jsonpath={.status.phase}=Bound", "--timeout=60s")
    volume = kubectl.get("pv", kubectl.get("pvc", "brief")["spec"]["volumeName"])
    path = Path(volume["spec"]["hostPath"]["path"])
    assert path.is_dir()
    kubectl("delete", "pvc", "brief")
    kubectl("wait", f"pv/{volume['metadata']['name']}", "--for=delete", "--timeout=60s")
    assert not path.exists()


def test_an_image_that_was_never_built_says_so(kubectl: Kubectl) -> None:
    kubectl.apply(pod("wrong", "dev.local/python:never-built", SLEEP))
    assert "not found" in wait_for_event(kubectl, "wrong", "Failed")


def test_the_files_of_an_image_exist_once_for_both_nodes() -> None:
    reference = json.loads(PATHS.images_file.read_text())["trainer"]
    layers = ImageStore(storage(PATHS)).load(reference).layers
    files = (file for layer in layers for file in layer.files.rglob("libtorch_cuda*") if file.is_file())
    assert next(files).stat().st_nlink == 1 + len(NODES)


def test_up_finds_the_running_cluster(kubeconfig: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cluster = Cluster(PATHS, MAIN_CLUSTER, {})
    state = cluster.state()
    assert state is not None
    cluster.up(state.options)
    assert "is running" in capsys.readouterr().out
    assert cluster.state() == state
    assert shutil.which("kubectl", path=state.binaries)
