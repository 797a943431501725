"""Objects of a bucket, read as the source's Secret says, or as the pod's own identity, or as nobody."""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from vernacular_trainer.contract import HttpsConfig, StageFailure
from vernacular_trainer.data.remote.addresses import may_hold_objects
from vernacular_trainer.data.remote.download import download
from vernacular_trainer.data.remote.files import MOST_FILES, Access, Listing, RemoteFile
from vernacular_trainer.data.remote.guard import Guard, NotAllowedError, looked_at
from vernacular_trainer.errors import StageError, refused

if TYPE_CHECKING:
    from obstore.store import S3Store

SCHEME = "s3://"
_CODE = re.compile(r"<Code>(\w+)</Code>")
_NO_PATH = re.compile(r'(?:parse|invalid) path: .*?Path "(.*?)"', re.DOTALL)
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_OTHER_REGION = frozenset({"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed"})
# of keys and tokens that are no good AWS also tells with HTTP 400
_WRONG_KEYS = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken"),
        *("ExpiredTokenException", "InvalidIdentityToken"),
    }
)
# of each the library needs both, and would else ask the node who it is
_OF_THE_POD = (
    ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    ("AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN"),
    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"),
)
_WHO_TELLS_KEYS = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
# data files have keys of any length, and each a folder of its own
_FILE = "content"


def list_source(access: Access, wanted: Callable[[str], bool], allowed: HttpsConfig) -> Listing:
    """The object of the uri, or, when that ends with "/", the `wanted` ones below it in the order of their names.
    `allowed`: the servers on this machine or its link that may be asked.

    Raises StageError: `access.missing`, `access.denied`, SecretMissing, ArgumentRefused, SourceNotAllowed,
    SourceUnavailable.
    """
    if access.uri.endswith("/"):
        return list_folder(access, wanted, allowed)
    return Listing((Bucket.of(access, allowed).find(),))


def list_folder(access: Access, wanted: Callable[[str], bool], allowed: HttpsConfig, *, named: bool = False) -> Listing:
    """The `wanted` objects below the uri. `named`: fetched into one folder, they have their names there.

    Raises StageError as list_source does.
    """
    found = Bucket.of(access, allowed).below(named=named)
    files = tuple(file for key, file in found if wanted(key))
    ignored = tuple(file.name for key, file in found if not wanted(key))
    if not files:
        advice = "write the folder that holds the files: s3://BUCKET/FOLDER/"
        raise StageError(access.missing, f"{access.uri} holds no file that is read", advice, ", ".join(ignored[:5]))
    return Listing(files, ignored)


@dataclass(frozen=True)
class Bucket:
    """A bucket and what of it is asked for: a key, or a prefix that ends with "/" or is empty."""

    access: Access
    name: str
    prefix: str
    allowed: HttpsConfig

    @classmethod
    def of(cls, access: Access, allowed: HttpsConfig) -> Bucket:
        name, _, prefix = access.uri.removeprefix(SCHEME).partition("/")
        return cls(access, name, prefix, allowed)

    def find(self) -> RemoteFile:
        """The one object."""
        return self._file(self._head(self.prefix), self.access.uri, _FILE)

    def below(self, *, named: bool) -> list[tuple[str, RemoteFile]]:
        """All objects below the prefix by their names from there on."""
        found: dict[str, Any] = {}
        prefix = self.prefix.rstrip("/")
        with self._explained():
            for batch in self._store.list(prefix or None):
                found |= {meta["path"].removeprefix(prefix).lstrip("/"): meta for meta in batch}
                if len(found) > MOST_FILES:
                    message = f"{self.access.uri} has more than {MOST_FILES:,} objects"
                    raise refused(message, "name a folder with fewer, or put the rows into fewer files")
        names = {key: f"{SCHEME}{self.name}/{meta['path']}" for key, meta in found.items()}
        return [(key, self._file(found[key], names[key], key if named else _FILE)) for key in sorted(found)]

    def _head(self, key: str) -> Any:
        """What there is to know of an object, to those who may read it."""
        from obstore.exceptions import BaseError

        with self._explained():
            try:
                return self._store.head(key)
            except (BaseError, FileNotFoundError):
                # a refused HEAD does not say why
                return self._store.get(key).meta

    @cached_property
    def _store(self) -> S3Store:
        from obstore.exceptions import BaseError
        from obstore.store import S3Store

        if self._endpoint and not _is_address(self._endpoint):
            raise self._no_address()
        self._look_at_endpoint()
        options: dict[str, Any] = {
            "aws_endpoint_url_s3": self.access.endpoint,
            "region": self.access.secret("AWS_REGION"),
            "client_options": self._client_options(),
            "retry_config": {"max_retries": 5, "retry_timeout": timedelta(minutes=2)},
            **self._identity(),
        }
        try:
            return S3Store(self.name, **{name: value for name, value in options.items() if value})
        except (ValueError, BaseError) as error:
            if "ertificate" not in str(error):
                raise
            message = (
                f"the key ca.crt of the Secret {self.access.credentials_name} of {self.access.uri} is no certificate"
            )
            raise refused(message, "write the certificate of the authority into it as PEM") from None

    def _client_options(self) -> dict[str, Any]:
        options: dict[str, Any] = {"connect_timeout": "5s", "timeout": "5m", "read_timeout": "60s"}
        options["allow_http"] = self._endpoint.startswith("http://")
        if certificate := self.access.secret("ca.crt"):
            options["root_certificate"] = certificate
        if not self._proxied:
            options["proxy_url"] = self._guard.url
        return options

    @cached_property
    def _guard(self) -> Guard:
        return Guard(self._may_reach)

    @cached_property
    def _proxied(self) -> bool:
        """Whether a proxy of the pod's environment asks the server: it looks names up, and decides what it reaches."""
        url = urlsplit(self._endpoint or "https://s3.amazonaws.com")
        return bool(not proxy_bypass(url.hostname or "") and getproxies().get(url.scheme))

    def _may_reach(self, host: str, port: int, address: str) -> bool:
        return (host, port) in self._of_platform or may_hold_objects(self.allowed, host, port, address)

    @cached_property
    def _of_platform(self) -> frozenset[tuple[str, int]]:
        """Servers that the pod's environment names: the platform's own endpoint, and who tells the pod its keys."""
        names = {name for name in os.environ if name.startswith("AWS_ENDPOINT_URL")}
        names |= set() if self.access.credentials_name else {_WHO_TELLS_KEYS}
        return frozenset(_server(url) for name in names if _is_address(url := os.environ.get(name, "")))

    def _look_at_endpoint(self) -> None:
        """Raises StageError (SourceNotAllowed) before the server is asked, which the library tries again and again."""
        if not self._endpoint or self._proxied:
            return
        try:
            # an endpoint without an address is told as one that does not answer
            with contextlib.suppress(OSError):
                looked_at(*_server(self._endpoint), self._may_reach)
        except NotAllowedError as error:
            raise self._not_allowed(str(error)) from None

    def _not_allowed(self, server: str) -> StageError:
        message = f"{self.access.uri} leads to {server}, an address of the machine itself, its link, or the cloud's own"
        advice = (
            "name another endpoint; for a server that is meant to be there ask the platform team to set it as the"
            f" chart's value config.s3.endpoint, or to list its address, {server}, in config.https.hosts"
        )
        return StageError(StageFailure.SOURCE_NOT_ALLOWED, message, advice)

    def _identity(self) -> dict[str, Any]:
        if self.access.credentials_name:
            credential = {
                "access_key_id": self.access.required_secret("AWS_ACCESS_KEY_ID"),
                "secret_access_key": self.access.required_secret("AWS_SECRET_ACCESS_KEY"),
                "token": self.access.secret("AWS_SESSION_TOKEN") or None,
                "expires_at": None,
            }
            # as a provider, so that nothing of the pod's own identity is mixed in
            return {"credential_provider": lambda: credential}
        return {} if self._has_identity else {"skip_signature": True}

    @cached_property
    def _has_identity(self) -> bool:
        """Whether the pod is somebody, by its ServiceAccount or its environment. Its node's rights are not a job's."""
        return any(all(os.environ.get(name) for name in names) for names in _OF_THE_POD)

    @property
    def _endpoint(self) -> str:
        return self.access.endpoint or os.environ.get("AWS_ENDPOINT_URL_S3", "")

    def _file(self, meta: Any, name: str, path: str) -> RemoteFile:
        state = meta["e_tag"] or meta["last_modified"]
        version = hashlib.sha256(f"{self._endpoint} {name} {state} {meta['size']}".encode()).hexdigest()
        authorise, fetch = partial(self._head, meta["path"]), partial(self._fetch, meta, path, version)
        return RemoteFile(name, path, version, self._where, authorise, fetch)

    def _fetch(self, meta: Any, path: str, version: str, folder: Path) -> None:
        def read(start: int, end: int) -> bytes:
            result = self._store.get(meta["path"], options={"range": (start, end), "if_match": meta["e_tag"]})
            data = bytes(result.bytes())
            if len(data) != end - start:
                raise self._unavailable(f"{len(data)} of {end - start} bytes")
            return data

        with self._explained():
            download(folder, path, version, meta["size"], read)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        from obstore.exceptions import BaseError

        try:
            yield
        except FileNotFoundError as error:
            if error.filename:
                raise
            raise self._explain(str(error)) from None
        except BaseError as error:
            raise self._explain(str(error)) from None
        except ValueError as error:
            if not _NO_PATH.search(str(error)):
                raise
            raise self._explain(str(error)) from None
        except BaseException as error:
            # of addresses that it cannot read the library panics
            if type(error).__name__ != "PanicException" or not self._endpoint:
                raise
            raise self._no_address() from None

    def _explain(self, text: str) -> StageError:
        """What a refusal means. Its text is not passed on: what a server writes is not known to be harmless."""
        if not self._proxied and self._guard.refused:
            return self._not_allowed(self._guard.refused[0])
        code = found.group(1) if (found := _CODE.search(text)) else ""
        status = int(found.group(1)) if (found := _STATUS.search(text)) else 0
        evidence = " ".join(filter(None, (f"HTTP {status}" if status else "", code)))
        if found := _NO_PATH.search(text):
            message = (
                f"{self.access.uri}: keys with '//', '.' or '..' between slashes, or control characters, cannot be read"
            )
            advice = "copy the object to another key, or name a folder without it"
            return StageError(StageFailure.ARGUMENT_REFUSED, message, advice, ascii(found.group(1)))
        if code == "NoSuchBucket":
            message = f"{self.access.uri}: there is no bucket {self.name} at {self._where}"
            return StageError(self.access.missing, message, "check the bucket's name, endpoint and region", evidence)
        if code == "NoSuchKey":
            advice = "check the key; a folder, all files of which are read, ends with '/'"
            return StageError(self.access.missing, f"{self.access.uri} does not exist", advice, evidence)
        if code == "PreconditionFailed":
            return self._unavailable("it was replaced while it was read")
        if code in _OTHER_REGION or "configured region" in text:
            message = f"the bucket {self.name} is in another region than was asked"
            advice = "write its region as AWS_REGION into the Secret of the source, or as config.s3.region of the chart"
            return StageError(StageFailure.ARGUMENT_REFUSED, message, advice, evidence)
        if status in (401, 403) or code in _WRONG_KEYS:
            return self._denied(code, evidence)
        if "InvalidCertificate" in text:
            message = f"the certificate of {self._where} is not trusted"
            advice = "put the certificate of its authority as ca.crt into the Secret of the source"
            return StageError(StageFailure.ARGUMENT_REFUSED, message, advice)
        if (400 <= status < 500 and status != 429) or "InvalidMessage" in text:
            message = f"{self._where} does not answer like a server of the S3 API to {self.access.uri}"
            return StageError(
                StageFailure.ARGUMENT_REFUSED, message, "check endpoint, its port and http or https", evidence
            )
        return self._unavailable(evidence)

    def _denied(self, code: str, evidence: str) -> StageError:
        if self.access.credentials_name:
            who = f"with the keys of the Secret {self.access.credentials_name}"
        else:
            who = "as the pod's own identity" if self._has_identity else "without credentials"
        advice = "allow s3:GetObject on it, and s3:ListBucket for a folder, or name a Secret that may in credentials"
        if code in _WRONG_KEYS and self.access.credentials_name:
            advice = "write keys that are valid into the Secret: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"
        return StageError(self.access.denied, f"{self.access.uri} may not be read {who}", advice, evidence)

    def _no_address(self) -> StageError:
        message = f"the endpoint {self._endpoint} of {self.access.uri} is no address of a server"
        return refused(message, "write it like https://minio.example.com:9000")

    def _unavailable(self, evidence: str) -> StageError:
        message = f"{self.access.uri} cannot be read from {self._where} now"
        advice = "it is tried again; if it stays, check the endpoint and that prepare pods may reach it"
        return StageError(StageFailure.SOURCE_UNAVAILABLE, message, advice, evidence)

    @property
    def _where(self) -> str:
        return self._endpoint or "AWS"


def _server(url: str) -> tuple[str, int]:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or (80 if parts.scheme == "http" else 443)


def _is_address(url: str) -> bool:
    """Whether the library can ask there: it does not raise for what is no address, it panics."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if re.search(r"(^|\.)([0-9]+|0x[0-9a-f]*)\.?$", host):
            ipaddress.IPv4Address(host)
        return parts.scheme in ("http", "https") and bool(host) and parts.port != 0
    except ValueError:
        return False
