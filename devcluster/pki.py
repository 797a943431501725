"""Certificates of one cluster, made with openssl: three authorities, one certificate per component."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from devcluster.shell import run

DAYS = "3650"


@dataclass(frozen=True)
class Certificate:
    """`user` and `group` are the Kubernetes identity; `names` are DNS:... and IP:... entries of a server."""

    name: str
    user: str
    group: str
    usage: str
    names: tuple[str, ...] = ()
    authority: str = "ca"


def control_plane_certificates(api_address: str) -> list[Certificate]:
    service = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    addresses = dict.fromkeys((api_address, "10.96.0.1", "127.0.0.1"))
    return [
        Certificate(
            "apiserver", "kube-apiserver", "kubernetes", "serverAuth",
            (*(f"DNS:{name}" for name in service), "DNS:localhost", *(f"IP:{address}" for address in addresses)),
        ),
        Certificate("kubelet-client", "kube-apiserver-kubelet-client", "devcluster:kubelet-clients", "clientAuth"),
        Certificate("front-proxy-client", "front-proxy-client", "kubernetes", "clientAuth", authority="front-proxy-ca"),
        Certificate("etcd", "etcd", "kubernetes", "serverAuth,clientAuth", ("IP:127.0.0.1",), authority="etcd-ca"),
        Certificate("etcd-client", "kube-apiserver", "kubernetes", "clientAuth", authority="etcd-ca"),
        Certificate("admin", "admin", "system:masters", "clientAuth"),
        Certificate("controller-manager", "system:kube-controller-manager", "kubernetes", "clientAuth"),
        Certificate("scheduler", "system:kube-scheduler", "kubernetes", "clientAuth"),
        Certificate("proxy", "system:kube-proxy", "kubernetes", "clientAuth"),
        Certificate("provisioner", "devcluster:provisioner", "kubernetes", "clientAuth"),
    ]  # fmt: skip


def node_certificates(node: str, address: str) -> list[Certificate]:
    user = f"system:node:{node}"
    return [
        Certificate(node, user, "system:nodes", "clientAuth"),
        Certificate(f"{node}-serving", user, "system:nodes", "serverAuth", (f"IP:{address}", f"DNS:{node}")),
    ]


def extensions(certificate: Certificate) -> str:
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", f"extendedKeyUsage={certificate.usage}"]
    if certificate.names:
        lines.append(f"subjectAltName={','.join(certificate.names)}")
    return "\n".join(lines) + "\n"


class Pki:
    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def certificate(self, name: str) -> Path:
        return self._folder / f"{name}.crt"

    def key(self, name: str) -> Path:
        return self._folder / f"{name}.key"

    def make_authorities(self) -> None:
        for name in ("ca", "front-proxy-ca", "etcd-ca"):
            self._new_key(name)
            subject = ["-subj", f"/CN=devcluster-{name}", "-addext", "keyUsage=critical,keyCertSign,digitalSignature"]
            files = ["-key", str(self.key(name)), "-out", str(self.certificate(name))]
            run(["openssl", "req", "-x509", "-new", *files, "-days", DAYS, *subject])
        self._new_key("service-accounts")
        private, public = self.key("service-accounts"), self.service_account_public_key
        run(["openssl", "pkey", "-in", private, "-pubout", "-out", public])

    @property
    def service_account_public_key(self) -> Path:
        return self._folder / "service-accounts.pub"

    def issue(self, certificate: Certificate) -> None:
        self._new_key(certificate.name)
        request, extension_file = (self._folder / f"{certificate.name}{suffix}" for suffix in (".csr", ".ext"))
        extension_file.write_text(extensions(certificate))
        subject = f"/O={certificate.group}/CN={certificate.user}"
        run(["openssl", "req", "-new", "-key", self.key(certificate.name), "-out", request, "-subj", subject])
        run([
            "openssl", "x509", "-req", "-in", request, "-out", self.certificate(certificate.name), "-days", DAYS,
            "-CA", self.certificate(certificate.authority), "-CAkey", self.key(certificate.authority),
            "-CAcreateserial", "-extfile", extension_file,
        ])  # fmt: skip
        request.unlink()
        extension_file.unlink()

    def _new_key(self, name: str) -> None:
        key = self.key(name)
        run(["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key])
        key.chmod(0o600)
