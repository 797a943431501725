"""Data sets of a hub: which of their files are rows, and what a hub refuses."""

from __future__ import annotations

import dataclasses
import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.hub_server import HubServer
from support.stage_jobs import handbook_rows, write_lines
from vernacular_trainer.contract import FileSource, Outcome, StageFailure
from vernacular_trainer.data.files import InputCopy
from vernacular_trainer.data.remote.fetch import Servers, copy_one
from vernacular_trainer.data.sources import Copied, copy_sources
from vernacular_trainer.errors import StageError
from vernacular_trainer.workspace import Workspace

URI = "hf://acme/rows"
FILES = ("README.md", "main/train-00000-of-00002.jsonl", "main/train-00001-of-00002.jsonl", "main/test.jsonl")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "hub"
    for name in FILES:
        write_lines(root / name, [{"name": name}, *handbook_rows(2)])
    return root


@pytest.fixture
def hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    with HubServer("acme/rows", folder, kind="datasets") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def copied(tmp_path: Path, uri: str = URI, **changes: str) -> Copied:
    source = dataclasses.replace(FileSource(uri, "", uri), **changes)
    return copy_sources((source,), Workspace(tmp_path / "workspace"))


def names(copies: tuple[InputCopy, ...]) -> list[str]:
    """The name that each file holds, once it is seen to be the one that the copy is named by."""
    found = [json.loads(copy.path.read_text().splitlines()[0])["name"] for copy in copies]
    assert [copy.name for copy in copies] == [f"{URI}/{name}" for name in found]
    return found


@pytest.mark.parametrize(
    ("uri", "read", "ignored"),
    [
        (URI, FILES[1:3], (FILES[0], FILES[3])),
        (f"{URI}/", FILES[1:3], (FILES[0], FILES[3])),
        (f"{URI}/main/", (FILES[3], *FILES[1:3]), ()),
        (f"{URI}/main/test.jsonl", FILES[3:], ()),
    ],
)
def test_a_data_set_is_its_training_split_and_a_folder_all_its_files(
    tmp_path: Path, hub: HubServer, uri: str, read: tuple[str, ...], ignored: tuple[str, ...]
) -> None:
    found = copied(tmp_path, uri)

    assert names(found.copies) == list(read)
    assert sorted(found.ignored) == sorted(f"{URI}/{name}" for name in ignored)


def test_without_a_word_for_training_everything_but_held_out_rows_is_read(
    tmp_path: Path, hub: HubServer, folder: Path
) -> None:
    for name in FILES[1:3]:
        (folder / name).unlink()
    for name in ("latest.jsonl", "contest.jsonl", "data/validation-0.jsonl", "dev/a.jsonl"):
        write_lines(folder / name, [{"name": name}])

    assert names(copied(tmp_path).copies) == ["contest.jsonl", "latest.jsonl"]


def test_questions_may_be_a_file_of_a_data_set(tmp_path: Path, hub: HubServer) -> None:
    uri = f"{URI}/main/test.jsonl"
    unreadable = StageFailure.QUESTIONS_UNREADABLE
    copy = copy_one(FileSource(uri, "", uri), tmp_path / "asked.jsonl", unreadable, Workspace(tmp_path / "workspace"))

    assert names((copy,)) == ["main/test.jsonl"]


def test_what_was_fetched_is_not_fetched_again(tmp_path: Path, hub: HubServer) -> None:
    copied(tmp_path)
    copied(tmp_path)

    assert sorted(hub.downloads) == sorted(FILES[1:3])


def test_jobs_with_a_cache_fetch_a_data_set_once(tmp_path: Path, hub: HubServer) -> None:
    source = (FileSource(URI, "", URI),)
    one, two = (
        copy_sources(source, Workspace(tmp_path / job), Servers(cache=str(tmp_path / "cache")))
        for job in ("one", "two")
    )

    assert names(one.copies) == names(two.copies) == list(FILES[1:3])
    assert sorted(hub.downloads) == sorted(FILES[1:3])
    entries = [json.loads(path.read_text()) for path in (tmp_path / "cache").rglob("vernacular_source.json")]
    assert {(entry["uri"], entry["endpoint"]) for entry in entries} == {
        (f"{URI}/{name}", hub.url) for name in FILES[1:3]
    }


def test_a_cache_gives_nothing_to_those_that_have_not_accepted_the_terms(
    tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_lines(tmp_path / "secret" / "HF_TOKEN", ["hf_right"])
    allowed = FileSource(URI, "", URI, credentials_name="hub", credentials_path=str(tmp_path / "secret"))
    cache = str(tmp_path / "cache")
    with HubServer("acme/rows", folder, token="hf_right", gated=True, kind="datasets") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        copy_sources((allowed,), Workspace(tmp_path / "one"), Servers(cache=cache))
        with pytest.raises(StageError) as caught:
            copy_sources((FileSource(URI, "", URI),), Workspace(tmp_path / "two"), Servers(cache=cache))

    assert caught.value.code is StageFailure.DATASET_ACCESS_DENIED
    assert caught.value.message == f"{URI} may not be read without a token"


def test_a_file_in_the_cache_may_have_the_name_of_what_describes_it(tmp_path: Path, hub: HubServer) -> None:
    rows = write_lines(hub.folder / "vernacular_source.json", [{"name": "vernacular_source.json"}])
    uri = f"{URI}/vernacular_source.json"
    found = copy_sources(
        (FileSource(uri, "", uri),), Workspace(tmp_path / "one"), Servers(cache=str(tmp_path / "cache"))
    )

    assert found.copies[0].path.read_bytes() == rows.read_bytes()


def test_the_list_of_files_is_read_to_its_end(tmp_path: Path, hub: HubServer) -> None:
    hub.page = 1

    assert names(copied(tmp_path).copies) == list(FILES[1:3])


def test_more_files_than_a_report_can_list_are_refused(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vernacular_trainer.data.remote.hub.MOST_FILES", 3)
    with pytest.raises(StageError) as caught:
        copied(tmp_path)

    assert caught.value.code is StageFailure.ARGUMENT_REFUSED
    assert caught.value.message == f"{URI} has more than 3 files"


def test_what_describes_rows_is_no_row(tmp_path: Path, hub: HubServer, folder: Path) -> None:
    about = ("dataset_infos.json", "main/dataset_dict.json", "main/train/dataset_info.json", "main/train/state.json")
    for name in about:
        write_lines(folder / name, [{"name": name}])

    found = copied(tmp_path)

    assert names(found.copies) == list(FILES[1:3])
    assert {f"{URI}/{name}" for name in about} <= set(found.ignored)


@pytest.mark.parametrize("error", [RuntimeError("CAS Client Error"), ConnectionError("reset"), OSError("Consistency")])
def test_a_download_of_large_files_that_breaks_off_is_tried_again(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    found = refusal_of_download(tmp_path, monkeypatch, error)

    assert isinstance(found, StageError)
    assert (found.code, found.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)


@pytest.mark.parametrize("error", [RuntimeError("IO Error: No space left on device"), OSError(errno.EACCES, "denied")])
def test_what_the_workspace_refuses_is_not_taken_for_the_hub(
    tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    assert refusal_of_download(tmp_path, monkeypatch, error) is error


def refusal_of_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Exception:
    """What becomes of an exception of the library that downloads."""

    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)
    with pytest.raises(Exception) as caught:
        copied(tmp_path)
    return caught.value


@pytest.mark.parametrize(
    ("hub_changes", "uri", "changes", "code", "message"),
    [
        ({"gated": True}, URI, {}, StageFailure.DATASET_ACCESS_DENIED, f"{URI} may not be read without a token"),
        *(
            ({"forbidden": name}, URI, {}, StageFailure.DATASET_ACCESS_DENIED, f"{URI} may not be read without a token")
            for name in FILES[1:3]
        ),
        ({}, "hf://acme/my--rows", {}, StageFailure.ARGUMENT_REFUSED, "hf://acme/my--rows is no name that a hub gives"),
        ({"token": "a"}, URI, {}, StageFailure.DATASET_ACCESS_DENIED, f"{URI} may not be read without a token"),
        ({"token": "a"}, URI, {"HF_TOKEN": "b"}, StageFailure.DATASET_ACCESS_DENIED, "the token of the Secret hub"),
        ({}, URI, {"TOKEN": "b"}, StageFailure.SECRET_MISSING, f"the Secret hub of {URI} has no key HF_TOKEN"),
        ({}, "hf://acme/typo", {}, StageFailure.DATASET_NOT_FOUND, "hf://acme/typo does not exist"),
        ({}, f"{URI}/typo.jsonl", {}, StageFailure.DATASET_NOT_FOUND, f"{URI}/typo.jsonl does not exist"),
        ({}, f"{URI}/main", {}, StageFailure.DATASET_NOT_FOUND, f"{URI}/main does not exist"),
        ({}, f"{URI}/typo/", {}, StageFailure.DATASET_NOT_FOUND, f"{URI}/typo/ holds no file of rows"),
        ({}, URI, {"revision": "v9"}, StageFailure.DATASET_NOT_FOUND, f"{URI} has no revision v9"),
    ],
)
def test_what_a_hub_refuses_is_explained(
    tmp_path: Path,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    hub_changes: dict[str, Any],
    uri: str,
    changes: dict[str, str],
    code: StageFailure,
    message: str,
) -> None:
    source = {key: changes[key] for key in changes.keys() & {"revision"}}
    if secret := {key: changes[key] for key in changes.keys() - {"revision"}}:
        for key, value in secret.items():
            write_lines(tmp_path / "secret" / key, [value])
        source = {"credentials_name": "hub", "credentials_path": str(tmp_path / "secret")}
    with HubServer("acme/rows", folder, kind="datasets", **hub_changes) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        with pytest.raises(StageError) as caught:
            copied(tmp_path, uri, **source)

    assert (caught.value.code, caught.value.outcome) == (code, Outcome.USER_ERROR)
    assert message in caught.value.message
    assert caught.value.advice


def test_a_token_opens_a_private_data_set(tmp_path: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_lines(tmp_path / "secret" / "HF_TOKEN", ["hf_right"])
    with HubServer("acme/rows", folder, kind="datasets", token="hf_right") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        found = copied(tmp_path, credentials_name="hub", credentials_path=str(tmp_path / "secret"))

    assert names(found.copies) == list(FILES[1:3])


def test_a_hub_that_is_away_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageError) as caught:
        copied(tmp_path)

    assert (caught.value.code, caught.value.outcome) == (StageFailure.SOURCE_UNAVAILABLE, Outcome.INTERNAL)
    assert caught.value.message == f"{URI} cannot be read from http://127.0.0.1:9 now"
