"""Which cluster, which credentials: kubeconfig files merged as kubectl merges them, or the service account of the pod.

Own code, because it is little: the official client takes a second to import, lightkube knows neither several files nor
version 1 of credential plugins, and kr8s leaves private keys behind in temporary files.
"""

from __future__ import annotations

import base64
import binascii
import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vernacular.cli.errors import CliError, ExitCode

Json = dict[str, Any]

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_SECTIONS = ("clusters", "users", "contexts")
_ADVICE = "name a kubeconfig with --kubeconfig or $KUBECONFIG; kubectl config view shows what is in one"


@dataclass(frozen=True)
class ExecPlugin:
    """A program that prints credentials."""

    command: str
    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    api_version: str
    interactive: str
    install_hint: str
    cluster_info: Json | None


@dataclass(frozen=True)
class User:
    """Who asks: whatever of this is there. Secrets are kept out of its representation."""

    token: str = field(default="", repr=False)
    token_file: Path | None = None
    name: str = ""
    password: str = field(default="", repr=False)
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)
    plugin: ExecPlugin | None = None
    impersonation: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Access:
    """One cluster with one user. `authority` is PEM, "" for the authorities that this machine trusts."""

    server: str
    user: User
    namespace: str = "default"
    authority: str = ""
    verify: bool = True
    tls_server_name: str = ""
    proxy: str = ""


def find_access(
    kubeconfig: str | None,
    context: str | None,
    environment: Mapping[str, str],
    home: Path,
    service_account: Path = SERVICE_ACCOUNT,
) -> Access:
    """What kubectl would use. Raises CliError (NO_ACCESS) that says what is missing."""
    if kubeconfig:
        files = [Path(kubeconfig)]
        if not files[0].is_file():
            raise _no_access(f"there is no kubeconfig {kubeconfig}", _ADVICE)
    else:
        named = [Path(each) for each in environment.get("KUBECONFIG", "").split(":") if each]
        files = [each for each in named or [home / ".kube" / "config"] if each.is_file()]
    if files:
        return select(merge([(path, _read(path)) for path in files]), context)
    host = environment.get("KUBERNETES_SERVICE_HOST")
    if host and (service_account / "token").is_file() and not context:
        return _in_cluster(host, environment.get("KUBERNETES_SERVICE_PORT", "443"), service_account)
    raise _no_access("there is no kubeconfig", _ADVICE)


def merge(files: Sequence[tuple[Path, Json]]) -> Json:
    """One kubeconfig from several: what is named first counts. Relative paths begin at the file that names them."""
    result: Json = {name: {} for name in _SECTIONS}
    for path, document in files:
        result.setdefault("current-context", document.get("current-context"))
        result["current-context"] = result["current-context"] or document.get("current-context")
        for section in _SECTIONS:
            for entry in document.get(section) or ():
                value = entry.get(section.removesuffix("s")) or {}
                result[section].setdefault(entry.get("name", ""), {**value, "folder": path.absolute().parent})
    return result


def select(config: Json, context: str | None) -> Access:
    """The cluster and user of a context. Raises CliError (NO_ACCESS)."""
    name = context or config["current-context"]
    if not name:
        raise _no_access("the kubeconfig has no current context", "choose one: kubectl config use-context NAME")
    chosen = _entry(config, "contexts", name, "context")
    cluster = _entry(config, "clusters", chosen.get("cluster", ""), "cluster")
    user = _entry(config, "users", chosen["user"], "user") if chosen.get("user") else {"folder": Path()}
    if not cluster.get("server"):
        raise _no_access(f"cluster {chosen.get('cluster')} of the kubeconfig has no server", _ADVICE)
    return Access(
        server=cluster["server"].rstrip("/"),
        user=_user(user, cluster),
        namespace=chosen.get("namespace") or "default",
        authority=_bytes(cluster, "certificate-authority").decode(),
        verify=not cluster.get("insecure-skip-tls-verify"),
        tls_server_name=cluster.get("tls-server-name") or "",
        proxy=cluster.get("proxy-url") or "",
    )


def _read(path: Path) -> Json:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise _no_access(f"kubeconfig {path} cannot be read: {error}", _ADVICE) from None
    except yaml.YAMLError:
        raise _no_access(f"kubeconfig {path} is not YAML", _ADVICE) from None
    if not isinstance(document, dict | None):
        raise _no_access(f"{path} is not a kubeconfig", _ADVICE)
    return document or {}


def _entry(config: Json, section: str, name: str, kind: str) -> Json:
    entries: dict[str, Json] = config[section]
    if name in entries:
        return entries[name]
    near = difflib.get_close_matches(name, list(entries), 3)
    advice = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(sorted(entries)) or 'none'}"
    raise _no_access(f"the kubeconfig has no {kind} {name!r}", advice)


def _user(user: Json, cluster: Json) -> User:
    if "auth-provider" in user and "exec" not in user:
        raise _no_access(
            "the kubeconfig logs in with an auth-provider, which Kubernetes has removed",
            "let your provider write it again, with a credential plugin (exec)",
        )
    groups = [("Impersonate-Group", group) for group in user.get("as-groups") or ()]
    return User(
        token=user.get("token") or "",
        token_file=_path(user, user["tokenFile"]) if user.get("tokenFile") else None,
        name=user.get("username") or "",
        password=user.get("password") or "",
        certificate=_bytes(user, "client-certificate"),
        key=_bytes(user, "client-key"),
        plugin=_plugin(user, cluster) if user.get("exec") else None,
        impersonation=(("Impersonate-User", user["as"]), *groups) if user.get("as") else (),
    )


def _plugin(user: Json, cluster: Json) -> ExecPlugin:
    entry = user["exec"]
    command = entry.get("command") or ""
    info = {key: value for key, value in cluster.items() if key not in ("folder", "certificate-authority")}
    if authority := _bytes(cluster, "certificate-authority"):
        info["certificate-authority-data"] = base64.b64encode(authority).decode()
    return ExecPlugin(
        # a path, unlike a bare name, begins at the kubeconfig
        command=str(_path(user, command)) if "/" in command else command,
        arguments=tuple(entry.get("args") or ()),
        environment={each["name"]: each["value"] for each in entry.get("env") or ()},
        api_version=entry.get("apiVersion") or "",
        interactive=entry.get("interactiveMode") or "IfAvailable",
        install_hint=(entry.get("installHint") or "").strip(),
        cluster_info=info if entry.get("provideClusterInfo") else None,
    )


def _bytes(entry: Json, name: str) -> bytes:
    """A certificate or key, from the entry itself or from the file that it names; empty when there is none."""
    try:
        if data := entry.get(f"{name}-data"):
            return base64.b64decode(data)
        return _path(entry, entry[name]).read_bytes() if entry.get(name) else b""
    except (OSError, binascii.Error) as error:
        raise _no_access(f"{name} of the kubeconfig cannot be read: {error}", _ADVICE) from None


def _path(entry: Json, name: str) -> Path:
    folder: Path = entry["folder"]
    return folder / name


def _in_cluster(host: str, port: str, folder: Path) -> Access:
    address = f"[{host}]" if ":" in host else host
    namespace = folder / "namespace"
    return Access(
        server=f"https://{address}:{port}",
        user=User(token_file=folder / "token"),
        namespace=namespace.read_text(encoding="utf-8").strip() if namespace.is_file() else "default",
        authority=(folder / "ca.crt").read_text(encoding="utf-8"),
    )


def _no_access(message: str, advice: str) -> CliError:
    return CliError(message, advice, ExitCode.NO_ACCESS)
