"""The OpenAI-compatible API as a process of its own over TLS, and keys of service accounts for it."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import openai
import trustme
import yaml

from support.apiserver import ApiServer

Json = dict[str, Any]
RBAC = "/apis/rbac.authorization.k8s.io/v1"
# what docs/guide/openai-api.md asks for
RIGHTS: list[Json] = [
    {
        "apiGroups": ["vernacular.dev"],
        "resources": ["finetunejobs"],
        "verbs": ["create", "get", "list", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create", "patch", "delete"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
READ_ONLY: list[Json] = [
    {"apiGroups": ["vernacular.dev"], "resources": ["finetunejobs"], "verbs": ["get", "list"]},
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get"]},
]
MODELS: Json = {"gpt-4o-mini-2024-07-18": {"model": {"uri": "hf://HuggingFaceTB/SmolLM2-135M-Instruct"}}}


def key_of(server: ApiServer, namespace: str, account: str, rules: list[Json], *, also: tuple[str, ...] = ()) -> str:
    """A token of a new service account that has these rights in its namespace, and in those of `also`."""
    body: Json = {"metadata": {"name": account}}
    server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts", body)
    for place in (namespace, *also) if rules else ():
        path = f"{RBAC}/namespaces/{place}"
        server.request("POST", f"{path}/roles", {**body, "rules": rules})
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": account}
        subject = {"kind": "ServiceAccount", "name": account, "namespace": namespace}
        server.request("POST", f"{path}/rolebindings", {**body, "roleRef": role, "subjects": [subject]})
    return token(server, namespace, account)


def token(server: ApiServer, namespace: str, account: str) -> str:
    """A token of a service account that exists."""
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
    return str(server.request("POST", path, {"spec": {"expirationSeconds": 3600}})["status"]["token"])


@dataclass
class OpenAiApi:
    """The service below `folder`; a context."""

    kubernetes: ApiServer
    folder: Path
    config: Json

    def __enter__(self) -> OpenAiApi:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.authority = trustme.CA()
        self.tls = self.folder / "tls"
        self.tls.mkdir(exist_ok=True)
        self.certify()
        self.ca_file = self.tls / "ca.crt"
        self.authority.cert_pem.write_to_path(str(self.ca_file))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        config = {"downloadHost": self.host, "models": MODELS, **self.config}
        (self.folder / "config.yaml").write_text(yaml.safe_dump(config))
        trust = "".join(ssl.DER_cert_to_PEM_cert(each) for each in self.kubernetes.tls.get_ca_certs(binary_form=True))
        (self.folder / "kubernetes.crt").write_text(trust)
        self.start()
        return self

    def certify(self) -> None:
        """Give the service a certificate, a new one each time."""
        made = self.authority.issue_cert("127.0.0.1", "localhost")
        made.private_key_pem.write_to_path(str(self.tls / "tls.key"))
        (self.tls / "tls.crt").write_bytes(b"".join(blob.bytes() for blob in made.cert_chain_pems))

    def start(self) -> None:
        """Start a process, and wait until it answers."""
        command = [
            *(sys.executable, "-m", "vernacular_openai"),
            f"--config={self.folder / 'config.yaml'}",
            f"--files={self.folder / 'files'}",
            f"--tls={self.tls}",
            f"--kubernetes={self.kubernetes.address}",
            f"--kubernetes-ca={self.folder / 'kubernetes.crt'}",
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]
        self.log = (self.folder / "log").open("ab")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.plain("/healthz")
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError((self.folder / "log").read_text()) from None
                time.sleep(0.05)

    def stop(self) -> None:
        """End the process, as the kubelet does."""
        self.process.terminate()
        assert self.process.wait(30) == 0
        self.log.close()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL, as SDKs take it."""
        return f"https://{self.host}/v1"

    def said(self) -> str:
        """What the service has logged."""
        return (self.folder / "log").read_text()

    def memory_peak(self) -> int:
        """The most memory that the process ever had, in bytes."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))

    def sdk(self, key: str, **options: Any) -> openai.OpenAI:
        """The unmodified SDK with this key."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        client = httpx2.Client(verify=trust, trust_env=False)
        return openai.OpenAI(api_key=key, base_url=self.url, http_client=client, max_retries=0, **options)

    def post(self, path: str, body: bytes, kind: str, key: str) -> tuple[int, Json]:
        """Status and answer of a POST with this body of this content type."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        headers = {"Content-Type": kind, "Authorization": f"Bearer {key}"}
        with httpx2.Client(verify=trust, trust_env=False) as client:
            answer = client.post(f"https://{self.host}{path}", content=body, headers=headers)
        return answer.status_code, answer.json()

    def plain(self, path: str) -> Json:
        """A GET without a key."""
        trust = ssl.create_default_context(cafile=str(self.ca_file))
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust)
        )
        with opener.open(f"https://{self.host}{path}", timeout=10) as answer:
            document: Json = json.load(answer)
            return document
