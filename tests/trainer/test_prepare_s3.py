"""Rows, questions and models in buckets, against a real server of the S3 API: found, resumed, refused, and as whom."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import ssl
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import trustme

from support.s3_server import PRIVATE, ROWS, S3Server, relayed
from support.stage_jobs import handbook_rows, make_job
from vernacular_trainer.contract import (
    DatasetConfig,
    EvaluationConfig,
    FileSource,
    HttpsConfig,
    ModelConfig,
    Outcome,
    StageFailure,
)
from vernacular_trainer.data.base_model import downloaded, provide
from vernacular_trainer.data.problems import ProblemLog
from vernacular_trainer.data.remote import download
from vernacular_trainer.data.remote.fetch import Servers
from vernacular_trainer.data.sources import Copied, check_sources, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.stages import prepare
from vernacular_trainer.workspace import Workspace

SECRET = "bucket-reader"
# servers of tests are on addresses that no job may name, but for those that the platform team lists
ON_THIS_MACHINE = HttpsConfig(tuple(f"127.0.0.1:{port}" for port in range(1, 1 << 16)))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, authority: trustme.CA) -> Iterator[S3Server]:
    folder = tmp_path_factory.mktemp("s3")
    certificate = authority.issue_cert("127.0.0.1")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    with S3Server(folder / "data", (folder / "cert.pem", folder / "key.pem")) as running:
        running.put("hr/train.jsonl", lines(40))
        running.put("private.jsonl", lines(40), PRIVATE)
        yield running


@pytest.fixture
def source(server: S3Server, tmp_path: Path) -> Callable[..., FileSource]:
    """source(key, bucket, **changes): an object as the reader sees it."""

    def make(key: str, bucket: str = ROWS, **changes: str) -> FileSource:
        uri = f"s3://{bucket}/{key}"
        found = FileSource(uri, uri=uri, endpoint=server.endpoint, credentials_name=SECRET)
        return dataclasses.replace(found, **{"credentials_path": server.secret(tmp_path / "secret"), **changes})

    return make


def lines(count: int) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in handbook_rows(count)).encode()


def copied(tmp_path: Path, *wanted: FileSource) -> Copied:
    return copy_sources(wanted, Workspace(tmp_path / "workspace"), Servers(ON_THIS_MACHINE))


def refusal(tmp_path: Path, wanted: FileSource) -> StageError:
    with pytest.raises(StageError) as caught:
        copied(tmp_path, wanted)
    assert caught.value.advice
    return caught.value


def test_an_object_is_copied_with_its_digest(tmp_path: Path, source: Callable[..., FileSource]) -> None:
    (copy,) = copied(tmp_path, source("hr/train.jsonl")).copies

    assert copy.name == "s3://rows/hr/train.jsonl"
    assert copy.path.read_bytes() == lines(40)
    assert copy.digest == f"sha256:{hashlib.sha256(lines(40)).hexdigest()}"


def test_a_folder_is_all_its_data_files_in_the_order_of_their_names(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource]
) -> None:
    for name in ("b/2 ü.jsonl", "a.csv", "b/1.jsonl.gz", "README.md", "_SUCCESS", "b/.draft.jsonl"):
        server.put(f"many/{name}", name.encode())
    server.put("many-others/x.jsonl", b"not below it")

    found = copied(tmp_path, source("many/"))

    below = "s3://rows/many/"
    assert [copy.name for copy in found.copies] == [
        f"{below}{name}" for name in ("a.csv", "b/1.jsonl.gz", "b/2 ü.jsonl")
    ]
    assert [copy.path.read_bytes() for copy in found.copies] == [b"a.csv", b"b/1.jsonl.gz", "b/2 ü.jsonl".encode()]
    assert found.ignored == tuple(f"{below}{name}" for name in ("README.md", "_SUCCESS", "b/.draft.jsonl"))


def test_keys_longer_than_names_of_files_can_be_are_fetched(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], tiny_model: Path
) -> None:
    long = "/".join("n" * 250 for _ in range(3))
    server.put(f"long/{long}/a.jsonl", lines(3))
    server.put(f"long/{long[:-10]}.jsonl", lines(2))
    for file in tiny_model.iterdir():
        server.put(f"{long}/{file.name}", file.read_bytes())
    cache = str(tmp_path / "cache")

    found = copy_sources((source("long/"),), Workspace(tmp_path / "workspace"), Servers(ON_THIS_MACHINE, cache=cache))
    model = provide(model_config(server, tmp_path, f"s3://rows/{long}", cache=cache), ON_THIS_MACHINE)

    assert sorted(copy.path.read_bytes() for copy in found.copies) == sorted([lines(3), lines(2)])
    assert model.architecture


def test_an_empty_object_is_an_empty_file(tmp_path: Path, server: S3Server, source: Callable[..., FileSource]) -> None:
    server.put("empty.jsonl", b"")

    assert copied(tmp_path, source("empty.jsonl")).copies[0].path.read_bytes() == b""


def test_a_folder_may_hold_empty_files_but_not_only_those(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource]
) -> None:
    server.put("parts/0.jsonl", b"")
    server.put("parts/1.jsonl", lines(3))
    server.put("nothing/0.jsonl", b"")
    parts, nothing = source("parts/"), source("nothing/")

    checked = check_sources(copied(tmp_path, parts).copies, DatasetConfig((parts,)), ProblemLog())
    with pytest.raises(StageError, match=r"s3://rows/nothing/0.jsonl is empty") as caught:
        check_sources(copied(tmp_path, nothing).copies, DatasetConfig((nothing,)), ProblemLog())

    assert checked.read == (3,)
    assert caught.value.code is StageFailure.DATASET_TOO_SMALL


@pytest.mark.parametrize(
    ("key", "bucket", "user", "code", "message"),
    [
        (
            "hr/nothing.jsonl",
            ROWS,
            "reader",
            StageFailure.DATASET_NOT_FOUND,
            "s3://rows/hr/nothing.jsonl does not exist",
        ),
        ("absent/", ROWS, "reader", StageFailure.DATASET_NOT_FOUND, "s3://rows/absent/ holds no file that is read"),
        ("a.jsonl", "absent", "admin", StageFailure.DATASET_NOT_FOUND, "there is no bucket absent at http://127.0.0.1"),
        ("a/", "absent", "admin", StageFailure.DATASET_NOT_FOUND, "there is no bucket absent at http://127.0.0.1"),
        (
            "private.jsonl",
            PRIVATE,
            "reader",
            StageFailure.DATASET_ACCESS_DENIED,
            "with the keys of the Secret bucket-re",
        ),
        ("", PRIVATE, "reader", StageFailure.DATASET_ACCESS_DENIED, "s3://private/ may not be read with the keys of"),
        (
            "hr/train.jsonl",
            ROWS,
            "",
            StageFailure.DATASET_ACCESS_DENIED,
            "train.jsonl may not be read without credentials",
        ),
    ],
)
def test_what_a_server_refuses_is_explained(
    tmp_path: Path,
    server: S3Server,
    source: Callable[..., FileSource],
    key: str,
    bucket: str,
    user: str,
    code: StageFailure,
    message: str,
) -> None:
    who = {"credentials_path": server.secret(tmp_path / "other", user)} if user else {"credentials_name": ""}

    error = refusal(tmp_path, source(key, bucket, **who))

    assert (error.code, error.outcome) == (code, Outcome.USER_ERROR)
    assert message in error.message


@pytest.mark.parametrize(
    ("changes", "code", "says"),
    [
        ({"AWS_ACCESS_KEY_ID": "nobody"}, StageFailure.DATASET_ACCESS_DENIED, "HTTP 403 InvalidAccessKeyId"),
        ({"AWS_SECRET_ACCESS_KEY": "wrong"}, StageFailure.DATASET_ACCESS_DENIED, "HTTP 403 SignatureDoesNotMatch"),
        ({"AWS_SECRET_ACCESS_KEY": None}, StageFailure.SECRET_MISSING, "has no key AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ACCESS_KEY_ID": ""}, StageFailure.SECRET_MISSING, "has no key AWS_ACCESS_KEY_ID"),
    ],
)
def test_a_secret_with_the_wrong_keys_is_named(
    tmp_path: Path,
    server: S3Server,
    source: Callable[..., FileSource],
    changes: dict[str, str | None],
    code: StageFailure,
    says: str,
) -> None:
    error = refusal(tmp_path, source("hr/train.jsonl", credentials_path=server.secret(tmp_path / "other", **changes)))

    assert error.code is code
    assert SECRET in error.message
    assert says in f"{error.message} {error.evidence}"
    assert "AWS_" in error.advice


def test_a_server_that_is_away_is_tried_again(tmp_path: Path, source: Callable[..., FileSource]) -> None:
    error = refusal(tmp_path, source("hr/train.jsonl", endpoint="http://127.0.0.1:9"))

    assert (error.code, error.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)
    assert "cannot be read from http://127.0.0.1:9 now" in error.message


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, b"404 page not found", "does not answer like a server of the S3 API"),
        (400, b"Client sent an HTTP request to an HTTPS server.", "does not answer like a server of the S3 API"),
        (400, b"<Error><Code>AuthorizationHeaderMalformed</Code></Error>", "the bucket rows is in another region"),
        (301, b"<Error><Code>PermanentRedirect</Code></Error>", "the bucket rows is in another region"),
    ],
)
def test_an_endpoint_that_is_another_one_is_told(
    tmp_path: Path, source: Callable[..., FileSource], status: int, body: bytes, message: str
) -> None:
    with answering(status, body) as endpoint:
        error = refusal(tmp_path, source("hr/train.jsonl", endpoint=endpoint))

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert message in error.message


@pytest.mark.parametrize(
    "endpoint",
    [
        *("https://minio:99999", "http://[", "https://", "minio", "http://999.1.1.1", "http://minio.1:9000"),
        *("http://minio.0x1f", "http://minio.09.", "http://xn--.example.com"),
    ],
)
def test_an_endpoint_that_is_no_address_is_refused(
    tmp_path: Path, source: Callable[..., FileSource], endpoint: str
) -> None:
    error = refusal(tmp_path, source("hr/train.jsonl", endpoint=endpoint))

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert error.message == f"the endpoint {endpoint} of s3://rows/hr/train.jsonl is no address of a server"


def test_https_to_a_server_without_it_is_told(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource]
) -> None:
    error = refusal(tmp_path, source("hr/train.jsonl", endpoint=server.endpoint.replace("http", "https")))

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert "http or https" in error.advice


def test_a_certificate_is_trusted_when_the_secret_holds_its_authority(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], authority: trustme.CA
) -> None:
    error = refusal(tmp_path, source("hr/train.jsonl", endpoint=server.tls_endpoint))
    pem = authority.cert_pem.bytes().decode()
    secret = server.secret(tmp_path / "with-authority", **{"ca.crt": pem})

    (copy,) = copied(tmp_path, source("hr/train.jsonl", endpoint=server.tls_endpoint, credentials_path=secret)).copies

    assert (error.code, error.message) == (
        StageFailure.ARGUMENT_REFUSED,
        f"the certificate of {server.tls_endpoint} is not trusted",
    )
    assert copy.path.read_bytes() == lines(40)


def test_a_download_that_broke_off_goes_on_where_it_ended(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RANGE_BYTES", 1 << 16)
    data = hashlib.shake_256(b"seed").digest(1 << 20)
    server.put("large.jsonl", data)
    with relayed(server.endpoint, allowed=700_000) as relay:
        wanted = source("large.jsonl", endpoint=relay.endpoint)
        error = refusal(tmp_path, wanted)
        relay.allowed, relay.passed = 1 << 30, 0
        (copy,) = copied(tmp_path, wanted).copies
        resumed, relay.passed = relay.passed, 0
        copied(tmp_path, wanted)

        assert relay.passed < 1 << 17

    assert error.code is StageFailure.SOURCE_UNAVAILABLE
    assert resumed < 700_000
    assert copy.path.read_bytes() == data


@pytest.mark.parametrize("damage", ["bytes", "version"])
def test_what_is_damaged_or_old_is_not_gone_on_with(tmp_path: Path, damage: str) -> None:
    asked: list[int] = []

    def read(start: int, end: int) -> bytes:
        asked.append(start)
        if len(asked) == 2:
            raise ConnectionError
        return bytes(range(start, end))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(download, "RANGE_BYTES", 4)
        with pytest.raises(ConnectionError):
            download.download(tmp_path, "a", "v1", 10, read)
        draft = tmp_path / ".cache" / "download" / "a.incomplete"
        assert draft.read_bytes() == bytes(range(4))
        if damage == "bytes":
            draft.write_bytes(b"\0\0\0\0")
        download.download(tmp_path, "a", "v1" if damage == "bytes" else "v2", 10, read)

    assert asked == [0, 4, 0, 4, 8]
    assert (tmp_path / "a").read_bytes() == bytes(range(10))


def test_an_object_that_is_replaced_while_it_is_read_is_never_half_old(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "RANGE_BYTES", 1 << 16)
    server.put("moving.jsonl", b"a" * (1 << 18))
    kept = download._Draft.save

    def replace_meanwhile(draft: download._Draft, version: str, size: int, digest: object) -> None:
        kept(draft, version, size, digest)
        server.put("moving.jsonl", b"b" * (1 << 18))

    with monkeypatch.context() as patch:
        patch.setattr(download._Draft, "save", replace_meanwhile)
        error = refusal(tmp_path, source("moving.jsonl"))

    assert (error.code, error.evidence) == (StageFailure.SOURCE_UNAVAILABLE, "it was replaced while it was read")
    (copy,) = copied(tmp_path, source("moving.jsonl")).copies
    assert copy.path.read_bytes() == b"b" * (1 << 18)


def test_without_a_secret_the_pod_reads_as_its_service_account(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = {"AccessKeyId": "reader", "SecretAccessKey": server.keys["reader"], "Token": ""}
    (tmp_path / "token").write_text("a token of the cluster")
    with answering(200, json.dumps({**credentials, "Expiration": "2099-01-01T00:00:00Z"}).encode()) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent}/v1/credentials")
        monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(tmp_path / "token"))
        own = {"credentials_name": "", "credentials_path": ""}
        (copy,) = copied(tmp_path, source("hr/train.jsonl", **own)).copies
        error = refusal(tmp_path, source("private.jsonl", PRIVATE, **own))

    assert copy.path.read_bytes() == lines(40)
    assert "s3://private/private.jsonl may not be read as the pod's own identity" in error.message


def test_without_a_secret_the_pod_takes_the_role_of_its_service_account(
    tmp_path: Path,
    server: S3Server,
    source: Callable[..., FileSource],
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "token").write_text("a token of the cluster")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    keys = f"<AccessKeyId>reader</AccessKeyId><SecretAccessKey>{server.keys['reader']}</SecretAccessKey>"
    expiry = "<SessionToken></SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
    result = (
        f"<AssumeRoleWithWebIdentityResult><Credentials>{keys}{expiry}</Credentials></AssumeRoleWithWebIdentityResult>"
    )
    answer = f"<AssumeRoleWithWebIdentityResponse>{result}</AssumeRoleWithWebIdentityResponse>"
    with answering(200, answer.encode(), tls) as service:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        (copy,) = copied(tmp_path, source("hr/train.jsonl", credentials_name="", credentials_path="")).copies

    assert copy.path.read_bytes() == lines(40)


@pytest.mark.parametrize("half", ["", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI"])
def test_what_the_node_may_read_the_pod_may_not(
    tmp_path: Path,
    server: S3Server,
    source: Callable[..., FileSource],
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    half: str,
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    # the server stands in for AWS
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.tls_endpoint)
    keys = {"AccessKeyId": "reader", "SecretAccessKey": server.keys["reader"], "Token": ""}
    answer = json.dumps({**keys, "Code": "Success", "Expiration": "2099-01-01T00:00:00Z"}).encode()
    with answering(200, answer) as metadata:
        monkeypatch.setenv("AWS_METADATA_ENDPOINT", metadata)
        if half:
            monkeypatch.setenv(half, metadata)
        error = refusal(tmp_path, source("hr/train.jsonl", endpoint="", credentials_name="", credentials_path=""))

    assert error.code is StageFailure.DATASET_ACCESS_DENIED
    assert "may not be read without credentials" in error.message


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidToken"])
def test_keys_that_aws_refuses_as_a_bad_request_are_named(
    tmp_path: Path, source: Callable[..., FileSource], code: str
) -> None:
    with answering(400, f"<Error><Code>{code}</Code></Error>".encode()) as endpoint:
        error = refusal(tmp_path, source("hr/train.jsonl", endpoint=endpoint))

    assert (error.code, error.evidence) == (StageFailure.DATASET_ACCESS_DENIED, f"HTTP 400 {code}")
    assert "AWS_SECRET_ACCESS_KEY" in error.advice


@pytest.mark.parametrize("code", ["ExpiredTokenException", "InvalidIdentityToken"])
def test_a_role_that_is_refused_is_no_wrong_endpoint(
    tmp_path: Path,
    source: Callable[..., FileSource],
    authority: trustme.CA,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
) -> None:
    (tmp_path / "token").write_text("a token of the cluster")
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    answer = f"<ErrorResponse><Error><Code>{code}</Code></Error></ErrorResponse>"
    with answering(400, answer.encode(), tls) as service:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", service)
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
        error = refusal(tmp_path, source("hr/train.jsonl", credentials_name="", credentials_path=""))

    assert (error.code, error.evidence) == (StageFailure.DATASET_ACCESS_DENIED, f"HTTP 400 {code}")
    assert "as the pod's own identity" in error.message


@pytest.mark.parametrize("key", ["a//b.jsonl", "a/../b.jsonl", "./b.jsonl"])
def test_keys_that_cannot_be_read_are_refused(tmp_path: Path, source: Callable[..., FileSource], key: str) -> None:
    one = refusal(tmp_path, source(key))
    with answering(200, listing_of(key)) as endpoint:
        listed = refusal(tmp_path, source("", endpoint=endpoint))

    assert one.code is listed.code is StageFailure.ARGUMENT_REFUSED
    assert one.evidence == listed.evidence == repr(key)
    assert "keys with '//', '.' or '..' between slashes" in one.message
    assert listed.message.startswith("s3://rows/: ")


def listing_of(key: str) -> bytes:
    entry = f'<Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"a"</ETag><Size>1</Size>'
    return (
        "<ListBucketResult><Name>rows</Name><Prefix></Prefix><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>"
        f"<Contents>{entry}</Contents></ListBucketResult>"
    ).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "is no certificate"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "is no certificate"),
        (b"\x30\x82\xff\xfe", "is no text"),
    ],
)
def test_an_authority_that_is_no_certificate_is_told(
    tmp_path: Path, source: Callable[..., FileSource], content: bytes, message: str
) -> None:
    wanted = source("hr/train.jsonl", endpoint="https://127.0.0.1:9")
    (Path(wanted.credentials_path) / "ca.crt").write_bytes(content)

    error = refusal(tmp_path, wanted)

    assert error.code is StageFailure.ARGUMENT_REFUSED
    assert error.message == f"the key ca.crt of the Secret {SECRET} of s3://rows/hr/train.jsonl {message}"
    assert "PEM" in error.advice


def test_a_secret_and_the_pods_environment_are_not_mixed(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "nobody")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "of-somebody-else")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")

    assert copied(tmp_path, source("hr/train.jsonl")).copies[0].path.read_bytes() == lines(40)


def test_the_pods_environment_names_the_server_that_a_source_leaves_open(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", server.endpoint)

    assert copied(tmp_path, source("hr/train.jsonl", endpoint="")).copies[0].path.read_bytes() == lines(40)


@pytest.fixture(scope="module")
def model(server: S3Server, tiny_model: Path) -> str:
    """A model in a bucket, beside files that no model needs."""
    for file in tiny_model.iterdir():
        server.put(f"models/tiny/{file.name}", file.read_bytes())
    server.put("models/tiny/checkpoint-1/model.safetensors", b"old")
    server.put("models/tiny/modeling.py", b"raise SystemExit")
    return "s3://rows/models/tiny"


def model_config(server: S3Server, root: Path, uri: str, **changes: str) -> ModelConfig:
    secret = server.secret(root / "secret")
    config = ModelConfig(uri, str(root / "model"), endpoint=server.endpoint, credentials_name=SECRET)
    return dataclasses.replace(config, **{"credentials_path": secret, **changes})


@pytest.mark.parametrize("slash", ["", "/"])
def test_a_model_of_a_bucket_is_fetched_once(
    tmp_path: Path, server: S3Server, model: str, tiny_model: Path, slash: str
) -> None:
    config = model_config(server, tmp_path, f"{model}{slash}")
    found = provide(config, ON_THIS_MACHINE)
    with relayed(server.endpoint, allowed=0) as nothing:
        again = provide(dataclasses.replace(config, endpoint=nothing.endpoint), ON_THIS_MACHINE)

    assert again == found
    assert len(found.commit) == 40
    assert {path.name for path in found.folder.iterdir() if path.is_file()} == {
        *(path.name for path in tiny_model.iterdir()),
        "vernacular_source.json",
    }
    assert (found.folder / "model.safetensors").read_bytes() == (tiny_model / "model.safetensors").read_bytes()


def test_jobs_with_a_cache_share_a_model_of_a_bucket(tmp_path: Path, server: S3Server, model: str) -> None:
    cache = str(tmp_path / "cache")
    with relayed(server.endpoint, allowed=1 << 30) as relay:
        configs = [
            model_config(server, tmp_path / job, model, endpoint=relay.endpoint, cache=cache) for job in ("one", "two")
        ]
        one = provide(configs[0], ON_THIS_MACHINE)
        relay.passed = 0
        two = provide(configs[1], ON_THIS_MACHINE)

        assert relay.passed < 20_000

    assert one.folder.resolve() == two.folder.resolve()
    assert downloaded(configs[0]) == model


def test_jobs_with_a_cache_share_files_of_a_bucket_and_each_asks_whether_it_may(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource]
) -> None:
    data = hashlib.shake_256(b"shared").digest(1 << 18)
    server.put("shared.jsonl", data)
    cache = str(tmp_path / "cache")

    def copied_by(job: str, **changes: str) -> bytes:
        found = copy_sources(
            (source("shared.jsonl", **changes),), Workspace(tmp_path / job), Servers(ON_THIS_MACHINE, cache=cache)
        )
        return found.copies[0].path.read_bytes()

    with relayed(server.endpoint, allowed=1 << 30) as relay:
        assert copied_by("one", endpoint=relay.endpoint) == data
        relay.passed = 0
        assert copied_by("two", endpoint=relay.endpoint) == data
        assert relay.passed < 10_000

    with pytest.raises(StageError) as caught:
        copied_by("three", credentials_name="")
    assert caught.value.code is StageFailure.DATASET_ACCESS_DENIED
    server.put("shared.jsonl", b"new")
    assert copied_by("two") == b"new"
    assert copied_by("one") == b"new"


def test_a_cache_gives_nothing_to_those_that_may_only_list(
    tmp_path: Path, server: S3Server, source: Callable[..., FileSource], model: str
) -> None:
    server.put("listed/a.jsonl", lines(3))
    cache, only_lists = str(tmp_path / "cache"), server.secret(tmp_path / "lister", "lister")
    copy_sources((source("listed/"),), Workspace(tmp_path / "one"), Servers(ON_THIS_MACHINE, cache=cache))
    provide(model_config(server, tmp_path / "one", model, cache=cache), ON_THIS_MACHINE)

    with pytest.raises(StageError) as rows:
        copy_sources(
            (source("listed/", credentials_path=only_lists),),
            Workspace(tmp_path / "two"),
            Servers(ON_THIS_MACHINE, cache=cache),
        )
    with pytest.raises(StageError) as weights:
        provide(
            model_config(server, tmp_path / "two", model, cache=cache, credentials_path=only_lists), ON_THIS_MACHINE
        )

    assert rows.value.code is StageFailure.DATASET_ACCESS_DENIED
    assert weights.value.code is StageFailure.MODEL_ACCESS_DENIED


@pytest.mark.parametrize(
    ("uri", "code", "message"),
    [
        ("s3://rows/models/typo", StageFailure.MODEL_NOT_FOUND, "s3://rows/models/typo holds no file that is read"),
        ("s3://private/models", StageFailure.MODEL_ACCESS_DENIED, "s3://private/models may not be read with the keys"),
    ],
)
def test_a_model_that_cannot_be_read_is_explained(
    tmp_path: Path, server: S3Server, uri: str, code: StageFailure, message: str
) -> None:
    with pytest.raises(StageError) as caught:
        provide(model_config(server, tmp_path, uri), ON_THIS_MACHINE)

    assert caught.value.code is code
    assert message in caught.value.message


def test_prepare_takes_everything_from_buckets_and_tells_no_secret(
    tmp_path: Path, server: S3Server, model: str, source: Callable[..., FileSource], capfd: pytest.CaptureFixture[str]
) -> None:
    server.put("set/part.jsonl", lines(40))
    server.put("set/NOTES.md", b"notes")
    server.put("asked.jsonl", b'{"question": "How long is the leave?", "expected": "24 days"}\n')
    server.put("terms.yaml", b"terms: [{term: leave, definition: days off}]")
    evaluation = EvaluationConfig(source("asked.jsonl"), source("terms.yaml"))
    config, workspace = make_job(tmp_path, tmp_path, (source("set/"),), evaluation=evaluation)
    config = dataclasses.replace(config, model=model_config(server, tmp_path, model), https=ON_THIS_MACHINE)

    summary = prepare.run(config, workspace)

    inputs = json.loads((workspace.inputs / "inputs.json").read_text())
    assert summary.rows == 40
    names = ["s3://rows/set/part.jsonl", "s3://rows/asked.jsonl", "s3://rows/terms.yaml"]
    assert [item["name"] for item in inputs] == names
    report = json.loads(workspace.data_report.read_text())
    assert report["ignored_files"] == ["s3://rows/set/NOTES.md"]
    told = capfd.readouterr()
    assert server.keys["reader"] not in told.out + told.err
    assert not [path for path in workspace.root.rglob("*") if path.is_file() and leaks(path, server)]


def test_questions_that_are_missing_are_no_missing_rows(
    tmp_path: Path, model: str, server: S3Server, source: Callable[..., FileSource]
) -> None:
    evaluation = EvaluationConfig(source("nothing.jsonl"))
    config, workspace = make_job(tmp_path, tmp_path, (source("hr/train.jsonl"),), evaluation=evaluation)
    config = dataclasses.replace(config, model=model_config(server, tmp_path, model), https=ON_THIS_MACHINE)

    with pytest.raises(StageError) as caught:
        prepare.run(config, workspace)

    assert caught.value.code is StageFailure.QUESTIONS_UNREADABLE
    assert caught.value.message == "s3://rows/nothing.jsonl does not exist"


def leaks(path: Path, server: S3Server) -> bool:
    return server.keys["reader"].encode() in path.read_bytes()


class answering:  # noqa: N801 - used like a function
    """A server that gives everybody the same answer; entered, its address."""

    def __init__(self, status: int, body: bytes, tls: ssl.SSLContext | None = None) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET  # noqa: N815 - names of the base class

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._scheme = "https" if tls else "http"
        if tls:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> str:
        self._thread.start()
        return f"{self._scheme}://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
