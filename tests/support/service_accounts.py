"""Service accounts of tests: a kubeconfig that has their rights and no others."""

from __future__ import annotations

import base64
import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from support.apiserver import ApiServer
from vernacular_operator.kube.rights import IN_NAMESPACES, IN_THE_CLUSTER

OPERATOR = "vernacular-operator"
APPLY = "application/apply-patch+yaml"
_RBAC = "rbac.authorization.k8s.io"


def operator_account(server: ApiServer, namespaces: Sequence[str], folder: Path) -> Path:
    """Kubeconfig of an account that has exactly the operator's rights: in some namespaces, or everywhere for none."""
    home = namespaces[0] if namespaces else "default"
    _apply(server, "v1", "ServiceAccount", home, {})
    subject = {"kind": "ServiceAccount", "name": OPERATOR, "namespace": home}
    rules = [right.rule for right in IN_NAMESPACES]
    for namespace in namespaces:
        _apply(server, f"{_RBAC}/v1", "Role", namespace, {"rules": rules})
        role = {"apiGroup": _RBAC, "kind": "Role", "name": OPERATOR}
        _apply(server, f"{_RBAC}/v1", "RoleBinding", namespace, {"roleRef": role, "subjects": [subject]})
    if not namespaces:
        rules += [right.rule for right in IN_THE_CLUSTER]
        _apply(server, f"{_RBAC}/v1", "ClusterRole", "", {"rules": rules})
        role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": OPERATOR}
        _apply(server, f"{_RBAC}/v1", "ClusterRoleBinding", "", {"roleRef": role, "subjects": [subject]})
    return write_kubeconfig(server, home, OPERATOR, folder / "operator.kubeconfig")


def write_kubeconfig(
    server: ApiServer, namespace: str, account: str, path: Path, *, with_authority: bool = True
) -> Path:
    """A kubeconfig with a token of a service account that exists; without an authority as on clusters whose server has
    a certificate that everybody trusts.
    """
    request = {"spec": {"expirationSeconds": 3600}}
    token = server.request("POST", f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token", request)
    authorities = "".join(ssl.DER_cert_to_PEM_cert(each) for each in server.tls.get_ca_certs(binary_form=True))
    trust: dict[str, Any] = {"certificate-authority-data": base64.b64encode(authorities.encode()).decode()}
    cluster = {"server": server.address, **(trust if with_authority else {"insecure-skip-tls-verify": True})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": account,
        "clusters": [{"name": "server", "cluster": cluster}],
        "users": [{"name": account, "user": {"token": token["status"]["token"]}}],
        "contexts": [{"name": account, "context": {"cluster": "server", "user": account}}],
    }
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def _apply(server: ApiServer, api_version: str, kind: str, namespace: str, body: dict[str, Any]) -> None:
    root = f"/api/{api_version}" if api_version == "v1" else f"/apis/{api_version}"
    scope = f"/namespaces/{namespace}" if namespace else ""
    document = {"apiVersion": api_version, "kind": kind, "metadata": {"name": OPERATOR}, **body}
    path = f"{root}{scope}/{kind.lower()}s/{OPERATOR}?fieldManager=tests&force=true"
    server.request("PATCH", path, document, APPLY)
