"""Files of web servers: resumed, refused, and never read from where a job may not read."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

from support.file_server import FileServer
from support.stage_jobs import handbook_rows
from vernacular_trainer.contract import FileSource, HttpsConfig, Outcome, StageFailure
from vernacular_trainer.data.remote import download, https
from vernacular_trainer.data.remote.addresses import may_reach
from vernacular_trainer.data.remote.fetch import Servers, copy_one
from vernacular_trainer.data.sources import Copied, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

SECRET = "files-reader"
PATH = "/hr/train.jsonl"


def lines(count: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in handbook_rows(count)).encode()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server(authority: trustme.CA, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setattr(https, "PAUSES", ())
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    with FileServer(authority, {PATH: lines(40)}) as running:
        yield running


@pytest.fixture
def copied(server: FileServer, tmp_path: Path) -> Callable[..., Copied]:
    """copied(path, **): the file of the server in the workspace `job`, read with a Secret of these keys."""

    def copy(
        path: str = PATH, *, uri: str = "", hosts: tuple[str, ...] = (), cache: str = "", job: str = "job", **keys: str
    ) -> Copied:
        uri = uri or f"https://{server.host}{path}"
        folder = server.secret(tmp_path / f"secret-{job}", **keys)
        source = FileSource(uri, uri=uri, credentials_name=SECRET, credentials_path=folder)
        servers = Servers(HttpsConfig((server.host, *hosts), 1), cache=cache)
        return copy_sources((source,), Workspace(tmp_path / job), servers)

    return copy


def refusal(copy: Callable[..., Copied], *arguments: Any, **options: Any) -> StageError:
    with pytest.raises(StageError) as caught:
        copy(*arguments, **options)
    assert caught.value.advice
    return caught.value


def test_a_file_is_copied_with_its_digest(copied: Callable[..., Copied], server: FileServer) -> None:
    (copy,) = copied().copies

    assert copy.name == f"https://{server.host}{PATH}"
    assert copy.path.read_bytes() == lines(40)
    assert copy.digest == f"sha256:{hashlib.sha256(lines(40)).hexdigest()}"


@pytest.mark.parametrize("changes", [{}, {"etag": ""}, {"etag": 'W/"v1"'}, {"ranges": False}, {"length": False}])
@pytest.mark.parametrize("content", [lines(40), b"", b"x"])
def test_servers_of_all_habits_give_the_same_file(
    copied: Callable[..., Copied], server: FileServer, changes: dict[str, Any], content: bytes
) -> None:
    for name, value in changes.items():
        setattr(server, name, value)
    server.files[PATH] = content

    assert copied().copies[0].path.read_bytes() == content


def test_the_next_attempt_goes_on_where_this_one_broke_off(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RANGE_BYTES", 1000)
    server.statuses = {}
    fetched = https._span
    spans: list[tuple[int, int]] = []

    def two_then_none(web: Any, found: Any, start: int, end: int) -> bytes:
        spans.append((start, end))
        if len(spans) == 3:
            server.broken = 1
        return fetched(web, found, start, end)

    monkeypatch.setattr(https, "_span", two_then_none)
    error = refusal(copied)
    server.requests.clear()
    content = copied().copies[0].path.read_bytes()

    assert (error.code, error.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)
    assert content == lines(40)
    assert [wanted for _, wanted, _ in server.requests][:2] == ["bytes=0-0", "bytes=2000-2999"]


def test_a_short_break_is_waited_out(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "PAUSES", (0.01, 0.01))
    server.broken = 2

    assert copied().copies[0].path.read_bytes() == lines(40)
    assert server.broken == 0


@pytest.mark.parametrize("changes", [{"ranges": False}, {"ranges": False, "length": False}])
def test_half_a_file_is_never_taken_for_the_whole(
    copied: Callable[..., Copied], server: FileServer, changes: dict[str, Any]
) -> None:
    for name, value in changes.items():
        setattr(server, name, value)
    server.broken = 2

    assert refusal(copied).code is StageFailure.SOURCE_UNAVAILABLE


def test_a_file_that_is_replaced_meanwhile_is_never_read_half_old_and_half_new(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RANGE_BYTES", 1000)
    fetched = https._span

    def replace(web: Any, found: Any, start: int, end: int) -> bytes:
        if start:
            server.etag = '"v2"'
        return fetched(web, found, start, end)

    monkeypatch.setattr(https, "_span", replace)
    error = refusal(copied)
    monkeypatch.setattr(https, "_span", fetched)
    server.files[PATH] = lines(41)

    assert error.evidence == "it was replaced while it was read"
    assert copied().copies[0].path.read_bytes() == lines(41)


def test_jobs_with_a_cache_fetch_a_version_once_and_only_with_a_login(
    copied: Callable[..., Copied], server: FileServer, tmp_path: Path
) -> None:
    server.login = "Bearer right"
    cache = str(tmp_path / "cache")
    copied(cache=cache, job="one", HTTPS_TOKEN="right")
    server.requests.clear()
    found = copied(cache=cache, job="two", HTTPS_TOKEN="right")

    assert found.copies[0].path.read_bytes() == lines(40)
    assert [wanted for _, wanted, _ in server.requests] == ["bytes=0-0"]
    assert refusal(copied, cache=cache, job="three", HTTPS_TOKEN="other").code is StageFailure.DATASET_ACCESS_DENIED


def test_what_has_no_version_is_not_shared(copied: Callable[..., Copied], server: FileServer, tmp_path: Path) -> None:
    server.etag = ""
    copied(cache=str(tmp_path / "cache"), job="one")
    server.files[PATH] = lines(41)

    assert copied(cache=str(tmp_path / "cache"), job="two").copies[0].path.read_bytes() == lines(41)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    ("keys", "login"),
    [
        ({"HTTPS_TOKEN": "abc"}, "Bearer abc"),
        (
            {"HTTPS_USERNAME": "hr", "HTTPS_PASSWORD": "pässword"},
            f"Basic {base64.b64encode('hr:pässword'.encode()).decode()}",
        ),
    ],
)
def test_a_login_is_for_its_own_server_alone(
    authority: trustme.CA, copied: Callable[..., Copied], server: FileServer, keys: dict[str, str], login: str
) -> None:
    server.login = login
    with FileServer(authority, {"/elsewhere": lines(3)}) as other:
        server.redirects = {"/moved": PATH, "/away": f"https://{other.host}/elsewhere?signature=secret"}
        other.files["/elsewhere?signature=secret"] = lines(3)

        assert copied("/moved", **keys).copies[0].path.read_bytes() == lines(40)
        assert copied("/away", hosts=(other.host,), job="away", **keys).copies[0].path.read_bytes() == lines(3)
    assert {authorization for *_, authorization in other.requests} == {""}
    assert {authorization for *_, authorization in server.requests} == {login}


@pytest.mark.parametrize(
    ("location", "message"),
    [
        ("https://internal.example.com/x?token=secret", "is redirected to internal.example.com, where jobs may not"),
        ("https://127.0.0.1:9/x", "is redirected to 127.0.0.1:9, where jobs may not read"),
        ("https://127.0.0.1/x", "is redirected to 127.0.0.1, where jobs may not read"),
        ("https://[::1]/x", "is redirected to ::1, where jobs may not read"),
        ("https://169.254.169.254/latest/meta-data/", "is redirected to 169.254.169.254, where jobs may not read"),
        ("http://{host}/hr/train.jsonl", "to an address that is not https://"),
        ("file:///etc/passwd", "to an address that is not https://"),
        ("https://user:secret@{host}/hr/train.jsonl", "to an address that is not https://, or has a user in it"),
        ("https://localhost:{port}/x", "leads to localhost:{port}, which is no public address"),
    ],
)
def test_a_redirect_leads_only_where_jobs_may_read(
    copied: Callable[..., Copied], server: FileServer, location: str, message: str
) -> None:
    places = {"host": server.host, "port": str(server.port)}
    server.redirects = {PATH: location.format_map(places)}

    error = refusal(copied, hosts=(f"localhost:{server.port}",))

    assert (error.code, error.outcome) == (StageFailure.SOURCE_NOT_ALLOWED, Outcome.USER_ERROR)
    assert message.format_map(places) in error.message
    assert "secret" not in f"{error.message} {error.advice} {error.evidence}"
    assert [path for path, *_ in server.requests] == [PATH]


def test_redirects_come_to_an_end(copied: Callable[..., Copied], server: FileServer) -> None:
    server.redirects = {PATH: PATH}

    error = refusal(copied)

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert error.message.endswith("is redirected more than 5 times")
    assert len(server.requests) == 6


@pytest.mark.parametrize(
    ("status", "code", "message"),
    [
        (401, StageFailure.DATASET_ACCESS_DENIED, "may not be read with the login of the Secret files-reader"),
        (403, StageFailure.DATASET_ACCESS_DENIED, "may not be read with the login of the Secret files-reader"),
        (404, StageFailure.DATASET_NOT_FOUND, "does not exist"),
        (410, StageFailure.DATASET_NOT_FOUND, "does not exist"),
        (429, StageFailure.SOURCE_UNAVAILABLE, "cannot be read now"),
        (503, StageFailure.SOURCE_UNAVAILABLE, "cannot be read now"),
        (400, StageFailure.ARGUMENT_REFUSED, "is answered with HTTP 400"),
        (204, StageFailure.ARGUMENT_REFUSED, "is answered with HTTP 204"),
    ],
)
def test_what_a_server_refuses_is_explained(
    copied: Callable[..., Copied], server: FileServer, status: int, code: StageFailure, message: str
) -> None:
    server.statuses = {PATH: status}

    error = refusal(copied)

    assert error.code is code
    assert message in error.message


def test_a_page_to_log_in_is_no_file(copied: Callable[..., Copied], server: FileServer) -> None:
    server.page = True

    assert refusal(copied).message.endswith("is answered with a page, not with a file")


def test_a_file_beyond_the_size_is_refused_before_it_is_fetched(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(https, "_GIB", 1000)
    for changes in ({}, {"ranges": False}, {"ranges": False, "length": False}):
        for name, value in changes.items():
            setattr(server, name, value)
        error = refusal(copied)
        assert error.code is StageFailure.ARGUMENT_REFUSED
        assert error.message.endswith("is larger than 1 GiB")
        assert "config.https.maxFileGiB" in error.advice


@pytest.mark.parametrize(
    ("keys", "code", "message"),
    [
        ({"HTTPS_USERNAME": "hr"}, StageFailure.SECRET_MISSING, "has no key HTTPS_PASSWORD"),
        ({"HTTPS_PASSWORD": "x"}, StageFailure.SECRET_MISSING, "has no key HTTPS_USERNAME"),
        ({"ca.crt": ""}, StageFailure.SECRET_MISSING, "has no key HTTPS_TOKEN"),
        ({"HTTPS_TOKEN": "a\nb"}, StageFailure.ARGUMENT_REFUSED, "the key HTTPS_TOKEN of the Secret files-reader"),
        ({"HTTPS_TOKEN": "ä"}, StageFailure.ARGUMENT_REFUSED, "the key HTTPS_TOKEN of the Secret files-reader"),
        ({"ca.crt": "no certificate"}, StageFailure.ARGUMENT_REFUSED, "ca.crt of the Secret files-reader"),
    ],
)
def test_a_secret_with_the_wrong_keys_is_named(
    copied: Callable[..., Copied], keys: dict[str, str], code: StageFailure, message: str
) -> None:
    error = refusal(copied, **keys)

    assert error.code is code
    assert message in error.message


def test_a_certificate_that_nobody_vouches_for_is_refused(copied: Callable[..., Copied], server: FileServer) -> None:
    other = trustme.CA().cert_pem.bytes().decode()

    error = refusal(copied, **{"ca.crt": other})

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert error.message == f"the certificate of {server.host} is not trusted"


def test_the_certificate_of_an_authority_may_have_comments_in_any_language(
    copied: Callable[..., Copied], authority: trustme.CA
) -> None:
    commented = f"# Főtanúsítvány\n{authority.cert_pem.bytes().decode()}\n"

    assert copied(**{"ca.crt": commented}).copies[0].path.read_bytes() == lines(40)


def test_a_server_that_is_away_is_tried_again(copied: Callable[..., Copied]) -> None:
    for host in ("127.0.0.1:9", "nowhere.invalid:9"):
        error = refusal(copied, uri=f"https://{host}/x.jsonl", hosts=(host,))
        assert (error.code, error.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)


def test_a_server_without_tls_is_told(copied: Callable[..., Copied]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as plain:
        host = f"127.0.0.1:{plain.getsockname()[1]}"

        def answer() -> None:
            connection, _ = plain.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                connection.recv(4096)

        thread = threading.Thread(target=answer)
        thread.start()
        error = refusal(copied, uri=f"https://{host}/x.jsonl", hosts=(host,))
        thread.join()

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert error.message == f"{host} does not speak TLS"


def test_without_a_list_nothing_is_asked(server: FileServer, tmp_path: Path) -> None:
    uri = f"https://{server.host}{PATH}"
    with pytest.raises(StageError) as caught:
        copy_one(FileSource(uri, uri=uri), tmp_path / "copy", StageFailure.QUESTIONS_UNREADABLE, Workspace(tmp_path))

    assert caught.value.code is StageFailure.SOURCE_NOT_ALLOWED
    assert caught.value.advice == (
        f"ask the platform team to add {server.host} to the chart's value config.https.hosts"
    )
    assert server.requests == []


def test_the_address_that_was_looked_at_is_the_one_that_is_used(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that leads to a public address when it is looked at and into the cluster a moment later."""
    answers = [("10.1.2.3", server.port), ("127.0.0.1", server.port)]

    def resolve(host: str, port: int, *_: object, **__: object) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", answers.pop(0))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    connected: list[Any] = []

    def connect(address: Any, *_: object, **__: object) -> Any:
        connected.append(address)
        raise ConnectionRefusedError

    monkeypatch.setattr(socket, "create_connection", connect)
    refusal(copied, uri=f"https://files.example.com:{server.port}/x", hosts=(f"files.example.com:{server.port}",))

    assert connected == [("10.1.2.3", server.port)]


@pytest.mark.parametrize(
    ("entry", "address", "reached"),
    [
        ("*.example.com", "93.184.216.34", True),
        ("*.example.com", "2606:2800:220:1::1", True),
        *(
            ("*.example.com", address, False)
            for address in ("10.0.0.1", "192.168.1.1", "172.16.0.1", "100.64.0.1", "fc00::1", "198.18.0.1", "240.0.0.1")
        ),
        *(("files.example.com", address, True) for address in ("10.0.0.1", "192.168.1.1", "fd12::1", "100.64.0.1")),
        *(
            ("files.example.com", address, False)
            for address in (
                *("127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "fe80::1%eth0", "224.0.0.1", "ff02::1"),
                *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::", "100.100.100.200"),
                *("fd00:ec2::254", "168.63.129.16"),
            )
        ),
        ("*.example.com", "64:ff9b::a00:1", False),
    ],
)
def test_which_addresses_a_listed_server_may_have(entry: str, address: str, reached: bool) -> None:
    assert may_reach(HttpsConfig((entry,)), "files.example.com", 443, address) is reached


@pytest.mark.parametrize(
    ("entry", "host", "port", "allowed"),
    [
        ("files.example.com", "files.example.com", 443, True),
        ("files.example.com", "files.example.com", 8443, False),
        ("files.example.com:8443", "files.example.com", 8443, True),
        ("files.example.com:8443", "files.example.com", 443, False),
        ("files.example.com", "a.files.example.com", 443, False),
        ("files.example.com", "xfiles.example.com", 443, False),
        ("*.example.com", "files.example.com", 443, True),
        ("*.example.com", "a.b.example.com", 443, True),
        ("*.example.com", "example.com", 443, False),
        ("*.example.com", "evilexample.com", 443, False),
        ("*.example.com", "files.example.com", 8443, False),
        ("*.example.com:8443", "files.example.com", 8443, True),
    ],
)
def test_which_servers_an_entry_stands_for(entry: str, host: str, port: int, allowed: bool) -> None:
    assert HttpsConfig((entry,)).allows(host, port) is allowed


def test_a_proxy_is_asked_where_the_environment_names_one(
    copied: Callable[..., Copied], server: FileServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name that only the proxy knows; the login for the proxy goes to it alone."""
    seen: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=_relay_two, args=(listening, server.port, seen), daemon=True)
        thread.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://hr:s%20t@127.0.0.1:{listening.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        found = copied(uri=f"https://files.example.com{PATH}", hosts=("files.example.com",))
        thread.join()

    assert found.copies[0].path.read_bytes() == lines(40)
    assert seen[0].startswith(b"CONNECT files.example.com:443 ")
    assert base64.b64encode(b"hr:s t") in seen[0]


def _relay_two(listening: socket.socket, port: int, seen: list[bytes]) -> None:
    """A proxy for two connections, which leads every name to one port of this machine."""

    def pump(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)

    for _ in range(2):
        client, _ = listening.accept()
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += client.recv(4096)
        seen.append(request)
        client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        upstream = socket.create_connection(("127.0.0.1", port))
        threads = [threading.Thread(target=pump, args=pair) for pair in ((client, upstream), (upstream, client))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()
        upstream.close()
