"""Credentials for a request: those of the kubeconfig, or those that a credential plugin prints, asked for once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from vernacular.cli.cluster.kubeconfig import ExecPlugin, User
from vernacular.cli.errors import CliError, ExitCode

_GROUP = "client.authentication.k8s.io/"
_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True)
class Credentials:
    """What goes with a request: a bearer token, a client certificate with its key (PEM), or both."""

    token: str = field(default="", repr=False)
    certificate: bytes = b""
    key: bytes = field(default=b"", repr=False)


def credentials_of(user: User) -> Credentials:
    """The user's credentials now: files are read, plugins run. Raises CliError (NO_ACCESS)."""
    if user.plugin and not (user.token or user.certificate):
        return _ask(user.plugin)
    token = user.token
    if user.token_file:
        try:
            token = user.token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise CliError(
                f"the token cannot be read: {error}", "log in to the cluster again", ExitCode.NO_ACCESS
            ) from None
    return Credentials(token, user.certificate, user.key)


def _ask(plugin: ExecPlugin) -> Credentials:
    version = plugin.api_version.removeprefix(_GROUP)
    if version not in _VERSIONS:
        raise _failed(plugin, f"speaks {plugin.api_version or 'no version'}, which is none of {', '.join(_VERSIONS)}")
    interactive = plugin.interactive != "Never" and sys.stdin.isatty()
    if plugin.interactive == "Always" and not interactive:
        raise _failed(plugin, "needs a terminal, and there is none")
    spec: dict[str, Any] = {"interactive": interactive}
    if plugin.cluster_info is not None:
        spec["cluster"] = plugin.cluster_info
    request = {"apiVersion": plugin.api_version, "kind": "ExecCredential", "spec": spec}
    environment = {**os.environ, **plugin.environment, "KUBERNETES_EXEC_INFO": json.dumps(request)}
    try:
        # what the plugin says on its error output is for the person: how to log in, for example
        done = subprocess.run(
            [plugin.command, *plugin.arguments],
            env=environment, stdin=None if interactive else subprocess.DEVNULL, stdout=subprocess.PIPE, check=False,
        )  # fmt: skip
    except FileNotFoundError:
        raise _failed(plugin, "is not installed") from None
    except OSError as error:
        raise _failed(plugin, f"cannot be started: {error.strerror}") from None
    if done.returncode:
        raise _failed(plugin, f"ended with {done.returncode}")
    try:
        status = json.loads(done.stdout)["status"]
        certificate, key = status.get("clientCertificateData") or "", status.get("clientKeyData") or ""
        found = Credentials(status.get("token") or "", certificate.encode(), key.encode())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise _failed(plugin, "printed no ExecCredential") from None
    if not (found.token or (found.certificate and found.key)):
        raise _failed(plugin, "printed no credentials")
    return found


def _failed(plugin: ExecPlugin, what: str) -> CliError:
    advice = plugin.install_hint or f"see what it says when kubectl uses it, or run {plugin.command} yourself"
    return CliError(f"the kubeconfig's credential plugin {plugin.command} {what}", advice, ExitCode.NO_ACCESS)
